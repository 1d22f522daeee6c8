/** arrival.js: news of chunks, for a model that begins while its weights are still coming. */
import { abortError, throwIfAborted } from './errors.js';

export class Arrival {
  /** @type {Set<() => void>} */
  #waiting = new Set();
  #over = false;
  /** @type {unknown} */
  #failure = undefined;

  /** Something came. */
  wake() {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** Nothing more comes. @param {unknown} [failure] why not everything did */
  end(failure) {
    this.#over = true;
    this.#failure = failure;
    this.wake();
  }

  /**
   * Waits for the next news.
   * @param {AbortSignal} [signal]
   * @returns {Promise<boolean>} false: everything is there
   */
  async next(signal) {
    throwIfAborted(signal);
    if (!this.#over) {
      let stop = () => {};
      await new Promise((resolve, reject) => {
        this.#waiting.add(() => resolve(undefined));
        stop = () => reject(abortError(/** @type {AbortSignal} */ (signal)));
        signal?.addEventListener('abort', stop, { once: true });
      }).finally(() => signal?.removeEventListener('abort', stop));
      if (!this.#over) return true;
    }
    if (this.#failure !== undefined) throw this.#failure;
    return false;
  }
}
