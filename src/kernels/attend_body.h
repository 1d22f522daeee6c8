/* attend_body.h: attention over int8 K and V, included by attend_{ref,simd128}.c after they defined
 *   NAME                                                     the function
 *   static void score_run(const int16_t *q, uint32_t n_heads, const int8_t *k, size_t stride, uint32_t n, uint32_t head_dim, int32_t *dots)
 *       dots [n_heads][TANSY_ATTEND_RUN]: q . k of n positions; q [n_heads][TANSY_MAX_HEAD_DIM]
 *   static void weigh_run(const int16_t *w, uint32_t n_heads, const int8_t *v, size_t stride, uint32_t n, uint32_t head_dim, int32_t *sums)
 *       sums [n_heads][TANSY_MAX_HEAD_DIM]: sum over n positions of w v; w [n_heads][TANSY_ATTEND_RUN], zeros up to a multiple of 4
 *
 * All products are exact integers:
 *   q is quantized to 16 bits a head:      |sum| <= 32767 * 127 * 512 < 2^31
 *   w_t = e^(score_t - m) * v_scale_t to 16 bits over the largest of the run: |sum| <= 64 * 32767 * 127 < 2^31
 * Score: ((float)dot * (q_step * scale)) * k_scale_t. Output: o += (float)sum * w_step, run by run. */
#include "kernels/softmax.h"

enum { MAX_HEADS = 4 }; /* of one pass over K and V */

typedef int16_t i16x4 __attribute__((vector_size(8)));

static inline tansy_f32x4 scales4(const float *scale, size_t stride, uint32_t n) {
  if (stride == 1 && n >= 4) return tansy_f32x4_load(scale);
  float lanes[4] = {0, 0, 0, 0};
  for (uint32_t i = 0; i < 4 && i < n; i++) lanes[i] = scale[i * stride];
  return tansy_f32x4_load(lanes);
}

static inline void store_i16x4(int16_t *to, tansy_i32x4 v) {
  const i16x4 narrow = __builtin_convertvector(v, i16x4);
  memcpy(to, &narrow, 8);
}

static void attend_heads(const float *q, uint32_t n_heads, const int8_t *k, const float *k_scale, const int8_t *v, const float *v_scale,
                         size_t stride, size_t scale_stride, uint32_t n_pos, uint32_t head_dim, float scale, float softcap, float *out) {
  int16_t q16[MAX_HEADS * TANSY_MAX_HEAD_DIM], w16[MAX_HEADS * TANSY_ATTEND_RUN];
  int32_t dots[MAX_HEADS * TANSY_ATTEND_RUN] = {0}, sums[MAX_HEADS * TANSY_MAX_HEAD_DIM];
  float scores[TANSY_ATTEND_RUN], steps[MAX_HEADS], w_steps[MAX_HEADS];
  struct tansy_softmax softmax[MAX_HEADS];
  for (uint32_t h = 0; h < n_heads; h++) {
    const float *x = q + (size_t)h * head_dim;
    int16_t *to = q16 + h * TANSY_MAX_HEAD_DIM;
    tansy_softmax_begin(&softmax[h], out + (size_t)h * head_dim, head_dim);
    const float m = tansy_max_abs(x, head_dim);
    const int tiny = !(m >= TANSY_TINY);
    const tansy_f32x4 inverse = tansy_f32x4_splat(tiny ? 0.0f : 32767.0f / m);
    for (uint32_t j = 0; j < head_dim; j += 4) {
      uint32_t n = head_dim - j < 4 ? head_dim - j : 4;
      tansy_i32x4 y = tansy_quantize4(tansy_f32x4_load_n(x + j, n), inverse, 32767.0f);
      store_i16x4(to + j, tiny ? tansy_i32x4_splat(0) : y); /* room for TANSY_MAX_HEAD_DIM, a multiple of 4 */
    }
    steps[h] = tiny ? 0.0f : (m / 32767.0f) * scale;
  }
  for (uint32_t begin = 0; begin < n_pos; begin += TANSY_ATTEND_RUN) {
    const uint32_t n = n_pos - begin < TANSY_ATTEND_RUN ? n_pos - begin : TANSY_ATTEND_RUN, padded = (n + 3) & ~3u;
    score_run(q16, n_heads, k + begin * stride, stride, n, head_dim, dots);
    int any = 0;
    for (uint32_t h = 0; h < n_heads; h++) {
      const int32_t *dot = dots + h * TANSY_ATTEND_RUN;
      const tansy_f32x4 step = tansy_f32x4_splat(steps[h]);
      for (uint32_t i = 0; i < padded; i += 4) {
        tansy_i32x4 dot4;
        memcpy(&dot4, dot + i, 16);
        tansy_f32x4_store(scores + i, (__builtin_convertvector(dot4, tansy_f32x4) * step) * scales4(k_scale + (begin + i) * scale_stride, scale_stride, n - i));
      }
      tansy_softmax_run(&softmax[h], scores, n, softcap, out + (size_t)h * head_dim, head_dim);
      for (uint32_t i = 0; i < padded; i += 4)
        tansy_f32x4_store(scores + i, tansy_f32x4_load(scores + i) * scales4(v_scale + (begin + i) * scale_stride, scale_stride, n - i));
      const float m = tansy_max_abs(scores, padded);
      int16_t *w = w16 + h * TANSY_ATTEND_RUN;
      w_steps[h] = 0.0f;
      if (!(m >= TANSY_TINY)) {
        memset(w, 0, padded * sizeof *w);
        continue;
      }
      any = 1;
      w_steps[h] = m / 32767.0f;
      const tansy_f32x4 inverse = tansy_f32x4_splat(32767.0f / m);
      for (uint32_t i = 0; i < padded; i += 4) store_i16x4(w + i, tansy_quantize4(tansy_f32x4_load(scores + i), inverse, 32767.0f));
    }
    if (!any) continue;
    weigh_run(w16, n_heads, v + begin * stride, stride, n, head_dim, sums);
    for (uint32_t h = 0; h < n_heads; h++) {
      float *o = out + (size_t)h * head_dim;
      const int32_t *sum = sums + h * TANSY_MAX_HEAD_DIM;
      for (uint32_t j = 0; j < head_dim; j++) o[j] += (float)sum[j] * w_steps[h];
    }
  }
  for (uint32_t h = 0; h < n_heads; h++) tansy_softmax_end(&softmax[h], out + (size_t)h * head_dim, head_dim);
}

void NAME(const float *q, uint32_t n_q, const int8_t *k, const float *k_scale, const int8_t *v, const float *v_scale, size_t stride,
          size_t scale_stride, uint32_t n_pos, uint32_t head_dim, float scale, float softcap, float *out) {
  for (uint32_t h = 0; h < n_q; h += MAX_HEADS)
    attend_heads(q + (size_t)h * head_dim, n_q - h < MAX_HEADS ? n_q - h : MAX_HEADS, k, k_scale, v, v_scale, stride, scale_stride, n_pos,
                 head_dim, scale, softcap, out + (size_t)h * head_dim);
}
