// Live models that move between memories, sessions, speed goals and prompts that begin while the weights are still coming.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { Engine } from '../../js/engine.js';
import { canRun, load } from '../../js/index.js';
import { crc32 } from '../reference/crc32.js';
import { built, builds, root, tansy, tansyJson } from './lib/builds.js';

const wasmUrl = built(builds[0].wasm);
const BOOKS = join(root, 'demo', EMBEDDED_MODEL);
const folder = mkdtempSync(join(tmpdir(), 'tansy-memory-'));
after(() => rmSync(folder, { recursive: true, force: true }));
const PROMPT = Array.from({ length: 24 }, (_, i) => (i * 29 + 3) % 500);
/** every kind of state matters: penalties look back, the sampler is random */
const LIVELY = /** @type {const} */ ({ temperature: 0.9, seed: 5, repeatPenalty: 1.2, ignoreEos: true, maxTokens: 40 });

/** smallest and largest memory that make a difference @type {number} */
let smallest;
/** @type {number} */
let largest;
/** @type {number[]} */
let expected;
before(async () => {
  smallest = (await canRun(BOOKS, { wasmUrl })).bytesNeeded;
  const fast = await load(BOOKS, { wasmUrl, residency: 'int8' });
  largest = fast.stats().heapLimitBytes;
  const generation = fast.generate(PROMPT, LIVELY);
  await generation.text();
  expected = generation.ids;
  assert.equal(expected.length, 40);
  fast.dispose();
});

test('a model moves between budgets while it generates: the same tokens, never above the budget, one memory at a time', async () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const PlainMemory = WebAssembly.Memory;
  /** @type {{memory: WeakRef<WebAssembly.Memory>, nbytes: number}[]} */
  const memories = [];
  let budget = smallest;
  WebAssembly.Memory = /** @type {any} */ (
    class extends PlainMemory {
      /** @param {WebAssembly.MemoryDescriptor} descriptor */
      constructor(descriptor) {
        /* not the planner's, which is small and never grows with the model */
        const nbytes = (descriptor.maximum ?? 65536) * 65536;
        const isEngine = descriptor.initial * 65536 >= smallest / 2;
        gc();
        const alive = memories.filter(({ memory }) => memory.deref() !== undefined).reduce((sum, { nbytes }) => sum + nbytes, 0);
        if (isEngine) assert.equal(alive, 0, 'the old memory is gone before the new one is made');
        super(descriptor);
        if (isEngine) memories.push({ memory: new WeakRef(this), nbytes });
        if (isEngine) assert.ok(nbytes <= budget);
      }
    }
  );
  try {
    const model = await load(BOOKS, { wasmUrl, memoryBudget: smallest });
    assert.equal(model.stats().nPacked + model.stats().nInt8, 0);
    const budgets = [largest, (smallest + largest) / 2, smallest, largest - 65536, `${Math.ceil(smallest / 2 ** 20)}MB`];
    const seen = new Set();
    const generation = model.generate(PROMPT, LIVELY);
    let n = 0;
    for await (const _ of generation) {
      if (++n % 4 !== 0 || budgets.length === 0) continue;
      const next = /** @type {number | string} */ (budgets.shift());
      budget = typeof next === 'number' ? next : parseInt(next) * 2 ** 20;
      const stats = await model.setMemoryBudget(next);
      assert.ok(stats.heapBytes <= budget);
      seen.add(`${stats.nPacked}, ${stats.nInt8}`);
    }
    assert.equal(budgets.length, 0);
    assert.ok(seen.size >= 3, `forms changed: ${[...seen].join('; ')}`);
    assert.ok(memories.length >= 5);
    assert.deepEqual(generation.ids, expected);
    model.dispose();
  } finally {
    WebAssembly.Memory = PlainMemory;
  }
});

test('a move asked for without waiting happens between two tokens', async () => {
  const model = await load(BOOKS, { wasmUrl, memoryBudget: smallest });
  /** @type {Promise<unknown>[]} */
  const moves = [];
  const generation = model.generate(PROMPT, {
    ...LIVELY,
    onToken: () => {
      if (moves.length < 6) moves.push(model.setMemoryBudget(moves.length % 2 === 0 ? largest : smallest));
    },
  });
  await generation.text();
  await Promise.all(moves);
  assert.deepEqual(generation.ids, expected);
  assert.equal(moves.length, 6);
  model.dispose();
});

