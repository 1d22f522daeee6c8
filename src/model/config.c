/* config.c: see config.h */
#include "model/config.h"

#include <stddef.h>
#include <string.h>

#include "kernels/kernels.h"

struct field {
  uint8_t key;
  uint8_t is_float;
  uint16_t offset;
};
#define U(key, member) {key, 0, offsetof(struct tansy_config, member)}
#define F(key, member) {key, 1, offsetof(struct tansy_config, member)}
static const struct field fields[] = {
    U(TANSY_KEY_FAMILY, family),
    U(TANSY_KEY_VOCAB, vocab),
    U(TANSY_KEY_HIDDEN, hidden),
    U(TANSY_KEY_INTERMEDIATE, intermediate),
    U(TANSY_KEY_LAYERS, n_layers),
    U(TANSY_KEY_HEADS, n_heads),
    U(TANSY_KEY_KV_HEADS, n_kv_heads),
    U(TANSY_KEY_HEAD_DIM, head_dim),
    U(TANSY_KEY_CONTEXT, context),
    F(TANSY_KEY_NORM_EPS, norm_eps),
    U(TANSY_KEY_NORM_KIND, norm_kind),
    U(TANSY_KEY_ACTIVATION, activation),
    U(TANSY_KEY_MLP_KIND, mlp_kind),
    U(TANSY_KEY_TIED, tied),
    U(TANSY_KEY_ROPE_DIM, rope_dim),
    F(TANSY_KEY_ROPE_ATTN_FACTOR, rope_attn_factor),
    F(TANSY_KEY_ATTN_SCALE, attn_scale),
    U(TANSY_KEY_WINDOW, window),
    U(TANSY_KEY_WINDOW_PERIOD, window_period),
    U(TANSY_KEY_NOPE_PERIOD, nope_period),
    F(TANSY_KEY_EMBED_SCALE, embed_scale),
    F(TANSY_KEY_ATTN_SOFTCAP, attn_softcap),
    F(TANSY_KEY_LOGIT_SOFTCAP, logit_softcap),
    U(TANSY_KEY_POSITION_OFFSET, position_offset),
    U(TANSY_KEY_BOS, bos),
    U(TANSY_KEY_EOS, eos[0]),
    U(TANSY_KEY_EOS_2, eos[1]),
    U(TANSY_KEY_EOS_3, eos[2]),
    U(TANSY_KEY_EOS_4, eos[3]),
    U(TANSY_KEY_EOS_5, eos[4]),
    U(TANSY_KEY_ADD_BOS, add_bos),
    U(TANSY_KEY_QK_NORM, qk_norm),
};
#undef U
#undef F

static const struct field *find_field(uint64_t key) {
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    if (fields[i].key == key) return &fields[i];
  }
  return NULL;
}

struct tansy_config tansy_config_default(void) {
  return (struct tansy_config){.rope_attn_factor = 1, .embed_scale = 1};
}

enum tansy_status tansy_config_set(struct tansy_config *config, uint64_t key, uint32_t value) {
  const struct field *f = find_field(key);
  if (!f) return TANSY_ERR_UNSUPPORTED;
  if (f->is_float && (value & 0x7f800000) == 0x7f800000) return TANSY_ERR_NONFINITE;
  memcpy((char *)config + f->offset, &value, 4);
  return TANSY_OK;
}

bool tansy_config_get(const struct tansy_config *config, uint64_t key, uint32_t *value) {
  const struct field *f = find_field(key);
  if (f) memcpy(value, (const char *)config + f->offset, 4);
  return f != NULL;
}

static bool within(uint32_t value, uint32_t lo, uint32_t hi) { return value >= lo && value <= hi; }

enum tansy_status tansy_config_check(const struct tansy_config *c) {
  if (!within(c->vocab, 1, TANSY_MAX_DIM) || !within(c->hidden, 1, TANSY_MAX_COLS) || !within(c->intermediate, 1, TANSY_MAX_COLS) ||
      !within(c->n_layers, 1, 1024) || !within(c->n_heads, 1, 1024) || !within(c->n_kv_heads, 1, c->n_heads) ||
      !within(c->head_dim, 1, TANSY_MAX_HEAD_DIM) || !within(c->context, 1, 1 << 24)) {
    return TANSY_ERR_CORRUPT;
  }
  if (c->n_heads % c->n_kv_heads != 0 || (uint64_t)c->n_heads * c->head_dim > TANSY_MAX_COLS) return TANSY_ERR_CORRUPT;
  if (c->norm_kind > TANSY_NORM_LAYER || c->activation > TANSY_ACT_RELU || c->mlp_kind > TANSY_MLP_PLAIN) return TANSY_ERR_UNSUPPORTED;
  if (c->tied > 1 || c->qk_norm > 1 || c->add_bos > 1) return TANSY_ERR_CORRUPT;
  if (c->rope_dim % 2 != 0 || c->rope_dim > c->head_dim || c->position_offset > 1 << 16) return TANSY_ERR_CORRUPT;
  /* written so that NaN fails */
  if (!(c->norm_eps >= 0 && c->norm_eps < 1) || !(c->attn_scale > 0) || !(c->attn_softcap >= 0) || !(c->logit_softcap >= 0)) return TANSY_ERR_CORRUPT;
  return TANSY_OK;
}

