/**
 * source.js: where a model's bytes come from. Everything that load() takes becomes a Source; a Source can also be written
 * by hand (the browser cache is one) and passed to load() as it is.
 */
import { openPath } from '#platform';

import { TansyError, throwIfAborted } from './errors.js';
import { HttpSource } from './http_source.js';

/**
 * @typedef {object} Source
 * @property {string} name for messages
 * @property {number | undefined} size bytes; may be unknown until the first read has begun, or for ever
 * @property {boolean} sequential true: reading backwards or side by side is dear or impossible. May change with the first read
 * @property {boolean} rereadable false: every byte is there only once
 * @property {(offset: number, nbytes: number, signal?: AbortSignal) => AsyncIterable<Uint8Array>} read yields exactly nbytes bytes in
 *   pieces, fewer only where the source ends. A piece may be reused by the source after the next one was asked for
 * @property {() => Promise<void>} close
 * @property {() => Promise<Source>} [reopen] the same file once more, after close(); without it the model cannot change its memory
 */

/**
 * What load() takes.
 * @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array> | Source} SourceInput
 * A string is a URL, or in Node a path.
 */

/** Pieces handed on at a time by sources that could give everything at once; keeps the loop able to stop. */
const PIECE_NBYTES = 1 << 18;

/**
 * @param {SourceInput} input
 * @param {import('./http_source.js').RetryOptions} [retry]
 * @returns {Promise<Source>}
 */
export async function openSource(input, retry) {
  if (typeof input === 'string' || input instanceof URL) {
    const url = asUrl(input);
    if (url === undefined && input === '') throw new TansyError('TANSY_SOURCE', 'The address of the model is empty. Give a URL, or a path in Node.');
    if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:')) return new HttpSource(url, retry);
    if (url !== undefined && (url.protocol === 'blob:' || url.protocol === 'data:')) return new HttpSource(url, retry);
    if (url !== undefined && url.protocol !== 'file:') throw new TansyError('TANSY_SOURCE', `${url.href} cannot be read: use http:, https: or file: addresses.`);
    return openPath(input);
  }
  if (input instanceof Blob) return new BlobSource(input);
  if (input instanceof ArrayBuffer || ArrayBuffer.isView(input)) return new BytesSource(bytesOf(input));
  if (typeof ReadableStream !== 'undefined' && input instanceof ReadableStream) return new StreamSource(input);
  if (input !== null && typeof input === 'object' && typeof (/** @type {Source} */ (input).read) === 'function') return /** @type {Source} */ (input);
  throw new TansyError(
    'TANSY_SOURCE',
    `A model is loaded from a URL, a path (in Node), a File or Blob, an ArrayBuffer or typed array, or a ReadableStream of bytes; got ${input === null ? 'null' : typeof input}.`,
  );
}

/**
 * @param {string | URL} input
 * @returns {URL | undefined} undefined for a plain path
 */
function asUrl(input) {
  if (input instanceof URL) return input;
  /* two letters at least: C:\models is a path */
  const absolute = /^[a-z][a-z0-9+.-]+:/i.test(input);
  const base = globalThis.location?.href;
  if (!absolute && base === undefined) return undefined;
  if (!URL.canParse(input, base)) throw new TansyError('TANSY_SOURCE', `"${input}" is no address. Check it for slips.`);
  return new URL(input, base);
}

/** @param {ArrayBuffer | ArrayBufferView} input */
function bytesOf(input) {
  if (input.byteLength === 0) return new Uint8Array(0); /* perhaps a buffer that was given away: there can be no view of it */
  return ArrayBuffer.isView(input) ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength) : new Uint8Array(input);
}

/** @implements {Source} */
class BytesSource {
  sequential = false;
  rereadable = true;
  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.name = 'the given bytes';
    this.bytes = bytes;
    this.size = bytes.length;
  }
  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   */
  async *read(offset, nbytes, signal) {
    const end = Math.min(offset + nbytes, this.size);
    for (let at = offset; at < end; at += PIECE_NBYTES) {
      throwIfAborted(signal);
      yield this.bytes.subarray(at, Math.min(at + PIECE_NBYTES, end));
    }
  }
  async close() {}
}

/** @implements {Source} */
class BlobSource {
  sequential = false;
  rereadable = true;
  /** @param {Blob} blob */
  constructor(blob) {
    const named = /** @type {Blob & {name?: string}} */ (blob);
    this.name = named.name ?? 'the given Blob';
    this.blob = blob;
    this.size = blob.size;
  }
  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   */
  async *read(offset, nbytes, signal) {
    const end = Math.min(offset + nbytes, this.size);
    for (let at = offset; at < end; at += PIECE_NBYTES) {
      throwIfAborted(signal);
      try {
        yield new Uint8Array(await this.blob.slice(at, Math.min(at + PIECE_NBYTES, end)).arrayBuffer());
      } catch (error) {
        throw new TansyError('TANSY_SOURCE', `${this.name} cannot be read any more; was the file changed or removed? Choose it again.`, {}, error);
      }
    }
  }
  async close() {}
}

/**
 * A stream gives every byte once, in order.
 * @implements {Source}
 */
class StreamSource {
  name = 'the given stream';
  sequential = true;
  rereadable = false;
  size = undefined;
  #reader;
  #position = 0;
  /** bytes that came with the last piece but were not asked for yet
   * @type {Uint8Array} */
  #rest = new Uint8Array(0);

  /** @param {ReadableStream<Uint8Array>} stream */
  constructor(stream) {
    if (stream.locked) throw new TansyError('TANSY_SOURCE', 'The stream is locked: somebody else reads it already.');
    this.#reader = stream.getReader();
  }
  /**
   * @param {number} offset
   * @param {number} nbytes
   * @param {AbortSignal} [signal]
   * @returns {AsyncGenerator<Uint8Array>}
   */
  async *read(offset, nbytes, signal) {
    if (offset !== this.#position) throw new TansyError('TANSY_SOURCE', 'A stream can be read only once, from its start.');
    const stop = () => void this.#reader.cancel(signal?.reason).catch(() => {});
    signal?.addEventListener('abort', stop, { once: true });
    try {
      while (nbytes > 0) {
        throwIfAborted(signal);
        if (this.#rest.length === 0) {
          const { value, done } = await this.#next();
          throwIfAborted(signal);
          if (done) return;
          this.#rest = asBytes(value);
          continue;
        }
        const piece = this.#rest.subarray(0, nbytes);
        this.#rest = this.#rest.subarray(piece.length);
        this.#position += piece.length;
        nbytes -= piece.length;
        yield piece;
      }
    } finally {
      signal?.removeEventListener('abort', stop);
    }
  }
  async #next() {
    try {
      return await this.#reader.read();
    } catch (error) {
      if (error instanceof TansyError) throw error;
      throw new TansyError('TANSY_SOURCE', `The stream failed: ${error instanceof Error ? error.message : String(error)}`, {}, error);
    }
  }
  async close() {
    await this.#reader.cancel().catch(() => {});
  }
}

/**
 * @param {unknown} value
 * @returns {Uint8Array}
 */
function asBytes(value) {
  if (value instanceof Uint8Array) return value;
  throw new TansyError('TANSY_SOURCE', `The stream must give Uint8Array pieces; it gave ${value === null ? 'null' : typeof value}.`);
}
