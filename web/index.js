/**
 * index.js: tansy in a page. The same names as in Node (js/index.js), but the work is done in a worker: the page
 * never blocks, and dispose() gives every byte back at once because the worker ends.
 *
 *   import { load } from 'tansy';
 *   const model = await load('model.tansy', { memoryBudget: '16MB' });
 *   for await (const text of model.generate('Once upon a time')) document.body.append(text);
 *   model.dispose();
 */

import { TansyError, abortError, throwIfAborted } from '../js/errors.js';
import { JoinedText } from '../js/joined.js';
import { openAi } from '../js/openai/index.js';
import { optionsOf } from '../js/options_of.js';
import { Connection } from './connection.js';
import { absolute, nextChunk, sourceToMessage } from './protocol.js';

export { TansyError };
export { memoryCurve } from '../js/memory_curve.js';
export { pickVariant, supports } from '../js/variants.js';
export { cachedModels, forgetModels } from './cache.js';

/**
 * @typedef {import('../js/index.js').LoadOptions & { cache?: boolean, workerUrl?: string | URL }} LoadOptions
 * cache: keep a downloaded model in the browser and use it next time; true. workerUrl: where tansy-worker.js is, if not
 * beside this script.
 */
/** @typedef {import('../js/index.js').GenerateOptions} GenerateOptions */
/** @typedef {import('../js/index.js').SamplerOptions} SamplerOptions */
/** @typedef {import('../js/index.js').Progress} Progress */
/** @typedef {import('../js/index.js').CurvePoint} CurvePoint */
/** @typedef {import('../js/index.js').ModelStats} ModelStats */
/** @typedef {import('../js/index.js').ModelConfig} ModelConfig */
/** @typedef {import('../js/index.js').ChatMessage} ChatMessage */
/** @typedef {import('../js/index.js').Fit} Fit */
/** @typedef {import('../js/index.js').RetryOptions} RetryOptions */
/** @typedef {import('../js/index.js').MemoryByKind} MemoryByKind */
/** @typedef {import('../js/index.js').TensorInfo} TensorInfo */
/** @typedef {import('../js/index.js').Goal} Goal */
/** @typedef {import('../js/index.js').GeneratedLogprob} GeneratedLogprob */
/** @typedef {import('../js/index.js').ResponseFormat} ResponseFormat */
/** @typedef {import('../js/index.js').ChatBody} ChatBody */
/** @typedef {import('../js/index.js').CompletionBody} CompletionBody */
/** @typedef {import('../js/index.js').ChatCompletion} ChatCompletion */
/** @typedef {import('../js/index.js').ChatCompletionChunk} ChatCompletionChunk */
/** @typedef {import('../js/index.js').Completion} Completion */
/** @typedef {import('../js/index.js').Usage} Usage */
/** @typedef {string | URL | Blob | ArrayBuffer | ArrayBufferView | ReadableStream<Uint8Array>} SourceInput */

/** Where this script is; webpack writes its place on the disk here. Not within `new URL`, or bundlers look for files of these names. */
const here = import.meta.url;
/** An address beside this script. @param {string} name */
const beside = (name) => new URL(name, here);

/**
 * Starts a worker. A page may only start workers of its own origin; when this script comes from elsewhere (a CDN), a
 * one-line module of the page's origin imports the worker from there. Served from the page's origin, no blob is made,
 * so `script-src 'self'` is enough.
 * @param {string | URL | undefined} workerUrl
 * @returns {Worker}
 */
function startWorker(workerUrl) {
  const options = /** @type {const} */ ({ type: 'module', name: 'tansy' });
  const url = workerUrl === undefined ? beside('tansy-worker.js') : new URL(absolute(workerUrl));
  // Vite's development server runs a copy of this script in a folder of its own; the worker is where the package is.
  if (workerUrl === undefined && url.pathname.includes('/.vite/deps')) return new Worker(beside('../../tansy/dist/tansy-worker.js'), options);
  if (/^https?:$/.test(url.protocol) && url.origin !== location.origin) {
    const blob = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
    return new Worker(URL.createObjectURL(blob), options);
  }
  if (workerUrl !== undefined) return new Worker(url, options);
  // Bundlers find the worker by this very expression, and give it another name.
  return new Worker(new URL('./tansy-worker.js', import.meta.url), { type: 'module', name: 'tansy' });
}

