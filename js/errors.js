/**
 * errors.js: every error tansy throws is a TansyError with a stable `code`.
 *
 * STATUS mirrors `enum tansy_status` (src/base/status.h); a test holds the two together. HOST lists the codes that
 * arise on this side of the heap.
 */

/** Engine status number → code. Numbers and names are those of src/base/status.h, without `_ERR`. */
export const STATUS = Object.freeze({
  0: 'TANSY_OK',
  1: 'TANSY_ARGUMENT',
  2: 'TANSY_TRUNCATED',
  3: 'TANSY_CORRUPT',
  4: 'TANSY_CHECKSUM',
  5: 'TANSY_NOT_TANSY',
  6: 'TANSY_VERSION',
  7: 'TANSY_UNSUPPORTED',
  8: 'TANSY_SHAPE',
  9: 'TANSY_OVER_BUDGET',
  10: 'TANSY_CONTEXT',
  11: 'TANSY_NOT_READY',
  12: 'TANSY_CANCELLED',
  13: 'TANSY_NO_MEMORY',
  14: 'TANSY_IO',
  15: 'TANSY_NOT_CHECKPOINT',
  16: 'TANSY_NONFINITE',
  17: 'TANSY_CALIBRATION',
  18: 'TANSY_WORKER',
});

/** What each engine status means and what to do about it; used where no better sentence is at hand. */
const STATUS_TEXT = Object.freeze({
  TANSY_OK: 'No error.',
  TANSY_ARGUMENT: 'An argument is outside its documented range; check the options that were passed.',
  TANSY_TRUNCATED: 'The file ends too early; download or copy it again.',
  TANSY_CORRUPT: 'The file contradicts its own format; download it again, or compress the model again.',
  TANSY_CHECKSUM: 'A piece of the file does not match its checksum; download the file again.',
  TANSY_NOT_TANSY: 'This is not a .tansy file; make one with `tansy compress`.',
  TANSY_VERSION: 'The file was written by a newer tansy; update the package.',
  TANSY_UNSUPPORTED: 'The file uses an architecture, data type or size that this build does not have; update the package.',
  TANSY_SHAPE: "A tensor's shape contradicts the model config; check that config.json belongs to these weights.",
  TANSY_OVER_BUDGET: 'The model does not fit into the memory budget; raise memoryBudget or lower contextSize.',
  TANSY_CONTEXT: 'There are more tokens than the context holds; shorten the prompt or load with a larger contextSize.',
  TANSY_NOT_READY: 'The weights have not all arrived yet; wait for load() to finish.',
  TANSY_CANCELLED: 'The work was cancelled.',
  TANSY_NO_MEMORY: 'An allocation failed; close other programs or pages, or use a smaller memoryBudget.',
  TANSY_IO: 'Reading or writing a file failed; check paths, permissions and free space.',
  TANSY_NOT_CHECKPOINT: 'The input is not a model checkpoint; expected a folder with config.json and *.safetensors.',
  TANSY_NONFINITE: 'A number is NaN or infinite where it must be finite; the checkpoint is damaged.',
  TANSY_CALIBRATION: 'The calibration text cannot be used; give a longer plain-text file with --calibration.',
  TANSY_WORKER: 'A worker or thread that runs the model stopped; load the model again.',
});

/** Codes that only JavaScript raises. */
export const HOST = Object.freeze({
  TANSY_ABORTED: 'The AbortSignal fired.',
  TANSY_BUSY: 'The model is generating already; wait for it or abort it first.',
  TANSY_CHANGED: 'The file on the server changed during the download; load it again.',
  TANSY_CHAT_TEMPLATE: 'The chat template is missing or malformed.',
  TANSY_DISPOSED: 'The model has been disposed; load it again.',
  TANSY_HTTP: 'The server refused the request.',
  TANSY_NETWORK: 'The connection failed repeatedly.',
  TANSY_NO_SIMD: 'This engine lacks WebAssembly SIMD; use a browser of 2021 or later, or Node 20 or later.',
  TANSY_NO_TOKENIZER: 'The file carries no tokenizer; pass token ids instead of text.',
  TANSY_NOT_FOUND: 'The file does not exist.',
  TANSY_OPTION: 'An option is unknown or has a value it cannot take.',
  TANSY_PACK: 'The compressor failed.',
  TANSY_SCHEMA: 'The JSON schema of response_format is malformed or uses something that is not supported.',
  TANSY_SESSION: 'The saved session is damaged or belongs to another model.',
  TANSY_SOURCE: 'The source cannot be read as a file.',
  TANSY_TOKENIZER: 'The tokenizer of this model cannot be used.',
  TANSY_USAGE: 'The command line is wrong.',
  TANSY_WASM: 'The WebAssembly module could not be loaded.',
});

/** @typedef {keyof typeof STATUS_TEXT | keyof typeof HOST} TansyErrorCode */

/** The one error class. `code` is stable across releases; `message` says what happened and what to do. */
export class TansyError extends Error {
  /**
   * @param {TansyErrorCode} code
   * @param {string} [message] the code's own sentence when left out
   * @param {Record<string, unknown>} [details] numbers behind the sentence, such as `bytesNeeded`
   * @param {unknown} [cause]
   */
  constructor(code, message, details = {}, cause) {
    super(message ?? describe(code), cause === undefined ? undefined : { cause });
    /** `AbortError` for TANSY_ABORTED, as AbortSignal users expect */
    this.name = code === 'TANSY_ABORTED' ? 'AbortError' : 'TansyError';
    this.code = code;
    this.details = details;
  }
}

/**
 * The sentence of a code.
 * @param {TansyErrorCode} code
 * @returns {string}
 */
export function describe(code) {
  return (
    /** @type {Record<string, string>} */ (STATUS_TEXT)[code] ?? /** @type {Record<string, string>} */ (HOST)[code] ?? code
  );
}

/**
 * An engine status as an error.
 * @param {number} status positive, of `enum tansy_status`
 * @param {string} [message]
 * @param {Record<string, unknown>} [details]
 */
export function statusError(status, message, details) {
  const code = /** @type {Record<number, TansyErrorCode>} */ (STATUS)[status];
  if (code === undefined) return new TansyError('TANSY_CORRUPT', `The engine returned an unknown status (${status}); the module and js/ differ in version.`);
  return new TansyError(code, message, details);
}

/** @param {AbortSignal | undefined} signal */
export function throwIfAborted(signal) {
  if (signal?.aborted) throw abortError(signal);
}

/**
 * @param {AbortSignal} signal
 * @returns {TansyError}
 */
export function abortError(signal) {
  if (signal.reason instanceof TansyError) return signal.reason;
  return new TansyError('TANSY_ABORTED', undefined, {}, signal.reason);
}
