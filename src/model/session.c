/* session.c: the state of a conversation as pieces of memory: token ids, keys and values, the sampler's random state. A caller saves a session by copying
 * the pieces out, restores it by copying them into an engine of the same file and KV form and telling it how many tokens they
 * hold. Pieces do not depend on the context's length, the residency or the batch: this is how a live model moves to a
 * memory of another size. */
#include "model/engine.h"

static uint32_t n_arrays(const struct tansy_engine *e) { return e->options.kv_form == TANSY_KV_F32 ? 2 : 4; }

uint32_t tansy_session_n(const struct tansy_engine *e) { return 2 + e->config.n_layers * e->config.n_kv_heads * n_arrays(e); }

/* piece 0: i32 [n_tokens]; then for each layer, each KV head: k, v [n_tokens, head_dim], and for int8 their scales f32 [n_tokens]; last
 * the 8 bytes of the sampler's state */
void *tansy_session_piece(struct tansy_engine *e, uint32_t i, uint32_t n_tokens, size_t *nbytes) {
  *nbytes = 0;
  if (e->eval.is_active || i >= tansy_session_n(e) || n_tokens > e->plan.context) return NULL;
  if (i == 0) {
    *nbytes = (size_t)n_tokens * sizeof *e->tokens;
    return e->tokens;
  }
  if (i == tansy_session_n(e) - 1) {
    *nbytes = sizeof e->rng;
    return &e->rng;
  }
  uint32_t array = (i - 1) % n_arrays(e), head = (i - 1) / n_arrays(e) % e->config.n_kv_heads;
  struct tansy_layer_kv *kv = &e->kv[(i - 1) / n_arrays(e) / e->config.n_kv_heads];
  size_t row = (size_t)head * kv->capacity, at = row * e->config.head_dim, n = (size_t)n_tokens * e->config.head_dim;
  if (array >= 2) {
    *nbytes = (size_t)n_tokens * sizeof(float);
    return (array == 2 ? kv->k_scale : kv->v_scale) + row;
  }
  if (kv->k_f32) {
    *nbytes = n * sizeof(float);
    return (array == 0 ? kv->k_f32 : kv->v_f32) + at;
  }
  *nbytes = n;
  return (array == 0 ? kv->k : kv->v) + at;
}

/* a piece that holds floats must hold finite ones: attention would carry any other into every later token */
static bool is_sound(struct tansy_engine *e, uint32_t piece, uint32_t n_tokens) {
  bool has_floats = e->options.kv_form == TANSY_KV_F32 || (piece - 1) % n_arrays(e) >= 2;
  size_t nbytes;
  const float *values = has_floats ? tansy_session_piece(e, piece, n_tokens, &nbytes) : NULL;
  for (size_t i = 0; values && i < nbytes / sizeof *values; i++) {
    if (values[i] - values[i] != 0) return false;
  }
  return true;
}

enum tansy_status tansy_session_restore(struct tansy_engine *e, uint32_t n_tokens) {
  if (e->eval.is_active) return TANSY_ERR_ARGUMENT;
  if (n_tokens > e->plan.context) return TANSY_ERR_CONTEXT;
  for (uint32_t i = 0; i < n_tokens; i++) {
    if ((uint32_t)e->tokens[i] >= e->config.vocab) return TANSY_ERR_CORRUPT;
  }
  for (uint32_t i = 1; i + 1 < tansy_session_n(e); i++) {
    if (!is_sound(e, i, n_tokens)) return TANSY_ERR_CORRUPT;
  }
  e->position = n_tokens;
  e->n_logits = 0;
  return TANSY_OK;
}
