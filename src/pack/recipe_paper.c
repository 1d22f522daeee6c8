/* recipe_paper.c: the recipe of 2502.15443 in its parts: see job.h.
 *
 * Calibration gives the largest |x_j| of every column a linear reads. Rescaling makes columns with small activations coarse
 * and those with large ones fine; pruning zeroes weights with small |w_ij| * max|x_j|; then rows are quantized with a step
 * in proportion to their absmax.
 *
 * One factor on all steps meets the size asked for: bits fall by one when it doubles. Steps are ours to choose then, and activations
 * guide that too: what a linear's error is of the residual stream says how coarse it may be (paper_stream.h). */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "pack/calibrate.h"
#include "pack/job.h"
#include "pack/numeric.h"
#include "pack/paper_stream.h"
#include "pack/site_scale.h"

#define UNSEEN 0.05 /* of the mean count: what tokens count that the text lacks */
#define MAX_FACTOR 4.0 /* either way, on a linear's steps */

struct paper {
  struct tansy_job *job;
  const struct tansy_paper_options *options;
  float **largest; /* [n_layers * TANSY_N_SITES + 1]: largest |x_j| of a site's columns; NULL pointers without calibration */
  float **effective; /* same shape: column scales as written */
  double **square;   /* same shape as `largest`: sums of x_j^2 */
  struct tansy_paper_stream stream;
  struct matrix *matrices; /* [n_sources] */
  double step;
  bool measuring; /* matrices are looked at and not yet coded */
};

static uint32_t site_number(const struct paper *p, uint32_t layer, enum tansy_site site) {
  return site == TANSY_SITE_HEAD ? p->job->checkpoint->config.n_layers * TANSY_N_SITES : layer * TANSY_N_SITES + (uint32_t)site;
}
static float **site_vector(const struct paper *p, float **list, uint32_t layer, enum tansy_site site) { return &list[site_number(p, layer, site)]; }

static void see_largest(void *ctx, uint32_t layer, enum tansy_site site, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  struct paper *p = ctx;
  float *largest = *site_vector(p, p->largest, layer, site);
  double *square = p->square[site_number(p, layer, site)];
  for (uint32_t t = 0; t < n_tokens; t++) {
    for (uint32_t j = 0; j < n_cols; j++) {
      float m = x[(size_t)t * n_cols + j];
      square[j] += (double)m * m;
      m = m < 0 ? -m : m;
      if (m > largest[j]) largest[j] = m;
    }
  }
  /* a part of the layer has been run when the inputs of its last linear are shown */
  if (site == TANSY_SITE_ATTN_OUT || site == TANSY_SITE_MLP_MID) tansy_paper_stream_see(&p->stream, layer, site == TANSY_SITE_MLP_MID, n_tokens);
}