/** @param {string | URL | undefined} workerUrl @returns {Connection} */
function connect(workerUrl) {
  try {
    return new Connection(startWorker(workerUrl), String(workerUrl ?? 'tansy-worker.js'));
  } catch (error) {
    // The browser refuses at once.
    const advice =
      location.protocol === 'file:'
        ? 'A page that was opened as a file may not start workers: open it through a server, such as `python3 -m http.server` in its folder.'
        : 'Check workerUrl, and the Content-Security-Policy (worker-src).';
    throw new TansyError('TANSY_WORKER', `The worker that runs the model could not be started (${/** @type {Error} */ (error).message}). ${advice}`, {}, error);
  }
}

/**
 * Options without what stays in the page, and with addresses made absolute.
 * @param {LoadOptions} options
 */
function optionsToMessage({ signal, onProgress, workerUrl, ...rest }) {
  const { wasmUrl, cache } = rest;
  if (typeof wasmUrl === 'string' || wasmUrl instanceof URL) rest.wasmUrl = absolute(wasmUrl);
  if (typeof (cache ?? true) !== 'boolean') throw new TansyError('TANSY_OPTION', `cache must be true or false; got ${String(cache)}.`);
  return rest;
}

/**
 * One call to a fresh worker. Abort ends the worker: whatever it was doing stops there and then.
 * @template T
 * @param {'load' | 'canRun'} method
 * @param {SourceInput} source
 * @param {LoadOptions} options
 * @returns {Promise<{ connection: Connection, result: T }>}
 */
async function start(method, source, options) {
  const { signal, onProgress } = optionsOf(method, options);
  throwIfAborted(signal);
  const { message, stream } = sourceToMessage(source);
  const sent = optionsToMessage(options);
  const reader = stream?.getReader();
  const connection = connect(options.workerUrl);
  const abort = () => connection.close(abortError(/** @type {AbortSignal} */ (signal)));
  signal?.addEventListener('abort', abort);
  try {
    const onEvent = (/** @type {string} */ event, /** @type {any} */ value) => (event === 'warning' ? console.warn(value) : onProgress?.(value));
    const result = await connection.call(method, [message, sent], { onEvent, onPull: reader && (() => nextChunk(reader)) });
    return { connection, result };
  } catch (error) {
    connection.close(/** @type {Error} */ (error));
    throw error;
  } finally {
    signal?.removeEventListener('abort', abort);
    reader?.cancel().catch(() => {});
  }
}

/**
 * Loads a `.tansy` model into a worker of its own.
 * @param {SourceInput} source
 * @param {LoadOptions} [options]
 * @returns {Promise<Model>}
 */
export async function load(source, options = {}) {
  const wanted = optionsOf('load', options).early === true;
  /* a stream stays in the page, which hands it on during this call only */
  const early = wanted && !(source instanceof ReadableStream);
  const { connection, result } = await start('load', source, wanted ? { ...options, early } : options);
  if (!early) return new Model(connection, result, Promise.resolve());
  const { signal, onProgress } = options;
  const abort = () => connection.close(abortError(/** @type {AbortSignal} */ (signal)));
  signal?.addEventListener('abort', abort);
  const loaded = connection.call('loaded', [], { onEvent: (_, value) => onProgress?.(value) }).finally(() => signal?.removeEventListener('abort', abort));
  loaded.catch(() => {}); // whoever waits for it hears of it
  return new Model(connection, result, loaded);
}

/**
 * Says from the first bytes of a model file whether it fits, before anything else is downloaded.
 * @param {SourceInput} source
 * @param {LoadOptions} [options]
 * @returns {ReturnType<typeof import('../js/index.js').canRun>}
 */
export async function canRun(source, options = {}) {
  const { connection, result } = await start('canRun', source, options);
  connection.close(disposed());
  return result;
}

const disposed = () => new TansyError('TANSY_DISPOSED');

