/** Help beyond single clicks: volumes, doubtful slices, uncertainty, preview, encoded slices. */

import { clientName, goTo } from './cycle.js';
import { LostConnection, ServerError, UseError } from './errors.js';
import { info } from './server.js';
import { CLICK_MODEL } from './session.js';
import { askVolume, endVolume, paintedSlices, volumeParams } from './volume.js';

const REST = 150;
const LOOK_AGAIN = 3000;
const TAKEN_BACK = 409;

/** One for each annotator. */
export class Assist {
  /** @param {import('./annotator.js').Annotator} annotator */
  constructor(annotator) {
    this._annotator = annotator;
    /** Slices of a volume that are answered; null while none is asked for. @type {number | null} */
    this.answered = null;
    this.previews = false;
    /** The ratings that `doubtful` goes through, and how many of them it has shown. */
    this._rated = new Map();
    this._seen = 0;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this._rest = undefined;
    this._abort = new AbortController();
    this._client = `${clientName()}-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    this._timer = setInterval(() => void this._lookAtEncoded(), LOOK_AGAIN);
  }

  /** Ask for nothing more. */
  close() {
    clearInterval(this._timer);
    clearTimeout(this._rest);
    this._abort.abort();
  }

  /** Carry the chosen label through the volume. */
  async volume() {
    const session = this._annotator.needSession();
    session.notice();
    const { label } = session;
    const params = volumeParams(session, this._annotator.shownSlice());
    this._progress(0);
    try {
      const { slices, facts } = await askVolume(session, params, this._client, done =>
        this._progress(done.length)
      );
      session.takeVolume(label, slices, new Set(paintedSlices(session)), facts);
      this._annotator.say(describe(session, k => this._annotator.imageNumber(k)));
    } catch (error) {
      if (!(error instanceof ServerError && error.status === TAKEN_BACK)) {
        throw error;
      }
      this._annotator.say('The volume was ended; nothing was changed.');
    } finally {
      this._progress(null);
    }
  }

  /** End it. */
  async cancelVolume() {
    await endVolume(this._client);
  }

  /** Show the slice that a volume was least sure of, then the next one, and so on. */
  doubtful() {
    const session = this._annotator.needSession();
    const ranked = [...session.confidence].sort((a, b) => a[1] - b[1]).map(([k]) => k);
    if (!ranked.length) {
      throw new UseError('Carry the label through the volume first; then its slices are rated.');
    }
    if (this._rated !== session.confidence) {
      [this._rated, this._seen] = [session.confidence, 0];
    }
    const k = ranked[this._seen % ranked.length];
    this._seen += 1;
    goTo(this._annotator, k);
    const percent = Math.round(100 * (session.confidence.get(k) ?? 0));
    this._annotator.say(`Image ${this._annotator.imageNumber(k)}: ${percent} % sure.`);
  }

  /**
   * Show how unsure answers are, or not.
   * @param {boolean} on
   */
  async showUncertainty(on) {
    const session = this._annotator.needSession();
    session.wantsUncertainty = this._annotator.overlay.showsUncertainty = on;
    this._annotator.changed();
    if (on) {
      await session.findUncertainty(this._annotator.shownSlice());
    }
  }

  /**
   * Show what a click would give where the mouse rests, or not.
   * @param {boolean} on
   */
  setPreviews(on) {
    this.previews = on;
    this.hover(null);
    this._annotator.changed();
  }

  /**
   * The mouse moved.
   * @param {import('./pointer.js').Target | null} target
   */
  hover(target) {
    clearTimeout(this._rest);
    this._abort.abort();
    const { overlay } = this._annotator;
    if (overlay.preview) {
      overlay.preview = null;
      overlay.draw();
    }
    if (target && this.previews) {
      this._rest = setTimeout(() => void this._preview(target), REST);
    }
  }

  /** @param {import('./pointer.js').Target} target */
  async _preview({ k, i, j }) {
    const { session, overlay, queue } = this._annotator;
    if (!session || queue.length) {
      return;
    }
    this._abort = new AbortController();
    const { signal } = this._abort;
    try {
      const mask = await session.preview(k, [Math.round(i), Math.round(j)], signal);
      if (!signal.aborted) {
        overlay.preview = { k, mask };
        overlay.draw();
      }
    } catch (error) {
      if (!signal.aborted && !(error instanceof LostConnection)) {
        this._annotator.fail(error);
      }
    }
  }

  /** @param {number | null} count */
  _progress(count) {
    this.answered = count;
    this._annotator.changed();
  }

  /** See which slices the server has encoded meanwhile. */
  async _lookAtEncoded() {
    const { session } = this._annotator;
    const isWorking = Boolean(session?.facts?.encode_ahead);
    if (!session || !isWorking || session.encoded.size >= session.grid.slices.length) {
      return;
    }
    const facts = await info().catch(() => null);
    const volumes = facts?.models?.[CLICK_MODEL]?.encode_ahead ?? [];
    const volume = volumes.find(({ name }) => name.startsWith(session.image));
    const before = session.encoded.size;
    for (const k of volume?.slices ?? []) {
      session.encoded.add(k);
    }
    if (session.encoded.size > before) {
      this._annotator.changed();
    }
  }
}

/**
 * @param {import('./session.js').Session} session
 * @param {(k: number) => number} numberOf
 */
function describe({ confidence, labelName }, numberOf) {
  const rated = [...confidence];
  if (!rated.length) {
    return `${labelName} was found on no image.`;
  }
  const images = rated.map(([k]) => numberOf(k));
  const [k, sure] = rated.sort((a, b) => a[1] - b[1])[0];
  return (
    `${labelName} on images ${Math.min(...images)} to ${Math.max(...images)}, least sure on ` +
    `${numberOf(k)} (${Math.round(100 * sure)} %). Correct it by clicks, or go on.`
  );
}
