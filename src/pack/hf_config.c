/* hf_config.c: Hugging Face config.json -> config pairs and rotary frequencies.
 *
 * One function per matter (sizes, activation, window, rope, ...); each refuses what the runtime could not compute exactly,
 * by name. Defaults are those of the `transformers` configuration classes. Newer files keep rope settings in
 * `rope_parameters` (for Gemma 3 one object per layer type), older ones in `rope_theta` and `rope_scaling`. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "pack/checkpoint.h"
#include "pack/numeric.h"

struct reader {
  const struct tansy_json *json;
  tansy_json_ref root; /* the language model's object: the whole file, or text_config of a model that sees too */
  struct tansy_checkpoint *checkpoint;
  struct tansy_failure *failure;
  enum tansy_hf_family family;
};

static void set_u32(struct reader *r, enum tansy_config_key key, uint32_t value) {
  enum tansy_status status = tansy_config_set(&r->checkpoint->config, key, value);
  assert(status == TANSY_OK); /* every key of the enumeration is known */
  (void)status;
}
static void set_f32(struct reader *r, enum tansy_config_key key, double value) { set_u32(r, key, tansy_float_bits((float)value)); }
static uint32_t value_of(const struct reader *r, enum tansy_config_key key) {
  uint32_t value = 0;
  tansy_config_get(&r->checkpoint->config, key, &value);
  return value;
}

/* the value of a key; NONE where it is absent or null */
static tansy_json_ref get(const struct reader *r, const char *key) {
  tansy_json_ref at = tansy_json_get(r->json, r->root, key);
  return tansy_json_kind_of(r->json, at) == TANSY_JSON_NULL ? TANSY_JSON_NONE : at;
}
/* null, where that means something else than a missing key */
static bool is_null(const struct reader *r, const char *key) { return tansy_json_get(r->json, r->root, key) >= 0 && get(r, key) < 0; }

/* an integer in [low, high]; `fallback` when absent, or an error when fallback is negative */
static enum tansy_status read_int(const struct reader *r, const char *key, int64_t fallback, uint32_t low, uint32_t high, uint32_t *out) {
  tansy_json_ref at = get(r, key);
  uint64_t value;
  if (at < 0) {
    if (fallback < 0) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json has no %s", key);
    value = (uint64_t)fallback;
  } else if (!tansy_json_uint(r->json, at, &value)) {
    return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: %s is not a whole number", key);
  }
  if (value < low || value > high)
    return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: %s is %llu; supported are %u to %u", key,
                      (unsigned long long)value, low, high);
  *out = (uint32_t)value;
  return TANSY_OK;
}

static enum tansy_status read_number(const struct reader *r, tansy_json_ref object, const char *key, double fallback, double *out) {
  tansy_json_ref at = tansy_json_get(r->json, object, key);
  *out = fallback;
  if (tansy_json_kind_of(r->json, at) != TANSY_JSON_NULL && !tansy_json_number(r->json, at, out))
    return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: %s is not a number", key);
  if (!(*out >= -1e30 && *out <= 1e30)) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: %s is out of range", key);
  return TANSY_OK;
}

/* true, false, or `fallback` when absent */
static bool flag(const struct reader *r, const char *key, bool fallback) {
  enum tansy_json_kind kind = tansy_json_kind_of(r->json, get(r, key));
  return kind == TANSY_JSON_TRUE ? true : kind == TANSY_JSON_FALSE ? false : fallback;
}

static enum tansy_status require_flag(const struct reader *r, const char *key, bool expected) {
  enum tansy_json_kind kind = tansy_json_kind_of(r->json, get(r, key));
  if (kind == TANSY_JSON_NULL || kind == (expected ? TANSY_JSON_TRUE : TANSY_JSON_FALSE)) return TANSY_OK;
  return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: %s must be %s", key, expected ? "true" : "false");
}

