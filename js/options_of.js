/** options_of.js: what every call checks of its options, in Node and in a page, which leaves the rest to its worker. */
import { TansyError } from './errors.js';
import { shown } from './units.js';

/**
 * The options of a call that takes few, as an object to take them from.
 * @template {object} T
 * @param {string} what name of the call, for the message
 * @param {T} options
 * @returns {T}
 */
export function optionsOf(what, options) {
  if (options === null || typeof options !== 'object') throw new TansyError('TANSY_OPTION', `The options of ${what} must be an object; got ${shown(options)}.`);
  if ('signal' in options) checkSignal(options.signal ?? undefined);
  for (const name of ['onProgress', 'onToken']) if (name in options) checkFunction(name, /** @type {Record<string, unknown>} */ (options)[name] ?? undefined);
  return options;
}

/** @param {unknown} signal */
export function checkSignal(signal) {
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw new TansyError('TANSY_OPTION', 'signal must be an AbortSignal.');
}

/**
 * @param {string} name
 * @param {unknown} value
 */
export function checkFunction(name, value) {
  if (value !== undefined && typeof value !== 'function') throw new TansyError('TANSY_OPTION', `${name} must be a function.`);
}
