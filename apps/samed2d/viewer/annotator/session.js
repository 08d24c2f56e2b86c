/**
 * The annotation of one series: labels, label map, prompts and what was done. Knows nothing of
 * mice and buttons; whoever shows it listens for "change".
 */

import { UseError } from './errors.js';
import { Grid } from './grid.js';
import { difference, History } from './history.js';
import { Labelmap } from './labelmap.js';
import { readLabelMap } from './nifti.js';
import { readSlices } from './nrrd.js';
import { emptyPrompt, extended, isComplete, keyOf, paramsOf, partsOf } from './prompts.js';
import { infer, labelFacts, savedLabel, saveLabel } from './server.js';

export const CLICK_MODEL = 'samed2d';

/**
 * What is kept of a session: everything but OHIF.
 * @typedef {Object} Snapshot
 * @property {string[]} labels
 * @property {number} label
 * @property {import('./history.js').SliceChange[]} slices all that is drawn, from nothing
 * @property {[string, import('./prompts.js').Prompt][]} prompts
 * @property {import('./history.js').Step[]} done
 * @property {import('./history.js').Step[]} undone
 * @property {string} [base] revision of the saved label that it was drawn on
 */

/** One series. */
export class Session extends EventTarget {
  /**
   * @param {any} displaySet of OHIF
   * @param {Grid} grid
   * @param {Labelmap} map
   * @param {string[]} labels names of the values 1, 2, ...
   */
  constructor(displaySet, grid, map, labels) {
    super();
    this.displaySet = displaySet;
    /** Id of the image on the server. @type {string} */
    this.image = displaySet.SeriesInstanceUID;
    this.grid = grid;
    this.map = map;
    this.labels = [...labels];
    /** Value of the label that is annotated. */
    this.label = 1;
    /** @type {Map<string, import('./prompts.js').Prompt>} */
    this.prompts = new Map();
    this.history = new History();
    /** Slices as they were at the last step; those that are missing were empty. */
    this._known = new Map();
    /** The last step that the server has. @type {import('./history.js').Step | undefined} */
    this._saved = undefined;
    /** Unsaved work came from an earlier page. */
    this._restored = false;
    /** Revision of the saved label that all this was drawn on; '' for none. */
    this.base = '';
    /** How sure a volume was of the label, by slice. @type {Map<number, number>} */
    this.confidence = new Map();
    /** Slices that the server has encoded. @type {Set<number>} */
    this.encoded = new Set();
    /** How unsure the last answer on a slice was, in per cent. @type {Map<number, Uint8Array>} */
    this.uncertainty = new Map();
    /** Ask for that too. */
    this.wantsUncertainty = false;
    /** What the last answer of the server said. @type {Record<string, any> | null} */
    this.facts = null;
    /** Milliseconds from asking to drawing. */
    this.milliseconds = 0;
  }

  /**
   * Begin with an empty label map.
   * @param {any} services of OHIF
   * @param {any} displaySet of OHIF
   * @param {string[]} labels
   * @returns {Promise<Session>}
   * @throws {UseError} where the series is no volume
   */
  static async open(services, displaySet, labels) {
    const instances = displaySet.instances ?? displaySet.images;
    const grid = new Grid(
      instances,
      instances.map((instance, n) => instance.imageId ?? displaySet.imageIds[n])
    );
    const map = await Labelmap.create(services, displaySet, grid, labels);
    return new Session(displaySet, grid, map, labels);
  }

  /** Tell whoever shows this. */
  changed() {
    this.dispatchEvent(new Event('change'));
  }

  /** Name of the label that is annotated. */
  get labelName() {
    return this.labels[this.label - 1];
  }

  /**
   * Choose the label that is annotated.
   * @param {number} value
   */
  choose(value) {
    this.label = value;
    this.map.choose(value);
    this.changed();
  }

