// Speed against memory, as measured on this device: a small chart that shares its horizontal axis with the budget slider.

import { bytes, rate } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 288;
const HEIGHT = 72;
/** Room for the points at the edges; the slider's thumb needs about as much. */
const MARGIN = 8;

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function svg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
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
    const top = Math.max(...points.map(([, speed]) => speed), 1) * 1.1;
    const x = (/** @type {number} */ heap) => MARGIN + ((WIDTH - 2 * MARGIN) * (heap - smallest)) / Math.max(largest - smallest, 1);
    const y = (/** @type {number} */ speed) => HEIGHT - MARGIN - ((HEIGHT - 2 * MARGIN) * speed) / top;
    const line = svg('polyline', { points: points.map(([heap, speed]) => `${x(heap)},${y(speed)}`).join(' ') });
    const dots = points.map(([heap, speed]) => {
      const dot = svg('circle', { cx: x(heap), cy: y(speed), r: heap === now ? 4.5 : 3 });
      const title = svg('title', {});
      title.textContent = `${rate(speed)} tokens a second in ${bytes(heap)}`;
      dot.append(title);
      return dot;
    });
    this.#chart.replaceChildren(svg('line', { x1: MARGIN, x2: WIDTH - MARGIN, y1: HEIGHT - MARGIN, y2: HEIGHT - MARGIN }), line, ...dots);
    this.#chart.setAttribute('aria-label', `Speed by memory: ${points.map(([heap, speed]) => `${rate(speed)} tokens a second in ${bytes(heap)}`).join(', ')}`);
  }
}
