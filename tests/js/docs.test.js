// The documents: reference pages as the sources make them, links that lead somewhere, examples that parse.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { test } from 'node:test';
import { transform } from 'esbuild';
import { kilobytes, measureSizes } from '../../scripts/lib/sizes.mjs';
import { apiPage, errorsPage } from '../../scripts/lib/reference.mjs';
import { root } from './lib/builds.js';

const read = (/** @type {string} */ path) => readFileSync(join(root, path), 'utf8');
const pages = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md', ...readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];

for (const [path, page] of /** @type {const} */ ([['docs/api.md', apiPage], ['docs/errors.md', errorsPage]]))
  test(`${path} is as the sources make it`, () => {
    assert.ok(read(path) === page(), `${path} lags behind the sources: run \`npm run docs\` and commit what it makes`);
  });

/** GitHub's name of a heading. @param {string} heading */
const anchor = (heading) => heading.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/ /g, '-');
const anchors = (/** @type {string} */ text) => new Set([...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) => anchor(heading)));

test('links and pictures of the documents lead somewhere', () => {
  let n = 0;
  for (const page of pages) {
    const text = read(page);
    for (const [, target] of [...text.matchAll(/\]\(([^)\s]+)\)/g), ...text.matchAll(/(?:src|srcset|href)="([^"]+)"/g)].filter(([, target]) => !/^(https?:|mailto:)/.test(target))) {
      if (text.includes('```html') && /\.(js|css)$/.test(target)) continue; // of an example
      const [file, hash] = target.split('#');
      const path = file === '' ? page : relative(root, join(root, dirname(page), file));
      assert.ok(existsSync(join(root, path)), `${page}: ${target}`);
      if (hash) assert.ok(anchors(read(path)).has(hash), `${page}: ${target} has no such heading`);
      n++;
    }
  }
  assert.ok(n > 30, `${n} links`);
});

test('the documents tell the size that is measured, within a few KB', async () => {
  const { whole } = await measureSizes();
  const told = [/([\d.]+) KB of gzip/.exec(read('README.md')), /\| \*\*([\d.]+)\*\* \|/.exec(read('docs/comparison.md'))].map((match) => Number(match?.[1]));
  for (const kb of told) assert.ok(Math.abs(kb - whole / 1000) < 8, `${kb} KB are told, ${kilobytes(whole)} measured: bring README.md and docs/comparison.md up to date`);
});

test('examples of the documents parse', async () => {
  let n = 0;
  for (const page of pages)
    for (const [, language, code] of read(page).matchAll(/^```(js|html|json)\n([^]*?)^```$/gm)) {
      n++;
      try {
        if (language === 'json') JSON.parse(code);
        else if (language === 'js') await transform(code, { loader: 'js', format: 'esm', target: 'es2022' });
        else for (const [, script] of code.matchAll(/<script[^>]*>([^]*?)<\/script>/g)) await transform(script, { loader: 'js', target: 'es2022' });
      } catch (error) {
        assert.fail(`${page}: ${error}\n${code}`);
      }
    }
  assert.ok(n >= 8, `${n} examples`);
});
