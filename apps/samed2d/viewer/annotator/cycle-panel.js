/** Parts of the panel for the round of annotation. */

import { chooseStrategy, chosenStrategy } from './cycle.js';
import { button, make, section } from './dom.js';

/** @typedef {import('./annotator.js').Annotator} Annotator */
/** @typedef {import('./panel.js').Part} Part */

/** @param {Annotator} annotator @returns {Part} */
export function casePart(annotator) {
  const save = button('Save', 'save', () => annotator.save(), 'Ctrl+S');
  const skip = button('Skip', 'skip', () => annotator.next(true), 'Another image, without saving');
  const next = button('Next', 'next', () => annotator.next(false), 'The image to label next: N');
  const select = make('select', { title: 'How the next image is chosen' });
  select.onchange = () => chooseStrategy(select.value);
  const state = make('p', { className: 'samed2d-saved' });
  const look = button('Show theirs', 'show-other', () => annotator.showOther(), 'Undo: yours');
  const mine = button('Save mine in its place', 'replace-other', () => annotator.replaceOther());
  const choice = make('div', { className: 'samed2d-row' }, look, mine);
  const update = () => {
    const { session, strategies } = annotator;
    if (select.length !== strategies.length) {
      const options = strategies.map(name => make('option', { value: name }, nameOf(name)));
      select.replaceChildren(...options);
      select.value = chosenStrategy();
    }
    choice.hidden = !annotator.conflict;
    save.disabled = !session?.unsaved;
    state.textContent = !session ? '' : session.unsaved ? 'Not saved' : 'Everything is saved';
  };
  const row = make('div', { className: 'samed2d-row' }, save, skip, next, select);
  return { element: section('Image', row, choice, state), update };
}

/** "random" stands for what the server is set to. @param {string} name */
const nameOf = name => (name === 'random' ? "server's choice" : name);

/** @param {Annotator} annotator @returns {Part} */
export function modelPart(annotator) {
  const { training } = annotator;
  const start = button('Update model', 'train', () => annotator.train(), 'Learn from saved labels');
  const stop = button('End', 'stop-training', () => annotator.try(() => training.stop()));
  const back = button('Roll back', 'roll-back', () => annotator.try(() => training.rollBack()));
  const bar = make('progress', { max: 1 });
  const text = make('p', { className: 'samed2d-training' });
  const version = make('p', { className: 'samed2d-version' });
  const update = () => {
    const { running, done, text: said, version: serving, mayRollBack } = training.state;
    start.disabled = running;
    stop.hidden = bar.hidden = !running;
    back.hidden = !mayRollBack;
    bar.value = done;
    text.textContent = said;
    version.textContent = serving ? `Answering: ${serving}` : '';
  };
  const row = make('div', { className: 'samed2d-row' }, start, stop, back);
  return { element: section('Model', row, bar, text, version), update };
}
