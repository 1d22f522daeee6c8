// The engine through load() and Model: memory, exactness, stopping, aborting, errors.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { canRun, load } from '../../js/index.js';
import { built, builds, root, sharedPath, tansyJson } from './lib/builds.js';
import { writeCheckpoint } from './lib/checkpoint.js';
import { readTansy } from '../reference/tansy_reader.js';
import { serveFile } from './lib/file_server.js';
import { llamaLogits } from './lib/llama.js';

const wasmUrl = built(builds[0].wasm);
const folder = mkdtempSync(join(tmpdir(), 'tansy-test-'));
const path = join(folder, 'tiny.tansy');
/** @type {ReturnType<typeof writeCheckpoint>} */
let checkpoint;
/** @type {Buffer} */
let file;
before(async () => {
  checkpoint = writeCheckpoint(join(folder, 'tiny'));
  await tansyJson(['compress', join(folder, 'tiny'), '-o', path, '--bits', '8', '--no-prune']);
  file = readFileSync(path);
});
after(() => rmSync(folder, { recursive: true, force: true }));

const open = (/** @type {import('../../js/index.js').LoadOptions} */ options = {}) => load(path, { wasmUrl, ...options });
const GREEDY = /** @type {const} */ ({ temperature: 0, ignoreEos: true });

/**
 * How far logits `a` are from `b`: root mean square and largest difference over the standard deviation of `b`, and how often the
 * largest logit differs although b's margin is wider than the largest difference explains.
 * @param {ArrayLike<number>} a @param {ArrayLike<number>} b @param {number} vocab
 */
function compareLogits(a, b, vocab) {
  let [worst, error, mean, square] = [0, 0, 0, 0];
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i] - b[i]));
    error += (a[i] - b[i]) ** 2 / b.length;
    mean += b[i] / b.length;
    square += b[i] ** 2 / b.length;
  }
  let flips = 0;
  for (let t = 0; t < b.length / vocab; t++) {
    const row = Array.from({ length: vocab }, (_, i) => i).sort((i, j) => b[t * vocab + j] - b[t * vocab + i]);
    if (b[t * vocab + row[0]] - b[t * vocab + row[1]] <= 2 * worst) continue;
    if (row.some((i) => a[t * vocab + i] > a[t * vocab + row[0]])) flips++;
  }
  const deviation = Math.sqrt(square - mean ** 2);
  return { rms: Math.sqrt(error) / deviation, worst: worst / deviation, flips };
}

/** Names in a checkpoint, by the role numbers of FORMAT.md. */
const OUTER = /** @type {Record<number, string>} */ ({ 0: 'model.embed_tokens', 3: 'model.norm', 5: 'lm_head' });
const INNER = /** @type {Record<number, string>} */ ({
  16: 'input_layernorm',
  19: 'self_attn.q_proj',
  20: 'self_attn.k_proj',
  21: 'self_attn.v_proj',
  28: 'self_attn.o_proj',
  31: 'post_attention_layernorm',
  34: 'mlp.gate_proj',
  35: 'mlp.up_proj',
  38: 'mlp.down_proj',
});

/**
 * The formulas in 64-bit floats on the weights of a .tansy file, as the reference reader gives them: what rounding the weights to
 * 8 bits costs, all else being exact.
 * @param {string} model @param {any} config @param {number[]} ids
 */
function logitsOfRoundedWeights(model, config, ids) {
  /** @type {Map<string, {shape: number[], values: Float64Array}>} */
  const tensors = new Map();
  /** @type {Float64Array | undefined} */
  let frequencies;
  for (const t of readTansy(readFileSync(model)).tensors) {
    if (t.role === 9) frequencies = t.values();
    const name = OUTER[t.role] ?? (INNER[t.role] && `model.layers.${t.layer}.${INNER[t.role]}`);
    if (name) tensors.set(`${name}.weight`, { shape: t.nRows === 1 ? [t.nCols] : [t.nRows, t.nCols], values: t.values() });
  }
  return llamaLogits(config, tensors, ids, frequencies).flatMap((row) => [...row]);
}

