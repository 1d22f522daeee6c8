/* generate.c: see generate.h.
 *
 * Tokens of a window are drawn one after another in principle, which would take a pass a token. Instead all positions are drawn
 * at once, again and again, each with its own fixed random number: after k rounds the first k tokens are exactly what drawing in
 * turn would give (a fixed point met from the left), and the others are usually close to it. */
#include "pack/generate.h"

#include <stdlib.h>
#include <string.h>

#include "pack/head.h"

enum { WINDOW = 64, N_TOKENS = 8192, ROUNDS = 10 };

struct draw {
  const struct tansy_config *config;
  uint32_t window;
  int32_t *next; /* [n * window] tokens of the next round */
};

static uint64_t mix(uint64_t number) {
  uint64_t z = (number + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

static void draw_tokens(void *ctx, uint32_t first, uint32_t n, float *logits, uint32_t thread) {
  (void)thread;
  const struct draw *d = ctx;
  uint32_t vocab = d->config->vocab, largest;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t at = first + i + 1, token = 0;
    if (at % d->window == 0) continue; /* the next window's first token is its own */
    float *p = logits + (size_t)i * vocab;
    tansy_softmax(p, vocab, p, &largest);
    double left = (double)(mix(at) >> 11) * 0x1p-53;
    while (token + 1 < vocab && left >= p[token]) left -= p[token++];
    d->next[at] = (int32_t)token;
  }
}

static enum tansy_status one_round(const struct tansy_checkpoint *c, struct tansy_runner *r, struct tansy_windows *w, float *x, struct draw *d,
                                   struct tansy_failure *failure) {
  TANSY_TRY(tansy_runner_embed(r, w->tokens, w->n, x, failure));
  for (uint32_t layer = 0; layer < c->config.n_layers; layer++) {
    struct tansy_float_layer weights;
    TANSY_TRY(tansy_float_layer_load(c, layer, &weights, failure));
    tansy_runner_part(r, layer, &weights.weights, TANSY_PART_ATTENTION, x, w->n, 0, NULL);
    tansy_runner_part(r, layer, &weights.weights, TANSY_PART_MLP, x, w->n, 0, NULL);
    tansy_float_layer_free(&weights);
  }
  return tansy_head_each(r, x, w->n * w->window, draw_tokens, d, failure);
}

enum tansy_status tansy_generate_windows(const struct tansy_checkpoint *c, struct tansy_team *team, struct tansy_progress *progress,
                                         struct tansy_windows *out, struct tansy_failure *failure) {
  uint32_t window = c->config.context < WINDOW ? c->config.context : WINDOW, n = N_TOKENS / window;
  struct tansy_float_outer outer = {0};
  struct tansy_runner runner = {0};
  struct draw d = {&c->config, window, malloc((size_t)n * window * sizeof *d.next)};
  float *x = malloc((size_t)n * window * c->config.hidden * sizeof *x);
  *out = (struct tansy_windows){.window = window, .n = n, .tokens = malloc((size_t)n * window * sizeof *out->tokens)};
  enum tansy_status status = d.next && x && out->tokens ? tansy_float_outer_load(c, &outer, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_runner_init(&runner, c, &outer.weights, team, window, failure);
  for (uint32_t i = 0; i < n * window && status == TANSY_OK; i++)
    d.next[i] = i % window == 0 && i / window % 2 == 0 && c->config.bos ? (int32_t)c->config.bos - 1 : (int32_t)(mix(i + ((uint64_t)1 << 40)) % c->config.vocab);
  for (int round = 0; round < ROUNDS && status == TANSY_OK; round++) {
    tansy_progress_at(progress, "generate", NULL, progress->done);
    memcpy(out->tokens, d.next, (size_t)n * window * sizeof *d.next);
    status = one_round(c, &runner, out, x, &d, failure);
  }
  if (status == TANSY_OK) memcpy(out->tokens, d.next, (size_t)n * window * sizeof *d.next);
  tansy_runner_free(&runner);
  tansy_float_outer_free(&outer);
  free(x);
  free(d.next);
  if (status != TANSY_OK) {
    free(out->tokens);
    out->tokens = NULL;
    out->n = 0;
  }
  return status;
}
