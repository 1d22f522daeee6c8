/** body.js: checks the body of a request, and makes of it what generate() takes. */
import { TansyError } from '../errors.js';
import { nearest, shown } from '../units.js';

/**
 * @param {string} param
 * @param {string} words
 */
export function badParam(param, words) {
  return new TansyError('TANSY_OPTION', words, { param });
}

/** A name that may be of any length. @param {string} name */
const cut = (name) => (name.length > 60 ? `${name.slice(0, 60)}…` : name);

/** @typedef {(value: any, name: string) => void} Check */

/** @param {number} min @param {number} max @returns {Check} */
const number = (min, max) => (value, name) => {
  if (typeof value !== 'number' || !(value >= min && value <= max)) throw badParam(name, `${name} must be a number from ${min} to ${max}; got ${shown(value)}.`);
};
/** @param {number} min @param {number} max @returns {Check} */
const integer = (min, max) => (value, name) => {
  if (!Number.isInteger(value) || value < min || value > max) throw badParam(name, `${name} must be an integer from ${min} to ${max}; got ${shown(value)}.`);
};
/** @param {'string' | 'boolean' | 'object'} type @returns {Check} */
const type = (type) => (value, name) => {
  if (typeof value !== type || Array.isArray(value)) throw badParam(name, `${name} must be ${type === 'object' ? 'an' : 'a'} ${type}; got ${shown(value)}.`);
};
/** @param {unknown} only @param {string} words @returns {Check} */
const only = (only, words) => (value, name) => {
  if (shown(value) !== shown(only)) throw badParam(name, `${name}: ${words}`);
};
/** @type {Check} */
const anything = () => {};
/** @type {Check} */
const stops = (value, name) => {
  const list = typeof value === 'string' ? [value] : value;
  if (!Array.isArray(list) || list.some((item) => typeof item !== 'string' || item === ''))
    throw badParam(name, `${name} must be a non-empty string or a list of them; got ${shown(value)}.`);
};
/** @type {Check} */
const noTools = (value, name) => {
  if (!(Array.isArray(value) && value.length === 0) && value !== 'none' && value !== 'auto')
    throw badParam(name, `${name}: tools are not supported. Describe them in a message, and ask for their arguments with response_format.`);
};

/** @param {string} words @returns {Check} */
const never = (words) => (_, name) => {
  throw badParam(name, `${name}: ${words}`);
};

const COMMON = /** @type {Record<string, Check>} */ ({
  model: type('string'),
  max_tokens: integer(0, 2 ** 31),
  temperature: number(0, 2),
  top_p: number(0, 1),
  top_k: integer(0, 2 ** 20),
  min_p: number(0, 1),
  repeat_penalty: number(0.01, 100),
  repeat_last_n: integer(0, 2 ** 20),
  presence_penalty: number(-2, 2),
  frequency_penalty: number(-2, 2),
  seed: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  stop: stops,
  logit_bias: type('object'),
  n: only(1, 'only one choice is made at a time. Ask again for another, with another seed.'),
  response_format: type('object'),
  stream: type('boolean'),
  stream_options: type('object'),
  /* of no effect here */
  user: type('string'),
  metadata: type('object'),
  store: type('boolean'),
  service_tier: type('string'),
  safety_identifier: type('string'),
  prompt_cache_key: type('string'),
  prompt_cache_retention: anything,
  prompt_cache_options: anything,
});

const CHAT = /** @type {Record<string, Check>} */ ({
  ...COMMON,
  messages: anything,
  max_completion_tokens: integer(0, 2 ** 31),
  logprobs: type('boolean'),
  top_logprobs: integer(0, 20),
  chat_template: type('string'),
  chat_template_kwargs: type('object'),
  modalities: only(['text'], 'only text is made.'),
  tools: noTools,
  tool_choice: noTools,
  functions: noTools,
  function_call: noTools,
  parallel_tool_calls: type('boolean'),
  prediction: anything, // a hint for speed
  audio: never('only text is made.'),
  web_search_options: never('nothing is fetched for a request. Put what is to be known into a message.'),
  moderation: never('there is no moderation. Check texts yourself.'),
  reasoning_effort: never("models here have no such switch. Where a chat template has one, pass it in chat_template_kwargs."),
  verbosity: never('models here have no such switch. Ask for it in a message.'),
});

const COMPLETION = /** @type {Record<string, Check>} */ ({
  ...COMMON,
  prompt: anything,
  logprobs: integer(0, 20),
  echo: only(false, 'the prompt is not repeated. Put it before the text yourself.'),
  best_of: only(1, 'only one choice is made at a time.'),
  suffix: only('', 'text cannot be filled into a gap.'),
});

