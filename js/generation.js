/**
 * generation.js: one run of generate(): tokens picked, verified and appended until an end token, a stop string, maxTokens or the
 * context's end.
 */
import { TansyError, throwIfAborted } from './errors.js';
import { JoinedText } from './joined.js';
import { Speculation, canSpeculate } from './speculate.js';
import { StopMatcher } from './stop.js';

/** @typedef {'stop' | 'length'} FinishReason stop: an end token or stop string; length: maxTokens, or the context is full (contextOverflow) */

/**
 * An async iterator of text, with what is known beyond the text.
 * @implements {AsyncIterable<string>}
 */
export class Generation {
  /** generated ids so far, the end token left out
   * @type {number[]} */
  ids = [];
  /** set when the iteration ends
   * @type {FinishReason | undefined} */
  finishReason = undefined;
  /** the stop string that ended it
   * @type {string | undefined} */
  stopString = undefined;
  #text;

  /**
   * @param {readonly number[]} promptIds
   * @param {(generation: Generation) => AsyncGenerator<string, void, void>} start
   * @param {import('./steer.js').GeneratedLogprob[]} [logprobs] one for each generated id, with the option `logprobs`
   */
  constructor(promptIds, start, logprobs = []) {
    this.promptIds = promptIds;
    this.promptTokens = promptIds.length;
    this.logprobs = logprobs;
    this.#text = new JoinedText(start(this));
  }

  [Symbol.asyncIterator]() {
    return this.#text.pieces;
  }

  /** Waits for the end. @returns {Promise<string>} the whole text, also what was taken before */
  text() {
    return this.#text.whole();
  }
}

/** What the calls of a generation took. */
export class Timing {
  prefillTokens = 0;
  prefillMs = 0;
  decodeTokens = 0;
  decodeMs = 0;
  draftedTokens = 0;
  acceptedTokens = 0;
}

/**
 * @typedef {object} Run
 * @property {import('./residence.js').Residence} residence
 * @property {import('./conversation.js').Conversation} conversation
 * @property {import('./options.js').CheckedGenerateOptions} options
 * @property {import('./tokenizer.js').TextStream} [text] without: no text, ids only
 * @property {import('./steer.js').Steering} [steering]
 * @property {readonly number[]} eos
 * @property {number} [bos]
 * @property {Timing} timing is filled in
 */

/**
 * @param {Generation} generation is filled in
 * @param {Run} run
 * @returns {AsyncGenerator<string, void, void>}
 */
export async function* runGeneration(generation, { residence, conversation, options, text, steering, eos, bos, timing }) {
  const { promptIds } = generation;
  const { signal, maxTokens = Infinity } = options;
  const ends = new Set(options.ignoreEos ? [] : eos);
  const matcher = new StopMatcher(options.stop);
  if (text === undefined && options.stop.length > 0) throw new TansyError('TANSY_NO_TOKENIZER', 'Stop strings need a tokenizer, and this file carries none.');
  residence.engine.seed(options.seed ?? randomSeed());
  if (maxTokens > 0) {
    const rest = conversation.reuse(promptIds);
    timing.prefillTokens = rest.length;
    timing.prefillMs = await conversation.append(rest, signal);
  }
  const mayGuess = options.speculate !== false && steering === undefined && canSpeculate(options) && residence.engine.plan.nLogits === 1;
  const speculation = mayGuess ? new Speculation(promptIds, options.speculate === true) : undefined;
  const isFull = () => residence.engine.position >= residence.contextSize;
  generation.finishReason = 'length';
  for (let n = 0; n < maxTokens; n++) {
    await residence.settled();
    const id = speculation?.take() ?? pick(residence, options, steering, maxTokens - n);
    if (ends.has(id)) {
      generation.finishReason = 'stop';
      break;
    }
    steering?.accept(id);
    generation.ids.push(id);
    options.onToken?.(id);
    if (text !== undefined) {
      const shown = matcher.push(text.push(id));
      if (shown !== '') yield shown;
      if (matcher.matched !== undefined) {
        generation.finishReason = 'stop';
        generation.stopString = matcher.matched;
        return;
      }
    }
    speculation?.push(id);
    await residence.settled(); /* the reader may have moved the model */
    if (steering?.isComplete && (steering.isDone || n + 1 >= maxTokens || isFull())) {
      generation.finishReason = 'stop';
      break;
    }
    if (n + 1 >= maxTokens) break;
    if (speculation?.isAhead) {
      throwIfAborted(signal);
      residence.present();
      continue;
    }
    if (isFull()) {
      if (options.contextOverflow === 'stop') break;
      timing.decodeMs += await conversation.shift(id, bos, signal);
      timing.decodeTokens++;
      continue;
    }
    const { position, plan } = residence.engine;
    const draft = speculation?.draft(Math.min(maxTokens - n - 2, residence.contextSize - position - 1, plan.maxBatch - 1)) ?? [];
    if (draft.length > 0) {
      const verified = await conversation.verify(id, draft, options, ends);
      speculation?.tookDraft(verified.ms, draft.length, verified.ids);
      timing.decodeMs += verified.ms;
      timing.decodeTokens += verified.ids.length;
      timing.draftedTokens += draft.length;
      timing.acceptedTokens += verified.ids.length - 1;
      continue;
    }
    const ms = await conversation.append([id], signal);
    speculation?.tookPlain(ms);
    timing.decodeMs += ms;
    timing.decodeTokens++;
  }
  if (text !== undefined) {
    const rest = matcher.push(text.flush());
    const shown = rest + (matcher.matched === undefined ? matcher.flush() : '');
    if (matcher.matched !== undefined) {
      generation.finishReason = 'stop';
      generation.stopString = matcher.matched;
    }
    if (shown !== '') yield shown;
  }
}

/**
 * @param {import('./residence.js').Residence} residence
 * @param {import('./options.js').CheckedGenerateOptions} options
 * @param {import('./steer.js').Steering | undefined} steering
 * @param {number} nLeft tokens that may still come
 * @returns {number}
 */
function pick({ engine, contextSize }, options, steering, nLeft) {
  if (steering === undefined) return engine.sample(options);
  const { rows } = engine.logits();
  steering.prepare(rows.subarray(rows.length - engine.vocab), Math.min(nLeft, contextSize - engine.position + 1));
  return steering.check(engine.sample(options));
}

function randomSeed() {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return (words[0] & 0x1fffff) * 2 ** 32 + words[1];
}
