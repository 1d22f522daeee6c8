// npm run docs: makes the reference pages of docs/ anew, and the tables of docs/comparison.md from tests/bench/results/. A test
// fails when the reference pages lag behind the sources.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { root, runMain, say, writeAtomic } from './lib/tools.mjs';

/** @typedef {{engine: string, host: string, model: string, form: string, threads: number, file_bytes: number, prefill_tok_s: number, decode_tok_s: number, heap_bytes: number | null}} Row */

/** tests/bench/results/engine.json as tables, one for each host and model. @param {Row[]} rows */
function engineTables(rows) {
  const megabytes = (/** @type {number | null} */ nbytes) => (nbytes === null ? '–' : `${(nbytes / 2 ** 20).toFixed(0)} MiB`);
  const groups = new Map();
  for (const row of rows) {
    const key = `${row.model} geometry, ${row.host}, ${row.threads === 1 ? 'one thread' : `${row.threads} threads`}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups]
    .map(([title, group]) => {
      const lines = group.map((/** @type {Row} */ row) => `| ${row.engine}, ${row.form} | ${megabytes(row.file_bytes)} | ${megabytes(row.heap_bytes)} | ${row.prefill_tok_s} | ${row.decode_tok_s} |`);
      return [`${title} (\`npm run bench:engine\`; tok/s, medians of alternating runs):`, '', '| | file | heap | prompt | generation |', '| --- | --- | --- | --- | --- |', ...lines].join('\n');
    })
    .join('\n\n');
}

/** @typedef {{method: string, bits_per_weight: number, kl: number, perplexity_rise: number, top1_loss: number}} QualityRow */

/** tests/bench/results/quality.json as tables, one for each model. @param {{texts: {calibration: string, evaluation: string}, models: Record<string, {rows: QualityRow[]}>}} report */
function qualityTables({ texts, models }) {
  const percent = (/** @type {number} */ x) => `${x < 0 ? '−' : '+'}${Math.abs(100 * x).toFixed(2)}%`;
  const tables = Object.entries(models).map(([name, { rows }]) => {
    const sorted = rows.toSorted((a, b) => a.bits_per_weight - b.bits_per_weight);
    const lines = sorted.map(({ method, bits_per_weight, kl, perplexity_rise, top1_loss }) => {
      const flags = { best: 'best', paper: 'paper', 'paper steps': 'paper --allocate 0 --token-scale 0', 'best untuned': 'best --tune-tokens 0' }[method];
      const label = flags ? `tansy, \`--recipe ${flags}\`` : method;
      return `| ${label} | ${bits_per_weight.toFixed(2)} | ${kl.toPrecision(3)} | ${percent(perplexity_rise)} | ${percent(-top1_loss)} |`;
    });
    return [`${name} (\`npm run bench:quality\`):`, '', '| | bits per weight | KL | perplexity | top-1 |', '| --- | --- | --- | --- | --- |', ...lines].join('\n');
  });
  return [...tables, `Calibrated on ${texts.calibration}; evaluated on ${texts.evaluation}.`].join('\n\n');
}

/** @param {string} page @param {string} name of a file of results @param {(rows: any) => string} show */
function fill(page, name, show) {
  const path = join(root, 'tests', 'bench', 'results', name);
  if (!existsSync(path)) return page;
  const region = new RegExp(`(<!-- ${name} -->\\n)[^]*?(\\n<!-- /${name} -->)`);
  return page.replace(region, (_, begin, end) => `${begin}${show(JSON.parse(readFileSync(path, 'utf8')))}${end}`);
}

await runMain(async () => {
  ensureNodeModules();
  const { apiPage, errorsPage } = await import('./lib/reference.mjs');
  const comparison = readFileSync(join(root, 'docs', 'comparison.md'), 'utf8');
  for (const [name, page] of Object.entries({ 'api.md': apiPage(), 'errors.md': errorsPage(), 'comparison.md': fill(fill(comparison, 'engine.json', engineTables), 'quality.json', qualityTables) })) {
    writeAtomic(join(root, 'docs', name), page);
    say(`docs/${name}`);
  }
});
