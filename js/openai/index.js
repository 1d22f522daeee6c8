/**
 * index.js: `model.chat.completions.create` and `model.completions.create`, in the shape of OpenAI's API, over generate(). The same
 * code serves a model in Node and one in a page's worker: it only uses what both offer, and awaits what may be a promise.
 */
import { TansyError } from '../errors.js';
import { badParam, checkBody, generateOptions, plainMessages, plainPrompts } from './body.js';
import { Queue } from './queue.js';
import { ChunkStream } from './stream.js';

/** @import { ChatBody, ChatCompletion, ChatCompletionChunk, Completion, CompletionBody, CompletionLogprobs, RequestOptions, TokenLogprob, Usage } from './types.js' */
/** @typedef {import('../steer.js').GeneratedLogprob} GeneratedLogprob */

/**
 * What is needed of a model.
 * @typedef {object} Generator
 * @property {(prompt: any, options?: import('../options.js').GenerateOptions) => Run} generate
 * @property {(messages: any, variables?: Record<string, unknown>) => {ids: number[]} | Promise<{ids: number[]}>} applyChatTemplate
 */
/**
 * @typedef {AsyncIterable<string> & {ids: number[], finishReason: 'stop' | 'length' | undefined, promptTokens: number | undefined,
 *   logprobs: GeneratedLogprob[]}} Run
 */

/** OpenAI's default for text completions. */
const COMPLETION_TOKENS = 16;
const NAME = 'tansy';

/** @typedef {{text: string, logprobs: GeneratedLogprob[]}} Piece text, and the tokens that have come since the last piece */

/**
 * Runs one generation when its turn comes.
 * @param {Generator} model
 * @param {Queue} queue
 * @param {string | readonly number[]} prompt
 * @param {import('../options.js').GenerateOptions} options
 * @param {AbortSignal | undefined} signal
 * @returns {AsyncGenerator<Piece, {finishReason: 'stop' | 'length', usage: Usage}, void>}
 */
async function* pieces(model, queue, prompt, options, signal) {
  const leave = await queue.enter(signal);
  try {
    const run = model.generate(prompt, { ...options, signal });
    let nTold = 0;
    const piece = (/** @type {string} */ text) => {
      const logprobs = run.logprobs.slice(nTold);
      nTold += logprobs.length;
      return { text, logprobs };
    };
    for await (const text of run) yield piece(text);
    if (run.logprobs.length > nTold) yield piece('');
    if (run.finishReason === undefined) throw new TansyError('TANSY_ABORTED');
    const [nPrompt, nNew] = [run.promptTokens ?? 0, run.ids.length];
    return { finishReason: run.finishReason, usage: { prompt_tokens: nPrompt, completion_tokens: nNew, total_tokens: nPrompt + nNew } };
  } finally {
    leave();
  }
}

/** @param {string} prefix */
function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return prefix + Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const now = () => Math.floor(Date.now() / 1000);

/** @param {readonly GeneratedLogprob[]} list @returns {TokenLogprob[]} */
function chatLogprobs(list) {
  return list.map(({ token, logprob, bytes, top }) => ({
    token,
    logprob,
    bytes,
    top_logprobs: top.map((one) => ({ token: one.token, logprob: one.logprob, bytes: one.bytes })),
  }));
}

/**
 * @param {readonly GeneratedLogprob[]} list
 * @param {number} offset characters before
 * @returns {CompletionLogprobs}
 */
function completionLogprobs(list, offset) {
  let at = offset;
  return {
    tokens: list.map(({ token }) => token),
    token_logprobs: list.map(({ logprob }) => logprob),
    top_logprobs: list.map(({ top }) => Object.fromEntries(top.map(({ token, logprob }) => [token, logprob]))),
    text_offset: list.map(({ token }) => {
      const start = at;
      at += token.length;
      return start;
    }),
  };
}

/** @param {RequestOptions | undefined} options */
function signalOf(options) {
  const signal = options?.signal;
  if (signal !== undefined && signal !== null && !(signal instanceof AbortSignal)) throw badParam('signal', 'signal must be an AbortSignal.');
  return signal ?? undefined;
}

export class ChatCompletions {
  #model;
  #queue;

