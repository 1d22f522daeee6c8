// builds.js: what `npm test` has built, and how to run it. A missing build is a failure: it says what to run.
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { supports } from '../../../js/variants.js';

export const root = fileURLToPath(new URL('../../../', import.meta.url));
export const shared = `${root}../shared/`;
export const cliPath = `${root}js/cli/main.js`;

/** A Node that runs relaxed SIMD: this one, or the one of tests/current-node. */
export function currentNode() {
  if (supports('relaxed')) return process.execPath;
  const path = `${root}tests/current-node/node_modules/node-${process.platform}-${process.arch}/bin/node`;
  if (!existsSync(path)) throw new Error(`${path} is missing: run \`npm ci --prefix tests/current-node\``);
  return path;
}

/** @typedef {{name: string, wasm: string, node: () => string, threads?: number}} Build */

/** @type {Build[]} */
export const builds = [
  { name: 'simd128', wasm: `${root}dist/tansy-simd128.wasm`, node: () => process.execPath },
  { name: 'relaxed', wasm: `${root}dist/tansy-relaxed.wasm`, node: currentNode },
  { name: 'simd128, three threads', wasm: `${root}dist/tansy-simd128-threads.wasm`, node: () => process.execPath, threads: 3 },
  { name: 'relaxed, two threads', wasm: `${root}dist/tansy-relaxed-threads.wasm`, node: currentNode, threads: 2 },
  { name: 'emscripten', wasm: `${root}build/emscripten/tansy-emscripten.wasm`, node: () => process.execPath },
];

export const nativeRunner = `${root}build/native/tests/tansy-run`;

/** @param {string} path */
export function built(path) {
  if (!existsSync(path)) throw new Error(`${path} is not built: run \`npm test\`, or build it`);
  return path;
}

const exec = promisify(execFile);

/**
 * Runs a program; never throws for its exit status.
 * @param {string} program
 * @param {string[]} args
 * @param {{env?: Record<string, string>, signal?: AbortSignal}} [options]
 * @returns {Promise<{status: number, stdout: string, stderr: string}>}
 */
export async function runProgram(program, args, { env = {}, signal } = {}) {
  try {
    const { stdout, stderr } = await exec(program, args, { cwd: root, env: { ...process.env, ...env }, maxBuffer: 1 << 28, signal });
    return { status: 0, stdout, stderr };
  } catch (error) {
    const { code, stdout = '', stderr = '' } = /** @type {any} */ (error);
    if (typeof code !== 'number') throw error;
    return { status: code, stdout, stderr };
  }
}

/** The command line. @param {string[]} args @param {{env?: Record<string, string>, node?: string}} [options] */
export function tansy(args, { env, node = process.execPath } = {}) {
  return runProgram(node, [cliPath, ...args], { env });
}

/** The command line with --json, which must succeed. @param {string[]} args @param {{env?: Record<string, string>, node?: string}} [options] */
export async function tansyJson(args, options) {
  const { status, stdout, stderr } = await tansy([...args, '--json'], options);
  if (status !== 0) throw new Error(`tansy ${args.join(' ')} ended with ${status}: ${stderr}`);
  return JSON.parse(stdout);
}

/**
 * A folder of ../shared, or undefined with a word about it.
 * @param {import('node:test').TestContext} t
 * @param {string} path
 */
export function sharedPath(t, path) {
  if (existsSync(shared + path)) return shared + path;
  t.skip(`SKIPPED: ../shared/${path} is not on this machine`);
  return undefined;
}
