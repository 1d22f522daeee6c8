// stories260K as plain 8-bit integers, in a page: the text that two independent implementations give.
//
// Its checkpoint is not part of the project: without ../shared this is skipped, and says so.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { launchChromium, openPage, skip as noChromium, timeout } from './lib/chromium.mjs';
import { root, startServer } from './lib/server.mjs';

const checkpoint = join(root, '../shared/models/stories260K');
const skip = noChromium || (existsSync(checkpoint) ? false : `SKIPPED: there is no checkpoint at ${checkpoint}`);
const BEGINNING =
  'Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball.';

describe('stories260K in Chromium', { skip, timeout }, () => {
  it('tells the known story, whichever variant', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tansy-stories-'));
    const file = join(folder, 'stories.tansy');
    const cli = [join(root, 'js/cli/main.js'), 'compress', checkpoint, '-o', file, '--bits', '8', '--no-prune', '--json'];
    const compressed = spawnSync(process.execPath, cli, { encoding: 'utf8' });
    assert.equal(compressed.status, 0, compressed.stderr);
    const server = await startServer({ extra: new Map([['/stories.tansy', readFileSync(file)]]) });
    const browser = await launchChromium();
    try {
      const { page, problems } = await openPage(browser);
      await page.goto(`${server.url}/tests/browser/pages/blank.html`);
      for (const variant of ['simd128', 'relaxed']) {
        const text = await page.evaluate(async (variant) => {
          const { load } = await import('/dist/tansy.esm.js');
          const model = await load('/stories.tansy', { variant });
          const prompt = 'Once upon a time';
          const text = prompt + (await model.generate(prompt, { temperature: 0, maxTokens: 60 }).text());
          model.dispose();
          return text;
        }, variant);
        assert.ok(text.startsWith(BEGINNING), text);
      }
      assert.deepEqual(problems, []);
    } finally {
      await browser.close();
      await server.close();
      rmSync(folder, { recursive: true });
    }
  });
});