test('logits are the same bits before and after; the context is kept', async () => {
  const model = await load(BOOKS, { wasmUrl, memoryBudget: largest, contextSize: 128 });
  const one = await model.logits(PROMPT);
  await model.setMemoryBudget((await canRun(BOOKS, { wasmUrl, contextSize: 128 })).bytesNeeded);
  assert.equal(model.contextSize, 128);
  assert.ok(model.tensors.some(({ form }) => form === 'ans'));
  assert.equal(Buffer.compare(Buffer.from(one.buffer), Buffer.from((await model.logits(PROMPT)).buffer)), 0);
  model.dispose();
});

test('a refused budget changes nothing', async () => {
  const model = await load(BOOKS, { wasmUrl, memoryBudget: largest });
  await model.generate(PROMPT, { ...LIVELY, maxTokens: 3 }).text();
  const stats = model.stats();
  await assert.rejects(model.setMemoryBudget(smallest / 2), { code: 'TANSY_OVER_BUDGET' });
  await assert.rejects(model.setMemoryBudget('much'), { code: 'TANSY_OPTION' });
  await assert.rejects(model.setMemoryBudget(smallest, { signal: AbortSignal.abort() }), { code: 'TANSY_ABORTED' });
  assert.deepEqual(model.stats(), stats);
  for await (const _ of model.logitRows(PROMPT)) await assert.rejects(model.setMemoryBudget(smallest), { code: 'TANSY_BUSY' });
  const stream = await load(new Blob([readFileSync(BOOKS)]).stream(), { wasmUrl, memoryBudget: largest });
  await assert.rejects(stream.setMemoryBudget(smallest), { code: 'TANSY_SOURCE', message: /only once/ });
  stream.dispose();
  model.dispose();
  await assert.rejects(model.setMemoryBudget(smallest), { code: 'TANSY_DISPOSED' });
});

test('a move that fails half way keeps the conversation; another call ends it', async () => {
  const bytes = readFileSync(BOOKS);
  let broken = false;
  const source = () => ({
    name: 'a source',
    size: bytes.length,
    sequential: false,
    rereadable: true,
    async *read(/** @type {number} */ offset, /** @type {number} */ nbytes) {
      if (broken && offset > 1 << 20) throw new Error('the plug was pulled');
      yield new Uint8Array(bytes.subarray(offset, offset + nbytes));
    },
    close: async () => {},
    reopen: async () => source(),
  });
  const model = await load(source(), { wasmUrl, memoryBudget: largest });
  const first = model.generate(PROMPT, { ...LIVELY, maxTokens: 8, temperature: 0 });
  await first.text();
  broken = true;
  await assert.rejects(model.setMemoryBudget(smallest), /plug/);
  assert.throws(() => model.stats(), { code: 'TANSY_NOT_READY' });
  await assert.rejects(model.generate(PROMPT).text(), { code: 'TANSY_NOT_READY' });
  broken = false;
  const stats = await model.setMemoryBudget(smallest);
  assert.equal(stats.position, PROMPT.length + 7);
  const again = model.generate([...PROMPT, ...first.ids], { ...LIVELY, maxTokens: 8, temperature: 0 });
  await again.text();
  assert.equal(model.stats().prefillTokens, 1, 'the conversation was in the cache');
  const whole = model.generate(PROMPT, { ...LIVELY, maxTokens: 16, temperature: 0 });
  await whole.text();
  assert.deepEqual([...first.ids, ...again.ids], whole.ids);
  model.dispose();
});

test('a file that changed is refused before the old memory is given up', async () => {
  const path = join(folder, 'changes.tansy');
  const bytes = readFileSync(BOOKS);
  writeFileSync(path, bytes);
  const model = await load(path, { wasmUrl, memoryBudget: smallest });
  const changed = Buffer.from(bytes);
  changed[400] ^= 1;
  writeFileSync(path, changed);
  await assert.rejects(model.setMemoryBudget(largest), { code: 'TANSY_CHANGED' });
  assert.equal((await model.generate(PROMPT, { ...LIVELY, maxTokens: 2 }).text()).length > 0, true);
  model.dispose();
});

test('dispose ends a move', async () => {
  const model = await load(BOOKS, { wasmUrl, memoryBudget: smallest });
  const move = model.setMemoryBudget(largest);
  setImmediate(() => model.dispose());
  await assert.rejects(move, { code: 'TANSY_DISPOSED' });
  assert.throws(() => model.stats(), { code: 'TANSY_DISPOSED' });
});

