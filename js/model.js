/**
 * model.js: what load() gives: a model that turns a prompt into text.
 */
import { openAi } from '#openai';

import { newBytes } from './bytes.js';
import { renderChat, templateOf } from './chat.js';
import { Conversation } from './conversation.js';
import { measureLayer } from './costs.js';
import { TansyError, throwIfAborted } from './errors.js';
import { Generation, Timing, runGeneration } from './generation.js';
import { readConfig, readStats, withForms } from './model_info.js';
import { checkGenerateOptions } from './options.js';
import { optionsOf } from './options_of.js';
import { Residence } from './residence.js';
import { compileFormat } from './schema/response_format.js';
import { TokenTable } from './schema/tokens.js';
import { Steering, checkBias } from './steer.js';
import { countParameters } from './tensors.js';
import { TextStream, Tokenizer } from './tokenizer.js';
import { parseBudget } from './units.js';

export { Generation } from './generation.js';

/** @typedef {import('./model_info.js').ModelConfig} ModelConfig */
/** @typedef {import('./model_info.js').MemoryByKind} MemoryByKind */
/** @typedef {import('./model_info.js').ModelStats} ModelStats */
/** @typedef {import('./generation.js').FinishReason} FinishReason */

/** minTokensPerSecond: how often the plan is corrected by what was measured. */
const MAX_CORRECTIONS = 2;

/** Names of the attachments that have a meaning to this file. */
const FILES = Object.freeze({
  tokenizer: 'tokenizer.json',
  tokenizerConfig: 'tokenizer_config.json',
  chatTemplate: 'chat_template.jinja',
});

/**
 * @typedef {object} Goal
 * @property {number} minTokensPerSecond as asked for
 * @property {number} tokensPerSecond measured at the conversation's beginning
 * @property {boolean} reached
 */

export class Model {
  #residence;
  #conversation;
  /** @type {ReadonlyMap<string, string>} */
  #attachments;
  /** @type {Tokenizer | undefined} */
  #tokenizer;
  /** @type {TokenTable | undefined} */
  #tokens;
  #tensors;
  #busy = false;
  #timing = new Timing();

  /**
   * @param {import('./engine.js').Engine} engine
   * @param {ReadonlyMap<string, string>} attachments
   * @param {readonly import('./tensors.js').TensorInfo[]} tensors
   * @param {object} from
   * @param {import('./home.js').Home} from.home
   * @param {import('./arrival.js').Arrival} from.arrival of chunks that may still be missing
   * @param {Promise<void>} from.loaded
   * @param {AbortController} from.stopLoading
   */
  constructor(engine, attachments, tensors, { home, arrival, loaded, stopLoading }) {
    this.#residence = new Residence(engine, home, loaded, stopLoading);
    this.#conversation = new Conversation(this.#residence, arrival);
    this.#attachments = attachments;
    this.#tensors = tensors;
    /** when every weight is there; of interest with the option `early` */
    this.loaded = loaded;
    /** what `minTokensPerSecond` came to
     * @type {Goal | undefined} */
    this.goal = undefined;
    /** parameters of the model */
    this.nParameters = countParameters(tensors);
    /** @type {Readonly<ModelConfig>} */
    this.config = Object.freeze(readConfig(engine));
    const { chat, completions } = openAi(this);
    /** in the shape of OpenAI's API: `chat.completions.create({ messages })`
     * @type {{completions: import('./openai/index.js').ChatCompletions}} */
    this.chat = chat;
    /** the same for plain text: `completions.create({ prompt })`
     * @type {import('./openai/index.js').Completions} */
    this.completions = completions;
  }

  /** Tokens that the context holds. */
  get contextSize() {
    return this.#residence.contextSize;
  }

