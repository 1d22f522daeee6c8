/**
 * model.js: what load() gives: a model that turns a prompt into text.
 */
import { yieldToEvents } from '#platform';

import { renderChat, templateOf } from './chat.js';
import { TansyError, abortError, throwIfAborted } from './errors.js';
import { Lock } from './lock.js';
import { openAi } from './openai/index.js';
import { checkGenerateOptions } from './options.js';
import { compileFormat } from './schema/response_format.js';
import { TokenTable } from './schema/tokens.js';
import { packSession, restoreState, saveState, unpackSession } from './session.js';
import { Speculation, canSpeculate } from './speculate.js';
import { Steering, checkBias } from './steer.js';
import { StopMatcher } from './stop.js';
import { countParameters } from './tensors.js';
import { TextStream, Tokenizer } from './tokenizer.js';
import { parseBytes } from './units.js';

/** The event loop gets a turn at least this often while the model works, so that signals and timers are heard. */
const TURN_MS = 8;

/** Of measuring a token's time, for minTokensPerSecond; and how often the plan is corrected by it. */
const MEASURE_MS = 100;
const MAX_CORRECTIONS = 2;

/** Forms of a matrix in the heap, by the planner's numbers. */
const FORMS = Object.freeze(['ans', 'packed', 'int8']);

/** Names of the attachments that have a meaning to this file. */
const FILES = Object.freeze({
  tokenizer: 'tokenizer.json',
  tokenizerConfig: 'tokenizer_config.json',
  chatTemplate: 'chat_template.jinja',
});

/**
 * @typedef {object} ModelConfig
 * @property {number} vocab
 * @property {number} hidden
 * @property {number} intermediate
 * @property {number} layers
 * @property {number} heads
 * @property {number} kvHeads
 * @property {number} headDim
 * @property {number} modelContext tokens the model was made for
 * @property {boolean} tied the head is the embedding
 * @property {number | undefined} bos
 * @property {number[]} eos ids that end a text
 * @property {boolean} addBos texts begin with `bos`
 */

/**
 * @typedef {object} MemoryByKind bytes of the heap
 * @property {number} static the module's data and stack, and the file's header
 * @property {number} tables
 * @property {number} ans weights that are ANS-coded
 * @property {number} packed
 * @property {number} int8
 * @property {number} vectors
 * @property {number} kv
 * @property {number} scratch activations, logits, decode buffers
 * @property {number} staging chunks under way
 * @property {number} io
 */

/**
 * @typedef {object} ModelStats
 * @property {number} heapBytes bytes of the wasm memory
 * @property {MemoryByKind} memory where they go; adds up to heapBytes but for rounding to pages
 * @property {number} decodedBytes most bytes that ever hold decoded weights of ANS-coded matrices
 * @property {number} fileBytes
 * @property {number} bitsPerWeight every byte of the file, spread over the model's parameters
 * @property {number} contextSize tokens
 * @property {number} position tokens in the KV cache
 * @property {number} plannedTokS what the planner expects of the matrices alone, at its costs of a weight
 * @property {string} variant kernels in use: simd128, relaxed
 * @property {number} threads
 * @property {number} nMatrices
 * @property {number} nPacked of these
 * @property {number} nInt8
 * @property {number} prefillTokens of the last call, evaluated for its prompt
 * @property {number} prefillTokS
 * @property {number} decodeTokens of the last call, generated after the first
 * @property {number} decodeTokS
 * @property {number} draftedTokens of the last call, guessed from the text so far
 * @property {number} acceptedTokens of these, as the model went on
 */

/**
 * @typedef {object} Goal
 * @property {number} minTokensPerSecond as asked for
 * @property {number} tokensPerSecond measured at the conversation's beginning
 * @property {boolean} reached
 */

/** @typedef {'stop' | 'length'} FinishReason stop: an end token or stop string; length: maxTokens or the context is full */