test('a session goes on in another memory with the same tokens', async () => {
  for (const kv of /** @type {const} */ (['int8', 'f16', 'f32'])) {
    const a = await load(BOOKS, { wasmUrl, kv });
    const first = a.generate(PROMPT, { ...LIVELY, maxTokens: 10, temperature: 0 });
    await first.text();
    const saved = await a.saveSession();
    const b = await load(BOOKS, { wasmUrl, kv, memoryBudget: largest + (1 << 22), contextSize: 100 });
    const ids = await b.restoreSession(saved);
    assert.deepEqual(ids, [...PROMPT, ...first.ids.slice(0, 9)]);
    const next = [...PROMPT, ...first.ids, 7, 8, 9];
    const [x, y] = [a, b].map((model) => model.generate(next, { ...LIVELY, maxTokens: 10 }));
    await x.text();
    await y.text();
    assert.deepEqual(y.ids, x.ids);
    assert.equal(b.stats().prefillTokens, 4);
    const fresh = await load(BOOKS, { wasmUrl, kv });
    const z = fresh.generate(next, { ...LIVELY, maxTokens: 10 });
    await z.text();
    assert.equal(fresh.stats().prefillTokens, next.length);
    assert.deepEqual(z.ids, x.ids, 'with and without reuse');
    for (const model of [a, b, fresh]) model.dispose();
  }
});

test('the memory grows with the conversation, by blocks, never beyond the plan, and no token changes by it', async () => {
  for (const options of [{}, { kv: 'f16' }, { threads: 2, wasmUrl: built(builds[2].wasm) }]) {
    const all = /** @type {const} */ ({ wasmUrl, contextSize: 250, memoryBudget: largest, ...options });
    const grown = await load(BOOKS, all);
    const whole = await load(BOOKS, all);
    /* a memory of the full size from the beginning */
    await whole.generate(Array.from({ length: 250 }, (_, i) => i % 500), { maxTokens: 1 }).text();
    assert.equal(whole.stats().heapBytes, whole.stats().heapLimitBytes);
    const heaps = [];
    let prompt = PROMPT;
    while (prompt.length < 240) {
      const [a, b] = [grown, whole].map((model) => model.generate(prompt, { ...LIVELY, maxTokens: Math.min(33, 250 - prompt.length) }));
      await a.text();
      await b.text();
      assert.deepEqual(a.ids, b.ids);
      prompt = [...prompt, ...a.ids];
      const { heapBytes, heapLimitBytes, memory } = grown.stats();
      const sum = Object.values(memory).reduce((x, y) => x + y);
      assert.ok(heapBytes <= heapLimitBytes && sum <= heapBytes && heapBytes - sum < 2 * 65536);
      heaps.push(heapBytes);
    }
    assert.deepEqual([...heaps].sort((a, b) => a - b), heaps);
    assert.equal(new Set(heaps).size, 4, 'of 64, 128, 192, 250 tokens');
    assert.equal(heaps.at(-1), grown.stats().heapLimitBytes);
    for (const model of [grown, whole]) model.dispose();
  }
});

test('when the system has no memory left for a longer conversation, the one so far goes on', async () => {
  const model = await load(BOOKS, { wasmUrl, contextSize: 250 });
  const prompt = Array.from({ length: 60 }, (_, i) => (i * 13) % 500);
  const options = { ...LIVELY, temperature: 0 };
  const { grow } = WebAssembly.Memory.prototype;
  WebAssembly.Memory.prototype.grow = () => {
    throw new RangeError('no');
  };
  const generation = model.generate(prompt, options);
  await assert.rejects(generation.text(), { code: 'TANSY_NO_MEMORY', message: /could not be allocated/ }).finally(() => (WebAssembly.Memory.prototype.grow = grow));
  assert.equal(generation.ids.length, 5);
  assert.equal(model.stats().position, 64);
  const again = model.generate([...prompt, ...generation.ids], { ...options, maxTokens: 35 });
  await again.text();
  assert.equal(model.stats().prefillTokens, 1);
  const fresh = await load(BOOKS, { wasmUrl });
  const plain = fresh.generate(prompt, options);
  await plain.text();
  assert.deepEqual([...generation.ids, ...again.ids], plain.ids);
  for (const each of [model, fresh]) each.dispose();
});

