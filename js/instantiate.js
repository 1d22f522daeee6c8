/**
 * instantiate.js: from a URL to running exports, by hand.
 *
 * A module imports one thing, its memory, and exports what wasm/exports.txt names.
 */
import { compileUrl, resolveUrl } from '#platform';

import { ABI_VERSION, PAGE_NBYTES } from './abi.js';
import { TansyError, abortError, throwIfAborted } from './errors.js';
import { pickVariant } from './variants.js';

/** @typedef {import('./variants.js').Variant} Variant */
/** @typedef {Record<string, (...args: number[]) => number>} Exports */

/**
 * Bundlers find the modules by these very expressions.
 * @param {Variant} variant
 * @param {boolean} threaded
 */
function defaultUrl(variant, threaded) {
  if (threaded)
    return variant === 'relaxed'
      ? new URL('../dist/tansy-relaxed-threads.wasm', import.meta.url)
      : new URL('../dist/tansy-simd128-threads.wasm', import.meta.url);
  return variant === 'relaxed' ? new URL('../dist/tansy-relaxed.wasm', import.meta.url) : new URL('../dist/tansy-simd128.wasm', import.meta.url);
}

/** Compiled modules by address, so that canRun() and load() share one.
 * @type {Map<string, Promise<WebAssembly.Module>>} */
const compiled = new Map();

/**
 * @param {import('./options.js').LoadOptions['wasmUrl']} wasm a module, its bytes, its address, or a folder (ending in `/`) of modules
 * @param {string | undefined} variant
 * @param {boolean} threaded the module with threads, where it is ours to choose
 * @param {AbortSignal} [signal]
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compileModule(wasm, variant, threaded, signal) {
  if (variant !== undefined && variant !== 'simd128' && variant !== 'relaxed')
    throw new TansyError('TANSY_OPTION', `variant must be "simd128" or "relaxed"; got ${JSON.stringify(variant)}.`);
  if (wasm instanceof WebAssembly.Module) return wasm;
  if (wasm instanceof ArrayBuffer || ArrayBuffer.isView(wasm)) return WebAssembly.compile(wasm).catch((error) => Promise.reject(wasmError('the given bytes', error)));
  let url;
  if (wasm === undefined) url = defaultUrl(variant ?? pickVariant(), threaded);
  else {
    try {
      url = wasm instanceof URL ? wasm : resolveUrl(String(wasm));
    } catch (error) {
      throw wasmError(String(wasm), error);
    }
    if (url.pathname.endsWith('/')) url = new URL(`tansy-${variant ?? pickVariant()}${threaded ? '-threads' : ''}.wasm`, url);
  }
  const key = url.href;
  let promise = compiled.get(key);
  if (promise === undefined) {
    /* the signal is left out: somebody else may wait for the same module */
    promise = compileUrl(url);
    compiled.set(key, promise);
    promise.catch(() => compiled.delete(key));
  }
  let stop = () => {};
  const aborted = new Promise((_, reject) => {
    /* who comes next asks anew: this answer may never come */
    stop = () => void (compiled.delete(key), reject(abortError(/** @type {AbortSignal} */ (signal))));
    signal?.addEventListener('abort', stop, { once: true });
  });
  try {
    throwIfAborted(signal);
    return await Promise.race([promise, aborted]);
  } catch (error) {
    throw error instanceof TansyError ? error : wasmError(key, error);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/**
 * @param {string} where
 * @param {unknown} error
 */
function wasmError(where, error) {
  const reason = error instanceof Error ? error.message : String(error);
  return new TansyError('TANSY_WASM', `The WebAssembly module ${where} could not be loaded (${reason}); build it, or say where it is with wasmUrl.`, { url: where }, error);
}

/**
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} memory
 * @returns {Promise<Exports>}
 */
export async function instantiate(module, memory) {
  let exports;
  try {
    const instance = await WebAssembly.instantiate(module, { env: { memory } });
    exports = /** @type {Exports} */ (/** @type {unknown} */ (instance.exports));
    exports._initialize?.();
  } catch (error) {
    throw wasmError('of the engine', error);
  }
  const version = exports.tansy_abi_version?.();
  if (version !== ABI_VERSION)
    throw new TansyError('TANSY_WASM', `The WebAssembly module speaks interface version ${version}, this package ${ABI_VERSION}; take both from the same release.`);
  return exports;
}

/**
 * A memory that grows to a number of pages and no further.
 * @param {number} nPages at first
 * @param {number} maxPages
 * @param {boolean} shared
 * @returns {WebAssembly.Memory}
 */
export function boundedMemory(nPages, maxPages, shared) {
  try {
    return new WebAssembly.Memory({ initial: nPages, maximum: maxPages, shared });
  } catch (error) {
    throw memoryError(nPages * PAGE_NBYTES, error);
  }
}

/**
 * @param {WebAssembly.Memory} memory
 * @param {number} nbytes it must have
 */
export function growMemory(memory, nbytes) {
  const missing = nbytes - memory.buffer.byteLength;
  if (missing <= 0) return;
  try {
    memory.grow(Math.ceil(missing / PAGE_NBYTES));
  } catch (error) {
    throw memoryError(nbytes, error);
  }
}

/**
 * @param {number} nbytes
 * @param {unknown} cause
 */
function memoryError(nbytes, cause) {
  return new TansyError(
    'TANSY_NO_MEMORY',
    `The engine's memory of ${nbytes} bytes could not be allocated; use a smaller memoryBudget or contextSize, or close other pages.`,
    { bytesNeeded: nbytes },
    cause,
  );
}