static enum tansy_status read_sizes(struct reader *r) {
  bool gpt2 = r->family == TANSY_HF_GPT2;
  bool part = r->root != 0; /* Gemma 3's text_config names only what differs from its defaults */
  uint32_t vocab, hidden, intermediate, layers, heads, kv_heads, head_dim, context;
  TANSY_TRY(read_int(r, "vocab_size", part ? 262208 : -1, 1, 1 << 20, &vocab));
  TANSY_TRY(read_int(r, gpt2 ? "n_embd" : "hidden_size", -1, 1, 1 << 16, &hidden));
  TANSY_TRY(read_int(r, gpt2 ? "n_layer" : "num_hidden_layers", -1, 1, 1024, &layers));
  TANSY_TRY(read_int(r, gpt2 ? "n_head" : "num_attention_heads", part ? 8 : -1, 1, 1024, &heads));
  const char *ffn = gpt2 ? "n_inner" : r->family == TANSY_HF_OPT ? "ffn_dim" : "intermediate_size";
  TANSY_TRY(read_int(r, ffn, gpt2 ? (int64_t)hidden * 4 : -1, 1, 1 << 16, &intermediate));
  TANSY_TRY(read_int(r, "num_key_value_heads", part ? 4 : heads, 1, 1024, &kv_heads));
  if (gpt2 || r->family == TANSY_HF_OPT) kv_heads = heads;
  int64_t default_head_dim = r->family == TANSY_HF_GEMMA || r->family == TANSY_HF_GEMMA2 || r->family == TANSY_HF_GEMMA3 ? 256
                             : r->family == TANSY_HF_QWEN3                                                               ? 128
                                                                                           : hidden / heads;
  TANSY_TRY(read_int(r, "head_dim", default_head_dim, 1, 1024, &head_dim));
  TANSY_TRY(read_int(r, gpt2 ? "n_positions" : "max_position_embeddings", part ? 131072 : gpt2 ? 1024 : 2048, 1, 1u << 30, &context));
  if (heads % kv_heads != 0)
    return tansy_fail(r->failure, TANSY_ERR_SHAPE, "config.json: %u attention heads cannot share %u key-value heads", heads, kv_heads);
  if (head_dim % 2 != 0) return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: head_dim %u is odd", head_dim);
  if (heads * head_dim > 1 << 16) return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: heads * head_dim exceeds 65536");
  set_u32(r, TANSY_KEY_FAMILY, r->family);
  set_u32(r, TANSY_KEY_VOCAB, vocab);
  set_u32(r, TANSY_KEY_HIDDEN, hidden);
  set_u32(r, TANSY_KEY_INTERMEDIATE, intermediate);
  set_u32(r, TANSY_KEY_LAYERS, layers);
  set_u32(r, TANSY_KEY_HEADS, heads);
  set_u32(r, TANSY_KEY_KV_HEADS, kv_heads);
  set_u32(r, TANSY_KEY_HEAD_DIM, head_dim);
  set_u32(r, TANSY_KEY_CONTEXT, context);
  return TANSY_OK;
}

static enum tansy_status read_norm_and_mlp(struct reader *r) {
  bool plain = r->family == TANSY_HF_GPT2 || r->family == TANSY_HF_OPT;
  bool gemma = r->family == TANSY_HF_GEMMA || r->family == TANSY_HF_GEMMA2 || r->family == TANSY_HF_GEMMA3;
  double eps;
  if (plain)
    TANSY_TRY(read_number(r, r->root, "layer_norm_epsilon", 1e-5, &eps));
  else
    TANSY_TRY(read_number(r, r->root, "rms_norm_eps", r->family == TANSY_HF_PHI3 ? 1e-5 : 1e-6, &eps));
  set_f32(r, TANSY_KEY_NORM_EPS, eps);
  set_u32(r, TANSY_KEY_NORM_KIND, plain);
  set_u32(r, TANSY_KEY_MLP_KIND, plain);
  set_u32(r, TANSY_KEY_QK_NORM, r->family == TANSY_HF_QWEN3 || r->family == TANSY_HF_GEMMA3);

