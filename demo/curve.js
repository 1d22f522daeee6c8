// Speed against memory, as measured on this device: a small chart that shares its horizontal axis with the budget slider below it.

import { bytes, rate } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 288;
const HEIGHT = 110;
/** Room for the points at the edges; the slider's thumb needs about as much. */
const MARGIN = 8;
/** Room above the highest point, for its figure. */
const TOP = 22;

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {string} [text]
 */
function svg(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  if (text !== undefined) element.textContent = text;
  return element;
}

export class Curve {
  #chart;
  /** Heap bytes → tokens a second. @type {Map<number, number>} */
  #points = new Map();
  #ends = [0, 1];

  /** @param {SVGSVGElement} chart */
  constructor(chart) {
    this.#chart = chart;
    chart.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
  }

  /** @param {number} smallest @param {number} largest */
  reset(smallest, largest) {
    this.#ends = [smallest, largest];
    this.#points.clear();
    this.#draw(0);
  }

  /**
   * @param {number} heapBytes
   * @param {number} tokensPerSecond
   */
  add(heapBytes, tokensPerSecond) {
    this.#points.set(heapBytes, tokensPerSecond);
    this.#draw(heapBytes);
  }

  /** @param {number} now the heap that is in use */
  #draw(now) {
    const points = [...this.#points].sort(([a], [b]) => a - b);
    this.#chart.toggleAttribute('hidden', points.length === 0);
    const [smallest, largest] = this.#ends;
    const top = Math.max(...points.map(([, speed]) => speed), 1);
    const x = (/** @type {number} */ heap) => MARGIN + ((WIDTH - 2 * MARGIN) * (heap - smallest)) / Math.max(largest - smallest, 1);
    const y = (/** @type {number} */ speed) => HEIGHT - MARGIN - ((HEIGHT - MARGIN - TOP) * speed) / top;
    const base = HEIGHT - MARGIN;
    const line = points.map(([heap, speed]) => `${x(heap)},${y(speed)}`);
    const area = [`${x(points[0]?.[0] ?? 0)},${base}`, ...line, `${x(points.at(-1)?.[0] ?? 0)},${base}`];
    const dots = points.map(([heap, speed]) => {
      const dot = svg('circle', { cx: x(heap), cy: y(speed), r: heap === now ? 5 : 3.5 });
      dot.append(svg('title', {}, `${rate(speed)} tokens a second in ${bytes(heap)}`));
      return dot;
    });
    // The figures of the two ends, and of what is in use; two that would lie on each other are one.
    const told = points.filter(([heap], i) => i === 0 || i === points.length - 1 || heap === now).filter(([heap], i, all) => i === 0 || x(heap) - x(all[i - 1][0]) > 28);
    const labels = told.map(([heap, speed]) => {
      const [at, anchor] = x(heap) < 24 ? [0, 'start'] : x(heap) > WIDTH - 24 ? [WIDTH, 'end'] : [x(heap), 'middle'];
      return svg('text', { x: at, y: y(speed) - 9, 'text-anchor': anchor }, `${rate(speed)}${heap === told.at(-1)?.[0] ? ' tok/s' : ''}`);
    });
    this.#chart.replaceChildren(
      svg('line', { x1: MARGIN, x2: WIDTH - MARGIN, y1: base, y2: base }),
      ...(points.length > 1 ? [svg('polygon', { points: area.join(' ') }), svg('polyline', { points: line.join(' ') })] : []),
      ...dots,
      ...labels,
    );
    this.#chart.setAttribute('aria-label', `Speed by memory: ${points.map(([heap, speed]) => `${rate(speed)} tokens a second in ${bytes(heap)}`).join(', ')}`);
  }
}