static enum tansy_status calibrate(struct paper *p, struct tansy_failure *failure) {
  struct tansy_job *job = p->job;
  const struct tansy_config *c = &job->checkpoint->config;
  struct tansy_float_outer outer = {0};
  struct tansy_runner runner = {0};
  struct tansy_site_buffers buffers = {0};
  size_t n_tokens = (size_t)job->calibration.n * job->calibration.window;
  float *x = malloc(n_tokens * c->hidden * sizeof *x);
  enum tansy_status status = x ? tansy_float_outer_load(job->checkpoint, &outer, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_runner_init(&runner, job->checkpoint, &outer.weights, job->team, job->calibration.window, failure);
  if (status == TANSY_OK) status = tansy_site_buffers_init(&buffers, c, job->calibration.window, failure);
  if (status == TANSY_OK) status = tansy_runner_embed(&runner, job->calibration.tokens, job->calibration.n, x, failure);
  if (status == TANSY_OK) status = tansy_paper_stream_init(&p->stream, c->n_layers, c->hidden, x, n_tokens, failure);
  for (uint32_t layer = 0; layer < c->n_layers && status == TANSY_OK; layer++) {
    struct tansy_float_layer weights;
    tansy_progress_at(&job->progress, "calibrate", NULL, layer);
    status = tansy_float_layer_load(job->checkpoint, layer, &weights, failure);
    if (status != TANSY_OK) break;
    tansy_calibrate_layer(&runner, &buffers, layer, &weights.weights, x, job->calibration.n, see_largest, p);
    tansy_float_layer_free(&weights);
  }
  if (status == TANSY_OK) tansy_calibrate_head(&runner, &buffers, x, job->calibration.n, see_largest, p);
  tansy_paper_stream_end(&p->stream);
  tansy_site_buffers_free(&buffers);
  tansy_runner_free(&runner);
  tansy_float_outer_free(&outer);
  free(x);
  return status;
}

/* wanted column scales of a site: largest^-alpha around a geometric mean of 1; dead columns count as the smallest live one */
static void wanted_scales(const float *largest, uint32_t n, double alpha, float *wanted) {
  float smallest = 0;
  for (uint32_t j = 0; j < n; j++)
    if (largest[j] > 0 && (smallest == 0 || largest[j] < smallest)) smallest = largest[j];
  if (smallest == 0) smallest = 1;
  double mean = 0;
  for (uint32_t j = 0; j < n; j++) mean += tansy_log_f64(largest[j] > 0 ? largest[j] : smallest);
  mean /= n;
  for (uint32_t j = 0; j < n; j++) {
    double log_scale = -alpha * (tansy_log_f64(largest[j] > 0 ? largest[j] : smallest) - mean);
    if (log_scale > 5) log_scale = 5; /* LOG8 spans 11 nats */
    if (log_scale < -5) log_scale = -5;
    wanted[j] = (float)tansy_exp_f64(log_scale);
  }
}

/* ---- one matrix, read block by block: what its steps need to know, then its integers ---- */

struct matrix {
  const struct tansy_source *source;
  const float *largest, *effective; /* [n_cols] or NULL */
  float prune_below; /* |w| * largest up to this are zeroed; negative: none */
  float *absmax;     /* [n_rows] of what is left, rescaled; NULL: not known yet */
  const double *square; /* [n_cols] or NULL */
  double *energy;       /* [n_rows] sum of w_ij^2 x_j^2 over columns and text, before anything is done to the weights */
  double factor;        /* on steps: where steps are ours to choose, by the damage they do */
  /* finding prune_below: the bits of non-negative floats sort like integers; two passes of 16 bits */
  size_t *count; /* [65536] */
  uint32_t high;
  bool second;
  /* rounding */
  const struct tansy_rows *rows;
  int16_t *z;
};

static float merit(const struct matrix *m, float w, uint32_t col) { return (w < 0 ? -w : w) * (m->largest ? m->largest[col] : 1); }

static enum tansy_status count_block(void *ctx, uint32_t first, uint32_t n_rows, float *w, struct tansy_failure *failure) {
  (void)first, (void)failure;
  struct matrix *m = ctx;
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < m->source->n_cols; j++) {
      uint32_t bits = tansy_float_bits(merit(m, w[(size_t)i * m->source->n_cols + j], j));
      if (!m->second)
        m->count[bits >> 16]++;
      else if (bits >> 16 == m->high)
        m->count[bits & 65535]++;
    }
  return TANSY_OK;
}

static enum tansy_status find_prune_below(const struct paper *p, struct matrix *m, struct tansy_failure *failure) {
  const struct tansy_source *s = m->source;
  size_t k = (size_t)(p->options->prune * (double)s->n_rows * s->n_cols);
  m->prune_below = -1;
  if (k-- == 0) return TANSY_OK;
  m->count = malloc(65536 * sizeof *m->count);
  enum tansy_status status = m->count ? TANSY_OK : tansy_fail_memory(failure);
  for (int pass = 0; pass < 2 && status == TANSY_OK; pass++) {
    m->second = pass == 1;
    memset(m->count, 0, 65536 * sizeof *m->count);
    status = tansy_checkpoint_blocks(p->job->checkpoint, s, count_block, m, failure);
    uint32_t at = 0;
    while (status == TANSY_OK && k >= m->count[at]) k -= m->count[at++];
    if (m->second)
      m->prune_below = tansy_float_from_bits(m->high << 16 | at);
    else
      m->high = at;
  }
  free(m->count);
  m->count = NULL;
  return status;
}

static void prune_and_rescale(const struct matrix *m, float *w, uint32_t n_rows) {
  uint32_t n_cols = m->source->n_cols;
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < n_cols; j++) {
      float *at = &w[(size_t)i * n_cols + j];
      if (merit(m, *at, j) <= m->prune_below) *at = 0;
      if (m->effective) *at /= m->effective[j];
    }
}

