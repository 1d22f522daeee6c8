/** eval.js: `tansy eval`: how good a compressed model still is, and what it costs. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';

import { TansyError } from '../errors.js';
import { load } from '../index.js';
import { Tokenizer } from '../tokenizer.js';
import { formatBytes } from '../units.js';
import { usageError } from './args.js';
import { vocabOf } from './compress.js';
import { StatusLine, countEveryByte, printJson } from './output.js';
import { idsToBytes, packProgress, packThreads, runPack, withTemporaryFiles } from './pack.js';
import { checkCheckpoint } from './paths.js';
import { readPlainText } from './plain_text.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'eval',
  summary:
    'Perplexity and top-1 accuracy on a text, and the share of last words guessed (LAMBADA); with --reference also of the uncompressed ' +
    'checkpoint, and the KL divergence between the two.',
  usage: '-m FILE|IN_DIR (--text FILE | --tokens FILE | --lambada FILE) [--reference IN_DIR] [flags]',
  positionals: [0, 0],
  flags: {
    model: { names: ['-m', '--model'], type: 'string', value: 'FILE', help: 'the .tansy file, or a checkpoint, which runs in floats (required)' },
    text: { names: ['--text', '-f', '--file'], type: 'string', value: 'FILE', help: 'plain text' },
    tokens: { names: ['--tokens'], type: 'string', value: 'FILE', help: 'token ids instead: unsigned 16-bit little-endian (32-bit above 65536 tokens)' },
    lambada: { names: ['--lambada'], type: 'string', value: 'FILE', help: 'texts whose last word is to be guessed, {"text": …} a line' },
    texts: { names: ['--max-texts'], type: 'integer', min: 1, value: 'N', help: 'most of them to guess at; all' },
    reference: { names: ['--reference'], type: 'string', value: 'IN_DIR', help: 'the checkpoint it was made of' },
    context: { names: ['-c', '--ctx-size', '--window'], type: 'integer', min: 2, value: 'N', help: "tokens of a window; as the model's context allows" },
    max: { names: ['--max-tokens'], type: 'integer', min: 2, value: 'N', help: 'most tokens to score; 32768' },
    threads: { names: ['-t', '--threads'], type: 'integer', min: 1, max: 64, value: 'N', help: 'threads; all cores' },
  },
  notes: [
    'JSON: file_bytes, bits_per_weight, perplexity, top1, reference_perplexity, reference_top1, kl, predictions (how many tokens were scored), …; with --lambada also lambada: ' +
      'texts, accuracy, word_perplexity, and the reference\'s. A word counts as guessed when each of its tokens is the most likely one.',
  ],
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ values }, signal) {
  if (values.model === undefined) throw usageError('-m FILE is required.');
  if (values.text !== undefined && values.tokens !== undefined) throw usageError('give either --text FILE or --tokens FILE.');
  const hasText = values.text !== undefined || values.tokens !== undefined;
  if (!hasText && values.lambada === undefined) throw usageError('give either --text FILE or --tokens FILE, or --lambada FILE.');
  for (const key of ['model', 'text', 'tokens', 'lambada', 'reference'])
    if (values[key] !== undefined && !existsSync(values[key])) throw new TansyError('TANSY_NOT_FOUND', `There is no ${values[key]}; check the path.`);
  for (const path of [values.model, values.reference]) if (path !== undefined && statSync(path).isDirectory()) checkCheckpoint(path);
  const line = new StatusLine(!values.json);
  const shared = ['--threads', String(values.threads ?? packThreads()), '--progress', 'json'];
  if (values.reference !== undefined) shared.push('--reference', resolve(values.reference));
  if (values.context !== undefined) shared.push('--window', String(values.context));
  const report = await withTemporaryFiles(async (write) => {
    const evaluate = (/** @type {string[]} */ args) => runPack(['eval', resolve(values.model), ...args, ...shared], { signal, onProgress: packProgress(line) });
    const inputs = await readInputs(values, signal);
    let result;
    if (hasText) {
      const tokens = inputs.text === undefined ? resolve(values.tokens) : await write('text.ids', inputs.text);
      result = await evaluate(['--tokens', tokens, ...(values.max === undefined ? [] : ['--max-tokens', String(values.max)])]);
    }
    if (inputs.lambada === undefined) return result;
    const cloze = await evaluate(['--cloze', await write('lambada.u32', inputs.lambada)]);
    const { texts, accuracy, word_perplexity, reference_accuracy, reference_word_perplexity } = cloze;
    return { ...(result ?? cloze), lambada: { texts, accuracy, word_perplexity, reference_accuracy, reference_word_perplexity } };
  });
  line.clear();
  if (report.file_bytes !== undefined) countEveryByte(report);
  if (values.json) return printJson(report);
  process.stdout.write(`${describe(report).join('\n')}\n`);
}

