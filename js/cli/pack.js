/**
 * pack.js: runs tansy-pack, the compressor: the native program where it was built, else the WASI module under Node.
 *
 * tansy-pack prints one JSON object, progress goes to stderr as JSON lines. TANSY_PACK=native, wasi or a path
 * decides which one runs.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { TansyError, abortError } from '../errors.js';
import { printable } from './output.js';

const NATIVE = fileURLToPath(new URL('../../build/native/tansy-pack', import.meta.url));
const MODULE = fileURLToPath(new URL('../../dist/tansy-pack.wasm', import.meta.url));
const WASI_RUNNER = fileURLToPath(new URL('./run_wasi.js', import.meta.url));

/**
 * @typedef {object} PackProgress
 * @property {string} [stage]
 * @property {string} [detail]
 * @property {number} [fraction] 0…1
 * @property {number} [left] seconds
 * @property {string} [warning]
 */

/** @returns {{kind: 'native' | 'wasi', program: string, args: string[]}} */
export function findPack() {
  const wanted = process.env.TANSY_PACK || undefined;
  if (wanted !== undefined && wanted !== 'native' && wanted !== 'wasi') {
    if (existsSync(wanted)) return { kind: 'native', program: wanted, args: [] };
    throw new TansyError('TANSY_USAGE', `TANSY_PACK must be native, wasi or the path of tansy-pack; it is "${wanted}".`);
  }
  if (wanted !== 'wasi' && existsSync(NATIVE)) return { kind: 'native', program: NATIVE, args: [] };
  if (wanted !== 'native' && existsSync(MODULE)) return { kind: 'wasi', program: process.execPath, args: ['--no-warnings', WASI_RUNNER, MODULE] };
  throw new TansyError('TANSY_PACK', `The compressor is not built (${wanted === 'native' ? NATIVE : MODULE} is missing); run \`npm run build\`.`);
}

/** Threads that tansy-pack can use. */
export function packThreads() {
  return findPack().kind === 'native' ? availableParallelism() : 1;
}

/**
 * @param {string[]} args
 * @param {{signal?: AbortSignal, onProgress?: (progress: PackProgress) => void}} [options]
 * @returns {Promise<any>} what it printed
 */
export async function runPack(args, { signal, onProgress } = {}) {
  if (signal?.aborted) throw abortError(signal);
  const { program, args: before } = findPack();
  const child = spawn(program, [...before, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => child.kill('SIGTERM');
  signal?.addEventListener('abort', stop, { once: true });
  let stdout = '';
  let stderr = '';
  child.stdout.setEncoding('utf8').on('data', (text) => (stdout += text));
  let line = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    const lines = (line + text).split('\n');
    line = lines.pop() ?? '';
    for (const full of lines) {
      const progress = parseProgress(full);
      if (progress === undefined) stderr += `${full}\n`;
      else onProgress?.(progress);
    }
  });
  /** @type {{code: number | null, how: string | null}} */
  const end = await new Promise((resolve, reject) => {
    child.on('error', (error) => reject(new TansyError('TANSY_PACK', `The compressor ${program} could not be started: ${error.message}`, {}, error)));
    child.on('close', (code, how) => resolve({ code, how }));
  }).finally(() => signal?.removeEventListener('abort', stop));
  if (signal?.aborted) throw abortError(signal);
  const how = end.how === null ? `ended with status ${end.code}` : `was ended by ${end.how}`;
  let answer;
  try {
    answer = JSON.parse(stdout);
  } catch {
    throw new TansyError('TANSY_PACK', `The compressor ${how} without an answer. ${(stderr + line).trim()}`.trim());
  }
  if (answer.error !== undefined) throw new TansyError(/** @type {any} */ (`TANSY_${answer.error.code}`), sentence(answer.error.message));
  if (end.code !== 0) throw new TansyError('TANSY_PACK', `The compressor ${how}. ${(stderr + line).trim()}`.trim());
  return answer;
}

/**
 * @param {string} line
 * @returns {PackProgress | undefined}
 */
function parseProgress(line) {
  if (!line.startsWith('{')) return undefined;
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** @param {string} text */
function sentence(text) {
  if (text === '') return 'The compressor failed.';
  const begin = /^[a-z]+ /.test(text) ? text[0].toUpperCase() + text.slice(1) : text; // names of files and flags stay as they are
  return begin + (/[.!?]$/.test(text) ? '' : '.');
}

/**
 * Runs `body` with a folder for files that only live as long.
 * @template T
 * @param {(write: (name: string, bytes: Uint8Array) => Promise<string>) => Promise<T>} body
 * @returns {Promise<T>}
 */
export async function withTemporaryFiles(body) {
  const folder = await mkdtemp(join(tmpdir(), 'tansy-'));
  try {
    return await body(async (name, bytes) => {
      const path = join(folder, name);
      await writeFile(path, bytes);
      return path;
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * Token ids as tansy-pack reads them: u16, or u32 for large vocabularies.
 * @param {readonly number[]} ids
 * @param {number} vocab
 * @returns {Uint8Array}
 */
export function idsToBytes(ids, vocab) {
  const width = vocab <= 65536 ? 2 : 4;
  const bytes = new Uint8Array(ids.length * width);
  const view = new DataView(bytes.buffer);
  ids.forEach((id, i) => (width === 2 ? view.setUint16(i * 2, id, true) : view.setUint32(i * 4, id, true)));
  return bytes;
}

/**
 * Progress of tansy-pack as a status line; warnings stay.
 * @param {import('./output.js').StatusLine} line
 * @returns {(progress: PackProgress) => void}
 */
export function packProgress(line) {
  return ({ stage, detail, fraction, left, warning }) => {
    if (warning !== undefined) {
      line.clear();
      process.stderr.write(`warning: ${printable(warning)}\n`);
      return;
    }
    const percent = fraction === undefined ? '' : `${(100 * fraction).toFixed(0)}% `;
    const time = left === undefined ? '' : ` (${Math.ceil(left)} s left)`;
    line.show(`${percent}${stage ?? ''}${detail === undefined ? '' : ` ${detail}`}${time}`);
  };
}