static enum tansy_status absmax_block(void *ctx, uint32_t first, uint32_t n_rows, float *w, struct tansy_failure *failure) {
  (void)failure;
  const struct matrix *m = ctx;
  for (uint32_t i = 0; i < n_rows && m->square; i++)
    for (uint32_t j = 0; j < m->source->n_cols; j++) {
      double v = w[(size_t)i * m->source->n_cols + j];
      m->energy[first + i] += v * v * m->square[j];
    }
  prune_and_rescale(m, w, n_rows);
  tansy_absmax_rows(w, n_rows, m->source->n_cols, m->absmax + first);
  return TANSY_OK;
}

static enum tansy_status round_block(void *ctx, uint32_t first, uint32_t n_rows, float *w, struct tansy_failure *failure) {
  (void)failure;
  const struct matrix *m = ctx;
  uint32_t n_cols = m->source->n_cols;
  prune_and_rescale(m, w, n_rows);
  tansy_round_rows(w, n_rows, n_cols, m->rows->value + first, INT16_MAX, m->z + (size_t)first * n_cols);
  return TANSY_OK;
}

/* nearest half-octaves above the smallest live row, at most 15 of them (the few rows below are taken with finer steps than asked) */
static void set_half_octaves(const float *wanted, uint32_t n_rows, struct tansy_rows *rows, uint8_t *codes) {
  float largest = 0, smallest = 0;
  for (uint32_t i = 0; i < n_rows; i++)
    if (wanted[i] > largest) largest = wanted[i];
  for (uint32_t i = 0; i < n_rows; i++)
    if (wanted[i] >= largest * 0x1p-7f && wanted[i] > 0 && (smallest == 0 || wanted[i] < smallest)) smallest = wanted[i];
  if (smallest == 0) smallest = 1;
  for (uint32_t i = 0; i < n_rows; i++) {
    double code = wanted[i] > smallest ? tansy_round_f64(tansy_log_f64(wanted[i] / smallest) * (2 / 0.6931471805599453)) : 0;
    codes[i] = code > 15 ? 15 : (uint8_t)code;
  }
  tansy_rows_set_half_octaves(rows, smallest, codes);
}

/* ---- steps ---- */

static bool is_linear(uint32_t role) { return tansy_role_section(role) == 1; }
static bool steps_are_ours(const struct paper *p) { return p->options->step == 0; }

/* absmax of the rows -> what their steps are in proportion to: a matrix of a layer has one step when row_scale is 0 */
static void level_rows(const struct paper *p, struct matrix *m) {
  double mean = 0;
  uint32_t n = 0;
  for (uint32_t i = 0; i < m->source->n_rows; i++)
    if (m->absmax[i] > 0) mean += tansy_log_f64(m->absmax[i]), n++;
  if (n) mean /= n;
  for (uint32_t i = 0; i < m->source->n_rows && n; i++) {
    double log_absmax = m->absmax[i] > 0 ? tansy_log_f64(m->absmax[i]) : mean;
    m->absmax[i] = (float)tansy_exp_f64(mean + p->options->row_scale * (log_absmax - mean));
  }
}

/* rows of frequent tokens are read and predicted more often: finer steps */
static enum tansy_status follow_tokens(const struct paper *p, struct matrix *m, struct tansy_failure *failure) {
  const struct tansy_windows *text = &p->job->calibration;
  size_t n_tokens = (size_t)text->n * text->window;
  uint32_t n_rows = m->source->n_rows;
  double *count = calloc(n_rows, sizeof *count);
  if (!count) return tansy_fail_memory(failure);
  for (size_t i = 0; i < n_tokens; i++) count[text->tokens[i]]++;
  double rare = UNSEEN * (double)n_tokens / n_rows, mean = 0;
  for (uint32_t i = 0; i < n_rows; i++) mean += tansy_log_f64(count[i] + rare) / n_rows;
  for (uint32_t i = 0; i < n_rows; i++)
    m->absmax[i] *= (float)tansy_exp_f64(p->options->token_scale / 2 * (mean - tansy_log_f64(count[i] + rare)));
  free(count);
  return TANSY_OK;
}

/* the factor that a linear's part in the residual stream asks for, not yet brought to a mean of 1 */
static void weigh(const struct paper *p, struct matrix *m) {
  const struct tansy_source *s = m->source;
  double columns = 0;
  for (uint32_t j = 0; j < s->n_cols; j++) columns += (double)m->effective[j] * m->effective[j] * m->square[j];
  double damage = tansy_paper_stream_damage(&p->stream, s, m->absmax, m->energy, columns);
  if (damage > 0) m->factor = tansy_exp_f64(p->options->allocate / 2 * tansy_log_f64((double)s->n_rows * s->n_cols / damage));
}

