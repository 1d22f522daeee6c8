/* eval.c: an evaluation, one layer of one batch a step.
 *
 * Where every weight is there, a batch of tokens goes through all layers, then the next one. While weights are still coming, that would leave all
 * batches but the first waiting for the last layer; then the tokens go through the layers as one group, batch by batch, so that each
 * layer is done with when the next one comes. A group's residual streams lie in the part of the arena that the KV cache has not grown
 * into yet; what does not fit there makes a group of its own. Batches are the same either way, and so are the bits. */
#include <string.h>

#include "model/engine.h"

/* ---- the growing cache ---- */

uint64_t tansy_engine_arena_nbytes(const struct tansy_engine *e, uint32_t n_tokens) {
  uint64_t n_blocks = n_tokens ? ((uint64_t)n_tokens + TANSY_KV_BLOCK - 1) / TANSY_KV_BLOCK : 1;
  uint64_t capacity = n_blocks * TANSY_KV_BLOCK < e->plan.context ? n_blocks * TANSY_KV_BLOCK : e->plan.context;
  return e->kv_at + e->config.n_layers * tansy_layer_kv_nbytes(&e->config, (uint32_t)capacity, (enum tansy_kv_form)e->options.kv_form);
}

enum tansy_status tansy_engine_make_room(struct tansy_engine *e, uint32_t n_tokens) {
  if (n_tokens > e->plan.context) return TANSY_ERR_CONTEXT;
  if (n_tokens <= e->kv_capacity) return TANSY_OK;
  if (tansy_engine_arena_nbytes(e, n_tokens) > e->arena_nbytes) return TANSY_ERR_NO_MEMORY;
  uint32_t capacity = (n_tokens + TANSY_KV_BLOCK - 1) / TANSY_KV_BLOCK * TANSY_KV_BLOCK;
  if (capacity > e->plan.context) capacity = e->plan.context;
  tansy_kv_spread(e->kv, e->config.n_layers, e->kv_memory, &e->config, capacity, e->position);
  e->kv_capacity = capacity;
  return TANSY_OK;
}

enum tansy_status tansy_engine_grow(struct tansy_engine *e, size_t arena_nbytes) {
  if (e->eval.is_active || arena_nbytes < e->arena_nbytes) return tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  e->arena_nbytes = arena_nbytes;
  return TANSY_OK;
}

/* ---- begin, end ---- */

static void begin_group(struct tansy_engine *e, uint32_t offset) {
  struct tansy_eval *v = &e->eval;
  uint32_t left = v->n_tokens - offset;
  v->group = offset;
  v->n_group = left < v->max_group ? left : v->max_group;
  v->stage = v->batch = v->head_row = 0;
}

static bool is_all_here(const struct tansy_engine *e) { return tansy_engine_layers_ready(e) == e->config.n_layers + 1; }

/* where the residual streams go, and of how many tokens */
static void find_room_for_group(struct tansy_engine *e) {
  struct tansy_eval *v = &e->eval;
  v->x = e->x;
  v->max_group = e->plan.max_batch;
  if (v->all_logits || v->n_tokens <= e->plan.max_batch || is_all_here(e)) return;
  uint64_t free_at = tansy_engine_arena_nbytes(e, e->kv_capacity), row_nbytes = (uint64_t)e->config.hidden * sizeof(float);
  uint64_t n_rows = e->arena_nbytes > free_at ? (e->arena_nbytes - free_at) / row_nbytes : 0;
  if (n_rows < v->n_tokens) n_rows -= n_rows % e->plan.max_batch;
  if (n_rows <= e->plan.max_batch) return;
  v->x = (float *)((uint8_t *)e + (size_t)free_at);
  v->max_group = n_rows < v->n_tokens ? (uint32_t)n_rows : v->n_tokens;
}

enum tansy_status tansy_eval_begin(struct tansy_engine *e, const int32_t *tokens, size_t n, int all_logits) {
  if (n == 0 || e->eval.is_active) return tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  enum tansy_status status = n > e->plan.context - e->position ? TANSY_ERR_CONTEXT : tansy_engine_make_room(e, e->position + (uint32_t)n);
  if (status != TANSY_OK) {
    tansy_engine_fail(e, status);
    bool is_full = status == TANSY_ERR_CONTEXT;
    e->detail.needed_nbytes = is_full ? e->plan.context - e->position : (double)tansy_engine_arena_nbytes(e, e->position + (uint32_t)n);
    return status;
  }
  for (size_t i = 0; i < n; i++) {
    if ((uint32_t)tokens[i] >= e->config.vocab) return tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  }
  memmove(e->tokens + e->position, tokens, n * sizeof *tokens);
  e->eval = (struct tansy_eval){.is_active = true, .all_logits = all_logits != 0, .begin = e->position, .n_tokens = (uint32_t)n};
  find_room_for_group(e);
  begin_group(e, 0);
  e->n_logits = 0;
  return TANSY_OK;
}

