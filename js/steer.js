/**
 * steer.js: what stands between the logits and the sampler: biases, the mask of a response format, and log probabilities.
 */
import { TansyError } from './errors.js';

/** Logits of tokens that may not come: finite, because the sampler refuses infinities; no bias or penalty reaches it. */
const FORBIDDEN = -1e30;

/**
 * @typedef {object} TokenLogprob
 * @property {number} id
 * @property {string} token its text; U+FFFD where it is part of a character
 * @property {number[]} bytes
 * @property {number} logprob by the model itself, before biases, masks and the sampler
 */
/** @typedef {TokenLogprob & {top: TokenLogprob[]}} GeneratedLogprob top: the likeliest ones, best first */

/**
 * @typedef {object} SteeringOptions
 * @property {ReadonlyMap<number, number>} [bias] added to logits
 * @property {number} [logprobs] how many of the likeliest tokens to tell with each generated one; undefined: tell nothing
 * @property {import('./schema/automaton.js').Matcher} [matcher] the form the text must have
 */

/**
 * @param {unknown} bias `{ id: number }`, as OpenAI has it
 * @param {number} vocab
 * @returns {Map<number, number> | undefined}
 */
export function checkBias(bias, vocab) {
  if (bias === undefined || bias === null) return undefined;
  if (typeof bias !== 'object' || Array.isArray(bias)) throw new TansyError('TANSY_OPTION', 'logit_bias must be an object of token ids and numbers, such as { 42: -100 }.');
  /** @type {Map<number, number>} */
  const map = new Map();
  for (const [key, value] of Object.entries(bias)) {
    const id = Number(key);
    if (!/^\d+$/.test(key) || id >= vocab) throw new TansyError('TANSY_OPTION', `logit_bias: "${key}" is no token of this model; ids are integers from 0 to ${vocab - 1}.`);
    if (typeof value !== 'number' || !(value >= -100 && value <= 100))
      throw new TansyError('TANSY_OPTION', `logit_bias of token ${key} must be a number from -100 to 100; got ${JSON.stringify(value)}.`);
    map.set(id, value);
  }
  return map.size > 0 ? map : undefined;
}

export class Steering {
  #bias;
  #nTop;
  #matcher;
  #tokens;
  #ends;
  /** @type {import('./schema/automaton.js').MatchState | undefined} */
  #state;
  /** @type {Float32Array | undefined} logits before they are changed */
  #raw;
  /** @type {Set<number> | undefined} of the last row */
  #allowed;
  #best = -1;
  /** one for each generated token, if asked for
   * @type {GeneratedLogprob[]} */
  logprobs = [];

  /**
   * @param {SteeringOptions} options
   * @param {import('./schema/tokens.js').TokenTable | undefined} tokens
   * @param {ReadonlySet<number>} ends ids that end the text
   */
  constructor({ bias, logprobs, matcher }, tokens, ends) {
    this.#bias = bias;
    this.#nTop = logprobs;
    this.#matcher = matcher;
    this.#tokens = tokens;
    this.#ends = ends;
    this.#state = matcher?.start;
    if ((matcher !== undefined || logprobs !== undefined) && tokens === undefined)
      throw new TansyError('TANSY_NO_TOKENIZER', 'Response formats and logprobs need a tokenizer, and this file carries none.');
  }

  /** The text is a whole value of its format; always false without one. */
  get isComplete() {
    return this.#state?.complete === true;
  }

  /** Nothing may follow: the format is complete, and longer texts are not of it, or the model has no token to end with. */
  get isDone() {
    return this.isComplete && (this.#state?.open === false || this.#ends.size === 0);
  }

  /**
   * Changes a row of logits in place, before the sampler sees it.
   * @param {Float32Array} row
   * @param {number} nLeft tokens that may still come, the next one included
   */
  prepare(row, nLeft) {
    if (this.#nTop !== undefined) this.#raw = row.slice();
    if (this.#bias !== undefined) for (const [id, bias] of this.#bias) row[id] = Math.max(row[id] + bias, FORBIDDEN);
    if (this.#matcher === undefined || this.#state === undefined || this.#tokens === undefined) return;
    const ids = this.#tokens.trie.allowed(this.#matcher, this.#state, nLeft - 1);
    const kept = [...ids];
    if (this.#state.complete) for (const id of this.#ends) kept.push(id);
    if (kept.length === 0)
      throw new TansyError('TANSY_SCHEMA', "This model's vocabulary has no token that the schema allows next. Use plainer property names and enum values.");
    const values = kept.map((id) => row[id]);
    row.fill(FORBIDDEN);
    this.#best = kept[0];
    for (let i = 0; i < kept.length; i++) {
      row[kept[i]] = values[i];
      if (values[i] > row[this.#best]) this.#best = kept[i];
    }
    this.#allowed = new Set(kept);
  }

  /**
   * Rounding may leave the sampler's draw at the very last token, allowed or not.
   * @param {number} id
   * @returns {number}
   */
  check(id) {
    return this.#allowed === undefined || this.#allowed.has(id) ? id : this.#best;
  }

  /**
   * Takes notice of a token that is part of the text.
   * @param {number} id
   */
  accept(id) {
    if (this.#nTop !== undefined && this.#raw !== undefined) this.logprobs.push(this.#describe(this.#raw, id, this.#nTop));
    if (this.#matcher === undefined || this.#tokens === undefined) return;
    for (const byte of this.#tokens.bytesOf(id)) {
      const next = this.#state && this.#matcher.step(this.#state, byte);
      if (!next) throw new TansyError('TANSY_SCHEMA', `Token ${id} was not masked although the schema forbids it.`);
      this.#state = next;
    }
  }

  /**
   * @param {Float32Array} row
   * @param {number} id
   * @param {number} nTop
   * @returns {GeneratedLogprob}
   */
  #describe(row, id, nTop) {
    let most = -Infinity;
    for (const logit of row) if (logit > most) most = logit;
    let sum = 0;
    for (const logit of row) sum += Math.exp(logit - most);
    const total = most + Math.log(sum);
    /** @type {number[]} ids, best first; short, so that insertion is cheap */
    const top = [];
    for (let i = 0; nTop > 0 && i < row.length; i++) {
      if (top.length === nTop && row[i] <= row[top[nTop - 1]]) continue;
      let at = top.length;
      while (at > 0 && row[top[at - 1]] < row[i]) at--;
      top.splice(at, 0, i);
      if (top.length > nTop) top.pop();
    }
    const one = (/** @type {number} */ token) => {
      const bytes = /** @type {import('./schema/tokens.js').TokenTable} */ (this.#tokens).bytesOf(token);
      return { id: token, token: new TextDecoder().decode(bytes), bytes: [...bytes], logprob: row[token] - total };
    };
    return { ...one(id), top: top.map(one) };
  }
}
