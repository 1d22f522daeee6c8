// npm run screenshots: pictures of the demo for the README, in docs/images/: by day, by night and on a phone. Needs Chromium.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ensureDist } from './lib/dist.mjs';
import { ensureNodeModules } from './lib/node_modules.mjs';
import { root, runMain, say } from './lib/tools.mjs';

/** @typedef {import('playwright-core').Page} Page */

const DESK = { viewport: { width: 1200, height: 900 }, deviceScaleFactor: 1.5 };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true };

/** @param {Page} page */
const ready = (page) => page.waitForSelector('#go:not([disabled], [data-running])', { timeout: 60_000 });

/** @param {Page} page @param {Record<string, number>} settings */
async function choose(page, settings) {
  await page.$eval('.settings', (details) => (/** @type {HTMLDetailsElement} */ (details).open = true));
  for (const [name, value] of Object.entries(settings)) await page.fill(`#${name}`, String(value));
  await page.$eval('.settings', (details) => (/** @type {HTMLDetailsElement} */ (details).open = false));
}

/** @param {Page} page */
async function measure(page) {
  await page.click('#measure');
  await page.waitForFunction(() => document.querySelectorAll('#curve circle').length === 5 && !(/** @type {HTMLButtonElement} */ (document.querySelector('#measure')).disabled), undefined, { timeout: 120_000 });
}

/** @param {Page} page */
async function tell(page) {
  await choose(page, { seed: 3, maxTokens: 130 });
  await page.click('#go');
  await page.waitForSelector('#go[data-running]').catch(() => {});
  await ready(page);
  await page.evaluate(() => scrollTo(0, 0));
}

/** @param {Page} page */
async function talk(page) {
  await choose(page, { seed: 5, maxTokens: 60 });
  for (const words of ['Good morning! Who are you?', 'What did you see in the forest?', 'Were you afraid?']) {
    await page.fill('#prompt', words);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => !document.querySelector('.turn[aria-busy=true]'));
    await ready(page);
  }
  await page.evaluate(() => scrollTo(0, 0));
}

const PICTURES = /** @type {[name: string, query: string, context: import('playwright-core').BrowserContextOptions, act: (page: Page) => Promise<void>][]} */ ([
  ['demo-light', '', { ...DESK, colorScheme: 'light' }, tell],
  ['demo-dark', '', { ...DESK, colorScheme: 'dark' }, tell],
  ['demo-phone', '?mode=chat', { ...PHONE, colorScheme: 'light' }, talk],
]);

await runMain(async () => {
  ensureNodeModules();
  await ensureDist();
  const { launchChromium } = await import('../tests/browser/lib/chromium.mjs');
  const { listen, staticHandler } = await import('../js/cli/static_server.js');
  const folder = join(root, 'docs', 'images');
  mkdirSync(folder, { recursive: true });
  const server = await listen(staticHandler({ mounts: { '/demo/': join(root, 'demo'), '/dist/': join(root, 'dist') } }), 0, '127.0.0.1');
  const browser = await launchChromium();
  try {
    for (const [name, query, options, act] of PICTURES) {
      const context = await browser.newContext(options);
      const page = await context.newPage();
      await page.goto(`${server.url}/demo/${query}`);
      await ready(page);
      await measure(page);
      await act(page);
      await page.screenshot({ path: join(folder, `${name}.png`) });
      await context.close();
      say(`docs/images/${name}.png`);
    }
  } finally {
    await browser.close();
    await server.close();
  }
});