  /* Gemma's first configs say hidden_act "gelu" but mean the tanh form; the later key is hidden_activation */
  const char *key = plain ? "activation_function" : gemma ? "hidden_activation" : "hidden_act";
  const char *fallback = gemma ? "gelu_pytorch_tanh" : r->family == TANSY_HF_GPT2 ? "gelu_new" : plain ? "relu" : "silu";
  static const struct {
    const char *name;
    uint32_t kind;
  } kinds[] = {{"silu", 0}, {"swish", 0}, {"gelu_pytorch_tanh", 1}, {"gelu_new", 1}, {"gelu_fast", 1}, {"gelu", 2}, {"relu", 3}};
  char name[64];
  tansy_json_ref at = get(r, key);
  if (at < 0)
    strcpy(name, fallback);
  else if (!tansy_json_string(r->json, at, name, sizeof name))
    return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: %s is not a string", key);
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    if (strcmp(kinds[i].name, name) != 0) continue;
    set_u32(r, TANSY_KEY_ACTIVATION, kinds[i].kind);
    return TANSY_OK;
  }
  return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: %s \"%s\" is not supported", key, name);
}

static enum tansy_status read_attention(struct reader *r) {
  double base = value_of(r, TANSY_KEY_HEAD_DIM), softcap = 0, logit_softcap = 0;
  if (r->family == TANSY_HF_GEMMA2 || r->family == TANSY_HF_GEMMA3) {
    TANSY_TRY(read_number(r, r->root, "query_pre_attn_scalar", 256, &base));
    TANSY_TRY(read_number(r, r->root, "attn_logit_softcapping", r->family == TANSY_HF_GEMMA2 ? 50 : 0, &softcap));
    TANSY_TRY(read_number(r, r->root, "final_logit_softcapping", r->family == TANSY_HF_GEMMA2 ? 30 : 0, &logit_softcap));
    if (is_null(r, "attn_logit_softcapping")) softcap = 0;
    if (is_null(r, "final_logit_softcapping")) logit_softcap = 0;
  }
  if (r->family == TANSY_HF_GPT2) {
    TANSY_TRY(require_flag(r, "scale_attn_weights", true));
    TANSY_TRY(require_flag(r, "scale_attn_by_inverse_layer_idx", false));
  }
  if (!(base > 0)) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: query_pre_attn_scalar is not positive");
  set_f32(r, TANSY_KEY_ATTN_SCALE, 1 / sqrt(base));
  set_f32(r, TANSY_KEY_ATTN_SOFTCAP, softcap);
  set_f32(r, TANSY_KEY_LOGIT_SOFTCAP, logit_softcap);
  return TANSY_OK;
}

/* a list, where present, that has a value for each layer */
static enum tansy_status check_one_a_layer(struct reader *r, const char *key) {
  tansy_json_ref list = get(r, key);
  uint32_t n = tansy_json_n_children(r->json, list), n_layers = value_of(r, TANSY_KEY_LAYERS);
  if (list < 0 || (tansy_json_kind_of(r->json, list) == TANSY_JSON_ARRAY && n == n_layers)) return TANSY_OK;
  return tansy_fail(r->failure, TANSY_ERR_SHAPE, "config.json: %s should have a value for each of %u layers", key, n_layers);
}

/* `layer_types`, where present, must say what window and period say */
static enum tansy_status check_layer_types(struct reader *r, uint32_t window, uint32_t period) {
  tansy_json_ref types = get(r, "layer_types");
  uint32_t i = 0;
  TANSY_TRY(check_one_a_layer(r, "layer_types"));
  for (tansy_json_ref t = tansy_json_first(r->json, types); t >= 0; t = tansy_json_next(r->json, types, t), i++) {
    bool global = !window || (period && (i + 1) % period == 0);
    if (!tansy_json_string_is(r->json, t, global ? "full_attention" : "sliding_attention"))
      return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: layer_types[%u] does not fit a window of %u with period %u", i,
                        window, period);
  }
  return TANSY_OK;
}

/* the period of full attention layers in layer_types; 0 when every layer is sliding */
static uint32_t layer_types_period(const struct reader *r) {
  tansy_json_ref types = get(r, "layer_types");
  uint32_t i = 1;
  for (tansy_json_ref t = tansy_json_first(r->json, types); t >= 0; t = tansy_json_next(r->json, types, t), i++)
    if (tansy_json_string_is(r->json, t, "full_attention")) return i;
  return 0;
}

