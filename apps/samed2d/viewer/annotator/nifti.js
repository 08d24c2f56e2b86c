/** Reads label maps as the server hands them out: NIfTI-1, on the image's own grid, i fastest. */

import { UseError } from './errors.js';

const HEADER_BYTES = 352;
/** NIfTI data types of whole numbers, by their code. @type {Record<number, any>} */
const TYPES = { 2: Uint8Array, 4: Int16Array, 8: Int32Array, 256: Int8Array, 512: Uint16Array };

/**
 * All values of a file.
 * @param {Blob} file packed or not
 * @param {[number, number, number]} shape voxels along i, j, k that it must have
 * @returns {Promise<Uint8Array | Uint16Array | Int8Array | Int16Array | Int32Array>}
 * @throws {UseError} for another kind of file, or that of another image
 */
export async function readLabelMap(file, shape) {
  const bytes = await unpacked(file);
  const header = new DataView(bytes, 0, HEADER_BYTES);
  const sizes = [1, 2, 3].map(axis => Math.max(header.getInt16(40 + 2 * axis, true), 1));
  const Type = TYPES[header.getInt16(70, true)];
  const begin = header.getFloat32(108, true);
  if (!Type || sizes.join() !== shape.join()) {
    throw new UseError(
      `The saved label has ${sizes.join(' x ')} voxels, not ${shape.join(' x ')}.`
    );
  }
  const end = begin + shape[0] * shape[1] * shape[2] * Type.BYTES_PER_ELEMENT;
  return new Type(bytes.slice(begin, end));
}

/** @param {Blob} file @returns {Promise<ArrayBuffer>} */
async function unpacked(file) {
  const [first, second] = new Uint8Array(await file.slice(0, 2).arrayBuffer());
  const isPacked = first === 0x1f && second === 0x8b;
  const stream = isPacked ? file.stream().pipeThrough(new DecompressionStream('gzip')) : null;
  return stream ? new Response(stream).arrayBuffer() : file.arrayBuffer();
}