/** The same session with other bytes and a right checksum. @param {Uint8Array} bytes @param {(view: DataView) => void} change */
function forged(bytes, change) {
  const out = bytes.slice();
  const view = new DataView(out.buffer);
  change(view);
  const all = out.slice(4);
  all.set(out.subarray(0, 28));
  all.set(out.subarray(32), 28);
  view.setUint32(28, crc32(all), true);
  return out;
}

test('bytes that are no session of this model are refused and change nothing', async () => {
  const model = await load(BOOKS, { wasmUrl, contextSize: 64 });
  await model.generate(PROMPT, { ...LIVELY, maxTokens: 5 }).text();
  const good = await model.saveSession();
  const { position } = model.stats();
  const flipped = good.slice();
  flipped[good.length >> 1] ^= 16;
  /** @type {[unknown, object][]} */
  const cases = [
    ['text', { code: 'TANSY_OPTION' }],
    [new Uint8Array(0), { code: 'TANSY_SESSION', message: /not the bytes of a session/ }],
    [new Uint8Array(1000), { code: 'TANSY_SESSION' }],
    [good.subarray(0, good.length - 1), { code: 'TANSY_SESSION', message: /bytes of/ }],
    [flipped, { code: 'TANSY_SESSION', message: /checksum/ }],
    [forged(good, (v) => v.setUint32(8, 2, true)), { code: 'TANSY_SESSION', message: /version/ }],
    [forged(good, (v) => v.setUint32(12, 1, true)), { code: 'TANSY_SESSION', message: /kv: "f32"/ }],
    [forged(good, (v) => v.setUint32(12, 77, true)), { code: 'TANSY_SESSION' }],
    [forged(good, (v) => v.setUint32(16, position - 1, true)), { code: 'TANSY_SESSION', message: /contradicts/ }],
    [forged(good, (v) => v.setUint32(16, 65, true)), { code: 'TANSY_CONTEXT' }],
    [forged(good, (v) => v.setUint32(16, 2 ** 32 - 1, true)), { code: 'TANSY_CONTEXT' }],
    [forged(good, (v) => v.setUint32(20, 1, true)), { code: 'TANSY_SESSION', message: /another model/ }],
    [forged(good, (v) => v.setInt32(32, -1, true)), { code: 'TANSY_SESSION', message: /tokens or numbers/ }],
    [forged(good, (v) => v.setInt32(32, model.config.vocab, true)), { code: 'TANSY_SESSION' }],
    [forged(good, (v) => v.setFloat32(good.length - 12, NaN, true)), { code: 'TANSY_SESSION', message: /tokens or numbers/ }],
  ];
  for (const [bytes, error] of cases) {
    await assert.rejects(model.restoreSession(/** @type {Uint8Array} */ (bytes)), error);
    assert.deepEqual(await model.saveSession(), good);
  }
  assert.equal((await model.restoreSession(forged(good, () => {}))).length, position);
  model.dispose();
});

test('minTokensPerSecond: a modest goal takes the smallest memory, an absurd one all that helps, and says so', async () => {
  const modest = await load(BOOKS, { wasmUrl, minTokensPerSecond: 0.01 });
  assert.equal(modest.stats().nPacked + modest.stats().nInt8, 0);
  assert.equal(modest.goal?.reached, true);
  assert.ok(modest.stats().plannedTokS > 0.01);
  /** @type {string[]} */
  const warnings = [];
  const { warn } = console;
  console.warn = (text) => warnings.push(text);
  const absurd = await load(BOOKS, { wasmUrl, minTokensPerSecond: 1e6 }).finally(() => (console.warn = warn));
  assert.equal(absurd.goal?.reached, false);
  assert.match(warnings.join(), /1000000 asked for/);
  assert.ok(absurd.stats().nInt8 + absurd.stats().nPacked > 0);
  assert.ok(absurd.stats().plannedTokS > modest.stats().plannedTokS);
  /* between the two: as few bytes as the measured costs allow */
  const middle = await load(BOOKS, { wasmUrl, minTokensPerSecond: Math.sqrt(modest.stats().plannedTokS * absurd.stats().plannedTokS) });
  assert.ok(middle.stats().heapLimitBytes <= absurd.stats().heapLimitBytes);
  assert.ok(middle.stats().heapLimitBytes >= modest.stats().heapLimitBytes);
  const generation = middle.generate(PROMPT, LIVELY);
  await generation.text();
  assert.deepEqual(generation.ids, expected);
  await assert.rejects(load(BOOKS, { wasmUrl, minTokensPerSecond: 0 }), { code: 'TANSY_OPTION' });
  await assert.rejects(load(new Blob([readFileSync(BOOKS)]).stream(), { wasmUrl, minTokensPerSecond: 5 }), { code: 'TANSY_SOURCE' });
  for (const model of [modest, absurd, middle]) model.dispose();
});

