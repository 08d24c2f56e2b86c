/** Parts of the panel for volumes and doubt. */

import { button, make, section } from './dom.js';

/** @typedef {import('./annotator.js').Annotator} Annotator */
/** @typedef {import('./panel.js').Part} Part */

/** @param {Annotator} annotator @returns {Part} */
export function volumePart(annotator) {
  const { assist } = annotator;
  const start = button('Through volume', 'volume', () => annotator.volume(), 'Key V');
  const cancel = button('Cancel', 'cancel-volume', () =>
    annotator.try(() => assist.cancelVolume())
  );
  const doubtful = button('Next doubtful slice', 'doubtful', () => annotator.doubtful(), 'Key D');
  const bar = make('progress', {});
  const update = () => {
    const running = assist.answered !== null;
    start.disabled = running;
    cancel.hidden = bar.hidden = !running;
    bar.max = annotator.session?.grid.slices.length ?? 1;
    bar.value = assist.answered ?? 0;
    bar.title = `${assist.answered ?? 0} slices`;
    doubtful.disabled = !annotator.session?.confidence.size;
  };
  const row = make('div', { className: 'samed2d-row' }, start, cancel, doubtful);
  return { element: section('Volume', row, bar), update };
}

/** @param {Annotator} annotator @returns {Part} */
export function viewPart(annotator) {
  const { assist, overlay } = annotator;
  const doubt = option('Uncertainty', 'uncertainty', on =>
    annotator.try(() => assist.showUncertainty(on))
  );
  const preview = option('Preview under the mouse', 'preview', on => assist.setPreviews(on));
  const update = () => {
    doubt.box.checked = overlay.showsUncertainty;
    preview.box.checked = assist.previews;
  };
  return { element: section('Show', doubt.element, preview.element), update };
}

/** @param {string} text @param {string} name @param {(on: boolean) => void} change */
function option(text, name, change) {
  const box = make('input', { type: 'checkbox', data: { action: name } });
  box.onchange = () => change(box.checked);
  return { box, element: make('div', {}, make('label', {}, box, ` ${text}`)) };
}
