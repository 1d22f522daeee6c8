/* best_layer.c: rounding, site by site. Every linear that reads one input shares its second moment, so a site is rounded as
 * one: moments of the rounded model's inputs, their Cholesky factor, column scales from its diagonal, targets corrected for
 * what earlier rounding has done to the input and to the residual stream, then each matrix with error feedback. The rounded
 * matrices take their place in the rounded model before the next site is looked at. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/best.h"
#include "pack/gptq.h"
#include "pack/linalg.h"
#include "pack/numeric.h"
#include "pack/site_scale.h"

enum { ROWS_NBYTES = 64 << 20, ROWS_MULTIPLE = 32, NARROW_NBYTES = 64 << 20 };

/* row scales of a unit: c / sqrt(kappa) / mean of L_jj, times r_i */
static enum tansy_status set_rows(const struct tansy_unit *u, double step, struct tansy_rows *rows, struct tansy_failure *failure) {
  TANSY_TRY(tansy_rows_init(rows, u->source->n_rows, failure));
  if (u->code)
    tansy_rows_set_half_octaves(rows, (float)(step * u->r_base), u->code);
  else
    tansy_rows_set_uniform(rows, (float)step);
  return TANSY_OK;
}

/* The size is met by what is still to come: its predictions scaled by how predictions of its kind have fared. */
static void steer(struct tansy_best *b) {
  if (!b->adapt) return;
  b->log_c = tansy_rate_solve(b->units, b->n_units, b->allowed - b->spent);
}

static double geometric_mean(const float *l, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += tansy_log_f64(l[(size_t)i * n + i]);
  return tansy_exp_f64(sum / n);
}

/* column scales 1 / L_jj around 1 */
static enum tansy_status wanted_scales(const float *l, uint32_t n, double mean, float **out, struct tansy_failure *failure) {
  *out = malloc(n * sizeof **out);
  if (!*out) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < n; i++) (*out)[i] = (float)(mean / l[(size_t)i * n + i]);
  return TANSY_OK;
}

static double factor(struct tansy_best *b, float *moment, uint32_t n) {
  double mean = 0;
  for (uint32_t i = 0; i < n; i++) mean += moment[(size_t)i * n + i];
  tansy_cholesky(b->job->team, moment, n, TANSY_BEST_DAMPING * mean / n);
  return geometric_mean(moment, n);
}

/* ---- inputs of a site ---- */

/* linears whose outputs a site's input does not need */
static struct tansy_layer_weights stop_before(const struct tansy_layer_weights *weights, enum tansy_site site) {
  struct tansy_layer_weights w = *weights;
  if (site == TANSY_SITE_ATTN_OUT) w.o.w.coded.shape.n_rows = 0;
  if (site == TANSY_SITE_MLP_MID) w.down.w.coded.shape.n_rows = 0;
  return w;
}

/* Input of `site` for n windows x, into `to`. move: x then goes on to the end of the half layer. */
static void site_input(struct tansy_best *b, uint32_t layer, enum tansy_site site, const struct tansy_layer_weights *weights, float *x, uint32_t n,
                       bool move, float *to) {
  uint32_t n_tokens = n * b->runner.window;
  if (site == TANSY_SITE_ATTN_IN) {
    tansy_runner_norm(&b->runner, x, weights->attn_norm, weights->attn_norm_bias, n_tokens, to);
  } else if (site == TANSY_SITE_MLP_IN) {
    tansy_runner_norm(&b->runner, x, weights->mlp_norm, weights->mlp_norm_bias, n_tokens, to);
  } else if (site == TANSY_SITE_HEAD) {
    tansy_runner_norm(&b->runner, x, b->outer.weights.final_norm, b->outer.weights.final_norm_bias, n_tokens, to);
  } else {
    struct tansy_layer_weights stopped = stop_before(weights, site);
    struct tansy_capture capture = {{0}};
    capture.site[site] = to;
    tansy_runner_part(&b->runner, layer, move ? weights : &stopped, site == TANSY_SITE_ATTN_OUT ? TANSY_PART_ATTENTION : TANSY_PART_MLP, x, n, !move,
                      &capture);
  }
}

