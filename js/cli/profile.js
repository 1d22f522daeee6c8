/**
 * profile.js: where the time of a stretch of work goes, by V8's sampling profiler. The modules keep their functions' names for this.
 */
import { Session } from 'node:inspector/promises';

/** Parts of the work by name of the function, first match wins; code that V8 or clang inlined counts where it went. */
/** @type {readonly [part: string, functions: RegExp][]} */
const PARTS = Object.freeze([
  ['ANS decoding', /^ans_|_ans_|expand_|^take_codes|^put_rows/],
  ['escapes', /escapes/],
  ['dot products', /^dot_|_dot_|matmul|unpack/],
  ['attention', /attend|softmax/],
  ['KV cache', /quantize_kv|store_kv/],
  ['norms', /norm/],
  ['quantization', /quantize|^multiply/],
  ['row scales', /scale_rows/],
  ['activation', /activate|expf|tanhf|erff/],
  ['rotary positions', /rope|rotate|cosf|sinf|angles/],
  ['sampling', /sampl|^draw|^sift|^greedy|^penalize|^take_best|rng/],
  ['threads', /parallel|^work/],
  ['engine', /^tansy_|^run_|^layer|forward|look_up|memcpy|memset|memmove/],
]);

const HEAD = /head_forward|run_head/;

/** @typedef {{part: string, share: number}} Part */
/** @typedef {{parts: Part[], functions: {name: string, share: number}[], milliseconds: number}} Profile */

/**
 * @param {() => Promise<unknown>} work
 * @returns {Promise<Profile>} shares of the time until work was done
 */
export async function profileOf(work) {
  const session = new Session();
  session.connect();
  let profile;
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: 250 });
    await session.post('Profiler.start');
    await work();
    ({ profile } = await session.post('Profiler.stop'));
  } finally {
    session.disconnect();
  }
  return summarize(profile);
}

/**
 * @param {import('node:inspector').Profiler.Profile} profile
 * @returns {Profile}
 */
export function summarize(profile) {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]));
  /** @type {Map<number, boolean>} */
  const inHead = new Map();
  const mark = (/** @type {number} */ id, /** @type {boolean} */ inside) => {
    const node = nodes.get(id);
    const here = inside || HEAD.test(node?.callFrame.functionName ?? '');
    inHead.set(id, here);
    for (const child of node?.children ?? []) mark(child, here);
  };
  mark(profile.nodes[0].id, false);

  /** @type {Map<string, number>} */
  const parts = new Map();
  /** @type {Map<string, number>} */
  const functions = new Map();
  let total = 0;
  const deltas = profile.timeDeltas ?? [];
  for (const [i, id] of (profile.samples ?? []).entries()) {
    const { functionName, url } = nodes.get(id)?.callFrame ?? { functionName: '', url: '' };
    /* what is not ours: waiting, and the profiler itself */
    if (functionName === '(idle)' || functionName === '(root)' || url.startsWith('node:inspector')) continue;
    const isWasm = url.startsWith('wasm:');
    const name = functionName || '(anonymous)';
    const part = isWasm ? (PARTS.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other wasm') : name === '(garbage collector)' ? 'garbage collector' : 'JavaScript';
    const key = inHead.get(id) ? `head: ${part}` : part;
    parts.set(key, (parts.get(key) ?? 0) + deltas[i]);
    functions.set(name, (functions.get(name) ?? 0) + deltas[i]);
    total += deltas[i];
  }
  const shares = (/** @type {Map<string, number>} */ map) => [...map].sort((a, b) => b[1] - a[1]).map(([name, us]) => ({ name, share: us / total }));
  return { parts: shares(parts).map(({ name, share }) => ({ part: name, share })), functions: shares(functions).slice(0, 20), milliseconds: total / 1000 };
}