/* null: none */
static enum tansy_status read_sliding_window(struct reader *r, uint32_t fallback, uint32_t *window) {
  return read_int(r, "sliding_window", is_null(r, "sliding_window") ? 0 : fallback, 0, 1u << 30, window);
}

static enum tansy_status read_window(struct reader *r) {
  uint32_t window = 0, period = 0, first_windowed = 0;
  switch (r->family) {
    case TANSY_HF_SMOLLM3:
      TANSY_TRY(require_flag(r, "use_sliding_window", false)); /* which layers would have one depends on the version */
      break;
    case TANSY_HF_QWEN2:
    case TANSY_HF_QWEN3:
      if (!flag(r, "use_sliding_window", false)) break;
      TANSY_TRY(read_sliding_window(r, 4096, &window));
      TANSY_TRY(read_int(r, "max_window_layers", 28, 0, 1024, &first_windowed));
      if (first_windowed >= value_of(r, TANSY_KEY_LAYERS))
        window = 0;
      else if (window && first_windowed > 0)
        return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: sliding windows from layer max_window_layers on are not supported");
      break;
    case TANSY_HF_MISTRAL:
      TANSY_TRY(read_sliding_window(r, 4096, &window));
      break;
    case TANSY_HF_PHI3:
      TANSY_TRY(read_sliding_window(r, 0, &window));
      break;
    case TANSY_HF_GEMMA2:
      TANSY_TRY(read_sliding_window(r, 4096, &window));
      period = 2;
      break;
    case TANSY_HF_GEMMA3:
      TANSY_TRY(read_sliding_window(r, 4096, &window));
      if (get(r, "layer_types") >= 0)
        period = layer_types_period(r);
      else
        TANSY_TRY(read_int(r, "sliding_window_pattern", 6, 1, 1024, &period));
      break;
    default:
      break;
  }
  if (!window) period = 0;
  TANSY_TRY(check_layer_types(r, window, period));
  set_u32(r, TANSY_KEY_WINDOW, window);
  set_u32(r, TANSY_KEY_WINDOW_PERIOD, period);

  uint32_t nope_period = 0;
  if (r->family == TANSY_HF_SMOLLM3) {
    TANSY_TRY(read_int(r, "no_rope_layer_interval", 4, 1, 1024, &nope_period));
    tansy_json_ref list = get(r, "no_rope_layers");
    uint32_t i = 0;
    TANSY_TRY(check_one_a_layer(r, "no_rope_layers"));
    for (tansy_json_ref t = tansy_json_first(r->json, list); t >= 0; t = tansy_json_next(r->json, list, t), i++) {
      uint64_t has_rope;
      if (!tansy_json_uint(r->json, t, &has_rope) || (has_rope == 0) != ((i + 1) % nope_period == 0))
        return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: no_rope_layers[%u] does not fit a period of %u", i, nope_period);
    }
  }
  set_u32(r, TANSY_KEY_NOPE_PERIOD, nope_period);
  return TANSY_OK;
}

/* ---- rotary frequencies ---- */

/* rope_scaling "llama3": long wavelengths are slowed by factor, short ones kept, a linear blend between */
static enum tansy_status scale_llama3(struct reader *r, tansy_json_ref scaling, double *freq, uint32_t n) {
  double factor, low, high, original;
  TANSY_TRY(read_number(r, scaling, "factor", 8, &factor));
  TANSY_TRY(read_number(r, scaling, "low_freq_factor", 1, &low));
  TANSY_TRY(read_number(r, scaling, "high_freq_factor", 4, &high));
  TANSY_TRY(read_number(r, scaling, "original_max_position_embeddings", 8192, &original));
  if (!(factor > 0 && low > 0 && high > low && original > 0))
    return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: rope scaling \"llama3\" with these factors is not supported");
  for (uint32_t i = 0; i < n; i++) {
    double wavelength = 6.283185307179586 / freq[i];
    double blend = (original / wavelength - low) / (high - low);
    blend = blend < 0 ? 0 : blend > 1 ? 1 : blend;
    freq[i] = (1 - blend) * (freq[i] / factor) + blend * freq[i];
  }
  return TANSY_OK;
}

