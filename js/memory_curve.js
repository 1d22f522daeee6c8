/**
 * memory_curve.js: what memory buys on this device: a model is moved through budgets and timed in each, then moved back.
 */
import { TansyError } from './errors.js';
import { shown } from './units.js';

/**
 * @typedef {object} CurvePoint
 * @property {number} budgetBytes
 * @property {number} heapBytes the heap with a full context: at most the budget
 * @property {number} tokensPerSecond
 */

/**
 * What is needed of a model: that of Node, or that of a page.
 * @typedef {object} Movable
 * @property {(memoryBudget: number, watch?: {signal?: AbortSignal}) => Promise<unknown>} setMemoryBudget
 * @property {(prompt: number[], options: import('./options.js').GenerateOptions) => {text: () => Promise<string>}} generate
 * @property {() => import('./model_info.js').ModelStats | Promise<import('./model_info.js').ModelStats>} stats
 */

const PAGE_NBYTES = 65536;
const N_TOKENS = 32;
/** of a budget, beyond two runs: the first is slow until the engine's code is compiled well, any may be held up by something else */
const MEASURE_MS = 800;

/**
 * Measures speed against memory: greedy text at each of a few budgets, from the smallest to the one that holds all weights packed. Conversations are
 * forgotten. However it ends, the model is back in the memory it had.
 * @param {Movable} model of load()
 * @param {{points?: number, signal?: AbortSignal}} [options] points: how many budgets, 2 or more; 5
 * @returns {AsyncGenerator<CurvePoint, void, void>}
 */
export async function* memoryCurve(model, { points = 5, signal } = {}) {
  if (!Number.isInteger(points) || points < 2) throw new TansyError('TANSY_OPTION', `points must be an integer of at least 2; got ${shown(points)}.`);
  const { minBytes, maxBytes, budgetBytes: before } = await model.stats();
  const nPages = Math.max(0, maxBytes - minBytes) / PAGE_NBYTES;
  try {
    for (let i = 0; i < points; i++) {
      const budgetBytes = minBytes + Math.floor((nPages * i) / (points - 1)) * PAGE_NBYTES;
      await model.setMemoryBudget(budgetBytes, { signal });
      let tokensPerSecond = 0;
      for (let run = 0, start = performance.now(); run < 2 || performance.now() - start < MEASURE_MS; run++) {
        await model.generate([0], { temperature: 0, maxTokens: N_TOKENS + 1, ignoreEos: true, speculate: false, signal }).text();
        tokensPerSecond = Math.max(tokensPerSecond, (await model.stats()).decodeTokS);
      }
      yield { budgetBytes, heapBytes: (await model.stats()).heapLimitBytes, tokensPerSecond };
    }
  } finally {
    await model.setMemoryBudget(before);
  }
}