/* x [n_tokens, n]: each token's row times the root of its weight: the mean of those it has at the linears of these roles */
static void weigh_tokens(const struct tansy_best *b, uint32_t layer, const uint32_t *roles, uint32_t n_roles, uint32_t first, uint32_t n_windows,
                         uint32_t n, float *x) {
  uint32_t window = b->runner.window;
  for (uint32_t i = 0; i < n_windows; i++) {
    uint32_t given = tansy_best_window(b, first + i);
    if (!tansy_fisher_tokens(&b->fisher, layer, roles[0], given)) continue;
    for (size_t t = 0; t < window; t++) {
      float weight = 0, *row = x + (i * (size_t)window + t) * n;
      for (uint32_t k = 0; k < n_roles; k++) weight += tansy_fisher_tokens(&b->fisher, layer, roles[k], given)[t];
      float root = (float)sqrt(weight / (float)n_roles);
      for (uint32_t j = 0; j < n; j++) row[j] *= root;
    }
  }
}

static void site_release(struct tansy_best *b) {
  free(b->a), free(b->c), free(b->wc), free(b->behind);
  b->a = b->c = b->wc = b->behind = NULL;
}

/* Whether drift is gathered as what it does to the outputs of the site's only linear: a fraction of C in memory and in work. */
static const struct tansy_linear *narrow_linear(const struct tansy_layer_weights *weights, enum tansy_site site, size_t n) {
  const struct tansy_linear *down = site == TANSY_SITE_MLP_MID ? &weights->down : NULL;
  return down && n * n * sizeof(float) > NARROW_NBYTES && n > 2 * (size_t)down->w.coded.shape.n_rows ? down : NULL;
}

/* whether the output of the site's only linear is added to the residual stream as it is: it can make up for what that is behind by */
static bool is_added(const struct tansy_layer_weights *w, enum tansy_site site) {
  return (site == TANSY_SITE_ATTN_OUT && !w->post_attn_norm) || (site == TANSY_SITE_MLP_MID && !w->post_mlp_norm);
}

/* A, and C - A or w (C - A), and what the residual stream is behind by, tokens weighted as the linears of these roles feel them. x moves
 * on where the site is the last one of a half layer. */
static enum tansy_status gather(struct tansy_best *b, uint32_t layer, enum tansy_site site, const uint32_t *roles, uint32_t n_roles,
                                const struct tansy_layer_weights *weights, const struct tansy_layer_weights *rounded, struct tansy_failure *failure) {
  size_t n = tansy_site_n_cols(b->config, site), window = b->runner.window, hidden = b->config->hidden, n_hidden = window * hidden;
  uint32_t block = tansy_site_block((uint32_t)n, (uint32_t)window);
  bool move = site == TANSY_SITE_ATTN_OUT || site == TANSY_SITE_MLP_MID, added = is_added(weights, site);
  const struct tansy_linear *narrow = narrow_linear(weights, site, n);
  size_t n_rows = narrow ? narrow->w.coded.shape.n_rows : 0;
  float *x_f = malloc(block * window * n * sizeof *x_f), *x_q = malloc(block * window * n * sizeof *x_q), *missed = NULL;
  float *behind = added ? malloc(block * n_hidden * sizeof *behind) : NULL;
  b->a = calloc(n * n, sizeof *b->a);
  if (narrow) b->wc = calloc(n_rows * n, sizeof *b->wc), missed = malloc(block * window * n_rows * sizeof *missed);
  else b->c = calloc(n * n, sizeof *b->c);
  if (added && !narrow) b->behind = calloc(hidden * n, sizeof *b->behind);
  bool ok = x_f && x_q && b->a && (narrow ? b->wc && missed : b->c != NULL) && (!added || (behind && (narrow || b->behind)));
  enum tansy_status status = ok ? TANSY_OK : tansy_fail_memory(failure);
  for (uint32_t first = 0; first < b->n_windows && status == TANSY_OK; first += block) {
    uint32_t count = b->n_windows - first < block ? b->n_windows - first : block, n_tokens = count * (uint32_t)window;
    for (size_t i = 0; added && i < count * n_hidden; i++) behind[i] = b->x[first * n_hidden + i] - b->rounded_x[first * n_hidden + i];
    if (added) weigh_tokens(b, layer, roles, n_roles, first, count, (uint32_t)hidden, behind);
    site_input(b, layer, site, weights, b->x + first * n_hidden, count, move, x_f);
    site_input(b, layer, site, rounded, b->rounded_x + first * n_hidden, count, false, x_q);
    weigh_tokens(b, layer, roles, n_roles, first, count, (uint32_t)n, x_f);
    weigh_tokens(b, layer, roles, n_roles, first, count, (uint32_t)n, x_q);
    tansy_gram_add(b->job->team, b->a, x_q, x_q, n_tokens, (uint32_t)n);
    if (narrow) {
      for (size_t i = 0; i < n_tokens * n; i++) x_f[i] -= x_q[i];
      tansy_matmul_tokens(b->job->team, narrow->w.f32, x_f, n_tokens, (uint32_t)n_rows, (uint32_t)n, missed);
      for (size_t i = 0; added && i < n_tokens * hidden; i++) missed[i] += behind[i];
      tansy_cross_add(b->job->team, b->wc, missed, (uint32_t)n_rows, x_q, (uint32_t)n, n_tokens);
    } else {
      tansy_gram_add(b->job->team, b->c, x_f, x_q, n_tokens, (uint32_t)n);
      if (added) tansy_cross_add(b->job->team, b->behind, behind, (uint32_t)hidden, x_q, (uint32_t)n, n_tokens);
    }
  }
  free(x_f), free(x_q), free(missed), free(behind);
  if (status != TANSY_OK) return status;
  float scale = 1 / ((float)b->n_windows * (float)window);
  tansy_mirror(b->a, (uint32_t)n);
  for (size_t i = 0; i < n * n; i++) b->a[i] *= scale;
  for (size_t i = 0; !narrow && i < n * n; i++) b->c[i] = b->c[i] * scale - b->a[i];
  for (size_t i = 0; i < n_rows * n; i++) b->wc[i] *= scale;
  for (size_t i = 0; b->behind && i < hidden * n; i++) b->behind[i] *= scale;
  return TANSY_OK;
}

