/* runner.c: see runner.h. */
#include "pack/runner.h"

#include <stdlib.h>
#include <string.h>

#include "pack/linalg.h"

enum {
  MIN_TOKENS = 32,    /* that the forward pass is ready for: logits are made of so many at a time (evaluate.c) */
  PIECE_MULTIPLE = 12 /* tokens that products take together (linalg.c) */
};

uint32_t tansy_site_n_cols(const struct tansy_config *c, enum tansy_site site) {
  if (site == TANSY_SITE_ATTN_OUT) return c->n_heads * c->head_dim;
  return site == TANSY_SITE_MLP_MID ? c->intermediate : c->hidden;
}

uint32_t tansy_widest_site(const struct tansy_config *c) {
  uint32_t widest = 0;
  for (int site = 0; site < TANSY_N_SITES; site++)
    if (tansy_site_n_cols(c, (enum tansy_site)site) > widest) widest = tansy_site_n_cols(c, (enum tansy_site)site);
  return widest;
}

static void *aligned_zeros(uint64_t nbytes) {
  nbytes = (nbytes + 63) & ~(uint64_t)63;
  if (nbytes > SIZE_MAX / 2) return NULL;
  void *p = aligned_alloc(64, nbytes ? (size_t)nbytes : 64);
  if (p) memset(p, 0, (size_t)nbytes);
  return p;
}

enum tansy_status tansy_runner_init(struct tansy_runner *r, const struct tansy_checkpoint *checkpoint, const struct tansy_outer_weights *outer,
                                    struct tansy_team *team, uint32_t window, struct tansy_failure *failure) {
  const struct tansy_config *config = &checkpoint->config;
  *r = (struct tansy_runner){.checkpoint = checkpoint, .config = config, .outer = outer, .team = team, .window = window, .n_threads = tansy_team_n_threads(team)};
  r->kernels = *tansy_kernels_best();
  r->kernels.matmul_f32 = tansy_matmul_f32_blocked;
  r->forward = calloc(r->n_threads, sizeof *r->forward);
  r->memory = calloc(r->n_threads, sizeof *r->memory);
  r->kv = calloc(r->n_threads, sizeof *r->kv);
  r->copy = calloc(r->n_threads, sizeof *r->copy);
  r->numbers = malloc(window * sizeof *r->numbers);
  if (!r->forward || !r->memory || !r->kv || !r->copy || !r->numbers) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < window; i++) r->numbers[i] = (int32_t)i;
  for (uint32_t i = 0; i < r->n_threads; i++) {
    struct tansy_forward *f = &r->forward[i];
    *f = (struct tansy_forward){.config = config, .kernels = &r->kernels, .max_tokens = window > MIN_TOKENS ? window : MIN_TOKENS};
    uint64_t forward_nbytes = (tansy_forward_nbytes(f, 0) + 63) & ~(uint64_t)63, kv_nbytes = tansy_layer_kv_nbytes(config, window, 1);
    r->memory[i] = aligned_zeros(forward_nbytes + kv_nbytes);
    r->copy[i] = aligned_zeros((uint64_t)window * config->hidden * sizeof(float));
    if (!r->memory[i] || !r->copy[i]) return tansy_fail_memory(failure);
    tansy_forward_init(f, 0, r->memory[i]);
    r->kv[i] = tansy_layer_kv_in(r->memory[i] + forward_nbytes, config, window, 1);
    tansy_rope_forward(f, outer, 0, window); /* every window begins at position 0 */
  }
  return TANSY_OK;
}

void tansy_runner_free(struct tansy_runner *r) {
  for (uint32_t i = 0; r->memory && i < r->n_threads; i++) free(r->memory[i]);
  for (uint32_t i = 0; r->copy && i < r->n_threads; i++) free(r->copy[i]);
  free(r->copy);
  free(r->memory);
  free(r->forward);
  free(r->kv);
  free(r->numbers);
  *r = (struct tansy_runner){0};
}

struct embed {
  struct tansy_runner *r;
  float *x;
};

