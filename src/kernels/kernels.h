/* kernels.h: every inner loop of the forward pass, behind one table of functions per instruction set.
 *
 * Exactness: integer dot products are sums modulo 2^32 and exact. Float steps are done in the one order written at each
 * function, without fused multiply-add, so that portable, SIMD128, relaxed and native builds give the same bits. */
#ifndef TANSY_KERNELS_KERNELS_H
#define TANSY_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "codec/codec.h"

enum {
  TANSY_ACT_BLOCK = 128,     /* columns that share an activation exponent */
  TANSY_MAX_BATCH = 256,     /* tokens of one matmul */
  TANSY_MAX_HEAD_DIM = 512,
};

/* Activations quantized to 8 bits, block floating point with a shared scale per token:
 *   x[t][j] ~ d[t] * 2^shift[t][j / 128] * q[t][j],  q in [-127, 127], 0 <= shift <= max_shift(n_cols_padded).
 * Powers of two keep the whole row's dot product one exact integer:
 *   I = sum_b (sum_{j in b} z_j q_j) << shift_b,  y = (float)I * d * row_scale. */
struct tansy_act {
  int8_t *q;        /* [n_tokens, n_cols_padded], padding is 0 */
  uint8_t *shift;   /* [n_tokens, n_blocks] */
  float *d;         /* [n_tokens] */
  int32_t *sum;     /* [n_tokens] sum_b (sum_{j in b} q_j) << shift_b: what a bias of 1 on every weight adds */
  uint32_t n_tokens, n_cols_padded, n_blocks; /* n_blocks = ceil(n_cols_padded / 128) */
};
/* largest shift for which no sum of coded weights can overflow int32: 128 * 127 * n_cols * 2^shift < 2^31; at most 4 */
uint32_t tansy_act_max_shift(uint32_t n_cols_padded);

enum tansy_form { TANSY_FORM_ANS = 0, TANSY_FORM_PACKED = 1, TANSY_FORM_INT8 = 2, TANSY_FORM_F32 = 3 };

/* Where a matrix's weights are. PACKED and INT8 are made by `expand_*` from ANS, tile by tile; both keep 4-row groups and
 * 16-column steps in coding order ([group][step][4 rows][16 cols]) so that the activations are loaded once for four rows.
 *   PACKED: 4 + raw_bits bits per coded value.   INT8: coded + bias as u7 (raw_bits <= 3), or coded as i8 (raw_bits 4). */
struct tansy_matrix {
  enum tansy_form form;
  struct tansy_coded coded;  /* tables, escapes and (form ANS) the streams */
  const uint8_t *resident;   /* PACKED, INT8 */
  const float *f32;          /* F32: [n_rows, n_cols], compressor and evaluation only */
};
size_t tansy_packed_nbytes(const struct tansy_coded_shape *shape);
size_t tansy_int8_nbytes(const struct tansy_coded_shape *shape);
/* Rows [row_begin, row_end) of z from any integer form, escapes applied, as integers into out [rows, n_cols]: embedding look-up.
 * Needs only coded.head (escapes) and `resident` for PACKED and INT8. */
enum tansy_status tansy_matrix_read_rows(const struct tansy_matrix *w, uint32_t row_begin, uint32_t row_end, int32_t *out);

/* row_scale of a coded matrix as the file has it (FORMAT.md, "Coded matrix"): decoded while results are scaled.
 * Half-octave codes: base * 2^(code / 2) = (odd code ? base * 1.41421354f : base) * 2^(code >> 1). */
struct tansy_row_scale {
  uint32_t kind; /* 0 uniform, 1 half-octave nibbles, 2 F16 per row */
  float base;
  const uint8_t *codes; /* unaligned */
};
float tansy_row_scale_at(const struct tansy_row_scale *scale, uint32_t row);

struct tansy_kernels {
  const char *name; /* "ref", "simd128", "relaxed" */

  /* x [n_tokens, n_cols] f32 (already multiplied by col_scale) -> out. out->n_tokens and its arrays are set by the caller. */
  void (*quantize_act)(const float *x, uint32_t n_tokens, uint32_t n_cols, struct tansy_act *out);

