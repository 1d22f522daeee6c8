// The memory card: heap bytes by kind as a bar with its legend, and the budget slider.

import { bytes } from './format.js';

/** Kinds as the page shows them: title, and which of stats().memory belong to it. @type {[kind: string, title: string, parts: string[]][]} */
const KINDS = [
  ['ans', 'compressed weights', ['ans']],
  ['packed', 'packed weights', ['packed']],
  ['int8', 'plain weights', ['int8']],
  ['kv', 'what it has read (KV cache)', ['kv']],
  ['scratch', 'working space', ['scratch', 'io']],
  ['staging', 'arriving weights', ['staging']],
  ['other', 'everything else', ['vectors', 'tables', 'static']],
];

/**
 * @param {{ heap: HTMLElement, bar: HTMLElement, kinds: HTMLElement }} elements
 * @param {import('../web/index.js').ModelStats} stats
 */
export function showMemory({ heap, bar, kinds }, { heapBytes, memory }) {
  heap.textContent = bytes(heapBytes);
  const segments = [];
  const rows = [];
  const spoken = [];
  let shown = 0;
  for (const [kind, title, parts] of KINDS) {
    let nbytes = parts.reduce((sum, part) => sum + (/** @type {Record<string, number>} */ (/** @type {unknown} */ (memory))[part] ?? 0), 0);
    shown += nbytes;
    // What is left of the last page belongs to nobody.
    if (kind === 'other') nbytes += Math.max(0, heapBytes - shown);
    if (nbytes === 0) continue;
    const segment = document.createElement('span');
    segment.dataset.kind = kind;
    segment.style.flexGrow = String(nbytes / heapBytes);
    segment.title = `${title}: ${bytes(nbytes)}`;
    segments.push(segment);
    const dt = document.createElement('dt');
    dt.dataset.kind = kind;
    dt.textContent = title;
    const dd = document.createElement('dd');
    dd.textContent = bytes(nbytes);
    rows.push(dt, dd);
    spoken.push(segment.title);
  }
  bar.replaceChildren(...segments);
  bar.setAttribute('aria-label', `Heap bytes by kind. ${spoken.join(', ')}`);
  kinds.replaceChildren(...rows);
}

const PAGE_NBYTES = 65536;

/** The slider between the smallest memory the model runs in and the one where all weights are packed: more is not faster. */
export class Budget {
  #slider;
  #value;
  #moves = 0;

  /**
   * @param {HTMLInputElement} slider
   * @param {HTMLOutputElement} value
   * @param {(nbytes: number) => void} onChange
   */
  constructor(slider, value, onChange) {
    this.#slider = slider;
    this.#value = value;
    slider.addEventListener('input', () => this.#show());
    slider.addEventListener('change', () => onChange(this.nbytes));
  }

  get nbytes() {
    return this.#slider.valueAsNumber;
  }

  /** @param {1 | -1} change a move begins, or ends */
  moving(change) {
    this.#moves += change;
    this.#slider.setAttribute('aria-busy', String(this.#moves > 0));
  }

  /**
   * @param {number} smallest
   * @param {number} largest
   * @param {number} now
   */
  set(smallest, largest, now) {
    this.#slider.min = String(smallest);
    this.#slider.max = String(largest);
    this.#slider.step = String(PAGE_NBYTES);
    this.#slider.value = String(now);
    this.#slider.disabled = smallest >= largest;
    this.#show();
  }

  /** What is in use, after a move. @param {number} nbytes */
  now(nbytes) {
    this.#slider.value = String(nbytes);
    this.#show();
  }

  #show() {
    this.#value.textContent = bytes(this.nbytes);
    this.#slider.setAttribute('aria-valuetext', bytes(this.nbytes));
  }
}
