// The browser of these tests: the system's Chromium, driven through playwright-core.
//
// Without one the tests are skipped, and say so; where CI is set they fail instead.

import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { chromium } from 'playwright-core';

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];

/** @returns {string | undefined} path of a Chromium */
export function findChromium() {
  const given = process.env.CHROMIUM_PATH;
  const onPath = NAMES.flatMap((name) => (process.env.PATH ?? '').split(delimiter).map((dir) => join(dir, name)));
  return [...(given ? [given] : []), ...onPath].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** For `describe(name, { skip, timeout }, …)`. A page that waits for ever must fail its tests, not hold up the run. */
export const timeout = 300_000;
export const skip = findChromium() || process.env.CI ? false : 'there is no Chromium on this machine: install `chromium`, or set CHROMIUM_PATH';

/** A browser with a profile of its own that is thrown away. */
export function launchChromium() {
  const executablePath = findChromium();
  if (!executablePath) throw new Error('no Chromium was found: install `chromium`, or set CHROMIUM_PATH');
  return chromium.launch({
    executablePath,
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}

/**
 * A page that remembers what went wrong in it.
 * @param {import('playwright-core').Browser} browser
 * @param {import('playwright-core').BrowserContextOptions} [options]
 */
export async function openPage(browser, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  /** @type {string[]} */
  const problems = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') problems.push(`${message.type()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => problems.push(`uncaught: ${error.message}`));
  return { page, problems, close: () => context.close() };
}
