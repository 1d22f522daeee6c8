/* test_sampler.c: sampler.c against what each step should do. */
#include "base/math.h"
#include "model/sampler.h"
#include "test.h"

enum { VOCAB = 50 };
static uint64_t memory[VOCAB * 2 + 64];

static int32_t pick(const struct tansy_sampler *s, const float *logits, uint32_t n, struct tansy_rng *rng) {
  return tansy_sampler_pick(s, logits, n, NULL, 0, rng, memory);
}

static void test_greedy_ties(void) {
  float logits[5] = {1, 3, 2, 3, 3};
  struct tansy_rng rng = {0};
  CHECK_EQ(pick(&(struct tansy_sampler){0}, logits, 5, &rng), 1);
}

static void test_rng_is_known(void) {
  /* PCG-XSH-RR 64/32 with stream 1442695040888963407, written out */
  struct tansy_rng rng;
  tansy_rng_seed(&rng, 42);
  uint64_t state = 42 + 1442695040888963407ull;
  for (int i = 0; i < 100; i++) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    uint32_t x = (uint32_t)(((state >> 18) ^ state) >> 27), r = (uint32_t)(state >> 59);
    uint32_t expected = r ? (x >> r | x << (32 - r)) : x;
    CHECK_EQ(tansy_rng_next(&rng), expected);
  }
}

/* draws land in the kept set, and as often as softmax says */
static void check_distribution(const struct tansy_sampler *s, const float *logits, uint32_t n, const double *expected) {
  enum { DRAWS = 20000 };
  uint32_t counts[VOCAB] = {0};
  struct tansy_rng rng;
  tansy_rng_seed(&rng, 7);
  for (int i = 0; i < DRAWS; i++) {
    int32_t id = pick(s, logits, n, &rng);
    REQUIRE(id >= 0 && id < (int32_t)n);
    counts[id]++;
  }
  for (uint32_t i = 0; i < n; i++) CHECK_NEAR((double)counts[i] / DRAWS, expected[i], 0.015);
}

static void expect_softmax(const float *logits, uint32_t n, const uint8_t *kept, double temperature, double *out) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += out[i] = kept[i] ? exp((double)logits[i] / temperature) : 0;
  for (uint32_t i = 0; i < n; i++) out[i] /= sum;
}

static void test_filters(void) {
  /* probabilities about .43 .26 .16 .10 .06 at temperature 1, in shuffled places */
  float logits[5] = {-0.5f, 1.0f, 0.0f, 0.5f, -1.0f};
  double expected[5];
  struct {
    struct tansy_sampler s;
    uint8_t kept[5];
  } cases[] = {
      {{.temperature = 1}, {1, 1, 1, 1, 1}},
      {{.temperature = 0.5f}, {1, 1, 1, 1, 1}},
      {{.temperature = 1, .top_k = 2}, {0, 1, 0, 1, 0}},
      {{.temperature = 1, .top_k = 99}, {1, 1, 1, 1, 1}},
      {{.temperature = 1, .top_p = 0.6f}, {0, 1, 0, 1, 0}},
      {{.temperature = 1, .top_p = 0.01f}, {0, 1, 0, 0, 0}},
      {{.temperature = 1, .min_p = 0.3f}, {0, 1, 1, 1, 0}},
      {{.temperature = 2, .top_k = 3, .top_p = 0.95f, .min_p = 0.05f}, {0, 1, 1, 1, 0}},
      /* top-p counts within the top-k: .43 / (.43 + .26) = .62 */
      {{.temperature = 1, .top_k = 2, .top_p = 0.6f}, {0, 1, 0, 0, 0}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    expect_softmax(logits, 5, cases[i].kept, (double)cases[i].s.temperature, expected);
    check_distribution(&cases[i].s, logits, 5, expected);
  }
}

static void test_many(void) {
  /* top-k by a full sort, on many random vocabularies with ties */
  struct test_rng rng = {3};
  for (int round = 0; round < 200; round++) {
    float logits[VOCAB];
    for (int i = 0; i < VOCAB; i++) logits[i] = (float)test_rand_below(&rng, 12);
    uint32_t k = 1 + test_rand_below(&rng, VOCAB);
    struct tansy_rng r;
    tansy_rng_seed(&r, (uint64_t)round);
    int32_t id = pick(&(struct tansy_sampler){.temperature = 3, .top_k = k}, logits, VOCAB, &r);
    REQUIRE(id >= 0);
    uint32_t better = 0;
    for (int i = 0; i < VOCAB; i++) better += logits[i] > logits[id] || (logits[i] == logits[id] && i < id);
    CHECK(better < k);
  }
}

static void test_penalties(void) {
  float logits[4] = {2, -1, 1.5f, 1};
  int32_t history[6] = {1, 0, 0, 3, 0, 1};
  struct tansy_rng rng = {0};
  struct {
    struct tansy_sampler s;
    int32_t expected;
  } cases[] = {
      {{.repeat_penalty = 1.4f, .repeat_last_n = 6}, 2},   /* 2 / 1.4 < 1.5 */
      {{.repeat_penalty = 1.4f, .repeat_last_n = 0}, 0},
      {{.repeat_penalty = 1.4f, .repeat_last_n = 1}, 0},   /* only token 1 is looked at */
      {{.presence_penalty = 0.6f, .repeat_last_n = 6}, 2}, /* once, however often */
      {{.presence_penalty = 0.4f, .repeat_last_n = 6}, 0},
      {{.frequency_penalty = 0.2f, .repeat_last_n = 6}, 2}, /* three times */
      {{.frequency_penalty = 0.2f, .repeat_last_n = 4}, 0}, /* twice: 1.6 */
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    CHECK_EQ(tansy_sampler_pick(&cases[i].s, logits, 4, history, 6, &rng, memory), cases[i].expected);
  }
}

static void test_refusals(void) {
  float logits[3] = {0, 1, 2};
  struct tansy_rng rng = {0};
  CHECK_EQ(pick(&(struct tansy_sampler){.temperature = -1}, logits, 3, &rng), -TANSY_ERR_ARGUMENT);
  CHECK_EQ(pick(&(struct tansy_sampler){.temperature = NAN}, logits, 3, &rng), -TANSY_ERR_ARGUMENT);
  CHECK_EQ(pick(&(struct tansy_sampler){.top_p = 1.5f}, logits, 3, &rng), -TANSY_ERR_ARGUMENT);
  CHECK_EQ(pick(&(struct tansy_sampler){.min_p = NAN}, logits, 3, &rng), -TANSY_ERR_ARGUMENT);
  logits[1] = NAN;
  CHECK_EQ(pick(&(struct tansy_sampler){0}, logits, 3, &rng), -TANSY_ERR_NONFINITE);
  logits[1] = -INFINITY;
  CHECK_EQ(pick(&(struct tansy_sampler){0}, logits, 3, &rng), -TANSY_ERR_NONFINITE);
}

static void test_logprob(void) {
  float logits[3] = {1, 2, 3};
  double sum = exp(1) + exp(2) + exp(3);
  for (int i = 0; i < 3; i++) CHECK_NEAR(tansy_logprob_of(logits, 3, i), (double)logits[i] - log(sum), 1e-6);
}

int main(void) {
  RUN(test_greedy_ties);
  RUN(test_rng_is_known);
  RUN(test_filters);
  RUN(test_many);
  RUN(test_penalties);
  RUN(test_refusals);
  RUN(test_logprob);
  return test_finish();
}
