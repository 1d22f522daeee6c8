/** inspect.js: `tansy inspect`: what a file holds, and what its weights cost. */
import { closeSync, existsSync, openSync, readSync, statSync } from 'node:fs';
import { resolve } from 'node:path';

import { TansyError } from '../errors.js';
import { countParameters, readTensors } from '../tensors.js';
import { formatBytes } from '../units.js';
import { tensorTable } from './compress.js';
import { StatusLine, printJson, table } from './output.js';
import { packProgress, runPack } from './pack.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'inspect',
  summary: "Per tensor: the integers' entropy, the bits they take in the file, the loss over the entropy, escapes.",
  usage: 'FILE [flags]',
  positionals: [1, 1],
  flags: {
    bits: { names: ['--bits'], type: 'number', min: 0.5, max: 8, value: 'N', help: 'for a .safetensors FILE: quantize each matrix first, with the one step that gives its integers an entropy of N bits; 4. Rows and columns are taken in the order of their spread where that pays; a list of the order is counted (order_bytes)' },
    dump: { names: ['--dump'], type: 'string', value: 'OUT.i32', help: 'write the integers of all coded matrices there, in file order (32-bit little-endian)' },
  },
  notes: ['JSON: tensors: [{name, shape, entropy, bits_per_weight, escapes, …}] and the totals; of a .tansy file also parts: what the bytes are spent on.'],
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ positionals, values }, signal) {
  const file = resolve(positionals[0]);
  if (!existsSync(file)) throw new TansyError('TANSY_NOT_FOUND', `There is no file ${positionals[0]}; check the path.`);
  if (statSync(file).isDirectory()) throw new TansyError('TANSY_NOT_FOUND', `${positionals[0]} is a folder; give the .tansy or .safetensors file itself.`);
  const args = ['inspect', file, '--progress', 'json'];
  if (values.bits !== undefined) args.push('--bits', String(values.bits));
  if (values.dump !== undefined) args.push('--dump', resolve(values.dump));
  const line = new StatusLine(!values.json);
  const report = await runPack(args, { signal, onProgress: packProgress(line) });
  line.clear();
  if (!file.endsWith('.safetensors')) report.bits_per_weight = (report.file_bytes * 8) / countParameters(readTensors(readHeaderOf(file)));
  if (values.json) return printJson(report);
  process.stdout.write(tensorTable(report.tensors.filter((/** @type {any} */ t) => t.kind === 'CODED')));
  if (report.parts !== undefined) process.stdout.write(`\n${partsTable(report.parts)}`);
  const totals = [];
  if (report.file_bytes !== undefined) totals.push(`file ${formatBytes(report.file_bytes)}`);
  if (report.bits_per_weight !== undefined) totals.push(`${report.bits_per_weight.toFixed(3)} bits per weight, every byte counted`);
  if (totals.length > 0) process.stdout.write(`\n${totals.join(', ')}\n`);
}

/**
 * Where the bytes are.
 * @param {Record<string, number>} parts
 */
function partsTable(parts) {
  const all = Object.values(parts).reduce((sum, nbytes) => sum + nbytes, 0);
  const rows = Object.entries(parts).map(([name, nbytes]) => [name.replaceAll('_', ' '), String(nbytes), ((100 * nbytes) / all).toFixed(2)]);
  return table(['part', 'bytes', '%'], rows, [false, true, true]);
}

/**
 * The front of a file that tansy-pack has accepted.
 * @param {string} path
 */
function readHeaderOf(path) {
  const file = openSync(path, 'r');
  try {
    const start = Buffer.alloc(8);
    readSync(file, start, 0, 8, 0);
    const indexAt = 8 + Number(start.readBigUInt64LE());
    const front = Buffer.alloc(16);
    readSync(file, front, 0, 16, indexAt);
    const header = Buffer.alloc(indexAt + front.readUInt32LE(12));
    readSync(file, header, 0, header.length, 0);
    return header;
  } finally {
    closeSync(file);
  }
}
