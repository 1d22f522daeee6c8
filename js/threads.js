/**
 * threads.js: decides how many threads an engine gets, and starts them. The engine works with whatever helpers have come, so
 * nothing waits for a thread, and one that cannot start costs only its help.
 */
import { startThread, threadHindrance, nCores } from '#platform';

/** Below this size of the file a token is made faster than helpers can be woken. */
const WORTHWHILE_NBYTES = 8 << 20;
const MAX_AUTO_THREADS = 8;

/* One function with i32.atomic.load on an imported shared memory: () -> i32. */
const PROBE = [
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7f, 2, 9, 1, 1, 0x61, 1, 0x62, 2, 3, 1, 1, 3, 2, 1, 0, 10, 10, 1, 8, 0, 0x41, 0, 0xfe, 0x10, 2, 0, 0x0b,
];

let told = false;

/**
 * @param {number} wanted as asked for; 0: decide
 * @param {number | undefined} fileNbytes
 * @returns {number} 1 or more
 */
export function chooseThreads(wanted, fileNbytes) {
  const n = wanted > 0 ? wanted : fileNbytes !== undefined && fileNbytes >= WORTHWHILE_NBYTES ? Math.min(nCores(), MAX_AUTO_THREADS) : 1;
  if (n < 2) return 1;
  const hindrance = WebAssembly.validate(new Uint8Array(PROBE)) ? threadHindrance() : 'this engine has no WebAssembly threads';
  if (hindrance === undefined) return n;
  if (!told) console.warn(`tansy runs on one thread: ${hindrance}.`);
  told = true;
  return 1;
}

/**
 * A module made for threads lets its stack pointer be set.
 * @param {WebAssembly.Module} module
 */
export function isThreaded(module) {
  return WebAssembly.Module.exports(module).some(({ name }) => name === '__stack_pointer');
}

/** The helpers of one engine. */
export class Team {
  /** @type {{stop: () => Promise<unknown> | void}[]} */
  #helpers = [];

  /** @param {import('./thread.js').ThreadJob[]} jobs */
  constructor(jobs) {
    for (const job of jobs) {
      try {
        this.#helpers.push(startThread(job));
      } catch (error) {
        /* no memory for a thread, or a policy against workers: the others do its work */
        console.warn(`tansy runs on ${this.#helpers.length + 1} threads: ${error instanceof Error ? error.message : String(error)}`);
        return;
      }
    }
  }

  get size() {
    return this.#helpers.length;
  }

  /** @returns {Promise<unknown>} when they have ended, as far as the platform tells */
  stop() {
    return Promise.all(this.#helpers.splice(0).map((helper) => helper.stop()));
  }
}
