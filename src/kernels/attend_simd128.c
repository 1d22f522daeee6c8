/* attend_simd128.c: attention over int8 K and V, SIMD128: 8 columns at a time, widened to 16 bits as they are loaded. */
#include "kernels/attend_integer.h"
#include "kernels/packed_simd.h"

TANSY_INLINE v128_t sum_lanes(const v128_t v[4]) {
  v128_t a = wasm_i32x4_add(wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7));
  v128_t b = wasm_i32x4_add(wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5), wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7));
  return wasm_i32x4_add(wasm_i64x2_shuffle(a, b, 0, 2), wasm_i64x2_shuffle(a, b, 1, 3));
}

/* 4 positions, 1 or 2 heads (a constant) */
TANSY_INLINE void score4(const int16_t *q, uint32_t n_heads, const int8_t *k, size_t stride, uint32_t head_dim, int32_t *dots) {
  v128_t s[8];
  for (uint32_t i = 0; i < 4 * n_heads; i++) s[i] = wasm_i32x4_splat(0);
  for (uint32_t j = 0; j < head_dim; j += 8) {
    v128_t x = wasm_v128_load(q + j), y = n_heads == 2 ? wasm_v128_load(q + TANSY_MAX_HEAD_DIM + j) : x;
    for (int i = 0; i < 4; i++) {
      v128_t row = wasm_i16x8_load8x8(k + i * stride + j);
      s[i] = wasm_i32x4_add(s[i], wasm_i32x4_dot_i16x8(row, x));
      if (n_heads == 2) s[4 + i] = wasm_i32x4_add(s[4 + i], wasm_i32x4_dot_i16x8(row, y));
    }
  }
  for (uint32_t h = 0; h < n_heads; h++) wasm_v128_store(dots + h * TANSY_ATTEND_RUN, sum_lanes(s + 4 * h));
}

static void score_run(const int16_t *q, uint32_t n_heads, const int8_t *k, size_t stride, uint32_t n, uint32_t head_dim, int32_t *dots) {
  uint32_t i = 0;
  if (head_dim % 8 == 0)
    for (; i + 4 <= n; i += 4) {
      const int8_t *rows = k + i * stride;
      int32_t *to = dots + i;
      uint32_t h = 0;
      for (; h + 2 <= n_heads; h += 2) score4(q + h * TANSY_MAX_HEAD_DIM, 2, rows, stride, head_dim, to + h * TANSY_ATTEND_RUN);
      if (h < n_heads) score4(q + h * TANSY_MAX_HEAD_DIM, 1, rows, stride, head_dim, to + h * TANSY_ATTEND_RUN);
    }
  if (i < n) score_run_portable(q, n_heads, k + i * stride, stride, n - i, head_dim, dots + i);
}

/* Two positions of 8 columns, side by side, so that one dot adds both; n_heads and n_vectors (of 8 columns) are constants */
TANSY_INLINE void weigh_pair(const int16_t *w, uint32_t n_heads, const int8_t *v0, const int8_t *v1, uint32_t n_vectors, v128_t *s) {
  for (uint32_t c = 0; c < n_vectors; c++) {
    v128_t a = wasm_i16x8_load8x8(v0 + 8 * c), b = wasm_i16x8_load8x8(v1 + 8 * c);
    v128_t lo = wasm_i16x8_shuffle(a, b, 0, 8, 1, 9, 2, 10, 3, 11), hi = wasm_i16x8_shuffle(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
    for (uint32_t h = 0; h < n_heads; h++) {
      v128_t x = wasm_v128_load32_splat(w + h * TANSY_ATTEND_RUN);
      v128_t *sum = s + 2 * (h * n_vectors + c);
      sum[0] = wasm_i32x4_add(sum[0], wasm_i32x4_dot_i16x8(lo, x));
      sum[1] = wasm_i32x4_add(sum[1], wasm_i32x4_dot_i16x8(hi, x));
    }
  }
}

TANSY_INLINE void weigh_columns(const int16_t *w, uint32_t n_heads, const int8_t *v, size_t stride, uint32_t n, uint32_t n_vectors, int32_t *sums) {
  v128_t s[8];
  for (uint32_t k = 0; k < 2 * n_heads * n_vectors; k++) s[k] = wasm_i32x4_splat(0);
  uint32_t i = 0;
  for (; i + 2 <= n; i += 2, v += 2 * stride) weigh_pair(w + i, n_heads, v, v + stride, n_vectors, s);
  if (i < n) weigh_pair(w + i, n_heads, v, v, n_vectors, s); /* the second weight is 0 */
  for (uint32_t h = 0; h < n_heads; h++)
    for (uint32_t k = 0; k < 2 * n_vectors; k++) wasm_v128_store(sums + h * TANSY_MAX_HEAD_DIM + 4 * k, s[2 * h * n_vectors + k]);
}

static void weigh_run(const int16_t *w, uint32_t n_heads, const int8_t *v, size_t stride, uint32_t n, uint32_t head_dim, int32_t *sums) {
  uint32_t j = 0;
  for (; n_heads <= 2 && j + 16 <= head_dim; j += 16) {
    if (n_heads == 1)
      weigh_columns(w, 1, v + j, stride, n, 2, sums + j);
    else
      weigh_columns(w, 2, v + j, stride, n, 2, sums + j);
  }
  for (; j + 8 <= head_dim; j += 8) switch (n_heads) {
      case 1: weigh_columns(w, 1, v + j, stride, n, 1, sums + j); break;
      case 2: weigh_columns(w, 2, v + j, stride, n, 1, sums + j); break;
      case 3: weigh_columns(w, 3, v + j, stride, n, 1, sums + j); break;
      default: weigh_columns(w, 4, v + j, stride, n, 1, sums + j); break;
    }
  if (j < head_dim) weigh_run_portable(w, n_heads, v + j, stride, n, head_dim - j, sums + j);
}

#define NAME tansy_attend_i8_simd128
#include "kernels/attend_body.h"
