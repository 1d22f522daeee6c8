/**
 * memory_curve.js: `tansy bench --memory-curve`: what each byte of memory buys, from the smallest memory to everything in int8.
 *
 * The planner counts the matrices only, at costs of a weight measured on one tile. Its times are scaled so that they agree with
 * the measured ones at both ends of the curve, where they differ by other work (attention, norms) and by streams that are not in the
 * processor's cache; the points between are predictions.
 */
import { canRun, load } from '../index.js';
import { formatBytes } from '../units.js';
import { round, table } from './output.js';

const N_POINTS = 9;
const CONTEXT = 512;
const N_TOKENS = 24;
const N_PROMPT = 8;
const WARM_UP_MS = 500;

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
 * @param {string} source
 * @param {import('../options.js').LoadOptions} options
 * @param {{signal: AbortSignal, repetitions: number, onPoint: (i: number, n: number) => void}} how
 * @returns {Promise<{context: number, threads: number, variant: string, file_bytes: number, points: Point[]}>}
 */
export async function memoryCurve(source, options, { signal, repetitions, onPoint }) {
  const { modelContext } = await canRun(source, { ...options, signal });
  const contextSize = options.contextSize || Math.min(modelContext, CONTEXT);
  const fixed = { ...options, contextSize, signal };
  const smallest = (await canRun(source, { ...fixed, residency: 'auto', memoryBudget: undefined })).bytesNeeded;
  const largest = (await canRun(source, { ...fixed, residency: 'int8', memoryBudget: undefined })).bytesPlanned;
  /* the engine compiles its modules better once they are used; before that no form's cost is what it will be */
  for (const residency of /** @type {const} */ (['ans', 'packed', 'int8'])) {
    const warm = await load(source, { ...fixed, residency, memoryBudget: undefined });
    const end = performance.now() + WARM_UP_MS;
    while (performance.now() < end) await warm.logits([1, 2], { signal });
    warm.dispose();
  }
  /* any goal has the costs measured; this one is reached by the smallest memory */
  const model = await load(source, { ...fixed, residency: 'auto', memoryBudget: smallest, minTokensPerSecond: 0.001 });
  try {
    const ids = Array.from({ length: N_PROMPT }, (_, i) => (i * 7919 + 1) % model.config.vocab);
    const measure = async () => {
      let best = 0;
      for (let i = 0; i < repetitions; i++) {
        model.reset();
        await model.generate(ids, { temperature: 0, ignoreEos: true, speculate: false, maxTokens: Math.min(N_TOKENS, contextSize - N_PROMPT), signal }).text();
        /* the fastest: whatever else the machine did only ever slows down */
        best = Math.max(best, model.stats().decodeTokS);
      }
      return best;
    };
    /** @type {Point[]} */
    const points = [];
    /** @type {number[]} */
    const planned = [];
    for (let i = 0; i < N_POINTS; i++) {
      onPoint(i, N_POINTS);
      const budget = i === N_POINTS - 1 ? largest : Math.floor(smallest + ((largest - smallest) * i) / (N_POINTS - 1));
      const { heapLimitBytes, memory, nPacked, nInt8, plannedTokS } = await model.setMemoryBudget(budget, { signal });
      const speed = await measure();
      planned.push(1 / plannedTokS);
      points.push({
        budget_bytes: budget,
        heap_bytes: heapLimitBytes,
        weight_bytes: memory.ans + memory.packed + memory.int8,
        n_packed: nPacked,
        n_int8: nInt8,
        predicted_tok_s: 0,
        measured_tok_s: round(speed),
      });
    }
    const [first, last] = [0, N_POINTS - 1];
    const [slow, fast] = [1 / points[first].measured_tok_s, 1 / points[last].measured_tok_s];
    for (const [i, point] of points.entries()) {
      const left = planned[first] > planned[last] ? (planned[i] - planned[last]) / (planned[first] - planned[last]) : 0;
      point.predicted_tok_s = round(1 / (fast + (slow - fast) * left));
    }
    const { threads, variant, fileBytes } = model.stats();
    return { context: contextSize, threads, variant, file_bytes: fileBytes, points };
  } finally {
    model.dispose();
  }
}

/** @param {readonly Point[]} points */
export function curveTable(points) {
  const rows = points.map((p) => [
    formatBytes(p.budget_bytes),
    formatBytes(p.heap_bytes),
    formatBytes(p.weight_bytes),
    String(p.n_packed),
    String(p.n_int8),
    p.predicted_tok_s.toFixed(1),
    p.measured_tok_s.toFixed(1),
  ]);
  return table(['budget', 'heap', 'weights', 'packed', 'int8', 'predicted tok/s', 'measured tok/s'], rows, [true, true, true, true, true, true, true]);
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
