// npm run bench:quality [-- --models books-3m,stories260K --tokens 32768 --fresh]: how much of a model is left at how many bits.
//
// Compresses ../shared/models with the paper's recipe and ours at several sizes, rounds the same checkpoints to the fixed-rate formats
// everyone knows (tests/reference/fixed_formats.js), and evaluates all of them on the same held-out text against the float checkpoint.
// Bits are those of real files, every tensor and header counted, the tokenizer not. Calibration text is from corpus/train, evaluation
// text is corpus/valid: other books. Rows and the floors they must reach go to tests/bench/results/quality.json, plots beside it.
// --quick: only what the floors are about; --known: of our recipe, whose tuning takes minutes a point, only points
// computed before. What was computed is kept in build/bench-quality, so that a run that was cut short goes on; --fresh forgets it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { vocabOf } from '../../js/cli/compress.js';
import { lastWords } from '../../js/cli/eval.js';
import { idsToBytes, runPack } from '../../js/cli/pack.js';
import { Tokenizer } from '../../js/tokenizer.js';
import { FIXED_FORMATS, roundToFormat } from '../reference/fixed_formats.js';
import { checkpointOfTansy } from './lib/decoded.mjs';
import { lineChart } from './lib/plot.mjs';
import { readSafetensors, writeSafetensors } from './lib/safetensors.mjs';
import { weightsOnly } from './lib/weights_only.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const shared = join(root, '../shared');
const results = join(root, 'tests/bench/results');
const work = join(root, 'build/bench-quality');

const { values } = parseArgs({
  options: {
    models: { type: 'string', default: 'books-3m,stories260K' },
    tokens: { type: 'string', default: '32768' },
    texts: { type: 'string', default: '200' },
    quick: { type: 'boolean', default: false },
    known: { type: 'boolean', default: false },
    fresh: { type: 'boolean', default: false },
  },
});
if (!existsSync(shared)) throw new Error('../shared is not here: nothing to measure');
if (values.fresh) rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
mkdirSync(results, { recursive: true });

/** The compressor's points, in bits per weight; those that floors are about come first. */
const POINTS = values.quick ? { paper: [3.64], best: [3.2, 2.67, 2.94] } : { paper: [3.64, 3.2, 4.2, 5], best: [3.2, 2.67, 2.94, 3.9, 2.2] };
/** The paper's own steps at its 2.2x point: no choice of steps beyond its finer tables. */
const PAPER_STEPS = ['--recipe', 'paper', '--bits', '3.64', '--allocate', '0', '--token-scale', '0'];
/** What tuning, the best recipe's last step, adds: the rest of it alone. */
const UNTUNED = ['--recipe', 'best', '--bits', '2.67', '--tune-tokens', '0'];
const FORMATS_ELSEWHERE = /** @type {const} */ (['Q4_0', 'Q4_K']);
const FILES_ELSEWHERE = /** @type {const} */ ([['best', 2.67], ['best', 3.2], ['paper', 3.64]]);
/** A text of another kind than calibration and evaluation. */
const ELSEWHERE = join(shared, 'texts/wikitext2-valid.txt');
/** What --recipe paper leaves out, step by step: 8 bits a weight, each with its options. */
const ABLATION = /** @type {const} */ ([
  ['INT8 per row', ['--alpha', '0', '--prune', '0', '--step', '1']],
  ['+ rescaling', ['--prune', '0', '--step', '1']],
  ['+ pruning', ['--step', '1']],
]);

/**
 * The answer from the last time, or a new one.
 * @template T
 * @param {string} name
 * @param {() => T | Promise<T>} make
 * @returns {Promise<T>}
 */
async function kept(name, make) {
  const path = join(work, `${name}.json`);
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const started = Date.now();
  const value = await make();
  writeFileSync(path, JSON.stringify(value));
  console.log(`${name} (${((Date.now() - started) / 1000).toFixed(0)} s)`);
  return value;
}

/** @param {string} name of an .xz file of the corpus */
const corpus = (name) => spawnSync('xz', ['-dc', join(shared, 'corpus', name)], { maxBuffer: 1 << 29 }).stdout.toString('utf8');

/** Calibration: pieces from all over the training text. */
function calibrationText() {
  const text = corpus('train.txt.xz');
  const [n, length] = [64, 9375];
  return Array.from({ length: n }, (_, i) => text.slice(Math.floor((i * (text.length - length)) / (n - 1))).slice(0, length)).join('\n');
}

