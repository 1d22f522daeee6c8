/**
 * names.js: tensors of GGUF files by the names of Hugging Face checkpoints, and which of them hold interleaved rows.
 *
 * The tables follow src/pack/hf_names.c; a family that is added there gets its row here.
 */

/** @typedef {{modelType: string, names: Record<string, string>, interleaved?: boolean}} Family `interleaved`: q and k of rotary pairs (2i, 2i + 1) */

/** Tensors of Llama and of most that came after it; `#` is the layer. */
const llama = {
  'token_embd.weight': 'model.embed_tokens.weight',
  'output_norm.weight': 'model.norm.weight',
  'output.weight': 'lm_head.weight',
  'output.bias': 'lm_head.bias',
  'blk.#.attn_norm.weight': 'model.layers.#.input_layernorm.weight',
  'blk.#.attn_q.weight': 'model.layers.#.self_attn.q_proj.weight',
  'blk.#.attn_k.weight': 'model.layers.#.self_attn.k_proj.weight',
  'blk.#.attn_v.weight': 'model.layers.#.self_attn.v_proj.weight',
  'blk.#.attn_q.bias': 'model.layers.#.self_attn.q_proj.bias',
  'blk.#.attn_k.bias': 'model.layers.#.self_attn.k_proj.bias',
  'blk.#.attn_v.bias': 'model.layers.#.self_attn.v_proj.bias',
  'blk.#.attn_q_norm.weight': 'model.layers.#.self_attn.q_norm.weight',
  'blk.#.attn_k_norm.weight': 'model.layers.#.self_attn.k_norm.weight',
  'blk.#.attn_output.weight': 'model.layers.#.self_attn.o_proj.weight',
  'blk.#.attn_output.bias': 'model.layers.#.self_attn.o_proj.bias',
  'blk.#.ffn_norm.weight': 'model.layers.#.post_attention_layernorm.weight',
  'blk.#.ffn_gate.weight': 'model.layers.#.mlp.gate_proj.weight',
  'blk.#.ffn_up.weight': 'model.layers.#.mlp.up_proj.weight',
  'blk.#.ffn_up.bias': 'model.layers.#.mlp.up_proj.bias',
  'blk.#.ffn_down.weight': 'model.layers.#.mlp.down_proj.weight',
  'blk.#.ffn_down.bias': 'model.layers.#.mlp.down_proj.bias',
};

/** Gemma 2 and 3: norms before and after attention and MLP. */
const gemma = {
  ...llama,
  'blk.#.post_attention_norm.weight': 'model.layers.#.post_attention_layernorm.weight',
  'blk.#.ffn_norm.weight': 'model.layers.#.pre_feedforward_layernorm.weight',
  'blk.#.post_ffw_norm.weight': 'model.layers.#.post_feedforward_layernorm.weight',
};

const phi3 = {
  ...llama,
  'blk.#.attn_qkv.weight': 'model.layers.#.self_attn.qkv_proj.weight',
  'blk.#.ffn_up.weight': 'model.layers.#.mlp.gate_up_proj.weight',
};

const gpt2 = {
  'token_embd.weight': 'transformer.wte.weight',
  'position_embd.weight': 'transformer.wpe.weight',
  'output_norm.weight': 'transformer.ln_f.weight',
  'output_norm.bias': 'transformer.ln_f.bias',
  'output.weight': 'lm_head.weight',
  'blk.#.attn_norm.weight': 'transformer.h.#.ln_1.weight',
  'blk.#.attn_norm.bias': 'transformer.h.#.ln_1.bias',
  'blk.#.attn_qkv.weight': 'transformer.h.#.attn.c_attn.weight',
  'blk.#.attn_qkv.bias': 'transformer.h.#.attn.c_attn.bias',
  'blk.#.attn_output.weight': 'transformer.h.#.attn.c_proj.weight',
  'blk.#.attn_output.bias': 'transformer.h.#.attn.c_proj.bias',
  'blk.#.ffn_norm.weight': 'transformer.h.#.ln_2.weight',
  'blk.#.ffn_norm.bias': 'transformer.h.#.ln_2.bias',
  'blk.#.ffn_up.weight': 'transformer.h.#.mlp.c_fc.weight',
  'blk.#.ffn_up.bias': 'transformer.h.#.mlp.c_fc.bias',
  'blk.#.ffn_down.weight': 'transformer.h.#.mlp.c_proj.weight',
  'blk.#.ffn_down.bias': 'transformer.h.#.mlp.c_proj.bias',
};

/** By general.architecture. @type {Record<string, Family>} */
export const FAMILIES = {
  llama: { modelType: 'llama', names: llama, interleaved: true },
  smollm3: { modelType: 'smollm3', names: llama, interleaved: true },
  qwen2: { modelType: 'qwen2', names: llama },
  qwen3: { modelType: 'qwen3', names: llama },
  gemma: { modelType: 'gemma', names: llama },
  gemma2: { modelType: 'gemma2', names: gemma },
  gemma3: { modelType: 'gemma3_text', names: gemma },
  phi3: { modelType: 'phi3', names: phi3 },
  gpt2: { modelType: 'gpt2', names: gpt2 },
};

/** Tensors that hold divisors of the rotary frequencies; the config takes them. */
export const ROPE_TENSORS = ['rope_freqs.weight', 'rope_factors_long.weight', 'rope_factors_short.weight'];

/**
 * The Hugging Face name of a tensor, undefined where the family has no such tensor.
 * @param {Family} family
 * @param {string} name
 * @returns {string | undefined}
 */
export function huggingFaceName(family, name) {
  const layer = /^blk\.(\d{1,4})\./.exec(name)?.[1];
  const key = layer === undefined ? name : name.replace(layer, '#');
  return Object.hasOwn(family.names, key) ? family.names[key].replace('#', layer ?? '') : undefined;
}

/** Are the tensor's rows the interleaved ones of rotary pairs? @param {Family} family @param {string} name */
export function isInterleaved(family, name) {
  return family.interleaved === true && /^blk\.\d+\.attn_[qk]\.(weight|bias)$/.test(name);
}