/* a window's rows are the table, and its tokens are numbered in their order */
static void embed_body(void *ctx, uint32_t item, uint32_t thread) {
  struct embed *e = ctx;
  struct tansy_runner *r = e->r;
  size_t n = (size_t)r->window * r->config->hidden;
  struct tansy_outer_weights outer = *r->outer;
  outer.embed = tansy_linear_f32(memcpy(r->copy[thread], e->x + item * n, n * sizeof(float)), r->window, r->config->hidden, NULL);
  tansy_embed_forward(&r->forward[thread], &outer, r->numbers, 0, r->window, e->x + item * n);
}

void tansy_runner_embed_rows(struct tansy_runner *r, uint32_t n_windows, float *x) {
  struct embed e = {r, x};
  tansy_team_run(r->team, n_windows, embed_body, &e);
}

enum tansy_status tansy_runner_embed(struct tansy_runner *r, const int32_t *tokens, uint32_t n_windows, float *x, struct tansy_failure *failure) {
  const struct tansy_source *table = tansy_checkpoint_find(r->checkpoint, TANSY_ROLE_EMBED, 0);
  for (size_t i = 0; i < (size_t)n_windows * r->window; i++)
    TANSY_TRY(tansy_checkpoint_read(r->checkpoint, table, (uint32_t)tokens[i], 1, x + i * r->config->hidden, failure));
  tansy_runner_embed_rows(r, n_windows, x);
  return TANSY_OK;
}

void tansy_runner_norm(const struct tansy_runner *r, const float *x, const float *weight, const float *bias, uint32_t n_tokens, float *out) {
  const struct tansy_config *c = r->config;
  for (size_t t = 0; t < n_tokens; t++) {
    if (c->norm_kind == TANSY_NORM_LAYER)
      r->kernels.layer_norm(x + t * c->hidden, weight, bias, c->hidden, c->norm_eps, out + t * c->hidden);
    else
      r->kernels.rms_norm(x + t * c->hidden, weight, c->hidden, c->norm_eps, out + t * c->hidden);
  }
}

struct part {
  struct tansy_runner *r;
  uint32_t layer;
  const struct tansy_layer_weights *weights;
  enum tansy_part part;
  float *x;
  int keep_x;
  const struct tansy_capture *capture;
  uint32_t piece, pieces; /* tokens of an item; items of a window */
};

struct seen {
  const struct tansy_capture *capture;
  size_t first; /* token of the item */
};

static void see_site(void *ctx, enum tansy_site site, uint32_t layer, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  (void)layer;
  const struct seen *s = ctx;
  if (s->capture->site[site]) memcpy(s->capture->site[site] + s->first * n_cols, x, (size_t)n_tokens * n_cols * sizeof *x);
}

/* tokens [first, first + n) of a window, all of it where they look at each other */
static void part_body(void *ctx, uint32_t item, uint32_t thread) {
  struct part *p = ctx;
  struct tansy_runner *r = p->r;
  struct tansy_forward *f = &r->forward[thread];
  uint32_t pieces = p->pieces, first = item % pieces * p->piece, n_tokens = r->window - first < p->piece ? r->window - first : p->piece;
  size_t hidden = r->config->hidden, at = (size_t)(item / pieces) * r->window + first, n = n_tokens * hidden;
  struct seen seen = {p->capture, at};
  f->hook = p->capture ? see_site : NULL;
  f->hook_ctx = &seen;
  float *x = p->x + at * hidden;
  if (p->keep_x) x = memcpy(r->copy[thread], x, n * sizeof *x);
  if (p->part == TANSY_PART_ATTENTION)
    tansy_attention_forward(f, p->layer, p->weights, &r->kv[thread], 0, n_tokens, x);
  else
    tansy_mlp_forward(f, p->layer, p->weights, n_tokens, x);
  f->hook = NULL;
}

void tansy_runner_part(struct tansy_runner *r, uint32_t layer, const struct tansy_layer_weights *weights, enum tansy_part part, float *x,
                       uint32_t n_windows, int keep_x, const struct tansy_capture *capture) {
  struct part p = {r, layer, weights, part, x, keep_x, capture, r->window, 1};
  if (part == TANSY_PART_MLP) { /* thirds: few windows for many threads are the rule */
    p.piece = ((r->window + 2) / 3 + PIECE_MULTIPLE - 1) / PIECE_MULTIPLE * PIECE_MULTIPLE;
    p.pieces = (r->window + p.piece - 1) / p.piece;
  }
  tansy_team_run(r->team, n_windows * p.pieces, part_body, &p);
}
