/**
 * tansy-worker.js: the worker of one model. It answers the calls of protocol.js with the engine of js/.
 *
 * It also holds a Web Lock for as long as it lives, by which the page notices its end (connection.js).
 */

import { canRun, load } from '../js/index.js';
import { TansyError } from '../js/errors.js';
import { CachedSource } from './cache.js';
import { errorToMessage } from './protocol.js';

/** @typedef {import('./protocol.js').SourceMessage} SourceMessage */
/** @typedef {{ signal: AbortSignal, send: (event: string, value: unknown) => void, id: number }} Context */

/** @type {Awaited<ReturnType<typeof load>> | null} */
let model = null;

/** Where progress of loading goes. @type {(progress: import('../js/index.js').Progress) => void} */
let tellProgress = () => {};

/** Calls under way. @type {Map<number, AbortController>} */
const running = new Map();

/** Pieces of text that may be sent before the page has taken them. */
const MOST_AHEAD = 32;

/** Who waits for the page's answer; a call that is cancelled waits no longer. @type {Map<number, (answer: any) => void>} */
const pulls = new Map();

/**
 * Asks the page for the next answer of a call.
 * @param {number} id
 * @returns {Promise<any>}
 */
function pull(id) {
  return new Promise((resolve) => {
    pulls.set(id, resolve);
    postMessage({ id, pull: true });
  });
}

function theModel() {
  if (!model) throw new TansyError('TANSY_DISPOSED', 'No model is loaded in this worker.');
  return model;
}

/**
 * @param {Exclude<SourceMessage, { url: string }>} message
 * @param {number} id
 */
function sourceFromMessage(message, id) {
  if ('blob' in message) return message.blob;
  return new ReadableStream({
    async pull(controller) {
      const answer = await pull(id);
      if (answer.chunk) controller.enqueue(answer.chunk);
      else if (answer.end) controller.close();
      else controller.error(new TansyError('TANSY_SOURCE', `The stream failed: ${answer.failure}`));
    },
  });
}

/**
 * @param {SourceMessage} message
 * @param {{ cache: boolean | undefined, options: import('../js/index.js').LoadOptions, send: Context['send'], id: number, write: boolean }} how
 */
async function openSource(message, { cache, options, send, id, write }) {
  if (!('url' in message)) return sourceFromMessage(message, id);
  if (cache === false || !/^https?:/.test(message.url)) return message.url;
  return CachedSource.open(message.url, { retry: options.retry, write, warn: (text) => send('warning', text) });
}

/** What the page keeps of the model. */
function facts() {
  const { config, contextSize, hasTokenizer, chatTemplate, nParameters, tensors, goal } = theModel();
  return { config, contextSize, hasTokenizer, chatTemplate, nParameters, tensors, goal };
}

/** What the calls of protocol.js do. @type {Record<string, (args: any[], context: Context) => unknown>} */
const methods = {
  async load([message, { cache, ...options }], { send, id }) {
    tellProgress = (progress) => send('progress', progress);
    const onProgress = (/** @type {import('../js/index.js').Progress} */ progress) => tellProgress(progress);
    /** @type {Awaited<ReturnType<typeof openSource>>} */
    let source;
    for (let isSecond = false; ; isSecond = true) {
      source = await openSource(message, { cache, options, send, id, write: true });
      try {
        model = await load(source, { ...options, onProgress });
        break;
      } catch (error) {
        const isWorthAnother = source instanceof CachedSource && (await source.abandon(error));
        if (isSecond || !isWorthAnother) throw error;
      }
    }
    if (source instanceof CachedSource) {
      const cached = source;
      const kept = model.loaded.then(
        () => cached.commit(),
        (error) => cached.abandon(error),
      );
      if (!options.early) await kept;
    }
    return facts();
  },

  /** Ends when every weight is there; meanwhile progress goes to this call. */
  async loaded(_, { send }) {
    tellProgress = (progress) => send('progress', progress);
    await theModel().loaded;
  },

  async canRun([message, { cache, ...options }], { send, id }) {
    return canRun(await openSource(message, { cache, options, send, id, write: false }), options);
  },

  async generate([prompt, options], { signal, send, id }) {
    const generation = theModel().generate(prompt, { ...options, signal });
    let nSent = 0;
    const news = (/** @type {string} */ text) => {
      send('news', { ids: generation.ids.slice(nSent), logprobs: generation.logprobs.slice(nSent), text });
      nSent = generation.ids.length;
    };
    let nAhead = 0;
    for await (const text of generation) {
      news(text);
      if (++nAhead < MOST_AHEAD) continue;
      await pull(id);
      nAhead = 0;
    }
    if (generation.ids.length > nSent) news('');
    return { finishReason: generation.finishReason, stopString: generation.stopString, promptTokens: generation.promptTokens };
  },

  applyChatTemplate: ([messages, variables]) => theModel().applyChatTemplate(messages, variables),
  tokenize: ([text, options]) => theModel().tokenize(text, options),
  detokenize: ([ids, options]) => theModel().detokenize(ids, options),
  logits: ([ids], { signal }) => theModel().logits(ids, { signal }),
  stats: () => theModel().stats(),
  reset: () => theModel().reset(),
  saveSession: () => theModel().saveSession(),
  restoreSession: ([bytes]) => theModel().restoreSession(bytes),
  async setMemoryBudget([memoryBudget], { signal, send }) {
    const stats = await theModel().setMemoryBudget(memoryBudget, { signal, onProgress: (progress) => send('progress', progress) });
    return { stats, facts: facts() };
  },
};

onmessage = async ({ data }) => {
  const { id } = data;
  if (data.cancel) running.get(id)?.abort();
  const answered = pulls.get(id);
  if (answered) {
    pulls.delete(id);
    answered(data.cancel ? { failure: 'it was cancelled' } : data);
  }
  if (data.cancel || answered) return;
  const method = methods[data.method];
  if (!method) return; // an answer to a pull of a call that has ended
  const controller = new AbortController();
  running.set(id, controller);
  try {
    const result = await method(data.args, {
      id,
      signal: controller.signal,
      send: (event, value) => postMessage({ id, event, value }),
    });
    postMessage({ id, result }, { transfer: result instanceof Float32Array ? [result.buffer] : [] });
  } catch (error) {
    postMessage({ id, error: errorToMessage(error) });
  } finally {
    running.delete(id);
  }
};

if (navigator.locks) {
  const lock = `tansy-${crypto.randomUUID()}`;
  navigator.locks.request(lock, () => {
    postMessage({ lock });
    return new Promise(() => {}); // held until the worker ends
  });
}
