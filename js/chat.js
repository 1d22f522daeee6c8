/**
 * chat.js: messages → prompt text by the model's own chat template, with @huggingface/jinja.
 */
import { withTimeLimit } from '#platform';
import { Template } from '@huggingface/jinja';

import { TansyError } from './errors.js';

/** The template comes with the file, and can hold loops that do not end. */
const LIMIT_MS = 10000;
/** What templates may expect to be there, as transformers has it. The library's strftime_now, which speaks the page's language, cannot be replaced: ours has another name. */
const ALWAYS = { add_generation_prompt: true, tools: null, documents: null, strftime: strftimeNow };

/** @typedef {{role: string, content: string | null, [key: string]: unknown}} ChatMessage */

/**
 * @param {string} source
 * @param {readonly ChatMessage[]} messages
 * @param {Record<string, unknown>} variables bos_token and the like, and what the caller adds
 * @param {number} [limitMs]
 * @returns {string}
 */
export function renderChat(source, messages, variables, limitMs = LIMIT_MS) {
  if (!Array.isArray(messages) || messages.length === 0 || messages.some((m) => m === null || typeof m !== 'object' || typeof m.role !== 'string'))
    throw new TansyError('TANSY_OPTION', 'messages must be a non-empty list of { role, content } objects.');
  try {
    return withTimeLimit(
      limitMs,
      () => new Template(source.replace(/\bstrftime_now\b/g, 'strftime')).render({ ...ALWAYS, ...variables, messages }),
      () => new Error(`it took more than ${limitMs / 1000} s`),
    );
  } catch (error) {
    throw new TansyError(
      'TANSY_CHAT_TEMPLATE',
      `The model's chat template failed: ${error instanceof Error ? error.message : String(error)}. Check the roles and their order, or pass a prompt.`,
      {},
      error,
    );
  }
}

/**
 * The template among what tokenizer_config.json may hold: a string, or a list of named ones.
 * @param {unknown} value
 * @returns {string | undefined}
 */
export function templateOf(value) {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named = /** @type {({name?: unknown, template?: unknown} | null | undefined)[]} */ (value);
  const template = (named.find((one) => one?.name === 'default') ?? named[0])?.template;
  return typeof template === 'string' ? template : undefined;
}

/**
 * Python's strftime for now, in English wherever the page is read: the prompt must not depend on that.
 * @param {string} format
 * @returns {string}
 */
function strftimeNow(format) {
  const now = new Date();
  const word = (/** @type {Intl.DateTimeFormatOptions} */ options) => new Intl.DateTimeFormat('en-US', options).format(now);
  const [year, hours] = [now.getFullYear(), now.getHours()];
  /** @type {Record<string, string | number>} */
  const parts = {
    A: word({ weekday: 'long' }), a: word({ weekday: 'short' }), B: word({ month: 'long' }), b: word({ month: 'short' }), p: hours < 12 ? 'AM' : 'PM',
    Y: year, y: year % 100, m: now.getMonth() + 1, d: now.getDate(), H: hours, I: hours % 12 || 12, M: now.getMinutes(), S: now.getSeconds(), '%': '%',
  };
  return format.replace(/%(-?)([AaBbpYymdHIMS%])/g, (_, short, letter) => String(parts[letter]).padStart(short || letter === '%' ? 1 : 2, '0'));
}
