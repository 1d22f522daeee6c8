/** compress.js: `tansy compress`: a Hugging Face checkpoint or a GGUF file becomes one .tansy file. */
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { gzipSync } from 'node:zlib';

import { TansyError } from '../errors.js';
import { ggufCheckpoint } from '../gguf/checkpoint.js';
import { Tokenizer } from '../tokenizer.js';
import { approximations } from '../tokenizer_json.js';
import { formatBytes } from '../units.js';
import { usageError } from './args.js';
import { StatusLine, countEveryByte, printJson, table } from './output.js';
import { idsToBytes, packProgress, packThreads, runPack, withTemporaryFiles } from './pack.js';
import { checkCheckpoint, checkOutput } from './paths.js';
import { readPlainText } from './plain_text.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'compress',
  summary: 'Compresses a Hugging Face checkpoint (config.json, *.safetensors, tokenizer.json) or a .gguf file into one .tansy file.',
  usage: 'IN_DIR|IN.gguf -o FILE [flags]',
  positionals: [1, 2],
  flags: {
    out: { names: ['-o', '--output'], type: 'string', value: 'FILE', help: 'the .tansy file to write (or the second argument)' },
    bits: { names: ['--bits'], type: 'number', min: 0.5, max: 8, value: 'N', help: 'bits per weight to aim at, all bytes but the tokenizer counted (3.2); of the plain recipe: bits of its integers (8)' },
    size: { names: ['--size'], type: 'bytes', value: 'BYTES', help: 'or the size of the file to aim at, tokenizer included, such as 64MB' },
    maxKl: { names: ['--max-kl'], type: 'number', min: 0, value: 'NATS', help: 'or the divergence from the checkpoint to stay below, nats a token: the smallest file that does, on calibration text held out' },
    noPrune: { names: ['--no-prune'], type: 'flag', help: 'no pruning; without --recipe no rescaling either: plain uniform integers' },
    prune: { names: ['--prune'], type: 'number', min: 0, max: 1, value: 'X', help: 'share of the weights that the paper recipe zeroes; 0.05' },
    alpha: { names: ['--alpha'], type: 'number', min: 0, max: 1, value: 'X', help: 'how much of the activations goes into its rescaling; 0.35' },
    step: { names: ['--step'], type: 'number', min: 0.005, max: 1e6, value: 'X', help: "integer step of the paper recipe, in units of a row's largest weight / 127; found from the size" },
    tableStep: { names: ['--table-step'], type: 'number', min: 0.01, max: 1, value: 'X', help: "partial compression in the paper recipe: step of embedding and head over the others'; 0.45" },
    allocate: { names: ['--allocate'], type: 'number', min: 0, max: 1, value: 'X', help: 'how far its steps follow what errors do to the residual stream: 0 one step for all, 1 equal marginal cost; 0.6' },
    tokenScale: { names: ['--token-scale'], type: 'number', min: 0, max: 1, value: 'X', help: "how far those of embedding and head follow how often a row's token occurs; 0.4" },
    rowScale: { names: ['--row-scale'], type: 'number', min: 0, max: 1, value: 'X', help: "how far they follow a row's largest weight: 0 one step for a matrix; 0" },
    recipe: { names: ['--recipe'], type: 'choice', choices: ['best', 'paper', 'plain'], help: 'how to quantize; best' },
    calibration: { names: ['--calibration'], type: 'string', value: 'FILE', help: 'text the model should be good at; English prose is built in' },
    calibrationTokens: { names: ['--calibration-tokens'], type: 'integer', min: 1, value: 'N', help: 'how much of it to use; 32768' },
    tuneTokens: { names: ['--tune-tokens'], type: 'integer', min: 0, value: 'N', help: 'tokens, repeats included, on which the best recipe tunes the finished integers (minutes); 491520 where the model has at most 8 million parameters and the text some 50000 tokens, else 0' },
    threads: { names: ['-t', '--threads'], type: 'integer', min: 1, max: 64, value: 'N', help: 'threads; all cores' },
    dryRun: { names: ['--dry-run'], type: 'flag', help: 'say what would be written, size and expected loss of each matrix, and do not' },
    verbose: { names: ['-v', '--verbose'], type: 'flag', help: 'one line per matrix' },
  },
  notes: ['JSON: file_bytes, bits_per_weight, tensors (name, shape, entropy, bits_per_weight, escapes), …'],
  run,
};

/** What became of tuning. @type {Record<string, (report: any) => string>} */
const TUNING = {
  done: (r) => `tuned on ${r.tuning_tokens} tokens: ${(100 * (1 - r.tuning_kl_after / r.tuning_kl_before)).toFixed(0)}% nearer to the checkpoint on text held out`,
  'no gain': (r) => `tuning on ${r.tuning_tokens} tokens has gained nothing on text held out: the file is the one before`,
  'model too large': () => 'not tuned: the model has more than 8 million parameters (--tune-tokens N does it all the same, for hours and with all of it in memory)',
  'text too short': () => 'not tuned: that takes some 50000 tokens of calibration text (--tune-tokens N does it all the same)',
};

