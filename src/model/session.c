/* session.c: the state of a conversation as pieces of memory: token ids, keys and values, the sampler's random state. A caller saves a session by copying
 * the pieces out, restores it by copying them into an engine of the same file and KV form and telling it how many tokens they
 * hold. Pieces do not depend on the context's length, the residency or the batch: this is how a live model moves to a
 * memory of another size. */
#include "model/engine.h"

static uint32_t n_arrays(const struct tansy_engine *e) { return e->options.kv_form == TANSY_KV_INT8 ? 4 : 2; }

uint32_t tansy_session_n(const struct tansy_engine *e) { return 2 + e->config.n_layers * e->config.n_kv_heads * n_arrays(e); }

/* piece 0: i32 [n_tokens]; then for each layer, each KV head: k, v [n_tokens, head_dim], with int8 their scales f32 [n_tokens]; last
 * the 8 bytes of the sampler's state */
void *tansy_session_piece(struct tansy_engine *e, uint32_t i, uint32_t n_tokens, size_t *nbytes) {
  *nbytes = 0;
  if (e->eval.is_active || i >= tansy_session_n(e) || tansy_engine_make_room(e, n_tokens) != TANSY_OK) return NULL;
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
  size_t row = (size_t)head * kv->capacity, row_nbytes = e->config.head_dim * tansy_kv_value_nbytes(kv->form);
  if (array >= 2) {
    *nbytes = (size_t)n_tokens * sizeof(float);
    return (array == 2 ? kv->k_scale : kv->v_scale) + row;
  }
  *nbytes = n_tokens * row_nbytes;
  return (array == 0 ? kv->k : kv->v) + row * row_nbytes;
}

/* a piece that holds floats must hold finite ones: attention would carry any other into every later token */
static bool is_sound(struct tansy_engine *e, uint32_t piece, uint32_t n_tokens) {
  bool is_scale = (piece - 1) % n_arrays(e) >= 2;
  size_t nbytes;
  const void *values = tansy_session_piece(e, piece, n_tokens, &nbytes);
  if (e->options.kv_form == TANSY_KV_F16) {
    for (size_t i = 0; i < nbytes / sizeof(uint16_t); i++) {
      if ((((const uint16_t *)values)[i] & 0x7c00) == 0x7c00) return false;
    }
  } else if (e->options.kv_form == TANSY_KV_F32 || is_scale) {
    for (size_t i = 0; i < nbytes / sizeof(float); i++) {
      float value = ((const float *)values)[i];
      if (value - value != 0) return false;
    }
  }
  return true;
}

enum tansy_status tansy_session_restore(struct tansy_engine *e, uint32_t n_tokens) {
  if (e->eval.is_active) return TANSY_ERR_ARGUMENT;
  TANSY_TRY(tansy_engine_make_room(e, n_tokens));
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
