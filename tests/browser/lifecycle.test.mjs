// Life of models in a page, over and over: its memory stays flat. TANSY_SOAK=1 (npm run test:soak): 200 times.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { MODEL_PATH } from './lib/reference.mjs';
import { startServer } from './lib/server.mjs';

const soak = process.env.TANSY_SOAK === '1';
const N_CYCLES = soak ? 200 : 15;

describe('life cycle in Chromium', { skip, timeout: soak ? 3 * timeout : timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  before(async () => void (browser = await launchChromium()));
  after(() => browser?.close());

  /* Chromium's allocators keep what was freed, and a cache for each thread: of its process's 150 MB some 8 MB, after a few hundred workers */
  it(`${N_CYCLES} times load, generate, dispose: the page's heap stays within 5 % of what it was after 5, its process within 10 %`, async (t) => {
    const server = await startServer();
    const { page, problems, close } = await openPage(browser);
    const [inspector, ofBrowser] = [await page.context().newCDPSession(page), await browser.newBrowserCDPSession()];
    const renderers = async () => (await ofBrowser.send('SystemInfo.getProcessInfo')).processInfo.filter(({ type }) => type === 'renderer');
    let process = 0;
    /** @returns {number} bytes of the page's process; NaN where the system does not tell */
    const processNbytes = () => {
      try {
        return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${process}/status`, 'utf8'))?.[1]) * 1024;
      } catch {
        return NaN;
      }
    };
    /* the least of a few looks: what is on its way out is not there to stay */
    const memory = async () => {
      let [heap, rss] = [Infinity, Infinity];
      for (let look = 0; look < 8; look++) {
        await inspector.send('HeapProfiler.collectGarbage');
        await inspector.send('Memory.simulatePressureNotification', { level: 'critical' }); // what is free is given back
        await page.waitForTimeout(50);
        const { usedSize, embedderHeapUsedSize = 0, backingStorageSize = 0 } = /** @type {any} */ (await inspector.send('Runtime.getHeapUsage'));
        heap = Math.min(heap, usedSize + embedderHeapUsedSize + backingStorageSize);
        rss = Math.min(rss, processNbytes());
      }
      return { heap, rss, workers: page.workers().length };
    };
    /* what the browser itself grows by, once: threads for workers and their allocators (20 MB for twenty workers that do nothing), and
     * notes of every fetch, up to 250 */
    const warmUp = () =>
      page.evaluate(async () => {
        performance.setResourceTimingBufferSize(0);
        for (let i = 0; i < 30; i++) {
          const worker = new Worker(URL.createObjectURL(new Blob(['postMessage(1)'])));
          await new Promise((resolve) => (worker.onmessage = resolve));
          worker.terminate();
        }
      });
    const cycles = (/** @type {number} */ first, /** @type {number} */ end) =>
      page.evaluate(
        async ([path, first, end]) => {
          const { load } = await import('/dist/tansy.esm.js');
          for (let i = first; i < end; i++) {
            const model = await load(path, { memoryBudget: i % 2 ? '8MB' : '16MB' });
            await model.generate('Once upon a time', { maxTokens: 8, seed: i }).text();
            model.dispose();
          }
        },
        /** @type {const} */ ([MODEL_PATH, first, end]),
      );
    try {
      await page.goto(`${server.url}/tests/browser/pages/blank.html`);
      await warmUp();
      const before = new Map((await renderers()).map(({ id, cpuTime }) => [id, cpuTime]));
      await cycles(0, 5);
      /* the browser has renderers of its own: the page's is the one that worked */
      process = (await renderers()).map(({ id, cpuTime }) => ({ id, worked: cpuTime - (before.get(id) ?? 0) })).sort((a, b) => b.worked - a.worked)[0].id;
      const after5 = await memory();
      await cycles(5, N_CYCLES);
      const afterAll = await memory();
      t.diagnostic(JSON.stringify({ after5, afterAll }));
      assert.equal(afterAll.workers, 0);
      assert.ok(afterAll.heap <= 1.05 * after5.heap, JSON.stringify({ after5, afterAll }));
      if (Number.isFinite(after5.rss)) assert.ok(afterAll.rss <= 1.1 * after5.rss, JSON.stringify({ after5, afterAll }));
      assert.deepEqual(problems, []);
    } finally {
      await close();
      await server.close();
    }
  });
});
