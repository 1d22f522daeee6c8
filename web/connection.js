/**
 * connection.js: calls to one worker, and the certainty that each of them ends.
 *
 * A worker can go away without a word (its script is not found, it runs out of memory, the browser reclaims it).
 * Three things are watched: the `error` event, messages that cannot be read, and a Web Lock that the worker holds for
 * life, which the page gets only when the worker is gone. Whichever comes first ends every open call with
 * TANSY_WORKER.
 */

import { TansyError, abortError, throwIfAborted } from '../js/errors.js';
import { errorFromMessage } from './protocol.js';

/**
 * @typedef {object} Call
 * @property {(value: any) => void} resolve
 * @property {(error: unknown) => void} reject
 * @property {(event: string, value: any) => void} onEvent
 * @property {() => Promise<object>} onPull
 */

/**
 * @typedef {object} CallOptions
 * @property {AbortSignal} [signal]                             stops the call in the worker
 * @property {(event: string, value: any) => void} [onEvent]    what the worker sends before it answers
 * @property {() => Promise<object>} [onPull]                   answers the worker when it asks for more
 */

export class Connection {
  #worker;
  /** @type {Map<number, Call>} */
  #calls = new Map();
  #nextId = 1;
  /** @type {Error | null} why no more calls are taken */
  #closed = null;

  /**
   * @param {Worker} worker
   * @param {string} script its address, for messages
   */
  constructor(worker, script) {
    this.#worker = worker;
    worker.onmessage = (event) => this.#receive(event.data);
    worker.onmessageerror = () => this.#die('sent something this page cannot read');
    worker.onerror = (event) => {
      event.preventDefault(); // it is reported through the calls
      this.#die(
        event.message
          ? `stopped: ${event.message}`
          : `did not start. Its script ${script} must be reachable, served as JavaScript, and allowed by the Content-Security-Policy (worker-src); in a bundle, copy the package's dist/tansy-* beside it or name the script with workerUrl`,
      );
    };
  }

  /**
   * @param {string} method
   * @param {unknown} args      structured-cloneable
   * @param {CallOptions} [options]
   * @returns {Promise<any>}
   */
  async call(method, args, { signal, onEvent = () => {}, onPull = async () => ({}) } = {}) {
    if (this.#closed) throw this.#closed;
    throwIfAborted(signal);
    const id = this.#nextId++;
    const cancel = () => this.#worker.postMessage({ id, cancel: true });
    try {
      return await new Promise((resolve, reject) => {
        this.#calls.set(id, { resolve, reject, onEvent, onPull });
        signal?.addEventListener('abort', cancel, { once: true });
        try {
          this.#worker.postMessage({ id, method, args });
        } catch (error) {
          // DataCloneError: a function or the like among the options.
          reject(new TansyError('TANSY_OPTION', `An option cannot be sent to the worker: ${/** @type {Error} */ (error).message}`));
        }
      });
    } catch (error) {
      // With the caller's own reason as its cause, which the copy that travelled through the worker lost.
      const aborted = error instanceof TansyError && error.code === 'TANSY_ABORTED';
      throw aborted && signal?.aborted ? abortError(signal) : error;
    } finally {
      this.#calls.delete(id);
      signal?.removeEventListener('abort', cancel);
    }
  }

  /**
   * Ends the worker now; calls still open reject with `reason`. Closing twice is fine.
   * @param {Error} reason
   */
  close(reason) {
    if (this.#closed) return;
    this.#closed = reason;
    this.#worker.terminate();
    for (const call of this.#calls.values()) call.reject(reason);
    this.#calls.clear();
  }

  /** @param {string} how */
  #die(how) {
    this.close(new TansyError('TANSY_WORKER', `The worker that runs the model ${how}.`));
  }

  /** @param {any} message */
  #receive(message) {
    if (message.lock !== undefined) {
      this.#watch(message.lock);
      return;
    }
    const call = this.#calls.get(message.id);
    if (!call) return; // ended here already
    if (message.error) call.reject(errorFromMessage(message.error));
    else if (message.event !== undefined) {
      try {
        call.onEvent(message.event, message.value);
      } catch (error) {
        // The caller's onProgress or onToken threw: stop the work and hand the error to whoever awaits the call.
        call.reject(error);
        this.#worker.postMessage({ id: message.id, cancel: true });
      }
    } else if (message.pull) void this.#answer(message.id, call);
    else call.resolve(message.result);
  }

  /** @param {number} id @param {Call} call */
  async #answer(id, { onPull }) {
    try {
      this.#worker.postMessage({ id, ...(await onPull()) });
    } catch (error) {
      // A piece that cannot be sent: the worker would wait for it.
      this.#worker.postMessage({ id, failure: /** @type {Error} */ (error).message });
    }
  }

  /** @param {string} name */
  #watch(name) {
    navigator.locks.request(name, () => this.#die('ended without a word; it may have run out of memory')).catch(() => {});
  }
}
