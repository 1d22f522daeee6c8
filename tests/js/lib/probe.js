// probe.js: node probe.js MODEL WASM THREADS: one build's answers, as JSON: tokens and a digest of logits for several ways of running.
import { createHash } from 'node:crypto';
import { canRun, load } from '../../../js/index.js';

const [model, wasmUrl, threadsText] = process.argv.slice(2);
const threads = Number(threadsText);
const digest = (/** @type {Float32Array} */ logits) => createHash('sha256').update(new Uint8Array(logits.buffer)).digest('hex');
const { bytesNeeded } = await canRun(model, { wasmUrl, threads, residency: 'ans' });

/** @type {Record<string, import('../../../js/index.js').LoadOptions>} */
const ways = {
  smallest: { memoryBudget: bytesNeeded },
  ans: { residency: 'ans' },
  packed: { residency: 'packed' },
  int8: { residency: 'int8' },
  'one at a time': { residency: 'ans', batchSize: 1 },
};
/** @type {Record<string, unknown>} */
const out = {};
for (const [name, options] of Object.entries(ways)) {
  const loaded = await load(model, { ...options, wasmUrl, threads });
  const prompt = Array.from({ length: 40 }, (_, i) => (i * i * 7 + 11) % loaded.config.vocab);
  const logits = digest(await loaded.logits(prompt));
  const greedy = loaded.generate(prompt, { temperature: 0, maxTokens: 24, ignoreEos: true });
  await greedy.text();
  loaded.reset();
  const sampled = loaded.generate(prompt, { seed: 42, maxTokens: 24, ignoreEos: true, repeatPenalty: 1.1 });
  await sampled.text();
  out[name] = { logits, greedy: greedy.ids, sampled: sampled.ids, kernels: loaded.stats().variant, threads: loaded.stats().threads };
  loaded.dispose();
}
process.stdout.write(JSON.stringify(out));
