/** synth.js: `tansy synth`: a model of random weights with the geometry of a known one, to measure with. */
import { resolve } from 'node:path';

import { formatBytes } from '../units.js';
import { usageError } from './args.js';
import { StatusLine, printJson } from './output.js';
import { packProgress, runPack } from './pack.js';
import { checkOutput } from './paths.js';

/** @type {import('./args.js').Command} */
export const command = {
  name: 'synth',
  summary: 'Writes a model of random weights: the geometry and entropy of a real one, for measuring speed and memory. It has no tokenizer.',
  usage: '--preset NAME -o FILE [flags]',
  positionals: [0, 0],
  flags: {
    preset: {
      names: ['--preset'],
      type: 'choice',
      choices: ['smollm2-135m', 'smollm2-360m', 'qwen2.5-0.5b', 'llama-3.2-1b', 'llama-3-8b'],
      help: 'the geometry',
    },
    out: { names: ['-o', '--out'], type: 'string', value: 'FILE', help: 'where to write it' },
    bits: { names: ['--bits'], type: 'number', min: 1, max: 7, value: 'B', help: 'entropy of the integers, bits per weight; 3.2' },
    layers: { names: ['--layers'], type: 'integer', min: 1, max: 1024, help: "another number of layers than the geometry's" },
    seed: { names: ['--seed'], type: 'integer', min: 0, max: 4294967295, help: 'the same seed gives the same file; 1' },
  },
  run,
};

/**
 * @param {import('./args.js').Args} args
 * @param {AbortSignal} signal
 */
async function run({ values }, signal) {
  if (values.preset === undefined) throw usageError('--preset NAME is required.');
  if (values.out === undefined) throw usageError('-o FILE is required.');
  checkOutput(values.out, '-o');
  const line = new StatusLine(!values.json);
  const args = ['synth', '--preset', values.preset, '-o', resolve(values.out), '--progress', 'json'];
  for (const [name, value] of Object.entries({ '--bits': values.bits, '--layers': values.layers, '--seed': values.seed }))
    if (value !== undefined) args.push(name, String(value));
  const report = await runPack(args, { signal, onProgress: packProgress(line) });
  line.clear();
  if (values.json) return printJson(report);
  process.stdout.write(
    `${values.out}: ${formatBytes(report.file_bytes)}, ${(report.parameters / 1e6).toFixed(0)}M parameters, ` +
      `${report.bits_per_weight.toFixed(3)} bits per weight (entropy ${report.entropy.toFixed(3)}, sigma ${report.sigma.toFixed(3)})\n`,
  );
}