export class Model {
  /** @type {import('./engine.js').Engine | undefined} */
  #engine;
  /** @type {ReadonlyMap<string, string>} */
  #attachments;
  /** @type {Tokenizer | undefined} */
  #tokenizer;
  /** @type {TokenTable | undefined} */
  #tokens;
  #busy = false;
  #timing = { prefillTokens: 0, prefillMs: 0, decodeTokens: 0, decodeMs: 0, draftedTokens: 0, acceptedTokens: 0 };
  #fileBytes;
  #home;
  #arrival;
  /** held during an evaluation and during a move to another memory */
  #lock = new Lock();
  /** logitRows() holds the lock until its loop ends */
  #readsRows = false;
  /** the conversation while the model is between two memories
   * @type {import('./session.js').SessionState | undefined} */
  #travelling = undefined;
  /** aborts with dispose() */
  #end;
  #contextAtLoad;

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
    this.#engine = engine;
    this.#attachments = attachments;
    this.#home = home;
    this.#arrival = arrival;
    this.#end = stopLoading;
    /** when every weight is there; of interest with the option `early` */
    this.loaded = loaded;
    /** what `minTokensPerSecond` came to
     * @type {Goal | undefined} */
    this.goal = undefined;
    /** parameters of the model */
    this.nParameters = countParameters(tensors);
    /** every tensor of the file, in file order, and the form it has in the heap */
    this.tensors = withForms(tensors, engine);
    this.#fileBytes = engine.plan.fileNbytes;
    /** @type {Readonly<ModelConfig>} */
    this.config = Object.freeze(readConfig(engine));
    this.contextSize = this.#contextAtLoad = engine.context;
    const { chat, completions } = openAi(this);
    /** in the shape of OpenAI's API: `chat.completions.create({ messages })`
     * @type {{completions: import('./openai/index.js').ChatCompletions}} */
    this.chat = chat;
    /** the same for plain text: `completions.create({ prompt })`
     * @type {import('./openai/index.js').Completions} */
    this.completions = completions;
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
    this.#present();
    const ids = typeof prompt === 'string' ? this.#promptIds(prompt, checked.addBos) : this.#checkIds(prompt, 'the prompt');
    const steering = this.#steering(checked);
    return new Generation(ids, (generation) => this.#generate(ids, checked, generation, steering), steering?.logprobs);
  }

