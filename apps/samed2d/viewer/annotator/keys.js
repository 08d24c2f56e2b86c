/**
 * Keyboard shortcuts. Asked before OHIF's own, and never while somebody types into a field.
 */

/** @typedef {import('./annotator.js').Annotator} Annotator */

/** What each key does; shown by the panel. @type {[string, string][]} */
export const HELP = [
  ['1 ... 9', 'choose a label'],
  ['C, B, E', 'click and box, brush, eraser'],
  ['Shift and click', 'background: not this'],
  ['Ctrl+Z, Ctrl+Y', 'undo, redo'],
  ['V, D', 'through the volume, next doubtful slice'],
  ['Ctrl+S, N', 'save, next image'],
  ['Delete', 'clear the label on this slice'],
];

/** @type {Record<string, (annotator: Annotator) => void>} */
const ACTIONS = {
  c: annotator => annotator.tool.choose('prompt'),
  b: annotator => annotator.tool.choose('brush'),
  e: annotator => annotator.tool.choose('eraser'),
  delete: annotator => annotator.clearSlice(),
  v: annotator => annotator.volume(),
  d: annotator => annotator.doubtful(),
  n: annotator => annotator.next(false),
  'ctrl+s': annotator => annotator.save(),
  'ctrl+z': annotator => annotator.undo(),
  'ctrl+y': annotator => annotator.redo(),
  'ctrl+shift+z': annotator => annotator.redo(),
};

/**
 * Listen.
 * @param {Annotator} annotator
 * @returns {() => void} ends it
 */
export function listenToKeys(annotator) {
  const abort = new AbortController();
  document.addEventListener('keydown', event => press(annotator, event), {
    capture: true,
    signal: abort.signal,
  });
  return () => abort.abort();
}

/** @param {Annotator} annotator @param {KeyboardEvent} event */
function press(annotator, event) {
  if (isTyping(event.target) || event.altKey) {
    return;
  }
  const action = actionFor(annotator, event);
  if (action) {
    event.preventDefault();
    event.stopImmediatePropagation();
    action(annotator);
  }
}

/** @param {Annotator} annotator @param {KeyboardEvent} event */
function actionFor(annotator, event) {
  const ctrl = event.ctrlKey || event.metaKey ? 'ctrl+' : '';
  const name = `${ctrl}${ctrl && event.shiftKey ? 'shift+' : ''}${event.key.toLowerCase()}`;
  const value = Number(name);
  const { session } = annotator;
  if (session && value >= 1 && value <= Math.min(session.labels.length, 9)) {
    return () => session.choose(value);
  }
  return ACTIONS[name];
}

/** @param {EventTarget | null} target */
const isTyping = target =>
  target instanceof HTMLElement &&
  (target.isContentEditable ||
    target.matches('textarea, select, input:not([type=range], [type=checkbox])'));