/** Texts as a model's tokens, in files for tansy-pack. @param {string} name */
async function textsOf(name) {
  const files = { calibration: join(work, `${name}.calibration.ids`), evaluation: join(work, `${name}.evaluation.ids`), elsewhere: join(work, `${name}.elsewhere.ids`), words: join(work, `${name}-${values.texts}.words`) };
  await kept(`${name}_texts_2`, () => {
    const folder = join(shared, 'models', name);
    const vocab = vocabOf(folder);
    const tokenizer = new Tokenizer(readFileSync(join(folder, 'tokenizer.json'), 'utf8'), readFileSync(join(folder, 'tokenizer_config.json'), 'utf8'), vocab);
    const encode = (/** @type {string} */ text) => tokenizer.encode(text, true);
    writeFileSync(files.calibration, idsToBytes(encode(calibrationText()), vocab));
    writeFileSync(files.evaluation, idsToBytes(encode(corpus('valid.txt.xz')), vocab));
    if (existsSync(ELSEWHERE)) writeFileSync(files.elsewhere, idsToBytes(encode(readFileSync(ELSEWHERE, 'utf8')), vocab));
    writeFileSync(files.words, lastWords(encode, join(shared, 'texts/lambada-a.jsonl'), Number(values.texts)));
    return true;
  });
  return files;
}

/**
 * @param {string} name of the model
 * @param {string} path a file or a checkpoint
 * @param {boolean} [guess] LAMBADA too
 * @param {string} [tokens] of the text; 0: all
 */
async function evaluate(name, path, guess = false, tokens = values.tokens) {
  const reference = join(shared, 'models', name);
  const files = await textsOf(name);
  const r = await runPack(['eval', path, '--tokens', files.evaluation, '--reference', reference, '--max-tokens', tokens]);
  const words = guess ? await runPack(['eval', path, '--cloze', files.words]) : undefined;
  return {
    perplexity: r.perplexity,
    perplexity_rise: r.perplexity / r.reference_perplexity - 1,
    top1: r.top1,
    top1_loss: 1 - r.top1 / r.reference_top1,
    kl: r.kl,
    same_top1: r.same_top1,
    ...(words === undefined ? {} : { lambada_accuracy: words.accuracy, lambada_word_perplexity: words.word_perplexity }),
  };
}

/** @typedef {Awaited<ReturnType<typeof evaluate>> & {method: string, bits_per_weight: number, bytes: number, n_params: number}} Row */

/**
 * @param {string} name of the model
 * @param {string[]} flags
 * @param {string} method
 * @param {boolean} [guess]
 * @returns {Promise<Row>}
 */
async function compressed(name, flags, method, guess = false) {
  const label = `${name} ${method} ${flags.join(' ')}`.replaceAll(/[^\w.-]+/g, '_');
  const file = join(work, `${label}.tansy`);
  const { calibration } = await textsOf(name);
  const { file_bytes: bytes, n_params: n } = await kept(`${label}_file`, () =>
    runPack(['compress', join(shared, 'models', name), '-o', file, '--calibration', calibration, ...flags]),
  );
  return kept(`${label}_${values.tokens}`, async () => {
    return { method, bits_per_weight: (bytes * 8) / n, bytes, n_params: n, ...(await evaluate(name, file, guess)) };
  });
}

/** @param {string} name of the model @param {string} format @returns {Promise<Row>} */
async function fixedRate(name, format) {
  return kept(`${name}_${format}_${values.tokens}`, async () => {
    const source = join(shared, 'models', name);
    const folder = join(work, `${name}-${format}`);
    mkdirSync(folder, { recursive: true });
    for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) copyFileSync(join(source, file), join(folder, file));
    const tensors = readSafetensors(join(source, 'model.safetensors'));
    let [bytes, n] = [0, 0];
    for (const { shape, values: weights } of tensors) {
      n += weights.length;
      bytes += shape.length === 2 ? roundToFormat(format, weights) : weights.byteLength;
    }
    writeSafetensors(join(folder, 'model.safetensors'), tensors);
    return { method: format, bits_per_weight: (bytes * 8) / n, bytes, n_params: n, ...(await evaluate(name, folder)) };
  });
}

/** The same integers with float activations: what 8-bit activations cost. @param {string} name @param {Row} engine @param {string} file */
async function activations(name, engine, file) {
  const floats = await kept(`${name}_float_activations_${values.tokens}`, () => {
    const folder = join(work, `${name}-decoded`);
    checkpointOfTansy(file, join(shared, 'models', name), folder);
    return evaluate(name, folder);
  });
  return {
    of: `best at ${engine.bits_per_weight.toFixed(2)} bits per weight`,
    perplexity_8_bit: engine.perplexity,
    perplexity_float: floats.perplexity,
    perplexity_rise: engine.perplexity / floats.perplexity - 1,
    kl_8_bit: engine.kl,
    kl_float: floats.kl,
  };
}

/** The paper's 2.2x point on the whole text: of 32768 tokens' top-1, a third of a percent is luck. @param {string} name */
function paperOnAll(name) {
  return kept(`${name}_paper_all`, () => evaluate(name, join(work, `${name}_paper_--recipe_paper_--bits_3.64.tansy`), false, '0'));
}