/**
 * What load() tells of a model besides what it computes.
 * @typedef {object} Facts
 * @property {Readonly<import('../js/index.js').ModelConfig>} config
 * @property {number} contextSize tokens
 * @property {boolean} hasTokenizer
 * @property {string | undefined} chatTemplate
 * @property {number} nParameters
 * @property {import('../js/index.js').Model['tensors']} tensors every tensor of the file, and the form it has in the heap
 * @property {import('../js/model.js').Goal | undefined} goal what `minTokensPerSecond` came to
 */

/** A model in its worker: as in Node, but what it computes comes back through promises. */
export class Model {
  #connection;

  /**
   * @param {Connection} connection
   * @param {Facts} facts
   * @param {Promise<void>} loaded
   */
  constructor(connection, { config, contextSize, hasTokenizer, chatTemplate, nParameters, tensors, goal }, loaded) {
    this.#connection = connection;
    /** when every weight is there; of interest with the option `early` */
    this.loaded = loaded;
    this.config = config;
    this.contextSize = contextSize;
    this.hasTokenizer = hasTokenizer;
    this.chatTemplate = chatTemplate;
    this.nParameters = nParameters;
    this.tensors = tensors;
    /** what `minTokensPerSecond` came to */
    this.goal = goal;
    const { chat, completions } = openAi(this);
    /** in the shape of OpenAI's API: `chat.completions.create({ messages })`
     * @type {{completions: import('../js/openai/index.js').ChatCompletions}} */
    this.chat = chat;
    /** the same for plain text: `completions.create({ prompt })`
     * @type {import('../js/openai/index.js').Completions} */
    this.completions = completions;
  }