/*
 * The bound. At 8 bits a weight is rounded to a step of absmax/127 of its row. The engine does the same to activations, per block of
 * 128 and by powers of two, so a little coarser: a matrix product of both has about sqrt(1 + 1.5^2) = 1.8 times the error that
 * rounding the weights alone has. That error is computed here for the very model in question (how much a model amplifies it
 * differs between models by a factor of ten), and the engine must stay below twice of it, root mean square over all logits. Where the exact
 * logits have a clear winner, the engine must have the same.
 */
const TIMES_WEIGHT_ROUNDING = 2;

/** @param {string} path @param {any} config @param {number[]} ids @param {ArrayLike<number>} exact */
async function assertWithinRounding(path, config, ids, exact) {
  const rounded = compareLogits(logitsOfRoundedWeights(path, config, ids), exact, config.vocab_size);
  for (const kv of /** @type {const} */ (['int8', 'f16', 'f32'])) {
    const model = await load(path, { wasmUrl, kv });
    const engine = compareLogits(await model.logits(ids), exact, config.vocab_size);
    assert.ok(rounded.rms > 1e-4 && engine.rms > 1e-4, 'integers cannot be this exact');
    assert.ok(engine.rms <= TIMES_WEIGHT_ROUNDING * rounded.rms, `${kv}: ${engine.rms} against ${rounded.rms}`);
    assert.equal(engine.flips, 0);
    model.dispose();
  }
}

test('logits are those of the formulas within what 8 bits explain', async () => {
  const ids = Array.from({ length: 48 }, (_, i) => (i * 37 + 5) % 260);
  const exact = llamaLogits(checkpoint.config, checkpoint.tensors, ids).flatMap((row) => [...row]);
  await assertWithinRounding(path, checkpoint.config, ids, exact);
});

for (const name of ['llama-A', 'llama3rope-A'])
  test(`golden logits of ${name} within what 8 bits explain`, async (t) => {
    const source = sharedPath(t, `golden/${name}`);
    if (source === undefined) return;
    const out = join(folder, `${name}.tansy`);
    await tansyJson(['compress', source, '-o', out, '--bits', '8', '--no-prune']);
    const golden = JSON.parse(readFileSync(join(source, 'golden.json'), 'utf8'));
    const config = JSON.parse(readFileSync(join(source, 'config.json'), 'utf8'));
    config.head_dim ??= config.hidden_size / config.num_attention_heads;
    const bytes = Buffer.from(golden.logits_b64, 'base64');
    const exact = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    await assertWithinRounding(out, config, golden.ids, exact);
  });

test('the smallest budget: the weights are ANS-coded, scratch stays below 1 MiB, the text is the same', async () => {
  for (const model of [path, join(root, 'demo', EMBEDDED_MODEL)]) {
    const fit = await canRun(model, { wasmUrl, residency: 'ans' });
    assert.equal(fit.ok, true);
    const small = await load(model, { wasmUrl, memoryBudget: fit.bytesNeeded, residency: 'ans' });
    const large = await load(model, { wasmUrl, residency: 'int8' });
    const prompt = Array.from({ length: 20 }, (_, i) => i + 1);
    const [a, b] = [small.generate(prompt, { ...GREEDY, maxTokens: 30 }), large.generate(prompt, { ...GREEDY, maxTokens: 30 })];
    assert.equal(await a.text(), await b.text());
    assert.deepEqual(a.ids, b.ids);
    const stats = small.stats();
    assert.equal(stats.heapLimitBytes, fit.bytesNeeded);
    assert.equal(stats.nPacked + stats.nInt8, 0);
    assert.ok(stats.memory.ans > 0 && stats.memory.packed === 0 && stats.memory.int8 === 0);
    assert.ok(stats.decodedBytes < 2 ** 20, `${stats.decodedBytes} bytes of decoded weights`);
    assert.ok(stats.memory.scratch < 2 ** 20, `${stats.memory.scratch} bytes of scratch`);
    const sum = Object.values(stats.memory).reduce((x, y) => x + y, 0);
    assert.ok(sum <= stats.heapBytes && stats.heapBytes - sum < 65536 * 2, `${sum} of ${stats.heapBytes}`);
    assert.ok(large.stats().nInt8 > 0 && large.stats().memory.int8 > 0);
    await assert.rejects(load(model, { wasmUrl, memoryBudget: fit.bytesNeeded - 1 }), (/** @type {any} */ error) => {
      assert.equal(error.code, 'TANSY_OVER_BUDGET');
      assert.equal(error.details.bytesNeeded, fit.bytesNeeded);
      assert.match(error.message, new RegExp(`needs at least ${fit.bytesNeeded} bytes`));
      return true;
    });
    small.dispose();
    large.dispose();
  }
});