  /* acc [n_tokens, acc_stride] gets I for the rows of tiles [tile_begin, tile_end), escapes included.
   * scratch: tansy_matmul_scratch_nbytes(), one per thread. act->n_tokens <= TANSY_MAX_BATCH. */
  void (*matmul)(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                 int32_t *acc, size_t acc_stride, void *scratch);

  /* tile of `coded` -> its place in a PACKED or INT8 region (coded values only; escapes stay a list) */
  void (*expand_packed)(const struct tansy_coded *coded, uint32_t tile, uint8_t *resident);
  void (*expand_int8)(const struct tansy_coded *coded, uint32_t tile, uint8_t *resident);

  /* y[t][i] = ((float)acc[t][i] * d[t]) * row_scale_i (then + bias[i] when bias is not NULL) for rows i in [row_begin, row_end).
   * acc, y [n_tokens, stride] indexed by absolute row; y may be acc itself (same stride). */
  void (*scale_rows)(const int32_t *acc, size_t acc_stride, const float *d, uint32_t n_tokens, const struct tansy_row_scale *scale,
                     const float *bias, uint32_t row_begin, uint32_t row_end, float *y, size_t y_stride);

  /* out[j] = (x[j] * r) * weight[j], r = 1 / sqrt(mean(x^2) + eps); LayerNorm subtracts the mean first and adds bias */
  void (*rms_norm)(const float *x, const float *weight, uint32_t n, float eps, float *out);
  void (*layer_norm)(const float *x, const float *weight, const float *bias, uint32_t n, float eps, float *out);

  /* rotates pairs (i, i + rope_dim/2) of each head in place; cos, sin [rope_dim/2] */
  void (*rope)(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, const float *cos, const float *sin);

  /* gate[i] = act(gate[i]) * up[i]; up NULL: gate[i] = act(gate[i]). kind: TANSY_KEY_ACTIVATION */
  void (*activate)(float *gate, const float *up, uint32_t n, uint32_t kind);

  /* KV cache rows in int8: x [head_dim] -> q [head_dim], returns the scale (absmax / 127) */
  float (*quantize_kv)(const float *x, uint32_t head_dim, int8_t *q);

  /* n_q query heads that share one KV head (n_q = n_heads / n_kv_heads) over n_pos cached positions: q, out [n_q, head_dim].
   * K and V rows are `stride` elements apart; int8 rows have one f32 scale each, scale_stride floats apart. n_pos >= 1.
   * Softmax runs over 64 positions at a time, so there is no scratch. softcap 0: none. head_dim <= TANSY_MAX_HEAD_DIM. */
  void (*attend_i8)(const float *q, uint32_t n_q, const int8_t *k, const float *k_scale, const int8_t *v, const float *v_scale,
                    size_t stride, size_t scale_stride, uint32_t n_pos, uint32_t head_dim, float scale, float softcap, float *out);
  void (*attend_f32)(const float *q, uint32_t n_q, const float *k, const float *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                     float scale, float softcap, float *out);
  void (*attend_f16)(const float *q, uint32_t n_q, const uint16_t *k, const uint16_t *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                     float scale, float softcap, float *out);

  /* y [n_tokens, n_rows] = x [n_tokens, n_cols] * w^T, w [n_rows, n_cols] f32; rows [row_begin, row_end) */
  void (*matmul_f32)(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                     uint32_t row_end, float *y);
};

size_t tansy_matmul_scratch_nbytes(uint32_t n_cols_padded);

extern const struct tansy_kernels tansy_kernels_ref;
/* there where TANSY_HAVE_SIMD128, TANSY_HAVE_RELAXED are defined */
extern const struct tansy_kernels tansy_kernels_simd128; /* wasm SIMD128; natively through SIMDe in tests */
extern const struct tansy_kernels tansy_kernels_relaxed, tansy_kernels_relaxed32; /* both named "relaxed" */
const struct tansy_kernels *tansy_kernels_best_relaxed(void);
/* the fastest table compiled in */
const struct tansy_kernels *tansy_kernels_best(void);

/* exp, log, sin, cos, tanh, pow in base/math.h: our own, the same bits everywhere */

#endif
