/**
 * tokenizer.js: text ↔ token ids with @huggingface/tokenizers, and text from ids that arrive one at a time.
 */
import { withTimeLimit } from '#platform';
import { Tokenizer as HuggingFaceTokenizer } from '@huggingface/tokenizers';

import { TansyError } from './errors.js';
import { asRustReads } from './tokenizer_json.js';

/** What an unfinished UTF-8 sequence decodes to. */
const REPLACEMENT = '\ufffd';
/** A character takes at most 4 byte tokens; after twice that a trailing U+FFFD is no unfinished character. */
const MAX_HELD_TOKENS = 8;
/** Tokens of the prompt that precede the first generated one when it is decoded: its leading space depends on them. */
const CONTEXT_TOKENS = 4;
/** Of work on a text: tokenizer.json comes with the file, and its expressions can backtrack for ever. */
const LIMIT_MS = 10000;
const LIMIT_MS_PER_CHARACTER = 0.05;

export class Tokenizer {
  #inner;
  #vocab;
  /** whether decoding runs expressions of the file; a limit takes longer than a token otherwise */
  #decodesByExpressions;
  #limitMs;

  /**
   * @param {string} tokenizerJson
   * @param {string | undefined} configJson tokenizer_config.json
   * @param {number} vocab rows of the embedding
   * @param {number} [limitMs]
   */
  constructor(tokenizerJson, configJson, vocab, limitMs = LIMIT_MS) {
    this.#vocab = vocab;
    this.#limitMs = limitMs;
    try {
      this.config = configJson === undefined ? {} : /** @type {Record<string, any>} */ (JSON.parse(configJson));
      const json = JSON.parse(tokenizerJson);
      this.#decodesByExpressions = JSON.stringify(json?.decoder ?? null).includes('"Regex"');
      this.#inner = this.#limited(tokenizerJson.length, () => new HuggingFaceTokenizer(asRustReads(json), this.config));
    } catch (error) {
      throw new TansyError(
        'TANSY_TOKENIZER',
        `The model's tokenizer.json cannot be used: ${error instanceof Error ? error.message : String(error)}. Make the model file from a checkpoint whose tokenizer works, or from one without tokenizer.json for token ids alone.`,
        {},
        error,
      );
    }
  }

  /**
   * @param {string} text
   * @param {boolean} special run the post-processor (BOS and the like)
   * @returns {number[]}
   */
  encode(text, special) {
    if (text === '' && !special) return [];
    /** @type {{ids: number[]}} */
    const { ids } = this.#limited(text.length, () => attempt(() => this.#inner.encode(text, { add_special_tokens: special })));
    const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= this.#vocab);
    if (bad !== undefined)
      throw new TansyError('TANSY_TOKENIZER', `The tokenizer gives id ${bad}, but the model has only ${this.#vocab} tokens; it belongs to another model.`);
    return ids;
  }

  /**
   * @param {readonly number[]} ids
   * @param {boolean} skipSpecial leave out special tokens such as BOS
   * @returns {string}
   */
  decode(ids, skipSpecial) {
    if (ids.length === 0) return '';
    const decode = () => attempt(() => String(this.#inner.decode([...ids], { skip_special_tokens: skipSpecial, clean_up_tokenization_spaces: false })));
    return this.#decodesByExpressions ? this.#limited(ids.length, decode) : decode();
  }

  /**
   * @template T
   * @param {number} length of the text
   * @param {() => T} work
   * @returns {T}
   */
  #limited(length, work) {
    const ms = Math.ceil(this.#limitMs + length * LIMIT_MS_PER_CHARACTER);
    return withTimeLimit(ms, work, () => new TansyError('TANSY_TOKENIZER', `The model's tokenizer took more than ${ms / 1000} s for ${length} characters; pass token ids instead of text.`));
  }

  /** @param {string} token */
  idOf(token) {
    return this.#inner.token_to_id(token);
  }

  /** @param {number} id */
  tokenOf(id) {
    return this.#inner.id_to_token(id);
  }
}

/** @param {unknown} error */
function unusable(error) {
  if (error instanceof TansyError) return error;
  const why = error instanceof Error ? error.message : String(error);
  return new TansyError('TANSY_TOKENIZER', `The model's tokenizer.json cannot be used: ${why}. Pass token ids instead of text.`, {}, error);
}

/**
 * What is wrong with a file shows in the middle of the tokenizer's work.
 * @template T
 * @param {() => T} work
 * @returns {T}
 */
function attempt(work) {
  try {
    return work();
  } catch (error) {
    throw unusable(error);
  }
}

/**
 * Ids in, text out, as early as it is certain: the text of the last few ids is decoded with and without the new ones, and
 * the difference is passed on unless it ends in an unfinished character.
 */
export class TextStream {
  #tokenizer;
  /** @type {number[]} ids whose text is out, then held ones */
  #ids;
  #nOut;

  /**
   * @param {Tokenizer} tokenizer
   * @param {readonly number[]} before ids that precede; their text is not repeated
   */
  constructor(tokenizer, before) {
    this.#tokenizer = tokenizer;
    this.#ids = before.slice(-CONTEXT_TOKENS);
    this.#nOut = this.#ids.length;
  }

  /**
   * @param {number} id
   * @returns {string}
   */
  push(id) {
    this.#ids.push(id);
    return this.#take(this.#ids.length - this.#nOut >= MAX_HELD_TOKENS);
  }

  /** @returns {string} what is still held, finished or not */
  flush() {
    return this.#take(true);
  }

  /** @param {boolean} force */
  #take(force) {
    const before = this.#tokenizer.decode(this.#ids.slice(0, this.#nOut), true);
    const after = this.#tokenizer.decode(this.#ids, true);
    if (!force && (after.endsWith(REPLACEMENT) || after.length <= before.length)) return '';
    const text = after.startsWith(before) ? after.slice(before.length) : after.slice(commonLength(before, after));
    this.#ids = this.#ids.slice(Math.max(0, Math.min(this.#nOut, this.#ids.length - CONTEXT_TOKENS)));
    this.#nOut = this.#ids.length;
    return text;
  }
}

/**
 * @param {string} a
 * @param {string} b
 */
function commonLength(a, b) {
  let n = 0;
  while (n < a.length && a[n] === b[n]) n++;
  return n;
}
