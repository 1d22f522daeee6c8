/* quantize.h: matrices of integers with their scales, and how they become blobs of the file. */
#ifndef TANSY_PACK_QUANTIZE_H
#define TANSY_PACK_QUANTIZE_H

#include "pack/writer.h"

/* row_scale of a matrix in all three kinds; `value` is exactly what readers compute. */
struct tansy_rows {
  enum tansy_row_scale_kind kind;
  float base;
  uint32_t n_rows;
  uint16_t *code; /* [n_rows] half-octaves 0..15, or the bits of a half; unused when UNIFORM */
  float *value;   /* [n_rows] */
};
enum tansy_status tansy_rows_init(struct tansy_rows *rows, uint32_t n_rows, struct tansy_failure *failure);
void tansy_rows_free(struct tansy_rows *rows);

/* value_i = step for every row */
void tansy_rows_set_uniform(struct tansy_rows *rows, float step);
/* value_i = the half (times a power of two) nearest to wanted_i; wanted_i >= 0 */
void tansy_rows_set_half(struct tansy_rows *rows, const float *wanted);
/* value_i = step * 2^(code_i / 2), code 0..15 */
void tansy_rows_set_half_octaves(struct tansy_rows *rows, float step, const uint8_t *codes);

struct tansy_matrix_stats {
  double entropy_bits; /* of the integers, one table, per weight */
  double coded_bits;   /* codec stream, per weight */
  uint64_t nbytes;     /* blob */
  uint64_t n_zero;
};

/* Appends base, row scale codes and the coded integers as one tensor. */
enum tansy_status tansy_writer_add_matrix(struct tansy_writer *w, uint32_t role, uint32_t layer, uint32_t n_rows, uint32_t n_cols,
                                          struct tansy_integers z, const struct tansy_rows *rows, struct tansy_matrix_stats *stats,
                                          struct tansy_failure *failure);

/* largest |w| of each row */
void tansy_absmax_rows(const float *w, uint32_t n_rows, uint32_t n_cols, float *absmax);
/* z = w / scale of its row, rounded, within +-limit; rows of scale 0 are zeros */
void tansy_round_rows(const float *w, uint32_t n_rows, uint32_t n_cols, const float *scale, float limit, int16_t *z);

/* largest plain integer of so many bits */
static inline float tansy_integer_limit(uint32_t bits) { return (float)((1 << (bits - 1)) - 1); }
/* z = W / row scale rounded, row scale = absmax / tansy_integer_limit(bits): plain integers, as everybody has them */
enum tansy_status tansy_quantize_absmax(const float *w, uint32_t n_rows, uint32_t n_cols, uint32_t bits, int16_t *z,
                                        struct tansy_rows *rows, struct tansy_failure *failure);

#endif