/* factors of the linears, around 1: one that nothing is known of gets 1, and none is far from it */
static void level_factors(struct paper *p) {
  double sum = 0, n = 0;
  for (uint32_t i = 0; i < p->job->checkpoint->n_sources; i++) {
    struct matrix *m = &p->matrices[i];
    if (!m->absmax || !(m->factor > 0)) continue;
    double n_weights = (double)m->source->n_rows * m->source->n_cols;
    sum += n_weights * tansy_log_f64(m->factor);
    n += n_weights;
  }
  for (uint32_t i = 0; i < p->job->checkpoint->n_sources; i++) {
    struct matrix *m = &p->matrices[i];
    if (!m->absmax) continue;
    m->factor = m->factor > 0 ? m->factor * tansy_exp_f64(-sum / n) : 1;
    m->factor = m->factor > MAX_FACTOR ? MAX_FACTOR : m->factor < 1 / MAX_FACTOR ? 1 / MAX_FACTOR : m->factor;
  }
}

/* what is to be known of a matrix before its steps can be chosen */
static enum tansy_status look(struct paper *p, struct matrix *m, struct tansy_failure *failure) {
  const struct tansy_source *s = m->source;
  m->absmax = malloc(s->n_rows * sizeof *m->absmax);
  m->energy = calloc(s->n_rows, sizeof *m->energy);
  enum tansy_status status = m->absmax && m->energy ? find_prune_below(p, m, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_checkpoint_blocks(p->job->checkpoint, s, absmax_block, m, failure);
  bool table = s->role == TANSY_ROLE_EMBED || s->role == TANSY_ROLE_HEAD;
  if (status == TANSY_OK && steps_are_ours(p) && table && p->job->calibration.n && p->options->token_scale > 0) status = follow_tokens(p, m, failure);
  if (status == TANSY_OK && steps_are_ours(p) && is_linear(s->role)) {
    level_rows(p, m);
    if (m->square && p->options->allocate > 0) weigh(p, m);
  }
  free(m->energy);
  m->energy = NULL;
  return status;
}

static void set_rows(const struct paper *p, const struct matrix *m, const float *wanted, double factor, struct tansy_rows *rows, uint8_t *codes) {
  if (steps_are_ours(p) && is_linear(m->source->role) && p->options->row_scale == 0)
    tansy_rows_set_uniform(rows, wanted[0] > 0 ? wanted[0] : 1);
  else if (factor == 1)
    tansy_rows_set_half(rows, wanted);
  else
    set_half_octaves(wanted, rows->n_rows, rows, codes);
}

/* row scales: absmax / 127 * factor */
static enum tansy_status add_matrix(struct paper *p, const struct tansy_source *s, enum tansy_site site, const float *effective, double factor,
                                    struct tansy_failure *failure) {
  struct matrix *m = &p->matrices[s - p->job->checkpoint->sources];
  struct tansy_rows rows;
  if (p->measuring) {
    uint32_t number = site_number(p, s->layer, site);
    *m = (struct matrix){.source = s, .effective = effective};
    if (effective) m->largest = p->largest[number], m->square = p->square[number];
    return look(p, m, failure);
  }
  TANSY_TRY(tansy_rows_init(&rows, s->n_rows, failure));
  enum tansy_status status = TANSY_OK;
  float *wanted = malloc(s->n_rows * sizeof *wanted);
  uint8_t *codes = malloc(s->n_rows);
  m->rows = &rows;
  m->z = malloc((size_t)s->n_rows * s->n_cols * sizeof *m->z);
  if (!wanted || !codes || !m->z) status = tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    for (uint32_t i = 0; i < s->n_rows; i++) wanted[i] = (float)(m->absmax[i] / 127 * factor * m->factor);
    set_rows(p, m, wanted, factor, &rows, codes);
    status = tansy_checkpoint_blocks(p->job->checkpoint, s, round_block, m, failure);
  }
  if (status == TANSY_OK) status = tansy_job_add_integers(p->job, s, (struct tansy_integers){m->z, NULL}, &rows, failure);
  tansy_rows_free(&rows);
  free(m->z);
  m->z = NULL;
  free(wanted);
  free(codes);
  return status;
}

