/**
 * memory_curve.js: `tansy bench --memory-curve`: what each byte of memory buys, from the smallest memory to everything in int8.
 *
 * First the costs are measured: the model runs in each form alone, which gives the time of a weight in that form as it streams from memory,
 * and a layer runs without its weights. From these the planner chooses what goes into each budget and predicts its speed. The
 * measurements of the budgets themselves change no prediction.
 */
import { TansyError, canRun, load } from '../index.js';
import { ROLES } from '../roles.js';
import { formatBytes } from '../units.js';
import { round, table } from './output.js';

const N_POINTS = 9;
const CONTEXT = 512;
const N_TOKENS = 24;
/** of which the first is not timed */
const MIN_TOKENS = 2;
const N_PROMPT = 8;
/** long enough for V8 to compile what is used often */
const WARM_UP_MS = 300;
const FORMS = /** @type {const} */ (['ans', 'packed', 'int8']);
/** over the forms: in the first one the engine is still compiling the others' code, and a disturbance rarely comes twice */
const N_PASSES = 2;

/**
 * @typedef {object} Point
 * @property {number} budget_bytes
 * @property {number} heap_bytes with a full context
 * @property {number} weight_bytes
 * @property {number} n_packed
 * @property {number} n_int8
 * @property {number} predicted_tok_s
 * @property {number} measured_tok_s
 */

/**
 * @typedef {object} Whole every matrix in one form
 * @property {'ans' | 'packed' | 'int8'} form
 * @property {number} heap_bytes
 * @property {number} weight_bytes
 * @property {number} tok_s
 * @property {number} speed_of_int8
 * @property {number} bytes_of_int8
 */

/**
 * @typedef {object} MemoryCurve
 * @property {number} context
 * @property {number} threads
 * @property {string} variant
 * @property {number} file_bytes
 * @property {Record<string, number>} ns_per_weight by form; layer: ns of a layer beside its weights
 * @property {Whole[]} forms
 * @property {number} worst_prediction largest |predicted / measured - 1|
 * @property {Point[]} points
 */

/**
 * @param {string} source
 * @param {import('../options.js').LoadOptions} options
 * @param {{signal: AbortSignal, repetitions: number, onPoint: (i: number, n: number) => void}} how
 * @returns {Promise<MemoryCurve>}
 */
