/* tiny_engine.h: a tiny random model in an engine, for the tests of the engine. */
#ifndef TANSY_TEST_TINY_ENGINE_H
#define TANSY_TEST_TINY_ENGINE_H

#include "model/engine.h"
#include "tiny_model.h"

struct run {
  struct tansy_engine *e;
  void *arena;
  size_t arena_nbytes;
  struct tansy_plan plan;
};

/* an arena of exactly the planned size, so that a sanitizer sees the first byte beyond; filled with rubbish */
static inline struct run start(const struct tiny_model *m, struct tansy_options options) {
  struct run r = {0};
  size_t work_nbytes = tansy_plan_work_nbytes(m->file.bytes, m->header_nbytes);
  void *work = test_alloc(work_nbytes);
  CHECK_EQ(tansy_plan_make(m->file.bytes, m->header_nbytes, &options, work, work_nbytes, &r.plan), TANSY_OK);
  free(work);
  r.arena_nbytes = (size_t)r.plan.arena_nbytes;
  r.arena = test_alloc(r.arena_nbytes);
  memset(r.arena, 0xA5, r.arena_nbytes);
  CHECK_EQ(tansy_engine_create(m->file.bytes, m->header_nbytes, &options, r.arena, r.arena_nbytes, &r.e), TANSY_OK);
  CHECK((void *)r.e == r.arena);
  return r;
}

static inline enum tansy_status load_chunk(const struct tiny_model *m, struct tansy_engine *e, uint32_t i) {
  void *slot = tansy_chunk_begin(e, i);
  if (!slot) return TANSY_ERR_ARGUMENT;
  memcpy(slot, m->file.bytes + tansy_chunk_offset(e, i), tansy_chunk_nbytes(e, i));
  return tansy_chunk_end(e, i);
}

static inline void load(const struct tiny_model *m, struct tansy_engine *e, uint64_t shuffle) {
  uint32_t n = tansy_engine_n_chunks(e), *order = test_alloc(n * sizeof *order);
  struct test_rng rng = {shuffle};
  for (uint32_t i = 0; i < n; i++) order[i] = i;
  for (uint32_t i = n; shuffle && i > 1; i--) {
    uint32_t j = test_rand_below(&rng, i), swapped = order[j];
    order[j] = order[i - 1];
    order[i - 1] = swapped;
  }
  for (uint32_t i = 0; i < n; i++) CHECK_EQ(load_chunk(m, e, order[i]), TANSY_OK);
  CHECK_EQ(tansy_engine_layers_ready(e), tansy_engine_config(e, TANSY_KEY_LAYERS) + 1);
  free(order);
}

/* every token's logits into out [n, vocab] */
static inline void eval_all(struct tansy_engine *e, const int32_t *ids, size_t n, float *out) {
  uint32_t vocab = tansy_engine_config(e, TANSY_KEY_VOCAB), begin = tansy_engine_position(e);
  CHECK_EQ(tansy_eval_begin(e, ids, n, 1), TANSY_OK);
  for (int left = 1; left;) {
    left = tansy_eval_step(e);
    if (!CHECK(left >= 0)) return;
    if (!tansy_logits_n(e)) continue;
    uint32_t row = tansy_logits_first(e) - begin;
    CHECK(row + tansy_logits_n(e) <= n);
    memcpy(out + (size_t)row * vocab, tansy_logits(e), (size_t)tansy_logits_n(e) * vocab * sizeof *out);
  }
  CHECK_EQ(tansy_engine_position(e), begin + n);
}

enum { N_IDS = 70 };

static inline void make_ids(int32_t *ids, uint32_t vocab) {
  struct test_rng rng = {4};
  for (int i = 0; i < N_IDS; i++) ids[i] = (int32_t)test_rand_below(&rng, vocab);
}

static inline struct tiny_model plain_model(void) {
  struct tiny_options o = tiny_options();
  return tiny_make(&o);
}

#endif
