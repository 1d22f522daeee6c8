// npm run bench:threads: what a second thread brings in Node: on SmolLM2-135M's geometry with both cores free, and on the embedded model while
// another process keeps one of the two cores busy, where it must not cost much.
//
//   node tests/bench/threads.mjs [--repetitions 5] [--cores 0,1]
//
// The process is tied to two cores (taskset, where there is one). One and two threads take turns; medians of the turns go to
// tests/bench/results/threads.json.

import { execFileSync, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { EMBEDDED_MODEL } from '../../demo/embedded.js';
import { runPack } from '../../js/cli/pack.js';
import { load } from '../../js/index.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const N_PROMPT = 32;
const N_TOKENS = 25;

const { values } = parseArgs({ options: { repetitions: { type: 'string', default: '5' }, cores: { type: 'string', default: '0,1' } } });
const repetitions = Number(values.repetitions);
const cores = values.cores.split(',');

/** @param {number[]} list */
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
const round = (/** @type {number} */ x) => Number(x.toPrecision(4));

/** @param {string[]} list @param {number} pid @returns {boolean} whether it could be done */
function tie(list, pid) {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', list.join(','), String(pid)], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {string} name
 * @param {string} path
 * @param {'ans' | 'packed' | 'int8'} form
 * @param {boolean} isBusy another process keeps the second core busy
 */
async function compare(name, path, form, isBusy) {
  const busy = isBusy ? spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }) : undefined;
  if (busy?.pid !== undefined) tie([cores[1]], busy.pid);
  const models = [];
  for (const threads of [1, 2]) models.push(await load(path, { threads, residency: form, contextSize: 256 }));
  const tied = tie(cores, process.pid);
  try {
    const ids = Array.from({ length: N_PROMPT }, (_, i) => (i * 7919 + 1) % models[0].config.vocab);
    const prefill = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
    const decode = [/** @type {number[]} */ ([]), /** @type {number[]} */ ([])];
    for (let turn = -1; turn < repetitions; turn++)
      for (const [i, model] of models.entries()) {
        model.reset();
        await model.generate(ids, { temperature: 0, maxTokens: N_TOKENS, ignoreEos: true, speculate: false }).text();
        if (turn < 0) continue; /* warming up */
        const stats = model.stats();
        prefill[i].push(stats.prefillTokS);
        decode[i].push(stats.decodeTokS);
      }
    const [one, two] = [0, 1].map((i) => ({ prefill_tok_s: round(median(prefill[i])), decode_tok_s: round(median(decode[i])) }));
    return {
      model: name, form, other_process_on_second_core: isBusy, tied_to_two_cores: tied, one_thread: one, two_threads: two,
      prefill_ratio: round(two.prefill_tok_s / one.prefill_tok_s), decode_ratio: round(two.decode_tok_s / one.decode_tok_s),
    };
  } finally {
    for (const model of models) model.dispose();
    busy?.kill();
  }
}

const folder = join(root, 'build/bench-models');
await mkdir(folder, { recursive: true });
const large = join(folder, 'smollm2-135m-3.2.tansy');
if (!existsSync(large)) await runPack(['synth', '--preset', 'smollm2-135m', '--bits', '3.2', '-o', large, '--progress', 'json']);
const small = join(root, 'demo', EMBEDDED_MODEL);
const rows = [];
for (const form of /** @type {const} */ (['ans', 'packed', 'int8'])) rows.push(await compare('smollm2-135m', large, form, false));
for (const form of /** @type {const} */ (['ans', 'packed'])) for (const isBusy of [false, true]) rows.push(await compare('embedded', small, form, isBusy));
await writeFile(join(root, 'tests/bench/results/threads.json'), `${JSON.stringify(rows, null, 1)}\n`);
console.table(rows.map(({ model, form, other_process_on_second_core: busy, prefill_ratio, decode_ratio }) => ({ model, form, busy, prefill_ratio, decode_ratio })));
process.exit(); /* threads of models that were disposed of may still be ending */
