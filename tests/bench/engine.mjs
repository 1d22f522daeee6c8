// npm run bench:engine: speed of whole models, ours against wllama, alternating in one browser; and in Node.
//
//   node tests/bench/engine.mjs [--models smollm2-135m] [--bits 3.2] [--forms ans,packed,int8] [--threads 1,2] [--repetitions 5]
//                               [--prompt 128] [--generate 64] [--hosts chromium,node] [--no-peer] [--contexts]
//
// Models are random weights in a known geometry (`tansy synth`, lib/gguf_writer.mjs), made once and kept in build/bench-models.
// Every engine is warmed up first; then all take turns, and medians of the turns are reported. --contexts instead measures the cost of a
// token for every model and several contexts. Rows go to tests/bench/results/engine.json (contexts.json), plots beside them; a run for one host,
// model or number of threads leaves the rows of others. floors.mjs compares them with what is promised.

import { existsSync } from 'node:fs';
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { runPack } from '../../js/cli/pack.js';
import { load } from '../../js/index.js';
import { launchChromium, openPage } from '../browser/lib/chromium.mjs';
import { root, startServer } from '../browser/lib/server.mjs';
import { measureContexts } from './lib/contexts.mjs';
import { GEOMETRIES } from './lib/geometry.mjs';
import { textOfTokens, writeGguf } from './lib/gguf_writer.mjs';
import { barChart } from './lib/plot.mjs';

const PEER = 'wllama 3.8.1';
const MIXES = /** @type {const} */ (['Q8_0', 'Q4_K_M']);
/** A run that is thrown away, long enough for both of V8's compilers. */
const WARM_UP_TOKENS = 24;

const { values } = parseArgs({
  options: {
    models: { type: 'string' },
    bits: { type: 'string', default: '3.2' },
    forms: { type: 'string', default: 'ans,packed,int8' },
    threads: { type: 'string', default: '1' },
    repetitions: { type: 'string', default: '5' },
    prompt: { type: 'string', default: '128' },
    generate: { type: 'string', default: '64' },
    hosts: { type: 'string', default: 'chromium,node' },
    'no-peer': { type: 'boolean', default: false },
    contexts: { type: 'boolean', default: false },
  },
});
const bits = Number(values.bits);
const repetitions = Number(values.repetitions);
const nPrompt = Number(values.prompt);
const nGen = Number(values.generate);
const contextSize = nPrompt + nGen + 64;

const FOLDER = join(root, 'build/bench-models');
const RESULTS = join(root, 'tests/bench/results');

/**
 * @typedef {object} Row
 * @property {string} engine
 * @property {string} host
 * @property {string} model
 * @property {string} form
 * @property {number} threads
 * @property {number} prefill_tok_s
 * @property {number} decode_tok_s
 * @property {number | null} heap_bytes null: not known
 * @property {number} file_bytes
 * @property {number} prompt_tokens
 * @property {number} generated_tokens
 */

/** @typedef {{prefillTokS: number, decodeTokS: number, nPrompt: number, nGen: number, heapBytes: number}} Measured */
/** @typedef {{row: Omit<Row, 'prefill_tok_s' | 'decode_tok_s' | 'heap_bytes'>, run: (turn: number, n: number) => Promise<Measured>}} Contender */

/** @param {string} text */
const say = (text) => process.stderr.write(`${text}\n`);

/** @param {string} model */
async function tansyFile(model) {
  const path = join(FOLDER, `${model}-${bits}.tansy`);
  if (!existsSync(path)) {
    say(`making ${path}`);
    await runPack(['synth', '--preset', model, '--bits', String(bits), '-o', path, '--progress', 'json']);
  }
  return path;
}

/** @param {string} model @param {'Q8_0' | 'Q4_K_M'} mix */
async function ggufFile(model, mix) {
  const path = join(FOLDER, `${model}-${mix}.gguf`);
  if (!existsSync(path)) {
    say(`making ${path}`);
    await writeGguf(path, GEOMETRIES[model], mix);
  }
  return path;
}

