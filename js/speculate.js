/**
 * speculate.js: prompt lookup. Where the last three tokens have occurred before, what followed them then is a guess at what comes
 * now; the model verifies a whole guess in one batched pass, which reads the weights once. Tokens are sampled one after the other, each from its
 * own logits, and logits do not depend on the batch: the text is the same with and without, also with a seed.
 */

/** tokens that must agree; with two, most guesses are wrong */
const N_GRAM = 3;
const FIRST_DRAFT = 4;
const MAX_DRAFT = 15;
/** tokens to go without guesses after guessing has cost time; doubled each time in a row */
const FIRST_REST = 16;
const MAX_REST = 512;

/** Whether logits stay the model's own: what changes them from token to token (a response format) needs tokens one at a time. */
export function canSpeculate(/** @type {object} */ options) {
  return ['logitBias', 'logprobs', 'responseFormat'].every((key) => /** @type {Record<string, unknown>} */ (options)[key] === undefined);
}

/** Guesses, and whether they have paid so far. */
export class Speculation {
  /** @type {number[]} */
  #ids = [];
  /** n-gram -> place after it, the latest; and the latest but one, as the latest is the end itself
   * @type {Map<string, number>} */
  #places = new Map();
  #always;
  #nDraft = FIRST_DRAFT;
  /** ms of a token without guesses, a moving average; undefined: not known yet
   * @type {number | undefined} */
  #plainMs;
  #gainMs = 0;
  #rest = 0;
  #nextRest = FIRST_REST;
  /** sampled, not yet taken; all but the last are in the KV cache
   * @type {number[]} */
  #verified = [];

  /**
   * @param {readonly number[]} ids the prompt
   * @param {boolean} always guess even where it has not paid
   */
  constructor(ids, always) {
    this.#always = always;
    for (const id of ids) this.push(id);
  }

  /** A token of the text. @param {number} id */
  push(id) {
    /* the n-gram before this token gets its place when it is no longer the end, so that a look-up finds an earlier one */
    const n = this.#ids.length;
    if (n >= N_GRAM) this.#places.set(this.#gram(), n);
    this.#ids.push(id);
  }

  #gram() {
    return this.#ids.slice(-N_GRAM).join();
  }

  /**
   * @param {number} room tokens at most
   * @returns {number[]} a guess at what follows; empty: go on without
   */
  draft(room) {
    if (!this.#always) {
      if (this.#plainMs === undefined) return [];
      if (this.#rest > 0) {
        this.#rest--;
        return [];
      }
    }
    const place = this.#ids.length >= N_GRAM ? this.#places.get(this.#gram()) : undefined;
    return place === undefined ? [] : this.#ids.slice(place, place + Math.max(0, Math.min(this.#nDraft, room)));
  }

  /** A token went without a guess. @param {number} ms */
  tookPlain(ms) {
    this.#plainMs = this.#plainMs === undefined ? ms : 0.8 * this.#plainMs + 0.2 * ms;
  }

  /**
   * A guess was verified.
   * @param {number} ms
   * @param {number} nDraft its length
   * @param {readonly number[]} verified tokens it gave: those guessed right, and one more
   */
  tookDraft(ms, nDraft, verified) {
    this.#verified.push(...verified);
    this.#nDraft = verified.length > nDraft ? Math.min(2 * nDraft, MAX_DRAFT) : Math.max(2, verified.length);
    this.#gainMs = 0.8 * this.#gainMs + verified.length * (this.#plainMs ?? 0) - ms;
    if (this.#gainMs >= 0) this.#nextRest = FIRST_REST;
    else {
      this.#rest = this.#nextRest;
      this.#nextRest = Math.min(2 * this.#nextRest, MAX_REST);
      this.#gainMs = 0;
    }
  }

  /** @returns {number | undefined} the next token, if it is known already */
  take() {
    return this.#verified.shift();
  }

  /** Whether a further token is known, so that the one just taken needs no evaluation. */
  get isAhead() {
    return this.#verified.length > 0;
  }
}
