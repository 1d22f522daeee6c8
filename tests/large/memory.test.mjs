// Memory at the sizes that people run: SmolLM2-135M in little more than its file, Llama-3.2-1B in a page within 640 MiB, Llama-3-8B in Node
// within 4 GiB, where addresses pass 2 GiB. Weights are random (`tansy synth`); tokens and logits must be those of the native
// engine, whose pointers have 64 bits. Files are made in build/large and kept (3.7 GB).

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runPack } from '../../js/cli/pack.js';
import { canRun, load } from '../../js/index.js';
import { launchChromium, openPage, skip } from '../browser/lib/chromium.mjs';
import { root, startServer } from '../browser/lib/server.mjs';

const MIB = 2 ** 20;
const FOLDER = join(root, 'build/large');
const NATIVE = join(root, 'build/native/tests/tansy-run');
const PROMPT = [1, 5000, 77, 12345, 9, 40000];
const N_TOKENS = 4;
const GREEDY = Object.freeze({ temperature: 0, maxTokens: N_TOKENS, ignoreEos: true, speculate: false });

/** @param {string} preset @param {number} bits */
async function synth(preset, bits) {
  mkdirSync(FOLDER, { recursive: true });
  const path = join(FOLDER, `${preset}-${bits}.tansy`);
  if (!existsSync(path)) await runPack(['synth', '--preset', preset, '--bits', String(bits), '-o', path, '--progress', 'json']);
  return path;
}

/** @param {string} path */
function nativeTokens(path) {
  const text = execFileSync(NATIVE, [path, '--ids', PROMPT.join(','), '-n', String(N_TOKENS), '--ctx', '512'], { encoding: 'utf8', maxBuffer: 1 << 26 });
  return (text.match(/\d+/g) ?? []).map(Number).slice(0, N_TOKENS);
}

test('SmolLM2-135M at 3.2 bits: the smallest heap is the file, the KV cache and at most 8 MiB', async (t) => {
  const path = await synth('smollm2-135m', 3.2);
  for (const contextSize of [512, 4096]) {
    const { bytesNeeded } = await canRun(path, { contextSize });
    const model = await load(path, { contextSize, memoryBudget: bytesNeeded });
    await model.generate(PROMPT, GREEDY).text();
    const { heapLimitBytes, memory, fileBytes } = model.stats();
    model.dispose();
    const kv = (await canRun(path, { contextSize, memoryBudget: bytesNeeded })).memory.kv ?? 0;
    t.diagnostic(`context ${contextSize}: ${(heapLimitBytes / MIB).toFixed(1)} MiB for a file of ${(fileBytes / MIB).toFixed(1)}, KV ${(kv / MIB).toFixed(1)} (${(memory.kv / MIB).toFixed(1)} in use)`);
    assert.ok(heapLimitBytes <= fileBytes + kv + 8 * MIB);
  }
});

test('Llama-3.2-1B at 3.3 bits loads and generates in Chromium within 640 MiB', { skip, timeout: 900_000 }, async (t) => {
  const path = await synth('llama-3.2-1b', 3.27);
  const expected = nativeTokens(path);
  const server = await startServer({});
  const browser = await launchChromium();
  try {
    const { page, problems } = await openPage(browser);
    page.setDefaultTimeout(900_000);
    await page.goto(`${server.url}/tests/browser/pages/blank.html`);
    const got = await page.evaluate(
      async ([url, prompt, options]) => {
        const { load } = await import('/dist/tansy.esm.js');
        const started = performance.now();
        const model = await load(url, { memoryBudget: '640MB', contextSize: 2048, threads: 1 });
        const seconds = (performance.now() - started) / 1000;
        const generation = model.generate(prompt, options);
        await generation.text();
        const stats = await model.stats();
        model.dispose();
        return { ids: generation.ids, stats, seconds };
      },
      /** @type {const} */ ([path.slice(root.length - 1), PROMPT, GREEDY]),
    );
    const { heapBytes, heapLimitBytes, decodeTokS, nPacked, nMatrices, fileBytes } = got.stats;
    t.diagnostic(
      `file ${(fileBytes / MIB).toFixed(0)} MiB, heap ${(heapBytes / MIB).toFixed(1)} of at most ${(heapLimitBytes / MIB).toFixed(1)} MiB, ` +
        `${nPacked} of ${nMatrices} matrices packed, loaded in ${got.seconds.toFixed(1)} s, ${decodeTokS.toFixed(2)} tokens a second`,
    );
    assert.deepEqual(got.ids, expected);
    assert.ok(heapLimitBytes <= 640 * MIB);
    assert.deepEqual(problems, []);
  } finally {
    await browser.close();
    await server.close();
  }
});

test('Llama-3-8B at 3 bits runs in Node within 4 GiB: addresses above 2 GiB are right', { timeout: 1_800_000 }, async (t) => {
  const path = await synth('llama-3-8b', 3);
  const fit = await canRun(path, { contextSize: 512 });
  assert.ok(fit.bytesNeeded > 2 ** 31 && fit.bytesNeeded <= 2 ** 32 - 65536);
  const expected = nativeTokens(path);
  const started = performance.now();
  const model = await load(path, { contextSize: 512, memoryBudget: 2 ** 32 - 65536, threads: 4 });
  const seconds = (performance.now() - started) / 1000;
  const generation = model.generate(PROMPT, GREEDY);
  await generation.text();
  const { heapBytes, heapLimitBytes, decodeTokS, threads, nPacked, nMatrices, fileBytes } = model.stats();
  t.diagnostic(
    `file ${(fileBytes / MIB).toFixed(0)} MiB, heap ${(heapBytes / MIB).toFixed(0)} of at most ${(heapLimitBytes / MIB).toFixed(0)} MiB, ` +
      `${nPacked} of ${nMatrices} matrices packed, loaded in ${seconds.toFixed(1)} s, ${decodeTokS.toFixed(2)} tokens a second on ${threads} threads`,
  );
  assert.deepEqual(generation.ids, expected);
  /* and the conversation, which lies at the very end, can be taken out and put back */
  const saved = await model.saveSession();
  assert.deepEqual(await model.restoreSession(saved), [...PROMPT, ...generation.ids.slice(0, -1)]);
  const more = model.generate([...PROMPT, ...generation.ids], { ...GREEDY, maxTokens: 1 });
  await more.text();
  assert.equal(model.stats().prefillTokens, 1);
  model.dispose();
});