/** @param {number} vocab @param {number} turn */
function ids(vocab, turn) {
  let x = 12345 + turn;
  return Array.from({ length: nPrompt }, () => {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    return (x >>> 8) % vocab;
  });
}

/** @param {number[]} list */
function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
const round = (/** @type {number} */ x) => Number(x.toPrecision(4));

/**
 * @param {Contender[]} contenders
 * @returns {Promise<Row[]>}
 */
async function race(contenders) {
  for (const c of contenders) await c.run(0, WARM_UP_TOKENS);
  const taken = contenders.map(() => /** @type {Measured[]} */ ([]));
  for (let turn = 1; turn <= repetitions; turn++)
    for (const [i, c] of contenders.entries()) {
      const m = await c.run(turn, nGen);
      if (m.nPrompt !== nPrompt || m.nGen !== nGen)
        throw new Error(`${c.row.engine} ${c.row.form}: ran ${m.nPrompt} + ${m.nGen} tokens, not ${nPrompt} + ${nGen}`);
      taken[i].push(m);
      say(`turn ${turn}: ${c.row.engine} ${c.row.host} ${c.row.form} x${c.row.threads}: ${round(m.prefillTokS)} / ${round(m.decodeTokS)} tok/s`);
    }
  return contenders.map((c, i) => ({
    ...c.row,
    prefill_tok_s: round(median(taken[i].map((m) => m.prefillTokS))),
    decode_tok_s: round(median(taken[i].map((m) => m.decodeTokS))),
    heap_bytes: taken[i][0].heapBytes || null,
  }));
}

const forms = values.forms.split(',');
const threadCounts = values.threads.split(',').map(Number);
const models = (values.models ?? 'smollm2-135m').split(',');

/** @param {string} model @returns {Promise<Row[]>} */
async function inChromium(model) {
  const server = await startServer({
    isolated: true,
    extra: new Map([['/bench.html', '<!doctype html><meta charset="utf-8"><script type="module" src="/tests/bench/lib/page.mjs"></script>']]),
  });
  const browser = await launchChromium();
  const host = `chromium ${browser.version()}`;
  const { page } = await openPage(browser);
  page.on('pageerror', (error) => say(String(error)));
  page.setDefaultTimeout(20_000); // of waiting for the page; evaluations have no limit
  try {
    await page.goto(`${server.url}/bench.html`);
    await page.waitForFunction(() => 'bench' in globalThis);
    const url = (/** @type {string} */ path) => path.slice(root.length - 1);
    /** @type {Contender[]} */
    const contenders = [];
    for (const threads of threadCounts) {
      for (const form of forms) {
        const name = `tansy ${form} ${threads}`;
        const path = await tansyFile(model);
        const options = { threads, residency: form, contextSize };
        const opened = await page.evaluate(([n, u, o]) => /** @type {any} */ (globalThis).bench.openTansy(n, u, o), [name, url(path), options]);
        contenders.push({
          row: { engine: `tansy ${opened.variant}`, host, model, form: `${form} ${bits}`, threads, file_bytes: opened.fileBytes, prompt_tokens: nPrompt, generated_tokens: nGen },
          run: (turn, n) => page.evaluate((a) => /** @type {any} */ (globalThis).bench.run(...a), [name, ids(opened.config.vocab, turn), n]),
        });
      }
      for (const mix of values['no-peer'] ? [] : MIXES) {
        const name = `wllama ${mix} ${threads}`;
        const path = await ggufFile(model, mix);
        const opened = await page.evaluate(([n, u, o]) => /** @type {any} */ (globalThis).bench.openWllama(n, u, o), [name, url(path), { threads, contextSize }]);
        contenders.push({
          row: { engine: PEER, host, model, form: mix, threads, file_bytes: opened.fileBytes, prompt_tokens: nPrompt, generated_tokens: nGen },
          run: (turn, n) =>
            page.evaluate((a) => /** @type {any} */ (globalThis).bench.run(...a), [name, textOfTokens(nPrompt, GEOMETRIES[model].vocab, turn), n]),
        });
      }
    }
    return await race(contenders);
  } finally {
    await browser.close();
    await server.close();
  }
}