for (const nBatches of [1, 7])
  test(`a prompt of ${nBatches} batches begins while weights are coming: when the last chunk comes only the last layer and the head are left`, async () => {
    const bytes = readFileSync(BOOKS);
    const prompt = Array.from({ length: 16 * nBatches - 3 }, (_, i) => (i * 29 + 3) % 500);
    let steps = 0;
    const { step } = Engine.prototype;
    /** @type {() => void} */
    let changed = () => {};
    Engine.prototype.step = function () {
      const more = step.call(this);
      steps++;
      changed();
      return more;
    };
    let stepsBeforeEnd = -1;
    let stepsWithoutEnd = Infinity;
    const source = {
      name: 'a slow source',
      size: bytes.length,
      sequential: true,
      rereadable: true,
      async *read(/** @type {number} */ offset, /** @type {number} */ nbytes) {
        const end = Math.min(offset + nbytes, bytes.length);
        while (offset < end) {
          const last = offset >= bytes.length - 1000;
          /* the last bytes wait for every layer but the last; were they not run, this test would end by the runner's time limit */
          if (last) while (steps < stepsWithoutEnd) await new Promise((resolve) => (changed = () => resolve(undefined)));
          if (last) stepsBeforeEnd = steps;
          const next = last ? end : Math.min(offset + 65536, Math.max(offset + 1, Math.min(end, bytes.length - 1000)));
          yield new Uint8Array(bytes.subarray(offset, next));
          offset = next;
          await new Promise(setImmediate);
        }
      },
      close: async () => {},
    };
    try {
      const model = await load(source, { wasmUrl, early: true, batchSize: 16 });
      let isLoaded = false;
      model.loaded.then(() => (isLoaded = true));
      stepsWithoutEnd = (model.config.layers - 1) * nBatches;
      const generation = model.generate(prompt, { ...LIVELY, speculate: false });
      let stepsAtFirstText = 0;
      for await (const _ of generation) stepsAtFirstText ||= steps;
      assert.ok(isLoaded);
      assert.equal(stepsBeforeEnd, stepsWithoutEnd);
      assert.ok(model.stats().heapBytes <= model.stats().heapLimitBytes);
      /* some tokens may come before text does */
      assert.ok(stepsAtFirstText >= model.config.layers * nBatches + 1);
      model.dispose();
      const whole = await load(BOOKS, { wasmUrl });
      const plain = whole.generate(prompt, LIVELY);
      await plain.text();
      assert.deepEqual(generation.ids, plain.ids);
      whole.dispose();
    } finally {
      Engine.prototype.step = step;
    }
  });

test('a context too long for the budget is refused with the bytes that it takes', async () => {
  const { bytesNeeded: least } = await canRun(BOOKS, { wasmUrl, contextSize: 128 });
  const options = { wasmUrl, contextSize: 256, memoryBudget: least };
  const fit = await canRun(BOOKS, options);
  assert.ok(!fit.ok && fit.bytesMissing > 0);
  await assert.rejects(load(BOOKS, options), (/** @type {any} */ error) => {
    assert.equal(error.code, 'TANSY_OVER_BUDGET');
    assert.match(error.message, /at a context of 256 tokens/);
    assert.deepEqual([error.details.bytesNeeded, error.details.bytesMissing], [fit.bytesNeeded, fit.bytesNeeded - least]);
    return true;
  });
  const model = await load(BOOKS, { ...options, memoryBudget: fit.bytesNeeded });
  assert.equal(model.contextSize, 256);
  model.dispose();
  const { modelContext } = fit;
  await assert.rejects(load(BOOKS, { wasmUrl, contextSize: modelContext + 1 }), { code: 'TANSY_CONTEXT', message: new RegExp(String(modelContext)) });
});

