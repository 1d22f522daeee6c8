// GPT-2's attention matrices by themselves: error of the weights over bits, for entropy-coded integers and for the fixed-rate formats.
// (For inputs without correlations the mean squared error of an output is that of the weights.)
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { runPack } from '../../../js/cli/pack.js';
import { ROLES } from '../../../js/roles.js';
import { FIXED_FORMATS, roundToFormat } from '../../reference/fixed_formats.js';
import { readTansy } from '../../reference/tansy_reader.js';
import { readSafetensors, writeSafetensors } from './safetensors.mjs';

const [WIDTH, LAYERS, SMALL] = [768, 6, 16];

/** Steps of the integers, in units of absmax / 127 of a row. */
const STEPS = [1, 4, 8, 12, 16, 24];

/**
 * A checkpoint around the matrices; the rest of the model is as small as it may be.
 * @param {Map<string, Float32Array>} matrices
 * @param {string} folder
 */
function writeCheckpoint(matrices, folder) {
  mkdirSync(folder, { recursive: true });
  const config = {
    model_type: 'llama', architectures: ['LlamaForCausalLM'], hidden_size: WIDTH, intermediate_size: SMALL, num_hidden_layers: LAYERS,
    num_attention_heads: 12, num_key_value_heads: 12, head_dim: 64, vocab_size: SMALL, max_position_embeddings: 64, rms_norm_eps: 1e-5,
    rope_theta: 10000, hidden_act: 'silu', tie_word_embeddings: true, attention_bias: false, mlp_bias: false, torch_dtype: 'float32',
  };
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
  const ones = (/** @type {number} */ n) => new Float32Array(n).fill(1);
  const tensors = [
    { name: 'model.embed_tokens.weight', shape: [SMALL, WIDTH], values: ones(SMALL * WIDTH) },
    { name: 'model.norm.weight', shape: [WIDTH], values: ones(WIDTH) },
  ];
  for (let layer = 0; layer < LAYERS; layer++) {
    const name = (/** @type {string} */ part) => `model.layers.${layer}.${part}.weight`;
    for (const norm of ['input_layernorm', 'post_attention_layernorm']) tensors.push({ name: name(norm), shape: [WIDTH], values: ones(WIDTH) });
    for (const part of ['q', 'k', 'v', 'o'])
      tensors.push({ name: name(`self_attn.${part}_proj`), shape: [WIDTH, WIDTH], values: /** @type {Float32Array} */ (matrices.get(`h.${layer}.attn.${part}.weight`)) });
    for (const part of ['gate', 'up']) tensors.push({ name: name(`mlp.${part}_proj`), shape: [SMALL, WIDTH], values: ones(SMALL * WIDTH) });
    tensors.push({ name: name('mlp.down_proj'), shape: [WIDTH, SMALL], values: ones(SMALL * WIDTH) });
  }
  writeSafetensors(join(folder, 'model.safetensors'), tensors);
}

/** @param {ArrayLike<number>} a @param {ArrayLike<number>} b @returns {[error: number, power: number]} */
function squares(a, b) {
  let [error, power] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    error += (a[i] - b[i]) ** 2;
    power += a[i] ** 2;
  }
  return [error, power];
}

/**
 * @param {string} path the matrices
 * @param {string} folder for what is made on the way
 * @returns {Promise<{method: string, bits_per_weight: number, relative_error: number}[]>} error: squared, over the weights' squares
 */
export async function weightsOnly(path, folder) {
  const matrices = new Map(readSafetensors(path).map(({ name, values }) => [name, values]));
  const checkpoint = join(folder, 'checkpoint');
  writeCheckpoint(matrices, checkpoint);
  const n = 4 * LAYERS * WIDTH * WIDTH;
  const rows = [];
  for (const step of STEPS) {
    const file = join(folder, `step-${step}.tansy`);
    await runPack(['compress', checkpoint, '-o', file, '--recipe', 'paper', '--alpha', '0', '--prune', '0', '--step', `${step}`]);
    let [bytes, error, power] = [0, 0, 0];
    for (const tensor of readTansy(readFileSync(file)).tensors) {
      const matrix = matrices.get(`h.${tensor.layer}.attn.${ROLES[tensor.role]}.weight`);
      if (matrix === undefined || tensor.kind !== 'CODED') continue;
      const [e, p] = squares(matrix, tensor.values());
      bytes += tensor.nbytes;
      error += e;
      power += p;
    }
    rows.push({ method: 'entropy-coded integers', bits_per_weight: (bytes * 8) / n, relative_error: error / power });
  }
  for (const format of Object.keys(FIXED_FORMATS)) {
    let [bytes, error, power] = [0, 0, 0];
    for (const matrix of matrices.values()) {
      const rounded = Float32Array.from(matrix);
      bytes += roundToFormat(format, rounded);
      const [e, p] = squares(matrix, rounded);
      error += e;
      power += p;
    }
    rows.push({ method: format, bits_per_weight: (bytes * 8) / n, relative_error: error / power });
  }
  return rows;
}
