/** turns.js: gives the event loop its turns during long work, so that signals and timers are heard. */
import { yieldToEvents } from '#platform';

import { throwIfAborted } from './errors.js';

/** The event loop gets a turn at least this often while the model works. */
const TURN_MS = 8;

export class Turns {
  #last = performance.now();
  /** @param {AbortSignal | undefined} signal */
  constructor(signal) {
    this.signal = signal;
  }

  async maybe() {
    throwIfAborted(this.signal);
    if (performance.now() - this.#last < TURN_MS) return;
    await yieldToEvents();
    this.#last = performance.now();
    throwIfAborted(this.signal);
  }
}