  /** Every tensor of the file, in file order, and the form it has in the heap. */
  get tensors() {
    return withForms(this.#tensors, this.#residence.forms);
  }

  /** Whether the file carries a tokenizer; without one only token ids go in and out. */
  get hasTokenizer() {
    return this.#attachments.has(FILES.tokenizer);
  }

  /** The model's chat template, if the file carries one. */
  get chatTemplate() {
    const text = this.#attachments.get(FILES.chatTemplate);
    return text ?? (this.hasTokenizer ? templateOf(this.#text().config.chat_template) : undefined);
  }

  /**
   * Goes on from a prompt. Text comes as it is generated; `ids` and `finishReason` are complete when it ends.
   * @param {string | readonly number[]} prompt
   * @param {import('./options.js').GenerateOptions} [options]
   * @returns {Generation}
   */
  generate(prompt, options = {}) {
    const checked = checkGenerateOptions(options);
    this.#residence.present();
    const ids = typeof prompt === 'string' ? this.#promptIds(prompt, checked.addBos) : this.#checkIds(prompt, 'the prompt');
    const steering = this.#steering(checked);
    return new Generation(ids, (generation) => this.#generate(generation, checked, steering), steering?.logprobs);
  }

  /**
   * The prompt that the model's chat template makes of messages; pass it to generate() as ids.
   * @param {readonly import('./chat.js').ChatMessage[]} messages
   * @param {Record<string, unknown>} [variables] for the template, such as `enable_thinking`; `chat_template` is one in place of the file's
   * @returns {{text: string, ids: number[]}}
   */
  applyChatTemplate(messages, variables = {}) {
    this.#residence.present();
    const { chat_template: template = this.chatTemplate, ...rest } = optionsOf('applyChatTemplate', variables);
    if (typeof template !== 'string')
      throw new TansyError('TANSY_CHAT_TEMPLATE', 'This model has no chat template: it only continues text. Use generate() with a prompt, or pass a chat_template.');
    const { config } = this.#text();
    const text = renderChat(template, messages, {
      bos_token: tokenText(config.bos_token),
      eos_token: tokenText(config.eos_token),
      unk_token: tokenText(config.unk_token),
      ...rest,
    });
    return { text, ids: this.#text().encode(text, false) };
  }

  /**
   * @param {string} text
   * @param {{addBos?: boolean}} [options] addBos: with what the model puts before a text; false
   * @returns {number[]}
   */
  tokenize(text, options = {}) {
    const { addBos = false } = optionsOf('tokenize', options);
    if (typeof text !== 'string') throw new TansyError('TANSY_OPTION', `tokenize takes a string; got ${typeof text}.`);
    return addBos ? this.#promptIds(text, undefined) : this.#text().encode(text, false);
  }

  /**
   * @param {readonly number[]} ids
   * @param {{skipSpecial?: boolean}} [options] skipSpecial: leave out tokens such as BOS; true
   * @returns {string}
   */
  detokenize(ids, options = {}) {
    const { skipSpecial = true } = optionsOf('detokenize', options);
    return this.#text().decode(this.#checkIds(ids, 'detokenize', true), skipSpecial);
  }

  /**
   * Logits of every position of `ids`, evaluated from an empty cache.
   * @param {readonly number[]} ids
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Float32Array>} [ids.length, vocab]
   */
  async logits(ids, options = {}) {
    const { signal } = optionsOf('logits', options);
    const list = this.#checkIds(ids, 'logits');
    const { vocab } = this.config;
    const out = new Float32Array(newBytes(4 * list.length * vocab).buffer);
    for await (const { first, rows } of this.logitRows(list, { signal })) out.set(rows, first * vocab);
    return out;
  }

  /**
   * The same, a few rows at a time; `rows` [n, vocab] is only good until the next turn.
   * @param {readonly number[]} ids
   * @param {{signal?: AbortSignal}} [options]
   * @returns {AsyncGenerator<{first: number, rows: Float32Array}>}
   */
  async *logitRows(ids, options = {}) {
    const { signal } = optionsOf('logitRows', options);
    const list = this.#checkIds(ids, 'logits');
    this.#claim();
    try {
      await this.#residence.settled();
      this.#checkRoom(list.length, 0);
      yield* this.#conversation.logitRows(list, signal);
    } finally {
      this.#busy = false;
    }
  }

  /** Heap bytes by kind, tokens a second. @returns {ModelStats} */
  stats() {
    return readStats(this.#residence.engine, this.nParameters, this.#timing);
  }

  /** Forgets the tokens of earlier calls. Never needed for correctness: the longest common beginning is reused exactly. */
  reset() {
    this.#claim();
    try {
      this.#conversation.forget();
    } finally {
      this.#busy = false;
    }
  }

  /**
   * Moves the model, with its conversation, to a memory of another size. No token changes by it. It may be called at any time,
   * also while text is generated: the move then happens between two tokens. The old memory is given up before the new one is
   * made, and the weights are read again from where they came. When that fails, the conversation is kept: call it again.
   * @param {number | string} memoryBudget bytes, "64MB", or as for load()
   * @param {import('./home.js').Watch} [watch]
   * @returns {Promise<ModelStats>}
   */
  async setMemoryBudget(memoryBudget, watch = {}) {
    await this.#move({ memoryBudget: parseBudget(memoryBudget, 'memoryBudget'), targetNsPerToken: 0 }, optionsOf('setMemoryBudget', watch));
    return this.stats();
  }

  /**
   * The conversation as bytes, for restoreSession() of the same model file, whatever its budget.
   * @returns {Promise<Uint8Array>}
   */
  async saveSession() {
    return this.#alone(() => this.#conversation.save());
  }

  /**
   * @param {Uint8Array} bytes of saveSession()
   * @returns {Promise<number[]>} the conversation's token ids; a prompt that begins with them goes on without evaluating them again
   */
  async restoreSession(bytes) {
    return this.#alone(() => this.#conversation.restore(bytes));
  }

  /**
   * @internal
   * Measures the speed of this memory and, when what the planner does not count makes it slower than asked for, takes a larger one.
   * @param {number} minTokensPerSecond
   * @param {import('./home.js').Watch} watch
   */
  async reachSpeed(minTokensPerSecond, watch) {
    const asked = 1e9 / minTokensPerSecond;
    for (let target = asked, round = 0; ; round++) {
      const ns = await this.#conversation.measureToken(this.config.vocab, watch.signal);
      const before = this.#residence.engine;
      this.goal = { minTokensPerSecond, tokensPerSecond: 1e9 / ns, reached: ns <= asked };
      if (this.goal.reached || round === MAX_CORRECTIONS) return;
      /* what a token takes beside its matrices */
      const rest = Math.max(ns - before.plan.predictedNs, 0);
      target = Math.max(Math.min(asked - rest, target * 0.95), 1);
      await this.#move({ targetNsPerToken: target }, watch);
      if (this.#residence.engine === before) return; /* nothing larger fits, or there is nothing faster */
    }
  }

  /**
   * What a layer takes for the next token beside its weights, in ns.
   * @returns {Promise<number>}
   */
  async measureLayer() {
    return this.#alone(() => measureLayer(this.#residence.engine));
  }

  /**
   * What the planner goes by from the next setMemoryBudget() on, in place of typical costs or those measured by load().
   * @param {import('./costs.js').Costs} costs
   */
  planWith(costs) {
    const { home } = this.#residence;
    home.options = { ...home.options, costs };
  }

  /** Gives the heap back. A generation under way ends with TANSY_DISPOSED. */
  dispose() {
    this.#residence.dispose();
    this.#attachments = new Map();
    this.#tokenizer = undefined;
    this.#tokens = undefined;
  }

  /**
   * @param {Generation} generation
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @param {Steering | undefined} steering
   * @returns {AsyncGenerator<string, void, void>}
   */
  async *#generate(generation, options, steering) {
    this.#claim();
    try {
      throwIfAborted(options.signal);
      await this.#residence.settled();
      this.#checkRoom(generation.promptTokens, 1);
      yield* runGeneration(generation, {
        residence: this.#residence,
        conversation: this.#conversation,
        options,
        text: this.hasTokenizer ? new TextStream(this.#text(), generation.promptIds) : undefined,
        steering,
        bos: this.config.bos,
        eos: this.config.eos,
        timing: (this.#timing = new Timing()),
      });
    } finally {
      this.#busy = false;
    }
  }

  /**
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @returns {Steering | undefined}
   */
  #steering({ logitBias, logprobs, responseFormat, ignoreEos }) {
    const bias = checkBias(logitBias, this.config.vocab);
    const matcher = compileFormat(responseFormat);
    if (bias === undefined && logprobs === undefined && matcher === undefined) return undefined;
    const json = this.#attachments.get(FILES.tokenizer);
    if (json !== undefined) this.#tokens ??= new TokenTable(json, this.config.vocab);
    return new Steering({ bias, logprobs, matcher }, this.#tokens, new Set(ignoreEos ? [] : this.config.eos));
  }

  #claim() {
    this.#residence.present();
    if (this.#busy) throw new TansyError('TANSY_BUSY');
    this.#busy = true;
  }

  /**
   * @template T
   * @param {() => T} work
   * @returns {Promise<T>}
   */
  async #alone(work) {
    this.#claim();
    try {
      await this.#residence.settled();
      return work();
    } finally {
      this.#busy = false;
    }
  }

  /**
   * @param {Partial<import('./options.js').CheckedLoadOptions>} changes
   * @param {import('./home.js').Watch} watch
   */
  async #move(changes, watch) {
    this.#residence.present();
    if (this.#conversation.readsRows) throw new TansyError('TANSY_BUSY', 'Logits are being read; set the memory budget when that has ended.');
    await this.#residence.move(changes, watch);
  }

  /** @returns {Tokenizer} */
  #text() {
    this.#residence.present();
    if (this.#tokenizer === undefined) {
      const json = this.#attachments.get(FILES.tokenizer);
      if (json === undefined) throw new TansyError('TANSY_NO_TOKENIZER');
      this.#tokenizer = new Tokenizer(json, this.#attachments.get(FILES.tokenizerConfig), this.config.vocab);
    }
    return this.#tokenizer;
  }

  /**
   * @param {string} prompt
   * @param {boolean | undefined} addBos
   */
  #promptIds(prompt, addBos) {
    const { bos } = this.config;
    /* some tokenizers put BOS there themselves, some leave it to us */
    const wanted = addBos ?? (this.config.addBos || this.#text().config.add_bos_token === true);
    const ids = this.#text().encode(prompt, addBos !== false);
    if (wanted && bos !== undefined && ids[0] !== bos) ids.unshift(bos);
    if (ids.length === 0) {
      if (bos === undefined) throw new TansyError('TANSY_OPTION', 'The prompt is empty and this model has no token to begin a text with; give it a word.');
      ids.push(bos);
    }
    return ids;
  }

  /**
   * @param {unknown} ids
   * @param {string} what
   * @param {boolean} [mayBeEmpty]
   * @returns {number[]}
   */
  #checkIds(ids, what, mayBeEmpty = false) {
    const list = Array.isArray(ids) || ArrayBuffer.isView(ids) ? Array.from(/** @type {ArrayLike<number>} */ (/** @type {unknown} */ (ids))) : undefined;
    if (list === undefined) throw new TansyError('TANSY_OPTION', `${what} must be ${what === 'the prompt' ? 'a text or ' : ''}a list of token ids; got ${ids === null ? 'null' : typeof ids}.`);
    if (list.length === 0 && !mayBeEmpty) throw new TansyError('TANSY_OPTION', `${what}: the list of token ids is empty.`);
    const bad = list.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= this.config.vocab);
    if (bad >= 0) throw new TansyError('TANSY_OPTION', `${what}: token ${bad} is ${String(list[bad])}; ids are integers from 0 to ${this.config.vocab - 1}.`);
    return list;
  }

  /**
   * @param {number} n tokens of the prompt
   * @param {number} more that must fit after it
   */
  #checkRoom(n, more) {
    if (n + more > this.contextSize + 1)
      throw new TansyError(
        'TANSY_CONTEXT',
        `The prompt has ${n} tokens; the context holds ${this.contextSize}. Shorten the prompt${
          this.contextSize < this.config.modelContext ? ` or load with a contextSize up to ${this.config.modelContext}` : ''
        }.`,
        { tokens: n, contextSize: this.contextSize },
      );
  }
}

/**
 * A token of tokenizer_config.json: a string, or an object around it.
 * @param {unknown} token
 */
function tokenText(token) {
  if (token !== null && typeof token === 'object') return String(/** @type {{content?: unknown}} */ (token).content ?? '');
  return typeof token === 'string' ? token : '';
}

