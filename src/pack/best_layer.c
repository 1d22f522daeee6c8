/* best_layer.c: rounding, site by site. Every linear that reads one input shares its second moment, so a site is rounded as
 * one: moments of the rounded model's inputs, their Cholesky factor, column scales from its diagonal, targets corrected for
 * what earlier rounding has done to the input, then each matrix with error feedback. The rounded matrices take their place in
 * the rounded model before the next site is looked at. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/best.h"
#include "pack/gptq.h"
#include "pack/linalg.h"
#include "pack/numeric.h"
#include "pack/site_scale.h"

/* ---- rounding one matrix ---- */

/* row scales of a unit: c / sqrt(kappa) / mean of L_jj, times r_i */
static enum tansy_status set_rows(const struct tansy_unit *u, double step, struct tansy_rows *rows, struct tansy_failure *failure) {
  TANSY_TRY(tansy_rows_init(rows, u->source->n_rows, failure));
  if (u->code)
    tansy_rows_set_half_octaves(rows, (float)(step * u->r_base), u->code);
  else
    tansy_rows_set_uniform(rows, (float)step);
  return TANSY_OK;
}

/* w [n_rows, n_cols]: target in, rounded weights out. `mean`: geometric mean of L_jj, by which column scales are 1 on average */
static enum tansy_status round_unit(struct tansy_best *b, struct tansy_unit *u, const float *l, double mean, float *w, struct tansy_failure *failure) {
  const struct tansy_source *s = u->source;
  struct tansy_rows rows;
  TANSY_TRY(set_rows(u, tansy_exp_f64(b->log_c) / sqrt(u->kappa) / mean, &rows, failure));
  int32_t *z = malloc((size_t)s->n_rows * s->n_cols * sizeof *z);
  enum tansy_status status = z ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    struct tansy_gptq g = {.l = l, .col = b->effective, .row = rows.value, .weight = u->weight, .m = u->factor, .block = u->block, .n_rows = s->n_rows, .n = s->n_cols};
    u->loss = tansy_gptq_round(b->job->team, &g, w, z);
    status = u->loss >= 0 ? tansy_job_add_matrix(b->job, s, z, &rows, failure) : tansy_fail_memory(failure);
  }
  free(z);
  tansy_rows_free(&rows);
  if (status != TANSY_OK) return status;
  const struct tansy_matrix_result *r = &b->job->results[b->job->n_results - 1];
  double entropy_nbytes = tansy_unit_nbytes_at(u, b->log_c), n_extra = (u->code ? s->n_rows / 2.0 : 0) + 48;
  /* a matrix of almost nothing teaches nothing */
  if (entropy_nbytes > 2 * n_extra && (double)r->stats.nbytes > 2 * n_extra) {
    double learned = u->ratio * ((double)r->stats.nbytes - n_extra) / (entropy_nbytes - n_extra);
    u->ratio = learned < 0.5 ? 0.5 : learned > 2 ? 2 : learned;
  }
  u->nbytes = (double)r->stats.nbytes;
  b->spent += u->nbytes;
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

static void norm_tokens(const struct tansy_best *b, const float *x, const float *weight, const float *bias, uint32_t n_tokens, float *out) {
  const struct tansy_config *c = b->config;
  for (size_t t = 0; t < n_tokens; t++) {
    if (c->norm_kind == TANSY_NORM_LAYER)
      b->runner.kernels.layer_norm(x + t * c->hidden, weight, bias, c->hidden, c->norm_eps, out + t * c->hidden);
    else
      b->runner.kernels.rms_norm(x + t * c->hidden, weight, c->hidden, c->norm_eps, out + t * c->hidden);
  }
}

/* input of `site` for windows [first, first + n) of x */
static void site_input(struct tansy_best *b, uint32_t layer, enum tansy_site site, const struct tansy_layer_weights *weights, float *x,
                       uint32_t first, uint32_t n, struct tansy_site_buffers *buffers) {
  float *from = x + (size_t)first * b->runner.window * b->config->hidden;
  float *to = buffers->capture.site[site];
  if (site == TANSY_SITE_ATTN_IN) {
    norm_tokens(b, from, weights->attn_norm, weights->attn_norm_bias, n * b->runner.window, to);
  } else if (site == TANSY_SITE_MLP_IN) {
    norm_tokens(b, from, weights->mlp_norm, weights->mlp_norm_bias, n * b->runner.window, to);
  } else if (site == TANSY_SITE_HEAD) {
    norm_tokens(b, from, b->outer.weights.final_norm, b->outer.weights.final_norm_bias, n * b->runner.window, to);
  } else {
    struct tansy_layer_weights stopped = stop_before(weights, site);
    struct tansy_capture capture = {{0}};
    capture.site[site] = to;
    tansy_runner_part(&b->runner, layer, &stopped, site == TANSY_SITE_ATTN_OUT ? TANSY_PART_ATTENTION : TANSY_PART_MLP, from, n, 1, &capture);
  }
}

