/** The round of annotation: save, skip, next, learn. Server's words are passed on as they are. */

import { Conflict, LostConnection, UseError } from './errors.js';
import { activePane, displaySetIn, showSlice } from './host.js';
import { ROUTE } from './ids.js';
import { nextSample } from './server.js';

const CLIENT_KEY = 'samed2d-client';
const SAMPLE_KEY = 'samed2d-next-sample';
const STRATEGY_KEY = 'samed2d-strategy';
const ASK_AGAIN = 2000;

/** Name under which this browser asks for cases. @returns {string} */
export function clientName() {
  let name = localStorage.getItem(CLIENT_KEY);
  if (!name) {
    const random = crypto.getRandomValues(new Uint8Array(6));
    name = `ohif-${[...random].map(byte => byte.toString(16).padStart(2, '0')).join('')}`;
    localStorage.setItem(CLIENT_KEY, name);
  }
  return name;
}

/** The strategy that was chosen last. */
export const chosenStrategy = () => localStorage.getItem(STRATEGY_KEY) ?? 'random';

/** @param {string} name */
export const chooseStrategy = name => localStorage.setItem(STRATEGY_KEY, name);

/**
 * Save, and say when it is really there.
 * @param {import('./annotator.js').Annotator} annotator
 */
export async function save(annotator) {
  const session = annotator.needSession();
  annotator.say('Saving');
  annotator.conflict = null;
  const answer = await session.save(clientName()).catch(error => {
    annotator.conflict = error instanceof Conflict ? error : null;
    throw error;
  });
  const { stored, note } = answer;
  // Who reads "Saved" and reloads must not find the work as an unsaved one.
  await annotator.keeper.flush();
  annotator.say(stored ? `Saved. ${note}` : note);
  if (!stored) {
    void watch(annotator, session);
  }
}

/**
 * Look at the label that somebody else has saved; what was drawn here is one undo away.
 * @param {import('./annotator.js').Annotator} annotator
 */
export async function showOther(annotator) {
  await annotator.needSession().takeSaved();
  annotator.conflict = null;
  annotator.say('This is the other label. Undo brings back yours; then save it in its place.');
}

/**
 * Save in the place of the label that somebody else has saved, which the server keeps.
 * @param {import('./annotator.js').Annotator} annotator
 */
export async function replaceOther(annotator) {
  annotator.needSession().base = annotator.conflict?.revision ?? '';
  await save(annotator);
}

/**
 * Wait until the PACS has what the server keeps.
 * @param {import('./annotator.js').Annotator} annotator
 * @param {import('./session.js').Session} session
 */
async function watch(annotator, session) {
  for (let stored = false; !stored && !annotator.closed; ) {
    await new Promise(resolve => setTimeout(resolve, ASK_AGAIN));
    try {
      stored = await session.isStored();
    } catch (error) {
      if (!(error instanceof LostConnection)) {
        annotator.fail(error);
        return;
      }
    }
  }
  annotator.say('Saved. The label is in the PACS now.');
}

/**
 * Go to the case that the server chooses.
 * @param {import('./annotator.js').Annotator} annotator
 * @param {boolean} skip leave unsaved work behind; it stays in this browser
 */
export async function next(annotator, skip) {
  if (!skip && annotator.session?.unsaved) {
    throw new UseError('This image has unsaved work: save it first, or skip the image.');
  }
  const sample = await nextSample(chosenStrategy(), clientName());
  if (!sample.id) {
    annotator.say(sample.reason ?? 'Every image is labelled.');
    return;
  }
  if (!sample.StudyInstanceUID) {
    throw new UseError('The server has its images in a folder; OHIF shows those of a PACS only.');
  }
  await annotator.keeper.flush();
  sessionStorage.setItem(SAMPLE_KEY, JSON.stringify(sample));
  const query = new URLSearchParams({ StudyInstanceUIDs: sample.StudyInstanceUID });
  annotator.keeper.close();
  location.assign(`/samed2d/${ROUTE}?${query}`);
}

/**
 * After the page of the next case is there: show its series, its slice, and why it was chosen.
 * @param {import('./annotator.js').Annotator} annotator
 */
export function arrive(annotator) {
  const sample = JSON.parse(sessionStorage.getItem(SAMPLE_KEY) ?? 'null');
  const { services } = annotator;
  const pane = activePane(services);
  if (!sample || !pane) {
    return;
  }
  const shown = displaySetIn(services, pane.id);
  if (shown?.SeriesInstanceUID !== sample.id) {
    const wanted = services.displaySetService
      .getActiveDisplaySets()
      .find(set => set.SeriesInstanceUID === sample.id);
    if (wanted && shown?.StudyInstanceUID === sample.StudyInstanceUID) {
      services.viewportGridService.setDisplaySetsForViewport({
        viewportId: pane.id,
        displaySetInstanceUIDs: [wanted.displaySetInstanceUID],
      });
    }
    return;
  }
  const { session } = annotator;
  if (session && session.image === sample.id) {
    sessionStorage.removeItem(SAMPLE_KEY);
    if (sample.slice !== null && sample.slice < session.grid.shape[2]) {
      goTo(annotator, sample.slice);
    }
    const score = sample.score === null ? '' : `, score ${sample.score}`;
    annotator.say(`Chosen by ${sample.strategy}${score}: ${sample.reason}`);
  }
}

/**
 * Show a slice of the session.
 * @param {import('./annotator.js').Annotator} annotator
 * @param {number} k
 */
export function goTo(annotator, k) {
  const pane = activePane(annotator.services);
  const { grid } = annotator.needSession();
  if (pane) {
    showSlice(pane, grid.slices[k].imageId, grid.worldAt(grid.columns / 2, grid.rows / 2, k));
  }
}
