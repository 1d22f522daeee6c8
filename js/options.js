/**
 * options.js: checks what callers pass. Every option has one row in a table: its type, its range and its default.
 *
 * Names are camelCase; the snake_case names of OpenAI's API and the other common spellings are accepted too.
 */
import { TansyError } from './errors.js';
import { checkFunction, checkSignal } from './options_of.js';
import { nearest, parseBudget, shown } from './units.js';

/**
 * @typedef {object} Rule
 * @property {'integer' | 'number' | 'boolean' | 'budget' | 'choice' | 'strings' | 'any'} type
 * @property {number} [min]
 * @property {number} [max]
 * @property {readonly string[]} [choices]
 * @property {unknown} [default]
 */

/** llama.cpp's defaults, because they are what people know. */
const SAMPLER = /** @type {const} */ ({
  temperature: { type: 'number', min: 0, max: 100, default: 0.8 },
  topK: { type: 'integer', min: 0, max: 2 ** 20, default: 40 },
  topP: { type: 'number', min: 0, max: 1, default: 0.95 },
  minP: { type: 'number', min: 0, max: 1, default: 0.05 },
  repeatPenalty: { type: 'number', min: 0.01, max: 100, default: 1 },
  repeatLastN: { type: 'integer', min: 0, max: 2 ** 20, default: 64 },
  presencePenalty: { type: 'number', min: -100, max: 100, default: 0 },
  frequencyPenalty: { type: 'number', min: -100, max: 100, default: 0 },
  seed: { type: 'integer', min: 0, max: Number.MAX_SAFE_INTEGER },
});

/** The engine takes 0 for "off", but who asks for 0 wants the likeliest token alone; not 0 as an f32 either. */
const LEAST_TOP_P = 2 ** -126;

const GENERATE = /** @type {const} */ ({
  ...SAMPLER,
  maxTokens: { type: 'integer', min: 0, max: 2 ** 31 },
  stop: { type: 'strings', default: [] },
  logitBias: { type: 'any' },
  logprobs: { type: 'integer', min: 0, max: 20 },
  responseFormat: { type: 'any' },
  ignoreEos: { type: 'boolean', default: false },
  addBos: { type: 'boolean' },
  speculate: { type: 'boolean' },
  contextOverflow: { type: 'choice', choices: ['stop', 'shift'], default: 'stop' },
  signal: { type: 'any' },
  onToken: { type: 'any' },
});

const LOAD = /** @type {const} */ ({
  memoryBudget: { type: 'budget', default: 'auto' },
  contextSize: { type: 'integer', min: 0, max: 2 ** 24, default: 0 },
  threads: { type: 'integer', min: 0, max: 64, default: 0 },
  kv: { type: 'choice', choices: ['int8', 'f16', 'f32'], default: 'int8' },
  residency: { type: 'choice', choices: ['auto', 'ans', 'packed', 'int8'], default: 'auto' },
  batchSize: { type: 'integer', min: 1, max: 256 },
  minTokensPerSecond: { type: 'number', min: 0.001, max: 1e6 },
  early: { type: 'boolean', default: false },
  variant: { type: 'any' },
  wasmUrl: { type: 'any' },
  signal: { type: 'any' },
  onProgress: { type: 'any' },
  retry: { type: 'any' },
});

const RETRY = /** @type {const} */ ({
  attempts: { type: 'integer', min: 1, max: 1000 },
  delayMs: { type: 'number', min: 0, max: 1e6 },
  stallMs: { type: 'number', min: 1, max: 1e9 },
});

/** @type {Readonly<Record<string, string>>} */
const ALIASES = Object.freeze({
  max_new_tokens: 'maxTokens',
  max_completion_tokens: 'maxTokens',
  maxNewTokens: 'maxTokens',
  temp: 'temperature',
  repetition_penalty: 'repeatPenalty',
  repetitionPenalty: 'repeatPenalty',
  n_ctx: 'contextSize',
  context: 'contextSize',
});

