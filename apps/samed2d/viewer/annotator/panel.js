/** The panel at the right side: plain elements, made once and kept up to date. */

import { viewPart, volumePart } from './assist-panel.js';
import { casePart, modelPart } from './cycle-panel.js';
import { button, make, section } from './dom.js';
import { SignedOut } from './errors.js';
import { HELP } from './keys.js';

/**
 * Show an annotator.
 * @param {HTMLElement} root where; what is there is replaced
 * @param {import('./annotator.js').Annotator} annotator
 * @returns {() => void} shows it no more
 */
export function showPanel(root, annotator) {
  const parts = PARTS.map(part => part(annotator));
  root.replaceChildren(...parts.map(({ element }) => element));
  const update = () => {
    for (const part of parts) {
      part.update();
    }
  };
  annotator.addEventListener('change', update);
  update();
  return () => annotator.removeEventListener('change', update);
}

/** @typedef {import('./annotator.js').Annotator} Annotator */
/** @typedef {{element: HTMLElement, update: () => void}} Part */

/** @param {Annotator} annotator @returns {Part} */
function messagePart(annotator) {
  const said = make('output', { className: 'samed2d-message' });
  const form = make('a', { href: '/login/', target: '_blank', className: 'samed2d-sign-in' });
  form.textContent = 'Sign in (in a new tab)';
  const update = () => {
    const { text, isError } = annotator.message;
    said.textContent = text;
    said.dataset.state = annotator.lost ? 'lost' : isError ? 'error' : 'good';
    form.hidden = !(annotator.lost instanceof SignedOut);
  };
  return { element: make('div', {}, said, form), update };
}

/** @param {Annotator} annotator @returns {Part} */
function labelPart(annotator) {
  const list = make('ul', { className: 'samed2d-labels' });
  const name = make('input', { placeholder: 'another label', maxLength: 64 });
  const add = event => {
    event.preventDefault();
    try {
      annotator.session?.addLabel(name.value);
      name.value = '';
    } catch (error) {
      annotator.fail(error);
    }
  };
  const form = make('form', { onsubmit: add }, name, make('button', {}, 'Add'));
  const update = () => {
    const { session } = annotator;
    list.replaceChildren(...(session?.labels ?? []).map((_, n) => labelRow(annotator, n + 1)));
  };
  return { element: section('Label', list, form), update };
}

/** @param {Annotator} annotator @param {number} value */
function labelRow(annotator, value) {
  const session = /** @type {import('./session.js').Session} */ (annotator.session);
  const swatch = make('i', {});
  swatch.style.background = session.map.colour(value);
  const name = session.labels[value - 1];
  const row = button(name, 'label', () => session.choose(value), value < 10 ? `Key ${value}` : '');
  row.prepend(swatch);
  row.dataset.label = name;
  row.setAttribute('aria-pressed', String(value === session.label));
  return make('li', {}, row);
}

/** @param {Annotator} annotator @returns {Part} */
function toolPart(annotator) {
  const { tool } = annotator;
  const buttons = [
    button('Click and box', 'prompt', () => tool.choose('prompt'), 'Key C. Shift: background'),
    button('Brush', 'brush', () => tool.choose('brush'), 'Key B'),
    button('Eraser', 'eraser', () => tool.choose('eraser'), 'Key E'),
  ];
  const size = make('input', { type: 'range', min: '1', max: '40', title: 'Brush, mm' });
  size.oninput = () => tool.resize(Number(size.value));
  const update = () => {
    for (const one of buttons) {
      one.setAttribute('aria-pressed', String(one.dataset.action === tool.chosen));
    }
    size.value = String(tool.radius);
    size.hidden = !['brush', 'eraser'].includes(tool.chosen);
  };
  const row = make('div', { className: 'samed2d-row' }, ...buttons);
  const help = make('p', {}, 'Click: inside. Shift and click: not this. Drag: box.');
  return { element: section('Draw', row, size, help), update };
}

/** @param {Annotator} annotator @returns {Part} */
function stepPart(annotator) {
  const undo = button('Undo', 'undo', () => annotator.undo(), 'Ctrl+Z');
  const redo = button('Redo', 'redo', () => annotator.redo(), 'Ctrl+Shift+Z or Ctrl+Y');
  const slice = button('Clear slice', 'clear-slice', () => annotator.clearSlice(), 'Delete');
  const label = button('Clear label', 'clear-label', () => annotator.clearLabel());
  const update = () => {
    undo.disabled = !annotator.session?.history.done.length;
    redo.disabled = !annotator.session?.history.undone.length;
  };
  const element = make('div', { className: 'samed2d-row' }, undo, redo, slice, label);
  return { element, update };
}

/** Who is signed in, with the way out. @param {Annotator} annotator @returns {Part} */
function callerPart(annotator) {
  const name = make('p', { className: 'samed2d-caller' });
  const out = button('Sign out', 'sign-out', () => annotator.signOut());
  const element = make('div', { className: 'samed2d-row' }, name, out);
  const update = () => {
    const { caller } = annotator;
    element.hidden = !caller;
    name.textContent = caller ? `${caller.username}, ${caller.role}` : '';
  };
  return { element, update };
}

/** @returns {Part} */
function helpPart() {
  const rows = HELP.map(([key, what]) => make('tr', {}, make('th', {}, key), make('td', {}, what)));
  const table = make('table', {}, ...rows);
  return {
    element: make('details', {}, make('summary', {}, 'Keys'), table),
    update: () => {},
  };
}

const PARTS = [
  messagePart,
  labelPart,
  toolPart,
  stepPart,
  volumePart,
  viewPart,
  casePart,
  modelPart,
  callerPart,
  helpPart,
];
