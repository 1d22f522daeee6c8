/**
 * protocol.js: the messages between a page (connection.js) and its worker (tansy-worker.js).
 *
 * The page asks, the worker answers; every message carries the id of its call.
 *
 *   page → worker   { id, method, args }            a call
 *                   { id, cancel: true }            stop that call
 *                   { id, ... }                     the answer to `pull`
 *   worker → page   { id, result } | { id, error }  ends the call
 *                   { id, event, value }            any number before that: progress, text
 *                   { id, pull: true }              waits for one answer
 *
 * load() pulls the chunks of a ReadableStream one by one (not every browser can transfer a stream): the answers are
 * { chunk }, { end: true } or { failure }. generate() pulls every so often to wait until the page has taken the text
 * that was sent: the worker is never far ahead of a loop that is slow or about to end.
 */

import { TansyError } from '../js/errors.js';

/**
 * What load() and canRun() take, as a message can carry it.
 * @typedef {{ url: string } | { blob: Blob } | { stream: true }} SourceMessage
 */

/**
 * @typedef {object} ErrorMessage
 * @property {string} name
 * @property {string} message
 * @property {import('../js/errors.js').TansyErrorCode} [code]
 * @property {Record<string, unknown>} [details]
 * @property {string} [stack]
 */

/**
 * @param {unknown} error
 * @returns {ErrorMessage}
 */
export function errorToMessage(error) {
  if (error instanceof TansyError) return { name: error.name, message: error.message, code: error.code, details: error.details };
  // Not one of ours: a bug, or a trap in the module. Its own words, and where it arose.
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, message, stack };
}

/**
 * @param {ErrorMessage} message
 * @returns {Error}
 */
export function errorFromMessage({ name, message, code, details, stack }) {
  if (code !== undefined) return new TansyError(code, message, details);
  const error = new Error(message);
  error.name = name;
  if (stack !== undefined) error.stack = stack;
  return error;
}

/**
 * Answers a worker that pulls a stream.
 * @param {ReadableStreamDefaultReader<Uint8Array>} reader
 * @returns {Promise<{ chunk: Uint8Array } | { end: true } | { failure: string }>}
 */
export async function nextChunk(reader) {
  try {
    const { value, done } = await reader.read();
    // Copied, not transferred: the bytes may be a view of a buffer that the stream's maker still uses.
    return done ? { end: true } : { chunk: value };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Relative to the page, not to the worker's script.
 * @param {string | URL} text
 */
export function absolute(text) {
  const base = globalThis.document?.baseURI;
  if (text === '' || !URL.canParse(text, base)) throw new TansyError('TANSY_SOURCE', `"${text}" is no address. Check it for slips.`);
  return new URL(text, base).href;
}

/**
 * The page's side: what the caller gave, as something a message can carry, and the stream that stays in the page.
 * Bytes become a Blob: the browser then holds them, and the worker reads ranges of it straight into the wasm heap
 * without a second copy on any JavaScript heap.
 * @param {unknown} source
 * @returns {{ message: SourceMessage, stream: ReadableStream<Uint8Array> | null }}
 */
export function sourceToMessage(source) {
  if (typeof source === 'string' || source instanceof URL) return { message: { url: absolute(source) }, stream: null };
  if (source instanceof Blob) return { message: { blob: source }, stream: null };
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    return { message: { blob: new Blob([/** @type {BlobPart} */ (source)]) }, stream: null };
  }
  if (source instanceof ReadableStream && source.locked) throw new TansyError('TANSY_SOURCE', 'The stream is locked: somebody else reads it already.');
  if (source instanceof ReadableStream) return { message: { stream: true }, stream: source };
  throw new TansyError(
    'TANSY_SOURCE',
    'A model is loaded from a URL, a File or Blob, an ArrayBuffer or typed array, or a ReadableStream of bytes; ' +
      `this is ${source === null ? 'null' : typeof source}.`,
  );
}
