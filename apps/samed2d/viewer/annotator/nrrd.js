/** Reads the server's label files: NRRD of whole images, one byte for each voxel, i fastest. */

import { isEmpty } from './bytes.js';
import { UseError } from './errors.js';

const HEADER_BYTES = 4096;

/**
 * The slices of a file that hold anything.
 * @param {Blob} file
 * @param {[number, number, number]} shape voxels along i, j, k that it must have
 * @returns {Promise<Map<number, Uint8Array>>} slice k to its values
 * @throws {UseError} for a file of another image
 */
export async function readSlices(file, shape) {
  const head = new TextDecoder('latin1').decode(await file.slice(0, HEADER_BYTES).arrayBuffer());
  const end = head.indexOf('\n\n');
  const fields = new Map(
    head
      .slice(0, end)
      .split('\n')
      .map(line => /** @type {[string, string]} */ (line.split(/:=?\s*/, 2)))
  );
  const sizes = (fields.get('sizes') ?? '').split(' ').map(Number);
  if (end < 0 || sizes.join() !== shape.join()) {
    throw new UseError(
      `The server's image has ${sizes.join(' x ')} voxels and the one shown ${shape.join(' x ')}.`
    );
  }
  const body = file.slice(end + 2).stream();
  const packed = fields.get('encoding') === 'gzip';
  const bytes = packed ? body.pipeThrough(new DecompressionStream('gzip')) : body;
  return filledSlices(bytes, shape[0] * shape[1]);
}

/**
 * Cut a stream into slices and keep those that are not all zero.
 * @param {ReadableStream<Uint8Array>} stream
 * @param {number} size bytes of one slice
 * @returns {Promise<Map<number, Uint8Array>>}
 */
export async function filledSlices(stream, size) {
  const kept = new Map();
  let slice = new Uint8Array(size);
  let [k, held] = [0, 0];
  const reader = stream.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    for (let at = 0; at < part.value.length; ) {
      const piece = part.value.subarray(at, at + size - held);
      slice.set(piece, held);
      at += piece.length;
      held += piece.length;
      if (held === size) {
        if (!isEmpty(slice)) {
          kept.set(k, slice);
          slice = new Uint8Array(size);
        }
        [k, held] = [k + 1, 0];
      }
    }
  }
  return kept;
}
