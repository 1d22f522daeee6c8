/* quantize.c: see quantize.h. */
#include "pack/quantize.h"

#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "pack/checkpoint.h"
#include "pack/numeric.h"

enum tansy_status tansy_rows_init(struct tansy_rows *rows, uint32_t n_rows, struct tansy_failure *failure) {
  *rows = (struct tansy_rows){.n_rows = n_rows};
  rows->code = calloc(n_rows, sizeof *rows->code);
  rows->value = calloc(n_rows, sizeof *rows->value);
  if (rows->code && rows->value) return TANSY_OK;
  tansy_rows_free(rows);
  return tansy_fail_memory(failure);
}

void tansy_rows_free(struct tansy_rows *rows) {
  free(rows->code);
  free(rows->value);
  *rows = (struct tansy_rows){0};
}

void tansy_rows_set_uniform(struct tansy_rows *rows, float step) {
  rows->kind = TANSY_ROW_SCALE_UNIFORM;
  rows->base = step;
  for (uint32_t i = 0; i < rows->n_rows; i++) rows->value[i] = step;
}

void tansy_rows_set_half(struct tansy_rows *rows, const float *wanted) {
  float largest = 0;
  for (uint32_t i = 0; i < rows->n_rows; i++)
    if (wanted[i] > largest) largest = wanted[i];
  /* base is the power of two that puts the largest into [2^14, 2^15): 28 octaves below it keep all 11 bits of a half */
  uint32_t exponent = tansy_float_bits(largest) >> 23;
  rows->kind = TANSY_ROW_SCALE_F16;
  rows->base = tansy_float_from_bits((exponent > 14 ? exponent - 14 : 1) << 23);
  for (uint32_t i = 0; i < rows->n_rows; i++) {
    rows->code[i] = tansy_half_nearest(wanted[i] / rows->base);
    if (wanted[i] > 0 && rows->code[i] == 0) rows->code[i] = 1;
    rows->value[i] = rows->base * tansy_half_to_float(rows->code[i]);
  }
}

void tansy_rows_set_half_octaves(struct tansy_rows *rows, float step, const uint8_t *codes) {
  rows->kind = TANSY_ROW_SCALE_HALF_OCTAVE;
  rows->base = step;
  for (uint32_t i = 0; i < rows->n_rows; i++) {
    rows->code[i] = codes[i];
    rows->value[i] = tansy_log8_value(step, (uint8_t)(codes[i] * 8));
  }
}

static void put_rows(const struct tansy_rows *rows, struct tansy_buffer *out) {
  tansy_put_f32(out, rows->base);
  for (uint32_t i = 0; i < rows->n_rows; i++) {
    if (rows->kind == TANSY_ROW_SCALE_F16)
      tansy_put_u16(out, rows->code[i]);
    else if (rows->kind == TANSY_ROW_SCALE_HALF_OCTAVE && i % 2 == 0)
      tansy_put_u8(out, (uint8_t)(rows->code[i] | (i + 1 < rows->n_rows ? rows->code[i + 1] << 4 : 0)));
  }
}

enum tansy_status tansy_writer_add_matrix(struct tansy_writer *w, uint32_t role, uint32_t layer, uint32_t n_rows, uint32_t n_cols,
                                          struct tansy_integers z, const struct tansy_rows *rows, struct tansy_matrix_stats *stats,
                                          struct tansy_failure *failure) {
  struct tansy_blob *b = tansy_writer_add(w, role, layer, TANSY_KIND_CODED, n_rows, n_cols);
  if (!b) return tansy_fail_memory(failure);
  b->row_scale = (uint8_t)rows->kind;
  put_rows(rows, &b->stored);
  const struct tansy_encode_options options = {.raw_bits = -1};
  struct tansy_encode_stats encoded;
  enum tansy_status status = tansy_encode_integers(z, n_rows, n_cols, &options, &b->stored, &b->shape, &encoded);
  if (b->stored.failed || status == TANSY_ERR_NO_MEMORY) return tansy_fail_memory(failure);
  char name[96];
  tansy_role_name(role, layer, name, sizeof name);
  if (status != TANSY_OK) return tansy_fail(failure, status, "tensor %s cannot be coded (%s)", name, "integers out of range");
  if (b->stored.nbytes > UINT32_MAX) return tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "tensor %s takes more than 4 GiB", name);
  if (stats) {
    *stats = (struct tansy_matrix_stats){encoded.entropy_bits, encoded.coded_bits, b->stored.nbytes, 0};
    for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) stats->n_zero += tansy_integer_at(z, i) == 0;
  }
  return TANSY_OK;
}

void tansy_absmax_rows(const float *w, uint32_t n_rows, uint32_t n_cols, float *absmax) {
  for (uint32_t i = 0; i < n_rows; i++) {
    float largest = 0;
    for (uint32_t j = 0; j < n_cols; j++) {
      float m = w[(size_t)i * n_cols + j];
      m = m < 0 ? -m : m;
      if (m > largest) largest = m;
    }
    absmax[i] = largest;
  }
}

void tansy_round_rows(const float *w, uint32_t n_rows, uint32_t n_cols, const float *scale, float limit, int16_t *z) {
  for (uint32_t i = 0; i < n_rows; i++) {
    for (uint32_t j = 0; j < n_cols; j++) {
      size_t at = (size_t)i * n_cols + j;
      float q = scale[i] > 0 ? tansy_round_f32(w[at] / scale[i]) : 0;
      z[at] = (int16_t)(q > limit ? limit : q < -limit ? -limit : q);
    }
  }
}

enum tansy_status tansy_quantize_absmax(const float *w, uint32_t n_rows, uint32_t n_cols, uint32_t bits, int16_t *z,
                                        struct tansy_rows *rows, struct tansy_failure *failure) {
  float *wanted = calloc(n_rows, sizeof *wanted), limit = tansy_integer_limit(bits);
  if (!wanted) return tansy_fail_memory(failure);
  tansy_absmax_rows(w, n_rows, n_cols, wanted);
  for (uint32_t i = 0; i < n_rows; i++) wanted[i] /= limit;
  tansy_rows_set_half(rows, wanted);
  free(wanted);
  tansy_round_rows(w, n_rows, n_cols, rows->value, limit, z);
  return TANSY_OK;
}
