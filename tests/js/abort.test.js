// Aborted at any moment: a load, a move to another memory, a generation during a move. Whatever was cut off, what comes next is as if
// nothing had been. Moments come from a seed, which a failure names; TANSY_SEED tries another. TANSY_SOAK=1: the long version.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { load } from '../../js/index.js';
import { root } from './lib/builds.js';
import { serveFile } from './lib/file_server.js';

const soak = process.env.TANSY_SOAK === '1';
const SEED = Number(process.env.TANSY_SEED ?? 1);
const PATH = join(root, 'demo/models/tales-6m.tansy');
const FILE = readFileSync(PATH);
const PROMPT = 'Once upon a time there was a king who had three daughters, and';
const GREEDY = { temperature: 0, ignoreEos: true, maxTokens: 6 };
const BUDGETS = ['8MB', '12MB', '16MB', '32MB'];

/** @param {number} seed @returns {(n: number) => number} 0 … n - 1 */
function randomBelow(seed) {
  let x = Math.imul(seed, 0x9e3779b1) | 1;
  return (n) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % n;
  };
}

/** @param {import('../../js/index.js').Model} model */
async function tokens(model) {
  const run = model.generate(PROMPT, GREEDY);
  await run.text();
  return run.ids;
}

/** A signal that aborts at a random moment: after some progress, some turns of the event loop, or some milliseconds. @param {(n: number) => number} below */
function someMoment(below) {
  const controller = new AbortController();
  const kind = below(3);
  let left = below(kind === 1 ? 60 : 12);
  const count = () => void (left-- <= 0 && controller.abort());
  if (kind === 1) {
    const turn = () => void (controller.signal.aborted || (count(), setImmediate(turn)));
    turn();
  } else if (kind === 2) setTimeout(() => controller.abort(), below(40));
  return { signal: controller.signal, onProgress: kind === 0 ? count : () => {}, stop: () => controller.abort() };
}

test('a load is aborted, again and again: TANSY_ABORTED, or a model that works', async () => {
  const below = randomBelow(SEED);
  const model = await load(PATH, { threads: 1 });
  const expected = await tokens(model);
  model.dispose();
  let [aborted, whole] = [0, 0];
  for (let round = 0; round < (soak ? 300 : 40); round++) {
    const server = round % 2 ? await serveFile(FILE, { noRange: round % 4 === 1 }) : undefined;
    const { signal, onProgress, stop } = someMoment(below);
    try {
      const early = below(4) === 0;
      const got = await load(server?.url ?? [PATH, FILE, new Blob([FILE])][below(3)], { threads: 1, memoryBudget: BUDGETS[below(4)], early, signal, onProgress });
      assert.deepEqual(await tokens(got), expected, `seed ${SEED}, round ${round}`);
      await got.loaded;
      got.dispose();
      whole++;
    } catch (error) {
      assert.equal(/** @type {any} */ (error).code, 'TANSY_ABORTED', `seed ${SEED}, round ${round}: ${/** @type {any} */ (error).stack}`);
      aborted++;
    }
    stop();
    await server?.close();
  }
  assert.ok(aborted > 3 && whole > 3, `${aborted} aborted, ${whole} whole`);
});

test('a move is aborted, again and again, also while a text is written: the conversation goes on as if it had stayed', async () => {
  const below = randomBelow(SEED + 1);
  const model = await load(PATH, { threads: 1, memoryBudget: '16MB' });
  const expected = await tokens(model);
  let aborted = 0;
  for (let round = 0; round < (soak ? 300 : 40); round++) {
    const where = `seed ${SEED}, round ${round}`;
    const { signal, onProgress, stop } = someMoment(below);
    const budget = BUDGETS[below(4)];
    const moving = model.setMemoryBudget(budget, { signal, onProgress }).then(
      () => undefined,
      (error) => error,
    );
    /* beside it, a text; it waits for the move, or hears that there is no memory to go on in */
    const writing = below(2) ? tokens(model).catch((error) => error) : undefined;
    const [failure, written] = await Promise.all([moving, writing]);
    stop();
    if (failure !== undefined) {
      assert.equal(failure.code, 'TANSY_ABORTED', `${where}: ${failure.stack}`);
      aborted++;
    }
    if (written instanceof Error) assert.equal(/** @type {any} */ (written).code, 'TANSY_NOT_READY', `${where}: ${written.stack}`);
    else if (written !== undefined) assert.deepEqual(written, expected, where);
    await model.setMemoryBudget(budget);
    assert.deepEqual(await tokens(model), expected, where);
    assert.ok(model.stats().heapBytes <= 2 ** 20 * parseInt(budget), where);
  }
  assert.ok(aborted > 3, String(aborted));
  model.dispose();
});

test('disposed of at any moment: everything under way ends with a code, and the next load works', async () => {
  const below = randomBelow(SEED + 2);
  for (let round = 0; round < (soak ? 200 : 25); round++) {
    const model = await load(PATH, { threads: 1 + below(3), memoryBudget: '16MB', early: below(2) === 0 });
    const work = [tokens(model), model.setMemoryBudget(BUDGETS[below(4)]), model.loaded].map((one) => one.catch((error) => error));
    for (let turns = below(40); turns > 0; turns--) await new Promise((resolve) => setImmediate(resolve));
    model.dispose();
    for (const outcome of await Promise.all(work))
      if (outcome instanceof Error) assert.match(String(/** @type {any} */ (outcome).code), /^TANSY_(DISPOSED|ABORTED|BUSY|NOT_READY)$/, `seed ${SEED}, round ${round}: ${outcome.stack}`);
  }
  const model = await load(PATH, { threads: 1 });
  assert.equal((await tokens(model)).length, GREEDY.maxTokens);
  model.dispose();
});

test('a worker that is killed while it loads or writes takes nothing with it', async () => {
  const below = randomBelow(SEED + 3);
  const code = `
    const { parentPort, workerData } = require('node:worker_threads');
    import(workerData.library).then(async ({ load }) => {
      for (;;) {
        const model = await load(workerData.path, { threads: workerData.threads, memoryBudget: '16MB' });
        for await (const text of model.generate('Once', { maxTokens: 20, temperature: 0 })) parentPort.postMessage(text);
        model.dispose();
      }
    });`;
  for (let round = 0; round < (soak ? 60 : 10); round++) {
    const worker = new Worker(code, { eval: true, workerData: { library: new URL('../../js/index.js', import.meta.url).href, path: PATH, threads: 1 + (round % 3) } });
    if (below(2)) await new Promise((resolve) => worker.once('message', resolve));
    await new Promise((resolve) => setTimeout(resolve, below(60)));
    await worker.terminate();
    const model = await load(PATH, { threads: 1 + (round % 2) });
    assert.equal((await tokens(model)).length, GREEDY.maxTokens);
    model.dispose();
  }
});
