/** stream.js: what `stream: true` gives: chunks as they come, with OpenAI's `controller`. */
import { TansyError } from '../errors.js';

/**
 * @template T
 * @implements {AsyncIterable<T>}
 */
export class ChunkStream {
  #iterator;
  /** aborting it ends the stream quietly; the work stops */
  controller = new AbortController();

  /**
   * @param {(signal: AbortSignal) => AsyncGenerator<T, void, void>} start
   * @param {AbortSignal} [callerSignal] aborting it makes the stream throw
   */
  constructor(start, callerSignal) {
    const own = this.controller.signal;
    this.#iterator = quiet(start(callerSignal ? AbortSignal.any([callerSignal, own]) : own), own);
  }

  [Symbol.asyncIterator]() {
    return this.#iterator;
  }

  /** The chunks as lines of JSON. @returns {ReadableStream<Uint8Array>} */
  toReadableStream() {
    const iterator = this.#iterator;
    const utf8 = new TextEncoder();
    return new ReadableStream({
      async pull(controller) {
        const { value, done } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(utf8.encode(`${JSON.stringify(value)}\n`));
      },
      async cancel() {
        await iterator.return();
      },
    });
  }
}

/**
 * @template T
 * @param {AsyncGenerator<T, void, void>} chunks
 * @param {AbortSignal} own
 * @returns {AsyncGenerator<T, void, void>}
 */
async function* quiet(chunks, own) {
  try {
    yield* chunks;
  } catch (error) {
    if (!(own.aborted && error instanceof TansyError && error.code === 'TANSY_ABORTED')) throw error;
  }
}
