/* test_engine.c: the engine on tiny random models. One property carries most of it: logits are the same bits whatever the
 * kernels, residency, batch, order of chunks and way of asking. */
#include <math.h>

#include "model/engine.h"
#include "tiny_model.h"

struct run {
  struct tansy_engine *e;
  void *arena;
  size_t arena_nbytes;
  struct tansy_plan plan;
};

/* an arena of exactly the planned size, so that a sanitizer sees the first byte beyond; filled with rubbish */
static struct run start(const struct tiny_model *m, struct tansy_options options) {
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

static enum tansy_status load_chunk(const struct tiny_model *m, struct tansy_engine *e, uint32_t i) {
  void *slot = tansy_chunk_begin(e, i);
  if (!slot) return TANSY_ERR_ARGUMENT;
  memcpy(slot, m->file.bytes + tansy_chunk_offset(e, i), tansy_chunk_nbytes(e, i));
  return tansy_chunk_end(e, i);
}

static void load(const struct tiny_model *m, struct tansy_engine *e, uint64_t shuffle) {
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
static void eval_all(struct tansy_engine *e, const int32_t *ids, size_t n, float *out) {
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

static void make_ids(int32_t *ids, uint32_t vocab) {
  struct test_rng rng = {4};
  for (int i = 0; i < N_IDS; i++) ids[i] = (int32_t)test_rand_below(&rng, vocab);
}

/* same logits from this model, however it is run */
static void check_model(const struct tiny_options *o, const char *name) {
  struct tiny_model m = tiny_make(o);
  uint32_t vocab = o->config.vocab;
  size_t nbytes = (size_t)N_IDS * vocab * sizeof(float);
  float *expected = test_alloc(nbytes), *got = test_alloc(nbytes);
  int32_t ids[N_IDS];
  make_ids(ids, vocab);
  struct run r = start(&m, (struct tansy_options){.kernels = TANSY_KERNELS_REF, .max_batch = 1});
  load(&m, r.e, 0);
  eval_all(r.e, ids, N_IDS, expected);
  double spread = 0;
  for (size_t i = 0; i < (size_t)N_IDS * vocab; i++) {
    CHECK(expected[i] - expected[i] == 0);
    spread += fabs((double)expected[i] - (double)expected[i % vocab]);
  }
  CHECK(spread > 0.1); /* logits depend on the position */
  free(r.arena);

  struct tansy_options variants[] = {
      {.kernels = TANSY_KERNELS_REF, .max_batch = 32, .n_logits = 7},
#if defined(TANSY_HAVE_SIMD128)
      {.kernels = TANSY_KERNELS_SIMD128, .max_batch = 1},
      {.kernels = TANSY_KERNELS_SIMD128, .max_batch = 32, .n_logits = 32},
      {.kernels = TANSY_KERNELS_SIMD128, .residency = TANSY_RESIDENCY_PACKED, .max_batch = 5, .n_logits = 2},
      {.kernels = TANSY_KERNELS_SIMD128, .residency = TANSY_RESIDENCY_INT8, .max_batch = 256, .n_logits = 32},
#endif
#if defined(TANSY_HAVE_RELAXED)
      {.kernels = TANSY_KERNELS_RELAXED},
      {.kernels = TANSY_KERNELS_RELAXED, .residency = TANSY_RESIDENCY_PACKED, .n_logits = 3},
      {.kernels = TANSY_KERNELS_RELAXED, .residency = TANSY_RESIDENCY_INT8, .max_batch = 3},
#endif
      {.kernels = TANSY_KERNELS_REF, .residency = TANSY_RESIDENCY_PACKED, .max_batch = 16, .n_staging = 1},
      {.kernels = TANSY_KERNELS_REF, .residency = TANSY_RESIDENCY_INT8, .max_batch = 16},
  };
  for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
    memset(got, 0, nbytes);
    r = start(&m, variants[i]);
    load(&m, r.e, i * 17);
    eval_all(r.e, ids, N_IDS, got);
    if (!CHECK_MEM(got, expected, nbytes)) fprintf(stderr, "    model %s, variant %d\n", name, (int)i);
    struct tansy_stats stats;
    tansy_engine_stats(r.e, &stats);
    CHECK_EQ(stats.n_packed, r.plan.n_packed); /* nothing that was promised fell back to ANS */
    CHECK_EQ(stats.n_int8, r.plan.n_int8);
    free(r.arena);
  }
  free(expected);
  free(got);
  tiny_free(&m);
}

static void test_same_bits(void) {
  struct tiny_options o = tiny_options();
  o.n_attachments = 2;
  check_model(&o, "llama");
  for (int raw_bits = 0; raw_bits <= 4; raw_bits++) { /* every width, several tiles a matrix */
    o.raw_bits = raw_bits;
    o.sigma = 1.3 * (1 << raw_bits);
    o.tile_n_rows = 4 << raw_bits % 3;
    o.row_scale = (uint32_t)raw_bits % 3;
    o.vector_kind = (uint32_t)raw_bits % 3;
    check_model(&o, "raw bits");
  }
  o = tiny_options();
  o.sigma = 40; /* escapes everywhere */
  o.raw_bits = 1;
  check_model(&o, "escapes");
}

/* every switch of the config, alone and together */
static void test_architectures(void) {
  for (int which = 0; which < 9; which++) {
    struct tiny_options o = tiny_options();
    struct tansy_config *c = &o.config;
    o.with_optional = which >= 2;
    o.seed = (uint64_t)which + 100;
    static const char *const names[] = {"untied", "gpt2", "opt", "qwen3", "gemma2", "gemma3", "phi3", "smollm3", "gelu"};
    if (which == 0) c->tied = 0;
    if (which == 1 || which == 2) {
      c->norm_kind = TANSY_NORM_LAYER;
      c->mlp_kind = TANSY_MLP_PLAIN;
      c->activation = which == 1 ? TANSY_ACT_GELU_TANH : TANSY_ACT_RELU;
      c->rope_dim = 0;
      c->n_kv_heads = c->n_heads;
      c->position_offset = which == 2 ? 2 : 0;
      o.with_optional = 1;
    }
    if (which == 3) c->qk_norm = 1;
    if (which == 4) {
      c->attn_softcap = 5;
      c->logit_softcap = 3;
      c->window = 12;
      c->window_period = 2;
      c->embed_scale = 6.5f;
    }
    if (which == 5) {
      c->window = 9;
      c->window_period = 3;
      c->qk_norm = 1;
      c->n_layers = 3;
    }
    if (which == 6) {
      c->rope_dim = 8;
      c->rope_attn_factor = 1.2f;
      c->window = 20;
    }
    if (which == 7) {
      c->nope_period = 2;
      c->n_layers = 4;
    }
    if (which == 8) c->activation = TANSY_ACT_GELU_ERF;
    check_model(&o, names[which]);
  }
}

static struct tiny_model plain_model(void) {
  struct tiny_options o = tiny_options();
  return tiny_make(&o);
}

static void test_cancel_and_rewind(void) {
  struct tiny_model m = plain_model();
  enum { VOCAB = 96 };
  static float expected[N_IDS * VOCAB], got[N_IDS * VOCAB];
  int32_t ids[N_IDS];
  make_ids(ids, VOCAB);
  struct run r = start(&m, (struct tansy_options){.max_batch = 8});
  load(&m, r.e, 0);
  eval_all(r.e, ids, N_IDS, expected);

  /* again from the start, in uneven pieces, with an evaluation given up after every number of steps */
  CHECK_EQ(tansy_engine_rewind(r.e, 0), TANSY_OK);
  CHECK_EQ(tansy_logits_n(r.e), 0);
  struct test_rng rng = {8};
  for (uint32_t at = 0; at < N_IDS;) {
    uint32_t left = N_IDS - at, n = 1 + test_rand_below(&rng, left < 20 ? left : 20);
    int32_t other[20];
    for (int i = 0; i < 20; i++) other[i] = (int32_t)test_rand_below(&rng, VOCAB);
    CHECK_EQ(tansy_eval_begin(r.e, other, n, 0), TANSY_OK);
    for (uint32_t steps = test_rand_below(&rng, 6); steps > 0 && tansy_eval_step(r.e) == 1;) steps--;
    tansy_eval_cancel(r.e);
    CHECK_EQ(tansy_engine_rewind(r.e, at), TANSY_OK); /* it may have been done before it was cancelled */
    CHECK_EQ(tansy_engine_position(r.e), at);
    eval_all(r.e, ids + at, n, got + at * VOCAB);
    at += n;
  }
  CHECK_MEM(got, expected, sizeof expected);
  CHECK_MEM(tansy_engine_tokens(r.e), ids, sizeof ids);

  /* only the last token's logits */
  CHECK_EQ(tansy_engine_rewind(r.e, 30), TANSY_OK);
  CHECK_EQ(tansy_eval_begin(r.e, ids + 30, 11, 0), TANSY_OK);
  int left;
  while ((left = tansy_eval_step(r.e)) == 1) CHECK_EQ(tansy_logits_n(r.e), 0);
  CHECK_EQ(left, 0);
  CHECK_EQ(tansy_logits_n(r.e), 1);
  CHECK_EQ(tansy_logits_first(r.e), 40);
  CHECK_MEM(tansy_logits(r.e), expected + 40 * VOCAB, VOCAB * sizeof(float));
  free(r.arena);
  tiny_free(&m);
}

/* guesses after the first tokens: those kept are as if only they had been evaluated */
static void test_keep(void) {
  struct tiny_model m = plain_model();
  enum { VOCAB = 96 };
  static float expected[N_IDS * VOCAB], got[N_IDS * VOCAB];
  int32_t ids[N_IDS], drafted[12];
  make_ids(ids, VOCAB);
  struct run r = start(&m, (struct tansy_options){.max_batch = 8});
  load(&m, r.e, 0);
  eval_all(r.e, ids, N_IDS, expected);
  CHECK_EQ(tansy_eval_keep(r.e, 0), TANSY_ERR_ARGUMENT); /* nothing is under way */
  for (uint32_t n_right = 1; n_right <= 11; n_right++) {
    CHECK_EQ(tansy_engine_rewind(r.e, 5), TANSY_OK);
    for (uint32_t i = 0; i < 12; i++) drafted[i] = i < n_right ? ids[5 + i] : (ids[5 + i] + 1) % VOCAB;
    CHECK_EQ(tansy_eval_begin(r.e, drafted, 12, 1), TANSY_OK);
    CHECK_EQ(tansy_eval_step(r.e), 1);
    CHECK_EQ(tansy_eval_keep(r.e, 1), TANSY_ERR_ARGUMENT); /* a layer is missing */
    CHECK_EQ(tansy_engine_sample(r.e, &(struct tansy_sampler){0}), -TANSY_ERR_NOT_READY);
    for (uint32_t n_rows = 0; n_rows < n_right;) {
      CHECK_EQ(tansy_eval_step(r.e), 1);
      for (uint32_t i = 0; i < tansy_logits_n(r.e); i++, n_rows++)
        CHECK_MEM(tansy_logits(r.e) + i * VOCAB, expected + (5 + n_rows) * VOCAB, VOCAB * sizeof(float));
      if (tansy_logits_n(r.e)) CHECK(tansy_engine_sample(r.e, &(struct tansy_sampler){.temperature = 1, .repeat_penalty = 2, .repeat_last_n = 9}) >= 0);
    }
    CHECK_EQ(tansy_eval_keep(r.e, n_right <= 8 ? 9 : 13), TANSY_ERR_ARGUMENT);
    CHECK_EQ(tansy_eval_keep(r.e, n_right), TANSY_OK);
    CHECK_EQ(tansy_engine_position(r.e), 5 + n_right);
    eval_all(r.e, ids + 5 + n_right, N_IDS - 5 - n_right, got);
    CHECK_MEM(got, expected + (5 + n_right) * VOCAB, (N_IDS - 5 - n_right) * VOCAB * sizeof(float));
  }
  free(r.arena);
  tiny_free(&m);
}

/* a conversation moves to an engine of another context, residency and batch, and goes on as if nothing had been */
static void test_sessions(void) {
  struct tiny_model m = plain_model();
  enum { VOCAB = 96, MOVED = 33 };
  static float expected[N_IDS * VOCAB], got[N_IDS * VOCAB];
  int32_t ids[N_IDS];
  make_ids(ids, VOCAB);
  for (uint32_t kv_form = TANSY_KV_INT8; kv_form <= TANSY_KV_F16; kv_form++) {
    struct run a = start(&m, (struct tansy_options){.kv_form = kv_form});
    struct run b = start(&m, (struct tansy_options){.kv_form = kv_form, .context = 71, .residency = TANSY_RESIDENCY_INT8, .max_batch = 3});
    load(&m, a.e, 0);
    load(&m, b.e, 0);
    eval_all(a.e, ids, N_IDS, expected);
    tansy_engine_seed(a.e, 77);
    uint32_t n = tansy_session_n(a.e);
    CHECK_EQ(n, tansy_session_n(b.e));
    size_t total = 0;
    for (uint32_t i = 0; i < n; i++) {
      size_t from_nbytes, to_nbytes;
      void *from = tansy_session_piece(a.e, i, MOVED, &from_nbytes), *to = tansy_session_piece(b.e, i, MOVED, &to_nbytes);
      CHECK_EQ(from_nbytes, to_nbytes);
      REQUIRE(from && to);
      memcpy(to, from, from_nbytes);
      total += from_nbytes;
    }
    /* the sampler's state, ids, and for 2 layers, K and V, 2 heads: 12 values and a scale */
    CHECK_EQ(total, 8 + MOVED * (4 + 2 * 2 * 2 * (kv_form == TANSY_KV_F32 ? 12 * 4 : kv_form == TANSY_KV_F16 ? 12 * 2 : 12 + 4)));
    CHECK_EQ(tansy_session_restore(b.e, MOVED), TANSY_OK);
    CHECK_EQ(tansy_engine_position(b.e), MOVED);
    eval_all(b.e, ids + MOVED, N_IDS - MOVED, got + MOVED * VOCAB);
    CHECK_MEM(got + MOVED * VOCAB, expected + MOVED * VOCAB, (N_IDS - MOVED) * VOCAB * sizeof(float));
    const struct tansy_sampler lively = {.temperature = 3};
    for (int i = 0; i < 8; i++) CHECK_EQ(tansy_engine_sample(b.e, &lively), tansy_engine_sample(a.e, &lively));
    size_t nbytes;
    uint8_t *piece = tansy_session_piece(b.e, kv_form == TANSY_KV_INT8 ? 4 : 2, 5, &nbytes);
    const uint8_t *infinity = kv_form == TANSY_KV_F16 ? (const uint8_t *)&(uint16_t){0x7c00} : (const uint8_t *)&(float){INFINITY};
    uint8_t *last = piece + nbytes / 5 * 4, kept[4];
    size_t value_nbytes = kv_form == TANSY_KV_F16 ? 2 : 4;
    memcpy(kept, last, value_nbytes);
    memcpy(last, infinity, value_nbytes); /* of the fifth token */
    CHECK_EQ(tansy_session_restore(b.e, 5), TANSY_ERR_CORRUPT);
    CHECK_EQ(tansy_session_restore(b.e, 4), TANSY_OK);
    memcpy(last, kept, value_nbytes);
    CHECK_EQ(tansy_session_restore(b.e, 5), TANSY_OK);
    CHECK(tansy_session_piece(b.e, n, 1, &nbytes) == NULL);
    CHECK(tansy_session_piece(b.e, 0, 72, &nbytes) == NULL);
    CHECK_EQ(tansy_session_restore(b.e, 72), TANSY_ERR_CONTEXT);
    *(int32_t *)tansy_session_piece(b.e, 0, 1, &nbytes) = VOCAB;
    CHECK_EQ(tansy_session_restore(b.e, 1), TANSY_ERR_CORRUPT);
    free(a.arena);
    free(b.arena);
  }
  tiny_free(&m);
}

/* The KV cache in an arena that grows: the same logits as in a whole one, through random appends, rewinds and cancelled calls; not a
 * byte beyond the arena is touched. */
static void test_growing_cache(void) {
  enum { VOCAB = 96, CONTEXT = 700, MOST = 120 };
  struct tiny_options o = tiny_options();
  o.config.context = 1000;
  struct tiny_model m = tiny_make(&o);
  static float expected[MOST * VOCAB], got[MOST * VOCAB];
  struct test_rng rng = {31};
  for (uint32_t kv_form = TANSY_KV_INT8; kv_form <= TANSY_KV_F16; kv_form++) {
    struct tansy_options options = {.kv_form = kv_form, .context = CONTEXT, .n_logits = 32};
    struct run whole = start(&m, options), grown = whole;
    load(&m, whole.e, 0);
    size_t now = (size_t)tansy_engine_arena_nbytes(whole.e, 0), next;
    CHECK_EQ(tansy_engine_arena_nbytes(whole.e, 1), now);
    CHECK_EQ(tansy_engine_arena_nbytes(whole.e, 64), now);
    CHECK(tansy_engine_arena_nbytes(whole.e, 65) > now);
    CHECK_EQ(tansy_engine_arena_nbytes(whole.e, 5000), whole.arena_nbytes);
    CHECK(whole.plan.start_nbytes < whole.plan.total_nbytes && whole.plan.start_nbytes >= (double)now);
    grown.arena = test_alloc(grown.arena_nbytes);
    memset(grown.arena, 0xA5, grown.arena_nbytes);
    CHECK_EQ(tansy_engine_create(m.file.bytes, m.header_nbytes, &options, grown.arena, now - 1, &grown.e), TANSY_ERR_OVER_BUDGET);
    CHECK_EQ(tansy_engine_create(m.file.bytes, m.header_nbytes, &options, grown.arena, now, &grown.e), TANSY_OK);
    load(&m, grown.e, 0);
    uint32_t n_grown = 0;
    for (int round = 0; round < 24; round++) {
      uint32_t position = tansy_engine_position(whole.e), n = 1 + test_rand_below(&rng, MOST);
      if (position + n > CONTEXT || test_rand_below(&rng, 10) == 0) {
        position = test_rand_below(&rng, position + 1);
        CHECK_EQ(tansy_engine_rewind(whole.e, position), TANSY_OK);
        CHECK_EQ(tansy_engine_rewind(grown.e, position), TANSY_OK);
        if (position + n > CONTEXT) n = CONTEXT - position;
      }
      if (n == 0) continue;
      int32_t ids[MOST];
      for (uint32_t i = 0; i < n; i++) ids[i] = (int32_t)test_rand_below(&rng, VOCAB);
      while (tansy_engine_arena_nbytes(grown.e, position + n) > now) {
        CHECK_EQ(tansy_eval_begin(grown.e, ids, n, 1), TANSY_ERR_NO_MEMORY);
        CHECK_NEAR(tansy_engine_detail(grown.e)->needed_nbytes, tansy_engine_arena_nbytes(grown.e, position + n), 0);
        next = (size_t)tansy_engine_arena_nbytes(grown.e, position + n);
        CHECK_EQ(tansy_engine_grow(grown.e, next - 1), TANSY_OK); /* not enough for the last block */
        CHECK_EQ(tansy_eval_begin(grown.e, ids, n, 1), TANSY_ERR_NO_MEMORY);
        for (size_t i = now; i < next; i++) {
          if (((uint8_t *)grown.arena)[i] != 0xA5) CHECK_EQ(i, 0);
        }
        CHECK_EQ(tansy_engine_grow(grown.e, next), TANSY_OK);
        now = next, n_grown++;
      }
      if (test_rand_below(&rng, 4) == 0) {
        CHECK_EQ(tansy_eval_begin(grown.e, ids, n, 0), TANSY_OK);
        CHECK_EQ(tansy_engine_grow(grown.e, grown.arena_nbytes), TANSY_ERR_ARGUMENT);
        CHECK_EQ(tansy_eval_step(grown.e), 1);
        tansy_eval_cancel(grown.e);
      }
      eval_all(whole.e, ids, n, expected);
      eval_all(grown.e, ids, n, got);
      if (!CHECK_MEM(got, expected, n * VOCAB * sizeof(float))) break;
    }
    CHECK(n_grown >= 4);
    CHECK_EQ(tansy_engine_grow(grown.e, now / 2), TANSY_ERR_ARGUMENT);
    struct tansy_stats a, b;
    tansy_engine_stats(whole.e, &a);
    tansy_engine_stats(grown.e, &b);
    CHECK_NEAR(a.kv_nbytes, b.kv_nbytes, 0);
    free(whole.arena);
    free(grown.arena);
  }
  tiny_free(&m);
}

/* A prompt of several batches while chunks come one by one: when the last one is there, every batch has only the last layer and the
 * head left; with less room than that, what did not fit comes after. The same logits in any case. */
static void test_early_prompts(void) {
  enum { VOCAB = 96, N = 150, BATCH = 8, N_LAYERS = 5 };
  struct tiny_options o = tiny_options();
  o.config.n_layers = N_LAYERS;
  o.config.context = 400;
  struct tiny_model m = tiny_make(&o);
  struct test_rng rng = {12};
  int32_t ids[N];
  for (int i = 0; i < N; i++) ids[i] = (int32_t)test_rand_below(&rng, VOCAB);
  const struct tansy_options options = {.max_batch = BATCH};
  struct run r = start(&m, options);
  load(&m, r.e, 0);
  static float expected[VOCAB];
  CHECK_EQ(tansy_eval_begin(r.e, ids, N, 0), TANSY_OK);
  uint32_t n_all = 1;
  while (tansy_eval_step(r.e) == 1) n_all++;
  memcpy(expected, tansy_logits(r.e), sizeof expected);
  free(r.arena);
  size_t row_nbytes = o.config.hidden * sizeof(float);
  for (uint32_t n_rows = 0; n_rows <= N; n_rows += n_rows < 24 ? 4 : 42) { /* … 24, 66, 108, 150 */
    r = start(&m, options);
    size_t needed = (size_t)tansy_engine_arena_nbytes(r.e, N);
    memset(r.arena, 0xA5, r.arena_nbytes);
    CHECK_EQ(tansy_engine_create(m.file.bytes, m.header_nbytes, &options, r.arena, needed + n_rows * row_nbytes, &r.e), TANSY_OK);
    uint32_t n_before = 0, n_after = 0, n_chunks = tansy_engine_n_chunks(r.e);
    CHECK_EQ(tansy_eval_begin(r.e, ids, N, 0), TANSY_OK);
    for (uint32_t i = 0; i + 1 < n_chunks; i++) {
      CHECK_EQ(load_chunk(&m, r.e, i), TANSY_OK);
      int result;
      while ((result = tansy_eval_step(r.e)) == 1) n_before++;
      CHECK_EQ(result, -TANSY_ERR_NOT_READY);
    }
    for (size_t i = needed + n_rows * row_nbytes; i < r.arena_nbytes; i++) {
      if (((uint8_t *)r.arena)[i] != 0xA5) CHECK_EQ(i, 0);
    }
    CHECK_EQ(load_chunk(&m, r.e, n_chunks - 1), TANSY_OK);
    int result;
    while ((result = tansy_eval_step(r.e)) == 1) n_after++;
    CHECK_EQ(result, 0);
    CHECK_MEM(tansy_logits(r.e), expected, sizeof expected);
    CHECK_EQ(tansy_engine_position(r.e), N);
    uint32_t n_batches = (N + BATCH - 1) / BATCH, n_first = n_rows == N ? n_batches : n_rows / BATCH < 2 ? 1 : n_rows / BATCH;
    CHECK(n_before >= (N_LAYERS - 1) * n_first);
    CHECK(n_after <= n_first + (N_LAYERS + 1) * (n_batches - n_first));
    CHECK(n_before + n_after + 1 <= n_all);
    free(r.arena);
  }
  tiny_free(&m);
}

static void test_probe(void) {
  struct tiny_model m = plain_model();
  struct run r = start(&m, (struct tansy_options){0});
  CHECK_EQ(tansy_engine_probe(r.e, TANSY_FORM_ANS, 1), 0); /* nothing is loaded */
  load(&m, r.e, 0);
  for (uint32_t form = TANSY_FORM_ANS; form <= TANSY_FORM_INT8; form++) CHECK_EQ(tansy_engine_probe(r.e, form, 2), 48 * 100);
  CHECK_EQ(tansy_engine_probe(r.e, 4, 1), 0);
  /* a layer alone, for every token but one that has no room; the conversation is as before */
  static float expected[N_IDS * 96], got[N_IDS * 96];
  int32_t ids[N_IDS];
  make_ids(ids, 96);
  eval_all(r.e, ids, N_IDS, expected);
  CHECK_EQ(tansy_engine_rewind(r.e, 30), TANSY_OK);
  CHECK_EQ(tansy_engine_probe(r.e, TANSY_PROBE_LAYER, 3), 1);
  eval_all(r.e, ids + 30, N_IDS - 30, got);
  CHECK_MEM(got, expected + 30 * 96, (N_IDS - 30) * 96 * sizeof *got);
  CHECK_EQ(tansy_eval_begin(r.e, ids, 1, 0), TANSY_OK);
  CHECK_EQ(tansy_engine_probe(r.e, TANSY_PROBE_LAYER, 1), 0);
  tansy_eval_cancel(r.e);
  free(r.arena);
  r = start(&m, (struct tansy_options){.residency = TANSY_RESIDENCY_PACKED});
  load(&m, r.e, 0);
  CHECK_EQ(tansy_engine_probe(r.e, TANSY_FORM_PACKED, 2), 48 * 100);
  CHECK_EQ(tansy_engine_probe(r.e, TANSY_FORM_ANS, 2), 0); /* no matrix is ANS-coded */
  free(r.arena);
  tiny_free(&m);
}

static void test_refusals(void) {
  struct tiny_model m = plain_model();
  struct run r = start(&m, (struct tansy_options){.context = 20});
  int32_t ids[21] = {0};
  CHECK_EQ(tansy_eval_step(r.e), -TANSY_ERR_ARGUMENT); /* nothing begun */
  CHECK_EQ(tansy_eval_begin(r.e, ids, 1, 0), TANSY_OK);
  CHECK_EQ(tansy_eval_step(r.e), -TANSY_ERR_NOT_READY); /* nothing loaded; not fatal */
  CHECK_EQ(tansy_engine_sample(r.e, &(struct tansy_sampler){0}), -TANSY_ERR_NOT_READY);
  tansy_eval_cancel(r.e);
  load(&m, r.e, 0);
  CHECK_EQ(tansy_eval_begin(r.e, ids, 21, 0), TANSY_ERR_CONTEXT);
  CHECK_NEAR(tansy_engine_detail(r.e)->needed_nbytes, 20, 0);
  CHECK_EQ(tansy_eval_begin(r.e, ids, 0, 0), TANSY_ERR_ARGUMENT);
  ids[3] = 96;
  CHECK_EQ(tansy_eval_begin(r.e, ids, 5, 0), TANSY_ERR_ARGUMENT);
  ids[3] = -1;
  CHECK_EQ(tansy_eval_begin(r.e, ids, 5, 0), TANSY_ERR_ARGUMENT);
  ids[3] = 95;
  CHECK_EQ(tansy_eval_begin(r.e, ids, 20, 0), TANSY_OK);
  CHECK_EQ(tansy_eval_begin(r.e, ids, 1, 0), TANSY_ERR_ARGUMENT); /* one is under way */
  while (tansy_eval_step(r.e) == 1) {}
  CHECK_EQ(tansy_eval_begin(r.e, ids, 1, 0), TANSY_ERR_CONTEXT);
  CHECK_EQ(tansy_engine_rewind(r.e, 21), TANSY_ERR_ARGUMENT);
  free(r.arena);

  /* an arena that is too small */
  void *arena = test_alloc((size_t)r.plan.arena_nbytes);
  struct tansy_engine *e;
  struct tansy_options options = {.context = 20};
  for (size_t less = 1; less < (size_t)r.plan.arena_nbytes; less = less * 3) {
    CHECK(tansy_engine_create(m.file.bytes, m.header_nbytes, &options, arena, (size_t)r.plan.arena_nbytes - less, &e) != TANSY_OK);
  }
  free(arena);
  tiny_free(&m);
}

static void test_chunks(void) {
  struct tiny_model m = plain_model();
  struct run r = start(&m, (struct tansy_options){.n_staging = 2});
  uint32_t n = tansy_engine_n_chunks(r.e);
  REQUIRE(n >= 4);
  CHECK(tansy_chunk_begin(r.e, n) == NULL);
  uint8_t *a = tansy_chunk_begin(r.e, 1), *b = tansy_chunk_begin(r.e, 3);
  CHECK(a && b && a != b);
  CHECK(tansy_chunk_begin(r.e, 0) == NULL); /* no slot free */
  CHECK(tansy_chunk_begin(r.e, 1) == NULL);
  CHECK_EQ(tansy_chunk_state(r.e, 1), 1);
  CHECK_EQ(tansy_chunk_state(r.e, 0), 2);
  tansy_chunk_abort(r.e, 3);
  CHECK_EQ(tansy_chunk_state(r.e, 3), 2);
  /* one wrong bit: refused, and the chunk can be fetched again */
  memcpy(a, m.file.bytes + tansy_chunk_offset(r.e, 1), tansy_chunk_nbytes(r.e, 1));
  a[777] ^= 4;
  CHECK_EQ(tansy_chunk_end(r.e, 1), TANSY_ERR_CHECKSUM);
  CHECK_NEAR(tansy_engine_detail(r.e)->offset, (double)tansy_chunk_offset(r.e, 1), 0);
  CHECK_EQ(tansy_chunk_end(r.e, 1), TANSY_ERR_ARGUMENT); /* not in flight */
  CHECK_EQ(tansy_chunk_state(r.e, 1), 2);
  /* in file order, layers become ready one after another, and run as soon as they are */
  int32_t id = 5;
  CHECK_EQ(tansy_eval_begin(r.e, &id, 1, 0), TANSY_OK);
  uint32_t ready = 0, n_layers = tansy_engine_config(r.e, TANSY_KEY_LAYERS), n_run = 0;
  for (uint32_t i = 0; i < n; i++) {
    CHECK_EQ(load_chunk(&m, r.e, i), TANSY_OK);
    CHECK(load_chunk(&m, r.e, i) != TANSY_OK); /* loaded already */
    uint32_t now = tansy_engine_layers_ready(r.e);
    CHECK(now >= ready);
    ready = now;
    while (n_run < (ready < n_layers ? ready : n_layers)) {
      CHECK_EQ(tansy_eval_step(r.e), 1);
      n_run++;
    }
    if (i + 1 < n) CHECK_EQ(tansy_eval_step(r.e), -TANSY_ERR_NOT_READY);
  }
  CHECK_EQ(tansy_eval_step(r.e), 0);
  struct tansy_stats stats;
  tansy_engine_stats(r.e, &stats);
  CHECK_NEAR(stats.loaded_nbytes, stats.payload_nbytes, 0);
  free(r.arena);
  tiny_free(&m);
}

/* chunks whose checksums are right but whose tensors lie: no access outside, and a status */
static void test_hostile_payload(void) {
  struct test_rng rng = {21};
  uint32_t n_refused = 0, n_run = 0;
  for (int round = 0; round < 300; round++) {
    struct tiny_options o = tiny_options();
    o.config.n_layers = 1;
    o.seed = 1 + (uint64_t)round % 5;
    o.tile_n_rows = round % 2 ? 8 : 0;
    struct tiny_model m = tiny_make(&o);
    struct tansy_index index;
    uint32_t failed;
    CHECK_EQ(tansy_index_open(m.file.bytes, m.header_nbytes, &index, &failed), TANSY_OK);
    /* edits, most of them where heads and scales are */
    struct tansy_index_walk walk = tansy_index_tensor_walk(&index);
    uint32_t target = test_rand_below(&rng, index.n_tensors);
    for (uint32_t i = 0; i < index.n_tensors; i++) {
      struct tansy_record t;
      tansy_index_next_tensor(&walk, &t);
      if (i != target) continue;
      for (int k = 0; k < 3; k++) {
        uint32_t span = t.kind == TANSY_KIND_CODED && test_rand_below(&rng, 4) ? 4 + t.shape.head_nbytes : t.nbytes;
        m.file.bytes[index.payload_offset + t.offset + test_rand_below(&rng, span)] ^= (uint8_t)(1 << test_rand_below(&rng, 8));
      }
    }
    for (uint32_t i = 0; i < index.n_chunks; i++) {
      uint32_t crc = tansy_crc32_small(m.file.bytes + index.payload_offset + ((size_t)i << index.chunk_log2), tansy_index_chunk_nbytes(&index, i));
      for (int k = 0; k < 4; k++) ((uint8_t *)index.chunk_crcs)[4 * i + (uint32_t)k] = (uint8_t)(crc >> 8 * k);
    }
    tiny_seal(&m);
    struct run r = start(&m, (struct tansy_options){.residency = (uint32_t)round % 4});
    enum tansy_status status = TANSY_OK;
    for (uint32_t i = 0; i < index.n_chunks && status == TANSY_OK; i++) status = load_chunk(&m, r.e, i);
    if (status == TANSY_OK) {
      int32_t ids[3] = {1, 2, 3};
      CHECK_EQ(tansy_eval_begin(r.e, ids, 3, 0), TANSY_OK);
      while (tansy_eval_step(r.e) == 1) {}
      tansy_engine_sample(r.e, &(struct tansy_sampler){.temperature = 1, .top_k = 5});
      n_run++;
    } else {
      CHECK(status == TANSY_ERR_CORRUPT || status == TANSY_ERR_NONFINITE || status == TANSY_ERR_UNSUPPORTED || status == TANSY_ERR_TRUNCATED);
      CHECK_EQ(tansy_engine_detail(r.e)->tensor, target);
      CHECK(tansy_eval_begin(r.e, (int32_t[]){1}, 1, 0) != TANSY_OK || tansy_eval_step(r.e) < 0);
      n_refused++;
    }
    free(r.arena);
    tiny_free(&m);
  }
  CHECK(n_refused > 10 && n_run > 10);
}

static void test_wrong_models(void) {
  struct tiny_options o = tiny_options();
  struct tiny_model m = tiny_make(&o);
  /* the config says another hidden size than the tensors have */
  struct tansy_plan plan;
  size_t work_nbytes = tansy_plan_work_nbytes(m.file.bytes, m.header_nbytes);
  void *work = test_alloc(work_nbytes);
  uint8_t *key = memchr(m.file.bytes + m.index_at + 26, TANSY_KEY_HIDDEN, 60);
  while (key && key[1] != 48) key = memchr(key + 1, TANSY_KEY_HIDDEN, 60);
  REQUIRE(key != NULL);
  key[1] = 44;
  tiny_seal(&m);
  CHECK_EQ(tansy_plan_make(m.file.bytes, m.header_nbytes, &(struct tansy_options){0}, work, work_nbytes, &plan), TANSY_ERR_SHAPE);
  CHECK_EQ(plan.detail.tensor, 0);
  CHECK_EQ(plan.detail.n_cols, 48);
  CHECK_EQ(plan.detail.expected_n_cols, 44);
  CHECK_EQ(plan.detail.role, TANSY_ROLE_EMBED);
  free(work);
  tiny_free(&m);
}

int main(void) {
  RUN(test_same_bits);
  RUN(test_architectures);
  RUN(test_cancel_and_rewind);
  RUN(test_keep);
  RUN(test_sessions);
  RUN(test_growing_cache);
  RUN(test_early_prompts);
  RUN(test_probe);
  RUN(test_refusals);
  RUN(test_chunks);
  RUN(test_hostile_payload);
  RUN(test_wrong_models);
  return test_finish();
}