static enum tansy_status add_site(struct paper *p, uint32_t layer, enum tansy_site site, struct tansy_failure *failure) {
  const struct tansy_config *c = &p->job->checkpoint->config;
  uint32_t n = tansy_site_n_cols(c, site);
  float *largest = *site_vector(p, p->largest, layer, site), *effective = *site_vector(p, p->effective, layer, site);
  bool scaled = largest && p->options->alpha != 0;
  float *wanted = scaled ? malloc(n * sizeof *wanted) : NULL;
  if (scaled && !wanted) return tansy_fail_memory(failure);
  if (wanted) wanted_scales(largest, n, p->options->alpha, wanted);
  enum tansy_status status = site == TANSY_SITE_HEAD && c->tied
                                 ? tansy_job_add_scale(p->job, TANSY_ROLE_EMBED_SCALE, 0, n, wanted, effective, failure)
                                 : tansy_job_add_site(p->job, layer, site, wanted, effective, failure);
  free(wanted);
  return status;
}

/* partial compression: what reads and predicts tokens keeps finer steps where steps are ours to choose */
static double step_of(const struct paper *p, uint32_t role) {
  bool is_table = role == TANSY_ROLE_EMBED || role == TANSY_ROLE_HEAD;
  return p->options->step > 0 || !is_table ? p->step : p->step * p->options->table_step;
}

static enum tansy_status add_source(struct paper *p, const struct tansy_source *s, struct tansy_failure *failure) {
  const struct tansy_config *c = &p->job->checkpoint->config;
  enum tansy_site site = tansy_role_site(s->role);
  uint32_t layer = s->layer;
  /* learned positions are few and read as they are: 8-bit integers */
  if (s->role == TANSY_ROLE_POSITION_EMBED) return add_matrix(p, s, site, NULL, 1, failure);
  if (s->role == TANSY_ROLE_EMBED && !c->tied) return add_matrix(p, s, site, NULL, step_of(p, s->role), failure);
  if (s->role == TANSY_ROLE_ATTN_NORM) return add_site(p, layer, TANSY_SITE_ATTN_IN, failure);
  if (s->role == TANSY_ROLE_MLP_NORM) return add_site(p, layer, TANSY_SITE_MLP_IN, failure);
  if (s->role == TANSY_ROLE_FINAL_NORM && !c->tied) return add_site(p, layer, TANSY_SITE_HEAD, failure);
  if (s->role == TANSY_ROLE_FINAL_NORM || s->role == TANSY_ROLE_FINAL_NORM_BIAS) return c->tied ? tansy_job_add_vector(p->job, s, failure) : TANSY_OK;
  if (tansy_role_is_site_norm(s->role)) return TANSY_OK; /* the bias went with its norm */
  if (!s->matrix) return tansy_job_add_vector(p->job, s, failure);
  if (s->role == TANSY_ROLE_EMBED || s->role == TANSY_ROLE_O || s->role == TANSY_ROLE_DOWN) TANSY_TRY(add_site(p, layer, site, failure));
  return add_matrix(p, s, site, *site_vector(p, p->effective, layer, site), step_of(p, s->role), failure);
}

static enum tansy_status build(struct paper *p, double done, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = p->job->checkpoint;
  tansy_job_clear(p->job);
  for (uint32_t i = 0; i < c->n_sources; i++) {
    tansy_progress_at(&p->job->progress, "quantize", NULL, done + (double)i / c->n_sources);
    TANSY_TRY(add_source(p, &c->sources[i], failure));
  }
  return TANSY_OK;
}

/* looks at all matrices, and writes nothing */
static enum tansy_status measure(struct paper *p, struct tansy_failure *failure) {
  p->measuring = true;
  TANSY_TRY(build(p, p->job->checkpoint->config.n_layers, failure));
  p->measuring = false;
  level_factors(p);
  return TANSY_OK;
}

