/**
 * costs.js: what a token's work costs on this device, for the planner: a weight in each of its forms, by products of one tile, and a layer
 * beside its weights. Some tens of milliseconds.
 */

/** Of one measurement: short, but long against the clock's grain (0.1 ms in pages that are not isolated). */
const ROUNDS_MS = 0.3;
const GRAINS = 10;
const MAX_ROUNDS = 1 << 20;
/** Measurements end when so many rounds in a row changed so little; until then code is being compiled, or something else disturbs. */
const AGREEMENT = 0.05;
const N_AGREE = 4;
const MAX_MS = 100;
/** of a call's time, of half its rounds */
const LEAST_SHARE = 0.35;

/** What a further thread does of one's work, and what it takes to share the work of a layer, in ns: typical figures. */
const HELP = 0.7;
const SHARING_NS = 25000;

/** TANSY_PROBE_LAYER; below it the forms of weights */
const LAYER = 3;

/** ns a weight and token; costLayer: ns a layer and token
 * @typedef {{costAns: number, costPacked: number, costInt8: number, costLayer: number}} Costs */

/**
 * @param {{probe: (form: number, nRounds: number) => number}} engine
 * @returns {Costs | undefined} undefined: too little is loaded yet
 */
export function measureCosts(engine) {
  const roundsMs = Math.max(ROUNDS_MS, GRAINS * clockGrain());
  const probes = [];
  for (let form = 0; form <= LAYER; form++) {
    const probe = new Probe(engine, form, roundsMs);
    if (probe.nWeights === 0) return undefined;
    probes.push(probe);
  }
  const end = performance.now() + MAX_MS;
  let costs = probes.map((probe) => probe.measure());
  for (let nAgree = 0; nAgree < N_AGREE && performance.now() < end; ) {
    const next = probes.map((probe) => probe.measure());
    nAgree = next.every((cost, i) => Math.abs(cost - costs[i]) <= AGREEMENT * cost) ? nAgree + 1 : 0;
    costs = next;
  }
  const [costAns, costPacked, costInt8, costLayer] = costs;
  return { costAns, costPacked, costInt8, costLayer };
}

/**
 * @param {{probe: (form: number, nRounds: number) => number}} engine
 * @returns {number} ns of a layer and token beside its weights
 */
export function measureLayer(engine) {
  const probe = new Probe(engine, LAYER, Math.max(ROUNDS_MS, GRAINS * clockGrain()));
  let ns = 0;
  for (let i = 0; i < 8; i++) ns = probe.measure();
  return ns;
}

/**
 * @param {Costs} costs of one thread
 * @param {number} nThreads
 * @returns {Costs} of so many
 */
export function shareCosts({ costAns, costPacked, costInt8, costLayer }, nThreads) {
  const n = 1 + HELP * (nThreads - 1);
  return { costAns: costAns / n, costPacked: costPacked / n, costInt8: costInt8 / n, costLayer: costLayer + (nThreads > 1 ? SHARING_NS : 0) };
}

/** @returns {number} milliseconds */
function clockGrain() {
  const start = performance.now();
  let now = start;
  while (now === start) now = performance.now();
  return now - start;
}

class Probe {
  #engine;
  #form;
  #nRounds = 1;
  /** shortest so far, of each length: whatever disturbs only adds */
  #short = Infinity;
  #long = Infinity;

  /**
   * @param {{probe: (form: number, nRounds: number) => number}} engine
   * @param {number} form
   * @param {number} roundsMs
   */
  constructor(engine, form, roundsMs) {
    this.#engine = engine;
    this.#form = form;
    /** of a round; 0: cannot be tried. The first round brings the tile into the cache. */
    this.nWeights = engine.probe(form, 1);
    while (this.nWeights > 0 && this.#time(this.#nRounds) < roundsMs && this.#nRounds < MAX_ROUNDS) this.#nRounds *= 2;
  }

  /** @param {number} nRounds */
  #time(nRounds) {
    const start = performance.now();
    this.#engine.probe(this.#form, nRounds);
    return performance.now() - start;
  }

  /** @returns {number} ns a weight, so far: of two calls of different length the difference, which is the products alone */
  measure() {
    this.#short = Math.min(this.#short, this.#time(this.#nRounds));
    this.#long = Math.min(this.#long, this.#time(2 * this.#nRounds));
    /* what a call takes beside its products is little; a smaller difference means that the code got faster between the two */
    const ms = Math.max(this.#long - this.#short, LEAST_SHARE * this.#long);
    return (ms * 1e6) / (this.#nRounds * this.nWeights);
  }
}
