/* sampler.c: see sampler.h. Order of the steps, as in llama.cpp: penalties, top-k, top-p, min-p, temperature.
 *
 * Candidates are a heap ordered by (logit descending, id ascending); taking the best one off yields them sorted, so that the
 * cut-offs stop as soon as they have enough and nothing sorts the whole vocabulary. */
#include "model/sampler.h"

#include <stdbool.h>

#include "base/math.h"

void tansy_rng_seed(struct tansy_rng *rng, uint64_t seed) {
  rng->state = seed + 1442695040888963407u;
  tansy_rng_next(rng);
}

uint32_t tansy_rng_next(struct tansy_rng *rng) {
  uint64_t old = rng->state;
  rng->state = old * 6364136223846793005u + 1442695040888963407u;
  uint32_t mixed = (uint32_t)((old >> 18 ^ old) >> 27), turn = (uint32_t)(old >> 59);
  return mixed >> turn | mixed << (-turn & 31);
}

static float absolute(float x) { return x < 0 ? -x : x; }

/* uniform in [0, 1), 53 bits */
static double next_unit(struct tansy_rng *rng) {
  uint64_t hi = tansy_rng_next(rng), lo = tansy_rng_next(rng);
  return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

/* ---- penalties ---- */

static void sift_token(int32_t *a, uint32_t n, uint32_t i) {
  for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && a[child + 1] > a[child]) child++;
    if (a[i] >= a[child]) return;
    int32_t swapped = a[i];
    a[i] = a[child];
    a[child] = swapped;
  }
}

static void sort_tokens(int32_t *a, uint32_t n) {
  for (uint32_t i = n / 2; i-- > 0;) sift_token(a, n, i);
  for (uint32_t end = n; end-- > 1;) {
    int32_t swapped = a[0];
    a[0] = a[end];
    a[end] = swapped;
    sift_token(a, end, 0);
  }
}

/* Repeat: a seen token's logit is divided by the penalty (multiplied when negative); frequency is subtracted once for every
 * time it was seen, presence once. */
static void penalize(const struct tansy_sampler *s, struct tansy_candidate *c, uint32_t vocab, const int32_t *history, uint32_t n_history,
                     int32_t *sorted) {
  float repeat = s->repeat_penalty == 0 ? 1 : s->repeat_penalty;
  uint32_t n = s->repeat_last_n < n_history ? s->repeat_last_n : n_history;
  if (repeat == 1 && s->presence_penalty == 0 && s->frequency_penalty == 0) return;
  for (uint32_t i = 0; i < n; i++) sorted[i] = history[n_history - n + i];
  sort_tokens(sorted, n);
  for (uint32_t i = 0, next; i < n; i = next) {
    for (next = i + 1; next < n && sorted[next] == sorted[i];) next++;
    if ((uint32_t)sorted[i] >= vocab) continue;
    float *logit = &c[sorted[i]].logit;
    *logit = *logit > 0 ? *logit / repeat : *logit * repeat;
    *logit -= (float)(next - i) * s->frequency_penalty + s->presence_penalty;
  }
}

/* ---- the heap ---- */

