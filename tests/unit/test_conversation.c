/* test_conversation.c: what an engine keeps of a conversation, and how it grows: cancelled and rewound, guesses kept, sessions, the KV
 * cache. Logits are the same bits as if nothing had been. */
#include "tiny_engine.h"

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

int main(void) {
  RUN(test_cancel_and_rewind);
  RUN(test_keep);
  RUN(test_sessions);
  RUN(test_growing_cache);
  return test_finish();
}
