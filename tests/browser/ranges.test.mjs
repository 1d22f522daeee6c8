// Ranges against a plain set of numbers.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { Ranges } from '../../web/ranges.js';

it('a set of ranges holds what was added, merged and sorted', () => {
  let state = 1;
  const random = (/** @type {number} */ n) => (state = (state * 48271) % 2147483647) % n;
  for (let round = 0; round < 200; round++) {
    let ranges = new Ranges();
    const numbers = new Set();
    for (let i = 0; i < 12; i++) {
      const begin = random(40);
      const end = begin + random(9);
      ranges.add(begin, end);
      for (let n = begin; n < end; n++) numbers.add(n);
      if (i === 6) ranges = new Ranges(JSON.parse(JSON.stringify(ranges)));
    }
    for (let n = 0; n < 50; n++) {
      const { has, until } = ranges.at(n);
      assert.equal(has, numbers.has(n));
      for (let m = n; m < Math.min(until, 50); m++) assert.equal(numbers.has(m), has);
      if (until < 50) assert.equal(numbers.has(until), !has);
    }
    for (let i = 1; i < ranges.list.length; i++) assert.ok(ranges.list[i][0] > ranges.list[i - 1][1], 'ranges do not touch');
    assert.equal(ranges.isWhole(0) || numbers.has(0), numbers.has(0));
  }
});

it('knows a whole file', () => {
  const ranges = new Ranges();
  ranges.add(5, 10);
  assert.equal(ranges.isWhole(10), false);
  ranges.add(0, 5);
  assert.equal(ranges.isWhole(10), true);
  assert.equal(ranges.isWhole(11), false);
});
