/**
 * costs.js: what a weight costs on this device in each of its forms, for the planner. A few milliseconds of products of one tile.
 */

/** of one measurement; long against the clock's grain (0.1 ms in pages that are not isolated) */
const ROUNDS_MS = 2;
const REPETITIONS = 4;
const MAX_ROUNDS = 1 << 20;

/** @typedef {{costAns: number, costPacked: number, costInt8: number}} Costs ns a weight and token */

/**
 * @param {{probe: (form: number, nRounds: number) => number}} engine
 * @returns {Costs | undefined} undefined: no matrix can be tried yet
 */
export function measureCosts(engine) {
  const costs = [0, 1, 2].map((form) => measureForm(engine, form));
  if (costs.some((cost) => cost === undefined)) return undefined;
  const [costAns, costPacked, costInt8] = /** @type {number[]} */ (costs);
  return { costAns, costPacked, costInt8 };
}

/**
 * @param {{probe: (form: number, nRounds: number) => number}} engine
 * @param {number} form
 */
function measureForm(engine, form) {
  /* the first round decodes the tile and warms it up */
  const nWeights = engine.probe(form, 1);
  if (nWeights === 0) return undefined;
  const time = (/** @type {number} */ nRounds) => {
    const start = performance.now();
    engine.probe(form, nRounds);
    return performance.now() - start;
  };
  let n = 2;
  while (time(n) < ROUNDS_MS && n < MAX_ROUNDS) n *= 2;
  /* Two calls of different length: the difference is the products alone. Of each the fastest, which nothing disturbed */
  let [short, long] = [Infinity, Infinity];
  for (let i = 0; i < REPETITIONS; i++) {
    short = Math.min(short, time(n));
    long = Math.min(long, time(2 * n));
  }
  const best = long > short ? long - short : long / 2;
  return (best * 1e6) / (n * nWeights);
}
