/** plain_text.js: texts that a model is to read: UTF-8 without control characters, and some of it. */
import { readFileSync } from 'node:fs';

import { TansyError } from '../errors.js';

/**
 * @param {string | URL} path
 * @param {string} what "calibration text"
 * @param {import('../errors.js').TansyErrorCode} code of what cannot be used
 * @returns {string} without a byte order mark
 */
export function readPlainText(path, what, code) {
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new TansyError('TANSY_NOT_FOUND', `The ${what} ${path} cannot be read (${/** @type {NodeJS.ErrnoException} */ (error).code}); check the path.`, {}, error);
  }
  const unusable = (/** @type {string} */ why) => new TansyError(code, `The ${what} ${path} ${why}; give a plain UTF-8 text such as the model writes.`);
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw unusable('is binary, or text that is not UTF-8');
  }
  if (text.trim() === '') throw unusable('is empty');
  if (/[\0-\x08\x0e-\x1a\x1c-\x1f]/.test(text)) throw unusable('is binary: it has control characters');
  return text;
}
