/* kernels_internal.h: what the files of kernels/ share: the layout of resident weights, and the functions behind the tables.
 *
 * Suffixes: _ref portable C, _simd128 wasm SIMD128, _relaxed also needs relaxed SIMD, _relaxed32 sums four products at once. Functions without one serve all tables:
 * float code written with f32x4 vector extensions (kernels/f32x4.h) computes the same bits everywhere by construction. */
#ifndef TANSY_KERNELS_KERNELS_INTERNAL_H
#define TANSY_KERNELS_KERNELS_INTERNAL_H

#include "kernels/kernels.h"

/* ---- layout of resident weights ----
 *
 * bias = 8 << r (r = raw_bits); u = coded + bias, 4 + r bits, 0 <= u < 16 << r.
 * A region is blocks in the order [group of 4 rows][step of 16 columns]; rows and columns are padded (rows to 4, columns to 16).
 * One block holds rows 4g..4g+3, columns 16s..16s+15. Row k, column j of the block below.
 *
 * INT8: 64 bytes, byte 16*k + j = u (r <= 3) or coded as i8, two's complement (r = 4).
 *
 * PACKED: 32 + 8r bytes: 16-byte vectors V0, V1, .. whose bytes belong to column j, then for odd r 8 bytes X that hold a nibble a
 * column: X[j] = nibble(j) | nibble(j + 8) << 4, j < 8. Row k of a column is u_k; rows 0.. lie whole in their byte, so that one
 * mask unpacks them, and the last rows fill what is left:
 *   r = 0: V0 = u0 | u1 << 4;  V1 = u2 | u3 << 4.
 *   r = 1: V0 = u0 | (u2 >> 2) << 5;  V1 = u1 | (u3 >> 2) << 5;  nibble = (u2 & 3) | (u3 & 3) << 2.
 *   r = 2: V0 = u0 | (u3 & 3) << 6;  V1 = u1 | (u3 >> 2 & 3) << 6;  V2 = u2 | (u3 >> 4) << 6.
 *   r = 3: V0 = u0 | (u3 >> 4 & 1) << 7;  V1 = u1 | (u3 >> 5 & 1) << 7;  V2 = u2 | (u3 >> 6) << 7;  nibble = u3 & 15.
 *   r = 4: the INT8 block (64 bytes).
 * kernels/packed.h packs and unpacks a block, portable and with vectors. */
static inline uint32_t tansy_packed_block_nbytes(uint32_t raw_bits) { return 32 + 8 * raw_bits; }
enum { TANSY_INT8_BLOCK_NBYTES = 64 };
static inline int32_t tansy_weight_bias(uint32_t raw_bits) { return raw_bits < TANSY_MAX_RAW_BITS ? 8 << raw_bits : 0; }

/* rows and groups of a tile: groups [tile * g, min((tile + 1) * g, n_groups)) with g = tile_n_rows / 4 */
static inline uint32_t tansy_n_groups(const struct tansy_coded_shape *shape) { return tansy_pad_rows(shape->n_rows) / TANSY_GROUP_N_ROWS; }

/* One or two groups of 4 rows, as decoders to a row buffer have them. */
struct tansy_groups {
  const uint8_t *w;     /* in INT8 layout, [n][n_cols_padded / 16][4][16] */
  const uint8_t *raw;   /* NULL, or what the weights lack still: raw bits as the stream has them (codec/tile.h): of two groups by one
                         * token, raw_bits 1..3, an even number of steps, _relaxed32 only */
  size_t raw_stride;    /* bytes from the first group's to the second's */
  uint32_t raw_bits, n; /* n groups */
  uint32_t row_stride;  /* rows from the first to the second */
  uint32_t n_rows;      /* of the last group, 1..4 */
};
/* against every token of act: acc[t * acc_stride + i * row_stride + k] = I of row k of group i, bias already subtracted */
typedef void tansy_dot_groups_fn(const struct tansy_groups *groups, const struct tansy_act *act, int32_t *acc, size_t acc_stride);
tansy_dot_groups_fn tansy_dot_groups_simd128, tansy_dot_groups_relaxed, tansy_dot_groups_relaxed32;
/* the same for one group, whole */
void tansy_dot_group_ref(const uint8_t *w, uint32_t raw_bits, const struct tansy_act *act, uint32_t n_rows, int32_t *acc, size_t acc_stride);

