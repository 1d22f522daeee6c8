/* quantize.h: steps shared by everything that turns floats into integers. */
#ifndef TANSY_KERNELS_QUANTIZE_H
#define TANSY_KERNELS_QUANTIZE_H

#include "base/f32x4.h"

/* Vectors with a smaller maximum are taken as zero, so that reciprocals stay finite */
#define TANSY_TINY 0x1p-100f

static inline float tansy_max_lane(tansy_f32x4 v) {
  float a = v[0] < v[1] ? v[1] : v[0], b = v[2] < v[3] ? v[3] : v[2];
  return a < b ? b : a;
}

/* max |x| of n floats */
static inline float tansy_max_abs(const float *x, uint32_t n) {
  tansy_f32x4 m = tansy_f32x4_splat(0.0f);
  uint32_t j = 0;
  for (; j + 4 <= n; j += 4) m = tansy_f32x4_max(m, tansy_f32x4_abs(tansy_f32x4_load(x + j)));
  return tansy_max_lane(tansy_f32x4_max(m, tansy_f32x4_abs(tansy_f32x4_load_n(x + j, n - j))));
}

/* x * scale to the nearest integer, ties to even, clamped to [-limit, limit]; NaN gives -limit. limit < 2^22 */
static inline tansy_i32x4 tansy_quantize4(tansy_f32x4 x, tansy_f32x4 scale, float limit) {
  const tansy_f32x4 top = tansy_f32x4_splat(limit), bottom = tansy_f32x4_splat(-limit), round = tansy_f32x4_splat(0x1.8p23f);
  const tansy_f32x4 y = tansy_f32x4_min(top, tansy_f32x4_max(bottom, x * scale));
  return (tansy_i32x4)(y + round) - (tansy_i32x4)round;
}

#endif