/** KL at a size, between two measured ones (ln KL is nearly straight over bits). @param {Row[]} rows @param {number} bits */
function klAt(rows, bits) {
  const sorted = rows.toSorted((a, b) => a.bits_per_weight - b.bits_per_weight);
  const above = sorted.findIndex((r) => r.bits_per_weight >= bits);
  if (above < 1) return NaN;
  const [a, b] = [sorted[above - 1], sorted[above]];
  const t = (bits - a.bits_per_weight) / (b.bits_per_weight - a.bits_per_weight);
  return Math.exp(Math.log(a.kl) * (1 - t) + Math.log(b.kl) * t);
}

/** Some of the rows on a text of another kind: whether what calibration gains is more than knowing its text. @param {string} name @param {Row[]} rows */
async function elsewhere(name, rows) {
  if (!existsSync(ELSEWHERE)) {
    console.log(`SKIPPED: ${ELSEWHERE} is not here: nothing on texts of another kind`);
    return undefined;
  }
  const { elsewhere: tokens } = await textsOf(name);
  const wanted = [
    ...FORMATS_ELSEWHERE.map((method) => ({ method, path: join(work, `${name}-${method}`) })),
    ...FILES_ELSEWHERE.map(([method, bits]) => ({ method, bits, path: join(work, `${name}_${method}_--recipe_${method}_--bits_${bits}.tansy`) })),
    { method: 'best untuned', bits: 2.67, path: join(work, `${name}_best_untuned_--recipe_best_--bits_2.67_--tune-tokens_0.tansy`) },
  ];
  const found = [];
  for (const { method, bits, path } of wanted) {
    const r = await kept(`${name}_${method}_${bits ?? ''}_elsewhere_${values.tokens}`, () => runPack(['eval', path, '--tokens', tokens, '--reference', join(shared, 'models', name), '--max-tokens', values.tokens]));
    const row = /** @type {Row} */ (rows.find((row) => row.method === method && (bits === undefined || Math.abs(row.bits_per_weight - bits) < 0.01 * bits)));
    found.push({ method, bits_per_weight: row.bits_per_weight, kl: r.kl, perplexity_rise: r.perplexity / r.reference_perplexity - 1, top1_loss: 1 - r.top1 / r.reference_top1 });
  }
  return found;
}

/** The floors, with books-3m's rows. @param {Row[]} rows @param {Awaited<ReturnType<typeof activations>>} activation @param {Awaited<ReturnType<typeof paperOnAll>>} paper */
function checksOf(rows, activation, paper) {
  const of = (/** @type {string} */ method) => rows.filter((r) => r.method === method);
  const at = (/** @type {string} */ method, /** @type {number} */ asked) => /** @type {Row} */ (of(method).find((r) => Math.abs(r.bits_per_weight - asked) < 0.01 * asked));
  const [q40, q4k] = [of('Q4_0')[0], of('Q4_K')[0]];
  const check = (/** @type {string} */ what, /** @type {number} */ value, /** @type {number} */ atMost) => ({ what, value, at_most: atMost, holds: value <= atMost });
  return [
    check('paper: bits per weight at the 2.2x point', at('paper', 3.64).bits_per_weight, 3.64),
    check('paper: relative loss of top-1 there, on the whole text', paper.top1_loss, 0.01),
    check("best at 2.67 bits (3.0x): KL, against that of the paper's steps at 2.2x", at('best', 2.67).kl, at('paper steps', 3.64).kl),
    check('best at 2.67 bits (3.0x): KL, against that of --recipe paper at 2.2x, which chooses its steps as we do', at('best', 2.67).kl, at('paper', 3.64).kl),
    check('best at 3.2 bits: rise of perplexity', at('best', 3.2).perplexity_rise, 0.01),
    check("best at 65 % of Q4_0's bytes: KL, against Q4_0's", klAt(of('best'), 0.65 * q40.bits_per_weight), q40.kl),
    check("best at 68 % of Q4_K's bytes: KL, against Q4_K's", klAt(of('best'), 0.68 * q4k.bits_per_weight), q4k.kl),
    check('8-bit activations: rise of perplexity', activation.perplexity_rise, 0.001),
  ];
}

