// Life of a model, over and over: memory stays flat, calls do not overlap, an abort at any moment leaves the next call as it would have
// been, and a full context is shifted exactly.  TANSY_SOAK=1 (npm run test:soak): the long versions.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { load } from '../../js/index.js';
import { root, runProgram } from './lib/builds.js';

const soak = process.env.TANSY_SOAK === '1';
const FILE = readFileSync(join(root, 'demo/models/tales-6m.tansy'));
const PROMPT = 'Once upon a time there was a king who had three daughters, and';
const GREEDY = { temperature: 0, ignoreEos: true, maxTokens: 12 };

/** @param {import('../../js/index.js').Model} model @param {string | number[]} prompt @param {import('../../js/index.js').GenerateOptions} [options] */
async function ids(model, prompt, options = GREEDY) {
  const run = model.generate(prompt, options);
  await run.text();
  return run.ids;
}

const N_CYCLES = soak ? 200 : 30;
/** @param {string[]} flags */
async function cycles(flags) {
  const { status, stdout, stderr } = await runProgram(process.execPath, ['--expose-gc', ...flags, `${root}tests/js/lib/cycles.js`, String(N_CYCLES)]);
  assert.equal(status, 0, stderr);
  return JSON.parse(stdout);
}

/* with a nursery of one size, which V8 would make larger in the course of time (2 MB) */
test(`${N_CYCLES} times load, generate, dispose: the process stays within 5 % of what it was after 5`, async (t) => {
  const { after5, afterAll } = await cycles(['--min-semi-space-size=4', '--max-semi-space-size=4']);
  const text = JSON.stringify({ after5, afterAll });
  t.diagnostic(text);
  assert.ok(afterAll.rss <= 1.05 * after5.rss, text);
});

/* What V8 learns about the code it runs, and the machine code it makes of it, lie on the heap too, and grow for hundreds of calls
 * (code space 0.6 → 0.9 MB); with its optimizers off and its notes taken from the first call on, the rest is what is kept. */
test(`${N_CYCLES} times load, generate, dispose: the JavaScript heap stays within 5 % of what it was after 5`, async (t) => {
  const { after5, afterAll } = await cycles(['--no-opt', '--no-sparkplug', '--no-lazy-feedback-allocation']);
  const text = JSON.stringify({ after5, afterAll });
  t.diagnostic(text);
  assert.ok(afterAll.heap <= 1.05 * after5.heap, text);
});

test('a second call while one runs is TANSY_BUSY, and harms neither', async () => {
  const model = await load(FILE, { threads: 1 });
  const expected = await ids(model, PROMPT);
  const run = model.generate(PROMPT, GREEDY);
  const iterator = run[Symbol.asyncIterator]();
  await iterator.next();
  for (const call of [() => ids(model, PROMPT), () => model.logits([1, 2]), () => model.saveSession()]) await assert.rejects(call, { code: 'TANSY_BUSY' });
  while (!(await iterator.next()).done);
  assert.deepEqual(run.ids, expected);
  assert.deepEqual(await ids(model, PROMPT), expected);
  /* calls started together: one runs, the others say so */
  const outcomes = await Promise.allSettled([ids(model, PROMPT), ids(model, PROMPT), ids(model, PROMPT)]);
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
  for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'TANSY_BUSY');
  model.dispose();
  await assert.rejects(() => ids(model, PROMPT), { code: 'TANSY_DISPOSED' });
});

