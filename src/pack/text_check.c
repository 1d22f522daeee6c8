/* text_check.c: see text_check.h. A thousand tokens tell: the mean of their surprises is good to a tenth of a nat. */
#include "pack/text_check.h"

#include <stdlib.h>
#include <string.h>

#include "pack/head.h"
#include "pack/numeric.h"

enum { MAX_TOKENS = 1024 };

struct check {
  const struct tansy_windows *windows;
  uint32_t vocab;
  double *nll, *entropy; /* [n_tokens], 0 for the last of a window */
};

static void see_logits(void *ctx, uint32_t first, uint32_t n, float *logits, uint32_t thread) {
  (void)thread;
  struct check *c = ctx;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t at = first + i, largest;
    if ((at + 1) % c->windows->window == 0) continue;
    float *p = logits + (size_t)i * c->vocab, right = p[c->windows->tokens[at + 1]];
    double log_sum = tansy_softmax(p, c->vocab, p, &largest), sum = 0;
    for (uint32_t v = 0; v < c->vocab; v++)
      if (p[v] > 0) sum -= p[v] * tansy_log_f64(p[v]);
    c->nll[at] = log_sum - right;
    c->entropy[at] = sum;
  }
}

static enum tansy_status look(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, const struct tansy_windows *some,
                              struct tansy_text_check *out, struct tansy_failure *failure) {
  uint32_t n = some->n * some->window;
  struct check c = {some, checkpoint->config.vocab, calloc(n, sizeof *c.nll), calloc(n, sizeof *c.entropy)};
  struct tansy_reference reference = {0};
  struct tansy_progress quiet = {0};
  enum tansy_status status = c.nll && c.entropy ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_reference_init(&reference, checkpoint, team, some, &quiet, failure);
  if (status == TANSY_OK) status = tansy_head_each(&reference.runner, reference.x, n, see_logits, &c, failure);
  for (uint32_t i = 0; i < n && status == TANSY_OK; i++) out->nll += c.nll[i], out->entropy += c.entropy[i];
  tansy_reference_free(&reference);
  free(c.nll);
  free(c.entropy);
  out->n_tokens = some->n * (some->window - 1);
  out->nll /= out->n_tokens;
  out->entropy /= out->n_tokens;
  return status;
}

enum tansy_status tansy_text_check(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, const struct tansy_windows *windows,
                                   struct tansy_text_check *out, struct tansy_failure *failure) {
  struct tansy_windows some = {.window = windows->window, .n = MAX_TOKENS / windows->window};
  *out = (struct tansy_text_check){0};
  some.n = some.n < 1 ? 1 : some.n > windows->n ? windows->n : some.n;
  some.tokens = malloc((size_t)some.n * some.window * sizeof *some.tokens);
  if (!some.tokens) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < some.n; i++) /* evenly spread */
    memcpy(some.tokens + (size_t)i * some.window, windows->tokens + (size_t)((uint64_t)i * windows->n / some.n) * some.window,
           some.window * sizeof *some.tokens);
  enum tansy_status status = look(checkpoint, team, &some, out, failure);
  free(some.tokens);
  return status;
}
