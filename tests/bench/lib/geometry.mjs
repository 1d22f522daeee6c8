// Shapes of the models that `tansy synth` imitates, for the same models as GGUF.

/**
 * @typedef {object} Geometry
 * @property {number} vocab
 * @property {number} hidden
 * @property {number} intermediate
 * @property {number} layers
 * @property {number} heads
 * @property {number} kvHeads
 * @property {number} headDim
 * @property {number} modelContext
 * @property {boolean} tied
 * @property {boolean} qkvBias
 * @property {number} ropeTheta
 * @property {number} normEps
 */

/** @type {Readonly<Record<string, Geometry>>} */
export const GEOMETRIES = Object.freeze({
  'smollm2-135m': llama(49152, 576, 1536, 30, 9, 3, 64, 8192, 1e5),
  'smollm2-360m': llama(49152, 960, 2560, 32, 15, 5, 64, 8192, 1e5),
  'qwen2.5-0.5b': { ...llama(151936, 896, 4864, 24, 14, 2, 64, 32768, 1e6), qkvBias: true, normEps: 1e-6 },
  'llama-3.2-1b': llama(128256, 2048, 8192, 16, 32, 8, 64, 131072, 5e5),
  'llama-3-8b': { ...llama(128256, 4096, 14336, 32, 32, 8, 128, 8192, 5e5), tied: false },
});

/**
 * @param {number} vocab @param {number} hidden @param {number} intermediate @param {number} layers @param {number} heads
 * @param {number} kvHeads @param {number} headDim @param {number} modelContext @param {number} ropeTheta
 * @returns {Geometry}
 */
function llama(vocab, hidden, intermediate, layers, heads, kvHeads, headDim, modelContext, ropeTheta) {
  return { vocab, hidden, intermediate, layers, heads, kvHeads, headDim, modelContext, tied: true, qkvBias: false, ropeTheta, normEps: 1e-5 };
}
