/** What can go wrong between the viewer and the server, each with a sentence for a person. */

const WAITING =
  'The server does not answer. Nothing is lost: what you clicked is sent as soon as it does.';

/** The server answered, and said no. */
export class ServerError extends Error {
  /**
   * @param {string} sentence what to show
   * @param {number} status of the answer
   */
  constructor(sentence, status) {
    super(sentence);
    this.status = status;
  }
}

/** The server did not answer; asking again later may help. */
export class LostConnection extends Error {
  constructor(sentence = WAITING) {
    super(sentence);
  }
}

/** The server does not know who asks, or no longer; it will when somebody has signed in. */
export class SignedOut extends LostConnection {
  constructor() {
    super('You are signed out. Nothing is lost: sign in, and what you clicked is sent.');
  }
}

/** Somebody else has saved a label of the image that this one was drawn without. */
export class Conflict extends Error {
  /**
   * @param {string} sentence of the server
   * @param {string} revision of the other label
   */
  constructor(sentence, revision) {
    super(sentence);
    this.revision = revision;
  }
}

/** The picture or the click cannot be used, which no server was asked about. */
export class UseError extends Error {}

/**
 * Make any error a sentence.
 * @param {unknown} error
 * @returns {string}
 */
export function sentenceOf(error) {
  return error instanceof Error ? error.message : String(error);
}
