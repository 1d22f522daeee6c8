// npm run bench:quality [-- --models books-3m,stories260K --tokens 32768 --fresh]: how much of a model is left at how many bits.
//
// Compresses ../shared/models with the paper's recipe and ours at several sizes, rounds the same checkpoints to the fixed-rate formats
// everyone knows (tests/reference/fixed_formats.js), and evaluates all of them on the same held-out text against the float checkpoint.
// Bits are those of real files, every tensor and header counted, the tokenizer not. Calibration text is from corpus/train, evaluation
// text is corpus/valid: other books. Rows and the floors they must reach go to tests/bench/results/quality.json, plots beside it.
// What was computed is kept in build/bench-quality, so that a run that was cut short goes on; --fresh forgets it.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

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
    texts: { type: 'string', default: '300' },
    fresh: { type: 'boolean', default: false },
  },
});
if (!existsSync(shared)) throw new Error('../shared is not here: nothing to measure');
if (values.fresh) rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
mkdirSync(results, { recursive: true });

/** The compressor's points, in bits per weight. */
const POINTS = { paper: [2.8, 3.2, 3.64, 4.2, 5], best: [2.2, 2.67, 2.94, 3.07, 3.2, 3.9] };
/** What --recipe paper leaves out, step by step: 8 bits a weight, each with its options. */
const ABLATION = /** @type {const} */ ([
  ['INT8 per row', ['--alpha', '0', '--prune', '0', '--step', '1']],
  ['+ rescaling', ['--prune', '0', '--step', '1']],
  ['+ pruning', ['--step', '1']],
]);

/** @param {string[]} args of the command line @returns {any} */
function tansy(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'js/cli/main.js'), ...args, '--json'], { encoding: 'utf8', maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`tansy ${args.join(' ')}: ${stderr}`);
  return JSON.parse(stdout);
}

/**
 * The answer from the last time, or a new one.
 * @template T
 * @param {string} name
 * @param {() => T} make
 * @returns {T}
 */
function kept(name, make) {
  const path = join(work, `${name}.json`);
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const started = Date.now();
  const value = make();
  writeFileSync(path, JSON.stringify(value));
  console.log(`${name} (${((Date.now() - started) / 1000).toFixed(0)} s)`);
  return value;
}

/** @param {string} name of an .xz file of the corpus */
const corpus = (name) => spawnSync('xz', ['-dc', join(shared, 'corpus', name)], { maxBuffer: 1 << 29 }).stdout.toString('utf8');

/** Calibration: pieces from all over the training text. */
function writeTexts() {
  const calibration = join(work, 'calibration.txt');
  const evaluation = join(work, 'evaluation.txt');
  if (existsSync(calibration) && existsSync(evaluation)) return { calibration, evaluation };
  const text = corpus('train.txt.xz');
  const [n, length] = [64, 9375];
  const pieces = Array.from({ length: n }, (_, i) => {
    const at = Math.floor((i * (text.length - length)) / (n - 1));
    return text.slice(at, at + length);
  });
  writeFileSync(calibration, pieces.join('\n'));
  writeFileSync(evaluation, corpus('valid.txt.xz'));
  return { calibration, evaluation };
}

const texts = writeTexts();

/**
 * @param {string} model a file or a checkpoint
 * @param {string} reference
 * @param {boolean} [guess] LAMBADA too
 */
function evaluate(model, reference, guess = false) {
  const lambada = guess ? ['--lambada', join(shared, 'texts/lambada-a.jsonl'), '--max-texts', values.texts] : [];
  const r = tansy(['eval', '-m', model, '--text', texts.evaluation, '--reference', reference, '--max-tokens', values.tokens, ...lambada]);
  return {
    perplexity: r.perplexity,
    perplexity_rise: r.perplexity / r.reference_perplexity - 1,
    top1: r.top1,
    top1_loss: 1 - r.top1 / r.reference_top1,
    kl: r.kl,
    same_top1: r.same_top1,
    ...(r.lambada === undefined ? {} : { lambada_accuracy: r.lambada.accuracy, lambada_word_perplexity: r.lambada.word_perplexity }),
  };
}

/** @typedef {ReturnType<typeof evaluate> & {method: string, bits_per_weight: number, bytes: number, asked?: number}} Row */