  /**
   * @param {Generator} model
   * @param {Queue} queue
   */
  constructor(model, queue) {
    this.#model = model;
    this.#queue = queue;
  }

  /**
   * Answers messages, by the chat template of the file.
   * @overload
   * @param {ChatBody & {stream?: false | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<ChatCompletion>}
   */
  /**
   * @overload
   * @param {ChatBody & {stream: true}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<ChunkStream<ChatCompletionChunk>>}
   */
  /**
   * @overload
   * @param {ChatBody & {stream?: boolean | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<ChatCompletion | ChunkStream<ChatCompletionChunk>>}
   */
  /**
   * @param {ChatBody & {stream?: boolean | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<ChatCompletion | ChunkStream<ChatCompletionChunk>>}
   */
  async create(body, options) {
    const checked = checkBody(body, 'chat');
    const signal = signalOf(options);
    const messages = plainMessages(checked.messages);
    const { chat_template: template, chat_template_kwargs: variables } = checked;
    const { ids } = await this.#model.applyChatTemplate(messages, { ...variables, ...(template === undefined ? {} : { chat_template: template }) });
    const tellsLogprobs = checked.logprobs === true;
    const how = generateOptions(checked, tellsLogprobs ? checked.top_logprobs ?? 0 : undefined);
    const head = { id: newId('chatcmpl-'), created: now(), model: checked.model ?? NAME };
    const start = (/** @type {AbortSignal | undefined} */ signal) => pieces(this.#model, this.#queue, ids, how, signal);
    if (checked.stream === true)
      return new ChunkStream((signal) => chatChunks(start(signal), head, tellsLogprobs, checked.stream_options?.include_usage === true), signal);
    let content = '';
    /** @type {GeneratedLogprob[]} */
    const logprobs = [];
    const run = start(signal);
    for (;;) {
      const { value, done } = await run.next();
      if (!done) {
        content += value.text;
        logprobs.push(...value.logprobs);
        continue;
      }
      return {
        ...head,
        object: 'chat.completion',
        choices: [
          {
            index: 0,
            message: { role: 'assistant', content, refusal: null },
            logprobs: tellsLogprobs ? { content: chatLogprobs(logprobs), refusal: null } : null,
            finish_reason: value.finishReason,
          },
        ],
        usage: value.usage,
      };
    }
  }
}

/**
 * @param {ReturnType<typeof pieces>} run
 * @param {{id: string, created: number, model: string}} head
 * @param {boolean} tellsLogprobs
 * @param {boolean} tellsUsage
 * @returns {AsyncGenerator<ChatCompletionChunk, void, void>}
 */
async function* chatChunks(run, head, tellsLogprobs, tellsUsage) {
  /** @param {ChatCompletionChunk['choices']} choices @returns {ChatCompletionChunk} */
  const chunk = (choices) => ({ ...head, object: 'chat.completion.chunk', choices, ...(tellsUsage ? { usage: null } : {}) });
  try {
    /* the first piece before anything else: what is wrong with a request shows before an answer begins */
    let next = await run.next();
    yield chunk([{ index: 0, delta: { role: 'assistant', content: '' }, logprobs: null, finish_reason: null }]);
    for (; !next.done; next = await run.next()) {
      const { text, logprobs } = next.value;
      yield chunk([
        { index: 0, delta: { content: text }, logprobs: tellsLogprobs ? { content: chatLogprobs(logprobs), refusal: null } : null, finish_reason: null },
      ]);
    }
    const { finishReason, usage } = next.value;
    yield chunk([{ index: 0, delta: {}, logprobs: null, finish_reason: finishReason }]);
    if (tellsUsage) yield { ...chunk([]), usage };
  } finally {
    await run.return(/** @type {any} */ (undefined));
  }
}

export class Completions {
  #model;
  #queue;

  /**
   * @param {Generator} model
   * @param {Queue} queue
   */
  constructor(model, queue) {
    this.#model = model;
    this.#queue = queue;
  }

