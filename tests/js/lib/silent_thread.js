// A thread of the engine that dies at work and tells nobody.
import { workerData } from 'node:worker_threads';

const { module, memory, handle, thread, stack } = workerData;
const { exports } = new WebAssembly.Instance(module, { env: { memory } });
/** @type {any} */ (exports.__stack_pointer).value = stack;
try {
  /** @type {any} */ (exports.tansy_worker)(handle, thread);
} catch {
  /* gone */
}
