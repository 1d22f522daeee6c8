/* rate.c: see rate.h. */
#include "pack/rate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

#define LN2 0.6931471805599453
#define POINT_STEP (LN2 / 2)  /* half an octave between points */
#define LOW_POINT (-6 * LN2)  /* first point, below the matrix' own spread */

enum { MAX_CODE = 15, MAX_INTEGER = 4096 };

/* bits saved by multipliers r at equal loss */
static double gain_of(const struct tansy_unit *u, const double *r) {
  double log_mean = 0, mean = 0;
  for (uint32_t i = 0; i < u->source->n_rows; i++) {
    log_mean += tansy_log_f64(r[i]);
    mean += u->weight[i] * r[i] * r[i];
  }
  log_mean /= u->source->n_rows;
  mean /= u->source->n_rows;
  return (log_mean + 0.5 * tansy_log_f64(u->kappa / mean)) / LN2;
}

enum tansy_status tansy_unit_init(struct tansy_unit *u, const struct tansy_source *source, float *weight, double exponent,
                                  struct tansy_failure *failure) {
  uint32_t n = source->n_rows;
  *u = (struct tansy_unit){.source = source, .weight = weight, .r_base = 1, .ratio = 1};
  for (uint32_t i = 0; i < n; i++) u->kappa += weight[i];
  u->kappa /= n;
  if (!(u->kappa > 1e-30)) { /* nothing feels this matrix: any rounding will do */
    u->kappa = 1e-30;
    for (uint32_t i = 0; i < n; i++) weight[i] = 1e-30f;
  }
  double *r = malloc(n * sizeof *r);
  u->code = malloc(n);
  if (!r || !u->code) {
    free(r);
    return tansy_fail_memory(failure);
  }
  double smallest = 1e300;
  for (uint32_t i = 0; i < n; i++) {
    r[i] = tansy_exp_f64(-exponent / 2 * tansy_log_f64(weight[i] / u->kappa + 0.02));
    if (r[i] < smallest) smallest = r[i];
  }
  u->r_base = smallest;
  for (uint32_t i = 0; i < n; i++) {
    double code = tansy_round_f64(tansy_log_f64(r[i] / smallest) * (2 / LN2));
    u->code[i] = code > MAX_CODE ? MAX_CODE : (uint8_t)code;
    r[i] = tansy_unit_row(u, i);
  }
  if (gain_of(u, r) * source->n_cols <= 4) {
    free(u->code);
    u->code = NULL;
    u->r_base = 1;
  }
  free(r);
  return TANSY_OK;
}

void tansy_unit_free(struct tansy_unit *u) {
  free(u->weight);
  free(u->code);
  u->weight = NULL;
  u->code = NULL;
}

double tansy_unit_row(const struct tansy_unit *u, uint32_t row) {
  if (!u->code) return 1;
  return u->r_base * (double)(1u << (u->code[row] >> 1)) * (u->code[row] & 1 ? 1.4142135623730951 : 1);
}

static double entropy(const uint32_t *count, uint32_t n_values, double total) {
  double bits = 0;
  for (uint32_t i = 0; i < n_values; i++)
    if (count[i]) bits -= count[i] * tansy_log_f64(count[i] / total);
  return bits / total / LN2;
}

enum tansy_status tansy_unit_measure(struct tansy_unit *u, const float *w, const uint32_t *row_of, uint32_t n_rows, const float *l_diagonal,
                                     struct tansy_failure *failure) {
  uint32_t n_cols = u->source->n_cols;
  size_t n = (size_t)n_rows * n_cols;
  float *scaled = malloc(n * sizeof *scaled);
  uint32_t *count = malloc((2 * MAX_INTEGER + 1) * sizeof *count);
  if (!scaled || !count) {
    free(scaled);
    free(count);
    return tansy_fail_memory(failure);
  }
  double root = sqrt(u->kappa), square = 0;
  for (uint32_t i = 0; i < n_rows; i++) {
    float factor = (float)(root / tansy_unit_row(u, row_of ? row_of[i] : i));
    for (uint32_t j = 0; j < n_cols; j++) {
      float v = w[(size_t)i * n_cols + j] * l_diagonal[j] * factor;
      scaled[(size_t)i * n_cols + j] = v;
      square += (double)v * v;
    }
  }
  square = sqrt(square / (double)n);
  bool is_zero = !(square > 1e-30);
  u->centre = is_zero ? -69 : tansy_log_f64(square); /* zeros stay zeros, with any step */
  memset(u->bits, 0, sizeof u->bits);
  for (int point = 0; point < TANSY_RATE_POINTS && !is_zero; point++) {
    float inverse = (float)tansy_exp_f64(-(u->centre + LOW_POINT + point * POINT_STEP));
    memset(count, 0, (2 * MAX_INTEGER + 1) * sizeof *count);
    for (size_t i = 0; i < n; i++) {
      float q = scaled[i] * inverse;
      q = q > MAX_INTEGER ? MAX_INTEGER : q < -MAX_INTEGER ? -MAX_INTEGER : q;
      count[MAX_INTEGER + (int32_t)tansy_round_f32(q)]++;
    }
    u->bits[point] = entropy(count, 2 * MAX_INTEGER + 1, (double)n);
  }
  free(scaled);
  free(count);
  return TANSY_OK;
}

double tansy_unit_nbytes_at(const struct tansy_unit *u, double log_c) {
  double at = (log_c - u->centre - LOW_POINT) / POINT_STEP, bits;
  if (at <= 0) {
    bits = u->bits[0] - at * POINT_STEP / LN2; /* finer than the first point: a bit an octave */
  } else if (at >= TANSY_RATE_POINTS - 1) {
    bits = u->bits[TANSY_RATE_POINTS - 1];
  } else {
    int i = (int)at;
    bits = u->bits[i] + (u->bits[i + 1] - u->bits[i]) * (at - i);
  }
  double n_rows = u->source->n_rows, n = n_rows * u->source->n_cols;
  return bits * u->ratio * n / 8 + (u->code ? n_rows / 2 : 0) + 48; /* a table, offsets and end states */
}

double tansy_rate_solve(const struct tansy_unit *units, uint32_t n_units, double allowed) {
  double low = -60, high = 60; /* ln c: far beyond any model */
  for (int round = 0; round < 60; round++) {
    double middle = (low + high) / 2, sum = 0;
    for (uint32_t i = 0; i < n_units; i++)
      if (units[i].nbytes == 0) sum += tansy_unit_nbytes_at(&units[i], middle);
    if (sum > allowed)
      low = middle;
    else
      high = middle;
  }
  return high;
}

double tansy_rate_overhead(const struct tansy_checkpoint *c) {
  double nbytes = 400 + 110.0 * (c->config.n_layers + 3); /* config, shell entries */
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    nbytes += s->matrix ? 22 : 9; /* its record */
    if (!s->matrix) nbytes += (s->values ? 4.0 : 2.0) * s->n_cols;
    if (s->role == TANSY_ROLE_O || s->role == TANSY_ROLE_DOWN || s->role == TANSY_ROLE_EMBED) nbytes += s->n_cols + 13; /* LOG8 scales */
  }
  return nbytes;
}
