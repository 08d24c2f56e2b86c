/**
 * What was done, step by step, to any depth. A step knows the values of the voxels it changed
 * before and after, and the prompts before and after, so that it can be taken back and done again.
 */

/**
 * @typedef {Object} SliceChange
 * @property {number} k
 * @property {Uint32Array} index flat positions on the slice, i fastest
 * @property {Uint8Array} before
 * @property {Uint8Array} after
 */

/**
 * @typedef {Object} PromptChange
 * @property {string} key see prompts.js
 * @property {import('./prompts.js').Prompt | null} before
 * @property {import('./prompts.js').Prompt | null} after
 */

/**
 * @typedef {Object} Step
 * @property {string} title what a person would call it
 * @property {SliceChange[]} slices
 * @property {PromptChange[]} prompts
 */

/** Two piles of steps. */
export class History {
  constructor() {
    /** @type {Step[]} */
    this.done = [];
    /** @type {Step[]} */
    this.undone = [];
  }

  /**
   * Note down a step; what was taken back before it cannot be done again any more.
   * @param {Step} step
   */
  push(step) {
    this.done.push(step);
    this.undone = [];
  }

  /** Take a step from one pile to the other. @returns {Step | undefined} the one to take back */
  undo() {
    const step = this.done.pop();
    if (step) {
      this.undone.push(step);
    }
    return step;
  }

  /** @returns {Step | undefined} the one to do again */
  redo() {
    const step = this.undone.pop();
    if (step) {
      this.done.push(step);
    }
    return step;
  }
}

/**
 * Where two states of a slice differ.
 * @param {number} k
 * @param {Uint8Array} before
 * @param {Uint8Array} after
 * @returns {SliceChange | null} null where nowhere
 */
export function difference(k, before, after) {
  const found = [];
  for (let n = 0; n < after.length; n += 1) {
    if (before[n] !== after[n]) {
      found.push(n);
    }
  }
  if (!found.length) {
    return null;
  }
  const index = Uint32Array.from(found);
  return {
    k,
    index,
    before: Uint8Array.from(index, n => before[n]),
    after: Uint8Array.from(index, n => after[n]),
  };
}
