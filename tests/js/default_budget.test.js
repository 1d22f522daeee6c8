// What a model takes when nobody says how much: fast within what the device can spare, the same tokens as ever, and never a refusal.
import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { canRun, load, memoryCurve } from '../../js/index.js';
import { memoryLimit as browserLimit } from '../../js/platform/browser.js';
import { memoryLimit } from '../../js/platform/node.js';
import { built, builds, root, tansyJson } from './lib/builds.js';

const wasmUrl = built(builds[0].wasm);
const TALES = join(root, 'demo', EMBEDDED_MODEL);
const MIB = 2 ** 20;
const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 29 + 3) % 500);

/** As if the container left this process so much. @param {number} nbytes */
function constrain(nbytes) {
  process.constrainedMemory = () => nbytes;
}
const { constrainedMemory } = process;
afterEach(() => {
  process.constrainedMemory = constrainedMemory;
});

/** @param {import('../../js/index.js').LoadOptions} [options] */
async function opened(options) {
  const model = await load(TALES, { wasmUrl, ...options });
  const stats = model.stats();
  const generation = model.generate(PROMPT, { temperature: 0.9, seed: 3, ignoreEos: true, maxTokens: 24 });
  await generation.text();
  return { model, stats, ids: generation.ids };
}

test('no budget: all weights packed, none in int8; auto is another word for it; min is smaller; the same tokens', async () => {
  const all = { unnamed: await opened(), zero: await opened({ memoryBudget: 0 }), auto: await opened({ memoryBudget: 'auto' }), min: await opened({ memoryBudget: 'min' }), int8: await opened({ residency: 'int8' }) };
  for (const { stats } of [all.unnamed, all.zero, all.auto]) {
    assert.deepEqual([stats.nPacked, stats.nInt8], [stats.nMatrices, 0]);
    assert.equal(stats.heapLimitBytes, all.unnamed.stats.maxBytes);
    assert.equal(stats.budgetBytes, stats.maxBytes, 'not more than is of use');
  }
  const { stats } = all.min;
  assert.ok(stats.nPacked < stats.nMatrices / 4, 'what is left of the last page is used');
  assert.equal(stats.heapLimitBytes, stats.minBytes);
  assert.equal(stats.budgetBytes, stats.minBytes);
  assert.equal(stats.minBytes, all.unnamed.stats.minBytes);
  assert.equal(stats.contextSize, all.unnamed.stats.contextSize);
  assert.ok(stats.minBytes < stats.maxBytes && all.int8.stats.heapLimitBytes > stats.maxBytes);
  assert.ok(all.int8.stats.nInt8 > 0, 'who asks for int8 gets it, whatever the limit');
  for (const { ids, model } of Object.values(all)) {
    assert.deepEqual(ids, all.unnamed.ids);
    model.dispose();
  }
});

test('a limit of the device: what fits is packed, the context is not shortened, and below the minimum it loads all the same', async () => {
  const { stats: free, ids, model } = await opened();
  model.dispose();
  let before = Infinity;
  for (const [limit, packed] of /** @type {const} */ ([
    [free.maxBytes, 'all'],
    [(free.minBytes + free.maxBytes) / 2, 'some'],
    [free.minBytes, 'none'],
    [1 * MIB, 'none'],
  ])) {
    constrain(2 * limit);
    const small = await opened();
    const { stats } = small;
    assert.equal(stats.budgetBytes, Math.max(limit, free.minBytes));
    assert.ok(stats.heapLimitBytes <= stats.budgetBytes);
    assert.equal(stats.contextSize, free.contextSize);
    assert.ok(packed === 'all' ? stats.nPacked === stats.nMatrices : packed === 'none' ? stats.nPacked < stats.nMatrices / 4 : stats.nPacked > 0, `${packed}: ${stats.nPacked}`);
    assert.ok(stats.nPacked <= before);
    before = stats.nPacked;
    assert.deepEqual(small.ids, ids);
    const fit = await canRun(TALES, { wasmUrl });
    assert.deepEqual([fit.ok, fit.bytesPlanned, fit.bytesMissing], [true, stats.heapLimitBytes, 0]);
    assert.deepEqual([fit.bytesMin, fit.bytesMax], [free.minBytes, free.maxBytes]);
    assert.ok(fit.bytesNeeded <= fit.bytesMin, 'with a shorter context less will do');
    small.model.dispose();
  }
});

test('a named budget may be more than the device would give, and refuses what it cannot hold', async () => {
  constrain(2 * MIB);
  const { bytesMin, bytesMax, bytesNeeded } = await canRun(TALES, { wasmUrl });
  const large = await load(TALES, { wasmUrl, memoryBudget: bytesMax });
  assert.equal(large.stats().nPacked, large.stats().nMatrices);
  assert.equal(large.stats().budgetBytes, bytesMax);
  large.dispose();
  const fit = await canRun(TALES, { wasmUrl, memoryBudget: bytesNeeded - 1 });
  assert.deepEqual([fit.ok, fit.bytesMissing, fit.bytesMin, fit.bytesMax], [false, 1, 0, 0]);
  await assert.rejects(load(TALES, { wasmUrl, memoryBudget: bytesNeeded - 1 }), { code: 'TANSY_OVER_BUDGET' });
  assert.equal((await canRun(TALES, { wasmUrl, memoryBudget: 'min' })).bytesPlanned, bytesMin);
  const huge = await load(TALES, { wasmUrl, memoryBudget: '1GB' });
  assert.equal(huge.stats().nPacked, huge.stats().nMatrices, 'int8 would not be faster');
  assert.equal(huge.stats().maxBytes, bytesMax);
  huge.dispose();
  /* forms that were asked for are no matter of a limit that nobody named */
  const packed = await load(TALES, { wasmUrl, residency: 'packed' });
  assert.equal(packed.stats().nPacked, packed.stats().nMatrices);
  packed.dispose();
});