  /**
   * One more label, which is chosen.
   * @param {string} name
   * @throws {UseError} for a name that is none, or is there
   */
  addLabel(name) {
    if (!name.trim() || name.length > 64 || this.labels.includes(name.trim())) {
      throw new UseError('A label needs a name of its own, of at most 64 characters.');
    }
    this.labels.push(name.trim());
    this.map.addLabel(this.labels.length, name.trim());
    this.choose(this.labels.length);
  }

  /**
   * The prompt of a label on a slice; what is drawn there is where a new one starts.
   * @param {number} label
   * @param {number} k
   */
  promptOf(label, k) {
    return this.prompts.get(keyOf(label, k)) ?? emptyPrompt(this.map.mask(k, label));
  }

  /** Whether the server lacks any of this. */
  get unsaved() {
    return this._restored || this.history.done.at(-1) !== this._saved;
  }

  /**
   * Show the label that the server has of this image; not a step that can be taken back.
   * @returns {Promise<boolean>} whether there is one
   */
  async loadSaved() {
    const saved = await savedLabel(this.image);
    if (!saved) {
      return false;
    }
    const slices = await this._changesTo(saved);
    this.base = saved.revision;
    this.map.apply(slices, 'after');
    this._remember(slices, 'after');
    this.changed();
    return true;
  }

  /**
   * Show the label that somebody else has saved, as a step; undo brings back what was here.
   */
  async takeSaved() {
    this.notice();
    const saved = await savedLabel(this.image);
    this.base = saved?.revision ?? '';
    if (saved) {
      const slices = await this._changesTo(saved);
      const over = [...this.prompts].map(([key, before]) => ({ key, before, after: null }));
      this._do({ title: 'the other label', slices, prompts: over });
      this._saved = this.history.done.at(-1);
      this._restored = false;
      this.changed();
    }
  }

  /**
   * What turns the label map into a saved one.
   * @param {{file: Blob, names: Map<number, string>}} saved
   */
  async _changesTo(saved) {
    const values = await readLabelMap(saved.file, this.grid.shape);
    const meant = new Map();
    for (const value of new Set(values)) {
      if (value) {
        meant.set(value, this._valueOf(saved.names.get(value) ?? `label ${value}`));
      }
    }
    const [columns, rows] = this.grid.shape;
    return this.grid.slices.flatMap((_, k) => {
      const after = Uint8Array.from(
        { length: columns * rows },
        (_unused, n) => meant.get(values[k * columns * rows + n]) ?? 0
      );
      return difference(k, this.map.slice(k), after) ?? [];
    });
  }

  /** @param {string} name @returns {number} value of the label, which is added where missing */
  _valueOf(name) {
    if (!this.labels.includes(name)) {
      this.labels.push(name);
      this.map.addLabel(this.labels.length, name);
    }
    return this.labels.indexOf(name) + 1;
  }

  /** Everything that is not on the server. @returns {Snapshot} */
  snapshot() {
    const slices = this.map.filled().flatMap(k => {
      const values = this.map.slice(k);
      return difference(k, new Uint8Array(values.length), values) ?? [];
    });
    const { done, undone } = this.history;
    const prompts = [...this.prompts];
    const { labels, label, base } = this;
    return { labels, label, slices, prompts, done, undone, base };
  }

  /**
   * Go on where another page stopped.
   * @param {Snapshot} snapshot
   */
  restore(snapshot) {
    for (const name of snapshot.labels) {
      this._valueOf(name);
    }
    this.map.apply(snapshot.slices, 'after');
    this._remember(snapshot.slices, 'after');
    this.prompts = new Map(snapshot.prompts);
    this.history.done = snapshot.done;
    this.history.undone = snapshot.undone;
    this._restored = true;
    this.base = snapshot.base ?? '';
    this.choose(snapshot.label);
  }

