// What the engine benchmark runs in the browser: models by name, one run at a time.

import { Wllama } from '/node_modules/@wllama/wllama/esm/index.js';
import { load } from '/dist/tansy.esm.js';

/** @typedef {{prefillTokS: number, decodeTokS: number, nPrompt: number, nGen: number, heapBytes: number}} Measured */
/** @typedef {{run: (prompt: number[] | string, n: number) => Promise<Measured>, close: () => void}} Runner */

/** @type {Map<string, Runner>} */
const runners = new Map();

/** @param {string} name @param {string} url @param {Record<string, any>} options */
async function openTansy(name, url, options) {
  const model = await load(url, { ...options, cache: false });
  runners.set(name, {
    async run(prompt, n) {
      await model.reset();
      for await (const text of model.generate(/** @type {number[]} */ (prompt), { temperature: 0, maxTokens: n, ignoreEos: true, speculate: false })) void text;
      const s = await model.stats();
      return { prefillTokS: s.prefillTokS, decodeTokS: s.decodeTokS, nPrompt: s.prefillTokens, nGen: s.decodeTokens + 1, heapBytes: s.heapBytes };
    },
    close: () => model.dispose(),
  });
  const stats = await model.stats();
  return { variant: stats.variant, fileBytes: stats.fileBytes, config: model.config };
}

/** @param {string} name @param {string} url @param {{threads: number, contextSize: number}} options */
async function openWllama(name, url, { threads, contextSize }) {
  const wllama = new Wllama({ default: '/node_modules/@wllama/wllama/esm/wasm/wllama.wasm' }, { suppressNativeLog: true, logger: { ...console, debug() {}, log() {} } });
  const blob = await (await fetch(url)).blob();
  await wllama.loadModel([blob], { n_ctx: contextSize, n_threads: threads, n_gpu_layers: 0, n_parallel: 1, warmup: false });
  runners.set(name, {
    async run(prompt, n) {
      const answer = await wllama.createCompletion(
        /** @type {any} */ ({ prompt, max_tokens: n, temperature: 0, ignore_eos: true, cache_prompt: false }),
      );
      const t = answer.timings;
      if (t === undefined) throw new Error(`${name}: an answer without timings`);
      /* the engine's own clock: what its JavaScript adds is not held against it */
      return { prefillTokS: t.prompt_per_second, decodeTokS: t.predicted_per_second, nPrompt: t.prompt_n, nGen: t.predicted_n, heapBytes: 0 };
    },
    close: () => void wllama.exit(),
  });
  return { variant: wllama.isMultithread() ? 'threads' : 'single', fileBytes: blob.size };
}

Object.assign(globalThis, {
  bench: {
    openTansy,
    openWllama,
    /** @param {string} name @param {number[] | string} prompt @param {number} n */
    run(name, prompt, n) {
      const runner = runners.get(name);
      if (runner === undefined) throw new Error(`no ${name}`);
      return runner.run(prompt, n);
    },
    closeAll() {
      for (const runner of runners.values()) runner.close();
      runners.clear();
    },
  },
});
