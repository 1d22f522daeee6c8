// 200 random draws of (model, budget, context, threads, form of the KV cache): the memory never exceeds the budget, and where the
// bytes go is where the plan says, to a few bytes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { Engine, Planner } from '../../js/engine.js';
import { completeHeader, readFront } from '../../js/header.js';
import { compileModule } from '../../js/instantiate.js';
import { loadChunks } from '../../js/loader.js';
import { checkLoadOptions } from '../../js/options.js';
import { openSource } from '../../js/source.js';
import { built, builds, root } from './lib/builds.js';

const OVER_BUDGET = 9;
const PAGE = 65536;
const N_DRAWS = 200;
/** of these the whole model is loaded */
const LOAD_EVERY = 8;

/** alignment, and what vector loads may read past the last stream */
const SLACK_NBYTES = 4096;

/** [0, 1), the same in every run */
function uniform(seed = 1) {
  let x = seed;
  return () => {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    return x / 2 ** 32;
  };
}

const KINDS = /** @type {const} */ (['static', 'tables', 'ans', 'packed', 'int8', 'vectors', 'kv', 'scratch', 'staging', 'io']);

test(`${N_DRAWS} random draws of model, budget, context and threads`, async () => {
  const random = uniform();
  const seeds = ['llama', 'gemma', 'gpt2'].map((name) => join(root, `tests/fuzz/seeds/fuzz_engine/${name}.tansy`));
  const files = [join(root, 'demo', EMBEDDED_MODEL), ...seeds];
  const modules = [await compileModule(built(builds[0].wasm), undefined, false), await compileModule(built(builds[2].wasm), undefined, true)];
  const models = [];
  for (const path of files) {
    const bytes = readFileSync(path);
    const source = await openSource(bytes);
    const planner = await Planner.create(modules[0]);
    const { front, headerNbytes } = await completeHeader(source, planner, await readFront(source));
    models.push({ path, source, front, header: front.slice(0, headerNbytes) });
  }
  let [refused, fitted, threaded] = [0, 0, 0];
  for (let draw = 0; draw < N_DRAWS; draw++) {
    const model = models[Math.floor(random() * models.length)];
    const threads = random() < 0.2 ? 2 + Math.floor(random() * 3) : 1;
    const module = modules[threads > 1 ? 1 : 0];
    const planner = await Planner.create(module);
    const free = { ...checkLoadOptions('load', { threads }), memoryBudget: 0 };
    const all = planner.plan(model.header, { ...free, residency: 'int8' });
    assert.equal(all.status, 0);
    const { modelContext, totalNbytes } = all.plan;
    /* contexts and budgets on a logarithmic scale, from hopeless to more than enough */
    const contextSize = random() < 0.3 ? 0 : Math.max(1, Math.floor(modelContext ** random()));
    const memoryBudget = Math.floor(totalNbytes * 2 ** (random() * 4 - 2.5) + random() * PAGE);
    const options = { ...free, contextSize, memoryBudget, kv: /** @type {const} */ (['int8', 'int8', 'f16', 'f32'])[Math.floor(random() * 4)] };
    const what = `${model.path}: ${JSON.stringify(options)}`;
    const { status, plan, detail } = planner.plan(model.header, options);
    if (status === OVER_BUDGET) {
      refused++;
      assert.ok(detail.neededNbytes > memoryBudget - (memoryBudget % PAGE), what);
      const enough = planner.plan(model.header, { ...options, memoryBudget: detail.neededNbytes });
      assert.equal(enough.status, 0, `${what}: the bytes it asked for are enough`);
      assert.equal(planner.plan(model.header, { ...options, memoryBudget: detail.neededNbytes - 1 }).status, OVER_BUDGET, `${what}: and not one too many`);
      continue;
    }
    assert.equal(status, 0, what);
    fitted++;
    if (threads > 1) threaded++;
    assert.ok(plan.totalNbytes <= memoryBudget, what);
    assert.equal(plan.totalNbytes % PAGE, 0, what);
    const sum = KINDS.reduce((nbytes, kind) => nbytes + plan[`${kind}Nbytes`], 0);
    assert.ok(plan.totalNbytes - sum >= 0 && plan.totalNbytes - sum < PAGE, `${what}: the kinds add up`);
    assert.ok(contextSize === 0 || plan.context === contextSize, what);
    const engine = await Engine.create(module, model.header, plan, model.path, options);
    try {
      assert.equal(engine.heapNbytes, plan.startNbytes, what);
      assert.ok(plan.startNbytes <= plan.totalNbytes, what);
      if (draw % LOAD_EVERY === 0) {
        const { source, front } = model;
        await loadChunks({ sink: engine, source, front, fileNbytes: plan.fileNbytes, attachments: [] });
        engine.begin([1], false);
        while (engine.step());
        const begun = engine.stats();
        const heldBegun = KINDS.reduce((nbytes, kind) => nbytes + begun[`${kind}Nbytes`], 0);
        assert.ok(engine.heapNbytes - heldBegun >= 0 && engine.heapNbytes - heldBegun < PAGE + SLACK_NBYTES, `${what}: the kinds add up to the heap`);
        /* the conversation gets longer, by steps of any length: the memory grows to what was planned and no further */
        for (let position = 1, heap = 0; position < plan.context; ) {
          assert.ok(engine.heapNbytes >= heap && engine.heapNbytes <= plan.totalNbytes, what);
          heap = engine.heapNbytes;
          position = Math.min(plan.context, position + 1 + Math.floor(random() * 900));
          engine.makeRoom(position);
        }
        engine.makeRoom(plan.context);
        assert.equal(engine.heapNbytes, plan.totalNbytes, what);
        const stats = engine.stats();
        const weights = (/** @type {Record<string, number>} */ of) => of.ansNbytes + of.packedNbytes + of.int8Nbytes;
        assert.ok(Math.abs(weights(stats) - weights(plan)) <= SLACK_NBYTES, `${what}: weights`);
        for (const kind of KINDS.filter((name) => model === models[0] || !/ans|packed|int8/.test(name)))
          assert.ok(Math.abs(stats[`${kind}Nbytes`] - plan[`${kind}Nbytes`]) <= SLACK_NBYTES, `${what}: ${kind}`);
        /* a matrix whose weights turn out not to fit the planned form stays ANS-coded in the same place */
        assert.ok(stats.nPacked <= plan.nPacked && stats.nInt8 <= plan.nInt8, what);
        if (model === models[0]) assert.deepEqual([stats.nPacked, stats.nInt8], [plan.nPacked, plan.nInt8], what);
        assert.equal(stats.loadedNbytes, stats.payloadNbytes, what);
      }
      assert.ok(engine.heapNbytes <= memoryBudget, what);
    } finally {
      await engine.dispose();
    }
  }
  assert.ok(refused >= 20 && fitted >= 80 && threaded >= 10, `${refused} refused, ${fitted} fitted, ${threaded} with threads: all sides are tried`);
});
