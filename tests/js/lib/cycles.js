// cycles.js N: loads, generates and disposes N times; prints the memory after 5 times and after N, as JSON. Run with --expose-gc.
import { readFileSync } from 'node:fs';
import { load } from '../../../js/index.js';

const n = Number(process.argv[2]);
const file = readFileSync(new URL('../../../demo/models/tales-6m.tansy', import.meta.url));

/** The least of a few looks: what is on its way out is not there to stay. */
async function memory() {
  let rss = Infinity;
  let heap = Infinity;
  for (let look = 0; look < 8; look++) {
    /** @type {any} */ (globalThis).gc();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const now = process.memoryUsage();
    rss = Math.min(rss, now.rss);
    heap = Math.min(heap, now.heapUsed + now.external);
  }
  return { rss, heap };
}

let after5;
for (let i = 1; i <= n; i++) {
  const model = await load(file, { memoryBudget: i % 2 ? '8MB' : '16MB', threads: 1 });
  await model.generate('Once upon a time', { maxTokens: 8, seed: i }).text();
  model.dispose();
  /** @type {any} */ (globalThis).gc();
  /* looking has a cost of its own, once: V8 gives pages back, and forgets code that it then needs again */
  if (i === 3) await memory();
  if (i === 5) after5 = await memory();
}
console.log(JSON.stringify({ after5, afterAll: await memory() }));
