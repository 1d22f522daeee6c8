// checkpoint.mjs: a checkpoint with the geometry of Llama-3.2-1B and random weights: BF16, in shards, with an index, as such
// checkpoints are published. Spreads differ between tensors, rows and columns as trained ones do.
import { createWriteStream, mkdirSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';

export const CONFIG = {
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: 2048,
  intermediate_size: 8192,
  num_hidden_layers: 16,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  head_dim: 64,
  vocab_size: 128256,
  max_position_embeddings: 131072,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  rope_scaling: { factor: 32, high_freq_factor: 4, low_freq_factor: 1, original_max_position_embeddings: 8192, rope_type: 'llama3' },
  hidden_act: 'silu',
  tie_word_embeddings: true,
  bos_token_id: 128000,
  eos_token_id: 128001,
  torch_dtype: 'bfloat16',
};

const SHARD_NBYTES = 1e9;
const N_LEVELS = 16;
const POOL = 1 << 20;

/** Uniform numbers in [0, 1), the same on every machine. @param {number} seed */
function uniform(seed) {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), x | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {() => number} next */
function gaussian(next) {
  return () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}

/** One pool of normal numbers as BF16 for each level of spread: 0.02 * 2^((level - 8) / 4). @param {() => number} normal */
function pools(normal) {
  const values = Float32Array.from({ length: POOL }, normal);
  const float = new Float32Array(1);
  const bits = new Uint32Array(float.buffer);
  return Array.from({ length: N_LEVELS }, (_, level) => {
    const scale = 0.02 * 2 ** ((level - N_LEVELS / 2) / 4);
    return Uint16Array.from(values, (v) => {
      float[0] = v * scale;
      return (bits[0] + 0x8000) >>> 16;
    });
  });
}

/** @param {typeof CONFIG} c @returns {{name: string, shape: number[], spread: number}[]} in the order of the file */
function tensorsOf(c) {
  const { hidden_size: d, intermediate_size: f, num_attention_heads: h, num_key_value_heads: kv, head_dim: hd } = c;
  const list = [{ name: 'model.embed_tokens.weight', shape: [c.vocab_size, d], spread: 0.02 }];
  for (let i = 0; i < c.num_hidden_layers; i++) {
    const at = `model.layers.${i}.`;
    list.push(
      { name: `${at}input_layernorm.weight`, shape: [d], spread: 0 },
      { name: `${at}self_attn.q_proj.weight`, shape: [h * hd, d], spread: 0.03 },
      { name: `${at}self_attn.k_proj.weight`, shape: [kv * hd, d], spread: 0.03 },
      { name: `${at}self_attn.v_proj.weight`, shape: [kv * hd, d], spread: 0.015 },
      { name: `${at}self_attn.o_proj.weight`, shape: [d, h * hd], spread: 0.015 },
      { name: `${at}post_attention_layernorm.weight`, shape: [d], spread: 0 },
      { name: `${at}mlp.gate_proj.weight`, shape: [f, d], spread: 0.02 },
      { name: `${at}mlp.up_proj.weight`, shape: [f, d], spread: 0.02 },
      { name: `${at}mlp.down_proj.weight`, shape: [d, f], spread: 0.012 },
    );
  }
  list.push({ name: 'model.norm.weight', shape: [d], spread: 0 });
  return list;
}

/** @param {number[]} shape */
const count = (shape) => shape.reduce((a, b) => a * b, 1);

/**
 * Writes config.json, the shards and model.safetensors.index.json.
 * @param {string} folder
 * @param {Partial<typeof CONFIG>} [changes] a smaller geometry
 */
export async function writeLargeCheckpoint(folder, changes = {}) {
  const config = { ...CONFIG, ...changes };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'config.json'), JSON.stringify(config, null, 2));
  const next = uniform(1);
  const normal = gaussian(next);
  const levels = pools(normal);
  /** @type {ReturnType<typeof tensorsOf>[]} */
  const shards = [[]];
  let filled = 0;
  for (const tensor of tensorsOf(config)) {
    const nbytes = 2 * count(tensor.shape);
    if (filled > 0 && filled + nbytes > SHARD_NBYTES) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)?.push(tensor);
    filled += nbytes;
  }
  /** @type {Record<string, string>} */
  const weightMap = {};
  let total = 0;
  for (const [i, tensors] of shards.entries()) {
    const file = `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`;
    /** @type {Record<string, unknown>} */
    const header = {};
    let at = 0;
    for (const { name, shape } of tensors) {
      header[name] = { dtype: 'BF16', shape, data_offsets: [at, at + 2 * count(shape)] };
      at += 2 * count(shape);
      weightMap[name] = file;
    }
    total += at;
    const json = Buffer.from(JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    const out = createWriteStream(join(folder, file), { highWaterMark: 1 << 24 });
    out.write(size);
    out.write(json);
    for (const { shape, spread } of tensors) await writeTensor(out, shape, spread, levels, next, normal);
    out.end();
    await once(out, 'close');
  }
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify({ metadata: { total_size: total }, weight_map: weightMap }));
  return { config, nParams: total / 2 };
}

/**
 * @param {import('node:fs').WriteStream} out
 * @param {number[]} shape
 * @param {number} spread of the middle row; 0: a norm, about 1
 * @param {Uint16Array[]} levels
 * @param {() => number} next
 * @param {() => number} normal
 */
async function writeTensor(out, shape, spread, levels, next, normal) {
  const middle = N_LEVELS / 2 + 4 * Math.log2((spread || 0.02) / 0.02);
  const nCols = shape.at(-1) ?? 1;
  const nRows = count(shape) / nCols;
  const rowsAtOnce = Math.max(1, Math.floor((1 << 22) / nCols));
  for (let first = 0; first < nRows; first += rowsAtOnce) {
    const n = Math.min(rowsAtOnce, nRows - first);
    const block = new Uint16Array(n * nCols);
    for (let row = 0; row < n; row++) {
      const level = Math.max(0, Math.min(N_LEVELS - 1, Math.round(middle + 1.6 * normal())));
      const from = Math.floor(next() * (POOL - nCols));
      block.set(levels[level].subarray(from, from + nCols), row * nCols);
    }
    if (spread === 0) block.forEach((_, i) => (block[i] = 0x3f80 + ((i * 37) % 16))); // 1 to 1.12
    if (!out.write(Buffer.from(block.buffer))) await once(out, 'drain');
  }
}

/** Token ids as the compressor reads them, common ones far more often. @param {number} n @param {number} vocab */
export function randomIds(n, vocab) {
  const next = uniform(7);
  const ids = new Uint32Array(n);
  for (let i = 0; i < n; i++) ids[i] = Math.min(vocab - 1, Math.floor(vocab ** next()) - 1);
  return vocab <= 65536 ? Buffer.from(Uint16Array.from(ids).buffer) : Buffer.from(ids.buffer);
}