/** What is carried along for those who run the model. */
const ATTACHED = ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja'];

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ positionals, values }, signal) {
  const [folder, second] = positionals;
  if (second !== undefined && values.out !== undefined) throw usageError(`two outputs: ${second} and ${values.out}.`);
  const out = values.out ?? second;
  if (out === undefined && !values.dryRun) throw usageError('-o FILE is required.');
  const input = resolve(folder);
  if (!existsSync(input)) throw new TansyError('TANSY_NOT_FOUND', `There is no folder ${folder}; give a Hugging Face checkpoint.`);
  if (out !== undefined) {
    if (resolve(out) === input && !statSync(input).isDirectory()) throw usageError(`-o ${out} is the input; name another file.`);
    checkOutput(out, '-o');
  }
  checkRecipe(values);
  checkCheckpoint(folder);
  if (!statSync(input).isDirectory())
    return withTemporaryFiles(async (write) => {
      let checkpoint = '';
      for (const [name, text] of Object.entries(ggufCheckpoint(input))) checkpoint = dirname(await write(name, Buffer.from(text)));
      return compressFolder(checkpoint, out, values, signal);
    });
  return compressFolder(input, out, values, signal);
}

/** Flags of one recipe do nothing for another, and who gives them believes they do. @param {Record<string, any>} values */
function checkRecipe(values) {
  const recipe = values.recipe ?? (values.noPrune ? 'plain' : 'best');
  if (recipe !== 'best' && values.tuneTokens !== undefined) throw usageError(`--tune-tokens belongs to the best recipe, and this is the ${recipe} one: leave one of the two out.`);
  if (recipe === 'paper') return;
  const key = ['prune', 'alpha', 'step', 'tableStep', 'allocate', 'tokenScale', 'rowScale'].find((name) => values[name] !== undefined);
  if (key !== undefined) throw usageError(`${command.flags[key].names[0]} belongs to the paper recipe, and this is the ${recipe} one: leave it out, or add --recipe paper.`);
  if (recipe === 'best' && values.noPrune) throw usageError('--no-prune does not belong to the best recipe, which weighs zeros as any other value: leave one of the two out.');
}

/**
 * @param {string} input a checkpoint
 * @param {string | undefined} out
 * @param {Record<string, any>} values of the flags
 * @param {AbortSignal} signal
 */
async function compressFolder(input, out, values, signal) {
  const line = new StatusLine(!values.json);
  warnOfOtherTokenizers(input);
  const report = await withTemporaryFiles(async (write) => {
    const args = ['compress', input];
    if (out !== undefined) args.push('-o', resolve(out));
    else if (values.maxKl !== undefined) args.push('-o', join(dirname(await write('trial', new Uint8Array())), 'model.tansy')); /* tries are measured as files */
    for (const [name, value] of Object.entries({
      '--bits': values.bits,
      '--size': values.size,
      '--max-kl': values.maxKl,
      '--prune': values.prune,
      '--alpha': values.alpha,
      '--step': values.step,
      '--table-step': values.tableStep,
      '--allocate': values.allocate,
      '--token-scale': values.tokenScale,
      '--row-scale': values.rowScale,
      '--recipe': values.recipe,
      '--calibration-tokens': values.calibrationTokens,
      '--tune-tokens': values.tuneTokens,
    }))
      if (value !== undefined) args.push(name, String(value));
    if (values.noPrune) args.push('--no-prune');
    if (values.dryRun) args.push('--dry-run');
    args.push('--threads', String(values.threads ?? packThreads()), '--progress', 'json');
    for (const name of ATTACHED) {
      const attachment = readAttachment(join(input, name));
      if (attachment === undefined) continue;
      const path = await write(name, attachment.bytes);
      args.push('--attach', `${name}=${path}${attachment.gzip ? `:gzip,${attachment.rawNbytes}` : ''}`);
    }
    const calibration = calibrationIds(input, values);
    if (calibration !== undefined) args.push('--calibration', await write('calibration.ids', calibration));
    return runPack(args, { signal, onProgress: packProgress(line) });
  });
  line.clear();
  countEveryByte(report);
  if (values.json) return printJson(report);
  if (values.verbose || values.dryRun) process.stdout.write(tensorTable(report.tensors));
  process.stdout.write(
    `${values.dryRun ? 'would be ' : `${out}: `}${formatBytes(report.file_bytes)}, ${report.bits_per_weight.toFixed(3)} bits per weight ` +
      `(${report.bits_per_weight_without_attachments.toFixed(3)} without the tokenizer), ${report.seconds.toFixed(1)} s\n`,
  );
  if (report.tuning !== undefined) process.stdout.write(`${TUNING[report.tuning]?.(report) ?? report.tuning}\n`);
  if (report.kl !== undefined)
    process.stdout.write(`${report.kl.toPrecision(4)} nats a token from the checkpoint, over ${report.kl_predictions} tokens of calibration text held out (${report.tries} tries)\n`);
}

/**
 * JSON without spaces, and gzip where that is smaller.
 * @param {string} path
 */