/**
 * @param {string} what name of the call, for messages
 * @param {Readonly<Record<string, Rule>>} rules
 * @param {unknown} given
 * @returns {Record<string, unknown>}
 */
function check(what, rules, given) {
  if (given === null || typeof given !== 'object' || Array.isArray(given))
    throw new TansyError('TANSY_OPTION', `The options of ${what} must be an object, such as { ${Object.keys(rules)[0]}: … }.`);
  /** @type {Record<string, unknown>} */
  const out = {};
  for (const [name, rule] of Object.entries(rules)) if (rule.default !== undefined) out[name] = rule.default;
  for (const [givenName, value] of Object.entries(given)) {
    const name = (Object.hasOwn(ALIASES, givenName) ? ALIASES[givenName] : undefined) ?? givenName.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
    if (!Object.hasOwn(rules, name)) {
      const guess = nearest(name, Object.keys(rules));
      throw new TansyError('TANSY_OPTION', `${what} has no option "${givenName}"${guess ? `; did you mean "${guess}"?` : `; it knows ${Object.keys(rules).join(', ')}.`}`);
    }
    if (value === undefined || value === null) continue;
    out[name] = checkOne(givenName, rules[name], value);
  }
  return out;
}

/**
 * @param {string} name
 * @param {Rule} rule
 * @param {unknown} value
 * @returns {unknown}
 */
function checkOne(name, rule, value) {
  switch (rule.type) {
    case 'integer':
    case 'number': {
      const { min = -Infinity, max = Infinity } = rule;
      if (typeof value !== 'number' || !(value >= min && value <= max) || (rule.type === 'integer' && !Number.isInteger(value)))
        throw new TansyError('TANSY_OPTION', `${name} must be ${rule.type === 'integer' ? 'an integer' : 'a number'} from ${min} to ${max}; got ${shown(value)}.`);
      return value;
    }
    case 'boolean':
      if (typeof value !== 'boolean') throw new TansyError('TANSY_OPTION', `${name} must be true or false; got ${shown(value)}.`);
      return value;
    case 'budget':
      return parseBudget(/** @type {string} */ (value), name);
    case 'choice':
      if (!rule.choices?.includes(/** @type {string} */ (value)))
        throw new TansyError('TANSY_OPTION', `${name} must be one of ${rule.choices?.join(', ')}; got ${shown(value)}.`);
      return value;
    case 'strings': {
      const list = typeof value === 'string' ? [value] : value;
      if (!Array.isArray(list) || list.some((item) => typeof item !== 'string' || item === ''))
        throw new TansyError('TANSY_OPTION', `${name} must be a non-empty string or a list of them.`);
      return list;
    }
    default:
      return value;
  }
}

/**
 * @typedef {object} SamplerOptions
 * @property {number} [temperature] 0 is greedy; 0.8
 * @property {number} [topK] 0 is off; 40
 * @property {number} [topP] 1 is off; 0.95
 * @property {number} [minP] 0 is off; 0.05
 * @property {number} [repeatPenalty] 1 is off; 1
 * @property {number} [repeatLastN] tokens the penalties look back; 64
 * @property {number} [presencePenalty] 0
 * @property {number} [frequencyPenalty] 0
 * @property {number} [seed] the same seed, prompt and file give the same text everywhere; random when left out
 */

/**
 * @typedef {object} TextOptions
 * @property {number} [maxTokens] most tokens to generate; until the model ends or the context is full when left out
 * @property {string | readonly string[]} [stop] end before one of these texts
 * @property {Readonly<Record<string, number>>} [logitBias] by token id: added to its logit, -100 to 100
 * @property {number} [logprobs] how many of the likeliest tokens to tell with each generated one, 0 to 20
 * @property {import('./schema/response_format.js').ResponseFormat} [responseFormat] the form the text must have, such as JSON of a schema
 * @property {boolean} [ignoreEos] go on past the end of the text; false
 * @property {boolean} [addBos] begin with the token that begins texts; as the model says
 * @property {boolean} [speculate] verify guesses in batches, which changes no token; where it has been faster so far when left out
 * @property {'stop' | 'shift'} [contextOverflow] what a full context does: the text ends ('stop', when left out), or goes on from the newer half
 *   of its tokens (and the BOS before them), evaluated anew: what follows is what a prompt of these tokens would give
 * @property {AbortSignal} [signal] stops the work within a layer
 * @property {(id: number) => void} [onToken] called with each token
 */