/* ---- rounding one matrix, some rows at a time ---- */

struct rounding {
  struct tansy_best *b;
  struct tansy_unit *unit;
  struct tansy_rows rows;
  int16_t *z; /* [n_rows, n] */
  bool correct; /* targets make up for the drift so far */
};

/* w += share * (w (C - A) + behind) (A + damping)^-1, for rows from `first` on: least squares for what the float model makes of its own input,
 * and for what the residual stream is behind by */
static enum tansy_status correct_target(struct tansy_best *b, uint32_t first, uint32_t n_rows, uint32_t n, float *w, struct tansy_failure *failure) {
  float *own = b->wc ? NULL : malloc((size_t)n_rows * n * sizeof *own), *drift = b->wc ? b->wc + (size_t)first * n : own;
  if (!drift) return tansy_fail_memory(failure);
  if (own) tansy_matmul_right(b->job->team, w, b->c, n_rows, n, own);
  for (size_t i = 0; b->behind && i < (size_t)n_rows * n; i++) drift[i] += b->behind[(size_t)first * n + i];
  tansy_cholesky_solve_rows(b->job->team, b->a, n, drift, n_rows);
  for (size_t i = 0; i < (size_t)n_rows * n; i++) w[i] += (float)TANSY_BEST_TARGET * drift[i];
  free(own);
  return TANSY_OK;
}

/* rows at a time: what they take is bounded, and blocks of rows that feed each other stay whole */
static uint32_t rows_at_once(const struct tansy_unit *u) {
  uint32_t n = ROWS_NBYTES / (u->source->n_cols * (uint32_t)sizeof(float)), block = u->factor ? u->block : ROWS_MULTIPLE;
  n = n / block * block;
  return n < block ? block : n;
}

/* rows [first, first + n): w [n, n_cols] as in the checkpoint in, rounded out */
static enum tansy_status round_rows(struct rounding *r, uint32_t first, uint32_t n, float *w, struct tansy_failure *failure) {
  struct tansy_best *b = r->b;
  const struct tansy_unit *u = r->unit;
  uint32_t n_cols = u->source->n_cols;
  if (r->correct) TANSY_TRY(correct_target(b, first, n, n_cols, w, failure));
  struct tansy_gptq g = {.l = b->a, .col = b->effective, .row = r->rows.value + first, .weight = u->weight + first, .block = u->block, .n_rows = n, .n = n_cols};
  if (u->factor) g.m = u->factor + (size_t)first * u->block;
  double loss = tansy_gptq_round(b->job->team, &g, w, r->z + (size_t)first * n_cols);
  if (loss < 0) return tansy_fail_memory(failure);
  r->unit->loss += loss;
  return TANSY_OK;
}

