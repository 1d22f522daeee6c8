/** types.js: the tensor types that GGUF files number. A block of `length` values takes `nbytes` bytes; 0: known by name only. */

/** @typedef {{name: string, length: number, nbytes: number}} TensorType */

/** @type {Record<number, TensorType>} */
const TYPES = {
  0: { name: 'F32', length: 1, nbytes: 4 },
  1: { name: 'F16', length: 1, nbytes: 2 },
  2: { name: 'Q4_0', length: 32, nbytes: 18 },
  8: { name: 'Q8_0', length: 32, nbytes: 34 },
  12: { name: 'Q4_K', length: 256, nbytes: 144 },
  13: { name: 'Q5_K', length: 256, nbytes: 176 },
  14: { name: 'Q6_K', length: 256, nbytes: 210 },
  30: { name: 'BF16', length: 1, nbytes: 2 },
};

/** Types that are refused by their names. @type {Record<number, string>} */
const OTHERS = {
  3: 'Q4_1', 6: 'Q5_0', 7: 'Q5_1', 9: 'Q8_1', 10: 'Q2_K', 11: 'Q3_K', 15: 'Q8_K', 16: 'IQ2_XXS', 17: 'IQ2_XS', 18: 'IQ3_XXS', 19: 'IQ1_S',
  20: 'IQ4_NL', 21: 'IQ3_S', 22: 'IQ2_S', 23: 'IQ4_XS', 24: 'I8', 25: 'I16', 26: 'I32', 27: 'I64', 28: 'F64', 29: 'IQ1_M', 34: 'TQ1_0',
  35: 'TQ2_0', 39: 'MXFP4',
};

export const SUPPORTED_TYPES = Object.values(TYPES).map(({ name }) => name);

/** @param {number} id @returns {TensorType} */
export function tensorType(id) {
  return TYPES[id] ?? { name: OTHERS[id] ?? `number ${id}`, length: 0, nbytes: 0 };
}
