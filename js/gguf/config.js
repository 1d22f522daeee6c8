/**
 * config.js: metadata of a GGUF file as the config.json that the compressor reads (src/pack/hf_config.c).
 *
 * What changes the arithmetic and has no place in that file is refused by its key.
 */
import { endTokens } from './special.js';

/** Keys whose values other than 0 (or the one given) this engine does not compute. @type {Record<string, number>} */
const REFUSED = {
  expert_count: 0,
  logit_scale: 0,
  residual_scale: 1,
  embedding_scale: 1,
  'attention.clamp_kqv': 0,
  'attention.max_alibi_bias': 0,
};

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch general.architecture
 * @param {string} modelType
 * @param {Map<string, import('./reader.js').GgufTensor>} tensors
 * @param {(tensor: import('./reader.js').GgufTensor) => number[]} readValues
 * @returns {Record<string, unknown>}
 */
export function makeConfig(metadata, arch, modelType, tensors, readValues) {
  for (const [name, harmless] of Object.entries(REFUSED)) {
    const value = metadata.number(`${arch}.${name}`);
    if (value !== undefined && value !== 0 && value !== harmless) throw metadata.unsupported(`${arch}.${name} = ${value} is not supported.`);
  }
  const embedding = tensors.get('token_embd.weight');
  const vocab = embedding?.shape.length === 2 ? embedding.shape[0] : metadata.integer(`${arch}.vocab_size`);
  const hidden = metadata.needInteger(`${arch}.embedding_length`);
  const heads = metadata.needInteger(`${arch}.attention.head_count`);
  const headDim = metadata.integer(`${arch}.attention.key_length`) ?? Math.floor(hidden / heads);
  const valueDim = metadata.integer(`${arch}.attention.value_length`) ?? headDim;
  if (valueDim !== headDim) throw metadata.unsupported(`heads have ${headDim} key and ${valueDim} value dimensions, which is not supported.`);
  const layers = metadata.needInteger(`${arch}.block_count`);
  const context = metadata.needInteger(`${arch}.context_length`);
  const end = endTokens(metadata);
  const tied = !tensors.has('output.weight');
  const common = {
    model_type: modelType,
    vocab_size: vocab,
    tie_word_embeddings: tied,
    bos_token_id: metadata.integer('tokenizer.ggml.bos_token_id') ?? null,
    eos_token_id: end.length === 0 ? null : end,
  };
  if (modelType === 'gpt2')
    return {
      ...common,
      n_embd: hidden,
      n_layer: layers,
      n_head: heads,
      n_inner: metadata.needInteger(`${arch}.feed_forward_length`),
      n_positions: context,
      layer_norm_epsilon: metadata.number(`${arch}.attention.layer_norm_epsilon`) ?? 1e-5,
    };
  return {
    ...common,
    hidden_size: hidden,
    intermediate_size: metadata.needInteger(`${arch}.feed_forward_length`),
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: metadata.integer(`${arch}.attention.head_count_kv`) ?? heads,
    head_dim: headDim,
    max_position_embeddings: context,
    rms_norm_eps: metadata.number(`${arch}.attention.layer_norm_rms_epsilon`) ?? 1e-6,
    ...windowOf(metadata, arch, modelType, layers),
    ...attentionOf(metadata, arch, modelType, { hidden, heads, headDim, layers }),
    ...ropeOf(metadata, arch, modelType, { headDim, context, tensors, readValues }),
  };
}

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch
 * @param {string} modelType
 * @param {number} layers
 */
function windowOf(metadata, arch, modelType, layers) {
  const window = metadata.integer(`${arch}.attention.sliding_window`) ?? 0;
  if (window === 0) return modelType.startsWith('gemma') ? { sliding_window: 0 } : {};
  const key = `${arch}.attention.sliding_window_pattern`;
  switch (modelType) {
    case 'llama':
      return { model_type: 'mistral', sliding_window: window }; // Mistral's files say "llama"
    case 'qwen2':
    case 'qwen3':
    case 'smollm3':
      return { use_sliding_window: true, sliding_window: window, max_window_layers: 0 };
    case 'gemma3_text': {
      if (!metadata.isList(key)) return { sliding_window: window, sliding_window_pattern: metadata.integer(key) ?? 6 };
      const sliding = metadata.flags(key, layers); // one a layer
      return { sliding_window: window, layer_types: sliding.map((is) => (is ? 'sliding_attention' : 'full_attention')) };
    }
    default:
      return { sliding_window: window };
  }
}

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch
 * @param {string} modelType
 * @param {{hidden: number, heads: number, headDim: number, layers: number}} sizes
 */