/* x [n_tokens, n]: each token's row times the root of its weight: the mean of those it has at the linears of these roles */
static void weigh_tokens(const struct tansy_best *b, uint32_t layer, const uint32_t *roles, uint32_t n_roles, uint32_t first, uint32_t n_windows,
                         uint32_t n, float *x) {
  uint32_t window = b->runner.window;
  for (uint32_t i = 0; i < n_windows; i++) {
    uint32_t given = (uint32_t)((uint64_t)(first + i) * b->job->calibration.n / b->n_windows);
    if (!tansy_fisher_tokens(&b->fisher, layer, roles[0], given)) continue;
    for (size_t t = 0; t < window; t++) {
      float weight = 0, *row = x + (i * (size_t)window + t) * n;
      for (uint32_t k = 0; k < n_roles; k++) weight += tansy_fisher_tokens(&b->fisher, layer, roles[k], given)[t];
      float root = (float)sqrt(weight / (float)n_roles);
      for (uint32_t j = 0; j < n; j++) row[j] *= root;
    }
  }
}

/* a = E[x_q x_q^T], c = E[x_f x_q^T] - a, tokens weighted as the linears of these roles feel them */
static void gather(struct tansy_best *b, uint32_t layer, enum tansy_site site, const uint32_t *roles, uint32_t n_roles,
                   const struct tansy_layer_weights *weights, const struct tansy_layer_weights *rounded) {
  uint32_t n = tansy_site_n_cols(b->config, site), window = b->runner.window;
  memset(b->a, 0, (size_t)n * n * sizeof *b->a);
  memset(b->c, 0, (size_t)n * n * sizeof *b->c);
  for (uint32_t first = 0; first < b->n_windows; first += b->buffers.block) {
    uint32_t count = b->n_windows - first < b->buffers.block ? b->n_windows - first : b->buffers.block;
    site_input(b, layer, site, weights, b->x, first, count, &b->buffers);
    site_input(b, layer, site, rounded, b->rounded_x, first, count, &b->rounded_buffers);
    float *x_f = b->buffers.capture.site[site], *x_q = b->rounded_buffers.capture.site[site];
    weigh_tokens(b, layer, roles, n_roles, first, count, n, x_f);
    weigh_tokens(b, layer, roles, n_roles, first, count, n, x_q);
    tansy_gram_add(b->job->team, b->a, x_q, x_q, count * window, n);
    tansy_gram_add(b->job->team, b->c, x_f, x_q, count * window, n);
  }
  float scale = 1 / ((float)b->n_windows * (float)window);
  tansy_mirror(b->a, n);
  for (size_t i = 0; i < (size_t)n * n; i++) {
    b->a[i] *= scale;
    b->c[i] = b->c[i] * scale - b->a[i]; /* what targets are corrected with: C - A */
  }
}