void tansy_eval_cancel(struct tansy_engine *e) {
  if (!e->eval.is_active) return;
  e->eval.is_active = false;
  e->n_logits = 0;
}

enum tansy_status tansy_eval_keep(struct tansy_engine *e, uint32_t n) {
  struct tansy_eval *v = &e->eval;
  uint32_t n_done = v->group + (v->stage == e->config.n_layers ? v->n_group : 0);
  if (!v->is_active || n > n_done) return tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  v->is_active = false;
  e->position = v->begin + n;
  e->n_logits = 0;
  return TANSY_OK;
}

/* ---- steps ---- */

/* 1 more to do, 0 done, negative: not ready */
static int run_layer(struct tansy_engine *e) {
  struct tansy_eval *v = &e->eval;
  uint32_t layer = v->stage, position = v->begin + v->group + v->batch, left = v->n_group - v->batch;
  uint32_t n = left < e->plan.max_batch ? left : e->plan.max_batch;
  float *x = v->x + (size_t)v->batch * e->config.hidden;
  if (e->n_missing[0] || e->n_missing[1 + layer]) return -TANSY_ERR_NOT_READY;
  /* the angles are kept from layer to layer where one batch is the group */
  if (layer == 0 || v->n_group > n) tansy_rope_forward(&e->forward, &e->outer, position, n);
  if (layer == 0) tansy_embed_forward(&e->forward, &e->outer, e->tokens + position, position, n, x);
  tansy_layer_forward(&e->forward, layer, &e->layers[layer], &e->kv[layer], position, n, x);
  v->batch += n;
  if (v->batch == v->n_group) {
    v->batch = 0;
    v->stage++;
  }
  return 1;
}

static int run_head(struct tansy_engine *e) {
  struct tansy_eval *v = &e->eval;
  bool is_last_group = v->group + v->n_group == v->n_tokens;
  if (!v->all_logits) v->head_row = is_last_group ? v->n_group - 1 : v->n_group;
  if (v->head_row < v->n_group) {
    if (e->n_missing[1 + e->config.n_layers]) return -TANSY_ERR_NOT_READY;
    uint32_t left = v->n_group - v->head_row, n = left < e->plan.n_logits ? left : e->plan.n_logits;
    tansy_head_forward(&e->forward, &e->outer, v->x + (size_t)v->head_row * e->config.hidden, n, e->logits);
    e->n_logits = n;
    e->first_logits = v->begin + v->group + v->head_row;
    v->head_row += n;
  }
  if (v->head_row < v->n_group) return 1;
  if (!is_last_group) {
    begin_group(e, v->group + v->n_group);
    return 1;
  }
  e->position = v->begin + v->n_tokens;
  v->is_active = false;
  return 0;
}

int tansy_eval_step(struct tansy_engine *e) {
  if (e->broken) return -(int)e->broken;
  if (!e->eval.is_active) return -(int)tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  e->n_logits = 0;
  bool is_head = e->eval.stage == e->config.n_layers;
  int result = is_head ? run_head(e) : run_layer(e);
  if (e->parallel.is_lost) {
    e->broken = TANSY_ERR_WORKER;
    e->n_logits = 0;
    result = -TANSY_ERR_WORKER;
  }
  if (result < 0) tansy_engine_fail(e, (enum tansy_status)-result);
  return result;
}

uint32_t tansy_logits_n(const struct tansy_engine *e) { return e->n_logits; }
uint32_t tansy_logits_first(const struct tansy_engine *e) { return e->first_logits; }
const float *tansy_logits(const struct tansy_engine *e) { return e->logits; }

enum tansy_status tansy_engine_rewind(struct tansy_engine *e, uint32_t position) {
  if (position > e->position || e->eval.is_active) return tansy_engine_fail(e, TANSY_ERR_ARGUMENT);
  if (position < e->position) e->n_logits = 0;
  e->position = position;
  return TANSY_OK;
}