/**
 * @param {string} name of the model
 * @param {string[]} flags
 * @param {string} method
 * @param {boolean} [guess]
 * @returns {Row}
 */
function compressed(name, flags, method, guess = false) {
  const label = `${name} ${method} ${flags.join(' ')}`.replaceAll(/[^\w.-]+/g, '_');
  const file = join(work, `${label}.tansy`);
  return kept(label, () => {
    const report = tansy(['compress', join(shared, 'models', name), '-o', file, '--calibration', texts.calibration, ...flags]);
    const bytes = report.file_bytes - report.attachment_bytes;
    return { method, bits_per_weight: (bytes * 8) / report.n_params, bytes, ...evaluate(file, join(shared, 'models', name), guess) };
  });
}

/** @param {string} name of the model @param {string} format @returns {Row} */
function fixedRate(name, format) {
  return kept(`${name} ${format}`.replaceAll(' ', '_'), () => {
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
    return { method: format, bits_per_weight: (bytes * 8) / n, bytes, ...evaluate(folder, source) };
  });
}

/** The same integers with float activations: what 8-bit activations cost. @param {string} name @param {Row} engine @param {string} file */
function activations(name, engine, file) {
  const floats = kept(`${name}_float_activations`, () => {
    const folder = join(work, `${name}-decoded`);
    checkpointOfTansy(file, join(shared, 'models', name), folder);
    return evaluate(folder, join(shared, 'models', name));
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

/** KL at a size, between two measured ones (ln KL is nearly straight over bits). @param {Row[]} rows @param {number} bits */
function klAt(rows, bits) {
  const sorted = rows.toSorted((a, b) => a.bits_per_weight - b.bits_per_weight);
  const above = sorted.findIndex((r) => r.bits_per_weight >= bits);
  if (above < 1) return NaN;
  const [a, b] = [sorted[above - 1], sorted[above]];
  const t = (bits - a.bits_per_weight) / (b.bits_per_weight - a.bits_per_weight);
  return Math.exp(Math.log(a.kl) * (1 - t) + Math.log(b.kl) * t);
}

/** The floors, with books-3m's rows. @param {Row[]} rows @param {ReturnType<typeof activations>} activation */
function checksOf(rows, activation) {
  const of = (/** @type {string} */ method) => rows.filter((r) => r.method === method);
  const at = (/** @type {string} */ method, /** @type {number} */ asked) => /** @type {Row} */ (of(method).find((r) => Math.abs(r.bits_per_weight - asked) < 0.01 * asked));
  const [q40, q4k] = [of('Q4_0')[0], of('Q4_K')[0]];
  const check = (/** @type {string} */ what, /** @type {number} */ value, /** @type {number} */ atMost) => ({ what, value, at_most: atMost, holds: value <= atMost });
  return [
    check('paper: bits per weight at the 2.2x point', at('paper', 3.64).bits_per_weight, 3.64),
    check('paper: relative loss of top-1 there', at('paper', 3.64).top1_loss, 0.01),
    check('best at 2.67 bits (3.0x): KL, against that of the paper at 2.2x', at('best', 2.67).kl, at('paper', 3.64).kl),
    check('best at 3.2 bits: rise of perplexity', at('best', 3.2).perplexity_rise, 0.01),
    check("best at 65 % of Q4_0's bytes: KL, against Q4_0's", klAt(of('best'), 0.65 * q40.bits_per_weight), q40.kl),
    check("best at 68 % of Q4_K's bytes: KL, against Q4_K's", klAt(of('best'), 0.68 * q4k.bits_per_weight), q4k.kl),
    check('8-bit activations: rise of perplexity', activation.perplexity_rise, 0.001),
  ];
}

/** @param {string} name */
function measure(name) {
  const rows = [
    ...POINTS.paper.map((b) => compressed(name, ['--recipe', 'paper', '--bits', `${b}`], 'paper')),
    ...POINTS.best.map((b) => compressed(name, ['--recipe', 'best', '--bits', `${b}`], 'best')),
    ...Object.keys(FIXED_FORMATS).map((format) => fixedRate(name, format)),
  ];
  const engine = /** @type {Row} */ (rows.find((r) => r.method === 'best' && Math.abs(r.bits_per_weight - 3.2) < 0.032));
  const activation = activations(name, engine, join(work, `${name}_best_--recipe_best_--bits_3.2.tansy`));
  const { n_params: n } = kept(`${name}_parameters`, () => tansy(['compress', join(shared, 'models', name), '--dry-run', '--no-prune']));
  const reference = kept(`${name}_reference`, () => evaluate(join(shared, 'models', name), join(shared, 'models', name), true));
  /* integers as bytes: what they take until they are coded */
  const uncoded = ABLATION.map(([step, flags]) => ({ step, bytes_a_weight: 1, ...compressed(name, ['--recipe', 'paper', ...flags], 'ablation', true), bits_per_weight: 8, bytes: n }));
  const coded = compressed(name, ['--recipe', 'paper', ...ABLATION[2][1]], 'ablation', true);
  const ablation = [
    ...uncoded,
    { step: '+ ANS', ...coded },
    { step: 'coarser steps, partial compression: 2.2x', ...compressed(name, ['--recipe', 'paper', '--bits', '3.64'], 'paper with words', true) },
  ].map(({ method, ...row }) => row);
  return { reference: { perplexity: reference.perplexity, top1: reference.top1, lambada_accuracy: reference.lambada_accuracy, lambada_word_perplexity: reference.lambada_word_perplexity }, rows, activations: activation, ablation };
}

/** @type {Record<string, ReturnType<typeof measure>>} */
const models = {};
for (const name of values.models.split(',')) {
  models[name] = measure(name);
  const lines = (/** @type {(r: Row) => number} */ y) =>
    ['paper', 'best', ...Object.keys(FIXED_FORMATS)].map((method) => ({
      label: method,
      points: models[name].rows.filter((r) => r.method === method).map((r) => /** @type {[number, number]} */ ([r.bits_per_weight, y(r)])),
    }));
  const xLabel = 'bits per weight, whole file without the tokenizer';
  writeFileSync(join(results, `quality-${name}-kl.svg`), lineChart({ title: `${name}: divergence from the checkpoint`, xLabel, yLabel: 'KL, nats per token', lines: lines((r) => r.kl) }));
  writeFileSync(join(results, `quality-${name}-perplexity.svg`), lineChart({ title: `${name}: perplexity`, xLabel, yLabel: 'perplexity', lines: lines((r) => r.perplexity) }));
  console.log(`\n${name}: reference ${models[name].reference.perplexity.toFixed(3)}\nmethod   bits/weight       KL    ppl    top-1 loss`);
  for (const r of models[name].rows)
    console.log(`${r.method.padEnd(8)} ${r.bits_per_weight.toFixed(3).padStart(11)} ${r.kl.toFixed(5).padStart(8)} ${(100 * r.perplexity_rise).toFixed(2).padStart(6)} % ${(100 * r.top1_loss).toFixed(2).padStart(6)} %`);
}
const gpt2 = kept('gpt2', () => weightsOnly(join(shared, 'models/gpt2-attention-layers-0-5.safetensors'), join(work, 'gpt2'), tansy));
const checks = models['books-3m'] ? checksOf(models['books-3m'].rows, models['books-3m'].activations) : [];
for (const c of checks) console.log(`${c.holds ? 'holds ' : 'MISSED'} ${c.what}: ${c.value.toPrecision(4)} (at most ${c.at_most.toPrecision(4)})`);
const report = {
  texts: {
    calibration: 'corpus/train.txt.xz: 64 pieces of 9375 characters, 32768 tokens of them',
    evaluation: `corpus/valid.txt.xz: ${values.tokens} tokens in windows of the model's context (at most 512)`,
    lambada: `the first ${values.texts} of texts/lambada-a.jsonl`,
  },
  bits: 'file bytes less the tokenizer, over all parameters; the formats: their blocks, and 1-D tensors as f32',
  checks,
  models,
  gpt2_weights_only: gpt2,
};
writeFileSync(join(results, 'quality.json'), `${JSON.stringify(report, (_, v) => (typeof v === 'number' && !Number.isInteger(v) ? Number(v.toPrecision(6)) : v), 1)}\n`);
if (statSync(join(results, 'quality.json')).size === 0) throw new Error('nothing was written');