/* Finds the step that meets the target: secant on log2(step) against log2(bytes), each point a complete coding. */
static enum tansy_status search(struct paper *p, struct tansy_failure *failure) {
  enum { MAX_ROUNDS = 12 };
  double allowed = tansy_job_allowed_nbytes(p->job), low = 1, low_bytes = 0, high = 0, high_bytes = 0, n_weights = (double)p->job->checkpoint->n_params;
  double bits = allowed * 8 / n_weights;
  if (bits < 1) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the paper recipe cannot reach %.2f bits per weight; at least 1", bits);
  p->step = bits < 7.3 ? tansy_exp_f64((7.3 - bits) * 0.6931471805599453) : 1;
  for (int round = 0; round < MAX_ROUNDS; round++) {
    double bytes;
    TANSY_TRY(build(p, (double)p->job->checkpoint->config.n_layers + 1 + round, failure));
    TANSY_TRY(tansy_job_nbytes(p->job, &bytes, failure));
    if (bytes <= allowed && bytes >= allowed * 0.997) return TANSY_OK;
    if (bytes > allowed)
      low = p->step, low_bytes = bytes;
    else
      high = p->step, high_bytes = bytes;
    if (bytes < allowed && p->step <= 0.02) return TANSY_OK; /* as fine as it goes */
    if (low_bytes > 0 && high_bytes > 0) { /* aim a little below the target */
      double t = (low_bytes - allowed * 0.999) / (low_bytes - high_bytes);
      t = t < 0.02 ? 0.02 : t > 0.98 ? 0.98 : t;
      p->step = low * tansy_exp_f64(t * tansy_log_f64(high / low));
    } else {
      p->step *= tansy_exp_f64((bytes - allowed * 0.999) * 8 / n_weights * 0.6931471805599453);
    }
  }
  double bytes;
  TANSY_TRY(tansy_job_nbytes(p->job, &bytes, failure));
  bool met = bytes <= allowed * 1.01 && bytes >= allowed * 0.99;
  if (!met && p->job->target.is_default) {
    char text[120];
    snprintf(text, sizeof text, "this model does not come to the %.1f bits per weight that are usual: these are %.2f", bits, bytes * 8 / n_weights);
    tansy_progress_warn(&p->job->progress, text);
  } else if (!met) {
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the paper recipe comes to %.3f bits per weight, not to the %.3f asked for", bytes * 8 / n_weights, bits);
  }
  return TANSY_OK;
}

enum tansy_status tansy_recipe_paper(struct tansy_job *job, const struct tansy_paper_options *options, struct tansy_failure *failure) {
  const struct tansy_config *c = &job->checkpoint->config;
  uint32_t n_vectors = c->n_layers * TANSY_N_SITES + 1;
  uint32_t n_sources = job->checkpoint->n_sources;
  struct paper p = {.job = job, .options = options, .step = options->step};
  p.largest = calloc(n_vectors, sizeof *p.largest);
  p.effective = calloc(n_vectors, sizeof *p.effective);
  p.square = calloc(n_vectors, sizeof *p.square);
  p.matrices = calloc(n_sources, sizeof *p.matrices);
  enum tansy_status status = p.largest && p.effective && p.square && p.matrices ? TANSY_OK : tansy_fail_memory(failure);
  for (uint32_t i = 0; i < n_vectors && status == TANSY_OK; i++) {
    uint32_t n = tansy_site_n_cols(c, i + 1 == n_vectors ? TANSY_SITE_HEAD : (enum tansy_site)(i % TANSY_N_SITES));
    p.effective[i] = calloc(n, sizeof **p.effective);
    if (job->calibration.n) p.largest[i] = calloc(n, sizeof **p.largest), p.square[i] = calloc(n, sizeof **p.square);
    if (!p.effective[i] || (job->calibration.n && (!p.largest[i] || !p.square[i]))) status = tansy_fail_memory(failure);
  }
  tansy_progress_start(&job->progress, job->progress.kind, (double)c->n_layers + 5);
  if (status == TANSY_OK && job->calibration.n) status = calibrate(&p, failure);
  if (status == TANSY_OK && !job->calibration.n)
    tansy_progress_warn(&job->progress, "no calibration text: columns are not rescaled, and pruning looks at weights alone");
  if (status == TANSY_OK) status = measure(&p, failure);
  if (status == TANSY_OK) status = p.step > 0 ? build(&p, c->n_layers + 1, failure) : search(&p, failure);
  for (uint32_t i = 0; i < n_vectors; i++) {
    if (p.largest) free(p.largest[i]);
    if (p.effective) free(p.effective[i]);
    if (p.square) free(p.square[i]);
  }
  for (uint32_t i = 0; p.matrices && i < n_sources; i++) free(p.matrices[i].absmax);
  free(p.matrices);
  free(p.largest);
  free(p.effective);
  free(p.square);
  tansy_paper_stream_free(&p.stream);
  return status;
}