/* rope_scaling "yarn" (2309.00071): dimensions that turn often keep their frequency, slow ones are slowed by factor */
static enum tansy_status scale_yarn(struct reader *r, tansy_json_ref scaling, double theta, uint32_t rope_dim, double *freq,
                                    double *attn_factor) {
  double factor, fast, slow, original, given, mscale, mscale_all;
  TANSY_TRY(read_number(r, scaling, "factor", 1, &factor));
  TANSY_TRY(read_number(r, scaling, "beta_fast", 32, &fast));
  TANSY_TRY(read_number(r, scaling, "beta_slow", 1, &slow));
  TANSY_TRY(read_number(r, scaling, "original_max_position_embeddings", value_of(r, TANSY_KEY_CONTEXT), &original));
  TANSY_TRY(read_number(r, scaling, "attention_factor", 0, &given));
  TANSY_TRY(read_number(r, scaling, "mscale", 0, &mscale));
  TANSY_TRY(read_number(r, scaling, "mscale_all_dim", 0, &mscale_all));
  if (!(factor > 0 && fast > 0 && slow > 0 && original > 0 && theta > 1) || mscale != 0 || mscale_all != 0)
    return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: rope scaling \"yarn\" with these factors is not supported");
  double per_turn = 2 * tansy_log_f64(theta);
  double low = rope_dim * tansy_log_f64(original / (fast * 6.283185307179586)) / per_turn;
  double high = rope_dim * tansy_log_f64(original / (slow * 6.283185307179586)) / per_turn;
  if (tansy_json_kind_of(r->json, tansy_json_get(r->json, scaling, "truncate")) != TANSY_JSON_FALSE) {
    low = floor(low);
    high = ceil(high);
  }
  if (low < 0) low = 0;
  if (high > rope_dim - 1) high = rope_dim - 1;
  if (high <= low) high = low + 0.001;
  for (uint32_t i = 0; i < rope_dim / 2; i++) {
    double ramp = (i - low) / (high - low);
    ramp = ramp < 0 ? 0 : ramp > 1 ? 1 : ramp;
    freq[i] = freq[i] / factor * ramp + freq[i] * (1 - ramp);
  }
  *attn_factor = given != 0 ? given : factor > 1 ? 0.1 * tansy_log_f64(factor) + 1 : 1;
  return TANSY_OK;
}

/* rope_scaling "longrope": a divisor per frequency. The file holds one set, the short one, so that it is exact within the
 * original context; the context is limited to it. */
static enum tansy_status scale_longrope(struct reader *r, tansy_json_ref scaling, double *freq, uint32_t n, double *attn_factor) {
  double context = value_of(r, TANSY_KEY_CONTEXT), original, given, factor;
  TANSY_TRY(read_number(r, r->root, "original_max_position_embeddings", 0, &original));
  if (original == 0) TANSY_TRY(read_number(r, scaling, "original_max_position_embeddings", context, &original));
  TANSY_TRY(read_number(r, scaling, "attention_factor", 0, &given));
  TANSY_TRY(read_number(r, scaling, "factor", 0, &factor));
  if (!(original > 1)) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: original_max_position_embeddings is not positive");
  tansy_json_ref divisors = tansy_json_get(r->json, scaling, "short_factor");
  if (tansy_json_n_children(r->json, divisors) != n)
    return tansy_fail(r->failure, TANSY_ERR_SHAPE, "config.json: rope scaling short_factor should have %u values", n);
  uint32_t i = 0;
  for (tansy_json_ref d = tansy_json_first(r->json, divisors); d >= 0; d = tansy_json_next(r->json, divisors, d), i++) {
    double divisor;
    if (!tansy_json_number(r->json, d, &divisor) || !(divisor > 0))
      return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: rope scaling short_factor[%u] is not a positive number", i);
    freq[i] /= divisor;
  }
  if (context > original || factor == 0) factor = context / original;
  *attn_factor = given != 0 ? given : factor > 1 ? sqrt(1 + tansy_log_f64(factor) / tansy_log_f64(original)) : 1;
  if (context > original) set_u32(r, TANSY_KEY_CONTEXT, (uint32_t)original);
  return TANSY_OK;
}