export async function memoryCurve(source, options, { signal, repetitions, onPoint }) {
  const { modelContext } = await canRun(source, { ...options, signal });
  const contextSize = options.contextSize || Math.min(modelContext, CONTEXT);
  if (contextSize < N_PROMPT + MIN_TOKENS)
    throw new TansyError('TANSY_CONTEXT', `The curve is measured with ${N_PROMPT + MIN_TOKENS} tokens or more; the context holds ${contextSize}. Raise contextSize.`);
  const fixed = { ...options, contextSize, signal };
  const nSteps = N_PASSES * FORMS.length + 2 * N_POINTS;

  /**
   * @param {import('../index.js').Model} model
   * @param {number[]} times of tokens, to add to
   */
  const measure = async (model, times) => {
    const ids = Array.from({ length: N_PROMPT }, (_, i) => (i * 7919 + 1) % model.config.vocab);
    const maxTokens = Math.min(N_TOKENS, contextSize - N_PROMPT);
    const warm = performance.now() + WARM_UP_MS;
    for (let i = 0; i < repetitions || performance.now() < warm; i++) {
      model.reset();
      let last = NaN;
      const onToken = () => {
        const now = performance.now();
        if (last === last) times.push(now - last); /* not the first, which waited for the prompt */
        last = now;
      };
      await model.generate(ids, { temperature: 0, ignoreEos: true, speculate: false, maxTokens, signal, onToken }).text();
    }
    return speedOf(times);
  };

  /** @type {Whole[]} */
  const forms = [];
  let layerNs = Infinity;
  let nWeights = 0;
  let nLayers = 0;
  for (let step = 0; step < N_PASSES * FORMS.length; step++) {
    onPoint(step, nSteps);
    const form = FORMS[step % FORMS.length];
    const model = await load(source, { ...fixed, residency: form, memoryBudget: undefined });
    try {
      const speed = await measure(model, []);
      layerNs = Math.min(layerNs, await model.measureLayer());
      nWeights = weightsOfToken(model);
      nLayers = model.config.layers;
      const { heapLimitBytes, memory } = model.stats();
      const before = forms[step % FORMS.length];
      if (before) before.tok_s = Math.max(before.tok_s, round(speed));
      else forms.push({ form, heap_bytes: heapLimitBytes, weight_bytes: memory.ans + memory.packed + memory.int8, tok_s: round(speed), speed_of_int8: 1, bytes_of_int8: 1 });
    } finally {
      model.dispose();
    }
  }
  const int8 = forms[2];
  for (const whole of forms) {
    whole.speed_of_int8 = round(whole.tok_s / int8.tok_s);
    whole.bytes_of_int8 = round(whole.weight_bytes / int8.weight_bytes);
  }
  const [costAns, costPacked, costInt8] = forms.map(({ tok_s }) => Math.max(1e9 / tok_s - nLayers * layerNs, 1) / nWeights);
  const costs = { costAns, costPacked, costInt8, costLayer: layerNs };

  const smallest = (await canRun(source, { ...fixed, residency: 'auto', memoryBudget: undefined })).bytesNeeded;
  const largest = int8.heap_bytes;
  const model = await load(source, { ...fixed, residency: 'auto', memoryBudget: smallest });
  try {
    model.planWith(costs);
    /** @type {Point[]} */
    const points = [];
    /** times of tokens, of budgets that come to the same plan together
     * @type {Map<string, number[]>} */
    const timesOf = new Map();
    /** @type {string[]} */
    const plans = [];
    /* up and down again: what disturbs the machine for a while disturbs no point alone */
    for (let step = 0; step < 2 * N_POINTS; step++) {
      onPoint(N_PASSES * FORMS.length + step, nSteps);
      const i = step < N_POINTS ? step : 2 * N_POINTS - 1 - step;
      const budget = i === N_POINTS - 1 ? largest : Math.floor(smallest + ((largest - smallest) * i) / (N_POINTS - 1));
      const { heapLimitBytes, memory, nPacked, nInt8 } = await model.setMemoryBudget(budget, { signal });
      plans[i] = `${heapLimitBytes} ${nPacked} ${nInt8}`;
      const times = timesOf.get(plans[i]) ?? [];
      timesOf.set(plans[i], times);
      const measured = await measure(model, times);
      points[i] = {
        budget_bytes: budget,
        heap_bytes: heapLimitBytes,
        weight_bytes: memory.ans + memory.packed + memory.int8,
        n_packed: nPacked,
        n_int8: nInt8,
        predicted_tok_s: round(model.stats().plannedTokS),
        measured_tok_s: round(measured),
      };
    }
    for (const [i, point] of points.entries()) point.measured_tok_s = round(speedOf(timesOf.get(plans[i]) ?? []));
    const { threads, variant, fileBytes } = model.stats();
    const worst = Math.max(...points.map((p) => Math.abs(p.predicted_tok_s / p.measured_tok_s - 1)));
    const ns = { ans: round(costAns), packed: round(costPacked), int8: round(costInt8), layer: round(layerNs) };
    return { context: contextSize, threads, variant, file_bytes: fileBytes, ns_per_weight: ns, forms, worst_prediction: round(worst), points };
  } finally {
    model.dispose();
  }
}

/**
 * @param {readonly number[]} times of tokens, in ms
 * @returns {number} tokens a second, of the fastest quarter: whatever else the machine did only ever slowed down
 */
function speedOf(times) {
  const fastest = [...times].sort((a, b) => a - b).slice(0, Math.ceil(times.length / 4));
  return (1000 * fastest.length) / fastest.reduce((sum, ms) => sum + ms, 0);
}

