/**
 * thread.js: the life of one helper thread: the same module on the same memory, with a stack of its own. It sleeps in wasm until
 * the leader has work and returns when the leader ends the team.
 *
 * @typedef {object} ThreadJob
 * @property {WebAssembly.Module} module
 * @property {WebAssembly.Memory} memory shared
 * @property {number} handle of the engine
 * @property {number} thread 1, 2, …
 * @property {number} stack end of its stack
 */

/** @param {ThreadJob} job */
export function runThread({ module, memory, handle, thread, stack }) {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  /** @type {WebAssembly.Global} */ (exports.__stack_pointer).value = stack | 0;
  const x = /** @type {Record<string, (handle: number, thread?: number) => void>} */ (/** @type {unknown} */ (exports));
  try {
    x.tansy_worker(handle, thread);
  } catch (error) {
    /* the leader may wait for the work in hand */
    x.tansy_workers_end(handle);
    throw error;
  }
}
