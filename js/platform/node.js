/** platform/node.js: what only Node can do. package.json's `imports` picks this file or browser.js as `#platform`. */
import { open, readFile } from 'node:fs/promises';
import { availableParallelism, totalmem } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Script, createContext } from 'node:vm';
import { Worker } from 'node:worker_threads';

import { TansyError, throwIfAborted } from '../errors.js';

/** @import { Source } from '../source.js' */

const PIECE_NBYTES = 1 << 18;

/**
 * @param {string | URL} path a path or a file: URL
 * @returns {Promise<import('../source.js').Source>}
 */
export async function openPath(path) {
  const name = toPath(path);
  let file;
  try {
    file = await open(name, 'r');
    const stat = await file.stat();
    if (!stat.isFile()) throw new TansyError('TANSY_NOT_FOUND', `${name} is not a file; give the .tansy file itself.`);
    return new FileSource(name, file, stat.size);
  } catch (error) {
    await file?.close();
    if (error instanceof TansyError) throw error;
    const reason = /** @type {NodeJS.ErrnoException} */ (error).code;
    if (reason === 'ENOENT' || reason === 'ENOTDIR')
      throw new TansyError('TANSY_NOT_FOUND', `There is no file ${name}; check the path.`, { path: name }, error);
    throw new TansyError('TANSY_IO', `${name} cannot be opened (${reason}); check its name and permissions.`, { path: name }, error);
  }
}

/** @implements {Source} */
class FileSource {
  sequential = false;
  rereadable = true;
  #file;
  /**
   * @param {string} name
   * @param {import('node:fs/promises').FileHandle} file
   * @param {number} size
   */
  constructor(name, file, size) {
    this.name = name;
    this.size = size;
    this.#file = file;
  }
  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   */
  async *read(offset, nbytes, signal) {
    const buffer = new Uint8Array(Math.min(PIECE_NBYTES, nbytes));
    for (let at = 0; at < nbytes; ) {
      throwIfAborted(signal);
      let bytesRead;
      try {
        ({ bytesRead } = await this.#file.read(buffer, 0, Math.min(buffer.length, nbytes - at), offset + at));
      } catch (error) {
        throw new TansyError('TANSY_IO', `Reading ${this.name} failed: ${/** @type {Error} */ (error).message}`, {}, error);
      }
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }
  async close() {
    await this.#file.close();
  }
}

/**
 * Bytes of a module; fetch() of Node does not know file: URLs.
 * @param {URL} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compileUrl(url, signal) {
  if (url.protocol === 'file:') return WebAssembly.compile(await readFile(url));
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return WebAssembly.compile(await response.arrayBuffer());
}

/**
 * A user's word for a place, as a URL.
 * @param {string} text
 * @returns {URL}
 */
export function resolveUrl(text) {
  return /^[a-z][a-z0-9+.-]+:/i.test(text) ? new URL(text) : new URL(text, `file://${process.cwd()}/`);
}

/** @type {{work: () => void}} */
const box = { work: () => {} };
const script = new Script('work()');
/** @type {import('node:vm').Context | undefined} */
let context;

/**
 * Runs what a file from a stranger tells to run (a template, a tokenizer's expressions), which may never end of itself.
 * @template T
 * @param {number} ms
 * @param {() => T} work
 * @param {() => Error} late makes the error to throw then
 * @returns {T}
 */
export function withTimeLimit(ms, work, late) {
  /** @type {T} */
  let result;
  const outer = box.work;
  box.work = () => void (result = work());
  context ??= createContext(box);
  try {
    script.runInContext(context, { timeout: ms });
  } catch (error) {
    throw /** @type {NodeJS.ErrnoException} */ (error)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT' ? late() : error;
  } finally {
    box.work = outer;
  }
  // @ts-expect-error work() has run
  return result;
}

/** Lets timers, I/O and abort signals have their turn. */
export function yieldToEvents() {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Bytes that a model may take when nobody names a budget: half of the machine's, or of what a container leaves this process. */
export function memoryLimit() {
  return Math.min(totalmem(), process.constrainedMemory?.() || Infinity) / 2;
}

export function nCores() {
  return availableParallelism();
}

/** @returns {string | undefined} why there can be no threads */
export function threadHindrance() {
  return undefined;
}

/** @param {import('../thread.js').ThreadJob} job */
export function startThread(job) {
  const worker = new Worker(new URL('./node_thread.js', import.meta.url), { workerData: job, stdin: false });
  /* a sleeping helper keeps no process alive */
  worker.unref();
  worker.on('error', (error) => console.warn(`tansy lost a thread: ${error.message}`));
  return { stop: () => worker.terminate() };
}

/** @param {string | URL} path */
function toPath(path) {
  if (path instanceof URL || path.startsWith('file:')) {
    try {
      return fileURLToPath(path);
    } catch (error) {
      throw new TansyError('TANSY_SOURCE', `${path} cannot be read: use http:, https: or file: addresses.`, {}, error);
    }
  }
  return path;
}
