// Cost of a generated token against the number of weights and the tokens in the context, in Node.

import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { load } from '../../../js/index.js';
import { lineChart } from './plot.mjs';

const CONTEXTS = [128, 1024, 4096];
const N_TIMED = 12;
const N_REPETITIONS = 5;

/**
 * Keys and values need not make sense to be attended to: the context is filled by prompts evaluated in batches, once for each model.
 * @param {{models: string[], fileOf: (model: string) => Promise<string>, form: string, results: string, say: (text: string) => void}} task
 */
export async function measureContexts({ models, fileOf, form, results, say }) {
  /* what other runs measured stays */
  const file = join(results, 'contexts.json');
  const rows = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')).filter((/** @type {{model: string}} */ r) => !models.includes(r.model)) : [];
  for (const name of models) {
    const model = await load(await fileOf(name), { residency: /** @type {any} */ (form), contextSize: CONTEXTS[CONTEXTS.length - 1] + N_TIMED + 4 });
    const { vocab } = model.config;
    const ids = Array.from({ length: CONTEXTS[CONTEXTS.length - 1] }, (_, i) => (i * 7919 + 13) % vocab);
    await model.generate(ids.slice(0, 64), { temperature: 0, maxTokens: 48, ignoreEos: true, speculate: false }).text();
    model.reset();
    for (const context of CONTEXTS) {
      /* what the shorter context has filled is reused */
      const taken = [];
      for (let i = 0; i < N_REPETITIONS; i++) {
        await model.generate(ids.slice(0, context), { temperature: 0, maxTokens: N_TIMED + 1, ignoreEos: true, speculate: false }).text();
        taken.push(1000 / model.stats().decodeTokS);
      }
      const s = model.stats();
      const row = {
        engine: `tansy ${s.variant}`, host: `node ${process.version}`, model: name, form, threads: 1, context, parameters: model.nParameters,
        ms_per_token: Number(taken.sort((a, b) => a - b)[N_REPETITIONS >> 1].toPrecision(4)), heap_bytes: s.heapBytes, file_bytes: s.fileBytes,
      };
      rows.push(row);
      say(`${name} at ${context}: ${row.ms_per_token} ms a token`);
    }
    model.dispose();
  }
  rows.sort((/** @type {any} */ a, /** @type {any} */ b) => a.parameters - b.parameters || a.context - b.context);
  await writeFile(file, `${JSON.stringify(rows, null, 1)}\n`);
  const chart = lineChart({
    title: 'Milliseconds a token', xLabel: 'parameters, millions', yLabel: 'ms',
    lines: CONTEXTS.map((context) => ({
      label: `context ${context}`,
      points: rows.filter((/** @type {any} */ r) => r.context === context).map((/** @type {any} */ r) => /** @type {[number, number]} */ ([r.parameters / 1e6, r.ms_per_token])),
    })),
  });
  await writeFile(join(results, 'contexts.svg'), chart);
  console.table(rows);
}
