/* attend_f32.c: attention over float K and V: calibration and the float reference.
 *
 * q . k in 4 lanes, column % 4, then (0 + 1) + (2 + 3); o += e^(score - m) v, position by position. */
#include "kernels/softmax.h"

static float dot(const float *a, const float *b, uint32_t n) {
  tansy_f32x4 sum = tansy_f32x4_splat(0.0f);
  uint32_t j = 0;
  for (; j + 4 <= n; j += 4) sum += tansy_f32x4_load(a + j) * tansy_f32x4_load(b + j);
  if (j < n) sum += tansy_f32x4_load_n(a + j, n - j) * tansy_f32x4_load_n(b + j, n - j);
  return tansy_f32x4_sum(sum);
}

void tansy_attend_f32(const float *q, uint32_t n_q, const float *k, const float *v, size_t stride, uint32_t n_pos, uint32_t head_dim,
                      float scale, float softcap, float *out) {
  for (uint32_t h = 0; h < n_q; h++, q += head_dim, out += head_dim) {
    struct tansy_softmax softmax;
    float scores[TANSY_ATTEND_RUN];
    tansy_softmax_begin(&softmax, out, head_dim);
    for (uint32_t begin = 0; begin < n_pos; begin += TANSY_ATTEND_RUN) {
      const uint32_t n = n_pos - begin < TANSY_ATTEND_RUN ? n_pos - begin : TANSY_ATTEND_RUN;
      for (uint32_t i = 0; i < n; i++) scores[i] = dot(q, k + (begin + i) * stride, head_dim) * scale;
      for (uint32_t i = n; i & 3; i++) scores[i] = 0.0f;
      tansy_softmax_run(&softmax, scores, n, softcap, out, head_dim);
      for (uint32_t i = 0; i < n; i++) {
        const float *row = v + (begin + i) * stride;
        const tansy_f32x4 p = tansy_f32x4_splat(scores[i]);
        uint32_t j = 0;
        for (; j + 4 <= head_dim; j += 4) tansy_f32x4_store(out + j, tansy_f32x4_load(out + j) + p * tansy_f32x4_load(row + j));
        for (; j < head_dim; j++) out[j] += scores[i] * row[j];
      }
    }
    tansy_softmax_end(&softmax, out, head_dim);
  }
}
