/**
 * Unsaved work, kept in the browser (IndexedDB) until it is saved on the server, so that a reload, a
 * crash or a lost connection costs nothing. One entry for each image of this server.
 */

const DATABASE = 'samed2d';
const STORE = 'unsaved';

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
const done = request =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** @returns {Promise<IDBDatabase>} */
function open() {
  const request = indexedDB.open(DATABASE, 1);
  request.onupgradeneeded = () => request.result.createObjectStore(STORE);
  return done(request);
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>}
 */
async function withStore(mode, act) {
  const database = await open();
  try {
    const transaction = database.transaction(STORE, mode);
    // A reload undoes what is not committed yet.
    const committed = new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onabort = () => reject(transaction.error);
    });
    const [result] = await Promise.all([done(act(transaction.objectStore(STORE))), committed]);
    return result;
  } finally {
    database.close();
  }
}

/**
 * Keep the work on an image.
 * @param {string} image
 * @param {import('./session.js').Snapshot} snapshot
 */
export const keepWork = (image, snapshot) =>
  withStore('readwrite', store => store.put(snapshot, image));

/**
 * The work on an image.
 * @param {string} image
 * @returns {Promise<import('./session.js').Snapshot | undefined>}
 */
export const keptWork = image => withStore('readonly', store => store.get(image));

/**
 * Forget the work on an image; it is saved.
 * @param {string} image
 */
export const dropWork = image => withStore('readwrite', store => store.delete(image));
