/** metadata.js: metadata of a GGUF file by key, with the types that the reader of a key expects. */
import { TansyError } from '../errors.js';

export class Metadata {
  #map;
  #path;

  /**
   * @param {Map<string, import('./reader.js').MetadataValue>} map
   * @param {string} path for messages
   */
  constructor(map, path) {
    this.#map = map;
    this.#path = path;
  }

  /** @param {string} key */
  has(key) {
    return this.#map.has(key);
  }

  /** @param {string} key */
  isList(key) {
    return Array.isArray(this.#map.get(key));
  }

  /** @param {string} message @returns {TansyError} */
  unsupported(message) {
    return new TansyError('TANSY_UNSUPPORTED', `${this.#path}: ${message}`);
  }

  /** @param {string} key @param {string} expected @returns {TansyError} */
  #wrong(key, expected) {
    if (!this.#map.has(key)) return new TansyError('TANSY_NOT_CHECKPOINT', `${this.#path} has no ${key}; it is no complete model.`);
    return new TansyError('TANSY_CORRUPT', `${this.#path}: ${key} is not ${expected}.`);
  }

  /** @param {string} key @returns {string | undefined} */
  string(key) {
    const value = this.#map.get(key);
    if (value !== undefined && typeof value !== 'string') throw this.#wrong(key, 'a string');
    return value;
  }

  /** @param {string} key @returns {number | undefined} */
  number(key) {
    const value = this.#map.get(key);
    if (value !== undefined && (typeof value !== 'number' || !Number.isFinite(value))) throw this.#wrong(key, 'a number');
    return value;
  }

  /** @param {string} key @returns {boolean | undefined} */
  flag(key) {
    const value = this.#map.get(key);
    if (value !== undefined && typeof value !== 'boolean') throw this.#wrong(key, 'true or false');
    return value;
  }

  /** A whole number; where the file has one for each layer, they must be equal. @param {string} key @returns {number | undefined} */
  integer(key) {
    let value = this.#map.get(key);
    if (Array.isArray(value)) {
      const [first] = value;
      if (value.some((item) => item !== first)) throw this.unsupported(`${key} differs between layers, which is not supported.`);
      value = first;
    }
    if (value === undefined) return undefined;
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) throw this.#wrong(key, 'a whole number');
    return value;
  }

  /** @param {string} key @returns {number} */
  needInteger(key) {
    const value = this.integer(key);
    if (value === undefined) throw this.#wrong(key, 'a whole number');
    return value;
  }

  /** @param {string} key @returns {string[]} */
  strings(key) {
    const value = this.#map.get(key);
    if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) throw this.#wrong(key, 'a list of strings');
    return value;
  }

  /** @param {string} key @param {number} n @returns {number[]} */
  numbers(key, n) {
    const value = this.#map.get(key);
    if (!Array.isArray(value) || value.length !== n || value.some((item) => typeof item !== 'number')) throw this.#wrong(key, `a list of ${n} numbers`);
    return value;
  }

  /** @param {string} key @param {number} n @returns {boolean[]} */
  flags(key, n) {
    const value = this.#map.get(key);
    if (!Array.isArray(value) || value.length !== n || value.some((item) => typeof item !== 'boolean')) throw this.#wrong(key, `a list of ${n} flags`);
    return value;
  }
}
