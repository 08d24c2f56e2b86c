/** Carries a label from the slices where it was clicked through the whole volume. */

import { deepestPixel } from './deepest.js';
import { LostConnection, ServerError, UseError } from './errors.js';
import { readSlices } from './nrrd.js';
import { partsOf } from './prompts.js';
import { cancelVolume, infer, volumeProgress } from './server.js';

export const VOLUME_MODEL = 'samed2d_volume';
const ASK_AGAIN = 500;

/**
 * What the server is told: all clicks of the label. Where a slice was drawn without one, its mask
 * speaks by its deepest pixel.
 * @param {import('./session.js').Session} session
 * @param {number} shown slice that counts where nothing was clicked or painted
 * @returns {Record<string, any>}
 * @throws {UseError} where the label is nowhere
 */
export function volumeParams(session, shown) {
  const { label } = session;
  const clicked = [...session.prompts].filter(([key]) => partsOf(key).label === label);
  const foreground = [];
  const background = [];
  for (const [key, prompt] of clicked) {
    const { k } = partsOf(key);
    foreground.push(...prompt.foreground.map(pixel => [...pixel, k]));
    background.push(...prompt.background.map(pixel => [...pixel, k]));
  }
  const told = new Set(foreground.map(([, , k]) => k));
  const drawn = [...clicked.map(([key]) => partsOf(key).k), ...paintedSlices(session)];
  for (const k of new Set(drawn.length ? drawn : [shown])) {
    const mask = told.has(k) ? null : session.map.mask(k, label);
    const pixel = mask && deepestPixel(mask, session.grid.columns);
    if (pixel) {
      foreground.push([...pixel, k]);
    }
  }
  if (!foreground.length) {
    throw new UseError(`Click on ${session.labelName} on one slice first.`);
  }
  return { foreground, background, label: session.labelName };
}

/**
 * Slices that somebody painted on; a volume leaves them as they are.
 * @param {import('./session.js').Session} session
 * @returns {number[]}
 */
export const paintedSlices = session =>
  session.history.done.filter(step => step.title === 'brush').flatMap(s => s.slices.map(c => c.k));

/**
 * Ask for a volume, telling how far it is.
 * @param {import('./session.js').Session} session
 * @param {Record<string, any>} params of `volumeParams`
 * @param {string} client who asks
 * @param {(slices: number[]) => void} onProgress
 * @returns {Promise<{slices: Map<number, Uint8Array>, facts: Record<string, any>}>}
 */
export async function askVolume(session, params, client, onProgress) {
  let answered = false;
  const watch = async () => {
    while (!answered) {
      await new Promise(resolve => setTimeout(resolve, ASK_AGAIN));
      if (!answered) {
        await volumeProgress(client).then(({ slices }) => onProgress(slices), ignoreExpected);
      }
    }
  };
  void watch();
  try {
    const answer = await infer(VOLUME_MODEL, session.image, { ...params, client_id: client });
    return { slices: await readSlices(answer.mask, session.grid.shape), facts: answer.facts };
  } finally {
    answered = true;
  }
}

/**
 * Take the request back; it is answered with 409.
 * @param {string} client
 */
export const endVolume = client => cancelVolume(client).catch(ignoreExpected);

/** Nothing is under way any more, or nobody answers: the request itself will tell. */
function ignoreExpected(error) {
  if (!(error instanceof ServerError || error instanceof LostConnection)) {
    throw error;
  }
}
