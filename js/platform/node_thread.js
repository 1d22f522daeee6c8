/** platform/node_thread.js: what a helper thread runs under Node. */
import { workerData } from 'node:worker_threads';

import { runThread } from '../thread.js';

runThread(workerData);
