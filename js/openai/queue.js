/** queue.js: requests of one model run one after the other. */
import { throwIfAborted, abortError } from '../errors.js';

export class Queue {
  /** @type {(() => void)[]} */
  #waiting = [];
  #busy = false;

  /** Requests that wait. */
  get length() {
    return this.#waiting.length;
  }

  /**
   * @param {AbortSignal | undefined} signal leaves the queue
   * @returns {Promise<() => void>} to be called when done; twice is fine
   */
  async enter(signal) {
    throwIfAborted(signal);
    if (this.#busy) {
      await new Promise((resolve, reject) => {
        const turn = () => {
          signal?.removeEventListener('abort', leave);
          resolve(undefined);
        };
        const leave = () => {
          this.#waiting.splice(this.#waiting.indexOf(turn), 1);
          reject(abortError(/** @type {AbortSignal} */ (signal)));
        };
        signal?.addEventListener('abort', leave, { once: true });
        this.#waiting.push(turn);
      });
    }
    this.#busy = true;
    let done = false;
    return () => {
      if (done) return;
      done = true;
      const next = this.#waiting.shift();
      /* stays busy when handed on: nobody slips in between */
      if (next) next();
      else this.#busy = false;
    };
  }
}