/** @param {string} model @returns {Promise<Row[]>} */
async function inNode(model) {
  const path = await tansyFile(model);
  const { size } = await stat(path);
  /** @type {Contender[]} */
  const contenders = [];
  const opened = [];
  for (const threads of threadCounts)
    for (const form of forms) {
      const engine = await load(path, { threads, residency: /** @type {any} */ (form), contextSize });
      opened.push(engine);
      contenders.push({
        row: {
          engine: `tansy ${engine.stats().variant}`, host: `node ${process.version}`, model, form: `${form} ${bits}`, threads,
          file_bytes: size, prompt_tokens: nPrompt, generated_tokens: nGen,
        },
        async run(turn, n) {
          engine.reset();
          await engine.generate(ids(engine.config.vocab, turn), { temperature: 0, maxTokens: n, ignoreEos: true, speculate: false }).text();
          const s = engine.stats();
          return { prefillTokS: s.prefillTokS, decodeTokS: s.decodeTokS, nPrompt: s.prefillTokens, nGen: s.decodeTokens + 1, heapBytes: s.heapBytes };
        },
      });
    }
  const rows = await race(contenders);
  for (const engine of opened) engine.dispose();
  return rows;
}

/**
 * How many times as fast as the peer, in the same host and with as many threads.
 * @param {Row[]} rows
 */
function printRatios(rows) {
  for (const row of rows.filter((r) => r.engine.startsWith('tansy')))
    for (const peer of rows.filter((r) => r.engine === PEER && r.model === row.model && r.host === row.host && r.threads === row.threads))
      process.stdout.write(
        `${row.model} ${row.form} x${row.threads} / ${PEER} ${peer.form}: prefill ${(row.prefill_tok_s / peer.prefill_tok_s).toFixed(2)}, ` +
          `decode ${(row.decode_tok_s / peer.decode_tok_s).toFixed(2)}\n`,
      );
}

await mkdir(FOLDER, { recursive: true });
await mkdir(RESULTS, { recursive: true });
if (values.contexts) {
  const list = (values.models ?? 'smollm2-135m,smollm2-360m,llama-3.2-1b').split(',');
  await measureContexts({ models: list, fileOf: tansyFile, form: forms[0] === 'ans' && !process.argv.includes('--forms') ? 'packed' : forms[0], results: RESULTS, say });
} else {
  /** @type {Row[]} */
  const rows = [];
  for (const host of values.hosts.split(','))
    for (const model of models) rows.push(...(await (host === 'node' ? inNode(model) : inChromium(model))));
  /* what other runs measured stays, unless this one has measured the same */
  const file = join(RESULTS, 'engine.json');
  /** @type {Row[]} */
  const before = existsSync(file) ? JSON.parse(await readFile(file, 'utf8')) : [];
  const kind = (/** @type {Row} */ r) => `${r.host.split(' ')[0]} ${r.model} ${r.threads}`;
  const kinds = new Set(rows.map(kind));
  const all = [...before.filter((r) => !kinds.has(kind(r))), ...rows].sort((a, b) => (kind(a) < kind(b) ? -1 : kind(a) > kind(b) ? 1 : 0));
  await writeFile(file, `${JSON.stringify(all, null, 1)}\n`);
  const bars = all.map((r) => ({ label: `${r.model} ${r.engine} ${r.form}${r.threads > 1 ? ` x${r.threads}` : ''}, ${r.host.split(' ')[0]}`, values: [r.prefill_tok_s, r.decode_tok_s], muted: r.engine === PEER }));
  await writeFile(join(RESULTS, 'engine.svg'), barChart({ title: `Tokens a second, prompt ${nPrompt}, generated ${nGen}`, series: ['prompt', 'generation'], bars }));
  console.table(rows.map(({ engine, host, form, threads, prefill_tok_s, decode_tok_s, heap_bytes, file_bytes }) => ({ engine, host, form, threads, prefill_tok_s, decode_tok_s, heap_bytes, file_bytes })));
  printRatios(rows);
}
