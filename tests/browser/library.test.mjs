// tansy in a real page: the same text as in Node, whichever way it is loaded; abort, dispose, progress, sources, errors.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { GREEDY, MODEL_PATH, PROMPT, nodeGreedy } from './lib/reference.mjs';
import { root, startServer } from './lib/server.mjs';

const STRICT_CSP = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'";
const BLANK = '/tests/browser/pages/blank.html';

/** @typedef {import('playwright-core').Page} Page */

/** Loads the model in the page and keeps it, with the library, on `window`. @param {Page} page @param {object} [options] */
async function loadInPage(page, options = {}) {
  await page.evaluate(
    async ([path, options]) => {
      const tansy = await import('/dist/tansy.esm.js');
      window.tansy = tansy;
      window.model = await tansy.load(path, options);
    },
    [MODEL_PATH, options],
  );
}

/** Runs a function in the page; gives what it threw. @param {Page} page @param {(arg: any) => unknown} run @param {unknown} [arg] */
function failureInPage(page, run, arg) {
  return page.evaluate(
    async ([source, arg]) => {
      try {
        await window.eval(`(${source})`)(arg);
        return { code: 'none', name: 'none', message: 'nothing was thrown' };
      } catch (error) {
        return { code: error.code, name: error.name, message: error.message, details: error.details };
      }
    },
    [String(run), arg],
  );
}

/** Playwright hears of a worker's end a little later. @param {Page} page @param {number} [nLeft] */
async function workersEnd(page, nLeft = 0) {
  for (let i = 0; i < 40 && page.workers().length > nLeft; i++) await page.waitForTimeout(50);
  assert.equal(page.workers().length, nLeft, 'the worker has ended');
}