/* `mean`: geometric mean of L_jj, by which column scales are 1 on average */
static enum tansy_status rounding_begin(struct rounding *r, struct tansy_best *b, struct tansy_unit *u, double mean, bool correct,
                                        struct tansy_failure *failure) {
  *r = (struct rounding){.b = b, .unit = u, .correct = correct};
  u->loss = 0;
  TANSY_TRY(set_rows(u, tansy_exp_f64(b->log_c) / sqrt(u->kappa) / mean, &r->rows, failure));
  r->z = malloc((size_t)u->source->n_rows * u->source->n_cols * sizeof *r->z);
  return r->z ? TANSY_OK : tansy_fail_memory(failure);
}

/* codes the integers, and learns from what they take */
static enum tansy_status rounding_end(struct rounding *r, struct tansy_failure *failure) {
  struct tansy_best *b = r->b;
  struct tansy_unit *u = r->unit;
  TANSY_TRY(tansy_job_add_integers(b->job, u->source, (struct tansy_integers){r->z, NULL}, &r->rows, failure));
  const struct tansy_matrix_result *result = &b->job->results[b->job->n_results - 1];
  u->nbytes = (double)result->stats.nbytes;
  b->spent += u->nbytes;
  double entropy_nbytes = tansy_unit_nbytes_at(u, b->log_c), n_extra = (u->code ? u->source->n_rows / 2.0 : 0) + 48;
  /* a matrix of almost nothing teaches nothing */
  if (entropy_nbytes > 2 * n_extra && u->nbytes > 2 * n_extra) {
    double learned = u->ratio * (u->nbytes - n_extra) / (entropy_nbytes - n_extra);
    u->ratio = learned < 0.5 ? 0.5 : learned > 2 ? 2 : learned;
    for (uint32_t i = 0; b->is_large && i < b->n_units; i++)
      if (b->units[i].source->role == u->source->role && b->units[i].source->layer > u->source->layer) b->units[i].ratio = u->ratio;
  }
  return TANSY_OK;
}

static void rounding_free(struct rounding *r) {
  free(r->z);
  tansy_rows_free(&r->rows);
}

/* a layer's matrix: w [n_rows, n_cols] is the rounded model's own copy */
static enum tansy_status round_linear(struct tansy_best *b, struct tansy_unit *u, double mean, float *w, struct tansy_failure *failure) {
  struct rounding r;
  uint32_t n_rows = u->source->n_rows, at_once = rows_at_once(u);
  enum tansy_status status = rounding_begin(&r, b, u, mean, true, failure);
  for (uint32_t first = 0; first < n_rows && status == TANSY_OK; first += at_once)
    status = round_rows(&r, first, n_rows - first < at_once ? n_rows - first : at_once, w + (size_t)first * u->source->n_cols, failure);
  if (status == TANSY_OK) status = rounding_end(&r, failure);
  rounding_free(&r);
  return status;
}

/* rows of the rounded embedding to where the windows' tokens stand */
static void keep_rows(struct tansy_best *b, uint32_t first, uint32_t n, const float *w) {
  uint32_t window = b->runner.window;
  size_t hidden = b->config->hidden;
  for (uint32_t i = 0; i < b->n_windows; i++) {
    const int32_t *tokens = b->job->calibration.tokens + (size_t)tansy_best_window(b, i) * window;
    for (uint32_t t = 0; t < window; t++)
      if ((uint32_t)tokens[t] - first < n)
        memcpy(b->rounded_x + ((size_t)i * window + t) * hidden, w + ((uint32_t)tokens[t] - first) * hidden, hidden * sizeof *w);
  }
}