test('canRun answers from the header: no weight is fetched', async () => {
  const server = await serveFile(file);
  const fit = await canRun(server.url, { wasmUrl, memoryBudget: 70000 });
  assert.equal(fit.ok, false);
  assert.equal(fit.fileBytes, file.length);
  assert.equal(fit.bytesMissing, fit.bytesNeeded - 70000);
  assert.equal((await canRun(server.url, { wasmUrl, memoryBudget: fit.bytesNeeded })).ok, true);
  assert.ok(server.bytesSent <= 2 * 65536);
  await assert.rejects(load(server.url, { wasmUrl, memoryBudget: 70000 }), { code: 'TANSY_OVER_BUDGET' });
  assert.ok(server.bytesSent <= 3 * 65536);
  await server.close();
});

test('over HTTP with and without Range, from bytes, Blob and stream: the same model', async () => {
  const expected = await (await open()).generate('abc', { ...GREEDY, maxTokens: 12 }).text();
  const [ranged, plain] = [await serveFile(file), await serveFile(file, { noRange: true })];
  for (const source of [ranged.url, new URL(plain.url), file, new Blob([new Uint8Array(file)]), new Blob([new Uint8Array(file)]).stream()]) {
    const model = await load(source, { wasmUrl });
    assert.equal(await model.generate('abc', { ...GREEDY, maxTokens: 12 }).text(), expected);
    model.dispose();
  }
  await ranged.close();
  await plain.close();
});

test('streamed pieces make the text; ids, finish reason and figures agree', async () => {
  const model = await open();
  const generation = model.generate('Hello', { ...GREEDY, maxTokens: 20 });
  const pieces = [];
  /** @type {number[]} */
  const seen = [];
  for await (const piece of generation) pieces.push(piece);
  assert.equal(generation.ids.length, 20);
  assert.equal(generation.finishReason, 'length');
  assert.deepEqual(generation.promptIds, model.tokenize('Hello'));
  assert.equal(pieces.join(''), model.detokenize([...model.tokenize('Hello'), ...generation.ids]).slice('Hello'.length));
  const again = model.generate('Hello', { ...GREEDY, maxTokens: 20, onToken: (id) => seen.push(id) });
  await again.text();
  assert.deepEqual(seen, generation.ids);
  const stats = model.stats();
  assert.equal(stats.decodeTokens, 19);
  assert.equal(stats.prefillTokens, 1, 'the prompt is in the cache already');
  assert.ok(stats.decodeTokS > 0 && stats.prefillTokS > 0);
  assert.equal(stats.position, generation.promptIds.length + 19);
  model.dispose();
});

test('maxTokens 0, and a context that fills up', async () => {
  const model = await open({ contextSize: 130 });
  const none = model.generate('a', { maxTokens: 0 });
  assert.equal(await none.text(), '');
  assert.equal(none.finishReason, 'length');
  const full = model.generate('a', GREEDY);
  await full.text();
  assert.equal(full.finishReason, 'length');
  assert.equal(full.ids.length, 130);
  assert.equal(model.stats().position, 130);
  const long = Array.from({ length: 131 }, () => 7);
  await assert.rejects(model.generate(long).text(), { code: 'TANSY_CONTEXT', message: /131 tokens; the context holds 130.*contextSize up to 192/ });
  await assert.rejects(model.logits(long.concat(1)), { code: 'TANSY_CONTEXT' });
  model.dispose();
});