test('a speed as the goal stays within the limit of the device too, but may use every form', async () => {
  const { stats, model } = await opened({ memoryBudget: 'min' });
  model.dispose();
  const limit = (stats.minBytes + stats.maxBytes) / 2;
  constrain(2 * limit);
  const { warn } = console;
  console.warn = () => {};
  const fast = await load(TALES, { wasmUrl, minTokensPerSecond: 1e6 }).finally(() => (console.warn = warn));
  assert.ok(fast.stats().heapLimitBytes <= limit);
  assert.ok(fast.stats().nPacked + fast.stats().nInt8 > 0);
  fast.dispose();
});

test('a live model moves to min and back to auto', async () => {
  const { model, ids } = await opened();
  const { maxBytes, minBytes } = model.stats();
  const small = await model.setMemoryBudget('min');
  assert.ok(small.nPacked < small.nMatrices / 4);
  assert.deepEqual([small.heapLimitBytes, small.contextSize], [minBytes, model.contextSize]);
  const fast = await model.setMemoryBudget('auto');
  assert.deepEqual([fast.nPacked, fast.heapLimitBytes], [fast.nMatrices, maxBytes]);
  const again = model.generate(PROMPT, { temperature: 0.9, seed: 3, ignoreEos: true, maxTokens: 24 });
  await again.text();
  assert.deepEqual(again.ids, ids);
  await assert.rejects(model.setMemoryBudget('most'), { code: 'TANSY_OPTION', message: /"min" or "auto"; got "most"/ });
  model.dispose();
});

test('the limit: of machine, container, browser and phone', () => {
  process.constrainedMemory = () => 0;
  assert.equal(memoryLimit(), totalmem() / 2);
  constrain(256 * MIB);
  assert.equal(memoryLimit(), 128 * MIB);
  constrain(2 ** 63);
  assert.equal(memoryLimit(), totalmem() / 2);
  const desk = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
  const phone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1';
  for (const [device, limit] of /** @type {const} */ ([
    [{ deviceMemory: 8, userAgentData: { mobile: false }, userAgent: desk }, 2048],
    [{ deviceMemory: 0.5, userAgentData: { mobile: false } }, 128],
    [{ deviceMemory: 4, userAgentData: { mobile: true } }, 512],
    [{ userAgent: desk }, 1024],
    [{ userAgent: phone }, 384],
    [{}, 1024],
  ]))
    assert.equal(browserLimit(device), limit * MIB);
});

test('the command line: --memory min, auto and none', async () => {
  const run = (/** @type {string[]} */ ...more) => tansyJson(['run', '-m', TALES, '--wasm', wasmUrl, '--ids', '1,2,3', '-n', '8', '--temp', '0', '--ignore-eos', ...more]);
  const [none, auto, min] = [await run(), await run('--memory', 'auto'), await run('--memory=min')];
  for (const { ids } of [auto, min]) assert.deepEqual(ids, none.ids);
  assert.equal(auto.heap_bytes, none.heap_bytes);
  assert.ok(none.memory.ans < none.memory.packed / 8, 'what is left is only looked up');
  assert.ok(min.memory.packed < min.memory.ans / 4);
  assert.ok(min.heap_bytes < none.heap_bytes);
});

test('memoryCurve: speed at a few budgets, and the model is back where it was', async () => {
  const { model, stats, ids } = await opened();
  await assert.rejects(memoryCurve(model, { points: 1 }).next(), { code: 'TANSY_OPTION', message: /points must be an integer of at least 2; got 1/ });
  const points = [];
  for await (const point of memoryCurve(model, { points: 3 })) points.push(point);
  assert.deepEqual(points.map(({ budgetBytes }) => budgetBytes).sort((a, b) => a - b), points.map(({ budgetBytes }) => budgetBytes));
  assert.deepEqual([points[0].budgetBytes, points[2].heapBytes], [stats.minBytes, stats.maxBytes]);
  assert.ok(points.every(({ heapBytes, budgetBytes, tokensPerSecond }) => heapBytes <= budgetBytes && tokensPerSecond > 0));
  assert.equal(model.stats().heapLimitBytes, stats.heapLimitBytes);
  for (const few of [1, 0, 2.5, NaN]) await assert.rejects(memoryCurve(model, { points: few }).next(), { code: 'TANSY_OPTION', message: /points/ });
  const stop = new AbortController();
  await assert.rejects(
    async () => {
      for await (const _ of memoryCurve(model, { signal: stop.signal })) stop.abort();
    },
    { code: 'TANSY_ABORTED' },
  );
  assert.equal(model.stats().heapLimitBytes, stats.heapLimitBytes, 'also after an abort');
  const again = model.generate(PROMPT, { temperature: 0.9, seed: 3, ignoreEos: true, maxTokens: 24 });
  await again.text();
  assert.deepEqual(again.ids, ids);
  model.dispose();
});