/* frequencies of one layer type. `parameters`: the object with rope_type and its numbers, or NONE */
static enum tansy_status make_frequencies(struct reader *r, tansy_json_ref parameters, double theta, uint32_t rope_dim, float **out) {
  if (!(theta > 0)) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: rope_theta is not positive");
  uint32_t n = rope_dim / 2;
  double *freq = malloc(n * sizeof *freq), attn_factor = 1;
  *out = malloc(n * sizeof **out);
  if (!freq || !*out) {
    free(freq);
    return tansy_fail_memory(r->failure);
  }
  double log_theta = tansy_log_f64(theta);
  for (uint32_t i = 0; i < n; i++) freq[i] = tansy_exp_f64(-(2.0 * i / rope_dim) * log_theta);

  char type[32] = "default";
  tansy_json_ref at = tansy_json_get(r->json, parameters, "rope_type");
  if (at < 0) at = tansy_json_get(r->json, parameters, "type");
  enum tansy_status status = TANSY_OK;
  if (at >= 0 && !tansy_json_string(r->json, at, type, sizeof type))
    status = tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: rope_type is not a string");
  else if (strcmp(type, "linear") == 0) {
    double factor;
    status = read_number(r, parameters, "factor", 1, &factor);
    if (status == TANSY_OK && !(factor > 0))
      status = tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: rope scaling factor is not positive");
    for (uint32_t i = 0; i < n && status == TANSY_OK; i++) freq[i] /= factor;
  } else if (strcmp(type, "llama3") == 0) {
    status = scale_llama3(r, parameters, freq, n);
  } else if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0 || (strcmp(type, "yarn") == 0 && r->family == TANSY_HF_PHI3)) {
    status = scale_longrope(r, parameters, freq, n, &attn_factor); /* the two others are Phi-3's early names */
  } else if (strcmp(type, "yarn") == 0) {
    status = scale_yarn(r, parameters, theta, rope_dim, freq, &attn_factor);
  } else if (strcmp(type, "default") != 0 && strcmp(type, "dynamic") != 0) { /* "dynamic" changes nothing within the context */
    status = tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: rope scaling \"%s\" is not supported", type);
  }
  for (uint32_t i = 0; i < n && status == TANSY_OK; i++) {
    (*out)[i] = (float)freq[i];
    if (!(freq[i] >= 0 && freq[i] <= 1e6)) status = tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: rotary frequency %u would be %g", i, freq[i]);
  }
  free(freq);
  TANSY_TRY(status);
  if (out == &r->checkpoint->inv_freq[0]) {
    set_f32(r, TANSY_KEY_ROPE_ATTN_FACTOR, attn_factor);
    return TANSY_OK;
  }
  if (value_of(r, TANSY_KEY_ROPE_ATTN_FACTOR) == tansy_float_bits((float)attn_factor)) return TANSY_OK;
  return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: rope scaling with another attention factor in sliding layers is not supported");
}