/* the embedding or the head: rows are read from the checkpoint, and never there all at once */
static enum tansy_status round_table(struct tansy_best *b, struct tansy_unit *u, double mean, struct tansy_failure *failure) {
  struct rounding r;
  const struct tansy_source *s = u->source;
  uint32_t at_once = rows_at_once(u);
  double done = b->job->progress.done;
  const char *detail = s->role == TANSY_ROLE_HEAD ? "head" : "embedding";
  float *w = malloc((size_t)at_once * s->n_cols * sizeof *w);
  enum tansy_status status = rounding_begin(&r, b, u, mean, s->role == TANSY_ROLE_HEAD, failure);
  if (status == TANSY_OK && !w) status = tansy_fail_memory(failure);
  for (uint32_t first = 0; first < s->n_rows && status == TANSY_OK; first += at_once) {
    uint32_t n = s->n_rows - first < at_once ? s->n_rows - first : at_once;
    status = tansy_checkpoint_read(b->checkpoint, s, first, n, w, failure);
    if (status == TANSY_OK) status = round_rows(&r, first, n, w, failure);
    if (status == TANSY_OK && s->role == TANSY_ROLE_EMBED) keep_rows(b, first, n, w);
    tansy_progress_at(&b->job->progress, "quantize", detail, done + b->work_of.table * (first + n) / s->n_rows);
  }
  free(w);
  if (status == TANSY_OK) status = rounding_end(&r, failure);
  rounding_free(&r);
  return status;
}

/* ---- a layer ---- */

static enum tansy_status round_site(struct tansy_best *b, uint32_t layer, enum tansy_site site, const struct tansy_layer_weights *weights,
                                    struct tansy_layer_weights *rounded, struct tansy_failure *failure) {
  static const uint32_t site_roles[TANSY_SITE_HEAD][3] = {{TANSY_ROLE_Q, TANSY_ROLE_K, TANSY_ROLE_V},
                                                          {TANSY_ROLE_O, 0, 0},
                                                          {TANSY_ROLE_GATE, TANSY_ROLE_UP, 0},
                                                          {TANSY_ROLE_DOWN, 0, 0}};
  uint32_t n = tansy_site_n_cols(b->config, site), roles[3], n_roles = 0;
  for (int i = 0; i < 3 && site_roles[site][i]; i++) /* a plain MLP has no gate */
    if (tansy_best_unit(b, site_roles[site][i], layer)) roles[n_roles++] = site_roles[site][i];
  float *wanted = NULL;
  double mean = 1;
  steer(b);
  enum tansy_status status = gather(b, layer, site, roles, n_roles, weights, rounded, failure);
  if (status == TANSY_OK) mean = factor(b, b->a, n);
  if (status == TANSY_OK) status = wanted_scales(b->a, n, mean, &wanted, failure);
  if (status == TANSY_OK) status = tansy_job_add_site(b->job, layer, site, wanted, b->effective, failure);
  free(wanted);
  for (uint32_t i = 0; i < n_roles && status == TANSY_OK; i++) {
    float *w = (float *)(uintptr_t)tansy_layer_linear(rounded, roles[i])->w.f32; /* this layer's own copy */
    status = round_linear(b, tansy_best_unit(b, roles[i], layer), mean, w, failure);
  }
  site_release(b);
  return status;
}

/* vectors of a layer that belong to no site, in the order of the file */
static enum tansy_status add_vectors(struct tansy_best *b, uint32_t layer, uint32_t role_begin, uint32_t role_end, struct tansy_failure *failure) {
  for (uint32_t role = role_begin; role < role_end; role++) {
    const struct tansy_source *s = tansy_checkpoint_find(b->checkpoint, role, layer);
    if (s && !s->matrix && !tansy_role_is_site_norm(role)) TANSY_TRY(tansy_job_add_vector(b->job, s, failure));
  }
  return TANSY_OK;
}

static enum tansy_status layer_sites(struct tansy_best *b, uint32_t layer, const struct tansy_layer_weights *weights,
                                     struct tansy_layer_weights *rounded, struct tansy_failure *failure) {
  double done = b->job->progress.done, part = b->work / b->config->n_layers / 4;
  struct tansy_runner *r = &b->runner;
  char detail[32];
  snprintf(detail, sizeof detail, "layer %u of %u", layer + 1, b->config->n_layers);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_ATTN_IN, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_Q, TANSY_ROLE_ATTN_OUT_SCALE, failure));
  tansy_progress_at(&b->job->progress, "quantize", detail, done + part);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_ATTN_OUT, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_O, TANSY_ROLE_MLP_NORM, failure));
  tansy_runner_part(r, layer, rounded, TANSY_PART_ATTENTION, b->rounded_x, b->n_windows, 0, NULL);
  tansy_progress_at(&b->job->progress, "quantize", detail, done + 2 * part);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_MLP_IN, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_GATE, TANSY_ROLE_MLP_MID_SCALE, failure));
  tansy_progress_at(&b->job->progress, "quantize", detail, done + 3 * part);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_MLP_MID, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_DOWN, TANSY_ROLE_POST_MLP_NORM + 1, failure));
  tansy_runner_part(r, layer, rounded, TANSY_PART_MLP, b->rounded_x, b->n_windows, 0, NULL);
  tansy_progress_at(&b->job->progress, "quantize", detail, done + 4 * part);
  return TANSY_OK;
}

