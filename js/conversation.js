/**
 * conversation.js: the tokens in the KV cache: appended, verified, reused between calls, saved and restored. Evaluations run layer by
 * layer, with turns for the event loop, and hold the model in its memory.
 */
import { TansyError } from './errors.js';
import { packSession, unpackSession } from './session.js';
import { Turns } from './turns.js';

/** Of measuring a token's time. */
const MEASURE_MS = 100;

export class Conversation {
  #residence;
  #arrival;
  /** what the KV cache holds, up to the engine's position
   * @type {number[]} */
  #cached = [];
  /** logitRows() keeps the model where it is until its loop ends */
  readsRows = false;

  /**
   * @param {import('./residence.js').Residence} residence
   * @param {import('./arrival.js').Arrival} arrival of chunks that may still be missing
   */
  constructor(residence, arrival) {
    this.#residence = residence;
    this.#arrival = arrival;
  }

  get #identity() {
    const { home } = this.#residence;
    return { kv: home.options.kv, fingerprint: home.fingerprint };
  }

  /** @returns {Uint8Array} the conversation as bytes */
  save() {
    return packSession(this.#residence.engine, this.#identity);
  }

  /**
   * @param {Uint8Array} bytes of save()
   * @returns {number[]} token ids
   */
  restore(bytes) {
    const ids = unpackSession(this.#residence.engine, bytes, this.#identity);
    this.#cached = [...ids];
    return ids;
  }

  forget() {
    this.#residence.engine.rewind(0);
    this.#cached = [];
  }

  /**
   * Begins a text with what the cache holds of it already.
   * @param {readonly number[]} ids
   * @returns {readonly number[]} what is left to evaluate: the last token at least, for its logits
   */
  reuse(ids) {
    const { engine } = this.#residence;
    /* a cancelled call puts the position back: what is beyond it is not there */
    const n = Math.min(this.#cached.length, ids.length - 1, engine.position);
    let same = 0;
    while (same < n && this.#cached[same] === ids[same]) same++;
    engine.rewind(same);
    this.#cached = ids.slice(0, same);
    return ids.slice(same);
  }

  /**
   * Appends tokens.
   * @param {readonly number[]} ids
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>} milliseconds
   */
  async append(ids, signal) {
    const release = await this.#residence.stay();
    try {
      this.#cached.push(...ids);
      const start = performance.now();
      this.#residence.engine.begin(ids, false);
      const turns = new Turns(signal);
      try {
        do await turns.maybe();
        while (await this.#step(signal, turns));
      } catch (error) {
        this.#cancel();
        throw error;
      }
      return performance.now() - start;
    } finally {
      release();
    }
  }

  /**
   * Makes room in a full context and appends a token: of what was there the newer half stays, after a BOS at its beginning, and is
   * evaluated anew, so that the cache is what it would be had the text begun there.
   * @param {number} id
   * @param {number | undefined} bos
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>} milliseconds
   */
  async shift(id, bos, signal) {
    const n = this.#residence.contextSize >> 1;
    const kept = n > 0 ? this.#cached.slice(-n) : [];
    if (n > 1 && this.#cached[0] === bos) kept[0] = /** @type {number} */ (bos);
    this.forget();
    return this.append([...kept, id], signal);
  }

  /**
   * Appends a token and as many of the guesses after it as the model would have picked itself.
   * @param {number} id
   * @param {readonly number[]} draft
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @param {ReadonlySet<number>} ends ids after which nothing follows
   * @returns {Promise<{ids: number[], ms: number}>} ids: what was sampled; all but the last are appended
   */
  async verify(id, draft, options, ends) {
    const release = await this.#residence.stay();
    try {
      const start = performance.now();
      /** @type {number[]} */
      const sampled = [];
      this.#cached.push(id);
      this.#residence.engine.begin([id, ...draft], true);
      let more = true;
      try {
        const turns = new Turns(options.signal);
        while (more) {
          await turns.maybe();
          more = await this.#step(options.signal);
          const { engine } = this.#residence;
          if (engine.logits().rows.length === 0) continue;
          const next = engine.sample(options);
          const isRight = next === draft[sampled.length] && !ends.has(next);
          sampled.push(next);
          if (isRight) this.#cached.push(next);
          else if (more) {
            engine.keep(sampled.length);
            break;
          }
        }
      } catch (error) {
        if (more) this.#cancel();
        throw error;
      }
      return { ids: sampled, ms: performance.now() - start };
    } finally {
      release();
    }
  }

  /**
   * Logits of every position of `ids`, evaluated from an empty cache, a few rows at a time.
   * @param {readonly number[]} ids
   * @param {AbortSignal | undefined} signal
   * @returns {AsyncGenerator<{first: number, rows: Float32Array}>}
   */
  async *logitRows(ids, signal) {
    const release = await this.#residence.stay();
    this.readsRows = true;
    try {
      const { engine } = this.#residence;
      engine.rewind(0);
      this.#cached = [...ids];
      engine.begin(ids, true);
      let done = false;
      try {
        const turns = new Turns(signal);
        while (!done) {
          await turns.maybe();
          done = !(await this.#step(signal));
          const logits = engine.logits();
          if (logits.rows.length > 0) yield logits;
        }
      } finally {
        if (!done) engine.cancel();
      }
    } finally {
      this.readsRows = false;
      release();
    }
  }

  /**
   * @param {number} vocab
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>} ns of a token, of the fastest of a few: the others were disturbed
   */
  async measureToken(vocab, signal) {
    this.forget();
    let best = Infinity;
    const end = performance.now() + MEASURE_MS;
    for (let n = 0; n < 3 || (n < 16 && performance.now() < end); n++) {
      if (this.#residence.engine.position >= this.#residence.contextSize) this.forget();
      best = Math.min(best, await this.append([n % vocab], signal));
    }
    this.forget();
    return best * 1e6;
  }

  /**
   * One layer of one batch, as soon as its weights are there; with `turns` more of them, until the event loop wants its turn.
   * @param {AbortSignal | undefined} signal
   * @param {Turns} [turns]
   * @returns {Promise<boolean>} false when done
   */
  async #step(signal, turns) {
    for (;;) {
      try {
        const { engine } = this.#residence;
        let more = engine.step();
        while (more && turns?.isDue === false) more = engine.step();
        return more;
      } catch (error) {
        if (!(error instanceof TansyError) || error.code !== 'TANSY_NOT_READY' || this.#residence.isDisposed) throw error;
      }
      /* when nothing more comes, the next try tells */
      if (!(await this.#arrival.next(signal))) return this.#residence.engine.step();
    }
  }

  #cancel() {
    if (!this.#residence.isDisposed) this.#residence.engine.cancel();
  }
}
