/** The pixel of a mask that is farthest from its border: where a person would click. */

/**
 * @param {Uint8Array} mask not 0 inside, i fastest
 * @param {number} columns
 * @returns {[number, number] | null} i and j; null for an empty mask
 */
export function deepestPixel(mask, columns) {
  const depth = new Uint32Array(mask.length);
  const rows = mask.length / columns;
  const at = (i, j) => (i < 0 || j < 0 || i >= columns || j >= rows ? 0 : depth[j * columns + i]);
  let best = -1;
  // City-block distance in two passes: from above and left, then from below and right.
  for (let n = 0; n < mask.length; n += 1) {
    const [i, j] = [n % columns, Math.floor(n / columns)];
    depth[n] = mask[n] ? Math.min(at(i - 1, j), at(i, j - 1)) + 1 : 0;
  }
  for (let n = mask.length - 1; n >= 0; n -= 1) {
    const [i, j] = [n % columns, Math.floor(n / columns)];
    depth[n] = Math.min(depth[n], at(i + 1, j) + 1, at(i, j + 1) + 1);
    if (depth[n] && (best < 0 || depth[n] > depth[best])) {
      best = n;
    }
  }
  return best < 0 ? null : [best % columns, Math.floor(best / columns)];
}