test('aborted at random moments, the next call gives the same tokens', async () => {
  const model = await load(FILE, { threads: 1, batchSize: 4 });
  const prompts = [PROMPT, 'The old man said that', Array.from({ length: 90 }, (_, i) => (i * 37) % 4000)];
  const expected = [];
  for (const prompt of prompts) {
    model.reset();
    expected.push(await ids(model, prompt));
  }
  let aborted = 0;
  let x = 1;
  const random = (/** @type {number} */ n) => (x = (Math.imul(x, 1103515245) + 12345) & 0x7fffffff) % n;
  for (let round = 0; round < (soak ? 300 : 40); round++) {
    const controller = new AbortController();
    /* by token, by time, or by leaving the loop */
    const atToken = random(14);
    let n = 0;
    if (round % 3 === 0) setTimeout(() => controller.abort(), random(30));
    const run = model.generate(prompts[random(3)], { ...GREEDY, speculate: round % 2 === 0, signal: controller.signal, onToken: () => void (round % 3 === 1 && n++ === atToken && controller.abort()) });
    try {
      for await (const text of run) if (round % 3 === 2 && text.length > 0 && n++ === atToken) break;
    } catch (error) {
      assert.equal(/** @type {any} */ (error).code, 'TANSY_ABORTED');
      aborted++;
    }
    const k = random(3);
    assert.deepEqual(await ids(model, prompts[k], { ...GREEDY, speculate: round % 4 === 0 }), expected[k], `round ${round}`);
  }
  assert.ok(aborted > 5, String(aborted));
  model.dispose();
});

test('a full context is shifted: what follows is what a prompt of the kept tokens gives', async () => {
  const contextSize = 40;
  const model = await load(FILE, { threads: 1, contextSize });
  const prompt = model.tokenize(PROMPT, { addBos: true });
  assert.equal((await ids(model, prompt, { ...GREEDY, maxTokens: 500 })).length, contextSize - prompt.length + 1, 'without the option it ends');
  const shifted = await ids(model, prompt, { ...GREEDY, maxTokens: 150, contextOverflow: 'shift', speculate: false });
  assert.equal(shifted.length, 150);
  const guessed = await ids(model, prompt, { ...GREEDY, maxTokens: 150, contextOverflow: 'shift', speculate: true });
  assert.deepEqual(guessed, shifted, 'speculation changes no token');

  const fresh = await load(FILE, { threads: 1, contextSize });
  const { bos } = fresh.config;
  /** @type {number[]} */
  const all = [];
  let window = prompt;
  while (all.length < 150) {
    const more = await ids(fresh, window, { ...GREEDY, maxTokens: contextSize - window.length + 1 });
    all.push(...more);
    /* the last one was sampled, but found no room */
    const cached = [...window, ...more.slice(0, -1)];
    assert.equal(cached.length, contextSize);
    const kept = cached.slice(-contextSize / 2);
    if (cached[0] === bos) kept[0] = bos;
    window = [...kept, more[more.length - 1]];
  }
  assert.deepEqual(shifted, all.slice(0, 150));
  for (const small of [1, 2, 3]) {
    const tiny = await load(FILE, { threads: 1, contextSize: small });
    assert.equal((await ids(tiny, [5], { ...GREEDY, maxTokens: 9, contextOverflow: 'shift' })).length, 9);
    tiny.dispose();
  }
  await assert.rejects(() => ids(model, PROMPT, { ...GREEDY, contextOverflow: /** @type {any} */ ('wrap') }), { code: 'TANSY_OPTION' });
  fresh.dispose();
  model.dispose();
});

const N_TOKENS = soak ? 20000 : 800;
test(`${N_TOKENS} tokens of one text through a context of 128: the heap stays as it is once the context was full`, async () => {
  const model = await load(FILE, { contextSize: 128 });
  let heapBytes = 0; /* with the context full for the first time */
  let nTokens = 0;
  let nCharacters = 0;
  const run = model.generate(PROMPT, { maxTokens: N_TOKENS, seed: 7, ignoreEos: true, contextOverflow: 'shift', onToken: () => void (++nTokens === 300 && (heapBytes = model.stats().heapBytes)) });
  for await (const text of run) nCharacters += text.length;
  assert.equal(nTokens, N_TOKENS);
  assert.ok(nCharacters > 2 * N_TOKENS);
  assert.equal(run.finishReason, 'length');
  assert.equal(model.stats().heapBytes, heapBytes);
  model.dispose();
});
