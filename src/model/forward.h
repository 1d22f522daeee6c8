/* forward.h: the forward pass, a layer at a time. MODEL.md has the mathematics.
 *
 * Used twice: by the engine (matrices ANS, PACKED or INT8, int8 KV) and by the compressor (matrices F32 or any mix, f32 KV,
 * a hook that sees the input of every linear). Each architecture is written once, here, as tests on the config.
 * Shapes: T tokens of one sequence at consecutive positions, H hidden, D head_dim. */
#ifndef TANSY_MODEL_FORWARD_H
#define TANSY_MODEL_FORWARD_H

#include "base/arena.h"
#include "base/parallel.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "tansy.h"

/* ---- weights ---- */

/* y = W x + bias. Shape in w.coded.shape.n_rows, n_cols, whatever the form; n_rows 0: not there (a plain MLP has no gate).
 * F32: w.f32 is W itself, row_scale is not used, and nothing else of w.coded is. */
struct tansy_linear {
  struct tansy_matrix w;
  struct tansy_row_scale row_scale;
  const float *bias; /* [n_rows] or NULL */
};
struct tansy_linear tansy_linear_f32(const float *w /* [n_rows, n_cols] */, uint32_t n_rows, uint32_t n_cols, const float *bias);

/* NULL where the architecture has none. *_scale: col_scale of the site, multiplied into the input before it is quantized. */
struct tansy_layer_weights {
  const float *attn_norm, *attn_norm_bias; /* [H] */
  const float *attn_in_scale;              /* [H] */
  struct tansy_linear q, k, v;             /* [n_heads * D, H], [n_kv_heads * D, H] twice */
  const float *q_norm, *k_norm;            /* [D] */
  const float *attn_out_scale;             /* [n_heads * D] */
  struct tansy_linear o;                   /* [H, n_heads * D] */
  const float *post_attn_norm;             /* [H] */
  const float *mlp_norm, *mlp_norm_bias;   /* [H] */
  const float *mlp_in_scale;               /* [H] */
  struct tansy_linear gate, up;            /* [intermediate, H] */
  const float *mlp_mid_scale;              /* [intermediate] */
  struct tansy_linear down;                /* [H, intermediate] */
  const float *post_mlp_norm;              /* [H] */
};

struct tansy_outer_weights {
  struct tansy_linear embed;    /* [vocab, H]; the head too when tied */
  const float *embed_scale;     /* [H] */
  struct tansy_linear position; /* [n_positions, H] learned positions */
  const float *position_scale;  /* [H] */
  const float *final_norm, *final_norm_bias;
  struct tansy_linear head;     /* untied only; head.bias serves a tied head as well */
  const float *head_scale;      /* [H], untied only */
  const float *inv_freq;        /* [rope_dim / 2] */
  const float *inv_freq_local;  /* [rope_dim / 2] of windowed layers, or NULL: same */
};

/* KV cache of one layer (kvcache.c) */
struct tansy_layer_kv {
  enum tansy_kv_form form;
  uint8_t *k, *v;           /* [n_kv_heads, capacity, D] int8, f16 or f32 */
  float *k_scale, *v_scale; /* [n_kv_heads, capacity] of int8 */
  uint32_t capacity;        /* positions */
};
/* of a value */
size_t tansy_kv_value_nbytes(enum tansy_kv_form form);
uint64_t tansy_layer_kv_nbytes(const struct tansy_config *config, uint32_t capacity, enum tansy_kv_form form);
/* lays the arrays out in `memory` [tansy_layer_kv_nbytes], 16-byte aligned */
struct tansy_layer_kv tansy_layer_kv_in(void *memory, const struct tansy_config *config, uint32_t capacity, enum tansy_kv_form form);
/* Keys and values of a token: k, v [n_kv_heads, D] -> row `position` of every head */
void tansy_kv_store(const struct tansy_layer_kv *kv, const struct tansy_config *config, const struct tansy_kernels *kernels, uint32_t position,
                    const float *k, const float *v);
