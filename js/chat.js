/**
 * chat.js: messages → prompt text by the model's own chat template, with @huggingface/jinja.
 */
import { withTimeLimit } from '#platform';
import { Template } from '@huggingface/jinja';

import { TansyError } from './errors.js';

/** The template comes with the file, and can hold loops that do not end. */
const LIMIT_MS = 10000;

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
      () => new Template(source).render({ add_generation_prompt: true, ...variables, messages }),
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
