/**
 * Brings together the session of the series on the screen, the mouse, the drawings and the panel.
 * One annotator lives as long as the mode is open.
 */

import { Assist } from './assist.js';
import { arrive, next, replaceOther, save, showOther } from './cycle.js';
import { sentenceOf, UseError } from './errors.js';
import { activePane, displaySetIn, follow } from './host.js';
import { Keeper } from './keeper.js';
import { listenToKeys } from './keys.js';
import { Overlay } from './overlay.js';
import { Pointer } from './pointer.js';
import { Queue } from './queue.js';
import { caller, info, signOut } from './server.js';
import { Session } from './session.js';
import { ToolChoice } from './tool-choice.js';
import { Training } from './training.js';

/** Everything behind the panel; whoever shows it listens for "change". */
export class Annotator extends EventTarget {
  /**
   * @param {any} services of OHIF
   */
  constructor(services) {
    super();
    this.services = services;
    /** @type {Session | null} */
    this.session = null;
    /** @type {Map<string, Promise<Session>>} */
    this._sessions = new Map();
    /** @type {string[]} */
    this.labels = [];
    /** The last sentence for the person, and whether it tells of a fault. */
    this.message = { text: 'Connecting to the server', isError: false };
    /** @type {import('./errors.js').LostConnection | null} */
    this.lost = null;
    /** Who is signed in. @type {{username: string, role: string} | null} */
    this.caller = null;
    this.closed = false;
    /** Somebody else saved this image. @type {import('./errors.js').Conflict | null} */
    this.conflict = null;
    /** @type {string[]} */
    this.strategies = [];
    this.keeper = new Keeper(error => this.fail(error));
    this.training = new Training(
      () => this.changed(),
      text => this.say(text)
    );
    this.tool = new ToolChoice(services, () => this.changed());
    this.overlay = new Overlay(services, () => this.session);
    this.queue = new Queue(
      error => this.fail(error),
      lost => this._onConnection(lost)
    );
    this.assist = new Assist(this);
    this.pointer = new Pointer(services, {
      isOn: () => this.session !== null && this.tool.chosen === 'prompt',
      session: () => this.session,
      onClick: (target, isBackground) => this._onClick(target, isBackground),
      onBox: (from, to) => this._onBox(from, to),
      onDrag: (from, to) => this._onDrag(from, to),
      onHover: target => this.assist.hover(target),
    });
    const { viewportGridService, cornerstoneViewportService } = services;
    this._stops = [
      follow(viewportGridService, ['GRID_STATE_CHANGED', 'ACTIVE_VIEWPORT_ID_CHANGED'], () =>
        this._look()
      ),
      follow(cornerstoneViewportService, ['VIEWPORT_DATA_CHANGED'], () => this._look()),
    ];
    this._stops.push(listenToKeys(this));
    const whenPainted = () => this.session?.notice();
    document.addEventListener('mouseup', whenPainted);
    this._stops.push(() => document.removeEventListener('mouseup', whenPainted));
    void this.queue.add(() => this._connect());
  }

  /** Leave the mode. */
  close() {
    this.closed = true;
    for (const stop of this._stops) {
      stop();
    }
    this.keeper.close();
    this.training.close();
    this.assist.close();
    this.pointer.close();
    this.overlay.close();
    this.tool.close();
    this.session?.map.close();
  }

  /** Tell the panel and draw again. */
  changed() {
    this.overlay.corner = this._cornerText();
    this.overlay.draw();
    this.dispatchEvent(new Event('change'));
  }

  /**
   * Say something.
   * @param {string} text
   */
  say(text) {
    this.message = { text, isError: false };
    this.changed();
  }

  /**
   * Say what went wrong.
   * @param {unknown} error
   */
  fail(error) {
    console.warn('samed2d:', error);
    this.message = { text: sentenceOf(error), isError: true };
    this.changed();
  }

  async _connect() {
    const facts = await info();
    await this._meet();
    this.labels = facts.labels;
    this.strategies = Object.keys(facts.strategies);
    this.say('Connected. Click on a structure, or drag a box around it.');
    await this._look();
  }

  /** @param {import('./errors.js').LostConnection | null} lost */
  _onConnection(lost) {
    if (lost?.message === this.lost?.message) {
      return;
    }
    this.lost = lost;
    this.say(lost ? lost.message : 'The server answers again.');
    if (!lost) {
      void this.try(() => this._meet());
    }
  }

  /** Learn who is signed in. */
  async _meet() {
    this.caller = await caller();
    this.changed();
  }

  /** See what is on the screen now. */
  async _look() {
    const pane = activePane(this.services);
    const displaySet = pane && displaySetIn(this.services, pane.id);
    if (!displaySet || !this.labels.length) {
      return;
    }
    try {
      const session = await this._sessionOf(displaySet);
      if (!this.session) {
        this.tool.choose('prompt');
      }
      if (session !== this.session) {
        this.conflict = null;
      }
      this.session = session;
      await session.map.show();
      arrive(this);
      this.changed();
    } catch (error) {
      this.session = null;
      this.fail(error);
    }
  }