/**
 * @param {unknown} body
 * @param {'chat' | 'completion'} kind
 * @returns {Record<string, any>} without what is null or undefined
 */
export function checkBody(body, kind) {
  const rules = kind === 'chat' ? CHAT : COMPLETION;
  if (body === null || typeof body !== 'object' || Array.isArray(body))
    throw badParam('body', `The request must be an object such as ${kind === 'chat' ? '{ messages: [{ role, content }] }' : '{ prompt }'}; got ${shown(body)}.`);
  /** @type {Record<string, any>} */
  const out = {};
  for (const [name, value] of Object.entries(body)) {
    if (!Object.hasOwn(rules, name)) {
      const guess = nearest(name, Object.keys(rules));
      throw badParam(cut(name), `${kind === 'chat' ? 'chat.completions' : 'completions'}.create has no option "${cut(name)}"${guess === undefined ? '.' : `; did you mean "${guess}"? The names here are OpenAI's.`}`);
    }
    if (value === undefined || value === null) continue;
    rules[name](value, name);
    out[name] = value;
  }
  const streamOptions = out.stream_options;
  if (streamOptions !== undefined) {
    if (out.stream !== true) throw badParam('stream_options', 'stream_options is for stream: true only.');
    for (const [name, value] of Object.entries(streamOptions))
      if ((name !== 'include_usage' && name !== 'include_obfuscation') || typeof value !== 'boolean')
        throw badParam('stream_options', `stream_options takes { include_usage: true or false }; got ${shown(streamOptions)}.`);
  }
  if (kind === 'chat' && out.top_logprobs !== undefined && out.logprobs !== true)
    throw badParam('top_logprobs', 'top_logprobs needs logprobs: true.');
  return out;
}

/** Seeds below zero are put above all others: the engine's are from 0 to 2^53 - 1. */
const SEEDS = Number.MAX_SAFE_INTEGER;

/**
 * @param {Record<string, any>} body checked
 * @param {number | undefined} logprobs
 * @returns {import('../options.js').GenerateOptions}
 */
export function generateOptions(body, logprobs) {
  return {
    maxTokens: body.max_completion_tokens ?? body.max_tokens,
    temperature: body.temperature,
    topP: body.top_p,
    topK: body.top_k,
    minP: body.min_p,
    repeatPenalty: body.repeat_penalty,
    repeatLastN: body.repeat_last_n,
    presencePenalty: body.presence_penalty,
    frequencyPenalty: body.frequency_penalty,
    seed: body.seed === undefined || body.seed >= 0 ? body.seed : SEEDS + body.seed,
    stop: body.stop,
    logitBias: body.logit_bias,
    responseFormat: body.response_format,
    logprobs,
  };
}

/**
 * Messages as chat templates know them: text only, `developer` by its older name.
 * @param {unknown} messages
 * @returns {import('../chat.js').ChatMessage[]}
 */
export function plainMessages(messages) {
  if (!Array.isArray(messages) || messages.length === 0) throw badParam('messages', `messages must be a non-empty list of { role, content }; got ${shown(messages)}.`);
  return messages.map((message, i) => {
    const where = `messages[${i}]`;
    if (message === null || typeof message !== 'object' || typeof message.role !== 'string') throw badParam(where, `${where} must be { role, content }; got ${shown(message)}.`);
    const { role, content = null } = message;
    let text = content;
    if (Array.isArray(content))
      text = content
        .map((part, j) => {
          if (part?.type !== 'text' || typeof part.text !== 'string') throw badParam(where, `${where}.content[${j}]: only { type: 'text', text } is supported; got ${shown(part)}.`);
          return part.text;
        })
        .join('');
    else if (content !== null && typeof content !== 'string') throw badParam(where, `${where}.content must be a string or a list of parts; got ${shown(content)}.`);
    return { ...message, role: role === 'developer' ? 'system' : role, content: text };
  });
}

/**
 * @param {unknown} prompt
 * @returns {(string | number[])[]}
 */
export function plainPrompts(prompt) {
  const isIds = (/** @type {unknown} */ list) => Array.isArray(list) && list.length > 0 && list.every((id) => Number.isInteger(id));
  if (typeof prompt === 'string') return [prompt];
  if (isIds(prompt)) return [/** @type {number[]} */ (prompt)];
  if (Array.isArray(prompt) && prompt.length > 0 && prompt.every((one) => typeof one === 'string' || isIds(one))) return prompt;
  throw badParam('prompt', `prompt must be a string, a list of token ids, or a non-empty list of these; got ${shown(prompt)}.`);
}
