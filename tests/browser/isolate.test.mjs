// tansy-isolate.js makes a page cross-origin isolated on a server that sends no headers, with one reload and no more.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { root, startServer } from './lib/server.mjs';

describe('tansy-isolate.js', { skip, timeout }, () => {
  it('isolates the page, its workers too, and lets other files pass', async () => {
    const extra = new Map([
      ['/site/index.html', '<!doctype html><title>site</title><script src="tansy-isolate.js"></script>'],
      ['/site/tansy-isolate.js', await readFile(join(root, 'dist/tansy-isolate.js'))],
      ['/site/worker.js', 'postMessage(self.crossOriginIsolated)'],
      ['/site/data.bin', 'data'],
    ]);
    const server = await startServer({ extra });
    const browser = await launchChromium();
    try {
      const { page, problems } = await openPage(browser);
      await page.goto(`${server.url}/site/`);
      await page.waitForFunction(() => crossOriginIsolated);
      const inWorker = await page.evaluate(() => new Promise((resolve) => (new Worker('worker.js').onmessage = ({ data }) => resolve(data))));
      assert.equal(inWorker, true);
      const part = await page.evaluate(async () => {
        const response = await fetch('data.bin', { headers: { Range: 'bytes=1-2' } });
        return [response.status, await response.text()];
      });
      assert.deepEqual(part, [206, 'at']);
      await page.reload();
      assert.equal(await page.evaluate(() => crossOriginIsolated), true);
      const visits = server.requests.filter((request) => request === 'GET /site/').length;
      assert.equal(visits, 3, 'two for the first visit, one for the reload');
      assert.deepEqual(problems, []);
    } finally {
      await browser.close();
      await server.close();
    }
  });
});
