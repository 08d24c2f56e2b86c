/** Every question to the annotation server, as docs/reference/http.md describes them. */

import { Conflict, LostConnection, ServerError, SignedOut } from './errors.js';

/** @typedef {Record<string, any>} Facts the JSON part of an answer */

/**
 * @typedef {Object} Answer
 * @property {Facts} facts
 * @property {Blob} mask NRRD file of the whole image
 * @property {Blob | null} uncertainty NRRD file, where it was asked for
 */

/**
 * Ask the server.
 * @param {string} path address below the server's root
 * @param {RequestInit} [options] as for fetch
 * @returns {Promise<Response>} an answer that says yes
 * @throws {ServerError | LostConnection}
 */
export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) {
      throw error;
    }
    throw new LostConnection();
  }
  if (response.status === 401) {
    throw new SignedOut();
  }
  if (!response.ok) {
    throw new ServerError(await sentence(response), response.status);
  }
  return response;
}

/** @param {Response} response */
async function sentence(response) {
  const text = await response.text();
  try {
    const { detail } = JSON.parse(text);
    return typeof detail === 'string' ? detail : JSON.stringify(detail);
  } catch {
    return `The server answered ${response.status} ${response.statusText}.`;
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<any>}
 */
const json = async (path, options) => (await ask(path, options)).json();

/** @param {Facts} body */
const post = body => ({
  method: 'POST',
  headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify(body),
});

/** @param {string} image */
const named = image => encodeURIComponent(image);

/**
 * Who is signed in; null where the server asks nobody for a key.
 * @returns {Promise<{username: string, role: string} | null>}
 */
export async function caller() {
  return (await json('/auth/')).enabled ? json('/auth/token/valid') : null;
}

/** Forget the key in this browser. */
export const signOut = () => ask('/logout/', { method: 'POST' });

/** Models, label names, progress of training. */
export const info = () => json('/info/');

/**
 * Segment.
 * @param {string} model "samed2d" or "samed2d_volume"
 * @param {string} image its id, which is the SeriesInstanceUID
 * @param {Facts} params
 * @param {Uint8Array | null} [start] mask of the clicked slice to start from
 * @param {AbortSignal} [signal]
 * @returns {Promise<Answer>}
 */
export async function infer(model, image, params, start = null, signal = undefined) {
  const form = new FormData();
  form.append('params', JSON.stringify(params));
  if (start) {
    form.append('label', new Blob([/** @type {BlobPart} */ (start)]), 'slice.bin');
  }
  const address = `/infer/${model}?image=${named(image)}`;
  const response = await ask(address, { method: 'POST', body: form, signal });
  const parts = await response.formData();
  return {
    facts: JSON.parse(String(parts.get('params'))),
    mask: /** @type {Blob} */ (parts.get('image')),
    uncertainty: /** @type {Blob | null} */ (parts.get('uncertainty')),
  };
}

/**
 * The newest final label of an image.
 * @param {string} image
 * @returns {Promise<{file: Blob, names: Map<number, string>, revision: string} | null>} NIfTI; null
 *   where none is
 */
export async function savedLabel(image) {
  try {
    // Before the file: one that is replaced in between must not pass for the newer one.
    const facts = await labelFacts(image);
    const file = await (await ask(`/datastore/label?label=${named(image)}&tag=final`)).blob();
    return { file, names: namesOf(facts), revision: facts.revision ?? '' };
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) {
      return null;
    }
    throw error;
  }
}

/** @param {Facts} facts @returns {Map<number, string>} value to name */
function namesOf(facts) {
  const listed = facts.label_info ?? facts.params?.label_info ?? [];
  return new Map(listed.map(({ name, idx }, index) => [idx ?? index + 1, name]));
}

/**
 * Store the final label of an image.
 * @param {string} image
 * @param {Uint8Array} values of the whole image, i fastest
 * @param {Facts} params see docs/reference/http.md
 * @returns {Promise<{stored: boolean, note: string, revision: string}>}
 * @throws {Conflict} another label stands than the one that `params.based_on` names
 */
export async function saveLabel(image, values, params) {
  const form = new FormData();
  form.append('params', JSON.stringify(params));
  form.append('label', new Blob([/** @type {BlobPart} */ (values)]), 'label.bin');
  const address = `/datastore/label?image=${named(image)}&tag=final`;
  try {
    return await json(address, { method: 'PUT', body: form });
  } catch (error) {
    if (error instanceof ServerError && error.status === 409) {
      throw new Conflict(error.message, (await labelFacts(image)).revision ?? '');
    }
    throw error;
  }
}

/**
 * What is known of the final label of an image, whether it is stored among it.
 * @param {string} image
 * @returns {Promise<Facts>}
 */
export const labelFacts = image => json(`/datastore/label/info?label=${named(image)}&tag=final`);

/**
 * The case to label next.
 * @param {string} strategy
 * @param {string} client who asks
 * @returns {Promise<Facts>} empty where all are labelled
 */
export const nextSample = (strategy, client) =>
  json(`/activelearning/${encodeURIComponent(strategy)}`, post({ client_id: client }));

/** Begin to train. @param {Facts} settings */
export const startTraining = settings => json('/train/samed2d', post(settings));

/** End the training. */
export const stopTraining = () => json('/train/', { method: 'DELETE' });

/** Whether a training runs. @returns {Promise<boolean>} */
export async function isTraining() {
  try {
    await ask('/train/?check_if_running=true');
    return true;
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) {
      return false;
    }
    throw error;
  }
}

/** How the last training ended, or stands. @returns {Promise<Facts | null>} */
export async function trainingStatus() {
  try {
    return await json('/train/');
  } catch (error) {
    if (error instanceof ServerError && error.status === 404) {
      return null;
    }
    throw error;
  }
}

/** Versions of the network, and whether this user may choose one. @returns {Promise<Facts>} */
export const versions = () => json('/model_version/samed2d');

/** Have the version before the present one serve. @returns {Promise<Facts>} */
export const rollBack = () => json('/model_version/samed2d', post({ version: 'previous' }));

/** How far a request for a volume is. @param {string} client @returns {Promise<Facts>} */
export const volumeProgress = client => json(`/volume_job/${encodeURIComponent(client)}`);

/** End a request for a volume. @param {string} client */
export const cancelVolume = client =>
  json(`/volume_job/${encodeURIComponent(client)}`, { method: 'DELETE' });
