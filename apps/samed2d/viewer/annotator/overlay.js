/**
 * What is drawn over a pane: the points and the box of its slice, the box that is being drawn, how
 * unsure the answer is, what a click would give, a strip of all slices, and in a corner how fast the
 * last answer was and where it came from. Redrawn with every picture.
 */

import { cornerstone, displaySetIn, paneAt } from './host.js';
import { partsOf } from './prompts.js';
import { drawStrip } from './slice-strip.js';
import { ghost, heat, lay, picture } from './tint.js';

const SVG = 'http://www.w3.org/2000/svg';
const LAYER = 'samed2d-overlay';

/** @typedef {import('./pointer.js').Target} Target */

/**
 * The elements over one pane.
 * @typedef {Object} Layer
 * @property {HTMLCanvasElement} canvas
 * @property {SVGElement} svg
 * @property {HTMLElement} corner
 * @property {HTMLCanvasElement} strip
 */

/** The drawings over all panes. */
export class Overlay {
  /**
   * @param {any} services of OHIF
   * @param {() => import('./session.js').Session | null} session
   */
  constructor(services, session) {
    this._services = services;
    this._session = session;
    /** Clicks that are on their way. @type {{label: number, k: number, added: any}[]} */
    this.pending = [];
    /** @type {{from: Target, to: Target} | null} */
    this.rubberBand = null;
    this.corner = '';
    this.showsUncertainty = false;
    /** What a click would give. @type {{k: number, mask: Uint8Array} | null} */
    this.preview = null;
    this._abort = new AbortController();
    // These events do not bubble, but are seen on their way down.
    document.addEventListener(
      cornerstone().Enums.Events.IMAGE_RENDERED,
      event => this._drawAt(event.target),
      { capture: true, signal: this._abort.signal }
    );
  }

  /** Remove all drawings. */
  close() {
    this._abort.abort();
    for (const layer of document.querySelectorAll(`.${LAYER}`)) {
      layer.remove();
    }
  }

  /** Draw again, everywhere. */
  draw() {
    for (const element of document.querySelectorAll('[data-viewport-uid]')) {
      this._drawAt(element);
    }
  }

  /** @param {EventTarget | null} target */
  _drawAt(target) {
    const session = this._session();
    const pane = paneAt(this._services, target);
    if (!pane) {
      return;
    }
    const layer = layerOf(pane.element);
    layer.svg.replaceChildren();
    layer.corner.textContent = '';
    layer.strip.hidden = true;
    lay(layer.canvas, [], pixel => pixel);
    if (!session || displaySetIn(this._services, pane.id) !== session.displaySet) {
      return;
    }
    layer.corner.textContent = this.corner;
    const k = session.grid.sliceOf(pane.viewport.getCurrentImageId?.() ?? '');
    layer.svg.append(...this._shapes(session, pane, k));
    const order = (pane.viewport.getImageIds?.() ?? []).map(id => session.grid.sliceOf(id));
    drawStrip(layer.strip, order, { ...pick(session), shown: k });
    if (k >= 0) {
      lay(layer.canvas, this._pictures(session, k), ([i, j]) =>
        pane.viewport.worldToCanvas(session.grid.worldAt(i, j, k))
      );
    }
  }

  /** @param {import('./session.js').Session} session @param {number} k */
  _pictures(session, k) {
    const doubt = this.showsUncertainty ? session.uncertainty.get(k) : null;
    const { columns } = session.grid;
    return [
      ...(doubt?.length ? [picture(doubt, columns, heat)] : []),
      ...(this.preview?.k === k ? [picture(this.preview.mask, columns, ghost)] : []),
    ];
  }

  /**
   * @param {import('./session.js').Session} session
   * @param {import('./host.js').Pane} pane
   * @param {number} k
   */
  _shapes(session, pane, k) {
    if (k < 0) {
      return [];
    }
    /** @param {[number, number]} pixel @returns {[number, number]} */
    const onScreen = ([i, j]) => pane.viewport.worldToCanvas(session.grid.worldAt(i, j, k));
    const shapes = [];
    for (const [key, prompt] of session.prompts) {
      if (partsOf(key).k === k && partsOf(key).label === session.label) {
        shapes.push(...shapesOf(prompt, onScreen, ''));
      }
    }
    for (const { label, k: slice, added } of this.pending) {
      if (slice === k && label === session.label) {
        const only = { foreground: [], background: [], box: null };
        const shown = added.kind === 'box' ? { box: added.at } : { [added.kind]: [added.at] };
        shapes.push(...shapesOf({ ...only, ...shown }, onScreen, 'samed2d-pending'));
      }
    }
    if (this.rubberBand && this.rubberBand.from.pane.id === pane.id) {
      const { from, to } = this.rubberBand;
      shapes.push(rectangle(onScreen([from.i, from.j]), onScreen([to.i, to.j]), 'samed2d-band'));
    }
    return shapes;
  }
}

/** @param {import('./session.js').Session} session */
const pick = ({ confidence, encoded }) => ({ confidence, encoded });

/**
 * @param {any} prompt
 * @param {(pixel: [number, number]) => [number, number]} onScreen
 * @param {string} look
 */
function shapesOf(prompt, onScreen, look) {
  const points = kind =>
    prompt[kind].map(pixel => circle(onScreen(pixel), `samed2d-${kind} ${look}`));
  const shapes = [...points('foreground'), ...points('background')];
  if (prompt.box) {
    const [i0, j0, i1, j1] = prompt.box;
    shapes.push(rectangle(onScreen([i0, j0]), onScreen([i1, j1]), `samed2d-box ${look}`));
  }
  return shapes;
}

/** @param {[number, number]} at @param {string} look */
function circle([x, y], look) {
  return shape('circle', { cx: x, cy: y, r: 4, class: look });
}

/** @param {[number, number]} one @param {[number, number]} other @param {string} look */
function rectangle([x0, y0], [x1, y1], look) {
  const points = [`${x0},${y0}`, `${x1},${y0}`, `${x1},${y1}`, `${x0},${y1}`].join(' ');
  return shape('polygon', { points, class: look });
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, String(value));
  }
  return made;
}

/** @param {HTMLElement} element @returns {Layer} */
function layerOf(element) {
  let layer = element.querySelector(`:scope > .${LAYER}`);
  if (!layer) {
    layer = document.createElement('div');
    layer.className = LAYER;
    const corner = document.createElement('div');
    corner.className = 'samed2d-corner';
    const strip = document.createElement('canvas');
    strip.className = 'samed2d-strip';
    const canvas = document.createElement('canvas');
    layer.append(canvas, document.createElementNS(SVG, 'svg'), corner, strip);
    element.append(layer);
  }
  const [canvas, svg, corner, strip] = /** @type {any} */ (layer.children);
  return /** @type {Layer} */ ({ canvas, svg, corner, strip });
}