/* Lays n_layers caches that begin at `memory`, one after the other, out for more positions; their first n_positions are kept. */
void tansy_kv_spread(struct tansy_layer_kv *layers, uint32_t n_layers, void *memory, const struct tansy_config *config, uint32_t capacity,
                     uint32_t n_positions);

/* ---- the pass ---- */

/* Inputs of the linears. A hook sees x [n_tokens, n_cols] before col_scale and quantization. */
enum tansy_site { TANSY_SITE_ATTN_IN = 0, TANSY_SITE_ATTN_OUT = 1, TANSY_SITE_MLP_IN = 2, TANSY_SITE_MLP_MID = 3, TANSY_SITE_HEAD = 4, TANSY_N_SITES = 5 };
typedef void tansy_site_hook(void *ctx, enum tansy_site site, uint32_t layer, const float *x, uint32_t n_tokens, uint32_t n_cols);

/* Everything a pass needs besides weights. Set the first group, then tansy_forward_init carves the rest out of `memory`. */
struct tansy_forward {
  const struct tansy_config *config;
  const struct tansy_kernels *kernels;
  struct tansy_parallel *parallel; /* NULL: one thread */
  tansy_site_hook *hook;           /* or NULL */
  void *hook_ctx;
  uint32_t max_tokens;             /* of one call; matmuls take TANSY_MAX_BATCH at a time */
  size_t max_tile_nbytes;          /* look-ups in ANS-coded tables decode tiles of up to this many int8 weights at once; longer ones, or
                                      0: row by row, slowly */

  /* the second group: cos and sin are kept between the calls of one batch … */
  float *cos, *sin, *cos_local, *sin_local; /* [max_tokens, rope_dim / 2] */
  /* … and what follows only within a call: between calls it is the caller's to use */
  uint8_t *temporary;
  size_t temporary_nbytes;
  float *normed;   /* [max_tokens, H] */
  float *q;        /* [max_tokens, n_heads * D] */
  float *k, *v;    /* [max_tokens, n_kv_heads * D] */
  float *attended; /* [max_tokens, n_heads * D] */
  float *gate, *up; /* [max_tokens, intermediate] (share memory with q, k, v, attended) */
  float *out;      /* [max_tokens, H] */
  uint8_t *tile;   /* [max_tile_nbytes] a decoded tile of an embedding (shares memory with q … attended) */
  float *scaled;   /* [min(max_tokens, TANSY_MAX_BATCH), widest input] */
  struct tansy_act act;
  uint8_t *decode; /* [n_threads, tansy_matmul_scratch_nbytes(widest input)] */
  size_t decode_stride;
};
/* bytes of a decoded tile of this matrix, for max_tile_nbytes */
size_t tansy_tile_nbytes(const struct tansy_coded_shape *shape);
/* bytes tansy_forward_init takes, for the config, max_tokens and threads set in f */
uint64_t tansy_forward_nbytes(const struct tansy_forward *f, uint64_t min_temporary_nbytes);
void tansy_forward_init(struct tansy_forward *f, uint64_t min_temporary_nbytes, void *memory /* 16-byte aligned */);

/* Angles of positions [position, position + n_tokens): call once a batch, before its layers. */
void tansy_rope_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, uint32_t position, uint32_t n_tokens);
/* x [n_tokens, H] = embedding of the tokens (and learned positions), scaled. Tokens are in range. */
void tansy_embed_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, const int32_t *tokens, uint32_t position,
                         uint32_t n_tokens, float *x);
/* x [n_tokens, H] in place, through layer number `layer`; K and V of the tokens are added to kv */
void tansy_layer_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, struct tansy_layer_kv *kv,
                         uint32_t position, uint32_t n_tokens, float *x);
/* its two halves: attention and MLP, each with its residual. A linear with n_rows 0 is skipped, its output then is stale. */
void tansy_attention_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, struct tansy_layer_kv *kv,
                             uint32_t position, uint32_t n_tokens, float *x);
void tansy_mlp_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, uint32_t n_tokens, float *x);
/* final norm and head: logits [n_tokens, vocab]; x is not changed */
void tansy_head_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, const float *x, uint32_t n_tokens, float *logits);

#endif