test('what is in the cache never changes the text', async () => {
  const model = await open();
  const fresh = async (/** @type {string} */ prompt) => {
    model.reset();
    return model.generate(prompt, { ...GREEDY, maxTokens: 10 }).text();
  };
  const [one, two] = [await fresh('once upon a time'), await fresh('once upon a hill')];
  model.reset();
  for (const [prompt, expected] of [
    ['once upon a time', one],
    ['once upon a hill', two],
    ['once upon a time', one],
    ['once', await fresh('once')],
    ['once upon a time', one],
  ])
    assert.equal(await model.generate(prompt, { ...GREEDY, maxTokens: 10 }).text(), expected);
  await model.logits([1, 2, 3]);
  assert.equal(await model.generate('once upon a time', { ...GREEDY, maxTokens: 10 }).text(), one);
  model.dispose();
});

test('seeds: the same one gives the same text, others another; a caller may leave at any time', async () => {
  const model = await open();
  const sample = (/** @type {number} */ seed) => model.generate('story', { temperature: 1.5, topK: 0, topP: 1, minP: 0, seed, maxTokens: 16, ignoreEos: true });
  const [a, b, c, big] = [sample(1), sample(1), sample(2), sample(2 ** 40 + 1)];
  for (const g of [a, b, c, big]) await g.text();
  assert.deepEqual(a.ids, b.ids);
  assert.notDeepEqual(a.ids, c.ids);
  assert.notDeepEqual(a.ids, big.ids, 'the upper half of the seed counts');
  const left = sample(3);
  for await (const piece of left) if (piece) break;
  assert.equal(typeof (await sample(1).text()), 'string', 'not busy any more');
  model.dispose();
});

test('a Source of one’s own that gives more than it was asked for', async () => {
  const read = async function* (/** @type {number} */ offset, /** @type {number} */ nbytes) {
    yield file.subarray(offset, offset + nbytes + 99);
  };
  const model = await load({ name: 'mine', size: file.length, sequential: false, rereadable: true, read, close: async () => {} }, { wasmUrl });
  model.dispose();
});

test('text() is the whole text: after pieces were taken, again, and beside a loop; after a failure it fails again', async () => {
  const model = await open();
  const options = { ...GREEDY, maxTokens: 12 };
  const expected = await model.generate('story', options).text();
  const partly = model.generate('story', options);
  let first = '';
  while (first === '') first = String((await partly[Symbol.asyncIterator]().next()).value);
  assert.ok(expected.startsWith(first) && first.length < expected.length);
  assert.equal(await partly.text(), expected);
  assert.equal(await partly.text(), expected);
  const shared = model.generate('story', options);
  const [whole] = await Promise.all([shared.text(), (async () => { for await (const _ of shared); })()]);
  assert.equal(whole, expected);
  const failing = model.generate('story', { ...options, signal: AbortSignal.abort() });
  for (let i = 0; i < 2; i++) await assert.rejects(failing.text(), { code: 'TANSY_ABORTED' });
  const left = model.generate('story', options);
  for await (const piece of left) if (piece !== '') break;
  assert.ok(expected.startsWith(await left.text()), 'what was taken');
  model.dispose();
});

test('topP 0 is the likeliest token, whatever the seed, as is any value that is nearly 0', async () => {
  const model = await open();
  const options = { temperature: 5, topK: 0, minP: 0, maxTokens: 12, ignoreEos: true };
  const expected = await model.generate('story', { ...GREEDY, maxTokens: 12 }).text();
  for (const topP of [0, 1e-60, 1e-6]) for (const seed of [1, 2]) assert.equal(await model.generate('story', { ...options, topP, seed }).text(), expected, `${topP}`);
  assert.notEqual(await model.generate('story', { ...options, topP: 1, seed: 1 }).text(), expected);
  model.dispose();
});