/**
 * Weights that a token is multiplied with.
 * @param {import('../index.js').Model} model
 */
function weightsOfToken({ tensors, config }) {
  let n = 0;
  for (const { role, coded, nRows, nCols } of tensors) if (coded && ROLES[role] !== 'position_embed' && (ROLES[role] !== 'embed' || config.tied)) n += nRows * nCols;
  return n;
}

/** @param {MemoryCurve} curve */
export function curveTable({ points, forms, worst_prediction }) {
  const rows = points.map((p) => [
    formatBytes(p.budget_bytes),
    formatBytes(p.heap_bytes),
    formatBytes(p.weight_bytes),
    String(p.n_packed),
    String(p.n_int8),
    p.predicted_tok_s.toFixed(1),
    p.measured_tok_s.toFixed(1),
  ]);
  const [, packed] = forms;
  return (
    table(['budget', 'heap', 'weights', 'packed', 'int8', 'predicted tok/s', 'measured tok/s'], rows, [true, true, true, true, true, true, true]) +
    `\nall packed: ${packed.speed_of_int8.toFixed(2)} of the speed of int8 in ${packed.bytes_of_int8.toFixed(2)} of its bytes; ` +
    `predictions within ${(100 * worst_prediction).toFixed(0)} %\n`
  );
}

/**
 * The curve as an SVG: MiB of heap across, tokens a second up.
 * @param {readonly Point[]} points
 * @param {string} title
 */
export function curveSvg(points, title) {
  const [width, height, left, right, top, bottom] = [640, 400, 60, 20, 56, 44];
  const mostX = Math.max(...points.map((p) => p.heap_bytes));
  const mostY = Math.max(...points.map((p) => Math.max(p.measured_tok_s, p.predicted_tok_s))) * 1.05;
  const x = (/** @type {number} */ nbytes) => (left + ((width - left - right) * nbytes) / mostX).toFixed(1);
  const y = (/** @type {number} */ speed) => (height - bottom - ((height - top - bottom) * speed) / mostY).toFixed(1);
  const line = (/** @type {'predicted_tok_s' | 'measured_tok_s'} */ key) => points.map((p) => `${x(p.heap_bytes)},${y(p[key])}`).join(' ');
  const escaped = title.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);
  const ticks = [0, 1, 2, 3, 4].flatMap((i) => {
    const [nbytes, speed] = [(mostX * i) / 4, (mostY * i) / 4];
    return [
      `<text x="${x(nbytes)}" y="${height - bottom + 16}" text-anchor="middle">${(nbytes / 2 ** 20).toPrecision(3)}</text>`,
      `<text x="${left - 6}" y="${Number(y(speed)) + 4}" text-anchor="end">${speed.toPrecision(3)}</text>`,
      `<line class="axis" x1="${left}" x2="${width - right}" y1="${y(speed)}" y2="${y(speed)}"/>`,
    ];
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12" role="img">
<style>text{fill:#222}.axis{stroke:#8884}@media (prefers-color-scheme:dark){text{fill:#ddd}}</style>
<title>${escaped}</title>
<text x="12" y="20" font-size="14" font-weight="600">${escaped}</text>
<text x="12" y="40">tokens a second: measured (line), predicted (dashes)</text>
${ticks.join('\n')}
<text x="${(left + width - right) / 2}" y="${height - 8}" text-anchor="middle">MiB of heap</text>
<polyline fill="none" stroke="#d98032" stroke-width="2" stroke-dasharray="6 4" points="${line('predicted_tok_s')}"/>
<polyline fill="none" stroke="#3b6fb6" stroke-width="2" points="${line('measured_tok_s')}"/>
${points.map((p) => `<circle cx="${x(p.heap_bytes)}" cy="${y(p.measured_tok_s)}" r="3" fill="#3b6fb6"/>`).join('\n')}
</svg>
`;
}