  /**
   * The prompt that the model's chat template makes of messages; pass it to generate() as ids.
   * @param {readonly import('./chat.js').ChatMessage[]} messages
   * @param {Record<string, unknown>} [variables] for the template, such as `enable_thinking`; `chat_template` is one in place of the file's
   * @returns {{text: string, ids: number[]}}
   */
  applyChatTemplate(messages, variables = {}) {
    const { chat_template: template = this.chatTemplate, ...rest } = variables;
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
  tokenize(text, { addBos = false } = {}) {
    if (typeof text !== 'string') throw new TansyError('TANSY_OPTION', `tokenize takes a string; got ${typeof text}.`);
    return addBos ? this.#promptIds(text, true) : this.#text().encode(text, false);
  }

  /**
   * @param {readonly number[]} ids
   * @param {{skipSpecial?: boolean}} [options] skipSpecial: leave out tokens such as BOS; true
   * @returns {string}
   */
  detokenize(ids, { skipSpecial = true } = {}) {
    return this.#text().decode(this.#checkIds(ids, 'detokenize', true), skipSpecial);
  }

  /**
   * Logits of every position of `ids`, evaluated from an empty cache.
   * @param {readonly number[]} ids
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<Float32Array>} [ids.length, vocab]
   */
  async logits(ids, { signal } = {}) {
    const list = this.#checkIds(ids, 'logits');
    const { vocab } = this.config;
    const out = new Float32Array(list.length * vocab);
    for await (const { first, rows } of this.logitRows(list, { signal })) out.set(rows, first * vocab);
    return out;
  }

  /**
   * The same, a few rows at a time; `rows` [n, vocab] is only good until the next turn.
   * @param {readonly number[]} ids
   * @param {{signal?: AbortSignal}} [options]
   * @returns {AsyncGenerator<{first: number, rows: Float32Array}>}
   */
  async *logitRows(ids, { signal } = {}) {
    const list = this.#checkIds(ids, 'logits');
    this.#claim();
    let release = () => {};
    try {
      release = await this.#lock.take();
      this.#readsRows = true;
      const engine = this.#live();
      this.#checkRoom(list.length, 0);
      engine.rewind(0);
      this.#cached = list;
      engine.begin(list, true);
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
      this.#busy = this.#readsRows = false;
      release();
    }
  }

  /** @returns {ModelStats} */
  stats() {
    const engine = this.#live();
    const s = engine.stats();
    const { prefillTokens, prefillMs, decodeTokens, decodeMs, draftedTokens, acceptedTokens } = this.#timing;
    return {
      heapBytes: engine.heapNbytes,
      memory: {
        static: s.staticNbytes,
        tables: s.tablesNbytes,
        ans: s.ansNbytes,
        packed: s.packedNbytes,
        int8: s.int8Nbytes,
        vectors: s.vectorsNbytes,
        kv: s.kvNbytes,
        scratch: s.scratchNbytes,
        staging: s.stagingNbytes,
        io: s.ioNbytes,
      },
      decodedBytes: s.decodedNbytes,
      fileBytes: this.#fileBytes,
      bitsPerWeight: (this.#fileBytes * 8) / this.nParameters,
      contextSize: s.context,
      position: s.position,
      plannedTokS: perSecond(1, engine.plan.predictedNs / 1e6),
      variant: engine.kernels,
      threads: engine.nThreads,
      nMatrices: engine.plan.nMatrices,
      nPacked: s.nPacked,
      nInt8: s.nInt8,
      prefillTokens,
      prefillTokS: perSecond(prefillTokens, prefillMs),
      decodeTokens,
      decodeTokS: perSecond(decodeTokens, decodeMs),
      draftedTokens,
      acceptedTokens,
    };
  }

  /** Forgets the tokens of earlier calls. Never needed for correctness: the longest common beginning is reused exactly. */
  reset() {
    this.#live();
    this.#claim();
    this.#live().rewind(0);
    this.#busy = false;
  }

  /**
   * Moves the model, with its conversation, to a memory of another size. No token changes by it. It may be called at any time,
   * also while text is generated: the move then happens between two tokens. The old memory is given up before the new one is
   * made, and the weights are read again from where they came. When that fails, the conversation is kept: call it again.
   * @param {number | string} memoryBudget bytes, or "64MB"
   * @param {import('./home.js').Watch} [watch]
   * @returns {Promise<ModelStats>}
   */
  async setMemoryBudget(memoryBudget, watch = {}) {
    return this.#move({ memoryBudget: parseBytes(memoryBudget, 'memoryBudget'), targetNsPerToken: 0 }, watch);
  }

  /**
   * The conversation as bytes, for restoreSession() of the same model file, whatever its budget.
   * @returns {Promise<Uint8Array>}
   */
  async saveSession() {
    return this.#alone((engine) => packSession(engine, this.#identity));
  }

  /**
   * @param {Uint8Array} bytes of saveSession()
   * @returns {Promise<number[]>} the conversation's token ids; a prompt that begins with them goes on without evaluating them again
   */
  async restoreSession(bytes) {
    return this.#alone((engine) => {
      const ids = unpackSession(engine, bytes, this.#identity);
      this.#cached = [...ids];
      return ids;
    });
  }

  /**
   * Measures the speed of this memory and, when what the planner does not count makes it slower than asked for, takes a larger one.
   * @param {number} minTokensPerSecond
   * @param {import('./home.js').Watch} watch
   */
  async reachSpeed(minTokensPerSecond, watch) {
    const asked = 1e9 / minTokensPerSecond;
    for (let target = asked, round = 0; ; round++) {
      const ns = await this.#measureToken(watch.signal);
      const { plan } = /** @type {import('./engine.js').Engine} */ (this.#live());
      this.goal = { minTokensPerSecond, tokensPerSecond: 1e9 / ns, reached: ns <= asked };
      if (this.goal.reached || round === MAX_CORRECTIONS) return;
      /* what a token takes beside its matrices */
      const rest = Math.max(ns - plan.predictedNs, 0);
      target = Math.max(Math.min(asked - rest, target * 0.95), 1);
      const before = this.#live();
      await this.#move({ targetNsPerToken: target }, watch);
      if (this.#live() === before) return; /* nothing larger fits, or there is nothing faster */
    }
  }

  /** Gives the heap back. A generation under way ends with TANSY_DISPOSED. */
  dispose() {
    this.#end.abort(new TansyError('TANSY_DISPOSED'));
    void this.#engine?.dispose();
    this.#engine = undefined;
    this.#travelling = undefined;
    this.#attachments = new Map();
    this.#tokenizer = undefined;
    this.#tokens = undefined;
  }

  /**
   * @param {readonly number[]} ids
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @param {Generation} generation
   * @param {Steering | undefined} steering
   * @returns {AsyncGenerator<string, void, void>}
   */
  async *#generate(ids, options, generation, steering) {
    this.#claim();
    try {
      throwIfAborted(options.signal);
      await this.#settled();
      this.#checkRoom(ids.length, 1);
      const maxTokens = options.maxTokens ?? Infinity;
      const ends = new Set(options.ignoreEos ? [] : this.config.eos);
      const text = this.hasTokenizer ? new TextStream(this.#text(), ids) : undefined;
      const matcher = new StopMatcher(options.stop);
      if (text === undefined && options.stop.length > 0)
        throw new TansyError('TANSY_NO_TOKENIZER', 'Stop strings need a tokenizer, and this file carries none.');
      this.#live().seed(options.seed ?? randomSeed());
      const timing = (this.#timing = { prefillTokens: 0, prefillMs: 0, decodeTokens: 0, decodeMs: 0, draftedTokens: 0, acceptedTokens: 0 });

      if (maxTokens > 0) {
        /* the cache may hold the beginning of this prompt already; the last token is run again for its logits */
        const reused = Math.min(this.#commonPrefix(ids), ids.length - 1);
        this.#live().rewind(reused);
        timing.prefillTokens = ids.length - reused;
        this.#cached = [...ids];
        timing.prefillMs = await this.#evaluate(ids.slice(reused), options.signal);
      }
      const speculation = options.speculate !== false && steering === undefined && canSpeculate(options) && this.#live().plan.nLogits === 1 ? new Speculation(ids, options.speculate === true) : undefined;
      generation.finishReason = 'length';
      for (let n = 0; n < maxTokens; n++) {
        await this.#settled();
        const id = speculation?.take() ?? this.#pick(options, steering, maxTokens - n);
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
        await this.#settled(); /* the reader may have moved the model */
        if (steering?.isComplete && (steering.isDone || n + 1 >= maxTokens || this.#live().position >= this.contextSize)) {
          generation.finishReason = 'stop';
          break;
        }
        if (n + 1 >= maxTokens) break;
        if (speculation?.isAhead) {
          throwIfAborted(options.signal);
          this.#live();
          continue;
        }
        if (this.#live().position >= this.contextSize) break;
        this.#cached.push(id);
        const draft = speculation?.draft(Math.min(maxTokens - n - 2, this.contextSize - this.#live().position - 1, this.#live().plan.maxBatch - 1)) ?? [];
        if (draft.length > 0) {
          const verified = await this.#verify(id, draft, options, ends);
          speculation?.tookDraft(verified.ms, draft.length, verified.ids);
          timing.decodeMs += verified.ms;
          timing.decodeTokens += verified.ids.length;
          timing.draftedTokens += draft.length;
          timing.acceptedTokens += verified.ids.length - 1;
          continue;
        }
        const ms = await this.#evaluate([id], options.signal);
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
    } finally {
      this.#busy = false;
    }
  }

  /**
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @param {Steering | undefined} steering
   * @param {number} nLeft tokens that may still come
   * @returns {number}
   */
  #pick(options, steering, nLeft) {
    const engine = this.#live();
    if (steering === undefined) return engine.sample(options);
    const { rows } = engine.logits();
    steering.prepare(rows.subarray(rows.length - this.config.vocab), Math.min(nLeft, this.contextSize - engine.position + 1));
    return steering.check(engine.sample(options));
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

  /** What the KV cache holds, up to the engine's position.
   * @type {number[]} */
  #cached = [];

  /** @param {readonly number[]} ids */
  #commonPrefix(ids) {
    /* a cancelled call puts the position back: what is beyond it is not there */
    const n = Math.min(this.#cached.length, ids.length, this.#live().position);
    let same = 0;
    while (same < n && this.#cached[same] === ids[same]) same++;
    return same;
  }

  /**
   * Appends tokens, layer by layer, with turns for the event loop.
   * @param {readonly number[]} ids
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>} milliseconds
   */
  async #evaluate(ids, signal) {
    const release = await this.#lock.take();
    try {
      const start = performance.now();
      this.#live().begin(ids, false);
      const turns = new Turns(signal);
      try {
        do await turns.maybe();
        while (await this.#step(signal));
      } catch (error) {
        this.#engine?.cancel();
        throw error;
      }
      return performance.now() - start;
    } finally {
      release();
    }
  }

  /**
   * Appends a token and as many of the guesses after it as the model would have picked itself.
   * @param {number} id in `#cached` already
   * @param {readonly number[]} draft
   * @param {import('./options.js').CheckedGenerateOptions} options
   * @param {ReadonlySet<number>} ends ids after which nothing follows
   * @returns {Promise<{ids: number[], ms: number}>} ids: what was sampled; all but the last are appended
   */
  async #verify(id, draft, options, ends) {
    const release = await this.#lock.take();
    try {
      const start = performance.now();
      /** @type {number[]} */
      const sampled = [];
      this.#live().begin([id, ...draft], true);
      let more = true;
      try {
        const turns = new Turns(options.signal);
        while (more) {
          await turns.maybe();
          more = await this.#step(options.signal);
          if (this.#live().logits().rows.length === 0) continue;
          const next = this.#live().sample(options);
          const isRight = next === draft[sampled.length] && !ends.has(next);
          sampled.push(next);
          if (isRight) this.#cached.push(next);
          else if (more) {
            this.#live().keep(sampled.length);
            break;
          }
        }
      } catch (error) {
        if (more) this.#engine?.cancel();
        throw error;
      }
      return { ids: sampled, ms: performance.now() - start };
    } finally {
      release();
    }
  }

  /**
   * One layer of one batch, as soon as its weights are there.
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<boolean>} false when done
   */
  async #step(signal) {
    for (;;) {
      try {
        return this.#live().step();
      } catch (error) {
        if (!(error instanceof TansyError) || error.code !== 'TANSY_NOT_READY' || this.#engine === undefined) throw error;
      }
      /* when nothing more comes, the next try tells */
      if (!(await this.#arrival.next(signal))) return this.#live().step();
    }
  }

  /** @returns {import('./engine.js').Engine} */
  #live() {
    if (this.#engine !== undefined) return this.#engine;
    if (this.#travelling !== undefined)
      throw new TansyError('TANSY_NOT_READY', 'The model is between two memories: wait for setMemoryBudget(), or call it again when it has failed.');
    throw new TansyError('TANSY_DISPOSED');
  }

  /** In a memory or between two. */
  #present() {
    if (this.#travelling === undefined) this.#live();
  }

  #claim() {
    this.#present();
    if (this.#busy) throw new TansyError('TANSY_BUSY');
    this.#busy = true;
  }

  /** Waits until no move is under way; what follows before the next await is not disturbed by one. */
  async #settled() {
    (await this.#lock.take())();
  }

  /**
   * @template T
   * @param {(engine: import('./engine.js').Engine) => T} work
   * @returns {Promise<T>}
   */
  async #alone(work) {
    this.#claim();
    try {
      await this.#settled();
      return work(this.#live());
    } finally {
      this.#busy = false;
    }
  }

  get #identity() {
    return { kv: this.#home.options.kv, fingerprint: this.#home.fingerprint };
  }

  /**
   * @param {Partial<import('./options.js').CheckedLoadOptions>} changes
   * @param {import('./home.js').Watch} watch
   * @returns {Promise<ModelStats>}
   */
  async #move(changes, { signal: callerSignal, onProgress }) {
    this.#present();
    if (this.#readsRows) throw new TansyError('TANSY_BUSY', 'Logits are being read; set the memory budget when that has ended.');
    const signal = callerSignal ? AbortSignal.any([callerSignal, this.#end.signal]) : this.#end.signal;
    throwIfAborted(signal);
    await this.loaded;
    const home = this.#home;
    const wanted = { ...home.options, ...changes };
    /* whatever can be known to fail fails before the old memory is given up */
    if (this.#hasPlan((await this.#planFor(wanted)).plan)) {
      home.options = wanted;
      return this.stats();
    }
    const source = await home.open(signal);
    let release = () => {};
    try {
      release = await this.#lock.take();
      throwIfAborted(signal);
      /* the conversation may be longer by now, or another call may have moved the model */
      const { plan, options } = await this.#planFor(wanted);
      if (this.#hasPlan(plan)) return this.stats();
      await this.#moveOut();
      const engine = await home.makeEngine(plan, options);
      try {
        await home.fill(engine, source, { signal, onProgress });
        throwIfAborted(signal);
        restoreState(engine, /** @type {import('./session.js').SessionState} */ (this.#travelling));
      } catch (error) {
        await engine.dispose();
        throw error;
      }
      this.#engine = engine;
      this.#travelling = undefined;
      this.contextSize = engine.context;
      this.tensors = withForms(this.tensors, engine);
      home.options = wanted;
      return this.stats();
    } finally {
      release();
      await source.close();
    }
  }

  /* a function of its own, so that no variable of #move() keeps the old memory alive */
  async #moveOut() {
    const engine = this.#engine;
    if (engine === undefined) return;
    this.#travelling = saveState(engine);
    this.#engine = undefined;
    await engine.dispose();
  }

  /** @param {import('./engine.js').Plan} plan */
  #hasPlan(plan) {
    const now = this.#engine?.plan;
    return now !== undefined && now.totalNbytes === plan.totalNbytes && now.context === plan.context && now.forms.every((form, i) => form === plan.forms[i]);
  }

  /**
   * The context stays what it was at loading if it fits, and never gets shorter than the conversation.
   * @param {import('./options.js').CheckedLoadOptions} wanted
   */
  async #planFor(wanted) {
    const nTokens = this.#travelling?.nTokens ?? this.#live().position;
    const withContext = async (/** @type {number} */ contextSize) => {
      const options = { ...wanted, contextSize };
      return { options, plan: await this.#home.plan(options) };
    };
    try {
      return await withContext(this.#contextAtLoad);
    } catch (error) {
      if (wanted.contextSize > 0 || !(error instanceof TansyError) || error.code !== 'TANSY_OVER_BUDGET') throw error;
    }
    const shorter = await withContext(0);
    return shorter.plan.context > nTokens ? shorter : withContext(Math.min(nTokens + 1, this.#contextAtLoad));
  }

  /**
   * @param {AbortSignal | undefined} signal
   * @returns {Promise<number>} ns of a token, of the fastest of a few: the others were disturbed
   */
  async #measureToken(signal) {
    const engine = this.#live();
    engine.rewind(0);
    this.#cached = [];
    let best = Infinity;
    const end = performance.now() + MEASURE_MS;
    for (let n = 0; n < 3 || (n < 16 && performance.now() < end); n++) {
      if (engine.position >= this.contextSize) engine.rewind(0);
      best = Math.min(best, await this.#evaluate([n % this.config.vocab], signal));
    }
    engine.rewind(0);
    return best * 1e6;
  }

  /** @returns {Tokenizer} */
  #text() {
    this.#present();
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
    if (list === undefined) throw new TansyError('TANSY_OPTION', `${what}: expected a list of token ids; got ${ids === null ? 'null' : typeof ids}.`);
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
 * One run of generate(): an async iterator of text, with what is known beyond the text.
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
  #iterator;

  /**
   * @param {readonly number[]} promptIds
   * @param {(generation: Generation) => AsyncGenerator<string, void, void>} start
   * @param {import('./steer.js').GeneratedLogprob[]} [logprobs] one for each generated id, with the option `logprobs`
   */
  constructor(promptIds, start, logprobs = []) {
    this.promptIds = promptIds;
    this.promptTokens = promptIds.length;
    this.logprobs = logprobs;
    this.#iterator = start(this);
  }

  [Symbol.asyncIterator]() {
    return this.#iterator;
  }

  /** Waits for the end. @returns {Promise<string>} the whole text */
  async text() {
    let text = '';
    for await (const piece of this) text += piece;
    return text;
  }
}

/** Gives the event loop its turns during long work, and hears the signal. */
class Turns {
  #last = performance.now();
  /** @param {AbortSignal | undefined} signal */
  constructor(signal) {
    this.signal = signal;
  }
  async maybe() {
    if (this.signal?.aborted) throw abortError(this.signal);
    if (performance.now() - this.#last < TURN_MS) return;
    await yieldToEvents();
    this.#last = performance.now();
    if (this.signal?.aborted) throw abortError(this.signal);
  }
}

/**
 * @param {readonly import('./tensors.js').TensorInfo[]} tensors
 * @param {import('./engine.js').Engine} engine
 */
function withForms(tensors, engine) {
  return Object.freeze(tensors.map((tensor, i) => ({ ...tensor, form: FORMS[engine.plan.forms[i]] ?? 'vector' })));
}

/**
 * @param {import('./engine.js').Engine} engine
 * @returns {ModelConfig}
 */
function readConfig(engine) {
  /** @param {keyof typeof import('./abi.js').CONFIG_KEYS} key */
  const value = (key) => engine.configValue(key);
  /* ids are stored plus one: 0 is none */
  const eos = [value('eos'), value('eos2'), value('eos3'), value('eos4'), value('eos5')].filter((id) => id > 0).map((id) => id - 1);
  return {
    vocab: value('vocab'),
    hidden: value('hidden'),
    intermediate: value('intermediate'),
    layers: value('layers'),
    heads: value('heads'),
    kvHeads: value('kvHeads'),
    headDim: value('headDim'),
    modelContext: value('context'),
    tied: value('tied') !== 0,
    bos: value('bos') > 0 ? value('bos') - 1 : undefined,
    eos,
    addBos: value('addBos') !== 0,
  };
}

/**
 * A token of tokenizer_config.json: a string, or an object around it.
 * @param {unknown} token
 */
function tokenText(token) {
  if (token !== null && typeof token === 'object') return String(/** @type {{content?: unknown}} */ (token).content ?? '');
  return typeof token === 'string' ? token : '';
}

function randomSeed() {
  const words = crypto.getRandomValues(new Uint32Array(2));
  return (words[0] & 0x1fffff) * 2 ** 32 + words[1];
}

/**
 * @param {number} n
 * @param {number} ms
 */
function perSecond(n, ms) {
  return n > 0 && ms > 0 ? (n / ms) * 1000 : 0;
}
