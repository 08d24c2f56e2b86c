/**
 * The label map of a series as OHIF holds it: one segmentation with one value for each label, drawn
 * over every pane that shows the series. Slices are those of grid.js.
 */

import { isEmpty } from './bytes.js';
import { cornerstone, panesShowing, tools } from './host.js';

/** @typedef {import('./history.js').SliceChange} SliceChange */

const LABELMAP = 'Labelmap';

/** One segmentation. */
export class Labelmap {
  /**
   * @param {any} services of OHIF
   * @param {any} displaySet of the series
   * @param {import('./grid.js').Grid} grid
   * @param {string} id of the segmentation
   */
  constructor(services, displaySet, grid, id) {
    this._services = services;
    this._displaySet = displaySet;
    this._grid = grid;
    this.id = id;
    /** @type {Map<number, {index: number, imageId: string}>} */
    this._images = new Map();
    /** Slices that a brush changed since somebody asked. @type {Set<number>} */
    this._touched = new Set();
    this._own = false;
    /** Labels that were added, by value. @type {Map<number, string>} */
    this._added = new Map();
    this._chosen = 1;
    /** @param {any} event */
    this._onModified = event => this._noteTouched(event.detail);
    /** @param {any} event */
    this._onSegments = event => this._keepLabels(event.detail);
    const { Events } = tools().Enums;
    const { eventTarget } = cornerstone();
    eventTarget.addEventListener(Events.SEGMENTATION_DATA_MODIFIED, this._onModified);
    eventTarget.addEventListener(Events.SEGMENTATION_MODIFIED, this._onSegments);
  }

  /** Forget OHIF; the segmentation itself stays. */
  close() {
    const { Events } = tools().Enums;
    const { eventTarget } = cornerstone();
    eventTarget.removeEventListener(Events.SEGMENTATION_DATA_MODIFIED, this._onModified);
    eventTarget.removeEventListener(Events.SEGMENTATION_MODIFIED, this._onSegments);
  }

  /**
   * OHIF measures a segmentation some time after it was drawn in, and then puts back the labels that
   * it had when it began: one that was added meanwhile is gone, and is added again.
   * @param {{segmentationId: string}} detail
   */
  _keepLabels({ segmentationId }) {
    const { segmentationService } = this._services;
    const segments = segmentationService.getSegmentation(this.id)?.segments;
    if (segmentationId !== this.id || !segments) {
      return;
    }
    for (const [value, label] of this._added) {
      if (!segments[value]) {
        const active = value === this._chosen;
        segmentationService.addSegment(this.id, { segmentIndex: value, label, active });
      }
    }
  }

  /**
   * Cornerstone says which slices a brush changed by numbers of the pane it was used in, which in a
   * stack are always 0. So it is the slice on the screen, or with other panes any.
   * @param {{segmentationId: string}} detail
   */
  _noteTouched({ segmentationId }) {
    if (segmentationId !== this.id || this._own) {
      return;
    }
    for (const pane of panesShowing(this._services, this._displaySet.displaySetInstanceUID)) {
      const isStack = pane.viewport.type === cornerstone().Enums.ViewportType.STACK;
      const shown = this._grid.sliceOf(pane.viewport.getCurrentImageId?.() ?? '');
      for (const k of isStack && shown >= 0 ? [shown] : this._images.keys()) {
        this._touched.add(k);
      }
    }
  }

  /** Slices that brushes may have changed since the last call. @returns {number[]} */
  takeTouched() {
    const found = [...this._touched];
    this._touched.clear();
    return found;
  }

  /**
   * Make an empty segmentation.
   * @param {any} services of OHIF
   * @param {any} displaySet of the series
   * @param {import('./grid.js').Grid} grid
   * @param {string[]} labels names of the values 1, 2, ...
   * @returns {Promise<Labelmap>}
   */
  static async create(services, displaySet, grid, labels) {
    const id = `samed2d-${displaySet.SeriesInstanceUID}`;
    const map = new Labelmap(services, displaySet, grid, id);
    const { segmentationService } = services;
    await segmentationService.createLabelmapForDisplaySet(displaySet, {
      segmentationId: id,
      label: 'Annotation',
      segments: Object.fromEntries(
        labels.map((label, index) => [
          index + 1,
          { segmentIndex: index + 1, label, active: index === 0, locked: false, cachedStats: {} },
        ])
      ),
    });
    map._findImages();
    await map.show();
    return map;
  }

