/**
 * variants.js: which of the modules this engine can run, decided by validating tiny modules that use the instructions in question.
 */
import { TansyError } from './errors.js';
import { shown } from './units.js';

/** @typedef {'simd128' | 'relaxed'} Variant */

/* One function: () -> v128. */
const PROBE_HEAD = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 5, 1, 0x60, 0, 1, 0x7b, 3, 2, 1, 0];
/** Bodies: i8x16.popcnt (i8x16.splat 0) · i16x8.relaxed_dot_i8x16_i7x16_s of two of those. */
const PROBES = {
  simd128: [10, 10, 1, 8, 0, 0x41, 0, 0xfd, 0x0f, 0xfd, 0x62, 0x0b],
  relaxed: [10, 15, 1, 13, 0, 0x41, 0, 0xfd, 0x0f, 0x41, 0, 0xfd, 0x0f, 0xfd, 0x92, 0x02, 0x0b],
};

/**
 * @param {Variant} variant
 * @returns {boolean} whether this engine can run it
 */
export function supports(variant) {
  if (!Object.hasOwn(PROBES, variant)) throw new TansyError('TANSY_OPTION', `The variants are simd128 and relaxed; got ${shown(variant)}.`);
  return WebAssembly.validate(new Uint8Array([...PROBE_HEAD, ...PROBES[variant]]));
}

/** @returns {Variant} the fastest module this engine can run */
export function pickVariant() {
  if (supports('relaxed')) return 'relaxed';
  if (supports('simd128')) return 'simd128';
  throw new TansyError('TANSY_NO_SIMD');
}