/* raw_bits 4, where the bytes are signed */
void tansy_dot_group_wide_simd128(const uint8_t *w, const struct tansy_act *act, uint32_t n_rows, int32_t *acc, size_t acc_stride);
/* a PACKED group to INT8 layout; raw_bits < 4 (resident_simd128.c) */
void tansy_unpack_group(const uint8_t *group, uint32_t raw_bits, uint32_t n_steps, uint8_t *out);

/* ---- functions behind struct tansy_kernels ---- */
typedef void tansy_quantize_act_fn(const float *x, uint32_t n_tokens, uint32_t n_cols, struct tansy_act *out);
tansy_quantize_act_fn tansy_quantize_act_ref, tansy_quantize_act_simd128;

typedef void tansy_matmul_fn(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                             int32_t *acc, size_t acc_stride, void *scratch);
/* form ANS, PACKED, INT8 -> one of the functions below */
tansy_matmul_fn tansy_matmul_ref, tansy_matmul_simd128, tansy_matmul_relaxed, tansy_matmul_relaxed32;
tansy_matmul_fn tansy_matmul_packed_ref, tansy_matmul_packed_simd128, tansy_matmul_packed_relaxed, tansy_matmul_packed_relaxed32;
tansy_matmul_fn tansy_matmul_int8_ref, tansy_matmul_int8_simd128, tansy_matmul_int8_relaxed, tansy_matmul_int8_relaxed32;
/* ans_*.c, written with the codec */
tansy_matmul_fn tansy_matmul_ans_ref, tansy_matmul_ans_simd128, tansy_matmul_ans_relaxed, tansy_matmul_ans_relaxed32;
tansy_matmul_fn tansy_matmul_ans_relaxed_i7; /* as on engines whose dot has a sign in both operands; for tests */

typedef void tansy_expand_fn(const struct tansy_coded *coded, uint32_t tile, uint8_t *resident);
tansy_expand_fn tansy_expand_packed_ref, tansy_expand_packed_simd128; /* ans_*.c, written with the codec */
tansy_expand_fn tansy_expand_int8_ref, tansy_expand_int8_simd128;

/* float.c, matmul_f32.c, attend_float.c; meaning in kernels.h */
void tansy_scale_rows(const int32_t *acc, size_t acc_stride, const float *d, uint32_t n_tokens, const struct tansy_row_scale *scale,
                      const float *bias, uint32_t row_begin, uint32_t row_end, float *y, size_t y_stride);
void tansy_rms_norm(const float *x, const float *weight, uint32_t n, float eps, float *out);
void tansy_layer_norm(const float *x, const float *weight, const float *bias, uint32_t n, float eps, float *out);
void tansy_rope(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, const float *cos, const float *sin);
void tansy_activate(float *gate, const float *up, uint32_t n, uint32_t kind);
float tansy_quantize_kv(const float *x, uint32_t head_dim, int8_t *q);
void tansy_attend_f32(const float *q, uint32_t n_q, const float *k, const float *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                      float scale, float softcap, float *out);
void tansy_attend_f16(const float *q, uint32_t n_q, const uint16_t *k, const uint16_t *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                      float scale, float softcap, float *out);
void tansy_matmul_f32(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                      uint32_t row_end, float *y);

typedef void tansy_attend_i8_fn(const float *q, uint32_t n_q, const int8_t *k, const float *k_scale, const int8_t *v,
                                const float *v_scale, size_t stride, size_t scale_stride, uint32_t n_pos, uint32_t head_dim, float scale,
                                float softcap, float *out);
tansy_attend_i8_fn tansy_attend_i8_ref, tansy_attend_i8_simd128;

/* Escapes of a tile (ans_escapes.c, written with the codec): acc[t][row] += delta * (q[t][col] << shift[t][col / 128]), mod 2^32. */
void tansy_escapes_dot(const struct tansy_coded *coded, uint32_t tile, const struct tansy_act *act, int32_t *acc, size_t acc_stride);
/* out[row - row_begin][col] += delta for escapes of rows [row_begin, row_end); out [rows, n_cols] */
void tansy_escapes_add(const struct tansy_coded *coded, uint32_t row_begin, uint32_t row_end, int32_t *out);

#endif