  _findImages() {
    const segmentation = this._services.segmentationService.getSegmentation(this.id);
    segmentation.representationData.Labelmap.imageIds.forEach((imageId, index) => {
      const { referencedImageId } = cornerstone().cache.getImage(imageId);
      this._images.set(this._grid.sliceOf(referencedImageId), { index, imageId });
    });
  }

  /** Draw it in every pane that shows the series and does not draw it yet. */
  async show() {
    const { segmentationService } = this._services;
    for (const pane of panesShowing(this._services, this._displaySet.displaySetInstanceUID)) {
      const drawn = segmentationService.getSegmentationRepresentations(pane.id, {
        segmentationId: this.id,
      });
      if (!drawn.length) {
        await segmentationService.addSegmentationRepresentation(pane.id, {
          segmentationId: this.id,
          type: LABELMAP,
        });
      }
      segmentationService.setActiveSegmentation(pane.id, this.id);
    }
  }

  /**
   * One more label.
   * @param {number} value
   * @param {string} label
   */
  addLabel(value, label) {
    this._added.set(value, label);
    this._services.segmentationService.addSegment(this.id, { segmentIndex: value, label });
  }

  /**
   * The label that brushes paint.
   * @param {number} value
   */
  choose(value) {
    this._chosen = value;
    this._services.segmentationService.setActiveSegment(this.id, value);
  }

  /**
   * Colour of a label on the screen.
   * @param {number} value
   * @returns {string} for CSS
   */
  colour(value) {
    const [pane] = panesShowing(this._services, this._displaySet.displaySetInstanceUID);
    try {
      const { segmentationService } = this._services;
      const [r, g, b] = segmentationService.getSegmentColor(pane.id, this.id, value);
      return `rgb(${r}, ${g}, ${b})`;
    } catch {
      return 'rgb(128, 128, 128)';
    }
  }

  /**
   * Values of a slice, i fastest; the very memory that OHIF draws.
   * @param {number} k
   * @returns {Uint8Array}
   */
  slice(k) {
    const { imageId } = /** @type {{imageId: string}} */ (this._images.get(k));
    return cornerstone().cache.getImage(imageId).voxelManager.getScalarData();
  }

  /**
   * Where a label is on a slice.
   * @param {number} k
   * @param {number} value
   * @returns {Uint8Array | null} 1 inside; null where it is nowhere
   */
  mask(k, value) {
    const values = this.slice(k);
    return values.includes(value) ? Uint8Array.from(values, v => Number(v === value)) : null;
  }

  /**
   * Change voxels and draw them.
   * @param {SliceChange[]} changes
   * @param {'before' | 'after'} state which of the two states is wanted
   */
  apply(changes, state) {
    for (const change of changes) {
      const values = this.slice(change.k);
      const wanted = change[state];
      change.index.forEach((at, n) => {
        values[at] = wanted[n];
      });
    }
    this.redraw(changes.map(change => change.k));
  }

  /**
   * Tell OHIF that slices changed.
   * @param {number[]} slices
   */
  redraw(slices) {
    const indices = slices.flatMap(k => this._images.get(k)?.index ?? []);
    if (!indices.length) {
      return;
    }
    const { triggerSegmentationDataModified } = tools().segmentation.triggerSegmentationEvents;
    this._own = true;
    triggerSegmentationDataModified(this.id, indices);
    this._own = false;
  }

  /** Slices that hold any label. @returns {number[]} */
  filled() {
    return [...this._images.keys()].filter(k => !isEmpty(this.slice(k))).sort((a, b) => a - b);
  }

  /** All values, i fastest, then j, then k: what the server stores. @returns {Uint8Array} */
  whole() {
    const [columns, rows, count] = this._grid.shape;
    const all = new Uint8Array(columns * rows * count);
    for (let k = 0; k < count; k += 1) {
      all.set(this.slice(k), k * columns * rows);
    }
    return all;
  }
}
