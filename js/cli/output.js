/** output.js: what the commands print. Results go to stdout, progress to stderr and only where somebody watches. */
import { formatBytes } from '../units.js';

/** @param {unknown} value */
export function printJson(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/**
 * Text of a file or a model as a terminal may show it: an escape sequence could rename the window, fill the clipboard, or hide what is
 * said next. Line breaks and tabs stay.
 * @param {string} text
 */
export function printable(text) {
  return text.replaceAll('\r', '').replace(/[\0-\x08\x0b-\x1f\x7f-\x9f]/g, '\ufffd');
}

/** One line that is rewritten, on a terminal; nothing elsewhere. */
export class StatusLine {
  #shown = false;
  /** @param {boolean} [wanted] */
  constructor(wanted = true) {
    this.active = wanted && process.stderr.isTTY === true;
  }
  /** @param {string} text */
  show(text) {
    if (!this.active) return;
    const width = (process.stderr.columns ?? 80) - 1;
    process.stderr.write(`\r\x1b[K${printable(text).slice(0, width)}`);
    this.#shown = true;
  }
  clear() {
    if (this.#shown) process.stderr.write('\r\x1b[K');
    this.#shown = false;
  }
}

/**
 * onProgress of load(), as a status line.
 * @param {StatusLine} line
 * @returns {(progress: import('../loader.js').Progress) => void}
 */
export function loadProgress(line) {
  return ({ loaded, total, rate, secondsLeft }) => {
    if (loaded >= total) return line.clear();
    const left = Number.isFinite(secondsLeft) ? `, ${Math.ceil(secondsLeft)} s left` : '';
    line.show(`loading ${formatBytes(loaded)} of ${formatBytes(total)} (${formatBytes(Math.round(rate))}/s${left})`);
  };
}

/**
 * @param {string[]} head
 * @param {string[][]} rows
 * @param {boolean[]} [right] columns set flush right
 * @returns {string}
 */
export function table(head, rows, right = []) {
  const widths = head.map((text, i) => Math.max(text.length, ...rows.map((row) => row[i].length)));
  const line = (/** @type {string[]} */ row) =>
    row
      .map((cell, i) => (right[i] ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd();
  return printable(`${[head, ...rows].map(line).join('\n')}\n`);
}

/** What JSON and text say of a model's memory and speed; `run` and `bench` share it. */
export class Figures {
  /** @param {import('../model.js').Model} model */
  constructor(model) {
    const stats = model.stats();
    this.stats = stats;
    this.json = {
      tokens: stats.decodeTokens + (stats.prefillTokens > 0 ? 1 : 0),
      prompt_tokens: stats.prefillTokens,
      prefill_tok_s: round(stats.prefillTokS),
      decode_tok_s: round(stats.decodeTokS),
      heap_bytes: stats.heapBytes,
      memory: stats.memory,
      decoded_bytes: stats.decodedBytes,
      file_bytes: stats.fileBytes,
      bits_per_weight: round(stats.bitsPerWeight),
      context_size: stats.contextSize,
      variant: stats.variant,
    };
  }
  /** @returns {string} one line */
  get text() {
    const { stats } = this;
    const weights = stats.memory.ans + stats.memory.packed + stats.memory.int8;
    return (
      `${stats.bitsPerWeight.toFixed(2)} bits per weight (file ${formatBytes(stats.fileBytes)}) · heap ${formatBytes(stats.heapBytes)}` +
      ` (weights ${formatBytes(weights)}, KV ${formatBytes(stats.memory.kv)}) · ${stats.prefillTokS.toFixed(0)} tok/s prompt, ` +
      `${stats.decodeTokS.toFixed(1)} tok/s · ${stats.variant}`
    );
  }
}

/** Six significant digits. @param {number} value */
export function round(value) {
  return Number(value.toPrecision(6));
}

/**
 * A report of tansy-pack with its bits per weight counting every byte of the file, the tokenizer's too.
 * @param {any} report
 */
export function countEveryByte(report) {
  report.bits_per_weight_without_attachments = report.bits_per_weight;
  report.bits_per_weight = (report.file_bytes * 8) / report.n_params;
  delete report.bits_per_weight_with_attachments;
}