test('an abort stops within one layer, of a prompt and of a move', async () => {
  const model = await load(BOOKS, { wasmUrl, memoryBudget: largest });
  const { step } = Engine.prototype;
  let steps = 0;
  const controller = new AbortController();
  Engine.prototype.step = function () {
    steps++;
    if (steps === 3) controller.abort();
    return step.call(this);
  };
  try {
    await assert.rejects(model.generate(PROMPT, { signal: controller.signal }).text(), { code: 'TANSY_ABORTED' });
    assert.equal(steps, 3);
    assert.equal(model.stats().position, 0);
  } finally {
    Engine.prototype.step = step;
  }
  const late = new AbortController();
  const moving = model.setMemoryBudget(smallest, { signal: late.signal, onProgress: () => late.abort() });
  await assert.rejects(moving, { code: 'TANSY_ABORTED' });
  await model.setMemoryBudget(smallest);
  const generation = model.generate(PROMPT, LIVELY);
  await generation.text();
  assert.deepEqual(generation.ids, expected);
  model.dispose();
});

test('early loading: abort, errors and dispose reach the prompt that waits', async () => {
  const bytes = readFileSync(BOOKS);
  const half = bytes.length >> 1;
  /** @param {() => Promise<void>} atHalf */
  const source = (atHalf) => ({
    name: 'half a source',
    size: bytes.length,
    sequential: true,
    rereadable: true,
    async *read(/** @type {number} */ offset, /** @type {number} */ nbytes, /** @type {AbortSignal | undefined} */ signal) {
      const end = Math.min(offset + nbytes, bytes.length);
      if (offset < half) yield new Uint8Array(bytes.subarray(offset, Math.min(end, half)));
      if (end <= half) return;
      await Promise.race([atHalf(), new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))]);
      yield new Uint8Array(bytes.subarray(Math.max(half, offset), end));
    },
    close: async () => {},
  });
  const never = () => new Promise(() => {});
  const failing = await load(source(async () => Promise.reject(new Error('the line is dead'))), { wasmUrl, early: true });
  await assert.rejects(failing.generate(PROMPT).text(), /the line is dead/);
  await assert.rejects(failing.loaded, /the line is dead/);

  const stopped = await load(source(/** @type {any} */ (never)), { wasmUrl, early: true });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 20);
  await assert.rejects(stopped.generate(PROMPT, { signal: controller.signal }).text(), { code: 'TANSY_ABORTED' });
  const waiting = stopped.generate(PROMPT).text();
  setTimeout(() => stopped.dispose(), 20);
  await assert.rejects(waiting, { code: 'TANSY_DISPOSED' });
  await assert.rejects(stopped.loaded, { code: 'TANSY_DISPOSED' });

  const outer = new AbortController();
  const aborted = await load(source(/** @type {any} */ (never)), { wasmUrl, early: true, signal: outer.signal });
  const text = aborted.generate(PROMPT).text();
  setTimeout(() => outer.abort(), 20);
  await assert.rejects(text, { code: 'TANSY_ABORTED' });
});

test('tansy bench --memory-curve: bytes rise, none above its budget, predictions and a plot', async () => {
  const plot = join(folder, 'curve.svg');
  const curve = await tansyJson(['bench', '-m', BOOKS, '--wasm', wasmUrl, '--memory-curve', '-r', '1', '-c', '64', '--plot', plot]);
  assert.equal(curve.points.length, 9);
  assert.deepEqual(curve.forms.map((/** @type {{form: string}} */ { form }) => form), ['ans', 'packed', 'int8']);
  assert.ok(curve.forms[1].bytes_of_int8 < 0.8);
  assert.ok(Object.values(curve.ns_per_weight).every((ns) => Number(ns) > 0));
  assert.ok(curve.worst_prediction >= 0);
  const [first, last] = [curve.points[0], curve.points.at(-1)];
  assert.ok(first.n_int8 + first.n_packed < 10);
  assert.ok(last.n_int8 + last.n_packed > 30);
  for (const [i, point] of curve.points.entries()) {
    assert.ok(point.heap_bytes <= point.budget_bytes);
    assert.ok(point.measured_tok_s > 0 && point.predicted_tok_s > 0);
    if (i > 0) assert.ok(point.weight_bytes >= curve.points[i - 1].weight_bytes);
  }
  const svg = readFileSync(plot, 'utf8');
  assert.equal(svg.match(/<circle/g)?.length, 9);
  assert.doesNotMatch(svg, /NaN|Infinity|undefined/);
  assert.equal((await tansy(['bench', '-m', BOOKS, '--memory-curve', '--memory', '8MB'])).status, 2);
});
