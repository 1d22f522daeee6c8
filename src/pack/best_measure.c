/* best_measure.c: before anything is rounded: one way back through the model for sensitivities, one way forward for what
 * the linears read, and from both how many bytes every matrix will take at a given fineness. */
#include <stdlib.h>
#include <string.h>

#include "pack/best.h"
#include "pack/linalg.h"

enum { MEASURE_TOKENS = 8192, MAX_SAMPLE = 1 << 19, MAX_WHOLE = 1 << 26 };

struct tansy_unit *tansy_best_unit(struct tansy_best *b, uint32_t role, uint32_t layer) {
  for (uint32_t i = 0; i < b->n_units; i++)
    if (b->units[i].source->role == role && b->units[i].source->layer == layer) return &b->units[i];
  return NULL;
}

/* how often each token occurs in the calibration text, a little smoothed */
static void token_frequencies(const struct tansy_windows *windows, uint32_t vocab, float *out) {
  size_t n = (size_t)windows->n * windows->window;
  for (uint32_t v = 0; v < vocab; v++) out[v] = 0.5f;
  for (size_t i = 0; i < n; i++) out[windows->tokens[i]] += 1;
  for (uint32_t v = 0; v < vocab; v++) out[v] /= (float)n + 0.5f * (float)vocab;
}

static void squared_diagonals(const float *factor, uint32_t n_rows, uint32_t block, float *out) {
  for (uint32_t i = 0; i < n_rows; i++) {
    uint32_t first = i / block * block, n = n_rows - first < block ? n_rows - first : block;
    float d = factor[(size_t)first * block + (size_t)(i - first) * n + (i - first)];
    out[i] = d * d;
  }
}

static enum tansy_status make_units(struct tansy_best *b, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = b->checkpoint;
  b->units = calloc(c->n_sources, sizeof *b->units);
  if (!b->units) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (!s->matrix || s->role == TANSY_ROLE_POSITION_EMBED) continue;
    float *weight = malloc(s->n_rows * sizeof *weight);
    if (!weight) return tansy_fail_memory(failure);
    int number = tansy_linear_number(s->role);
    const float *factor = number >= 0 ? b->fisher.factor[s->layer * TANSY_N_LAYER_LINEARS + (uint32_t)number] : NULL;
    /* the embedding's rows are felt less unevenly than their frequencies say: a smaller exponent (0.75 and 1 measure worse) */
    double exponent = number >= 0 ? 1 : 0.8;
    if (factor)
      squared_diagonals(factor, s->n_rows, tansy_fisher_block(&b->fisher, s->n_rows), weight);
    else if (s->role == TANSY_ROLE_EMBED && !b->config->tied)
      token_frequencies(&b->job->calibration, b->config->vocab, weight);
    else
      memcpy(weight, b->fisher.vocab, s->n_rows * sizeof *weight);
    for (uint32_t row = 0; row < s->n_rows; row++) weight[row] *= 0.5f; /* KL is half the form */
    TANSY_TRY(tansy_unit_init(&b->units[b->n_units++], s, weight, exponent, failure));
    b->units[b->n_units - 1].factor = factor;
    b->units[b->n_units - 1].block = tansy_fisher_block(&b->fisher, s->n_rows);
  }
  return TANSY_OK;
}

struct moments {
  struct tansy_best *b;
  struct tansy_site_buffers buffers;
  float *site[TANSY_SITE_HEAD]; /* [n, n] */
};

static void see_moment(void *ctx, uint32_t layer, enum tansy_site site, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  struct moments *m = ctx;
  (void)layer;
  tansy_gram_add(m->b->job->team, m->site[site], x, x, n_tokens, n_cols);
}

/* moment -> diagonal of its Cholesky factor; the moment is used up */
static void factor_diagonal(struct tansy_team *team, float *moment, uint32_t n, double n_tokens, float *diagonal) {
  double mean = 0;
  for (size_t i = 0; i < (size_t)n * n; i++) moment[i] = (float)(moment[i] / n_tokens);
  for (uint32_t i = 0; i < n; i++) mean += moment[(size_t)i * n + i];
  tansy_cholesky(team, moment, n, TANSY_BEST_DAMPING * mean / n);
  for (uint32_t i = 0; i < n; i++) diagonal[i] = moment[(size_t)i * n + i];
}

/* rates from some rows of the matrix, all of them where it is not huge */
static enum tansy_status measure_unit(struct tansy_best *b, struct tansy_unit *u, const float *l_diagonal, struct tansy_failure *failure) {
  const struct tansy_source *s = u->source;
  bool whole = (uint64_t)s->n_rows * s->n_cols <= MAX_WHOLE;
  uint32_t wanted = MAX_SAMPLE / s->n_cols + 1, n = wanted < s->n_rows ? wanted : s->n_rows;
  float *w = malloc((size_t)(whole ? s->n_rows : n) * s->n_cols * sizeof *w);
  uint32_t *row_of = malloc(n * sizeof *row_of);
  enum tansy_status status = w && row_of ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK && whole) status = tansy_checkpoint_read(b->checkpoint, s, 0, s->n_rows, w, failure);
  for (uint32_t i = 0; i < n && status == TANSY_OK; i++) {
    float *row = w + (size_t)i * s->n_cols;
    row_of[i] = (uint32_t)((uint64_t)i * s->n_rows / n);
    if (whole) /* row_of[i] >= i: nothing still needed is written over */
      memmove(row, w + (size_t)row_of[i] * s->n_cols, s->n_cols * sizeof *row);
    else
      status = tansy_checkpoint_read(b->checkpoint, s, row_of[i], 1, row, failure);
  }
  if (status == TANSY_OK) status = tansy_unit_measure(u, w, row_of, n, l_diagonal, failure);
  free(w);
  free(row_of);
  return status;
}

