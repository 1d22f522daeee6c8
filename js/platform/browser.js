/** platform/browser.js: what only a browser can do; counterpart of node.js. */
import { TansyError } from '../errors.js';

/**
 * @param {string | URL} path
 * @returns {Promise<import('../source.js').Source>}
 */
export async function openPath(path) {
  throw new TansyError('TANSY_SOURCE', `${path} cannot be opened in a browser: give an http(s) URL, or a File the user chose.`);
}

/**
 * @param {URL} url
 * @param {AbortSignal} [signal]
 * @returns {Promise<WebAssembly.Module>}
 */
export async function compileUrl(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  /* compileStreaming insists on the MIME type, which many servers get wrong */
  if (response.headers.get('content-type')?.startsWith('application/wasm')) return WebAssembly.compileStreaming(response);
  return WebAssembly.compile(await response.arrayBuffer());
}

/**
 * @param {string} text
 * @returns {URL}
 */
export function resolveUrl(text) {
  return new URL(text, globalThis.location?.href);
}

/** @type {(() => void)[]} */
const waiting = [];
/** @type {MessageChannel | undefined} */
let channel;

/**
 * Without a limit here: this runs in a worker, which the page ends with dispose().
 * @template T
 * @param {number} _ms
 * @param {() => T} work
 * @param {() => Error} _late
 * @returns {T}
 */
export function withTimeLimit(_ms, work, _late) {
  return work();
}

/** Lets events and abort signals have their turn. A message is a macrotask without setTimeout's 4 ms. */
export function yieldToEvents() {
  if (channel === undefined) {
    channel = new MessageChannel();
    channel.port1.onmessage = () => waiting.shift()?.();
  }
  const { port2 } = channel;
  return new Promise((resolve) => {
    waiting.push(() => resolve(undefined));
    port2.postMessage(0);
  });
}

/**
 * Bytes that a model may take when nobody names a budget. Browsers tell the memory of the device roughly (up to 8 or 32 GB), or not at all.
 * @param {{deviceMemory?: number, userAgentData?: {mobile: boolean}, userAgent?: string}} device
 */
export function memoryLimit(device = navigator) {
  const { deviceMemory, userAgentData, userAgent = '' } = device;
  const isPhone = userAgentData?.mobile ?? /Mobi|Android|iPhone|iPad/.test(userAgent);
  /* a phone ends a page that takes much */
  if (deviceMemory === undefined) return isPhone ? 384 << 20 : 2 ** 30;
  return (deviceMemory * 2 ** 30) / (isPhone ? 8 : 4);
}

export function nCores() {
  return navigator.hardwareConcurrency ?? 1;
}

/** @returns {string | undefined} why there can be no threads */
export function threadHindrance() {
  if (typeof SharedArrayBuffer === 'undefined' || !globalThis.crossOriginIsolated)
    return 'the page is not cross-origin isolated (send Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp)';
  if (typeof document !== 'undefined') return 'a page may not wait for threads; load the model in a worker';
  return undefined;
}

/** @param {import('../thread.js').ThreadJob} job */
export function startThread(job) {
  /* bundlers find the worker by this very expression */
  const worker = new Worker(new URL('./browser_thread.js', import.meta.url), { type: 'module', name: 'tansy-thread' });
  worker.onerror = (event) => {
    event.preventDefault();
    console.warn(`tansy lost a thread: ${event.message ?? 'its script could not be loaded'}`);
  };
  worker.postMessage(job);
  return { stop: () => worker.terminate() };
}
