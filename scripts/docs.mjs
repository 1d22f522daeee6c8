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
  for (const [name, page] of Object.entries({ 'api.md': apiPage(), 'errors.md': errorsPage(), 'comparison.md': fill(comparison, 'engine.json', engineTables) })) {
    writeAtomic(join(root, 'docs', name), page);
    say(`docs/${name}`);
  }
});