test('stop strings and end tokens', async () => {
  const model = await open();
  const all = await model.generate('x', { ...GREEDY, maxTokens: 40 }).text();
  const stop = all.slice(9, 13);
  const generation = model.generate('x', { ...GREEDY, maxTokens: 40, stop: ['\u0000never', stop] });
  assert.equal(await generation.text(), all.slice(0, all.indexOf(stop)));
  assert.equal(generation.finishReason, 'stop');
  assert.equal(generation.stopString, stop);
  /* the end token: sampled for certain when everything is likely and the text is long */
  const ended = model.generate('x', { temperature: 100, topK: 0, topP: 1, minP: 0, seed: 5 });
  await ended.text();
  assert.ok(!ended.ids.includes(0));
  model.dispose();
});

test('AbortSignal in prefill and in generation; the model goes on afterwards', async () => {
  const model = await open();
  const expected = await model.generate('go on', { ...GREEDY, maxTokens: 8 }).text();
  const controller = new AbortController();
  const generation = model.generate('go on', { ...GREEDY, maxTokens: 100, signal: controller.signal });
  let n = 0;
  await assert.rejects(
    async () => {
      for await (const piece of generation) if (piece !== '' && ++n === 3) controller.abort();
    },
    { code: 'TANSY_ABORTED', name: 'AbortError' },
  );
  assert.ok(generation.ids.length < 10);
  const early = AbortSignal.abort(new Error('no'));
  await assert.rejects(model.generate('go on', { signal: early }).text(), { code: 'TANSY_ABORTED' });
  await assert.rejects(model.logits([1, 2, 3], { signal: early }), { code: 'TANSY_ABORTED' });
  assert.equal(await model.generate('go on', { ...GREEDY, maxTokens: 8 }).text(), expected);
  model.dispose();
});

