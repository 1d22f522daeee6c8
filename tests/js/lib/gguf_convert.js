// gguf_convert.js: a Hugging Face checkpoint as the metadata and tensors of a GGUF file, in f32, as converters write them.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { floatBytes, interleave, transpose } from './gguf.js';

/** @typedef {import('./checkpoint.js').Tensors} Tensors */

/** @param {string} folder @returns {{config: any, tensors: Tensors}} */
export function readCheckpoint(folder) {
  const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
  const file = readFileSync(join(folder, 'model.safetensors'));
  const n = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + n).toString());
  /** @type {Tensors} */
  const tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') continue;
    const bytes = file.subarray(8 + n + entry.data_offsets[0], 8 + n + entry.data_offsets[1]);
    const values =
      entry.dtype === 'F32'
        ? Float32Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))
        : Float32Array.from({ length: bytes.length / 2 }, (_, i) => Buffer.from([0, 0, bytes[2 * i], bytes[2 * i + 1]]).readFloatLE(0));
    tensors.set(name, { shape: entry.shape, values });
  }
  return { config, tensors };
}

/** Parts of names, in this order; the last ones are what remains. @type {[RegExp, string][]} */
const RENAMES = [
  [/^(model|transformer)\./, ''],
  [/^(layers|h)\.(\d+)\./, 'blk.$2.'],
  [/^(embed_tokens|wte)\./, 'token_embd.'],
  [/^wpe\./, 'position_embd.'],
  [/^(norm|ln_f)\./, 'output_norm.'],
  [/^lm_head\./, 'output.'],
  [/(input_layernorm|ln_1)\./, 'attn_norm.'],
  [/ln_2\./, 'ffn_norm.'],
  [/self_attn\.([qkv])_proj/, 'attn_$1'],
  [/self_attn\.([qk])_norm/, 'attn_$1_norm'],
  [/self_attn\.qkv_proj|attn\.c_attn/, 'attn_qkv'],
  [/self_attn\.o_proj|attn\.c_proj/, 'attn_output'],
  [/mlp\.gate_up_proj|mlp\.up_proj|mlp\.c_fc/, 'ffn_up'],
  [/mlp\.gate_proj/, 'ffn_gate'],
  [/mlp\.down_proj|mlp\.c_proj/, 'ffn_down'],
  [/pre_feedforward_layernorm/, 'ffn_norm'],
  [/post_feedforward_layernorm/, 'post_ffw_norm'],
];

const ARCHITECTURES = /** @type {Record<string, string>} */ ({ mistral: 'llama', gemma3_text: 'gemma3' });