/** @param {string} name */
async function measure(name) {
  const rows = [];
  for (const format of Object.keys(FIXED_FORMATS)) rows.push(await fixedRate(name, format));
  for (const bits of POINTS.paper) rows.push(await compressed(name, ['--recipe', 'paper', '--bits', `${bits}`], 'paper', bits === 3.64 && !values.quick));
  const isKnown = (/** @type {number} */ bits) => existsSync(join(work, `${name}_best_--recipe_best_--bits_${bits}_file.json`));
  for (const bits of POINTS.best.filter((bits) => !values.known || isKnown(bits))) rows.push(await compressed(name, ['--recipe', 'best', '--bits', `${bits}`], 'best'));
  rows.push(await compressed(name, PAPER_STEPS, 'paper steps'));
  rows.push(await compressed(name, UNTUNED, 'best untuned'));
  rows.sort((a, b) => a.bits_per_weight - b.bits_per_weight);
  const engine = /** @type {Row} */ (rows.find((r) => r.method === 'best' && Math.abs(r.bits_per_weight - 3.2) < 0.032));
  const activation = await activations(name, engine, join(work, `${name}_best_--recipe_best_--bits_3.2.tansy`));
  const paper = await paperOnAll(name);
  if (values.quick) return { rows, activations: activation, paper_on_whole_text: paper };
  const other = await elsewhere(name, rows);
  const reference = await kept(`${name}_reference_${values.tokens}`, () => evaluate(name, join(shared, 'models', name), true));
  const ablation = [];
  for (const [step, flags] of ABLATION) {
    const row = await compressed(name, ['--recipe', 'paper', ...flags], 'ablation', true);
    /* integers as bytes are what they take until they are coded */
    ablation.push({ step, ...row, bits_per_weight: 8, bytes: row.n_params });
    if (step === '+ pruning') ablation.push({ step: '+ ANS', ...row });
  }
  ablation.push({ step: 'coarser steps: 2.2x', .../** @type {Row} */ (rows.find((r) => r.method === 'paper' && Math.abs(r.bits_per_weight - 3.64) < 0.03)) });
  return {
    reference: { perplexity: reference.perplexity, top1: reference.top1, lambada_accuracy: reference.lambada_accuracy, lambada_word_perplexity: reference.lambada_word_perplexity },
    rows,
    activations: activation,
    paper_on_whole_text: paper,
    elsewhere: other,
    ablation: ablation.map(({ method, ...row }) => row),
  };
}

/** @type {Record<string, Awaited<ReturnType<typeof measure>>>} */
const models = {};
for (const name of values.models.split(',')) {
  models[name] = await measure(name);
  const lines = (/** @type {(r: Row) => number} */ y) =>
    ['paper steps', 'paper', 'best untuned', 'best', ...Object.keys(FIXED_FORMATS)].map((method) => ({
      label: method,
      points: models[name].rows.filter((r) => r.method === method).map((r) => /** @type {[number, number]} */ ([r.bits_per_weight, y(r)])),
    }));
  const xLabel = 'bits per weight, whole file without the tokenizer';
  writeFileSync(join(results, `quality-${name}-kl.svg`), lineChart({ title: `${name}: divergence from the checkpoint`, xLabel, yLabel: 'KL, nats per token', lines: lines((r) => r.kl) }));
  writeFileSync(join(results, `quality-${name}-perplexity.svg`), lineChart({ title: `${name}: perplexity`, xLabel, yLabel: 'perplexity', lines: lines((r) => r.perplexity) }));
  console.log(`\n${name}\nmethod   bits/weight       KL    ppl    top-1 loss`);
  for (const r of models[name].rows)
    console.log(`${r.method.padEnd(8)} ${r.bits_per_weight.toFixed(3).padStart(11)} ${r.kl.toFixed(5).padStart(8)} ${(100 * r.perplexity_rise).toFixed(2).padStart(6)} % ${(100 * r.top1_loss).toFixed(2).padStart(6)} %`);
}
const gpt2 = values.quick ? undefined : await kept('gpt2', () => weightsOnly(join(shared, 'models/gpt2-attention-layers-0-5.safetensors'), join(work, 'gpt2')));
const checks = models['books-3m'] ? checksOf(models['books-3m'].rows, models['books-3m'].activations, models['books-3m'].paper_on_whole_text) : [];
for (const c of checks) console.log(`${c.holds ? 'holds ' : 'MISSED'} ${c.what}: ${c.value.toPrecision(4)} (at most ${c.at_most.toPrecision(4)})`);
const report = {
  texts: {
    calibration: 'corpus/train.txt.xz: 64 pieces of 9375 characters, 32768 tokens of them, and tuned on all of them',
    evaluation: `corpus/valid.txt.xz: ${values.tokens} tokens in windows of the model's context (at most 512), and all of it for paper_on_whole_text`,
    elsewhere: `texts/wikitext2-valid.txt: ${values.tokens} tokens, encyclopedia where calibration and evaluation are books`,
    lambada: `the first ${values.texts} of texts/lambada-a.jsonl`,
  },
  bits: 'file bytes less the tokenizer, over all parameters; the formats: their blocks, and 1-D tensors as f32',
  checks,
  models,
  gpt2_weights_only: gpt2,
};
writeFileSync(join(results, 'quality.json'), `${JSON.stringify(report, (_, v) => (typeof v === 'number' && !Number.isInteger(v) ? Number(v.toPrecision(6)) : v), 1)}\n`);