  /** @param {any} displaySet @returns {Promise<Session>} */
  _sessionOf(displaySet) {
    const uid = displaySet.displaySetInstanceUID;
    let session = this._sessions.get(uid);
    if (!session) {
      session = Session.open(this.services, displaySet, this.labels).then(opened => {
        opened.addEventListener('change', () => this.changed());
        void this.queue.add(() => this._fill(opened));
        return opened;
      });
      this._sessions.set(uid, session);
    }
    return session;
  }

  /**
   * Show what was drawn in this series before: unsaved work of this browser, else what is saved.
   * @param {Session} session
   */
  async _fill(session) {
    if (await this.keeper.take(session)) {
      this.say('Your unsaved work on this image is here again.');
    } else if (await session.loadSaved()) {
      this.say('The saved label of this image is shown.');
    }
  }

  /** The session on the screen. @throws {UseError} where there is none */
  needSession() {
    if (!this.session) {
      throw new UseError('No image is open.');
    }
    return this.session;
  }

  /**
   * Do something now, beside clicks that are on their way, and say what goes wrong.
   * @param {() => Promise<void>} act
   */
  async try(act) {
    await act().catch(error => this.fail(error));
  }

  /** Save all labels of this image. */
  save() {
    void this.queue.add(() => save(this));
  }

  /** Decide for the label that somebody else has saved meanwhile. */
  showOther() {
    void this.queue.add(() => showOther(this));
  }

  /** Decide for the own one. */
  replaceOther() {
    void this.queue.add(() => replaceOther(this));
  }

  /**
   * Go to the next image.
   * @param {boolean} skip without saving
   */
  next(skip) {
    void this.queue.add(() => next(this, skip));
  }

  /** Carry the chosen label through the volume. */
  volume() {
    void this.queue.add(() => this.assist.volume());
  }

  /** Show a slice that a volume was not sure of. */
  doubtful() {
    void this.queue.add(() => this.assist.doubtful());
  }

  /** Forget the key; unsaved work stays in this browser. */
  signOut() {
    void this.try(async () => {
      await signOut();
      await this.keeper.flush();
      this.keeper.close();
      location.assign('/login/');
    });
  }

  /** Let the model learn from what is saved. */
  train() {
    void this.try(() => this.training.start());
  }

  /** @param {import('./pointer.js').Target} target @param {boolean} isBackground */
  _onClick({ k, i, j }, isBackground) {
    const kind = isBackground ? 'background' : 'foreground';
    this._prompt(k, { kind, at: [Math.round(i), Math.round(j)] });
  }

  /** @param {import('./pointer.js').Target} from @param {import('./pointer.js').Target} to */
  _onBox(from, to) {
    const [columns, rows] = this.session?.grid.shape ?? [1, 1];
    const inside = (value, size) => Math.min(Math.max(Math.round(value), 0), size - 1);
    const [i0, i1] = [inside(from.i, columns), inside(to.i, columns)].sort((a, b) => a - b);
    const [j0, j1] = [inside(from.j, rows), inside(to.j, rows)].sort((a, b) => a - b);
    this._prompt(from.k, { kind: 'box', at: [i0, j0, i1, j1] });
  }

  /** @param {import('./pointer.js').Target | null} from @param {any} to */
  _onDrag(from, to) {
    this.overlay.rubberBand = from && to ? { from, to } : null;
    this.overlay.draw();
  }

  /**
   * @param {number} k
   * @param {import('./prompts.js').Click | import('./prompts.js').Box} added
   */
  _prompt(k, added) {
    const { session } = this;
    if (!session) {
      return;
    }
    const waiting = { label: session.label, k, added };
    this.overlay.pending.push(waiting);
    this.overlay.draw();
    void this.queue
      .add(() => session.prompt(waiting.label, k, added))
      .then(() => {
        this.overlay.pending = this.overlay.pending.filter(other => other !== waiting);
        this.changed();
      });
  }

  /** Take back the last step, after everything that is on its way. */
  undo() {
    void this.queue.add(() => void this.session?.undo());
  }

  /** Do it again. */
  redo() {
    void this.queue.add(() => void this.session?.redo());
  }

  /** Remove the chosen label from the slice on the screen. */
  clearSlice() {
    const k = this.shownSlice();
    void this.queue.add(() => this.session?.clear(this.session.label, [k]));
  }

  /** Remove the chosen label from all slices. */
  clearLabel() {
    void this.queue.add(() => this.session?.clear(this.session.label, this.session.map.filled()));
  }

  /** The slice in the active pane. */
  shownSlice() {
    const pane = activePane(this.services);
    return this.session?.grid.sliceOf(pane?.viewport.getCurrentImageId?.() ?? '') ?? -1;
  }

  /**
   * The number by which the pane counts a slice: OHIF's "12" in "(12/24)".
   * @param {number} k
   */
  imageNumber(k) {
    const ids = activePane(this.services)?.viewport.getImageIds?.() ?? [];
    return ids.indexOf(this.needSession().grid.slices[k].imageId) + 1;
  }

  _cornerText() {
    const facts = this.session?.facts;
    if (!facts) {
      return '';
    }
    const total = Math.round(1000 * (facts.latencies?.total ?? 0));
    const shown = Math.round(this.session?.milliseconds ?? 0);
    return `${facts.model_version} on ${facts.device}, ${total} ms, drawn after ${shown} ms`;
  }
}