static enum tansy_status read_rope(struct reader *r) {
  if (r->family == TANSY_HF_GPT2 || r->family == TANSY_HF_OPT) {
    set_u32(r, TANSY_KEY_ROPE_DIM, 0);
    return TANSY_OK;
  }
  double theta, local_theta = 0, partial;
  double default_theta = r->family == TANSY_HF_GEMMA3 ? 1e6 : r->family == TANSY_HF_SMOLLM3 ? 2e6 : 1e4;
  TANSY_TRY(read_number(r, r->root, "rope_theta", default_theta, &theta));
  tansy_json_ref scaling = get(r, "rope_scaling"), local_scaling = TANSY_JSON_NONE, parameters = get(r, "rope_parameters");
  if (r->family == TANSY_HF_GEMMA3) TANSY_TRY(read_number(r, r->root, "rope_local_base_freq", 1e4, &local_theta));
  if (parameters >= 0) {
    scaling = parameters;
    tansy_json_ref full = tansy_json_get(r->json, parameters, "full_attention");
    if (full >= 0) {
      scaling = full;
      local_scaling = tansy_json_get(r->json, parameters, "sliding_attention");
      if (local_scaling >= 0) TANSY_TRY(read_number(r, local_scaling, "rope_theta", local_theta ? local_theta : theta, &local_theta));
    }
    TANSY_TRY(read_number(r, scaling, "rope_theta", theta, &theta));
  }
  TANSY_TRY(read_number(r, r->root, "partial_rotary_factor", 1, &partial));
  if (partial == 1 && scaling >= 0) TANSY_TRY(read_number(r, scaling, "partial_rotary_factor", 1, &partial));
  bool is_part = partial > 0 && partial <= 1;
  uint32_t rope_dim = is_part ? (uint32_t)(value_of(r, TANSY_KEY_HEAD_DIM) * partial) : 0;
  if (rope_dim == 0 || rope_dim % 2 != 0)
    return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED, "config.json: partial_rotary_factor %g is not supported", partial);
  set_u32(r, TANSY_KEY_ROPE_DIM, rope_dim);
  TANSY_TRY(make_frequencies(r, scaling, theta, rope_dim, &r->checkpoint->inv_freq[0]));
  if (local_theta > 0 && value_of(r, TANSY_KEY_WINDOW))
    TANSY_TRY(make_frequencies(r, local_scaling, local_theta, rope_dim, &r->checkpoint->inv_freq[1]));
  return TANSY_OK;
}

/* tokens of a model that sees may stand beside text_config */
static tansy_json_ref get_token(const struct reader *r, const char *key) {
  tansy_json_ref at = get(r, key);
  return at >= 0 ? at : tansy_json_get(r->json, 0, key);
}

static enum tansy_status read_tokens(struct reader *r) {
  bool gemma = r->family == TANSY_HF_GEMMA || r->family == TANSY_HF_GEMMA2 || r->family == TANSY_HF_GEMMA3;
  set_f32(r, TANSY_KEY_EMBED_SCALE, gemma ? sqrt(value_of(r, TANSY_KEY_HIDDEN)) : 1);
  set_u32(r, TANSY_KEY_POSITION_OFFSET, r->family == TANSY_HF_OPT ? 2 : 0);
  bool tied_by_default = gemma || r->family == TANSY_HF_SMOLLM3 || r->family == TANSY_HF_GPT2 || r->family == TANSY_HF_OPT;
  set_u32(r, TANSY_KEY_TIED, flag(r, "tie_word_embeddings", tied_by_default));
  r->checkpoint->head_may_lack = get(r, "tie_word_embeddings") < 0;
  r->checkpoint->biased_attention = r->family == TANSY_HF_QWEN2 || flag(r, "attention_bias", false);

  uint64_t id;
  uint32_t vocab = value_of(r, TANSY_KEY_VOCAB), n_eos = 0;
  set_u32(r, TANSY_KEY_BOS, tansy_json_uint(r->json, get_token(r, "bos_token_id"), &id) && id < vocab ? (uint32_t)id + 1 : 0);
  tansy_json_ref eos = get_token(r, "eos_token_id");
  bool list = tansy_json_kind_of(r->json, eos) == TANSY_JSON_ARRAY;
  for (tansy_json_ref e = list ? tansy_json_first(r->json, eos) : eos; e >= 0 && n_eos < 5;
       e = list ? tansy_json_next(r->json, eos, e) : TANSY_JSON_NONE)
    if (tansy_json_uint(r->json, e, &id) && id < vocab) set_u32(r, TANSY_KEY_EOS + n_eos++, (uint32_t)id + 1);
  if (n_eos == 0) set_u32(r, TANSY_KEY_EOS, 0);
  set_u32(r, TANSY_KEY_ADD_BOS, 0);
  return TANSY_OK;
}

