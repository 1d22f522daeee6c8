/* matmul_f32.c: products with float weights: calibration and the float reference, so native speed matters.
 *
 * y[t][i] = sum over columns in 8 lanes, lane j % 8, each in order of j; then lanes l and l+4 are added, then
 * (lane 0 + lane 1) + (lane 2 + lane 3). Blocking does not change it. */
#include <string.h>

#include "base/f32x4.h"
#include "kernels/kernels_internal.h"

typedef float f32x8 __attribute__((vector_size(32)));

/* Outputs at a time: accumulators, two operands and a product stay in registers. A compiler's constant, not arithmetic. */
#if defined(__AVX__)
enum { N_ROWS = 4, N_TOKENS = 2 };
#else
enum { N_ROWS = 2, N_TOKENS = 2 };
#endif

static inline __attribute__((always_inline)) f32x8 *add_products(f32x8 *sums, const float *const *w, const float *const *x, uint32_t n_rows,
                                                                  uint32_t n_tokens, size_t j) {
  f32x8 xs[N_TOKENS];
  for (uint32_t t = 0; t < n_tokens; t++) memcpy(&xs[t], x[t] + j, sizeof xs[t]);
  for (uint32_t k = 0; k < n_rows; k++) {
    f32x8 v;
    memcpy(&v, w[k] + j, sizeof v);
    for (uint32_t t = 0; t < n_tokens; t++) sums[k * N_TOKENS + t] += v * xs[t];
  }
  return sums;
}

static inline __attribute__((always_inline)) void block(const float *const *w, const float *const *x, uint32_t n_rows, uint32_t n_tokens,
                                                        uint32_t n_cols, float *y, size_t y_stride) {
  f32x8 sums[N_ROWS * N_TOKENS];
  memset(sums, 0, sizeof sums);
  uint32_t j = 0;
  for (; j + 8 <= n_cols; j += 8) add_products(sums, w, x, n_rows, n_tokens, j);
  if (j < n_cols) {
    float w_tail[N_ROWS][8] = {{0}}, x_tail[N_TOKENS][8] = {{0}};
    const float *w_rows[N_ROWS], *x_rows[N_TOKENS];
    for (uint32_t k = 0; k < n_rows; k++) w_rows[k] = memcpy(w_tail[k], w[k] + j, (n_cols - j) * sizeof(float));
    for (uint32_t t = 0; t < n_tokens; t++) x_rows[t] = memcpy(x_tail[t], x[t] + j, (n_cols - j) * sizeof(float));
    add_products(sums, w_rows, x_rows, n_rows, n_tokens, 0);
  }
  for (uint32_t k = 0; k < n_rows; k++)
    for (uint32_t t = 0; t < n_tokens; t++) {
      tansy_f32x4 halves[2];
      memcpy(halves, &sums[k * N_TOKENS + t], sizeof halves);
      y[t * y_stride + k] = tansy_f32x4_sum(halves[0] + halves[1]);
    }
}

void tansy_matmul_f32(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                      uint32_t row_end, float *y) {
  const float *rows[N_ROWS], *tokens[N_TOKENS];
  for (uint32_t i = row_begin; i < row_end; i += N_ROWS) {
    const uint32_t n = row_end - i < N_ROWS ? row_end - i : N_ROWS;
    for (uint32_t k = 0; k < n; k++) rows[k] = w + (size_t)(i + k) * n_cols;
    for (uint32_t t = 0; t < n_tokens; t += N_TOKENS) {
      const uint32_t m = n_tokens - t < N_TOKENS ? n_tokens - t : N_TOKENS;
      for (uint32_t k = 0; k < m; k++) tokens[k] = x + (size_t)(t + k) * n_cols;
      float *out = y + (size_t)t * n_rows + i;
      if (n == N_ROWS && m == N_TOKENS)
        block(rows, tokens, N_ROWS, N_TOKENS, n_cols, out, n_rows);
      else if (n == N_ROWS)
        block(rows, tokens, N_ROWS, 1, n_cols, out, n_rows);
      else
        for (uint32_t k = 0; k < n; k++)
          for (uint32_t u = 0; u < m; u++) block(rows + k, tokens + u, 1, 1, n_cols, out + (size_t)u * n_rows + k, n_rows);
    }
  }
}
