/* recipe_paper.c: the recipe of 2502.15443 in its parts: see job.h.
 *
 * Calibration gives the largest |x_j| of every column a linear reads. Rescaling makes columns with small activations coarse
 * and those with large ones fine; pruning zeroes weights with small |w_ij| * max|x_j|; then rows are quantized with a step
 * in proportion to their absmax. One factor on all steps meets the size asked for: bits fall by one when it doubles. */
#include <stdlib.h>
#include <string.h>

#include "pack/calibrate.h"
#include "pack/job.h"
#include "pack/numeric.h"
#include "pack/site_scale.h"

struct paper {
  struct tansy_job *job;
  const struct tansy_paper_options *options;
  float **largest; /* [n_layers * TANSY_N_SITES + 1]: largest |x_j| of a site's columns; NULL pointers without calibration */
  float **effective; /* same shape: column scales as written */
  double step;
};

static float **site_vector(const struct paper *p, float **list, uint32_t layer, enum tansy_site site) {
  uint32_t n_layers = p->job->checkpoint->config.n_layers;
  return &list[site == TANSY_SITE_HEAD ? n_layers * TANSY_N_SITES : layer * TANSY_N_SITES + (uint32_t)site];
}

static void see_largest(void *ctx, uint32_t layer, enum tansy_site site, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  struct paper *p = ctx;
  float *largest = *site_vector(p, p->largest, layer, site);
  for (uint32_t t = 0; t < n_tokens; t++) {
    for (uint32_t j = 0; j < n_cols; j++) {
      float m = x[(size_t)t * n_cols + j];
      m = m < 0 ? -m : m;
      if (m > largest[j]) largest[j] = m;
    }
  }
}