  /**
   * Goes on from a prompt (text, or token ids). Iterate the result for pieces of text; breaking out of the loop stops
   * the work in the worker.
   * @param {string | readonly number[]} prompt
   * @param {GenerateOptions} [options]
   * @returns {Generation}
   */
  generate(prompt, options = {}) {
    return new Generation(this.#connection, prompt, optionsOf('generate', options));
  }

  /**
   * @param {readonly import('../js/index.js').ChatMessage[]} messages
   * @param {Record<string, unknown>} [variables] for the template
   * @returns {Promise<{ text: string, ids: number[] }>}
   */
  applyChatTemplate(messages, variables = {}) {
    return this.#connection.call('applyChatTemplate', [messages, variables]);
  }

  /**
   * @param {string} text
   * @param {{ addBos?: boolean }} [options]
   * @returns {Promise<number[]>}
   */
  tokenize(text, options = {}) {
    return this.#connection.call('tokenize', [text, options]);
  }

  /**
   * @param {readonly number[]} ids
   * @param {{ skipSpecial?: boolean }} [options]
   * @returns {Promise<string>}
   */
  detokenize(ids, options = {}) {
    return this.#connection.call('detokenize', [ids, options]);
  }

  /**
   * Logits of every position of `ids`, evaluated from an empty cache.
   * @param {readonly number[]} ids
   * @param {{ signal?: AbortSignal }} [options]
   * @returns {Promise<Float32Array>} [ids.length, vocab]
   */
  async logits(ids, options = {}) {
    const { signal } = optionsOf('logits', options);
    return this.#connection.call('logits', [ids], { signal });
  }

  /**
   * Heap bytes by kind, tokens a second.
   * @returns {Promise<import('../js/index.js').ModelStats>}
   */
  stats() {
    return this.#connection.call('stats', []);
  }

  /** Forgets the tokens of earlier calls; never needed for correctness. @returns {Promise<void>} */
  reset() {
    return this.#connection.call('reset', []);
  }

  /**
   * Moves the model, with its conversation, to a memory of another size, between two tokens. No token changes by it. The weights
   * are read again, from the browser's cache where they are there.
   * @param {number | string} memoryBudget bytes, "64MB", or as for load()
   * @param {{ signal?: AbortSignal, onProgress?: (progress: import('../js/index.js').Progress) => void }} [options]
   * @returns {Promise<import('../js/index.js').ModelStats>}
   */
  async setMemoryBudget(memoryBudget, options = {}) {
    const { signal, onProgress } = optionsOf('setMemoryBudget', options);
    const onEvent = (/** @type {string} */ _, /** @type {any} */ value) => onProgress?.(value);
    const { stats, facts } = await this.#connection.call('setMemoryBudget', [memoryBudget], { signal, onEvent });
    this.contextSize = facts.contextSize;
    this.tensors = facts.tensors;
    return stats;
  }

  /**
   * The conversation as bytes, for restoreSession() of the same model file, whatever its budget.
   * @returns {Promise<Uint8Array>}
   */
  saveSession() {
    return this.#connection.call('saveSession', []);
  }

  /**
   * @param {Uint8Array} bytes of saveSession()
   * @returns {Promise<number[]>} the conversation's token ids; a prompt that begins with them goes on without evaluating them again
   */
  restoreSession(bytes) {
    return this.#connection.call('restoreSession', [bytes]);
  }

  /** Ends the worker: all its memory goes back at once. Calls under way end with TANSY_DISPOSED. */
  dispose() {
    this.#connection.close(disposed());
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
  /** one for each generated id, with the option `logprobs`
   * @type {import('../js/steer.js').GeneratedLogprob[]} */
  logprobs = [];
  /** set when the iteration ends
   * @type {number | undefined} */
  promptTokens = undefined;
  /** set when the iteration ends
   * @type {import('../js/model.js').FinishReason | undefined} */
  finishReason = undefined;
  /** the stop string that ended it
   * @type {string | undefined} */
  stopString = undefined;
  #text;

  /**
   * @param {Connection} connection
   * @param {string | readonly number[]} prompt
   * @param {GenerateOptions} options
   */
  constructor(connection, prompt, options) {
    this.#text = new JoinedText(this.#run(connection, prompt, options));
  }

  [Symbol.asyncIterator]() {
    return this.#text.pieces;
  }

  /** Waits for the end. @returns {Promise<string>} the whole text, also what was taken before */
  text() {
    return this.#text.whole();
  }

  /**
   * @param {Connection} connection
   * @param {string | readonly number[]} prompt
   * @param {GenerateOptions} options
   * @returns {AsyncGenerator<string, void, void>}
   */
  async *#run(connection, prompt, { signal: callerSignal, onToken, ...options }) {
    const stop = new AbortController();
    const signal = callerSignal ? AbortSignal.any([callerSignal, stop.signal]) : stop.signal;
    /** @type {string[]} text that has come and was not taken yet */
    const pending = [];
    let wake = () => {};
    let drained = () => {};
    let ended = false;
    /** what onToken threw @type {{ error: unknown } | undefined} */
    let failure;
    /** @param {{ ids: number[], logprobs: import('../js/steer.js').GeneratedLogprob[], text: string }} news */
    const take = (news) => {
      this.ids.push(...news.ids);
      this.logprobs.push(...news.logprobs);
      if (onToken) for (const id of news.ids) onToken(id);
      if (news.text !== '') pending.push(news.text);
      wake();
    };
    const onPull = async () => {
      // The worker may ask after the loop was left: then nobody takes what is pending.
      if (pending.length > 0 && !signal.aborted) await new Promise((resolve) => (drained = () => resolve(undefined)));
      return {};
    };
    const onEvent = (/** @type {string} */ _, /** @type {any} */ news) => {
      try {
        take(news);
      } catch (error) {
        failure ??= { error };
        stop.abort();
      }
    };
    const end = connection.call('generate', [prompt, options], { signal, onPull, onEvent }).finally(() => {
      ended = true;
      wake();
    });
    end.catch(() => {}); // it is awaited below, after the text that came before it
    try {
      while (!ended || pending.length > 0) {
        throwIfAborted(callerSignal); // nothing more after abort(), even of what has come
        const text = pending.shift();
        if (text !== undefined) yield text;
        else {
          drained();
          await new Promise((resolve) => (wake = () => resolve(undefined)));
        }
      }
      if (failure) throw failure.error;
      const { finishReason, stopString, promptTokens } = await end;
      this.promptTokens = promptTokens;
      this.finishReason = finishReason;
      this.stopString = stopString;
    } finally {
      // Left by break: stop the worker's run, and let it end before the next may begin.
      stop.abort();
      drained();
      await end.catch(() => {});
    }
  }
}
