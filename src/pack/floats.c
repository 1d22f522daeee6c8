/* floats.c: see floats.h. */
#include "pack/floats.h"

#include <stdlib.h>
#include <string.h>

struct tansy_linear *tansy_layer_linear(struct tansy_layer_weights *w, uint32_t role) {
  switch (role) {
    case TANSY_ROLE_Q: return &w->q;
    case TANSY_ROLE_K: return &w->k;
    case TANSY_ROLE_V: return &w->v;
    case TANSY_ROLE_O: return &w->o;
    case TANSY_ROLE_GATE: return &w->gate;
    case TANSY_ROLE_UP: return &w->up;
    case TANSY_ROLE_DOWN: return &w->down;
    default: return NULL;
  }
}

enum tansy_site tansy_role_site(uint32_t role) {
  switch (role) {
    case TANSY_ROLE_Q:
    case TANSY_ROLE_K:
    case TANSY_ROLE_V: return TANSY_SITE_ATTN_IN;
    case TANSY_ROLE_O: return TANSY_SITE_ATTN_OUT;
    case TANSY_ROLE_GATE:
    case TANSY_ROLE_UP: return TANSY_SITE_MLP_IN;
    case TANSY_ROLE_DOWN: return TANSY_SITE_MLP_MID;
    default: return TANSY_SITE_HEAD;
  }
}

uint32_t tansy_site_scale_role(enum tansy_site site) {
  static const uint32_t roles[TANSY_N_SITES] = {TANSY_ROLE_ATTN_IN_SCALE, TANSY_ROLE_ATTN_OUT_SCALE, TANSY_ROLE_MLP_IN_SCALE,
                                                TANSY_ROLE_MLP_MID_SCALE, TANSY_ROLE_HEAD_SCALE};
  return roles[site];
}

const float **tansy_layer_vector(struct tansy_layer_weights *w, uint32_t role) {
  switch (role) {
    case TANSY_ROLE_ATTN_NORM: return &w->attn_norm;
    case TANSY_ROLE_ATTN_NORM_BIAS: return &w->attn_norm_bias;
    case TANSY_ROLE_Q_BIAS: return &w->q.bias;
    case TANSY_ROLE_K_BIAS: return &w->k.bias;
    case TANSY_ROLE_V_BIAS: return &w->v.bias;
    case TANSY_ROLE_Q_NORM: return &w->q_norm;
    case TANSY_ROLE_K_NORM: return &w->k_norm;
    case TANSY_ROLE_O_BIAS: return &w->o.bias;
    case TANSY_ROLE_POST_ATTN_NORM: return &w->post_attn_norm;
    case TANSY_ROLE_MLP_NORM: return &w->mlp_norm;
    case TANSY_ROLE_MLP_NORM_BIAS: return &w->mlp_norm_bias;
    case TANSY_ROLE_UP_BIAS: return &w->up.bias;
    case TANSY_ROLE_DOWN_BIAS: return &w->down.bias;
    case TANSY_ROLE_POST_MLP_NORM: return &w->post_mlp_norm;
    default: return NULL;
  }
}

static void set_linear(struct tansy_linear *linear, const struct tansy_source *s, const float *values) {
  const float *bias = linear->bias;
  *linear = tansy_linear_f32(values, s->n_rows, s->n_cols, bias);
}

static size_t padded(const struct tansy_source *s) { return ((size_t)s->n_rows * s->n_cols + 15) & ~(size_t)15; }

enum tansy_status tansy_float_layer_load(const struct tansy_checkpoint *c, uint32_t layer, struct tansy_float_layer *out,
                                         struct tansy_failure *failure) {
  *out = (struct tansy_float_layer){0};
  size_t total = 0;
  for (uint32_t i = 0; i < c->n_sources; i++)
    if (tansy_role_section(c->sources[i].role) == 1 && c->sources[i].layer == layer) total += padded(&c->sources[i]);
  float *at = out->memory = malloc(total * sizeof *at + 1);
  if (!at) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (tansy_role_section(s->role) != 1 || s->layer != layer) continue;
    enum tansy_status status = tansy_checkpoint_read(c, s, 0, s->n_rows, at, failure);
    if (status != TANSY_OK) {
      tansy_float_layer_free(out);
      return status;
    }
    if (s->matrix)
      set_linear(tansy_layer_linear(&out->weights, s->role), s, at);
    else
      *tansy_layer_vector(&out->weights, s->role) = at;
    at += padded(s);
  }
  return TANSY_OK;
}

void tansy_float_layer_free(struct tansy_float_layer *layer) {
  free(layer->memory);
  *layer = (struct tansy_float_layer){0};
}

/* tables of tokens are not loaded: they can be larger than all else */
static bool is_table(const struct tansy_source *s) { return s->role == TANSY_ROLE_EMBED || s->role == TANSY_ROLE_HEAD; }

enum tansy_status tansy_float_outer_load(const struct tansy_checkpoint *c, struct tansy_float_outer *out, struct tansy_failure *failure) {
  *out = (struct tansy_float_outer){0};
  size_t total = 0;
  for (uint32_t i = 0; i < c->n_sources; i++)
    if (tansy_role_section(c->sources[i].role) != 1 && !is_table(&c->sources[i])) total += padded(&c->sources[i]);
  float *at = out->memory = malloc(total * sizeof *at + 1);
  if (!at) return tansy_fail_memory(failure);
  struct tansy_outer_weights *w = &out->weights;
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (tansy_role_section(s->role) == 1 || is_table(s)) continue;
    enum tansy_status status = tansy_checkpoint_read(c, s, 0, s->n_rows, at, failure);
    if (status != TANSY_OK) {
      tansy_float_outer_free(out);
      return status;
    }
    switch (s->role) {
      case TANSY_ROLE_POSITION_EMBED: set_linear(&w->position, s, at); break;
      case TANSY_ROLE_HEAD_BIAS: w->head.bias = at; break;
      case TANSY_ROLE_FINAL_NORM: w->final_norm = at; break;
      case TANSY_ROLE_FINAL_NORM_BIAS: w->final_norm_bias = at; break;
      case TANSY_ROLE_ROPE_INV_FREQ: w->inv_freq = at; break;
      case TANSY_ROLE_ROPE_INV_FREQ_LOCAL: w->inv_freq_local = at; break;
      default: break;
    }
    at += padded(s);
  }
  return TANSY_OK;
}

enum tansy_status tansy_float_outer_load_head(const struct tansy_checkpoint *c, struct tansy_float_outer *outer, struct tansy_failure *failure) {
  const struct tansy_source *s = tansy_checkpoint_head(c);
  outer->head = malloc((size_t)s->n_rows * s->n_cols * sizeof *outer->head);
  if (!outer->head) return tansy_fail_memory(failure);
  set_linear(c->config.tied ? &outer->weights.embed : &outer->weights.head, s, outer->head);
  return tansy_checkpoint_read(c, s, 0, s->n_rows, outer->head, failure);
}

void tansy_float_outer_drop_head(struct tansy_float_outer *outer) {
  free(outer->head);
  outer->head = NULL;
}

void tansy_float_outer_free(struct tansy_float_outer *outer) {
  free(outer->memory);
  free(outer->head);
  *outer = (struct tansy_float_outer){0};
}