/** @param {any} config @param {Tensors} tensors */
export function convert(config, tensors) {
  const family = config.model_type;
  const arch = ARCHITECTURES[family] ?? family;
  const gemma = family.startsWith('gemma');
  const heads = config.num_attention_heads ?? config.n_head;
  const hidden = config.hidden_size ?? config.n_embd;
  const headDim = config.head_dim ?? hidden / heads;
  const context = config.max_position_embeddings ?? config.n_positions;
  const list = [];
  for (const [name, { shape, values }] of tensors) {
    let to = RENAMES.reduce((text, [from, by]) => text.replace(from, by), name);
    to = to.replace('post_attention_layernorm', family === 'gemma2' || family === 'gemma3_text' ? 'post_attention_norm' : 'ffn_norm');
    let [stored, dims] = [values, shape];
    if ((arch === 'llama' || arch === 'smollm3') && /attn_[qk]\.(weight|bias)/.test(to)) stored = interleave(values, headDim, shape[0]);
    if (gemma && /norm\.weight$/.test(to)) stored = values.map((v) => v + 1);
    if (family === 'gpt2' && /\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight$/.test(to)) [stored, dims] = [transpose(values, shape[0], shape[1]), [shape[1], shape[0]]];
    list.push({ name: to, type: /** @type {const} */ ('F32'), shape: dims, bytes: floatBytes(stored) });
  }
  const eos = [config.eos_token_id ?? []].flat();
  /** @type {Record<string, any>} */
  const metadata = {
    'general.architecture': arch,
    [`${arch}.block_count`]: config.num_hidden_layers ?? config.n_layer,
    [`${arch}.context_length`]: context,
    [`${arch}.embedding_length`]: hidden,
    [`${arch}.feed_forward_length`]: config.intermediate_size ?? config.n_inner ?? 4 * hidden,
    [`${arch}.attention.head_count`]: heads,
    [family === 'gpt2' ? `${arch}.attention.layer_norm_epsilon` : `${arch}.attention.layer_norm_rms_epsilon`]: { f32: config.rms_norm_eps ?? config.layer_norm_epsilon },
  };
  if (config.bos_token_id !== null && config.bos_token_id !== undefined) metadata['tokenizer.ggml.bos_token_id'] = config.bos_token_id;
  for (const [i, id] of eos.entries()) metadata[`tokenizer.ggml.${['eos', 'eot', 'eom'][i]}_token_id`] = id;
  if (family === 'gpt2') return { metadata, list };
  Object.assign(metadata, {
    [`${arch}.attention.head_count_kv`]: config.num_key_value_heads ?? heads,
    [`${arch}.attention.key_length`]: headDim,
    [`${arch}.attention.value_length`]: headDim,
    [`${arch}.rope.freq_base`]: { f32: config.rope_theta },
    [`${arch}.rope.dimension_count`]: headDim * (config.partial_rotary_factor ?? 1),
  });
  if (config.sliding_window && config.use_sliding_window !== false) metadata[`${arch}.attention.sliding_window`] = config.sliding_window;
  if (gemma) {
    if (config.attn_logit_softcapping) metadata[`${arch}.attn_logit_softcapping`] = { f32: config.attn_logit_softcapping };
    if (config.final_logit_softcapping) metadata[`${arch}.final_logit_softcapping`] = { f32: config.final_logit_softcapping };
    if (config.query_pre_attn_scalar !== headDim) metadata[`${arch}.attention.scale`] = { f32: 1 / Math.sqrt(config.query_pre_attn_scalar) };
    if (config.rope_local_base_freq) metadata[`${arch}.rope.freq_base_swa`] = { f32: config.rope_local_base_freq };
    const layers = config.num_hidden_layers;
    if (family === 'gemma3_text') {
      const pattern = config.sliding_window_pattern ?? 6;
      metadata[`${arch}.attention.sliding_window_pattern`] = { bool: Array.from({ length: layers }, (_, i) => (i + 1) % pattern !== 0) };
    }
  }
  const scaling = config.rope_scaling;
  const kind = scaling?.rope_type ?? scaling?.type;
  const floats = (/** @type {string} */ name, /** @type {number[]} */ values) =>
    list.push({ name, type: /** @type {const} */ ('F32'), shape: [values.length], bytes: floatBytes(Float32Array.from(values)) });
  if (kind === 'linear') Object.assign(metadata, { [`${arch}.rope.scaling.type`]: 'linear', [`${arch}.rope.scaling.factor`]: { f32: scaling.factor } });
  if (kind === 'llama3') {
    const { factor, low_freq_factor: low, high_freq_factor: high, original_max_position_embeddings: original } = scaling;
    floats('rope_freqs.weight', Array.from({ length: headDim / 2 }, (_, i) => {
      const wavelength = 2 * Math.PI * config.rope_theta ** ((2 * i) / headDim);
      if (wavelength < original / high) return 1;
      if (wavelength > original / low) return factor;
      const smooth = (original / wavelength - low) / (high - low);
      return 1 / ((1 - smooth) / factor + smooth);
    }));
  }
  if (kind === 'longrope') {
    floats('rope_factors_long.weight', scaling.long_factor);
    floats('rope_factors_short.weight', scaling.short_factor);
    const original = config.original_max_position_embeddings ?? context;
    metadata[`${arch}.rope.scaling.original_context_length`] = original;
    metadata[`${arch}.rope.scaling.attn_factor`] = { f32: scaling.attention_factor ?? Math.sqrt(1 + Math.log(context / original) / Math.log(original)) };
  }
  return { metadata, list };
}
