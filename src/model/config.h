/* config.h: what arithmetic a model is made of. The engine fills it from the index, the compressor from config.json. */
#ifndef TANSY_MODEL_CONFIG_H
#define TANSY_MODEL_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "format/config_keys.h"
#include "format/roles.h"

enum tansy_norm_kind { TANSY_NORM_RMS = 0, TANSY_NORM_LAYER = 1 };
enum tansy_activation { TANSY_ACT_SILU = 0, TANSY_ACT_GELU_TANH = 1, TANSY_ACT_GELU_ERF = 2, TANSY_ACT_RELU = 3 };
enum tansy_mlp_kind { TANSY_MLP_GATED = 0, TANSY_MLP_PLAIN = 1 };

/* One field a config key, same meaning (format/config_keys.h). */
struct tansy_config {
  uint32_t family;
  uint32_t vocab, hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, context;
  float norm_eps;
  uint32_t norm_kind, activation, mlp_kind, tied;
  uint32_t rope_dim;
  float rope_attn_factor;
  float attn_scale;
  uint32_t window, window_period, nope_period;
  float embed_scale, attn_softcap, logit_softcap;
  uint32_t position_offset;
  uint32_t bos, eos[5]; /* token id + 1; 0: none */
  uint32_t add_bos;
  uint32_t qk_norm;
};

/* what the keys mean that a file leaves out: factors 1, everything else 0 */
struct tansy_config tansy_config_default(void);

/* Key <-> field. set: UNSUPPORTED for an unknown key. get: false for an unknown key. Values are the u32 of the file (f32: its bits). */
enum tansy_status tansy_config_set(struct tansy_config *config, uint64_t key, uint32_t value);
bool tansy_config_get(const struct tansy_config *config, uint64_t key, uint32_t *value);

/* Ranges and relations (heads divide, nothing overflows, floats are finite). UNSUPPORTED: a choice this build does not know;
 * CORRUPT: impossible numbers. */
enum tansy_status tansy_config_check(const struct tansy_config *config);

/* Shape of the tensor of this role. A vector has n_rows 1. */
enum tansy_need { TANSY_NEED_NEVER = 0, TANSY_NEED_MAY = 1, TANSY_NEED_MUST = 2 };
struct tansy_role_spec {
  enum tansy_need need;
  bool in_layer, is_matrix;
  uint32_t n_rows, n_cols; /* n_rows 0: any (learned positions) */
};
struct tansy_role_spec tansy_config_role(const struct tansy_config *config, uint32_t role);

static inline bool tansy_layer_is_windowed(const struct tansy_config *c, uint32_t layer) {
  return c->window && !(c->window_period && (layer + 1) % c->window_period == 0);
}
static inline bool tansy_layer_has_rope(const struct tansy_config *c, uint32_t layer) {
  return c->rope_dim && !(c->nope_period && (layer + 1) % c->nope_period == 0);
}

#endif
