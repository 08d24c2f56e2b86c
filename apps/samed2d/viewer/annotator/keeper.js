/** Keeps the unsaved work of sessions in the browser, and warns whoever leaves it behind. */

import { dropWork, keepWork, keptWork } from './kept-work.js';

const PAUSE = 300;

/** Of all sessions of a page. */
export class Keeper {
  /** @param {(error: unknown) => void} onError told where the browser keeps nothing */
  constructor(onError) {
    this._onError = onError;
    /** @type {Set<import('./session.js').Session>} */
    this._sessions = new Set();
    /** @type {Map<string, ReturnType<typeof setTimeout>>} */
    this._timers = new Map();
    this._abort = new AbortController();
    addEventListener('beforeunload', event => this._warn(event), { signal: this._abort.signal });
  }

  /** Warn no more; what is unsaved is kept. */
  close() {
    this._abort.abort();
    for (const session of this._sessions) {
      void this._keep(session);
    }
  }

  /**
   * Bring back what was kept of a session, and keep it from now on.
   * @param {import('./session.js').Session} session
   * @returns {Promise<boolean>} whether there was anything
   */
  async take(session) {
    const snapshot = await keptWork(session.image).catch(error => void this._onError(error));
    if (snapshot) {
      session.restore(snapshot);
    }
    this._sessions.add(session);
    session.addEventListener('change', () => this._soon(session));
    return Boolean(snapshot);
  }

  /** Keep everything now. */
  async flush() {
    await Promise.all([...this._sessions].map(session => this._keep(session)));
  }

  /** Whether anything would be left behind. */
  get unsaved() {
    return [...this._sessions].some(session => session.unsaved);
  }

  /** @param {import('./session.js').Session} session */
  _soon(session) {
    clearTimeout(this._timers.get(session.image));
    this._timers.set(
      session.image,
      setTimeout(() => void this._keep(session), PAUSE)
    );
  }

  /** @param {import('./session.js').Session} session */
  async _keep(session) {
    clearTimeout(this._timers.get(session.image));
    try {
      if (session.unsaved) {
        await keepWork(session.image, session.snapshot());
      } else {
        await dropWork(session.image);
      }
    } catch (error) {
      this._onError(error);
    }
  }

  /** @param {BeforeUnloadEvent} event */
  _warn(event) {
    if (this.unsaved) {
      for (const session of this._sessions) {
        void this._keep(session);
      }
      event.preventDefault();
    }
  }
}
