/** turns.js: gives the event loop its turns during long work, so that signals and timers are heard. */
import { yieldToEvents } from '#platform';

import { throwIfAborted } from './errors.js';

/** The event loop gets a turn at least this often while the model works. */
const TURN_MS = 8;

/** When the loop had its last turn. One for all work: many short tokens starve it as one long one would. */
let last = performance.now();

export class Turns {
  /** @param {AbortSignal | undefined} signal */
  constructor(signal) {
    this.signal = signal;
  }

  /** Whether somebody waits for a turn, or nobody may wait any longer. */
  get isDue() {
    return performance.now() - last >= TURN_MS || this.signal?.aborted === true;
  }

  async maybe() {
    throwIfAborted(this.signal);
    if (!this.isDue) return;
    await yieldToEvents();
    last = performance.now();
    throwIfAborted(this.signal);
  }
}