function attentionOf(metadata, arch, modelType, { hidden, heads, headDim, layers }) {
  const scale = metadata.number(`${arch}.attention.scale`) ?? 0;
  if (modelType !== 'gemma2' && modelType !== 'gemma3_text') {
    if (scale !== 0 && Math.abs(scale * Math.sqrt(headDim) - 1) > 1e-5) throw metadata.unsupported(`${arch}.attention.scale = ${scale} is not supported.`);
    return {};
  }
  /* the files do not say it: only the 27B models, known by their depth, divide by the width of a head's share of the model */
  const is27B = layers === (modelType === 'gemma2' ? 46 : 62);
  return {
    query_pre_attn_scalar: scale !== 0 ? 1 / scale ** 2 : is27B ? hidden / heads : headDim,
    attn_logit_softcapping: metadata.number(`${arch}.attn_logit_softcapping`) ?? (modelType === 'gemma2' ? 50 : null),
    final_logit_softcapping: metadata.number(`${arch}.final_logit_softcapping`) ?? (modelType === 'gemma2' ? 30 : null),
  };
}

/**
 * What YaRN has beside its factor. A negative number stands for the usual one.
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch
 * @param {number} factor
 */
function yarnOf(metadata, arch, factor) {
  const usual = (/** @type {string} */ name, /** @type {number} */ fallback) => {
    const value = metadata.number(`${arch}.rope.scaling.${name}`) ?? -1;
    return value < 0 ? fallback : value;
  };
  if (usual('yarn_ext_factor', 1) !== 1) throw metadata.unsupported(`${arch}.rope.scaling.yarn_ext_factor is not supported.`);
  if (usual('yarn_log_multiplier', 0) !== 0) throw metadata.unsupported(`${arch}.rope.scaling.yarn_log_multiplier is not supported.`);
  const attention = usual('yarn_attn_factor', 1) * (metadata.number(`${arch}.rope.scaling.attn_factor`) ?? 1);
  return {
    beta_fast: usual('yarn_beta_fast', 32),
    beta_slow: usual('yarn_beta_slow', 1),
    ...(attention === 1 ? {} : { attention_factor: attention * (0.1 * Math.log(factor) + 1) }),
  };
}

/**
 * @param {import('./metadata.js').Metadata} metadata
 * @param {string} arch
 * @param {string} modelType
 * @param {{headDim: number, context: number, tensors: Map<string, import('./reader.js').GgufTensor>,
 *   readValues: (tensor: import('./reader.js').GgufTensor) => number[]}} model
 */
function ropeOf(metadata, arch, modelType, { headDim, context, tensors, readValues }) {
  const dim = metadata.integer(`${arch}.rope.dimension_count`) ?? headDim;
  if (dim > headDim || (dim !== headDim && modelType !== 'phi3'))
    throw metadata.unsupported(`${arch}.rope.dimension_count = ${dim} with heads of ${headDim} dimensions is not supported.`);
  /** @type {Record<string, unknown>} */
  const rope = { rope_theta: metadata.number(`${arch}.rope.freq_base`) ?? (modelType === 'gemma3_text' ? 1e6 : 1e4) };
  if (dim !== headDim) rope.partial_rotary_factor = (dim + 0.25) / headDim; // rounded down to dim
  if (modelType === 'gemma3_text') rope.rope_local_base_freq = metadata.number(`${arch}.rope.freq_base_swa`) ?? 1e4;

  const type = metadata.string(`${arch}.rope.scaling.type`) ?? (metadata.has(`${arch}.rope.scale_linear`) ? 'linear' : 'none');
  const factor = metadata.number(`${arch}.rope.scaling.factor`) ?? metadata.number(`${arch}.rope.scale_linear`) ?? 1;
  const original = metadata.integer(`${arch}.rope.scaling.original_context_length`) || context;
  const attention = metadata.number(`${arch}.rope.scaling.attn_factor`) ?? 1;
  const divisors = tensors.get('rope_factors_short.weight') ?? tensors.get('rope_freqs.weight');
  if (divisors !== undefined) {
    if (type === 'yarn' || (type === 'linear' && factor !== 1)) throw metadata.unsupported(`rope scaling "${type}" together with ${divisors.name} is not supported.`);
    const long = tensors.get('rope_factors_long.weight');
    rope.rope_scaling = {
      rope_type: 'longrope',
      short_factor: readValues(divisors),
      /* with one set of divisors for every length nothing limits the context */
      original_max_position_embeddings: long === undefined ? context : original,
      attention_factor: attention,
    };
  } else if (type === 'linear' || type === 'yarn') {
    rope.rope_scaling = { rope_type: type, factor, original_max_position_embeddings: original, ...(type === 'yarn' ? yarnOf(metadata, arch, factor) : {}) };
  } else if (type !== 'none') {
    throw metadata.unsupported(`rope scaling "${type}" without its factors is not supported.`);
  }
  return rope;
}
