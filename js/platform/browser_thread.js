/** platform/browser_thread.js: what a helper thread runs in a browser; its one message is its job. */
import { runThread } from '../thread.js';

globalThis.onmessage = (/** @type {MessageEvent<import('../thread.js').ThreadJob>} */ { data }) => {
  runThread(data);
  globalThis.close();
};