function readAttachment(path) {
  if (!existsSync(path)) return undefined;
  let raw = readFileSync(path);
  if (path.endsWith('.json')) {
    const value = parseJson(path, raw.toString('utf8'));
    /* repeats tokenizer.json's added tokens */
    if (path.endsWith('tokenizer_config.json')) delete value.added_tokens_decoder;
    raw = Buffer.from(JSON.stringify(value));
  }
  const packed = gzipSync(raw, { level: 9 });
  return packed.length < raw.length ? { bytes: packed, gzip: true, rawNbytes: raw.length } : { bytes: raw, gzip: false, rawNbytes: raw.length };
}

/**
 * @param {string} path
 * @param {string} text
 * @returns {Record<string, any>}
 */
function parseJson(path, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} is no JSON: ${/** @type {Error} */ (error).message}.`, {}, error);
  }
  if (value === null || typeof value !== 'object') throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} holds no JSON object.`);
  return value;
}

/**
 * The calibration text as token ids (built in: beginnings of Carroll's Alice, 1865, Twain's Tom Sawyer, 1876, and Newton's Opticks,
 * 1730, all in the public domain, lines joined to paragraphs); undefined where none is needed or the checkpoint has no tokenizer.
 * @param {string} input
 * @param {Record<string, any>} values
 */
function calibrationIds(input, values) {
  if (values.recipe === 'plain' || (values.recipe === undefined && values.noPrune)) {
    if (values.calibration !== undefined) throw usageError('plain integers use no calibration text; leave --calibration out, or name a --recipe.');
    warnOfTokenizer(input);
    return undefined;
  }
  const tokenizer = readTokenizer(input);
  if (tokenizer === undefined) {
    if (values.calibration !== undefined) throw new TansyError('TANSY_CALIBRATION', `A calibration text needs a tokenizer, and ${input} has no tokenizer.json.`);
    return undefined;
  }
  const path = values.calibration ?? new URL('./calibration.txt', import.meta.url);
  return idsToBytes(tokenizer.encode(readPlainText(path, 'calibration text', 'TANSY_CALIBRATION'), true), vocabOf(input));
}

/**
 * Without its tokenizer a model is of little use, and nobody may notice before the file is elsewhere.
 * @param {string} input
 */
function warnOfOtherTokenizers(input) {
  const other = ['tokenizer.model', 'vocab.json'].find((name) => existsSync(join(input, name)));
  if (other === undefined || existsSync(join(input, 'tokenizer.json'))) return;
  process.stderr.write(`warning: ${other} cannot be read, and there is no tokenizer.json: the model will take and give token ids, not text (AutoTokenizer.from_pretrained(…).save_pretrained(…) in Python writes a tokenizer.json).\n`);
}

/** @param {string} input */
function readTokenizer(input) {
  const path = join(input, 'tokenizer.json');
  if (!existsSync(path)) return undefined;
  const config = join(input, 'tokenizer_config.json');
  const json = readFileSync(path, 'utf8');
  const tokenizer = new Tokenizer(json, existsSync(config) ? readFileSync(config, 'utf8') : undefined, vocabOf(input));
  for (const what of approximations(JSON.parse(json))) process.stderr.write(`warning: tokenizer.json is read only nearly as it was written: ${what}.\n`);
  return tokenizer;
}

/**
 * Plain integers need no text, but who runs the file will.
 * @param {string} input
 */
function warnOfTokenizer(input) {
  try {
    readTokenizer(input)?.encode('a', true);
  } catch (error) {
    if (!(error instanceof TansyError)) throw error;
    process.stderr.write(`warning: ${error.message}\n`);
  }
}

/** @param {string} input */
export function vocabOf(input) {
  const path = join(input, 'config.json');
  const config = parseJson(path, readFileSync(path, 'utf8'));
  /* the Gemma 3 that see leave out what is usual */
  const vocab = config.vocab_size ?? config.text_config?.vocab_size ?? (config.model_type === 'gemma3' ? 262208 : undefined);
  if (!Number.isInteger(vocab)) throw new TansyError('TANSY_NOT_CHECKPOINT', `${path} has no vocab_size.`);
  return vocab;
}

/**
 * @param {any[]} tensors
 * @returns {string}
 */
export function tensorTable(tensors) {
  const number = (/** @type {unknown} */ value, /** @type {number} */ digits) => (typeof value === 'number' ? value.toFixed(digits) : '');
  const rows = tensors.map((t) => {
    const loss = t.entropy > 0 ? ((t.bits_per_weight / t.entropy - 1) * 100).toFixed(1) : '';
    const kl = typeof t.expected_kl === 'number' ? t.expected_kl.toExponential(2) : '';
    return [t.name, t.shape.join(' x '), number(t.entropy, 3), number(t.bits_per_weight, 3), loss, String(t.escapes ?? ''), number(t.zeros, 3), kl];
  });
  const head = ['tensor', 'shape', 'entropy', 'bits', 'loss %', 'escapes', 'zeros', 'expected KL'];
  const n = rows.some((row) => row[7] !== '') ? 8 : 7;
  return table(
    head.slice(0, n),
    rows.map((row) => row.slice(0, n)),
    head.map((_, i) => i > 0),
  );
}
