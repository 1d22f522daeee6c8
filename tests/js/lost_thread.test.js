// A thread that dies with work in hand: its leader says so, soon where the thread can tell, within seconds where it cannot, and never waits for ever.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { syncBuiltinESMExports } from 'node:module';
import threads from 'node:worker_threads';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { load } from '../../js/index.js';
import { built, builds, root } from './lib/builds.js';

const TALES = join(root, 'demo', EMBEDDED_MODEL);
const PROMPT = Array.from({ length: 40 }, (_, i) => (i * 29 + 3) % 500);
const OPTIONS = /** @type {const} */ ({ temperature: 0, ignoreEos: true, maxTokens: 8 });
/** enough for the way to an item, too little for the item: the thread traps at memory that is not there */
const SMALL_STACK = 256;
const SILENT = new URL('./lib/silent_thread.js', import.meta.url);

const { Worker } = threads;
/** @param {typeof Worker} as */
function startThreadsAs(as) {
  threads.Worker = as;
  syncBuiltinESMExports();
}
const { warn } = console;
afterEach(() => {
  startThreadsAs(Worker);
  console.warn = warn;
});

for (const [how, script, most] of /** @type {const} */ ([
  ['aloud', undefined, 5],
  ['without a word', SILENT, 30],
]))
  test(`a thread dies ${how}`, async () => {
    startThreadsAs(
      class extends Worker {
        /** @param {string | URL} url @param {import('node:worker_threads').WorkerOptions} options */
        constructor(url, options) {
          super(script ?? url, { ...options, workerData: { ...options.workerData, stack: SMALL_STACK } });
        }
      },
    );
    /** @type {string[]} */
    const warnings = [];
    console.warn = (text) => warnings.push(text);
    const model = await load(TALES, { wasmUrl: built(builds[2].wasm), threads: 2 });
    startThreadsAs(Worker);
    await new Promise((resolve) => setTimeout(resolve, 300)); /* the thread is there */
    const started = performance.now();
    await assert.rejects(model.generate(PROMPT, OPTIONS).text(), { code: 'TANSY_WORKER', message: /load the model again/ });
    assert.ok(performance.now() - started < most * 1000, 'within a bounded time');
    await assert.rejects(model.generate(PROMPT, OPTIONS).text(), { code: 'TANSY_WORKER' }, 'and it stays so');
    /* another memory has threads of its own */
    await model.setMemoryBudget('min');
    const generation = model.generate(PROMPT, OPTIONS);
    await generation.text();
    const sound = await load(TALES, { wasmUrl: built(builds[2].wasm), threads: 1 });
    const plain = sound.generate(PROMPT, OPTIONS);
    await plain.text();
    assert.deepEqual(generation.ids, plain.ids);
    for (const each of [model, sound]) each.dispose();
    if (script === undefined) assert.match(warnings.join(), /lost a thread/);
  });
