// Memory budgets of a live model, sessions, early prompts and threads in a real page.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { GREEDY, MODEL_PATH, PROMPT, nodeGreedy } from './lib/reference.mjs';
import { root, startServer } from './lib/server.mjs';

describe('memory in Chromium', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {{ text: string, ids: number[] }} */
  let expected;
  before(async () => {
    browser = await launchChromium();
    expected = await nodeGreedy();
  });
  after(() => browser?.close());

  /**
   * @param {import('./lib/server.mjs').Habits} habits
   * @param {(page: import('playwright-core').Page, server: Awaited<ReturnType<typeof startServer>>) => Promise<void>} run
   */
  async function inPage(habits, run) {
    const server = await startServer(habits);
    const { page, problems, close } = await openPage(browser);
    try {
      await page.goto(`${server.url}/tests/browser/pages/blank.html`);
      await run(page, server);
      assert.deepEqual(problems, []);
    } finally {
      await close();
      await server.close();
    }
  }

  it('moves between budgets while it writes, from the cache, and says no when it must', () =>
    inPage({}, async (page, server) => {
      const got = await page.evaluate(
        async ([path, prompt, options]) => {
          const { load, canRun } = await import('/dist/tansy.esm.js');
          const { bytesNeeded } = await canRun(path);
          const model = await load(path, { memoryBudget: bytesNeeded });
          const generation = model.generate(prompt, options);
          const heaps = [];
          let text = '';
          let n = 0;
          for await (const piece of generation) {
            text += piece;
            const budget = [bytesNeeded + (4 << 20), bytesNeeded][n++];
            if (budget) heaps.push([budget, (await model.setMemoryBudget(budget)).heapBytes, model.tensors.filter(({ form }) => form === 'packed').length]);
          }
          const refused = await model.setMemoryBudget(bytesNeeded / 2).catch((error) => error.code);
          const saved = await model.saveSession();
          const ids = await model.restoreSession(saved);
          const damaged = await model.restoreSession(saved.subarray(1)).catch((error) => error.code);
          const result = { text, ids: generation.ids, heaps, refused, damaged, nSession: ids.length, position: (await model.stats()).position };
          model.dispose();
          return result;
        },
        [MODEL_PATH, PROMPT, GREEDY],
      );
      assert.deepEqual({ text: got.text, ids: got.ids }, expected);
      assert.ok(got.heaps.every(([budget, heap]) => heap <= budget));
      assert.ok(got.heaps[0][2] > got.heaps[1][2], 'more matrices are packed in the larger memory');
      assert.equal(got.refused, 'TANSY_OVER_BUDGET');
      assert.equal(got.damaged, 'TANSY_SESSION');
      assert.equal(got.nSession, got.position);
      const fetched = server.requests.filter((request) => request.includes(MODEL_PATH) && request.startsWith('GET')).length;
      assert.ok(fetched < 20, `${fetched} requests: the moves read the cache`);
    }));

  it('begins a prompt early and is whole in the end; a kept model is complete', () =>
    inPage({}, async (page, server) => {
      const write = () =>
        page.evaluate(
          async ([path, prompt, options]) => {
            const { load, cachedModels } = await import('/dist/tansy.esm.js');
            let loaded = 0;
            const model = await load(path, { early: true, onProgress: (progress) => (loaded = progress.loaded) });
            const generation = model.generate(prompt, options);
            const text = await generation.text();
            await model.loaded;
            for (let i = 0; i < 100 && !(await cachedModels()).some(({ complete }) => complete); i++) await new Promise((resolve) => setTimeout(resolve, 20));
            model.dispose();
            return { text, ids: generation.ids, loaded, complete: (await cachedModels()).map(({ complete }) => complete) };
          },
          [MODEL_PATH, PROMPT, GREEDY],
        );
      const { loaded, complete, ...first } = await write();
      assert.deepEqual(first, expected);
      assert.ok(loaded > 1e6);
      assert.deepEqual(complete, [true]);
      assert.equal((await write()).text, expected.text);
      assert.ok(server.requests.length > 0);
    }));

  for (const isolated of [true, false])
    it(`asked for two threads, it has ${isolated ? 'two, and the same tokens' : 'one without COOP/COEP, and says why'}`, async () => {
      const server = await startServer({ isolated });
      const { page, problems, close } = await openPage(browser);
      /** @type {string[]} */
      const said = [];
      page.on('console', (message) => said.push(message.text()));
      try {
        await page.goto(`${server.url}/tests/browser/pages/blank.html`);
        const got = await page.evaluate(
          async ([path, prompt, options]) => {
            const { load } = await import('/dist/tansy.esm.js');
            const model = await load(path, { threads: 2 });
            const generation = model.generate(prompt, options);
            const text = await generation.text();
            const { threads } = await model.stats();
            await model.setMemoryBudget('16MB');
            const again = await model.generate(prompt, options).text();
            const { threads: threadsAfter } = await model.stats();
            model.dispose();
            return { text, ids: generation.ids, threads, again, threadsAfter };
          },
          [MODEL_PATH, PROMPT, GREEDY],
        );
        const threads = isolated ? 2 : 1;
        assert.deepEqual(got, { ...expected, threads, again: expected.text, threadsAfter: threads });
        assert.equal(said.filter((text) => /cross-origin isolated/.test(text)).length, isolated ? 0 : 1, said.join('\n'));
        assert.deepEqual(
          problems.filter((problem) => !/cross-origin isolated/.test(problem)),
          [],
        );
      } finally {
        await close();
        await server.close();
      }
    });

  it('a thread that dies at work ends the text with a code, and another memory has new threads', async () => {
    const thread = await readFile(join(root, 'dist/tansy-thread.js'), 'utf8');
    /* too little stack for its work: it traps in the middle of it */
    const extra = new Map([['/dist/tansy-thread.js', `addEventListener('message', ({ data }) => (data.stack = 256));\n${thread}`]]);
    const server = await startServer({ isolated: true, extra });
    const { page, close } = await openPage(browser);
    try {
      await page.goto(`${server.url}/tests/browser/pages/blank.html`);
      await page.evaluate(async (path) => {
        const { load } = await import('/dist/tansy.esm.js');
        globalThis.model = await load(path, { threads: 2 });
      }, MODEL_PATH);
      const code = await page.evaluate(() => globalThis.model.generate('Once', { ignoreEos: true, maxTokens: 400 }).text().catch((error) => error.code));
      assert.equal(code, 'TANSY_WORKER');
      extra.clear();
      const got = await page.evaluate(
        async ([prompt, options]) => {
          await globalThis.model.setMemoryBudget('min');
          const generation = globalThis.model.generate(prompt, options);
          return { text: await generation.text(), ids: generation.ids };
        },
        [PROMPT, GREEDY],
      );
      assert.deepEqual(got, expected);
    } finally {
      await close();
      await server.close();
    }
  });
});