static enum tansy_status calibrate(struct paper *p, struct tansy_failure *failure) {
  struct tansy_job *job = p->job;
  const struct tansy_config *c = &job->checkpoint->config;
  struct tansy_float_outer outer = {0};
  struct tansy_runner runner = {0};
  struct tansy_site_buffers buffers = {0};
  float *x = malloc((size_t)job->calibration.n * job->calibration.window * c->hidden * sizeof *x);
  enum tansy_status status = x ? tansy_float_outer_load(job->checkpoint, &outer, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_runner_init(&runner, c, &outer.weights, job->team, job->calibration.window, failure);
  if (status == TANSY_OK) status = tansy_site_buffers_init(&buffers, c, job->calibration.window, failure);
  if (status == TANSY_OK) tansy_runner_embed(&runner, job->calibration.tokens, job->calibration.n, x);
  for (uint32_t layer = 0; layer < c->n_layers && status == TANSY_OK; layer++) {
    struct tansy_float_layer weights;
    tansy_progress_at(&job->progress, "calibrate", NULL, layer);
    status = tansy_float_layer_load(job->checkpoint, layer, &weights, failure);
    if (status != TANSY_OK) break;
    tansy_calibrate_layer(&runner, &buffers, layer, &weights.weights, x, job->calibration.n, see_largest, p);
    tansy_float_layer_free(&weights);
  }
  if (status == TANSY_OK) tansy_calibrate_head(&runner, &buffers, x, job->calibration.n, see_largest, p);
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

/* the k-th smallest (from 0) of n non-negative floats: their bits sort like integers; two passes of 16 bits */
static float kth_smallest(const float *values, size_t n, size_t k, size_t *count /* [65536] */) {
  uint32_t high = 0;
  for (int pass = 0; pass < 2; pass++) {
    memset(count, 0, 65536 * sizeof *count);
    for (size_t i = 0; i < n; i++) {
      uint32_t bits = tansy_float_bits(values[i]);
      if (pass == 0)
        count[bits >> 16]++;
      else if (bits >> 16 == high)
        count[bits & 65535]++;
    }
    uint32_t at = 0;
    while (k >= count[at]) k -= count[at++];
    if (pass == 1) return tansy_float_from_bits(high << 16 | at);
    high = at;
  }
  return 0;
}

static enum tansy_status prune(float *w, const float *largest, uint32_t n_rows, uint32_t n_cols, double share, struct tansy_failure *failure) {
  size_t n = (size_t)n_rows * n_cols, n_pruned = (size_t)(share * (double)n);
  if (n_pruned == 0) return TANSY_OK;
  float *merit = malloc(n * sizeof *merit);
  size_t *count = malloc(65536 * sizeof *count);
  enum tansy_status status = merit && count ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    for (size_t i = 0; i < n; i++) {
      float m = (w[i] < 0 ? -w[i] : w[i]) * (largest ? largest[i % n_cols] : 1);
      merit[i] = m;
    }
    float limit = kth_smallest(merit, n, n_pruned - 1, count);
    for (size_t i = 0; i < n; i++)
      if (merit[i] <= limit) w[i] = 0;
  }
  free(merit);
  free(count);
  return status;
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

/* rows: absmax of the rescaled row / 127 * factor */
static void quantize_rows(const float *w, uint32_t n_rows, uint32_t n_cols, double factor, float *wanted, uint8_t *codes, struct tansy_rows *rows,
                          int32_t *z) {
  for (uint32_t i = 0; i < n_rows; i++) {
    float largest = 0;
    for (uint32_t j = 0; j < n_cols; j++) {
      float m = w[(size_t)i * n_cols + j];
      m = m < 0 ? -m : m;
      if (m > largest) largest = m;
    }
    wanted[i] = (float)(largest / 127 * factor);
  }
  if (factor == 1)
    tansy_rows_set_half(rows, wanted);
  else
    set_half_octaves(wanted, n_rows, rows, codes);
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < n_cols; j++)
      z[(size_t)i * n_cols + j] = rows->value[i] > 0 ? (int32_t)tansy_round_f32(w[(size_t)i * n_cols + j] / rows->value[i]) : 0;
}

static enum tansy_status add_matrix(struct paper *p, const struct tansy_source *s, const float *largest, const float *effective, double factor,
                                    struct tansy_failure *failure) {
  size_t n = (size_t)s->n_rows * s->n_cols;
  struct tansy_rows rows;
  float *w = malloc(n * sizeof *w), *wanted = malloc(s->n_rows * sizeof *wanted);
  uint8_t *codes = malloc(s->n_rows);
  int32_t *z = malloc(n * sizeof *z);
  enum tansy_status status = tansy_rows_init(&rows, s->n_rows, failure);
  if (status == TANSY_OK && (!w || !z || !wanted || !codes)) status = tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_checkpoint_read(p->job->checkpoint, s, 0, s->n_rows, w, failure);
  if (status == TANSY_OK) status = prune(w, largest, s->n_rows, s->n_cols, p->options->prune, failure);
  if (status == TANSY_OK) {
    for (size_t i = 0; effective && i < n; i++) w[i] /= effective[i % s->n_cols];
    quantize_rows(w, s->n_rows, s->n_cols, factor, wanted, codes, &rows, z);
    status = tansy_job_add_matrix(p->job, s, z, &rows, failure);
  }
  tansy_rows_free(&rows);
  free(w);
  free(wanted);
  free(codes);
  free(z);
  return status;
}

static enum tansy_status add_site(struct paper *p, uint32_t layer, enum tansy_site site, struct tansy_failure *failure) {
  const struct tansy_config *c = &p->job->checkpoint->config;
  uint32_t n = tansy_site_n_cols(c, site);
  float *largest = *site_vector(p, p->largest, layer, site), *effective = *site_vector(p, p->effective, layer, site);
  float *wanted = largest && p->options->alpha != 0 ? malloc(n * sizeof *wanted) : NULL;
  if (wanted) wanted_scales(largest, n, p->options->alpha, wanted);
  enum tansy_status status = site == TANSY_SITE_HEAD && c->tied
                                 ? tansy_job_add_scale(p->job, TANSY_ROLE_EMBED_SCALE, 0, n, wanted, effective, failure)
                                 : tansy_job_add_site(p->job, layer, site, wanted, effective, failure);
  free(wanted);
  return status;
}

static enum tansy_status add_source(struct paper *p, const struct tansy_source *s, struct tansy_failure *failure) {
  const struct tansy_config *c = &p->job->checkpoint->config;
  enum tansy_site site = tansy_role_site(s->role);
  uint32_t layer = s->layer;
  /* learned positions are few and read as they are: 8-bit integers */
  if (s->role == TANSY_ROLE_POSITION_EMBED) return add_matrix(p, s, NULL, NULL, 1, failure);
  if (s->role == TANSY_ROLE_EMBED && !c->tied) return add_matrix(p, s, NULL, NULL, p->step, failure);
  if (s->role == TANSY_ROLE_ATTN_NORM) return add_site(p, layer, TANSY_SITE_ATTN_IN, failure);
  if (s->role == TANSY_ROLE_MLP_NORM) return add_site(p, layer, TANSY_SITE_MLP_IN, failure);
  if (s->role == TANSY_ROLE_FINAL_NORM && !c->tied) return add_site(p, layer, TANSY_SITE_HEAD, failure);
  if (s->role == TANSY_ROLE_FINAL_NORM || s->role == TANSY_ROLE_FINAL_NORM_BIAS) return c->tied ? tansy_job_add_vector(p->job, s, failure) : TANSY_OK;
  if (tansy_role_is_site_norm(s->role)) return TANSY_OK; /* the bias went with its norm */
  if (!s->matrix) return tansy_job_add_vector(p->job, s, failure);
  if (s->role == TANSY_ROLE_EMBED || s->role == TANSY_ROLE_O || s->role == TANSY_ROLE_DOWN) TANSY_TRY(add_site(p, layer, site, failure));
  return add_matrix(p, s, *site_vector(p, p->largest, layer, site), *site_vector(p, p->effective, layer, site), p->step, failure);
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

/* Finds the step that meets the target: secant on log2(step) against log2(bytes), each point a complete coding. */
static enum tansy_status search(struct paper *p, struct tansy_failure *failure) {
  enum { MAX_ROUNDS = 12 };
  double allowed = tansy_job_allowed_nbytes(p->job), low = 1, low_bytes = 0, high = 0, high_bytes = 0, n_weights = (double)p->job->checkpoint->n_params;
  double bits = allowed * 8 / n_weights;
  if (bits < 1) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the paper recipe cannot reach %.2f bits per weight; at least 1", bits);
  p->step = bits < 7.3 ? tansy_exp_f64((7.3 - bits) * 0.6931471805599453) : 1;
  for (int round = 0; round < MAX_ROUNDS; round++) {
    double bytes;
    TANSY_TRY(build(p, (double)p->job->checkpoint->config.n_layers + round, failure));
    TANSY_TRY(tansy_job_nbytes(p->job, &bytes, failure));
    if (bytes <= allowed && bytes >= allowed * 0.995) return TANSY_OK;
    if (bytes > allowed)
      low = p->step, low_bytes = bytes;
    else
      high = p->step, high_bytes = bytes;
    if (bytes < allowed && p->step <= 0.02) return TANSY_OK; /* as fine as it goes */
    if (low_bytes > 0 && high_bytes > 0) { /* aim a little below the target */
      double t = (low_bytes - allowed * 0.998) / (low_bytes - high_bytes);
      t = t < 0.02 ? 0.02 : t > 0.98 ? 0.98 : t;
      p->step = low * tansy_exp_f64(t * tansy_log_f64(high / low));
    } else {
      p->step *= tansy_exp_f64((bytes - allowed * 0.998) * 8 / n_weights * 0.6931471805599453);
    }
  }
  double bytes;
  TANSY_TRY(tansy_job_nbytes(p->job, &bytes, failure));
  if (bytes > allowed * 1.01 || bytes < allowed * 0.99)
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the paper recipe comes to %.3f bits per weight, not to the %.3f asked for", bytes * 8 / n_weights, bits);
  return TANSY_OK;
}

enum tansy_status tansy_recipe_paper(struct tansy_job *job, const struct tansy_paper_options *options, struct tansy_failure *failure) {
  const struct tansy_config *c = &job->checkpoint->config;
  uint32_t n_vectors = c->n_layers * TANSY_N_SITES + 1;
  struct paper p = {job, options, calloc(n_vectors, sizeof *p.largest), calloc(n_vectors, sizeof *p.effective), options->step};
  enum tansy_status status = p.largest && p.effective ? TANSY_OK : tansy_fail_memory(failure);
  for (uint32_t i = 0; i < n_vectors && status == TANSY_OK; i++) {
    uint32_t n = tansy_site_n_cols(c, i + 1 == n_vectors ? TANSY_SITE_HEAD : (enum tansy_site)(i % TANSY_N_SITES));
    p.effective[i] = calloc(n, sizeof **p.effective);
    if (job->calibration.n) p.largest[i] = calloc(n, sizeof **p.largest);
    if (!p.effective[i] || (job->calibration.n && !p.largest[i])) status = tansy_fail_memory(failure);
  }
  tansy_progress_start(&job->progress, job->progress.kind, (double)c->n_layers + 4);
  if (status == TANSY_OK && job->calibration.n) status = calibrate(&p, failure);
  if (status == TANSY_OK && !job->calibration.n)
    tansy_progress_warn(&job->progress, "no calibration text: columns are not rescaled, and pruning looks at weights alone");
  if (status == TANSY_OK) status = p.step > 0 ? build(&p, c->n_layers, failure) : search(&p, failure);
  for (uint32_t i = 0; i < n_vectors; i++) {
    if (p.largest) free(p.largest[i]);
    if (p.effective) free(p.effective[i]);
  }
  free(p.largest);
  free(p.effective);
  return status;
}
