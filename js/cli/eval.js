/** eval.js: `tansy eval`: how good a compressed model still is, and what it costs. */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import { TansyError } from '../errors.js';
import { load } from '../index.js';
import { formatBytes } from '../units.js';
import { usageError } from './args.js';
import { StatusLine, countEveryByte, printJson } from './output.js';
import { idsToBytes, packProgress, packThreads, runPack, withTemporaryFiles } from './pack.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'eval',
  summary: 'Perplexity and top-1 accuracy on a text; with --reference also of the uncompressed checkpoint, and the KL divergence between the two.',
  usage: '-m FILE (--text FILE | --tokens FILE) [--reference IN_DIR] [flags]',
  positionals: [0, 0],
  flags: {
    model: { names: ['-m', '--model'], type: 'string', value: 'FILE', help: 'the .tansy file (required)' },
    text: { names: ['--text', '-f', '--file'], type: 'string', value: 'FILE', help: 'plain text' },
    tokens: { names: ['--tokens'], type: 'string', value: 'FILE', help: 'token ids instead: unsigned 16-bit little-endian (32-bit above 65536 tokens)' },
    reference: { names: ['--reference'], type: 'string', value: 'IN_DIR', help: 'the checkpoint it was made of' },
    context: { names: ['-c', '--ctx-size', '--window'], type: 'integer', min: 2, value: 'N', help: "tokens of a window; as the model's context allows" },
    max: { names: ['--max-tokens'], type: 'integer', min: 2, value: 'N', help: 'most tokens to score; 32768' },
    threads: { names: ['-t', '--threads'], type: 'integer', min: 1, max: 64, value: 'N', help: 'threads; all cores' },
  },
  notes: ['JSON: file_bytes, bits_per_weight, perplexity, top1, reference_perplexity, reference_top1, kl, tokens, …'],
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ values }, signal) {
  if (values.model === undefined) throw usageError('-m FILE is required.');
  if ((values.text === undefined) === (values.tokens === undefined)) throw usageError('give either --text FILE or --tokens FILE.');
  for (const key of ['model', 'text', 'tokens', 'reference'])
    if (values[key] !== undefined && !existsSync(values[key])) throw new TansyError('TANSY_NOT_FOUND', `There is no ${values[key]}; check the path.`);
  const line = new StatusLine(!values.json);
  const report = await withTemporaryFiles(async (write) => {
    const tokens = values.tokens !== undefined ? resolve(values.tokens) : await write('text.ids', await textIds(values.model, values.text, signal));
    const args = ['eval', resolve(values.model), '--tokens', tokens, '--threads', String(values.threads ?? packThreads()), '--progress', 'json'];
    if (values.reference !== undefined) args.push('--reference', resolve(values.reference));
    if (values.context !== undefined) args.push('--window', String(values.context));
    if (values.max !== undefined) args.push('--max-tokens', String(values.max));
    return runPack(args, { signal, onProgress: packProgress(line) });
  });
  line.clear();
  countEveryByte(report);
  if (values.json) return printJson(report);
  const lines = [
    `file        ${formatBytes(report.file_bytes)}, ${report.bits_per_weight.toFixed(3)} bits per weight, every byte counted`,
    `perplexity  ${report.perplexity.toFixed(4)}${report.reference_perplexity === undefined ? '' : `  (reference ${report.reference_perplexity.toFixed(4)})`}`,
    `top-1       ${(100 * report.top1).toFixed(2)} %${report.reference_top1 === undefined ? '' : `  (reference ${(100 * report.reference_top1).toFixed(2)} %)`}`,
  ];
  if (report.kl !== undefined) lines.push(`KL          ${report.kl.toFixed(6)} nats per token`);
  process.stdout.write(`${lines.join('\n')}\n`);
}

/**
 * The text as the model's own tokenizer sees it.
 * @param {string} modelPath
 * @param {string} textPath
 * @param {AbortSignal} signal
 */
async function textIds(modelPath, textPath, signal) {
  const model = await load(modelPath, { residency: 'ans', signal });
  try {
    return idsToBytes(model.tokenize(readFileSync(textPath, 'utf8'), { addBos: true }), model.config.vocab);
  } finally {
    model.dispose();
  }
}