/**
 * @param {Record<string, any>} report
 * @returns {string[]}
 */
function describe(report) {
  const percent = (/** @type {number} */ share) => `${(100 * share).toFixed(2)} %`;
  const beside = (/** @type {number | undefined} */ reference, /** @type {(x: number) => string} */ show) =>
    reference === undefined ? '' : `  (reference ${show(reference)})`;
  const digits = (/** @type {number} */ x) => x.toFixed(4);
  const lines = [];
  if (report.file_bytes !== undefined)
    lines.push(`file        ${formatBytes(report.file_bytes)}, ${report.bits_per_weight.toFixed(3)} bits per weight, every byte counted`);
  if (report.perplexity !== undefined) {
    lines.push(`perplexity  ${digits(report.perplexity)}${beside(report.reference_perplexity, digits)}`);
    lines.push(`top-1       ${percent(report.top1)}${beside(report.reference_top1, percent)}`);
  }
  if (report.kl !== undefined) lines.push(`KL          ${report.kl.toFixed(6)} nats per token`);
  if (report.lambada !== undefined)
    lines.push(`LAMBADA     ${percent(report.lambada.accuracy)} of ${report.lambada.texts} words${beside(report.lambada.reference_accuracy, percent)}`);
  return lines;
}

/**
 * Texts as the model's own tokenizer sees them.
 * @param {Record<string, any>} values of the flags
 * @param {AbortSignal} signal
 * @returns {Promise<{text?: Uint8Array, lambada?: Uint8Array}>}
 */
async function readInputs(values, signal) {
  if (values.text === undefined && values.lambada === undefined) return {};
  const { vocab, encode, dispose } = await tokenizerOf(values.model, signal);
  try {
    return {
      text: values.text === undefined ? undefined : idsToBytes(encode(readPlainText(values.text, 'text', 'TANSY_ARGUMENT')), vocab),
      lambada: values.lambada === undefined ? undefined : lastWords(encode, values.lambada, values.texts ?? Infinity),
    };
  } finally {
    dispose();
  }
}

/**
 * @param {string} path of a .tansy file or a checkpoint
 * @param {AbortSignal} signal
 * @returns {Promise<{vocab: number, encode: (text: string) => number[], dispose: () => void}>}
 */
async function tokenizerOf(path, signal) {
  if (!statSync(path).isDirectory()) {
    const model = await load(path, { residency: 'ans', signal });
    return { vocab: model.config.vocab, encode: (text) => model.tokenize(text, { addBos: true }), dispose: () => model.dispose() };
  }
  const config = join(path, 'tokenizer_config.json');
  if (!existsSync(join(path, 'tokenizer.json'))) throw new TansyError('TANSY_NO_TOKENIZER', `${path} has no tokenizer.json; give token ids with --tokens.`);
  const vocab = vocabOf(path);
  const tokenizer = new Tokenizer(readFileSync(join(path, 'tokenizer.json'), 'utf8'), existsSync(config) ? readFileSync(config, 'utf8') : undefined, vocab);
  const { bos_token_id: bos } = JSON.parse(readFileSync(join(path, 'config.json'), 'utf8'));
  const encode = (/** @type {string} */ text) => {
    const ids = tokenizer.encode(text, true);
    return tokenizer.config.add_bos_token === true && Number.isInteger(bos) && ids[0] !== bos ? [bos, ...ids] : ids; /* as a model does it */
  };
  return { vocab, encode, dispose: () => {} };
}

/**
 * For tansy-pack's --cloze: of each text its number of tokens, how many of them its last word (and what follows) takes, and the ids.
 * @param {(text: string) => number[]} encode
 * @param {string} path
 * @param {number} max
 */
export function lastWords(encode, path, max) {
  const lines = readFileSync(path, 'utf8').split('\n').filter((line) => line.trim() !== '');
  const numbers = [];
  for (const [i, line] of lines.slice(0, max).entries()) {
    let text;
    try {
      ({ text } = JSON.parse(line));
    } catch {
      text = undefined;
    }
    const cut = typeof text === 'string' ? text.trimEnd().lastIndexOf(' ') : -1;
    if (cut < 1) throw new TansyError('TANSY_ARGUMENT', `Line ${i + 1} of ${path} is no {"text": "…"} of two words or more.`);
    const ids = encode(text.trimEnd());
    const before = encode(text.slice(0, cut));
    let same = 0;
    while (same < before.length && same < ids.length - 1 && before[same] === ids[same]) same++;
    numbers.push(ids.length, ids.length - same, ...ids);
  }
  return new Uint8Array(Uint32Array.from(numbers).buffer);
}