enum tansy_status tansy_best_layer(struct tansy_best *b, uint32_t layer, struct tansy_failure *failure) {
  struct tansy_float_layer weights, rounded;
  TANSY_TRY(tansy_float_layer_load(b->checkpoint, layer, &weights, failure));
  enum tansy_status status = tansy_float_layer_load(b->checkpoint, layer, &rounded, failure);
  if (status == TANSY_OK) status = layer_sites(b, layer, &weights.weights, &rounded.weights, failure);
  tansy_float_layer_free(&rounded);
  tansy_float_layer_free(&weights);
  return status;
}

/* ---- embedding and head ---- */

/* x from the checkpoint's embedding, rounded_x from the rows that are kept there */
static enum tansy_status begin_windows(struct tansy_best *b, struct tansy_failure *failure) {
  struct tansy_runner *r = &b->runner;
  tansy_runner_embed_rows(r, b->n_windows, b->rounded_x);
  for (uint32_t i = 0; i < b->n_windows; i++)
    TANSY_TRY(tansy_runner_embed(r, b->job->calibration.tokens + (size_t)tansy_best_window(b, i) * r->window, 1,
                                 b->x + (size_t)i * r->window * b->config->hidden, failure));
  return TANSY_OK;
}

enum tansy_status tansy_best_embed(struct tansy_best *b, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = b->checkpoint;
  uint32_t n = b->config->hidden;
  float *wanted = NULL;
  double mean = 1;
  steer(b);
  b->a = malloc((size_t)n * n * sizeof *b->a);
  enum tansy_status status = b->a ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    tansy_best_embed_moment(b, b->config->tied, true, b->a);
    mean = factor(b, b->a, n);
    status = wanted_scales(b->a, n, mean, &wanted, failure);
  }
  if (status == TANSY_OK) status = tansy_job_add_scale(b->job, TANSY_ROLE_EMBED_SCALE, 0, n, wanted, b->effective, failure);
  free(wanted);
  if (status == TANSY_OK) status = round_table(b, tansy_best_unit(b, TANSY_ROLE_EMBED, 0), mean, failure);
  site_release(b);
  for (uint32_t i = 0; i < c->n_sources && status == TANSY_OK; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (tansy_role_section(s->role) != 0 || s->role == TANSY_ROLE_EMBED) continue;
    status = s->matrix ? tansy_job_add_plain_matrix(b->job, s, 8, failure) : tansy_job_add_vector(b->job, s, failure);
  }
  return status == TANSY_OK ? begin_windows(b, failure) : status;
}

enum tansy_status tansy_best_final(struct tansy_best *b, struct tansy_failure *failure) {
  static const uint32_t role = TANSY_ROLE_HEAD;
  struct tansy_unit *head = tansy_best_unit(b, role, 0);
  const struct tansy_source *bias = tansy_checkpoint_find(b->checkpoint, TANSY_ROLE_HEAD_BIAS, 0);
  uint32_t n = b->config->hidden;
  enum tansy_status status = TANSY_OK;
  if (!head) { /* tied: the norm as it is */
    status = tansy_job_add_site(b->job, 0, TANSY_SITE_HEAD, NULL, b->effective, failure);
  } else {
    float *wanted = NULL;
    double mean = 1;
    steer(b);
    status = gather(b, b->config->n_layers, TANSY_SITE_HEAD, &role, 1, NULL, NULL, failure);
    if (status == TANSY_OK) mean = factor(b, b->a, n);
    if (status == TANSY_OK) status = wanted_scales(b->a, n, mean, &wanted, failure);
    if (status == TANSY_OK) status = tansy_job_add_site(b->job, 0, TANSY_SITE_HEAD, wanted, b->effective, failure);
    free(wanted);
    if (status == TANSY_OK) status = round_table(b, head, mean, failure);
    site_release(b);
  }
  if (status == TANSY_OK && bias) status = tansy_job_add_vector(b->job, bias, failure);
  return status;
}
