/* test_engine.c: the engine on tiny random models. One property carries most of it: logits are the same bits whatever the
 * kernels, residency, batch, order of chunks and way of asking. */
#include "tiny_engine.h"

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
  RUN(test_early_prompts);
  RUN(test_probe);
  RUN(test_refusals);
  RUN(test_chunks);
  RUN(test_hostile_payload);
  RUN(test_wrong_models);
  return test_finish();
}