static bool is_better(struct tansy_candidate a, struct tansy_candidate b) {
  return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift(struct tansy_candidate *a, uint32_t n, uint32_t i) {
  struct tansy_candidate moving = a[i];
  for (uint32_t child; (child = 2 * i + 1) < n; i = child) {
    if (child + 1 < n && is_better(a[child + 1], a[child])) child++;
    if (!is_better(a[child], moving)) break;
    a[i] = a[child];
  }
  a[i] = moving;
}

/* the best of n goes to a[n - 1] */
static struct tansy_candidate take_best(struct tansy_candidate *a, uint32_t n) {
  struct tansy_candidate best = a[0];
  a[0] = a[n - 1];
  a[n - 1] = best;
  sift(a, n - 1, 0);
  return best;
}

static int32_t greedy(const struct tansy_candidate *c, uint32_t vocab) {
  struct tansy_candidate best = c[0];
  for (uint32_t i = 1; i < vocab; i++) {
    if (c[i].logit > best.logit) best = c[i];
  }
  return best.id;
}

/* Weighted draw among c[0], c[step], … (n of them), weights exp((logit - best) / temperature), in that order. */
static int32_t draw(const struct tansy_candidate *c, uint32_t n, int step, float best, float temperature, struct tansy_rng *rng) {
  double sum = 0;
  const struct tansy_candidate *at = c;
  for (uint32_t i = 0; i < n; i++, at += step) sum += (double)tansy_expf((at->logit - best) / temperature);
  double left = next_unit(rng) * sum;
  at = c;
  for (uint32_t i = 0; i + 1 < n; i++, at += step) {
    left -= (double)tansy_expf((at->logit - best) / temperature);
    if (left < 0) break;
  }
  return at->id;
}

static float greatest(const struct tansy_candidate *c, uint32_t n) {
  float best = c[0].logit;
  for (uint32_t i = 1; i < n; i++) best = c[i].logit > best ? c[i].logit : best;
  return best;
}

static int32_t draw_filtered(const struct tansy_sampler *s, struct tansy_candidate *c, uint32_t vocab, float top_p, struct tansy_rng *rng) {
  float best = greatest(c, vocab);
  for (uint32_t i = vocab / 2; i-- > 0;) sift(c, vocab, i);

  /* sorted candidates pile up from the end: c[vocab - 1] is the best */
  uint32_t n_top = s->top_k && s->top_k < vocab ? s->top_k : vocab, n_taken = 0;
  double sum = 0; /* of the top-k */
  if (n_top < vocab) {
    while (n_taken < n_top) sum += (double)tansy_expf(take_best(c, vocab - n_taken++).logit - best);
  } else {
    for (uint32_t i = 0; i < vocab; i++) sum += (double)tansy_expf(c[i].logit - best);
  }

  double cumulated = 0;
  uint32_t n_kept = 0;
  while (n_kept < n_top) {
    if (n_kept == n_taken) take_best(c, vocab - n_taken++);
    float p = tansy_expf(c[vocab - 1 - n_kept].logit - best); /* relative to the best */
    if (n_kept && (p < s->min_p || (top_p < 1 && cumulated >= (double)top_p * sum))) break;
    cumulated += (double)p;
    n_kept++;
  }
  return draw(c + vocab - 1, n_kept, -1, best, s->temperature, rng);
}

uint64_t tansy_sampler_nbytes(uint32_t vocab, uint32_t context) {
  return (uint64_t)vocab * sizeof(struct tansy_candidate) + (uint64_t)context * sizeof(int32_t);
}

int32_t tansy_sampler_pick(const struct tansy_sampler *s, const float *logits, uint32_t vocab, const int32_t *history, uint32_t n_history,
                           struct tansy_rng *rng, void *memory) {
  /* written so that NaN fails */
  if (!(s->temperature >= 0 && s->temperature <= 1e6f) || !(s->top_p >= 0 && s->top_p <= 1) || !(s->min_p >= 0 && s->min_p <= 1) ||
      !(s->repeat_penalty >= 0 && s->repeat_penalty <= 1e6f) || !(absolute(s->presence_penalty) <= 1e6f) ||
      !(absolute(s->frequency_penalty) <= 1e6f)) {
    return -TANSY_ERR_ARGUMENT;
  }
  struct tansy_candidate *c = memory;
  for (uint32_t i = 0; i < vocab; i++) {
    if (logits[i] - logits[i] != 0) return -TANSY_ERR_NONFINITE;
    c[i] = (struct tansy_candidate){logits[i], (int32_t)i};
  }
  penalize(s, c, vocab, history, n_history, (int32_t *)(c + vocab));
  if (s->temperature == 0) return greedy(c, vocab);
  float top_p = s->top_p == 0 ? 1 : s->top_p;
  bool is_plain = (s->top_k == 0 || s->top_k >= vocab) && top_p == 1 && s->min_p == 0;
  if (is_plain) return draw(c, vocab, 1, greatest(c, vocab), s->temperature, rng);
  return draw_filtered(s, c, vocab, top_p, rng);
}

float tansy_logprob_of(const float *logits, uint32_t vocab, int32_t token) {
  float best = logits[0];
  for (uint32_t i = 1; i < vocab; i++) best = logits[i] > best ? logits[i] : best;
  double sum = 0;
  for (uint32_t i = 0; i < vocab; i++) sum += (double)tansy_expf(logits[i] - best);
  return logits[token] - best - tansy_logf((float)sum);
}
