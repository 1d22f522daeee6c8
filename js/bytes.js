/** bytes.js: room for bytes; where there is none, an error says so. */
import { TansyError } from './errors.js';

/**
 * @param {number} nbytes
 * @returns {Uint8Array<ArrayBuffer>} zeros
 */
export function newBytes(nbytes) {
  try {
    return new Uint8Array(nbytes);
  } catch (error) {
    throw new TansyError('TANSY_NO_MEMORY', `${nbytes} bytes could not be allocated; close other pages or programs, or ask for less.`, { bytesNeeded: nbytes }, error);
  }
}

/** @param {Uint8Array} bytes */
export function copyOf(bytes) {
  const copy = newBytes(bytes.length);
  copy.set(bytes);
  return copy;
}
