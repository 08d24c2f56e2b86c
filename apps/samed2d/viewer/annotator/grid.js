/**
 * The voxel grid of a series, as the server counts it: i along a row, j along a column, and k from
 * slice to slice in the direction of the cross product of row and column. OHIF may show the slices
 * in another order; they are told apart by their image ids, never by counting.
 */

import { UseError } from './errors.js';

/** @typedef {[number, number, number]} Triple */

/**
 * @typedef {Object} Slice
 * @property {string} imageId of the image in OHIF
 * @property {Triple} origin centre of its first pixel, mm
 */

/** @param {Triple} a @param {Triple} b */
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

/** @param {Triple} a @param {Triple} b @returns {Triple} */
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];

/** @param {Triple} a @param {Triple} b @returns {Triple} */
const cross = (a, b) => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

/** One series with its axes. */
export class Grid {
  /**
   * @param {Record<string, any>[]} instances DICOM attributes of each image by name
   * @param {string[]} imageIds of the same images
   * @throws {UseError} where the images make no volume
   */
  constructor(instances, imageIds) {
    const first = instances[0];
    const cosines = (first.ImageOrientationPatient ?? [1, 0, 0, 0, 1, 0]).map(Number);
    /** @type {Triple} */
    this.alongRow = [cosines[0], cosines[1], cosines[2]];
    /** @type {Triple} */
    this.alongColumn = [cosines[3], cosines[4], cosines[5]];
    this.normal = cross(this.alongRow, this.alongColumn);
    const [rowsApart, columnsApart] = (first.PixelSpacing ?? [1, 1]).map(Number);
    this.spacing = [columnsApart, rowsApart];
    this.columns = Number(first.Columns);
    this.rows = Number(first.Rows);
    checkSame(instances);
    /** @type {Slice[]} */
    this.slices = instances
      .map((instance, index) => ({ imageId: imageIds[index], origin: originOf(instance) }))
      .sort((a, b) => dot(a.origin, this.normal) - dot(b.origin, this.normal));
    this._numbers = new Map(this.slices.map((slice, k) => [slice.imageId, k]));
  }

  /** Number of voxels along i, j and k. @returns {Triple} */
  get shape() {
    return [this.columns, this.rows, this.slices.length];
  }

  /**
   * Which slice an image is.
   * @param {string} imageId
   * @returns {number} k, or -1 for an image of another series
   */
  sliceOf(imageId) {
    return this._numbers.get(imageId) ?? -1;
  }

  /**
   * The slice nearest to a point.
   * @param {Triple} world mm
   */
  nearestSlice(world) {
    const depths = this.slices.map(slice => Math.abs(dot(minus(world, slice.origin), this.normal)));
    return depths.indexOf(Math.min(...depths));
  }

  /**
   * Position of a point on a slice.
   * @param {Triple} world mm
   * @param {number} k
   * @returns {[number, number]} i and j, not rounded
   */
  pixelAt(world, k) {
    const from = minus(world, this.slices[k].origin);
    return [
      dot(from, this.alongRow) / this.spacing[0],
      dot(from, this.alongColumn) / this.spacing[1],
    ];
  }

  /**
   * Centre of a voxel in space.
   * @param {number} i
   * @param {number} j
   * @param {number} k
   * @returns {Triple}
   */
  worldAt(i, j, k) {
    const { origin } = this.slices[k];
    const [right, down] = [i * this.spacing[0], j * this.spacing[1]];
    return /** @type {Triple} */ (
      origin.map((o, axis) => o + right * this.alongRow[axis] + down * this.alongColumn[axis])
    );
  }

  /**
   * Whether a pixel lies in the image.
   * @param {number} i
   * @param {number} j
   */
  holds(i, j) {
    return i >= 0 && j >= 0 && i < this.columns && j < this.rows;
  }
}

/** @param {Record<string, any>} instance @returns {Triple} */
function originOf(instance) {
  const [x, y, z] = (instance.ImagePositionPatient ?? [0, 0, 0]).map(Number);
  return [x, y, z];
}

/** @param {Record<string, any>[]} instances */
function checkSame(instances) {
  const { Rows, Columns } = instances[0];
  const other = instances.find(image => image.Rows !== Rows || image.Columns !== Columns);
  const places = new Set(instances.map(image => originOf(image).join()));
  if (other || places.size < instances.length) {
    throw new UseError(
      'The images of this series differ in size or lie at the same place, so they make no volume. ' +
        'Open another series of the study.'
    );
  }
}