  /**
   * Store all labels of the image as its final label.
   * @param {string} client who saves
   * @returns {Promise<{stored: boolean, note: string}>} of the server
   * @throws {Conflict} somebody else has saved meanwhile
   */
  async save(client) {
    this.notice();
    const last = this.history.done.at(-1);
    const filled = this.map.filled();
    const answer = await saveLabel(this.image, this.map.whole(), {
      label_info: this.labels.map((name, index) => ({ name, idx: index + 1 })),
      reviewed: [...new Set([...filled, ...this._known.keys()])].sort((a, b) => a - b),
      prompts: this.history.done.filter(step => / click$|^box$/.test(step.title)).length,
      model: CLICK_MODEL,
      model_version: String(this.facts?.model_version ?? ''),
      client_id: client,
      based_on: this.base,
    });
    this.base = answer.revision;
    this._saved = last;
    this._restored = false;
    this.changed();
    return answer;
  }

  /** Whether the PACS has what was saved. @returns {Promise<boolean>} */
  async isStored() {
    return (await labelFacts(this.image)).stored !== false;
  }

  /**
   * One more click or box: ask the server and draw its answer.
   * @param {number} label value
   * @param {number} k slice
   * @param {import('./prompts.js').Click | import('./prompts.js').Box} added
   */
  async prompt(label, k, added) {
    this.notice();
    const key = keyOf(label, k);
    const prompt = extended(this.promptOf(label, k), added);
    if (!isComplete(prompt)) {
      throw new UseError('Click on the object first: a background click alone finds nothing.');
    }
    const begun = performance.now();
    const mask = await this._segment(label, k, prompt);
    this.notice(); // what was painted while the server worked
    const change = this._withLabel(k, label, mask);
    this._do({
      title: added.kind === 'box' ? 'box' : `${added.kind} click`,
      slices: change ? [change] : [],
      prompts: [{ key, before: this.prompts.get(key) ?? null, after: prompt }],
    });
    this.milliseconds = performance.now() - begun;
    this.changed();
  }

  /**
   * What one more point would give; nothing is drawn or noted down.
   * @param {number} k slice
   * @param {[number, number]} pixel
   * @param {AbortSignal} signal
   * @returns {Promise<Uint8Array>} mask
   */
  async preview(k, pixel, signal) {
    const prompt = extended(this.promptOf(this.label, k), { kind: 'foreground', at: pixel });
    const params = { ...paramsOf(prompt, k), label: this.labelName };
    const answer = await infer(CLICK_MODEL, this.image, params, prompt.start, signal);
    const slices = await readSlices(answer.mask, this.grid.shape);
    return slices.get(k) ?? new Uint8Array(this.map.slice(k).length);
  }

  /**
   * Ask again for the prompt of a slice, with its uncertainty.
   * @param {number} k slice
   */
  async findUncertainty(k) {
    const prompt = this.prompts.get(keyOf(this.label, k));
    if (prompt && !this.uncertainty.has(k)) {
      await this._segment(this.label, k, prompt);
      this.changed();
    }
  }

  /**
   * Replace the label by what a volume gave, except on some slices.
   * @param {number} label value
   * @param {Map<number, Uint8Array>} masks
   * @param {Set<number>} kept slices that stay as they are
   * @param {Record<string, any>} facts of the answer
   */
  takeVolume(label, masks, kept, facts) {
    this.notice();
    this.facts = facts;
    const slices = this.grid.slices.flatMap((_, k) => {
      const mask = masks.get(k);
      if (kept.has(k) || !(mask || this.map.mask(k, label))) {
        return [];
      }
      return this._withLabel(k, label, mask ?? new Uint8Array(this.map.slice(k).length)) ?? [];
    });
    this._do({ title: 'volume', slices, prompts: [] });
    const first = facts.slices?.first ?? 0;
    this.confidence = new Map(facts.confidence.map((sure, n) => [first + n, sure]));
    this.changed();
  }