static struct tansy_role_spec vector(enum tansy_need need, bool in_layer, uint32_t n) {
  return (struct tansy_role_spec){need, in_layer, false, 1, n};
}
static struct tansy_role_spec matrix(enum tansy_need need, bool in_layer, uint32_t n_rows, uint32_t n_cols) {
  return (struct tansy_role_spec){need, in_layer, true, n_rows, n_cols};
}

struct tansy_role_spec tansy_config_role(const struct tansy_config *c, uint32_t role) {
  const enum tansy_need never = TANSY_NEED_NEVER, may = TANSY_NEED_MAY, must = TANSY_NEED_MUST;
  uint32_t n_q = c->n_heads * c->head_dim, n_kv = c->n_kv_heads * c->head_dim;
  enum tansy_need layer_norm = c->norm_kind == TANSY_NORM_LAYER ? must : never;
  enum tansy_need gated = c->mlp_kind == TANSY_MLP_GATED ? must : never;
  enum tansy_need qk = c->qk_norm ? must : never;
  switch (role) {
    case TANSY_ROLE_EMBED: return matrix(must, false, c->vocab, c->hidden);
    case TANSY_ROLE_EMBED_SCALE: return vector(may, false, c->hidden);
    case TANSY_ROLE_POSITION_EMBED: return matrix(c->rope_dim ? never : may, false, 0, c->hidden);
    case TANSY_ROLE_POSITION_EMBED_SCALE: return vector(c->rope_dim ? never : may, false, c->hidden);
    case TANSY_ROLE_FINAL_NORM: return vector(must, false, c->hidden);
    case TANSY_ROLE_FINAL_NORM_BIAS: return vector(layer_norm, false, c->hidden);
    case TANSY_ROLE_HEAD: return matrix(c->tied ? never : must, false, c->vocab, c->hidden);
    case TANSY_ROLE_HEAD_SCALE: return vector(c->tied ? never : may, false, c->hidden);
    case TANSY_ROLE_HEAD_BIAS: return vector(may, false, c->vocab);
    case TANSY_ROLE_ROPE_INV_FREQ: return vector(c->rope_dim ? must : never, false, c->rope_dim / 2);
    case TANSY_ROLE_ROPE_INV_FREQ_LOCAL: return vector(c->rope_dim && c->window ? may : never, false, c->rope_dim / 2);
    case TANSY_ROLE_ATTN_NORM: return vector(must, true, c->hidden);
    case TANSY_ROLE_ATTN_NORM_BIAS: return vector(layer_norm, true, c->hidden);
    case TANSY_ROLE_ATTN_IN_SCALE: return vector(may, true, c->hidden);
    case TANSY_ROLE_Q: return matrix(must, true, n_q, c->hidden);
    case TANSY_ROLE_K: return matrix(must, true, n_kv, c->hidden);
    case TANSY_ROLE_V: return matrix(must, true, n_kv, c->hidden);
    case TANSY_ROLE_Q_BIAS: return vector(may, true, n_q);
    case TANSY_ROLE_K_BIAS: return vector(may, true, n_kv);
    case TANSY_ROLE_V_BIAS: return vector(may, true, n_kv);
    case TANSY_ROLE_Q_NORM: return vector(qk, true, c->head_dim);
    case TANSY_ROLE_K_NORM: return vector(qk, true, c->head_dim);
    case TANSY_ROLE_ATTN_OUT_SCALE: return vector(may, true, n_q);
    case TANSY_ROLE_O: return matrix(must, true, c->hidden, n_q);
    case TANSY_ROLE_O_BIAS: return vector(may, true, c->hidden);
    case TANSY_ROLE_POST_ATTN_NORM: return vector(may, true, c->hidden);
    case TANSY_ROLE_MLP_NORM: return vector(must, true, c->hidden);
    case TANSY_ROLE_MLP_NORM_BIAS: return vector(layer_norm, true, c->hidden);
    case TANSY_ROLE_MLP_IN_SCALE: return vector(may, true, c->hidden);
    case TANSY_ROLE_GATE: return matrix(gated, true, c->intermediate, c->hidden);
    case TANSY_ROLE_UP: return matrix(must, true, c->intermediate, c->hidden);
    case TANSY_ROLE_UP_BIAS: return vector(may, true, c->intermediate);
    case TANSY_ROLE_MLP_MID_SCALE: return vector(may, true, c->intermediate);
    case TANSY_ROLE_DOWN: return matrix(must, true, c->hidden, c->intermediate);
    case TANSY_ROLE_DOWN_BIAS: return vector(may, true, c->hidden);
    case TANSY_ROLE_POST_MLP_NORM: return vector(may, true, c->hidden);
    default: return vector(never, false, 0);
  }
}