  /**
   * Goes on from a prompt, or from each of several.
   * @overload
   * @param {CompletionBody & {stream?: false | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<Completion & {usage: Usage}>}
   */
  /**
   * @overload
   * @param {CompletionBody & {stream: true}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<ChunkStream<Completion>>}
   */
  /**
   * @overload
   * @param {CompletionBody & {stream?: boolean | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<Completion | ChunkStream<Completion>>}
   */
  /**
   * @param {CompletionBody & {stream?: boolean | null}} body
   * @param {RequestOptions} [options]
   * @returns {Promise<Completion | ChunkStream<Completion>>}
   */
  async create(body, options) {
    const checked = checkBody(body, 'completion');
    const signal = signalOf(options);
    const prompts = plainPrompts(checked.prompt);
    const how = { ...generateOptions(checked, checked.logprobs), maxTokens: checked.max_tokens ?? COMPLETION_TOKENS };
    const head = { id: newId('cmpl-'), object: /** @type {const} */ ('text_completion'), created: now(), model: checked.model ?? NAME };
    const tellsLogprobs = checked.logprobs !== undefined;
    const start = (/** @type {AbortSignal | undefined} */ signal) => completionChunks(this.#model, this.#queue, prompts, how, tellsLogprobs, signal);
    if (checked.stream === true) {
      const tellsUsage = checked.stream_options?.include_usage === true;
      return new ChunkStream((signal) => streamed(start(signal), head, tellsUsage), signal);
    }
    /** @type {Completion['choices']} */
    const choices = [];
    const run = start(signal);
    for (;;) {
      const { value, done } = await run.next();
      if (done) return { ...head, choices, usage: value };
      const choice = (choices[value.index] ??= { index: value.index, text: '', logprobs: null, finish_reason: 'stop' });
      choice.text += value.text;
      if (value.logprobs !== null) {
        if (choice.logprobs === null) choice.logprobs = value.logprobs;
        else for (const [key, list] of Object.entries(value.logprobs)) /** @type {Record<string, any[]>} */ (/** @type {unknown} */ (choice.logprobs))[key].push(...list);
      }
      if (value.finish_reason !== null) choice.finish_reason = value.finish_reason;
    }
  }
}

/** @typedef {{index: number, text: string, logprobs: CompletionLogprobs | null, finish_reason: 'stop' | 'length' | null}} Part */

/**
 * @param {Generator} model
 * @param {Queue} queue
 * @param {readonly (string | number[])[]} prompts
 * @param {import('../options.js').GenerateOptions} how
 * @param {boolean} tellsLogprobs
 * @param {AbortSignal | undefined} signal
 * @returns {AsyncGenerator<Part, Usage, void>}
 */
async function* completionChunks(model, queue, prompts, how, tellsLogprobs, signal) {
  const total = { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
  for (const [index, prompt] of prompts.entries()) {
    const run = pieces(model, queue, prompt, how, signal);
    let offset = 0;
    try {
      for (;;) {
        const { value, done } = await run.next();
        if (done) {
          for (const key of /** @type {(keyof Usage)[]} */ (Object.keys(total))) total[key] += value.usage[key];
          yield { index, text: '', logprobs: tellsLogprobs ? completionLogprobs([], offset) : null, finish_reason: value.finishReason };
          break;
        }
        yield { index, text: value.text, logprobs: tellsLogprobs ? completionLogprobs(value.logprobs, offset) : null, finish_reason: null };
        for (const { token } of value.logprobs) offset += token.length;
      }
    } finally {
      await run.return(/** @type {any} */ (undefined));
    }
  }
  return total;
}

/**
 * @param {ReturnType<typeof completionChunks>} run
 * @param {{id: string, object: 'text_completion', created: number, model: string}} head
 * @param {boolean} tellsUsage
 * @returns {AsyncGenerator<Completion, void, void>}
 */
async function* streamed(run, head, tellsUsage) {
  try {
    for (;;) {
      const { value, done } = await run.next();
      if (done) {
        if (tellsUsage) yield { ...head, choices: [], usage: value };
        return;
      }
      /* OpenAI's type says that finish_reason is never null, its service sends null until the end */
      yield { ...head, choices: [/** @type {import('./types.js').CompletionChoice} */ (value)] };
    }
  } finally {
    await run.return(/** @type {any} */ (undefined));
  }
}

/**
 * @param {Generator} model
 * @returns {{chat: {completions: ChatCompletions}, completions: Completions}}
 */
export function openAi(model) {
  const queue = new Queue();
  return { chat: { completions: new ChatCompletions(model, queue) }, completions: new Completions(model, queue) };
}
