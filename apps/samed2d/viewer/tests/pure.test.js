/** Modules that know nothing of OHIF; run with node --test. */

import assert from 'node:assert/strict';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import { deepestPixel } from '../annotator/deepest.js';
import { Grid } from '../annotator/grid.js';
import { difference, History } from '../annotator/history.js';
import { readLabelMap } from '../annotator/nifti.js';
import { readSlices } from '../annotator/nrrd.js';
import { emptyPrompt, extended, isComplete, paramsOf } from '../annotator/prompts.js';

const SHAPE = /** @type {[number, number, number]} */ ([3, 2, 4]);

/** @param {Uint8Array} values @param {string} encoding */
function nrrd(values, encoding) {
  const header = `NRRD0004\ntype: uint8\nsizes: ${SHAPE.join(' ')}\nencoding: ${encoding}\n\n`;
  return new Blob([header, encoding === 'gzip' ? gzipSync(values) : values]);
}

for (const encoding of ['gzip', 'raw']) {
  test(`the filled slices of a ${encoding} NRRD file`, async () => {
    const values = new Uint8Array(24);
    values[7] = values[23] = 1;
    const slices = await readSlices(nrrd(values, encoding), SHAPE);
    assert.deepEqual([...slices.keys()], [1, 3]);
    assert.deepEqual([...(slices.get(1) ?? [])], [0, 1, 0, 0, 0, 0]);
  });
}

test('a NRRD file of another image is refused', async () => {
  await assert.rejects(readSlices(nrrd(new Uint8Array(24), 'raw'), [4, 2, 3]), /3 x 2 x 4/);
});

test('a NIfTI label map of two bytes, packed', async () => {
  const bytes = new ArrayBuffer(352 + 48);
  const view = new DataView(bytes);
  SHAPE.forEach((size, axis) => {
    view.setInt16(42 + 2 * axis, size, true);
  });
  view.setInt16(70, 4, true);
  view.setFloat32(108, 352, true);
  view.setInt16(352 + 2 * 5, 300, true);
  const values = await readLabelMap(new Blob([gzipSync(new Uint8Array(bytes))]), SHAPE);
  assert.equal(values[5], 300);
  assert.equal(values.length, 24);
});

test('steps are taken back and done again until something new is done', () => {
  const history = new History();
  const step = title => ({ title, slices: [], prompts: [] });
  ['a', 'b'].map(step).forEach(made => {
    history.push(made);
  });
  assert.equal(history.undo()?.title, 'b');
  assert.equal(history.undo()?.title, 'a');
  assert.equal(history.undo(), undefined);
  assert.equal(history.redo()?.title, 'a');
  history.push(step('c'));
  assert.equal(history.redo(), undefined);
});

test('the difference of two slices', () => {
  const change = difference(2, Uint8Array.of(0, 1, 2), Uint8Array.of(0, 3, 0));
  assert.deepEqual([...(change?.index ?? [])], [1, 2]);
  assert.deepEqual([...(change?.before ?? [])], [1, 2]);
  assert.deepEqual([...(change?.after ?? [])], [3, 0]);
  assert.equal(difference(2, Uint8Array.of(1), Uint8Array.of(1)), null);
});

test('slices of a sagittal series ascend along row cross column, whatever their order', () => {
  const image = x => ({
    ImageOrientationPatient: [0, 1, 0, 0, 0, -1],
    ImagePositionPatient: [x, 10, 20],
    PixelSpacing: [0.5, 2],
    Rows: 4,
    Columns: 5,
  });
  const grid = new Grid([image(3), image(9), image(6)], ['three', 'nine', 'six']);
  assert.deepEqual(grid.shape, [5, 4, 3]);
  // (0, 1, 0) x (0, 0, -1) points to -x.
  assert.deepEqual(
    ['nine', 'six', 'three'].map(id => grid.sliceOf(id)),
    [0, 1, 2]
  );
  assert.deepEqual(grid.worldAt(2, 3, 1), [6, 14, 18.5]);
  assert.deepEqual(grid.pixelAt([6, 14, 18.5], 1), [2, 3]);
  assert.equal(grid.nearestSlice([8.6, 0, 0]), 0);
  assert.equal(grid.sliceOf('other'), -1);
});

test('images that make no volume are refused', () => {
  const image = (x, Rows = 4) => ({ ImagePositionPatient: [0, 0, x], Rows, Columns: 5 });
  assert.throws(() => new Grid([image(1), image(1)], ['a', 'b']), /no volume/);
  assert.throws(() => new Grid([image(1), image(2, 3)], ['a', 'b']), /no volume/);
});

test('clicks and boxes become what the server takes', () => {
  const start = emptyPrompt(null);
  const alone = extended(start, { kind: 'background', at: [1, 2] });
  assert.equal(isComplete(alone), false);
  const both = extended(extended(alone, { kind: 'foreground', at: [3, 4] }), {
    kind: 'box',
    at: [0, 1, 8, 9],
  });
  assert.equal(isComplete(both), true);
  assert.deepEqual(paramsOf(both, 7), {
    foreground: [[3, 4, 7]],
    background: [[1, 2, 7]],
    slice: 7,
    roi: [0, 8, 1, 9, 7, 7],
  });
  assert.deepEqual(start.foreground, []);
});

test('the deepest pixel of a mask', () => {
  const mask = new Uint8Array(7 * 6);
  for (let j = 1; j < 6; j += 1) {
    mask.fill(1, j * 7 + 1, j * 7 + 6);
  }
  assert.deepEqual(deepestPixel(mask, 7), [3, 3]);
  assert.equal(deepestPixel(new Uint8Array(4), 2), null);
});