static enum tansy_status read_family(struct reader *r) {
  static const struct {
    const char *name;
    enum tansy_hf_family family;
  } families[] = {{"llama", TANSY_HF_LLAMA},         {"mistral", TANSY_HF_MISTRAL}, {"qwen2", TANSY_HF_QWEN2}, {"qwen3", TANSY_HF_QWEN3},
                  {"gemma", TANSY_HF_GEMMA},         {"gemma2", TANSY_HF_GEMMA2},   {"gemma3_text", TANSY_HF_GEMMA3},
                  {"phi3", TANSY_HF_PHI3},           {"smollm3", TANSY_HF_SMOLLM3}, {"gpt2", TANSY_HF_GPT2},   {"opt", TANSY_HF_OPT}};
  char name[64];
  tansy_json_ref at = get(r, "model_type");
  if (at < 0)
    return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json has no model_type: not a Hugging Face model configuration");
  if (!tansy_json_string(r->json, at, name, sizeof name)) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json: model_type is not a string");
  if (strcmp(name, "gemma3") == 0) { /* it sees: the language model is a part */
    if (get(r, "text_config") < 0) return tansy_fail(r->failure, TANSY_ERR_NOT_CHECKPOINT, "config.json has no text_config");
    r->root = get(r, "text_config");
    strcpy(name, "gemma3_text");
  }
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    if (strcmp(families[i].name, name) != 0) continue;
    r->family = families[i].family;
    r->checkpoint->family = families[i].name;
    r->checkpoint->family_number = r->family;
    return TANSY_OK;
  }
  return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED,
                    "architecture \"%s\" is not supported (supported: llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, gemma3_text, phi3, "
                    "smollm3, gpt2, opt)",
                    name);
}

/* what changes the arithmetic of some models of a family, and what is no plain checkpoint at all */
static enum tansy_status refuse_variants(struct reader *r) {
  tansy_json_ref quantized = tansy_json_get(r->json, 0, "quantization_config");
  if (tansy_json_kind_of(r->json, quantized) == TANSY_JSON_OBJECT) {
    char method[64] = "unnamed";
    tansy_json_string(r->json, tansy_json_get(r->json, quantized, "quant_method"), method, sizeof method);
    return tansy_fail(r->failure, TANSY_ERR_UNSUPPORTED,
                      "config.json: quantization_config \"%s\" is not supported: compress the checkpoint that was quantized", method);
  }
  TANSY_TRY(require_flag(r, "use_bidirectional_attention", false)); /* embedding models see what comes after a token too */
  TANSY_TRY(require_flag(r, "is_causal", true));
  if (r->family != TANSY_HF_OPT) return TANSY_OK;
  TANSY_TRY(require_flag(r, "do_layer_norm_before", true));
  TANSY_TRY(require_flag(r, "_remove_final_layer_norm", false));
  TANSY_TRY(require_flag(r, "enable_bias", true));
  TANSY_TRY(require_flag(r, "layer_norm_elementwise_affine", true));
  uint32_t hidden, embedded;
  TANSY_TRY(read_int(r, "hidden_size", -1, 1, 1 << 16, &hidden));
  return read_int(r, "word_embed_proj_dim", hidden, hidden, hidden, &embedded);
}

enum tansy_status tansy_hf_read_config(const struct tansy_json *json, struct tansy_checkpoint *checkpoint,
                                       struct tansy_failure *failure) {
  struct reader r = {json, 0, checkpoint, failure, TANSY_HF_LLAMA};
  checkpoint->config = tansy_config_default();
  if (tansy_json_kind_of(json, 0) != TANSY_JSON_OBJECT) return tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "config.json is not an object");
  TANSY_TRY(read_family(&r));
  TANSY_TRY(refuse_variants(&r));
  TANSY_TRY(read_sizes(&r));
  TANSY_TRY(read_norm_and_mlp(&r));
  TANSY_TRY(read_attention(&r));
  TANSY_TRY(read_window(&r));
  TANSY_TRY(read_rope(&r));
  TANSY_TRY(read_tokens(&r));
  if (tansy_config_check(&checkpoint->config) != TANSY_OK)
    return tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "config.json: sizes or constants out of the supported range");
  return TANSY_OK;
}
