/* attend_float.c: attention over K and V in floats of 32 bits (calibration, the float reference) and of 16 bits.
 *
 * q . k in 4 lanes, column % 4, then (0 + 1) + (2 + 3); o += e^(score - m) v, position by position. Halves are widened exactly. */
#include "base/half.h"
#include "kernels/softmax.h"

typedef uint16_t u16x4 __attribute__((vector_size(8)));

#define INLINE static inline __attribute__((always_inline))

/* 4 values of a row; is_half is a constant */
INLINE tansy_f32x4 load4(const void *row, uint32_t j, int is_half) {
  if (!is_half) return tansy_f32x4_load((const float *)row + j);
  u16x4 halves;
  memcpy(&halves, (const uint16_t *)row + j, 8);
  const tansy_u32x4 h = __builtin_convertvector(halves, tansy_u32x4);
  /* the exponent's bias by a product, which makes subnormal halves normal; there are no infinite ones */
  const tansy_f32x4 magnitude = (tansy_f32x4)((h & 0x7fff) << 13) * tansy_f32x4_splat(0x1p112f);
  return (tansy_f32x4)((tansy_u32x4)magnitude | (h & 0x8000) << 16);
}

INLINE float load1(const void *row, uint32_t j, int is_half) {
  return is_half ? tansy_half_to_float(((const uint16_t *)row)[j]) : ((const float *)row)[j];
}

INLINE float dot(const float *q, const void *row, uint32_t n, int is_half) {
  tansy_f32x4 sum = tansy_f32x4_splat(0.0f);
  uint32_t j = 0;
  for (; j + 4 <= n; j += 4) sum += tansy_f32x4_load(q + j) * load4(row, j, is_half);
  if (j < n) {
    float rest[4] = {0, 0, 0, 0};
    for (uint32_t i = 0; j + i < n; i++) rest[i] = load1(row, j + i, is_half);
    sum += tansy_f32x4_load_n(q + j, n - j) * tansy_f32x4_load(rest);
  }
  return tansy_f32x4_sum(sum);
}

INLINE void attend(const float *q, uint32_t n_q, const uint8_t *k, const uint8_t *v, size_t row_nbytes, uint32_t n_pos, uint32_t head_dim,
                   float scale, float softcap, int is_half, float *out) {
  for (uint32_t h = 0; h < n_q; h++, q += head_dim, out += head_dim) {
    struct tansy_softmax softmax;
    float scores[TANSY_ATTEND_RUN];
    tansy_softmax_begin(&softmax, out, head_dim);
    for (uint32_t begin = 0; begin < n_pos; begin += TANSY_ATTEND_RUN) {
      const uint32_t n = n_pos - begin < TANSY_ATTEND_RUN ? n_pos - begin : TANSY_ATTEND_RUN;
      for (uint32_t i = 0; i < n; i++) scores[i] = dot(q, k + (begin + i) * row_nbytes, head_dim, is_half) * scale;
      for (uint32_t i = n; i & 3; i++) scores[i] = 0.0f;
      tansy_softmax_run(&softmax, scores, n, softcap, out, head_dim);
      for (uint32_t i = 0; i < n; i++) {
        const uint8_t *row = v + (begin + i) * row_nbytes;
        const tansy_f32x4 p = tansy_f32x4_splat(scores[i]);
        uint32_t j = 0;
        for (; j + 4 <= head_dim; j += 4) tansy_f32x4_store(out + j, tansy_f32x4_load(out + j) + p * load4(row, j, is_half));
        for (; j < head_dim; j++) out[j] += scores[i] * load1(row, j, is_half);
      }
    }
    tansy_softmax_end(&softmax, out, head_dim);
  }
}

void tansy_attend_f32(const float *q, uint32_t n_q, const float *k, const float *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                      float scale, float softcap, float *out) {
  attend(q, n_q, (const uint8_t *)k, (const uint8_t *)v, stride * sizeof *k, n_pos, head_dim, scale, softcap, 0, out);
}

void tansy_attend_f16(const float *q, uint32_t n_q, const uint16_t *k, const uint16_t *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                      float scale, float softcap, float *out) {
  attend(q, n_q, (const uint8_t *)k, (const uint8_t *)v, stride * sizeof *k, n_pos, head_dim, scale, softcap, 1, out);
}
