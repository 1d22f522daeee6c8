/* head.c: see head.h. Sums run over columns, or over rows, from first to last whatever the blocks are. */
#include "pack/head.h"

#include <stdlib.h>

#include "base/math.h"
#include "pack/linalg.h"

enum { LOGITS_NBYTES = 128 << 20, MAX_GROUP = 1024, BLOCK_N_VALUES = 1 << 18, SEE_TOKENS = 32, BACK_TOKENS = 24 };

uint32_t tansy_head_group(const struct tansy_config *c) {
  size_t n = LOGITS_NBYTES / (c->vocab * sizeof(float));
  return n > MAX_GROUP ? MAX_GROUP : n < SEE_TOKENS ? SEE_TOKENS : (uint32_t)n / SEE_TOKENS * SEE_TOKENS;
}

struct pass {
  struct tansy_runner *r;
  const struct tansy_source *source;
  const float *bias;
  uint32_t n_tokens, block;     /* block: rows of the head read at a time */
  float *normed;                /* [n_tokens, H] */
  float *rows;                  /* [n_threads] [block, H] */
  uint32_t first, n;            /* rows at hand, on the way back */
  float *logits, *gx;
  const float *g;
  enum tansy_status *status;    /* [n_threads] */
  struct tansy_failure *failures; /* [n_threads] */
};

static void pass_free(struct pass *p) {
  free(p->normed), free(p->rows), free(p->status), free(p->failures);
}

static enum tansy_status pass_init(struct tansy_runner *r, uint32_t n_tokens, struct pass *p, struct tansy_failure *failure) {
  uint32_t hidden = r->config->hidden;
  *p = (struct pass){.r = r, .source = tansy_checkpoint_head(r->checkpoint), .bias = r->outer->head.bias, .n_tokens = n_tokens, .block = BLOCK_N_VALUES / hidden + 1};
  p->normed = malloc((size_t)n_tokens * hidden * sizeof *p->normed);
  p->rows = malloc((size_t)r->n_threads * p->block * hidden * sizeof *p->rows);
  p->status = calloc(r->n_threads, sizeof *p->status);
  p->failures = calloc(r->n_threads, sizeof *p->failures);
  if (p->normed && p->rows && p->status && p->failures) return TANSY_OK;
  pass_free(p);
  return tansy_fail_memory(failure);
}

/* what went wrong in any thread */
static enum tansy_status pass_end(struct pass *p, struct tansy_failure *failure) {
  enum tansy_status status = TANSY_OK;
  for (uint32_t i = 0; i < p->r->n_threads && status == TANSY_OK; i++)
    if ((status = p->status[i]) != TANSY_OK) *failure = p->failures[i];
  pass_free(p);
  return status;
}

static void read_rows(struct pass *p, uint32_t first, uint32_t n, float *out, uint32_t thread) {
  if (p->status[thread] == TANSY_OK) p->status[thread] = tansy_checkpoint_read(p->r->checkpoint, p->source, first, n, out, &p->failures[thread]);
}

static void logits_body(void *ctx, uint32_t item, uint32_t thread) {
  struct pass *p = ctx;
  const struct tansy_config *c = p->r->config;
  uint32_t first = item * p->block, n = c->vocab - first < p->block ? c->vocab - first : p->block;
  float *rows = p->rows + (size_t)thread * p->block * c->hidden, *y = p->logits + first, cap = c->logit_softcap;
  read_rows(p, first, n, rows, thread);
  if (p->status[thread] != TANSY_OK) return;
  tansy_matmul_rows(rows, p->normed, p->n_tokens, n, c->hidden, y, c->vocab);
  for (size_t t = 0; t < p->n_tokens && (p->bias || cap != 0); t++)
    for (uint32_t i = 0; i < n; i++) {
      float *at = &y[t * c->vocab + i];
      if (p->bias) *at += p->bias[first + i];
      if (cap != 0) *at = cap * tansy_tanhf(*at / cap);
    }
}

enum tansy_status tansy_head_logits(struct tansy_runner *r, const float *x, uint32_t n_tokens, float *logits, struct tansy_failure *failure) {
  struct pass p;
  TANSY_TRY(pass_init(r, n_tokens, &p, failure));
  p.logits = logits;
  tansy_runner_norm(r, x, r->outer->final_norm, r->outer->final_norm_bias, n_tokens, p.normed);
  tansy_team_run(r->team, (r->config->vocab + p.block - 1) / p.block, logits_body, &p);
  return pass_end(&p, failure);
}

/* a part of the rows at hand */
static void read_body(void *ctx, uint32_t item, uint32_t thread) {
  struct pass *p = ctx;
  uint32_t first = item * p->block, n = p->n - first < p->block ? p->n - first : p->block;
  read_rows(p, p->first + first, n, p->rows + (size_t)first * p->r->config->hidden, thread);
}

static void back_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  struct pass *p = ctx;
  size_t hidden = p->r->config->hidden, vocab = p->r->config->vocab, first = (size_t)item * BACK_TOKENS;
  uint32_t n = p->n_tokens - (uint32_t)first < BACK_TOKENS ? p->n_tokens - (uint32_t)first : BACK_TOKENS;
  tansy_matmul_back(p->rows, p->g + first * vocab + p->first, vocab, n, p->n, (uint32_t)hidden, p->gx + first * hidden);
}

enum tansy_status tansy_head_back(struct tansy_runner *r, const float *g, uint32_t n_tokens, float *gx, struct tansy_failure *failure) {
  struct pass p;
  TANSY_TRY(pass_init(r, n_tokens, &p, failure));
  uint32_t vocab = r->config->vocab, at_once = p.block * r->n_threads;
  p.g = g;
  p.gx = gx;
  for (p.first = 0; p.first < vocab; p.first += p.n) {
    p.n = vocab - p.first < at_once ? vocab - p.first : at_once;
    tansy_team_run(r->team, (p.n + p.block - 1) / p.block, read_body, &p);
    tansy_team_run(r->team, (n_tokens + BACK_TOKENS - 1) / BACK_TOKENS, back_body, &p);
  }
  return pass_end(&p, failure);
}

struct each {
  float *logits;
  uint32_t first, n;
  size_t vocab;
  tansy_logits_body *see;
  void *ctx;
};

static void each_body(void *ctx, uint32_t item, uint32_t thread) {
  const struct each *e = ctx;
  uint32_t first = item * SEE_TOKENS, n = e->n - first < SEE_TOKENS ? e->n - first : SEE_TOKENS;
  e->see(e->ctx, e->first + first, n, e->logits + first * e->vocab, thread);
}

enum tansy_status tansy_head_each(struct tansy_runner *r, const float *x, uint32_t n_tokens, tansy_logits_body *see, void *ctx,
                                  struct tansy_failure *failure) {
  uint32_t group = tansy_head_group(r->config);
  if (group > n_tokens) group = n_tokens;
  struct each e = {.logits = malloc((size_t)group * r->config->vocab * sizeof(float)), .vocab = r->config->vocab, .see = see, .ctx = ctx};
  enum tansy_status status = e.logits ? TANSY_OK : tansy_fail_memory(failure);
  for (; e.first < n_tokens && status == TANSY_OK; e.first += e.n) {
    e.n = n_tokens - e.first < group ? n_tokens - e.first : group;
    status = tansy_head_logits(r, x + (size_t)e.first * r->config->hidden, e.n, e.logits, failure);
    if (status == TANSY_OK) tansy_team_run(r->team, (e.n + SEE_TOKENS - 1) / SEE_TOKENS, each_body, &e);
  }
  free(e.logits);
  return status;
}
