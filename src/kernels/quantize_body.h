/* quantize_body.h: quantize_act, included by quantize_ref.c and quantize_simd128.c after they defined
 *   NAME                                            the function
 *   static void store_i8x16(int8_t *q, const tansy_i32x4 v[4])   16 integers in [-127, 127] as bytes, in order
 *
 * For a token: M = max |x|, S = max_shift, scale = (127 * 2^S) / M, d = M / (127 * 2^S). Block b with maximum m takes the smallest
 * shift s with (m * scale) * 2^-s < 127.5, at most S; q = x * (scale * 2^-s) rounded to nearest, ties to even, clamped to
 * [-127, 127]. NaN counts as -127 and never as a maximum. A token with M < 2^-100 is zero. */
#include "kernels/kernels_internal.h"
#include "kernels/quantize.h"

/* n floats (at most 16) as 16 bytes; adds the bytes to sum */
static inline void quantize16(const float *x, uint32_t n, tansy_f32x4 scale, int8_t *q, tansy_i32x4 *sum) {
  tansy_i32x4 v[4];
  for (uint32_t k = 0; k < 4; k++) {
    uint32_t left = n > 4 * k ? n - 4 * k : 0;
    v[k] = tansy_quantize4(left >= 4 ? tansy_f32x4_load(x + 4 * k) : tansy_f32x4_load_n(x + 4 * k, left), scale, 127.0f);
    *sum += v[k];
  }
  store_i8x16(q, v);
}

void NAME(const float *x, uint32_t n_tokens, uint32_t n_cols, struct tansy_act *out) {
  const uint32_t max_shift = tansy_act_max_shift(out->n_cols_padded);
  const float full = (float)(127u << max_shift);
  float maxima[TANSY_MAX_COLS / TANSY_ACT_BLOCK];
  for (uint32_t t = 0; t < n_tokens; t++) {
    const float *row = x + (size_t)t * n_cols;
    int8_t *q = out->q + (size_t)t * out->n_cols_padded;
    uint8_t *shift = out->shift + (size_t)t * out->n_blocks;
    float m = 0.0f;
    for (uint32_t b = 0; b < out->n_blocks; b++) {
      uint32_t begin = b * TANSY_ACT_BLOCK, n = n_cols - begin < TANSY_ACT_BLOCK ? n_cols - begin : TANSY_ACT_BLOCK;
      maxima[b] = tansy_max_abs(row + begin, n);
      m = m < maxima[b] ? maxima[b] : m;
    }
    out->d[t] = 0.0f;
    out->sum[t] = 0;
    if (!(m >= TANSY_TINY)) {
      memset(q, 0, out->n_cols_padded);
      memset(shift, 0, out->n_blocks);
      continue;
    }
    out->d[t] = m / full;
    const float scale = full / m;
    uint32_t total = 0;
    for (uint32_t b = 0; b < out->n_blocks; b++) {
      uint32_t s = 0;
      float block_scale = scale;
      while (s < max_shift && !(maxima[b] * block_scale < 127.5f)) {
        block_scale *= 0.5f;
        s++;
      }
      shift[b] = (uint8_t)s;
      uint32_t end = (b + 1) * TANSY_ACT_BLOCK;
      if (end > out->n_cols_padded) end = out->n_cols_padded;
      tansy_i32x4 sum = {0, 0, 0, 0};
      const tansy_f32x4 scale4 = tansy_f32x4_splat(block_scale);
      for (uint32_t j = b * TANSY_ACT_BLOCK; j < end; j += 16)
        quantize16(row + j, n_cols - j < 16 ? n_cols - j : 16, scale4, q + j, &sum);
      total += (uint32_t)(sum[0] + sum[1] + sum[2] + sum[3]) << s;
    }
    out->sum[t] = (int32_t)total;
  }
}
