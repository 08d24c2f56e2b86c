/**
 * Clicks and boxes that made a mask: one prompt for each label and slice. A prompt never changes;
 * a further click makes a new one, so that history.js can keep both.
 */

/**
 * @typedef {Object} Prompt
 * @property {Uint8Array | null} start mask that was there before the first click, 1 inside
 * @property {[number, number][]} foreground pixels inside of the object
 * @property {[number, number][]} background pixels outside of it
 * @property {[number, number, number, number] | null} box i0, j0, i1, j1
 */

/** @typedef {{kind: 'foreground' | 'background', at: [number, number]}} Click */
/** @typedef {{kind: 'box', at: [number, number, number, number]}} Box */

/**
 * Name of the prompt of a label on a slice.
 * @param {number} label value of the label
 * @param {number} k
 */
export const keyOf = (label, k) => `${label}/${k}`;

/**
 * Label and slice of such a name.
 * @param {string} key
 * @returns {{label: number, k: number}}
 */
export function partsOf(key) {
  const [label, k] = key.split('/').map(Number);
  return { label, k };
}

/**
 * A prompt without a click.
 * @param {Uint8Array | null} start
 * @returns {Prompt}
 */
export const emptyPrompt = start => ({ start, foreground: [], background: [], box: null });

/**
 * One more click.
 * @param {Prompt} prompt
 * @param {Click | Box} added
 * @returns {Prompt}
 */
export function extended(prompt, added) {
  if (added.kind === 'box') {
    return { ...prompt, box: added.at };
  }
  return { ...prompt, [added.kind]: [...prompt[added.kind], added.at] };
}

/**
 * Whether the server can answer it: background clicks alone say nothing of where an object is.
 * @param {Prompt} prompt
 */
export const isComplete = prompt =>
  prompt.foreground.length > 0 || prompt.box !== null || prompt.start !== null;

/**
 * What the server is sent for it.
 * @param {Prompt} prompt
 * @param {number} k slice
 * @returns {Record<string, any>}
 */
export function paramsOf(prompt, k) {
  const voxels = pixels => pixels.map(([i, j]) => [i, j, k]);
  const params = {
    foreground: voxels(prompt.foreground),
    background: voxels(prompt.background),
    slice: k,
  };
  if (prompt.box) {
    const [i0, j0, i1, j1] = prompt.box;
    params.roi = [i0, i1, j0, j1, k, k];
  }
  return params;
}
