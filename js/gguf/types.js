/** types.js: the tensor types that GGUF files number. A block of `length` values takes `nbytes` bytes; 0: known by name only. */

/** @typedef {{name: string, length: number, nbytes: number}} TensorType */

/** @type {Record<number, TensorType>} */
const TYPES = {
  0: { name: 'F32', length: 1, nbytes: 4 },
  1: { name: 'F16', length: 1, nbytes: 2 },
  2: { name: 'Q4_0', length: 32, nbytes: 18 },
  3: { name: 'Q4_1', length: 32, nbytes: 20 },
  6: { name: 'Q5_0', length: 32, nbytes: 22 },
  7: { name: 'Q5_1', length: 32, nbytes: 24 },
  8: { name: 'Q8_0', length: 32, nbytes: 34 },
  10: { name: 'Q2_K', length: 256, nbytes: 84 },
  11: { name: 'Q3_K', length: 256, nbytes: 110 },
  12: { name: 'Q4_K', length: 256, nbytes: 144 },
  13: { name: 'Q5_K', length: 256, nbytes: 176 },
  14: { name: 'Q6_K', length: 256, nbytes: 210 },
  20: { name: 'IQ4_NL', length: 32, nbytes: 18 },
  23: { name: 'IQ4_XS', length: 256, nbytes: 136 },
  30: { name: 'BF16', length: 1, nbytes: 2 },
};

/** Types that are refused by their names. @type {Record<number, string>} */
const OTHERS = {
  9: 'Q8_1', 15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S', 21: 'IQ3_S', 22: 'IQ2_S', 24: 'I8', 25: 'I16', 26: 'I32',
  27: 'I64', 28: 'F64', 29: 'IQ1_M', 34: 'TQ1_0', 35: 'TQ2_0', 39: 'MXFP4',
};

export const SUPPORTED_TYPES = Object.values(TYPES).map(({ name }) => name);

/** @param {number} id @returns {TensorType} */
export function tensorType(id) {
  return TYPES[id] ?? { name: OTHERS[id] ?? `number ${id}`, length: 0, nbytes: 0 };
}
