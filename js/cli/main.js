#!/usr/bin/env node
/**
 * main.js: the command `tansy`. Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
 */
import { readFileSync } from 'node:fs';

import { TansyError } from '../errors.js';
import { nearest } from '../units.js';
import { helpText, parseArgs, usageError } from './args.js';
import { printable } from './output.js';

/** Loaded when used: `tansy run` need not parse the server. */
const COMMANDS = Object.freeze({
  compress: () => import('./compress.js'),
  run: () => import('./run.js'),
  inspect: () => import('./inspect.js'),
  eval: () => import('./eval.js'),
  bench: () => import('./bench.js'),
  serve: () => import('./serve.js'),
  synth: () => import('./synth.js'),
});

const OVERVIEW = `tansy: language models from ANS-compressed weights, in a small WebAssembly heap

  tansy run -m FILE_OR_URL -p PROMPT    continue a text
  tansy compress IN -o FILE             make a .tansy file of a Hugging Face checkpoint or a .gguf file
  tansy inspect FILE                    what is in a file, and what its weights cost
  tansy eval -m FILE --text FILE        perplexity, accuracy, bits per weight
  tansy bench -m FILE_OR_URL            speed and memory
  tansy serve FILE                      the demo page and the model on a local port
  tansy synth --preset NAME -o FILE     random weights of a known geometry, to measure with

\`tansy COMMAND --help\` lists the flags of a command. \`tansy --version\` says which release this is.
`;

/**
 * @param {string[]} argv
 * @param {AbortSignal} signal
 */
async function main(argv, signal) {
  const [name, ...rest] = argv;
  if (name === undefined) {
    process.stderr.write(OVERVIEW);
    process.exitCode = 2;
    return;
  }
  if (name === 'help' && rest.length > 0) return main([rest[0], '--help'], signal);
  if (name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(OVERVIEW);
    return;
  }
  if (name === '--version' || name === '-V') {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    process.stdout.write(`${version}\n`);
    return;
  }
  if (!Object.hasOwn(COMMANDS, name)) {
    const guess = nearest(name, Object.keys(COMMANDS));
    throw usageError(`unknown command "${name}"${guess === undefined ? `; there are ${Object.keys(COMMANDS).join(', ')}` : `; did you mean "${guess}"?`}`);
  }
  const { command } = await COMMANDS[/** @type {keyof typeof COMMANDS} */ (name)]();
  const args = parseArgs(command, rest);
  if (args.values.help) {
    process.stdout.write(helpText(command));
    return;
  }
  await command.run(args, signal);
}

/** A sentence of the library, with its options as this program's flags. @param {string} words */
function inFlags(words) {
  return words.replace(/\bmemoryBudget\b/g, '--memory').replace(/\bcontextSize\b/g, '--ctx-size').replace(/\bwasmUrl\b/g, '--wasm').replace('Use generate() with a prompt, or pass a chat_template.', 'Leave --chat out.');
}

const controller = new AbortController();
process.once('SIGINT', () => controller.abort());
process.once('SIGTERM', () => controller.abort());
/* `tansy run … | head` is no failure */
process.stdout.on('error', (error) => {
  if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EPIPE') process.exit(0);
  throw error;
});

const argv = process.argv.slice(2);
try {
  await main(argv, controller.signal);
} catch (error) {
  const { code, message: words, details } = error instanceof TansyError ? error : { code: undefined, message: String(/** @type {Error} */ (error)?.stack ?? error), details: {} };
  const message = inFlags(words);
  if (code === 'TANSY_ABORTED') {
    process.exitCode = 130;
  } else {
    process.exitCode = code === 'TANSY_USAGE' || code === 'TANSY_OPTION' || code === 'TANSY_ARGUMENT' ? 2 : 1;
    if (argv.includes('--json')) process.stdout.write(`${JSON.stringify({ error: { code: code ?? 'TANSY_INTERNAL', message, ...details } })}\n`);
    process.stderr.write(`tansy: ${printable(message)}${code === undefined ? '' : ` [${code}]`}\n`);
  }
}
