// checkpoint.js: a tiny random Llama checkpoint in Hugging Face layout, made anew for each test run.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { byteLevelTokenizer } from './tokenizers.js';

export const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 72,
  intermediate_size: 100,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 3,
  head_dim: 12,
  vocab_size: 260,
  max_position_embeddings: 192,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  hidden_act: 'silu',
  tie_word_embeddings: false,
  bos_token_id: 0,
  eos_token_id: 0,
  torch_dtype: 'float32',
};

/** Standard normal numbers, the same on every machine. @param {number} seed */
export function gaussian(seed) {
  let x = seed >>> 0;
  const uniform = () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };
  return () => {
    let sum = -6;
    for (let i = 0; i < 12; i++) sum += uniform();
    return sum;
  };
}

/** @typedef {Map<string, {shape: number[], values: Float32Array}>} Tensors */

/** @param {typeof CONFIG} config @param {number} seed @returns {Tensors} */
export function randomTensors(config, seed) {
  const next = gaussian(seed);
  /** @type {Tensors} */
  const tensors = new Map();
  const matrix = (/** @type {string} */ name, /** @type {number} */ rows, /** @type {number} */ cols, gain = 1) =>
    tensors.set(name, { shape: [rows, cols], values: Float32Array.from({ length: rows * cols }, () => (gain * next()) / Math.sqrt(cols)) });
  const norm = (/** @type {string} */ name, /** @type {number} */ n) => tensors.set(name, { shape: [n], values: Float32Array.from({ length: n }, () => 1 + 0.1 * next()) });
  const { hidden_size: d, intermediate_size: f, num_attention_heads: h, num_key_value_heads: kv, head_dim: hd, vocab_size: v } = config;
  matrix('model.embed_tokens.weight', v, d, 4);
  for (let i = 0; i < config.num_hidden_layers; i++) {
    const layer = `model.layers.${i}.`;
    norm(`${layer}input_layernorm.weight`, d);
    matrix(`${layer}self_attn.q_proj.weight`, h * hd, d);
    matrix(`${layer}self_attn.k_proj.weight`, kv * hd, d);
    matrix(`${layer}self_attn.v_proj.weight`, kv * hd, d);
    matrix(`${layer}self_attn.o_proj.weight`, d, h * hd);
    norm(`${layer}post_attention_layernorm.weight`, d);
    matrix(`${layer}mlp.gate_proj.weight`, f, d);
    matrix(`${layer}mlp.up_proj.weight`, f, d);
    matrix(`${layer}mlp.down_proj.weight`, d, f);
  }
  norm('model.norm.weight', d);
  if (!config.tie_word_embeddings) matrix('lm_head.weight', v, d, 4);
  return tensors;
}

/** @param {Tensors} tensors */
export function safetensors(tensors) {
  /** @type {Record<string, unknown>} */
  const header = {};
  let at = 0;
  for (const [name, { shape, values }] of tensors) {
    header[name] = { dtype: 'F32', shape, data_offsets: [at, at + values.byteLength] };
    at += values.byteLength;
  }
  const json = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([size, json, ...[...tensors.values()].map(({ values }) => Buffer.from(values.buffer))]);
}

/**
 * Writes config.json, model.safetensors and a byte-level tokenizer.
 * @param {string} folder
 * @param {{config?: Partial<typeof CONFIG> & Record<string, unknown>, seed?: number, tokenizer?: boolean, tensors?: (t: Tensors) => void}} [options]
 */
export function writeCheckpoint(folder, { config = {}, seed = 1, tokenizer = true, tensors: edit } = {}) {
  mkdirSync(folder, { recursive: true });
  const full = { ...CONFIG, ...config };
  const tensors = randomTensors(full, seed);
  edit?.(tensors);
  writeFileSync(join(folder, 'config.json'), JSON.stringify(full));
  writeFileSync(join(folder, 'model.safetensors'), safetensors(tensors));
  if (tokenizer) {
    const { json, config: tokenizerConfig } = byteLevelTokenizer();
    writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(JSON.parse(json), null, 2));
    writeFileSync(join(folder, 'tokenizer_config.json'), tokenizerConfig);
  }
  return { config: full, tensors };
}
