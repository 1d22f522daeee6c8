/** units.js: byte counts as people write them, and the nearest word for a misspelt one. */
import { TansyError } from './errors.js';

/** B, KB … are decimal in labels elsewhere; memory is counted in powers of two, so here K = 1024 with or without "i". */
const UNITS = new Map([
  ['', 1],
  ['b', 1],
  ['k', 2 ** 10],
  ['m', 2 ** 20],
  ['g', 2 ** 30],
]);

/**
 * `67108864`, `"64MB"`, `"64 MiB"`, `"1.5g"` → bytes.
 * @param {number | string} value
 * @param {string} what name of the option, for the message
 * @param {string} [or] what else it may be
 * @returns {number}
 */
export function parseBytes(value, what, or = '') {
  if (typeof value === 'number') {
    if (Number.isFinite(value) && value >= 0) return Math.floor(value);
  } else if (typeof value === 'string') {
    const match = /^\s*(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?\s*$/i.exec(value);
    if (match !== null) return Math.floor(Number(match[1]) * /** @type {number} */ (UNITS.get(match[2].toLowerCase())));
  }
  throw new TansyError('TANSY_OPTION', `${what} must be a number of bytes or a string such as "64MB" or "1.5GB"${or}; got ${shown(value)}.`);
}

/**
 * A memory budget: bytes, or the word for how many.
 * @param {number | string} value
 * @param {string} what name of the option, for the message
 * @returns {number | 'auto' | 'min'}
 */
export function parseBudget(value, what) {
  if (value === 'auto' || value === 'min') return value;
  return parseBytes(value, what, ', "min" or "auto"') || 'auto';
}

/** Any value in a message: quoted when it is a string, and not too long. @param {unknown} value */
export function shown(value) {
  const text = typeof value === 'string' || (typeof value === 'object' && value !== null) ? tryJson(value) : String(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

/** @param {unknown} value */
function tryJson(value) {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Object.prototype.toString.call(value); /* it refers to itself, or holds a bigint */
  }
}

/**
 * @param {number} nbytes
 * @returns {string} such as `1.53 MiB`
 */
export function formatBytes(nbytes) {
  if (nbytes < 1024) return `${nbytes} B`;
  const power = Math.min(3, Math.floor(Math.log2(nbytes) / 10));
  const value = nbytes / 2 ** (10 * power);
  return `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ${['B', 'KiB', 'MiB', 'GiB'][power]}`;
}

/** Longer ones are no slip of the finger, and comparing takes time. */
const MAX_WORD_LENGTH = 64;

/**
 * The word of `words` nearest to `word`, if near enough to be a slip of the finger.
 * @param {string} word
 * @param {Iterable<string>} words
 * @returns {string | undefined}
 */
export function nearest(word, words) {
  if (word.length > MAX_WORD_LENGTH) return undefined;
  let best;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of words) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/**
 * @param {string} a
 * @param {string} b
 */
function editDistance(a, b) {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    row = next;
  }
  return row[b.length];
}
