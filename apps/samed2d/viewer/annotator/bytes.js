/** Small questions to large arrays, where a callback for each byte would cost too much. */

/**
 * Whether all bytes are 0.
 * @param {Uint8Array} bytes
 */
export function isEmpty(bytes) {
  const aligned = bytes.byteOffset % 4 === 0;
  const words = new Uint32Array(
    aligned ? bytes.buffer : new ArrayBuffer(0),
    aligned ? bytes.byteOffset : 0,
    aligned ? bytes.length >> 2 : 0
  );
  for (let n = 0; n < words.length; n += 1) {
    if (words[n]) {
      return false;
    }
  }
  for (let n = words.length * 4; n < bytes.length; n += 1) {
    if (bytes[n]) {
      return false;
    }
  }
  return true;
}