/* w += share * w (C - A) (A + damping)^-1 */
static enum tansy_status correct_target(struct tansy_best *b, uint32_t n_rows, uint32_t n, float *w, struct tansy_failure *failure) {
  float *drift = malloc((size_t)n_rows * n * sizeof *drift);
  if (!drift) return tansy_fail_memory(failure);
  tansy_matmul_right(b->job->team, w, b->c, n_rows, n, drift);
  tansy_cholesky_solve_rows(b->job->team, b->a, n, drift, n_rows);
  for (size_t i = 0; i < (size_t)n_rows * n; i++) w[i] += (float)TANSY_BEST_TARGET * drift[i];
  free(drift);
  return TANSY_OK;
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
  float *wanted;
  steer(b);
  gather(b, layer, site, roles, n_roles, weights, rounded);
  double mean = factor(b, b->a, n);
  TANSY_TRY(wanted_scales(b->a, n, mean, &wanted, failure));
  enum tansy_status status = tansy_job_add_site(b->job, layer, site, wanted, b->effective, failure);
  free(wanted);
  for (uint32_t i = 0; i < n_roles && status == TANSY_OK; i++) {
    struct tansy_unit *u = tansy_best_unit(b, roles[i], layer);
    float *w = (float *)(uintptr_t)tansy_layer_linear(rounded, roles[i])->w.f32; /* this layer's own copy */
    status = correct_target(b, u->source->n_rows, n, w, failure);
    if (status == TANSY_OK) status = round_unit(b, u, b->a, mean, w, failure);
  }
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
  tansy_runner_part(r, layer, weights, TANSY_PART_ATTENTION, b->x, b->n_windows, 0, NULL);
  tansy_runner_part(r, layer, rounded, TANSY_PART_ATTENTION, b->rounded_x, b->n_windows, 0, NULL);
  tansy_progress_at(&b->job->progress, "quantize", detail, done + 2 * part);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_MLP_IN, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_GATE, TANSY_ROLE_MLP_MID_SCALE, failure));
  tansy_progress_at(&b->job->progress, "quantize", detail, done + 3 * part);
  TANSY_TRY(round_site(b, layer, TANSY_SITE_MLP_MID, weights, rounded, failure));
  TANSY_TRY(add_vectors(b, layer, TANSY_ROLE_DOWN, TANSY_ROLE_POST_MLP_NORM + 1, failure));
  tansy_runner_part(r, layer, weights, TANSY_PART_MLP, b->x, b->n_windows, 0, NULL);
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

enum tansy_status tansy_best_embed(struct tansy_best *b, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = b->checkpoint;
  uint32_t n = b->config->hidden;
  float *wanted;
  steer(b);
  tansy_best_embed_moment(b, b->config->tied, true, b->a);
  double mean = factor(b, b->a, n);
  TANSY_TRY(wanted_scales(b->a, n, mean, &wanted, failure));
  enum tansy_status status = tansy_job_add_scale(b->job, TANSY_ROLE_EMBED_SCALE, 0, n, wanted, b->effective, failure);
  free(wanted);
  float *w = (float *)(uintptr_t)b->rounded.weights.embed.w.f32;
  if (status == TANSY_OK) status = round_unit(b, tansy_best_unit(b, TANSY_ROLE_EMBED, 0), b->a, mean, w, failure);
  for (uint32_t i = 0; i < c->n_sources && status == TANSY_OK; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (tansy_role_section(s->role) != 0 || s->role == TANSY_ROLE_EMBED) continue;
    status = s->matrix ? tansy_job_add_plain_matrix(b->job, s, 8, failure) : tansy_job_add_vector(b->job, s, failure);
  }
  return status;
}

enum tansy_status tansy_best_final(struct tansy_best *b, struct tansy_failure *failure) {
  struct tansy_unit *head = tansy_best_unit(b, TANSY_ROLE_HEAD, 0);
  const struct tansy_source *bias = tansy_checkpoint_find(b->checkpoint, TANSY_ROLE_HEAD_BIAS, 0);
  uint32_t n = b->config->hidden;
  enum tansy_status status = TANSY_OK;
  if (!head) { /* tied: the norm as it is */
    status = tansy_job_add_site(b->job, 0, TANSY_SITE_HEAD, NULL, b->effective, failure);
  } else {
    float *wanted, *w = (float *)(uintptr_t)b->rounded.weights.head.w.f32;
    steer(b);
    static const uint32_t role = TANSY_ROLE_HEAD;
    gather(b, b->config->n_layers, TANSY_SITE_HEAD, &role, 1, NULL, NULL);
    double mean = factor(b, b->a, n);
    TANSY_TRY(wanted_scales(b->a, n, mean, &wanted, failure));
    status = tansy_job_add_site(b->job, 0, TANSY_SITE_HEAD, wanted, b->effective, failure);
    free(wanted);
    if (status == TANSY_OK) status = correct_target(b, b->config->vocab, n, w, failure);
    if (status == TANSY_OK) status = round_unit(b, head, b->a, mean, w, failure);
  }
  if (status == TANSY_OK && bias) status = tansy_job_add_vector(b->job, bias, failure);
  return status;
}