  /**
   * @param {number} label
   * @param {number} k
   * @param {import('./prompts.js').Prompt} prompt
   * @returns {Promise<Uint8Array>} mask of the slice
   */
  async _segment(label, k, prompt) {
    const doubt = this.wantsUncertainty ? { uncertainty: true } : {};
    const params = { ...paramsOf(prompt, k), label: this.labels[label - 1], ...doubt };
    const answer = await infer(CLICK_MODEL, this.image, params, prompt.start);
    this.facts = answer.facts;
    for (const slice of answer.facts.encode_ahead?.slices ?? [k]) {
      this.encoded.add(slice);
    }
    this.uncertainty.delete(k);
    if (answer.uncertainty) {
      const doubts = await readSlices(answer.uncertainty, this.grid.shape);
      this.uncertainty.set(k, doubts.get(k) ?? new Uint8Array(0));
    }
    const slices = await readSlices(answer.mask, this.grid.shape);
    return slices.get(k) ?? new Uint8Array(this.map.slice(k).length);
  }

  /**
   * Remove a label.
   * @param {number} label value
   * @param {number[]} slices where
   */
  clear(label, slices) {
    this.notice();
    const changes = slices.flatMap(
      k => this._withLabel(k, label, new Uint8Array(this.map.slice(k).length)) ?? []
    );
    const keys = [...this.prompts.keys()].filter(
      key => partsOf(key).label === label && slices.includes(partsOf(key).k)
    );
    const prompts = keys.map(key => ({ key, before: this.prompts.get(key) ?? null, after: null }));
    if (changes.length || prompts.length) {
      this._do({ title: 'clear', slices: changes, prompts });
    }
  }

  /** Take back the last step. @returns {boolean} whether there was one */
  undo() {
    this.notice();
    return this._go(this.history.undo(), 'before');
  }

  /** Do the step again that was taken back last. @returns {boolean} whether there was one */
  redo() {
    this.notice();
    return this._go(this.history.redo(), 'after');
  }

  /**
   * See what brush and eraser did since the last step, and make it a step. The prompts of those
   * slices are over; the next click there starts from what was painted.
   */
  notice() {
    const slices = this.map.takeTouched().flatMap(k => {
      const values = this.map.slice(k);
      return difference(k, this._known.get(k) ?? new Uint8Array(values.length), values) ?? [];
    });
    if (!slices.length) {
      return;
    }
    const edited = new Set(slices.map(({ k }) => k));
    const prompts = [...this.prompts]
      .filter(([key]) => edited.has(partsOf(key).k))
      .map(([key, before]) => ({ key, before, after: null }));
    this._remember(slices, 'after');
    this._setPrompts(prompts, 'after');
    this.history.push({ title: 'brush', slices, prompts });
    this.changed();
  }

  /**
   * Turn a label's mask on a slice into a change; of two labels the one edited last wins.
   * @param {number} k
   * @param {number} label value
   * @param {Uint8Array} mask not 0 inside
   */
  _withLabel(k, label, mask) {
    const before = this.map.slice(k);
    const after = before.map((value, n) => (mask[n] ? label : value === label ? 0 : value));
    return difference(k, before, after);
  }

  /** @param {import('./history.js').Step} step */
  _do(step) {
    this.history.push(step);
    this._go(step, 'after');
  }

  /**
   * @param {import('./history.js').Step | undefined} step
   * @param {'before' | 'after'} state
   */
  _go(step, state) {
    if (!step) {
      return false;
    }
    this.map.apply(step.slices, state);
    this._remember(step.slices, state);
    this._setPrompts(step.prompts, state);
    this.changed();
    return true;
  }

  /**
   * @param {import('./history.js').SliceChange[]} changes
   * @param {'before' | 'after'} state
   */
  _remember(changes, state) {
    for (const change of changes) {
      const known = this._known.get(change.k) ?? new Uint8Array(this.map.slice(change.k).length);
      change.index.forEach((at, n) => {
        known[at] = change[state][n];
      });
      this._known.set(change.k, known);
    }
  }

  /**
   * @param {import('./history.js').PromptChange[]} changes
   * @param {'before' | 'after'} state
   */
  _setPrompts(changes, state) {
    for (const change of changes) {
      const prompt = change[state];
      if (prompt) {
        this.prompts.set(change.key, prompt);
      } else {
        this.prompts.delete(change.key);
      }
    }
  }
}