test('AbortSignal while the module is fetched, from a server that never answers; the next load asks again', async () => {
  const { createServer } = await import('node:http');
  let n = 0;
  const server = createServer((_, response) => void (++n > 1 && response.end(readFileSync(wasmUrl.replace(/^file:\/\//, '')))));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(undefined)));
  const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
  const url = `http://127.0.0.1:${port}/tansy.wasm`;
  await assert.rejects(load(path, { wasmUrl: url, signal: AbortSignal.timeout(60) }), { code: 'TANSY_ABORTED' });
  const model = await load(path, { wasmUrl: url });
  assert.equal(n, 2);
  model.dispose();
  server.closeAllConnections();
  server.close();
});

test('a timer can stop a long prefill: the event loop gets its turns', async () => {
  const model = await load(join(root, 'demo', EMBEDDED_MODEL), { wasmUrl, residency: 'ans', batchSize: 1 });
  const ids = Array.from({ length: 250 }, (_, i) => i + 1);
  const started = performance.now();
  await assert.rejects(model.generate(ids, { signal: AbortSignal.timeout(20) }).text(), { code: 'TANSY_ABORTED' });
  const aborted = performance.now() - started;
  model.reset();
  await model.logits(ids);
  const whole = performance.now() - started - aborted;
  assert.ok(aborted < whole / 2, `${aborted} of ${whole} ms`);
  model.dispose();
});

test('one generation at a time; dispose ends everything', async () => {
  const model = await open();
  const first = model.generate('a', { ...GREEDY, maxTokens: 50 })[Symbol.asyncIterator]();
  await first.next();
  await assert.rejects(model.generate('b').text(), { code: 'TANSY_BUSY' });
  await assert.rejects(model.logits([1]), { code: 'TANSY_BUSY' });
  model.dispose();
  await assert.rejects(first.next(), { code: 'TANSY_DISPOSED' });
  assert.throws(() => model.generate('a'), { code: 'TANSY_DISPOSED' });
  assert.throws(() => model.tokenize('a'), { code: 'TANSY_DISPOSED' });
  assert.throws(() => model.stats(), { code: 'TANSY_DISPOSED' });
});

test('wrong arguments are named', async () => {
  const model = await open();
  for (const [bad, words] of /** @type {[any, RegExp][]} */ ([
    [[], /empty/],
    [[1, 260], /token 1 is 260; ids are integers from 0 to 259/],
    [[1.5], /token 0 is 1\.5/],
    [[-1], /-1/],
    [42, /a text or a list of token ids; got number/],
    [null, /got null/],
  ]))
    assert.throws(() => model.generate(bad), { code: 'TANSY_OPTION', message: words });
  assert.throws(() => model.generate('x', /** @type {any} */ ({ temprature: 1 })), { code: 'TANSY_OPTION', message: /temperature/ });
  assert.throws(() => model.tokenize(/** @type {any} */ (5)), { code: 'TANSY_OPTION' });
  await assert.rejects(load(path, /** @type {any} */ ({ wasmUrl, variant: 'avx' })), { code: 'TANSY_OPTION' });
  await assert.rejects(load(path, { wasmUrl: '/no/such.wasm' }), { code: 'TANSY_WASM', message: /no\/such\.wasm/ });
  await assert.rejects(load(path, { wasmUrl: new Uint8Array([1, 2, 3]) }), { code: 'TANSY_WASM' });
  model.dispose();
});

test('a file without a tokenizer runs on ids', async () => {
  writeCheckpoint(join(folder, 'bare'), { tokenizer: false });
  const out = join(folder, 'bare.tansy');
  await tansyJson(['compress', join(folder, 'bare'), '-o', out, '--bits', '8', '--no-prune']);
  const [bare, full] = [await load(out, { wasmUrl }), await open()];
  const ids = full.tokenize('same');
  const [a, b] = [bare.generate(ids, { ...GREEDY, maxTokens: 9 }), full.generate(ids, { ...GREEDY, maxTokens: 9 })];
  assert.equal(await a.text(), '');
  await b.text();
  assert.deepEqual(a.ids, b.ids);
  assert.throws(() => bare.generate('text'), { code: 'TANSY_NO_TOKENIZER', message: /token ids/ });
  await assert.rejects(bare.generate(ids, { stop: 'x' }).text(), { code: 'TANSY_NO_TOKENIZER' });
  assert.throws(() => full.applyChatTemplate([{ role: 'user', content: 'x' }]), { code: 'TANSY_CHAT_TEMPLATE' });
  bare.dispose();
  full.dispose();
});

test('cut, damaged and foreign files are told apart', async () => {
  const cases = /** @type {[Uint8Array, RegExp][]} */ ([
    [new Uint8Array(0), /^TANSY_TRUNCATED$/],
    [file.subarray(0, 10), /^TANSY_NOT_TANSY$/],
    [file.subarray(0, 1000), /^TANSY_TRUNCATED$/],
    [file.subarray(0, file.length - 1), /^TANSY_TRUNCATED$/],
    [Buffer.concat([file, Buffer.of(0)]), /^TANSY_CORRUPT$/],
    [Buffer.from('PK\u0003\u0004 some other kind of file altogether'), /^TANSY_NOT_TANSY$/],
    [readFileSync(join(folder, 'tiny/model.safetensors')), /^TANSY_NOT_TANSY$/],
    [readFileSync(wasmUrl), /^TANSY_NOT_TANSY$/],
  ]);
  for (const [bytes, code] of cases)
    await assert.rejects(load(bytes, { wasmUrl }), (/** @type {any} */ error) => {
      assert.match(error.code, code, `${bytes.length} bytes: ${error.message}`);
      assert.match(error.message, /\.$/);
      return true;
    });
});

test('any single wrong byte of index or payload is found', async () => {
  const indexAt = 8 + Number(file.readBigUInt64LE());
  const step = Math.floor((file.length - indexAt) / 150);
  for (let at = indexAt; at < file.length; at += at < indexAt + 1500 ? 37 : step) {
    const bad = Buffer.from(file);
    bad[at] ^= 0x11;
    await assert.rejects(load(bad, { wasmUrl }), (/** @type {any} */ error) => {
      assert.match(error.code ?? String(error.stack), /^TANSY_(CHECKSUM|CORRUPT|VERSION|NOT_TANSY|TRUNCATED|UNSUPPORTED)$/, `byte ${at}`);
      return true;
    });
  }
});
