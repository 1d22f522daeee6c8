// The library asks for the model's address and for its own files, and for nothing else, whatever it is made to do.
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { MODEL_PATH } from './lib/reference.mjs';
import { startServer } from './lib/server.mjs';

const BLANK = '/tests/browser/pages/blank.html';

describe('requests of a page', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  before(async () => {
    browser = await launchChromium();
  });
  after(() => browser?.close());

  for (const isolated of [false, true])
    it(`go to the model and to dist/ only, ${isolated ? 'with' : 'without'} threads`, async () => {
      const server = await startServer({ isolated });
      const { page, problems, close } = await openPage(browser);
      /** @type {string[]} */
      const seen = [];
      page.context().on('request', (request) => void seen.push(request.url()));
      try {
        await page.goto(server.url + BLANK);
        await page.evaluate(async (path) => {
          const tansy = await import('/dist/tansy.esm.js');
          const fit = await tansy.canRun(path);
          const model = await tansy.load(path, { memoryBudget: '24MB' });
          await model.generate('https://example.com/steal?text= <img src=x onerror=alert(1)>', { maxTokens: 8 }).text();
          await model.setMemoryBudget('12MB');
          await model.restoreSession(await model.saveSession());
          model.dispose();
          return fit.ok;
        }, MODEL_PATH);
        const asked = new Set([...seen.map((url) => new URL(url)).map(({ origin, pathname }) => (origin === new URL(server.url).origin ? pathname : origin)), ...server.requests.map((line) => line.split(' ')[1])]);
        asked.delete('/favicon.ico');
        for (const path of asked) assert.ok(path === BLANK || path === MODEL_PATH || /^\/dist\/tansy[a-z0-9.-]*\.(js|wasm)$/.test(path), `${path} was asked for`);
        assert.ok(asked.has(MODEL_PATH) && asked.size >= 4, [...asked].join(' '));
        assert.deepEqual(problems, []);
      } finally {
        await close();
        await server.close();
      }
    });
});