describe('tansy in Chromium', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  /** @type {{ text: string, ids: number[] }} */
  let expected;
  /** @type {Uint8Array} */
  let modelBytes;

  before(async () => {
    browser = await launchChromium();
    [expected, modelBytes] = await Promise.all([nodeGreedy(), readFile(join(root, MODEL_PATH))]);
    assert.ok(expected.text.length > 20, 'Node generates something');
  });
  after(() => browser?.close());

  /**
   * A page on a server of its own; afterwards nothing may have gone wrong in it.
   * @param {import('./lib/server.mjs').Habits} habits
   * @param {(page: Page, server: Awaited<ReturnType<typeof startServer>>) => Promise<void>} run
   * @param {{ path?: string, expectProblems?: RegExp }} [options]
   */
  async function inPage(habits, run, { path = BLANK, expectProblems } = {}) {
    const server = await startServer(habits);
    const { page, problems, close } = await openPage(browser);
    try {
      await page.goto(server.url + path);
      await run(page, server);
      assert.deepEqual(expectProblems ? problems.filter((problem) => !expectProblems.test(problem)) : problems, []);
    } finally {
      await close();
      await server.close();
    }
  }

  it('a script tag gives every function that the module gives', () =>
    inPage({}, async (page) => {
      const names = await page.evaluate(async () => {
        await new Promise((resolve) => document.head.append(Object.assign(document.createElement('script'), { src: '/dist/tansy.js', onload: resolve })));
        const functions = (/** @type {object} */ names) => Object.keys(names).filter((name) => /^[a-z]/.test(name)).sort();
        return [functions(window.tansy), functions(await import('/dist/tansy.esm.js'))];
      });
      assert.ok(names[0].includes('load'));
      assert.deepEqual(names[0], names[1]);
    }));

  it('what callers get wrong is a TansyError here too, and leaves the model as it was', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      /** @type {[code: string, words: RegExp, call: (path: string) => unknown][]} */
      const table = [
        ['TANSY_OPTION', /options of load must be an object; got null/, (path) => window.tansy.load(path, null)],
        ['TANSY_OPTION', /signal must be an AbortSignal/, (path) => window.tansy.load(path, { signal: 5 })],
        ['TANSY_OPTION', /onProgress must be a function/, (path) => window.tansy.load(path, { onProgress: 5 })],
        ['TANSY_OPTION', /early must be true or false; got 1/, (path) => window.tansy.load(path, { early: 1 })],
        ['TANSY_OPTION', /cache must be true or false; got 5/, (path) => window.tansy.load(path, { cache: 5 })],
        ['TANSY_OPTION', /options of canRun/, (path) => window.tansy.canRun(path, null)],
        ['TANSY_SOURCE', /"http:\/\/" is no address/, () => window.tansy.load('http://')],
        ['TANSY_SOURCE', /"http:\/\/" is no address/, () => window.tansy.forgetModels('http://')],
        ['TANSY_SOURCE', /is no address/, () => window.tansy.load('')],
        ['TANSY_WORKER', /is no address.*Check workerUrl/, (path) => window.tansy.load(path, { workerUrl: 'http://' })],
        ['TANSY_SOURCE', /locked/, () => ((stream) => stream.getReader() && window.tansy.load(stream))(new Blob(['a']).stream())],
        ['TANSY_SOURCE', /must give Uint8Array pieces; it gave string/, () => window.tansy.load(new ReadableStream({ pull: (controller) => controller.enqueue('abc') }))],
        ['TANSY_SOURCE', /stream failed: .*could not be cloned/, () => window.tansy.load(new ReadableStream({ pull: (controller) => controller.enqueue(() => {}) }))],
        ['TANSY_OPTION', /options of generate/, () => window.model.generate('a', null)],
        ['TANSY_OPTION', /signal must be/, () => window.model.generate('a', { signal: 5 })],
        ['TANSY_OPTION', /onToken must be/, () => window.model.generate('a', { onToken: 5 })],
        ['TANSY_OPTION', /options of logits/, () => window.model.logits([1], null)],
        ['TANSY_OPTION', /options of setMemoryBudget/, () => window.model.setMemoryBudget('min', null)],
      ];
      for (const [code, words, call] of table) {
        const failure = await failureInPage(page, call, MODEL_PATH);
        assert.equal(failure.code, code, `${call}: ${failure.message}`);
        assert.match(failure.message, words);
      }
      await workersEnd(page, 1);
      const thrown = await page.evaluate(async ([prompt, greedy]) => {
        const own = new Error('mine');
        const run = window.model.generate(prompt, {
          ...greedy,
          onToken() {
            throw own;
          },
        });
        const isOwn = await run.text().catch((error) => error === own);
        const next = window.model.generate(prompt, greedy); // at once: nothing of the first is under way any more
        await next[Symbol.asyncIterator]().next();
        return [isOwn, await next.text(), await next.text()];
      }, /** @type {const} */ ([PROMPT, GREEDY]));
      assert.deepEqual(thrown, [true, expected.text, expected.text]);
    }));

  it('tells what a speed as the goal came to', () =>
    inPage({}, async (page) => {
      await loadInPage(page, { minTokensPerSecond: 0.01 });
      const goal = await page.evaluate(() => window.model.goal);
      assert.deepEqual([goal.minTokensPerSecond, goal.reached, goal.tokensPerSecond > 0.01], [0.01, true, true]);
    }));

  for (const [what, path] of [
    ['one script tag', '/tests/browser/pages/script.html'],
    ['an ES module', '/tests/browser/pages/module.html'],
  ])
    for (const isolated of [false, true])
      it(`${what} gives Node's greedy text ${isolated ? 'with' : 'without'} COOP/COEP`, async () => {
        const page = await readFile(join(root, path), 'utf8');
        assert.ok(page.trim().split('\n').length <= 10, 'the page has at most ten lines');
        await inPage(
          { isolated },
          async (page) => {
            assert.equal(await page.evaluate(() => crossOriginIsolated), isolated);
            await page.waitForFunction((n) => document.querySelector('#out')?.textContent.length >= n, expected.text.length);
            assert.equal(await page.textContent('#out'), expected.text);
          },
          { path },
        );
      });

  it('works under a strict Content-Security-Policy', () =>
    inPage({ csp: STRICT_CSP }, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(
        async ([prompt, options]) => {
          const generation = window.model.generate(prompt, options);
          const text = await generation.text();
          return { text, ids: generation.ids, finishReason: generation.finishReason };
        },
        [PROMPT, GREEDY],
      );
      assert.deepEqual(got, { ...expected, finishReason: 'length' });
    }));

  it('works from another origin, as from a CDN', async () => {
    const cdn = await startServer({ cors: true });
    try {
      await inPage({}, async (page) => {
        const text = await page.evaluate(
          async ([cdn, model, prompt, options]) => {
            const script = document.createElement('script');
            script.src = `${cdn}/dist/tansy.js`;
            const loaded = new Promise((resolve, reject) => ((script.onload = resolve), (script.onerror = reject)));
            document.body.append(script);
            await loaded;
            const loadedModel = await window.tansy.load(`${cdn}${model}`);
            return loadedModel.generate(prompt, options).text();
          },
          [cdn.url, MODEL_PATH, PROMPT, GREEDY],
        );
        assert.equal(text, expected.text);
      });
    } finally {
      await cdn.close();
    }
  });

  it('works from a server without Range', () =>
    inPage({ ranges: false }, async (page) => {
      await loadInPage(page);
      assert.equal(await page.evaluate(([p, o]) => window.model.generate(p, o).text(), [PROMPT, GREEDY]), expected.text);
    }));

  it('every variant that the browser can run gives the same ids', () =>
    inPage({}, async (page) => {
      for (const variant of ['simd128', 'relaxed']) {
        await loadInPage(page, { variant });
        const got = await page.evaluate(
          async ([p, o]) => {
            const generation = window.model.generate(p, o);
            await generation.text();
            const { variant } = await window.model.stats();
            window.model.dispose();
            return { ids: generation.ids, variant };
          },
          [PROMPT, GREEDY],
        );
        assert.deepEqual(got, { ids: expected.ids, variant });
      }
    }));

  it('takes a File, bytes and a stream', () =>
    inPage({}, async (page) => {
      const texts = await page.evaluate(
        async ([path, prompt, options]) => {
          const { load } = await import('/dist/tansy.esm.js');
          const buffer = await (await fetch(path)).arrayBuffer();
          const sources = [new File([buffer], 'model.tansy'), buffer, new Uint8Array(buffer), (await fetch(path)).body];
          const texts = [];
          for (const source of sources) {
            const model = await load(source);
            texts.push(await model.generate(prompt, options).text());
            model.dispose();
          }
          return texts.concat(buffer.byteLength > 0 ? [] : ['the buffer was taken away']);
        },
        [MODEL_PATH, PROMPT, GREEDY],
      );
      assert.deepEqual(texts, Array(4).fill(expected.text));
    }));

  it('tokenizes, detokenizes and gives logits and stats', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(async (prompt) => {
        const { model } = window;
        const ids = await model.tokenize(prompt);
        const logits = await model.logits(ids);
        const stats = await model.stats();
        return { round: await model.detokenize(ids), nIds: ids.length, nLogits: logits.length, vocab: model.config.vocab, stats };
      }, PROMPT);
      assert.equal(got.round.trim(), PROMPT);
      assert.equal(got.nLogits, got.nIds * got.vocab);
      const sum = Object.values(got.stats.memory).reduce((a, b) => a + b, 0);
      assert.ok(sum <= got.stats.heapBytes && got.stats.heapBytes - sum < 65536, `kinds add up to the heap: ${sum} of ${got.stats.heapBytes}`);
    }));

  it('reports progress, and canRun() reads only the front of the file', () =>
    inPage({}, async (page, server) => {
      const fit = await page.evaluate(async (path) => (await import('/dist/tansy.esm.js')).canRun(path), MODEL_PATH);
      assert.equal(fit.ok, true);
      assert.equal(fit.fileBytes, modelBytes.length);
      const asked = server.requests.filter((request) => request.includes(MODEL_PATH));
      assert.ok(asked.length > 0 && asked.every((request) => request.includes('bytes=')), asked.join('\n'));
      const reports = await page.evaluate(async (path) => {
        const { load } = await import('/dist/tansy.esm.js');
        const reports = [];
        const model = await load(path, { onProgress: (progress) => reports.push(progress) });
        model.dispose();
        return reports;
      }, MODEL_PATH);
      assert.ok(reports.length > 0);
      assert.ok(reports.every(({ loaded, total }, i) => total === modelBytes.length && (i === 0 || loaded >= reports[i - 1].loaded)));
      assert.equal(reports.at(-1).loaded, modelBytes.length);
    }));

  it('a memory budget is kept, and one too small says how many bytes are needed', () =>
    inPage({}, async (page) => {
      const failure = await failureInPage(page, async (path) => (await import('/dist/tansy.esm.js')).load(path, { memoryBudget: 100_000 }), MODEL_PATH);
      assert.equal(failure.code, 'TANSY_OVER_BUDGET', failure.message);
      const needed = failure.details.bytesNeeded;
      assert.ok(failure.message.includes(String(needed)));
      await loadInPage(page, { memoryBudget: needed });
      assert.ok((await page.evaluate(() => window.model.stats())).heapBytes <= needed);
    }));

  it('abort stops a generation and leaves the model usable', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(
        async ([prompt, greedy]) => {
          const controller = new AbortController();
          let pieces = 0;
          let name = 'none';
          const generation = window.model.generate(prompt, { temperature: 0, ignoreEos: true, signal: controller.signal });
          try {
            for await (const text of generation) if (text && ++pieces === 3) controller.abort(new Error('enough'));
          } catch (error) {
            name = `${error.name} ${error.code} ${error.cause?.message}`;
          }
          const { contextSize } = window.model;
          return { name, stopped: generation.ids.length < 3 + 40 && contextSize > 100, after: await window.model.generate(prompt, greedy).text() };
        },
        [PROMPT, GREEDY],
      );
      assert.deepEqual(got, { name: 'AbortError TANSY_ABORTED enough', stopped: true, after: expected.text });
    }));

  it('leaving the loop stops the work in the worker', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(
        async ([prompt, greedy]) => {
          for await (const text of window.model.generate(prompt, { temperature: 0, ignoreEos: true })) if (text) break;
          const { position } = await window.model.stats();
          return { early: position < 50, after: await window.model.generate(prompt, greedy).text() };
        },
        [PROMPT, GREEDY],
      );
      assert.deepEqual(got, { early: true, after: expected.text });
    }));

  it('leaving the loop while the worker waits for it ends the run', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(
        async ([prompt, greedy]) => {
          let nTaken = 0;
          for await (const text of window.model.generate(prompt, { temperature: 0, ignoreEos: true })) {
            if (!text || ++nTaken < 2) continue;
            await new Promise((resolve) => setTimeout(resolve, 1000)); // the worker is as far ahead as it may be
            break;
          }
          return window.model.generate(prompt, greedy).text();
        },
        [PROMPT, GREEDY],
      );
      assert.equal(got, expected.text);
    }));

  it('the worker is never far ahead of a slow loop', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      const got = await page.evaluate(
        async ([prompt]) => {
          let text = '';
          let most = 0;
          const generation = window.model.generate(prompt, { temperature: 0, maxTokens: 150, ignoreEos: true });
          let nTaken = 0;
          for await (const piece of generation) {
            text += piece;
            if (++nTaken % 20 === 1) await new Promise((resolve) => setTimeout(resolve, 100));
            most = Math.max(most, generation.ids.length - nTaken);
          }
          return { most, whole: text === (await window.model.generate(prompt, { temperature: 0, maxTokens: 150, ignoreEos: true }).text()) };
        },
        [PROMPT],
      );
      assert.ok(got.most <= 48, `${got.most} tokens ahead`);
      assert.equal(got.whole, true);
    }));

  it('abort stops a download', () =>
    inPage({ bytesPerSecond: 200_000 }, async (page) => {
      const failure = await failureInPage(
        page,
        async (path) => {
          const { load } = await import('/dist/tansy.esm.js');
          const controller = new AbortController();
          await load(path, { signal: controller.signal, onProgress: () => controller.abort() });
        },
        MODEL_PATH,
      );
      assert.equal(failure.code, 'TANSY_ABORTED', failure.message);
      await workersEnd(page);
    }));

  it('dispose() ends the worker and everything under way', () =>
    inPage({}, async (page) => {
      await loadInPage(page);
      assert.equal(page.workers().length, 1);
      const failure = await failureInPage(
        page,
        async (prompt) => {
          for await (const text of window.model.generate(prompt, { temperature: 0, ignoreEos: true })) if (text) window.model.dispose();
        },
        PROMPT,
      );
      assert.equal(failure.code, 'TANSY_DISPOSED', failure.message);
      assert.equal((await failureInPage(page, () => window.model.stats())).code, 'TANSY_DISPOSED');
      await workersEnd(page);
    }));

  it('a worker that dies ends every call with TANSY_WORKER', () =>
    inPage(
      {
        extra: new Map([
          ['/silent.js', 'import "/dist/tansy-worker.js"; addEventListener("message", ({ data }) => { if (data.method === "generate") close(); });'],
          ['/loud.js', 'throw new Error("a broken worker");'],
        ]),
      },
      async (page) => {
        await loadInPage(page, { workerUrl: '/silent.js' });
        const silent = await failureInPage(page, (prompt) => window.model.generate(prompt, { ignoreEos: true }).text(), PROMPT);
        assert.equal(silent.code, 'TANSY_WORKER', silent.message);
        assert.equal((await failureInPage(page, () => window.model.stats())).code, 'TANSY_WORKER');
        /* the page goes on with another one */
        await loadInPage(page);
        assert.equal(await page.evaluate(([prompt, options]) => window.model.generate(prompt, options).text(), [PROMPT, GREEDY]), expected.text);

        const run = async ([path, workerUrl]) => (await import('/dist/tansy.esm.js')).load(path, { workerUrl });
        const loud = await failureInPage(page, run, [MODEL_PATH, '/loud.js']);
        assert.equal(loud.code, 'TANSY_WORKER');
        assert.match(loud.message, /a broken worker/);
        const missing = await failureInPage(page, run, [MODEL_PATH, '/missing-worker.js']);
        assert.equal(missing.code, 'TANSY_WORKER');
        assert.match(missing.message, /did not start\. Its script \/missing-worker\.js must/);
      },
      { expectProblems: /missing-worker\.js|404|broken worker/ },
    ));

  it('the script tag defines what the module exports, but for classes', () =>
    inPage({}, async (page) => {
      const names = await page.evaluate(async () => {
        await new Promise((resolve) => document.head.append(Object.assign(document.createElement('script'), { src: '/dist/tansy.js', onload: resolve })));
        const module = await import('/dist/tansy.esm.js');
        return [Object.keys(window.tansy), Object.keys(module), module.pickVariant()];
      });
      assert.deepEqual(names[0].sort(), names[1].filter((name) => name !== 'Model' && name !== 'Generation').sort());
      assert.match(names[2], /^(relaxed|simd128)$/);
    }));

  it('a page that was opened as a file is told to use a server', async () => {
    const { page, close } = await openPage(browser);
    try {
      await page.goto(pathToFileURL(join(root, 'tests/browser/pages/blank.html')).href);
      const failure = await page.evaluate(async () => {
        await new Promise((resolve) => document.head.append(Object.assign(document.createElement('script'), { src: '../../../dist/tansy.js', onload: resolve })));
        return window.tansy.load('model.tansy').catch((/** @type {any} */ error) => ({ code: error.code, message: error.message }));
      });
      assert.equal(failure.code, 'TANSY_WORKER');
      assert.match(failure.message, /open it through a server/);
    } finally {
      await close();
    }
  });

  it('a server that does not let other pages read is suspected of it', async () => {
    const other = await startServer({});
    try {
      await inPage(
        {},
        async (page) => {
          const run = async (/** @type {string} */ url) => (await import('/dist/tansy.esm.js')).load(url, { retry: { attempts: 1 } });
          const failure = await failureInPage(page, run, `${other.url}${MODEL_PATH}`);
          assert.equal(failure.code, 'TANSY_NETWORK');
          assert.match(failure.message, /failed once .*Access-Control-Allow-Origin/);
        },
        { expectProblems: /CORS|Failed to load/ },
      );
    } finally {
      await other.close();
    }
  });

  it('errors from the worker keep their codes', async () => {
    const truncated = modelBytes.slice(0, modelBytes.length - 1000);
    const corrupt = modelBytes.slice();
    for (let i = corrupt.length >> 1; i < (corrupt.length >> 1) + 64; i++) corrupt[i] ^= 0x55;
    const extra = new Map([
      ['/truncated.tansy', truncated],
      ['/corrupt.tansy', corrupt],
      ['/text.tansy', 'This is a text about tansies, and nothing else.'],
    ]);
    await inPage(
      { extra },
      async (page) => {
        const run = async ([source, options]) => (await import('/dist/tansy.esm.js')).load(source, options);
        for (const [source, options, code] of [
          ['/missing.tansy', {}, /^TANSY_(NOT_FOUND|HTTP)$/],
          ['/truncated.tansy', {}, /^TANSY_TRUNCATED$/],
          ['/corrupt.tansy', {}, /^TANSY_(CHECKSUM|CORRUPT)$/],
          ['/text.tansy', {}, /^TANSY_(NOT_TANSY|TRUNCATED)$/],
          [MODEL_PATH, { wasmUrl: '/missing.wasm' }, /^TANSY_WASM$/],
          [MODEL_PATH, { memoryBudgte: 1 }, /^TANSY_OPTION$/],
          [42, {}, /^TANSY_SOURCE$/],
        ]) {
          const failure = await failureInPage(page, run, [source, options]);
          assert.match(String(failure.code), code, `${source}: ${failure.message}`);
          assert.equal(failure.name, 'TansyError');
          assert.ok(failure.message.length > 20, failure.message);
        }
        const odd = await failureInPage(page, async (path) => (await import('/dist/tansy.esm.js')).load(path, { retry: () => {} }), MODEL_PATH);
        assert.equal(odd.code, 'TANSY_OPTION', odd.message);
      },
      { expectProblems: /404/ },
    );
  });
});
