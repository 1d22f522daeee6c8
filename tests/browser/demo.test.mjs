// The demo page as a visitor uses it: it opens its model, writes, stops, follows the memory slider, and says what is wrong.
//
// Screenshots go to tests/browser/screenshots/, which git ignores.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { launchChromium, openPage, skip, timeout } from './lib/chromium.mjs';
import { GREEDY, MODEL_PATH, PROMPT, nodeGreedy } from './lib/reference.mjs';
import { root, startServer } from './lib/server.mjs';

const screenshots = join(root, 'tests/browser/screenshots');

/** @typedef {import('playwright-core').Page} Page */

/** @param {Page} page */
const ready = (page) => page.waitForSelector('#go:not([disabled]):not([data-running])', { timeout: 20_000 });

/** The heap in bytes, as the slider shows it after loading. @param {Page} page */
const budget = (page) => page.$eval('#budget', (slider) => ({ min: Number(slider.min), max: Number(slider.max), now: slider.valueAsNumber }));

/** @param {Page} page @param {Record<string, string | number>} settings */
async function choose(page, settings) {
  await page.$eval('.settings', (details) => (details.open = true));
  for (const [name, value] of Object.entries(settings)) await page.fill(`#${name}`, String(value));
}

describe('the demo page', { skip, timeout }, () => {
  /** @type {import('playwright-core').Browser} */
  let browser;
  let expected = '';
  before(async () => {
    mkdirSync(screenshots, { recursive: true });
    browser = await launchChromium();
    expected = (await nodeGreedy()).text;
  });
  after(() => browser?.close());

  /**
   * @param {import('./lib/server.mjs').Habits} habits
   * @param {(page: Page, server: Awaited<ReturnType<typeof startServer>>) => Promise<void>} run
   * @param {{ query?: string, expectProblems?: RegExp, context?: import('playwright-core').BrowserContextOptions }} [options]
   */
  async function visit(habits, run, { query = '', expectProblems, context } = {}) {
    const server = await startServer(habits);
    const { page, problems, close } = await openPage(browser, context);
    try {
      await page.goto(`${server.url}/demo/${query}`);
      await run(page, server);
      assert.deepEqual(expectProblems ? problems.filter((problem) => !expectProblems.test(problem)) : problems, []);
    } finally {
      await close();
      await server.close();
    }
  }

  for (const isolated of [false, true])
    it(`opens its model and writes ${isolated ? 'with' : 'without'} COOP/COEP`, () =>
      visit({ isolated }, async (page) => {
        await ready(page);
        await choose(page, GREEDY);
        await page.fill('#prompt', PROMPT);
        await page.click('#go');
        await ready(page);
        assert.equal(await page.textContent('#given'), PROMPT);
        assert.equal(await page.textContent('#text'), expected);
        assert.match(String(await page.textContent('#status')), /40 tokens/);
        assert.match(String(await page.textContent('#speed')), /^[\d.]+$/);
        assert.match(String(await page.textContent('#heap')), /^[\d.]+ MB$/);
        assert.ok((await page.$$('#bar span')).length >= 3, 'kinds of memory are shown');
      }));

  it('shows the download, in bytes, percent and seconds left', () =>
    visit({ bytesPerSecond: 1_500_000 }, async (page) => {
      await page.waitForFunction(() => /Loading: [\d.]+ [KM]?B of [\d.]+ MB · \d+%.*left/.test(document.querySelector('#status').textContent));
      await page.screenshot({ path: join(screenshots, 'loading.png') });
      const { shown, value } = await page.$eval('#progress', (bar) => ({ shown: !bar.hidden, value: bar.value }));
      assert.ok(shown && value > 0 && value <= 1);
      await ready(page);
      assert.equal(await page.isVisible('#progress'), false);
    }));

  it('stops, by button and by Escape, and goes on afterwards', () =>
    visit({}, async (page) => {
      await ready(page);
      await choose(page, { temperature: 0, maxTokens: 4000 });
      // From inside the page: the model is faster than a test that looks at it from outside.
      const stopWith = (/** @type {'button' | 'Escape'} */ how) =>
        page.evaluate(
          (how) =>
            new Promise((resolve) => {
              const go = document.querySelector('#go');
              const text = document.querySelector('#text');
              new MutationObserver((_, observer) => {
                if (text.textContent.length < 10 || !go.hasAttribute('data-running')) return;
                observer.disconnect();
                resolve(go.textContent);
                if (how === 'button') go.click();
                else document.dispatchEvent(new KeyboardEvent('keydown', { key: how, bubbles: true }));
              }).observe(text, { childList: true, characterData: true });
            }),
          how,
        );
      for (const [how, start] of /** @type {['button' | 'Escape', () => Promise<void>][]} */ ([
        ['button', () => page.click('#go')],
        ['Escape', () => page.focus('#prompt').then(() => page.keyboard.press('Control+Enter'))],
      ])) {
        const stopped = stopWith(how);
        await start();
        assert.equal(await stopped, 'Stop');
        await ready(page);
        assert.match(String(await page.textContent('#status')), /Stopped/, how);
      }
    }));

  it('the slider sets the heap, from all packed to the smallest, and the text stays the same', () =>
    visit({}, async (page) => {
      await ready(page);
      await choose(page, GREEDY);
      await page.fill('#prompt', PROMPT);
      const first = await budget(page);
      assert.equal(first.now, first.max, 'it begins with what makes it fast');
      assert.ok(first.max > first.min * 1.2, `there is something to choose: ${JSON.stringify(first)}`);
      for (const share of [1, 0.5, 0]) {
        const wanted = first.min + share * (first.max - first.min);
        await page.$eval(
          '#budget',
          (slider, value) => {
            slider.value = String(value);
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            slider.dispatchEvent(new Event('change', { bubbles: true }));
          },
          wanted,
        );
        await page.waitForSelector('#budget:not([aria-busy="true"])');
        const { now } = await budget(page);
        assert.ok(now <= wanted + 65536, `${now} is within ${wanted}`);
        assert.ok(share === 0 ? now === first.min : now > first.min, `${now} at ${share}`);
        await page.click('#go');
        await ready(page);
        assert.equal(await page.textContent('#text'), expected);
        const kinds = await page.$$eval('#bar span', (spans) => spans.map((span) => span.dataset.kind));
        const weights = kinds.filter((kind) => ['ans', 'packed', 'int8'].includes(kind));
        // The rest of the last page may hold a small matrix in a faster form.
        if (share === 0) assert.ok(weights.includes('ans') && !weights.includes('int8'), weights.join());
        if (share === 1) assert.ok(weights.includes('packed') && !weights.includes('int8'), weights.join());
      }
    }));

  it('measures speed against memory, and shows the form of every matrix', () =>
    visit({}, async (page) => {
      await ready(page);
      const { now } = await budget(page);
      await page.click('#measure');
      await page.waitForFunction(() => /Measuring/.test(document.querySelector('#status').textContent));
      await page.waitForFunction(() => document.querySelector('#status').textContent === 'Ready.' && !document.querySelector('#measure').disabled, undefined, { timeout: 100_000 });
      assert.equal((await page.$$('#curve circle')).length, 5);
      const heaps = await page.$$eval('#curve title', (titles) => titles.map((title) => title.textContent));
      assert.ok(heaps.every((title) => /^[\d.]+ tokens a second in [\d.]+ MB$/.test(title)), heaps.join('\n'));
      assert.equal((await budget(page)).now, now, 'it comes back to the budget that was chosen');
      await page.$eval('.weights', (details) => (details.open = true));
      const cells = await page.$$eval('#weights td[data-kind]', (cells) => cells.map((cell) => cell.title));
      assert.equal(cells.length, 1 + 6 * 7, 'the embedding and seven matrices of six layers');
      assert.ok(cells.every((title) => /\d bits a weight in the file, (compressed|packed|plain) in memory/.test(title)), cells[0]);
      await page.screenshot({ path: join(screenshots, 'figures.png'), fullPage: true });
    }));

  it('goes on where a story ended, also beyond the context', () =>
    visit({}, async (page) => {
      await ready(page);
      await choose(page, { ...GREEDY, maxTokens: 150 });
      await page.fill('#prompt', PROMPT);
      await page.click('#go');
      await ready(page);
      for (let i = 0; i < 3; i++) {
        const before = String(await page.textContent('#text'));
        await page.click('#more');
        await page.waitForSelector('#go[data-running]', { timeout: 2000 }).catch(() => {});
        await ready(page);
        const after = String(await page.textContent('#text'));
        assert.ok(after.startsWith(before) && after.length > before.length, `${before.length} characters, then ${after.length}`);
      }
    }));

  it('moves to another memory while it writes, and writes the same', () =>
    visit({}, async (page) => {
      await ready(page);
      await choose(page, { temperature: 0, maxTokens: 120 });
      await page.fill('#prompt', PROMPT);
      await page.click('#go');
      await ready(page);
      const want = await page.textContent('#text');
      const { now, max } = await budget(page);
      // From inside the page, as soon as there is text.
      await page.evaluate(() => {
        const text = document.querySelector('#text');
        new MutationObserver((_, observer) => {
          if (text.textContent.length < 5) return;
          observer.disconnect();
          const slider = document.querySelector('#budget');
          slider.value = slider.min;
          slider.dispatchEvent(new Event('change', { bubbles: true }));
        }).observe(text, { childList: true });
        document.querySelector('#go').click();
      });
      await page.waitForFunction(() => document.querySelector('#budget:not([aria-busy=true])') && document.querySelector('#budget').valueAsNumber === Number(document.querySelector('#budget').min));
      await ready(page);
      assert.equal(await page.textContent('#text'), want);
      assert.ok((await budget(page)).now < now && now <= max);
    }));

  it('chats, by keyboard, with a model that has no chat template, and remembers', () =>
    visit(
      {},
      async (page) => {
        await ready(page);
        await choose(page, { temperature: 0, maxTokens: 30 });
        await page.keyboard.press('Escape');
        await page.focus('#prompt');
        for (const said of ['Good morning!', 'Where is <b>the king</b>?']) {
          const before = (await page.$$('.turn')).length;
          await page.fill('#prompt', said);
          await page.keyboard.press('Enter');
          await page.waitForFunction((n) => document.querySelectorAll('.turn').length === n && document.querySelectorAll('.turn[aria-busy=true]').length === 0, before + 2);
          await ready(page);
          assert.equal(await page.inputValue('#prompt'), '');
        }
        const turns = await page.$$eval('.turn', (all) => all.map((turn) => [turn.className, turn.textContent]));
        assert.deepEqual(turns.map(([kind]) => kind), ['turn mine', 'turn theirs', 'turn mine', 'turn theirs']);
        assert.equal(turns[2][1], 'Where is <b>the king</b>?', 'text, not markup');
        assert.ok(turns.every(([, text]) => String(text).length > 0));
        await page.check('[name=mode][value=story]');
        assert.equal(await page.isVisible('#story'), true);
        assert.equal(await page.isVisible('#talk'), false);
      },
      { query: '?mode=chat' },
    ));

  it('pauses a download, and goes on from there', () =>
    visit({ bytesPerSecond: 500_000 }, async (page, server) => {
      await page.waitForSelector('#pause:not([hidden])');
      await page.waitForFunction(() => document.querySelector('#progress').value > 0.35);
      await page.click('#pause');
      await page.waitForFunction(() => /^Paused at [\d.]+ [KM]B of [\d.]+ MB\.$/.test(document.querySelector('#status').textContent));
      assert.equal(await page.textContent('#pause'), 'Resume');
      server.habits.bytesPerSecond = Infinity;
      const nBefore = server.requests.length;
      await page.click('#pause');
      await ready(page);
      const { size } = await stat(join(root, MODEL_PATH));
      const starts = server.requests.slice(nBefore).map((request) => Number(/bytes=(\d+)-/.exec(request)?.[1] ?? 0));
      assert.ok(Math.max(...starts) > 0.2 * size, `asked for ${starts} on of ${size} bytes: ${server.requests.join('\n')}`);
    }));

  it('opens a model from an address, and lists what the browser keeps', () =>
    visit({}, async (page) => {
      await ready(page);
      await page.fill('#url', `${new URL(page.url()).origin}${MODEL_PATH}?again`);
      await page.keyboard.press('Enter');
      await page.waitForFunction(() => document.querySelectorAll('#kept li button.round').length === 2);
      await ready(page);
      await page.$eval('.kept', (details) => (details.open = true));
      await page.click('#kept button.round >> nth=0');
      await page.waitForFunction(() => document.querySelectorAll('#kept li button.round').length === 1);
    }));

  it('keeps its model when another cannot be opened', () =>
    visit(
      {},
      async (page) => {
        await ready(page);
        await choose(page, GREEDY);
        await page.fill('#prompt', PROMPT);
        await page.fill('#url', '/none.tansy');
        await page.press('#url', 'Enter');
        await page.waitForSelector('#error:not([hidden])');
        assert.match(String(await page.textContent('#error')), /404.*TANSY_HTTP/);
        await page.click('#go');
        await page.waitForFunction((n) => document.querySelector('#text').textContent.length >= n, expected.length);
        assert.equal(await page.textContent('#text'), expected);
        assert.equal(await page.isVisible('#error'), false);
      },
      { expectProblems: /404/ },
    ));

  it('keeps its model when another is too large', () =>
    visit({}, async (page) => {
      // A model that no memory holds, without its bytes.
      const wrapper = `import * as real from '/dist/tansy.esm.js?real';
        export * from '/dist/tansy.esm.js?real';
        export const canRun = (from, options) => (from === '/huge.tansy' ? Promise.resolve({ ok: false, bytesNeeded: 2 ** 33 }) : real.canRun(from, options));`;
      await page.route(({ pathname, search }) => pathname === '/dist/tansy.esm.js' && search === '', (route) => route.fulfill({ contentType: 'text/javascript', body: wrapper }));
      await page.reload();
      await ready(page);
      await page.fill('#url', '/huge.tansy');
      await page.press('#url', 'Enter');
      await page.waitForSelector('#error:not([hidden])');
      assert.match(String(await page.textContent('#error')), /huge needs at least 8589934592 bytes .*TANSY_OVER_BUDGET/);
      await choose(page, GREEDY);
      await page.fill('#prompt', PROMPT);
      await page.click('#go');
      await page.waitForFunction((n) => document.querySelector('#text').textContent.length >= n, expected.length);
      assert.equal(await page.textContent('#text'), expected);
    }));

  it('light or dark by choice, also the next time', () =>
    visit({}, async (page) => {
      const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
      const system = await paper();
      await page.click('#theme');
      assert.equal(await paper(), system, 'light');
      await page.click('#theme');
      const dark = await paper();
      assert.notEqual(dark, system);
      await page.reload();
      assert.equal(await paper(), dark);
      await ready(page);
    }));

  it('a beginning that is offered is taken', () =>
    visit({}, async (page) => {
      await ready(page);
      await choose(page, { maxTokens: 3 });
      const idea = await page.textContent('#ideas button');
      await page.click('#ideas button');
      await page.waitForFunction((idea) => document.querySelector('#given').textContent === idea, idea);
      await ready(page);
      assert.equal(await page.inputValue('#prompt'), idea);
    }));

  it('is what `tansy serve` opens, with the model that was given', async () => {
    const child = spawn(process.execPath, [join(root, 'js/cli/main.js'), 'serve', join(root, MODEL_PATH), '--port', '0', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const { page, problems, close } = await openPage(browser);
    try {
      const [line] = await once(createInterface(child.stdout), 'line');
      await page.goto(JSON.parse(line).url);
      await ready(page);
      assert.equal(await page.textContent('#model-name'), basename(MODEL_PATH, '.tansy'));
      assert.ok(await page.isVisible('#tiny'), 'that it is a very small model is told here too');
      await choose(page, GREEDY);
      await page.fill('#prompt', PROMPT);
      await page.click('#go');
      await ready(page);
      assert.equal(await page.textContent('#text'), expected);
      assert.deepEqual(problems, []);
    } finally {
      await close();
      child.kill('SIGINT');
    }
  });

  it('opens a file the visitor chooses', () =>
    visit({}, async (page) => {
      await ready(page);
      await page.setInputFiles('#file', { name: 'mine.tansy', mimeType: 'application/octet-stream', buffer: await readFile(join(root, MODEL_PATH)) });
      await page.waitForFunction(() => document.querySelector('#model-name').textContent === 'mine');
      await ready(page);
      await choose(page, GREEDY);
      await page.fill('#prompt', PROMPT);
      await page.click('#go');
      await ready(page);
      assert.equal(await page.textContent('#text'), expected);
    }));

  it('says what is wrong with a missing and with a corrupt model', async () => {
    const corrupt = await readFile(join(root, MODEL_PATH));
    for (let i = corrupt.length >> 1; i < (corrupt.length >> 1) + 64; i++) corrupt[i] ^= 0x55;
    const extra = new Map([['/demo/models/corrupt.tansy', corrupt]]);
    for (const [query, text, code] of [
      ['?model=models/missing.tansy', /404/, 'TANSY_HTTP'],
      ['?model=models/corrupt.tansy', /checksum/, 'TANSY_CHECKSUM'],
      ['?budget=100KB', /needs at least \d+ bytes/, 'TANSY_OVER_BUDGET'],
    ])
      await visit(
        { extra },
        async (page) => {
          await page.waitForSelector('#error:not([hidden])');
          const said = String(await page.textContent('#error'));
          assert.match(said, /** @type {RegExp} */ (text));
          assert.ok(said.includes(String(code)), said);
          assert.equal(await page.isDisabled('#go'), true);
        },
        { query: String(query), expectProblems: /404/ },
      );
  });

  for (const [name, context] of /** @type {[string, import('playwright-core').BrowserContextOptions][]} */ ([
    ['desk', { viewport: { width: 1200, height: 860 } }],
    ['dark', { viewport: { width: 1200, height: 860 }, colorScheme: 'dark' }],
    ['phone', { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
    ['small phone', { viewport: { width: 320, height: 568 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true }],
  ]))
    it(`fits its screen (${name})`, () =>
      visit(
        {},
        async (page) => {
          await ready(page);
          await choose(page, { temperature: 0.8, seed: 7, maxTokens: 120 });
          await page.$eval('.settings', (details) => (details.open = false));
          await page.click('#go');
          await ready(page);
          await page.screenshot({ path: join(screenshots, `${name}.png`), fullPage: name.endsWith('phone') });
          // Not innerWidth: on a phone that grows with what is too wide.
          const overflow = (await page.evaluate(() => document.documentElement.scrollWidth)) - Number(context.viewport?.width);
          assert.ok(overflow <= 0, `${overflow} pixels too wide`);
          const edges = await page.$$eval('textarea, .card', (all) => all.map((e) => e.getBoundingClientRect().right));
          assert.equal(new Set(edges).size, name.endsWith('phone') ? 1 : 2, `columns end in line: ${edges}`);
          const small = await page.$$eval('button, summary, .modes label, input:not([type=file], [type=radio])', (all) =>
            all.filter((e) => e.getClientRects().length > 0 && e.getBoundingClientRect().height < 24).map((e) => e.id || e.tagName),
          );
          assert.deepEqual(small, [], 'big enough for a finger');
        },
        { context },
      ));
});