/** @typedef {SamplerOptions & TextOptions} GenerateOptions */

/**
 * @typedef {Required<Omit<SamplerOptions, 'seed'>> & {seed?: number, maxTokens?: number, stop: string[], ignoreEos: boolean, addBos?: boolean,
 *   logitBias?: unknown, logprobs?: number, responseFormat?: unknown, speculate?: boolean, contextOverflow: 'stop' | 'shift',
 *   signal?: AbortSignal, onToken?: (id: number) => void}} CheckedGenerateOptions
 */

/**
 * @typedef {object} LoadOptions
 * @property {number | string} [memoryBudget] most bytes of the whole wasm memory, or "64MB"; "min": as small as it gets; "auto",
 *   when left out: as much as makes it fast, within what this device can spare
 * @property {number} [contextSize] tokens; as much as the model and the budget allow, up to 4096, when left out
 * @property {number} [threads] as many as help when left out; in a page more than one needs cross-origin isolation
 * @property {'int8' | 'f16' | 'f32'} [kv] form of the KV cache: 8 bits a value, 16, or 32
 * @property {'auto' | 'ans' | 'packed' | 'int8'} [residency] form of the weights in the heap; auto: by the budget
 * @property {number} [batchSize] tokens of the prompt run together; 8 to 128 when left out, as suits the memory
 * @property {number} [minTokensPerSecond] unpack no more weights than it takes to generate so fast on this device (and within memoryBudget); for less working space, name a batchSize too
 * @property {boolean} [early] resolve as soon as a prompt can begin: its first layers run while later ones arrive
 * @property {'simd128' | 'relaxed'} [variant] module to use; probed when left out
 * @property {string | URL | BufferSource | WebAssembly.Module} [wasmUrl] where the module is, or the module itself
 * @property {AbortSignal} [signal] stops the download and the loading
 * @property {(progress: import('./loader.js').Progress) => void} [onProgress] called as bytes arrive
 * @property {import('./http_source.js').RetryOptions} [retry] for URLs
 */

/**
 * @typedef {Required<Pick<LoadOptions, 'contextSize' | 'threads' | 'kv' | 'residency' | 'early'>>
 *   & {memoryBudget: number | 'auto' | 'min', costs?: import('./costs.js').Costs, targetNsPerToken?: number}
 *   & Pick<LoadOptions, 'batchSize' | 'minTokensPerSecond' | 'variant' | 'wasmUrl' | 'signal' | 'onProgress' | 'retry'>} CheckedLoadOptions
 */

/**
 * @param {GenerateOptions} options
 * @returns {CheckedGenerateOptions}
 */
export function checkGenerateOptions(options) {
  const out = /** @type {CheckedGenerateOptions} */ (check('generate', GENERATE, options));
  checkSignal(out.signal);
  checkFunction('onToken', out.onToken);
  out.topP = Math.max(out.topP, LEAST_TOP_P);
  return out;
}

/**
 * @param {string} what `load` or `canRun`
 * @param {LoadOptions} options
 * @returns {CheckedLoadOptions}
 */
export function checkLoadOptions(what, options) {
  const out = /** @type {CheckedLoadOptions} */ (check(what, LOAD, options));
  checkSignal(out.signal);
  checkFunction('onProgress', out.onProgress);
  if (out.retry !== undefined) out.retry = check('retry', RETRY, out.retry);
  return out;
}
