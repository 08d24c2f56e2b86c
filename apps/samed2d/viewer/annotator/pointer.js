/**
 * The left mouse button while prompts are on: a click sets a point, with Shift a point outside of
 * the object, a drag draws a box. OHIF's tools get the button only when prompts are off; the other
 * buttons are always theirs.
 *
 * The listeners sit on the document and are asked before cornerstone's, which would hold a click
 * back until it is sure that no second one follows.
 */

import { displaySetIn, paneAt } from './host.js';

/** Movement in CSS pixels up to which a drag is a click. */
const STILL = 5;

/**
 * @typedef {Object} Target
 * @property {import('./host.js').Pane} pane
 * @property {number} k
 * @property {number} i not rounded
 * @property {number} j not rounded
 */

/** @typedef {{i: number, j: number}} Corner */

/**
 * @typedef {Object} Listener
 * @property {() => boolean} isOn whether clicks are prompts now
 * @property {() => import('./session.js').Session | null} session
 * @property {(target: Target, isBackground: boolean) => void} onClick
 * @property {(from: Target, to: Target) => void} onBox
 * @property {(from: Target | null, to: Target | null) => void} onDrag told while a box is drawn
 * @property {(target: Target | null) => void} onHover
 */

/** Mouse events of all panes. */
export class Pointer {
  /**
   * @param {any} services of OHIF
   * @param {Listener} listener
   */
  constructor(services, listener) {
    this._services = services;
    this._listener = listener;
    /** @type {{event: MouseEvent, target: Target} | null} */
    this._down = null;
    this._abort = new AbortController();
    const options = { capture: true, signal: this._abort.signal };
    document.addEventListener('mousedown', event => this._onDown(event), options);
    document.addEventListener('mousemove', event => this._onMove(event), options);
    document.addEventListener('mouseup', event => this._onUp(event), options);
  }

  /** Listen no more. */
  close() {
    this._abort.abort();
  }

  /** @param {MouseEvent} event */
  _onDown(event) {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || !this._listener.isOn()) {
      return;
    }
    const target = this._targetOf(event);
    if (!target) {
      return;
    }
    swallow(event);
    this._services.viewportGridService.setActiveViewportId(target.pane.id);
    this._down = { event, target };
  }

  /** @param {MouseEvent} event */
  _onMove(event) {
    if (!this._down) {
      this._listener.onHover(this._listener.isOn() ? this._targetOf(event) : null);
      return;
    }
    swallow(event);
    const { pane, k } = this._down.target;
    this._listener.onDrag(
      this._down.target,
      isStill(this._down.event, event) ? null : this._targetIn(pane, k, event)
    );
  }

  /** @param {MouseEvent} event */
  _onUp(event) {
    if (!this._down || event.button !== 0) {
      return;
    }
    swallow(event);
    const { event: begun, target } = this._down;
    this._down = null;
    this._listener.onDrag(null, null);
    if (isStill(begun, event)) {
      this._listener.onClick(target, begun.shiftKey);
    } else {
      this._listener.onBox(target, this._targetIn(target.pane, target.k, event));
    }
  }

  /** @param {MouseEvent} event @returns {Target | null} the voxel under the mouse */
  _targetOf(event) {
    const session = this._listener.session();
    const pane = paneAt(this._services, event.target);
    if (!session || !pane || displaySetIn(this._services, pane.id) !== session.displaySet) {
      return null;
    }
    const shown = session.grid.sliceOf(pane.viewport.getCurrentImageId?.() ?? '');
    const k = shown >= 0 ? shown : session.grid.nearestSlice(worldAt(pane, event));
    const target = this._targetIn(pane, k, event);
    return session.grid.holds(Math.round(target.i), Math.round(target.j)) ? target : null;
  }

  /**
   * @param {import('./host.js').Pane} pane
   * @param {number} k
   * @param {MouseEvent} event
   * @returns {Target} on a slice, perhaps outside of the image
   */
  _targetIn(pane, k, event) {
    const { grid } = /** @type {import('./session.js').Session} */ (this._listener.session());
    const [i, j] = grid.pixelAt(worldAt(pane, event), k);
    return { pane, k, i, j };
  }
}

/** @param {import('./host.js').Pane} pane @param {MouseEvent} event */
function worldAt(pane, event) {
  const frame = pane.viewport.canvas.getBoundingClientRect();
  return pane.viewport.canvasToWorld([event.clientX - frame.x, event.clientY - frame.y]);
}

/** @param {MouseEvent} from @param {MouseEvent} to */
const isStill = (from, to) =>
  Math.hypot(to.clientX - from.clientX, to.clientY - from.clientY) < STILL;

/** @param {Event} event */
function swallow(event) {
  event.stopImmediatePropagation();
  event.preventDefault();
}
