// The formats that quality is compared with: sizes of their blocks, and errors as their bits let expect.
import assert from 'node:assert/strict';
import test from 'node:test';

import { FIXED_FORMATS, roundToFormat, toHalf } from '../reference/fixed_formats.js';
import { gaussian } from './lib/checkpoint.js';

test('halves are the nearest ones, ties to even', () => {
  assert.deepEqual([0, 1, -2, 65504, 2 ** -24, 1 + 2 ** -11, 1 + 3 * 2 ** -11].map(toHalf), [0, 1, -2, 65504, 2 ** -24, 1, 1 + 2 ** -9]);
});

test('bytes are those of whole blocks', () => {
  const bytes = Object.keys(FIXED_FORMATS).map((format) => [format, roundToFormat(format, new Float32Array(300))]);
  assert.deepEqual(Object.fromEntries(bytes), { Q8_0: 340, Q5_0: 220, Q4_K: 288, Q4_0: 180 });
});

test('more bits, less error; scales and minima beat scales', () => {
  const next = gaussian(4);
  const weights = Float32Array.from({ length: 1 << 14 }, () => 0.05 * next());
  const power = weights.reduce((sum, x) => sum + x * x, 0);
  const error = Object.fromEntries(
    Object.keys(FIXED_FORMATS).map((format) => {
      const rounded = Float32Array.from(weights);
      roundToFormat(format, rounded);
      return [format, rounded.reduce((sum, x, i) => sum + (x - weights[i]) ** 2, 0) / power];
    }),
  );
  assert.ok(error.Q8_0 < 1e-4 && error.Q8_0 < error.Q5_0 && error.Q5_0 < error.Q4_K && error.Q4_K < error.Q4_0, JSON.stringify(error));
  assert.ok(error.Q4_0 > 4e-3 && error.Q4_0 < 1.2e-2, `${error.Q4_0}`);
});

test('zeros and constants come back', () => {
  for (const format of Object.keys(FIXED_FORMATS)) {
    for (const value of [0, -0.5, 0.5]) {
      const rounded = new Float32Array(256).fill(value);
      roundToFormat(format, rounded);
      assert.ok(rounded.every((x) => Math.abs(x - value) < 2e-3), `${format} of ${value}: ${rounded[0]}`);
    }
  }
});