static enum tansy_status measure_layer(struct tansy_best *b, struct moments *m, uint32_t layer, float *x, uint32_t n_windows,
                                       struct tansy_failure *failure) {
  struct tansy_float_layer weights;
  TANSY_TRY(tansy_float_layer_load(b->checkpoint, layer, &weights, failure));
  for (int site = 0; site < TANSY_SITE_HEAD; site++) {
    size_t n = tansy_site_n_cols(b->config, (enum tansy_site)site);
    memset(m->site[site], 0, n * n * sizeof(float));
  }
  tansy_calibrate_layer(&b->runner, &m->buffers, layer, &weights.weights, x, n_windows, see_moment, m);
  tansy_float_layer_free(&weights);
  for (int site = 0; site < TANSY_SITE_HEAD; site++) {
    factor_diagonal(b->job->team, m->site[site], tansy_site_n_cols(b->config, (enum tansy_site)site), (double)n_windows * b->runner.window, b->effective);
    for (uint32_t i = 0; i < b->n_units; i++)
      if (b->units[i].source->layer == layer && tansy_linear_number(b->units[i].source->role) >= 0 &&
          tansy_role_site(b->units[i].source->role) == (enum tansy_site)site)
        TANSY_TRY(measure_unit(b, &b->units[i], b->effective, failure));
  }
  return TANSY_OK;
}

void tansy_best_embed_moment(const struct tansy_best *b, bool as_head, bool as_table, float *out) {
  size_t n = b->config->hidden;
  double total = 0;
  for (uint32_t v = 0; v < b->config->vocab; v++) total += b->fisher.vocab[v];
  /* row v costs G_v M as a head and f_v S as a table, f_v its frequency, which is about G_v / sum G */
  float table = (float)(as_head ? 1 / total : 1);
  for (size_t i = 0; i < n * n; i++) out[i] = (as_head ? b->fisher.head_moment[i] : 0) + (as_table ? b->fisher.embed_moment[i] * table : 0);
}

static enum tansy_status measure_outer(struct tansy_best *b, struct moments *m, struct tansy_failure *failure) {
  uint32_t n = b->config->hidden;
  struct tansy_unit *embed = tansy_best_unit(b, TANSY_ROLE_EMBED, 0), *head = tansy_best_unit(b, TANSY_ROLE_HEAD, 0);
  float *moment = m->site[TANSY_SITE_ATTN_IN]; /* free by now, and of the right size */
  tansy_best_embed_moment(b, b->config->tied, true, moment);
  factor_diagonal(b->job->team, moment, n, 1, b->effective);
  TANSY_TRY(measure_unit(b, embed, b->effective, failure));
  if (!head) return TANSY_OK;
  tansy_best_embed_moment(b, true, false, moment);
  factor_diagonal(b->job->team, moment, n, 1, b->effective);
  return measure_unit(b, head, b->effective, failure);
}

enum tansy_status tansy_best_feel(struct tansy_best *b, struct tansy_failure *failure) {
  TANSY_TRY(tansy_fisher_make(b->checkpoint, &b->runner, &b->job->calibration, &b->job->progress, b->work_of.sensitivity, &b->fisher, failure));
  return make_units(b, failure);
}

enum tansy_status tansy_best_measure(struct tansy_best *b, struct tansy_failure *failure) {
  const struct tansy_config *c = b->config;
  struct tansy_progress *progress = &b->job->progress;
  uint32_t n_windows = MEASURE_TOKENS / b->runner.window;
  n_windows = n_windows < 1 ? 1 : n_windows > b->job->calibration.n ? b->job->calibration.n : n_windows;
  double done = progress->done;
  struct moments m = {.b = b};
  float *x = malloc((size_t)n_windows * b->runner.window * c->hidden * sizeof *x);
  enum tansy_status status = x ? tansy_site_buffers_init(&m.buffers, c, b->runner.window, failure) : tansy_fail_memory(failure);
  for (int site = 0; site < TANSY_SITE_HEAD && status == TANSY_OK; site++) {
    size_t n = tansy_site_n_cols(c, (enum tansy_site)site);
    m.site[site] = malloc(n * n * sizeof(float));
    if (!m.site[site]) status = tansy_fail_memory(failure);
  }
  if (status == TANSY_OK) status = tansy_runner_embed(&b->runner, b->job->calibration.tokens, n_windows, x, failure);
  for (uint32_t layer = 0; layer < c->n_layers && status == TANSY_OK; layer++) {
    tansy_progress_at(progress, "measure", NULL, done + b->work_of.measure * layer / c->n_layers);
    status = measure_layer(b, &m, layer, x, n_windows, failure);
  }
  if (status == TANSY_OK) status = measure_outer(b, &m, failure);
  tansy_progress_at(progress, "measure", NULL, done + b->work_of.measure);
  for (int site = 0; site < TANSY_SITE_HEAD; site++) free(m.site[site]);
  tansy_site_buffers_free(&m.buffers);
  free(x);
  return status;
}
