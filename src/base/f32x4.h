/* f32x4.h: four floats at once with the vector extensions of GCC and clang, and our own exp, tanh and erf.
 *
 * Every operation is an IEEE single operation per lane in the order written, so the bits are the same in wasm (one v128),
 * natively, and in the scalar functions of math.h, which are lane 0 of these. */
#ifndef TANSY_BASE_F32X4_H
#define TANSY_BASE_F32X4_H

#include <stdint.h>
#include <string.h>

typedef float tansy_f32x4 __attribute__((vector_size(16)));
typedef int32_t tansy_i32x4 __attribute__((vector_size(16)));
typedef uint32_t tansy_u32x4 __attribute__((vector_size(16)));

static inline tansy_f32x4 tansy_f32x4_splat(float a) { return (tansy_f32x4){a, a, a, a}; }
static inline tansy_i32x4 tansy_i32x4_splat(int32_t a) { return (tansy_i32x4){a, a, a, a}; }
static inline tansy_f32x4 tansy_f32x4_load(const float *p) {
  tansy_f32x4 v;
  memcpy(&v, p, 16);
  return v;
}
static inline void tansy_f32x4_store(float *p, tansy_f32x4 v) { memcpy(p, &v, 16); }
/* n floats (0 <= n < 4), then zeros */
static inline tansy_f32x4 tansy_f32x4_load_n(const float *p, uint32_t n) {
  float lanes[4] = {0, 0, 0, 0};
  for (uint32_t i = 0; i < n; i++) lanes[i] = p[i];
  return tansy_f32x4_load(lanes);
}
static inline void tansy_f32x4_store_n(float *p, tansy_f32x4 v, uint32_t n) {
  float lanes[4];
  tansy_f32x4_store(lanes, v);
  for (uint32_t i = 0; i < n; i++) p[i] = lanes[i];
}
/* mask lanes are 0 or -1: what a comparison gives */
static inline tansy_f32x4 tansy_f32x4_select(tansy_i32x4 mask, tansy_f32x4 yes, tansy_f32x4 no) {
  return (tansy_f32x4)(((tansy_i32x4)yes & mask) | ((tansy_i32x4)no & ~mask));
}
/* max: a < b ? b : a; min: b < a ? b : a; so a when b is NaN. In wasm an instruction each. */
#if defined(__wasm_simd128__)
static inline tansy_f32x4 tansy_f32x4_max(tansy_f32x4 a, tansy_f32x4 b) { return __builtin_wasm_pmax_f32x4(a, b); }
static inline tansy_f32x4 tansy_f32x4_min(tansy_f32x4 a, tansy_f32x4 b) { return __builtin_wasm_pmin_f32x4(a, b); }
#else
static inline tansy_f32x4 tansy_f32x4_max(tansy_f32x4 a, tansy_f32x4 b) { return tansy_f32x4_select((tansy_i32x4)(a < b), b, a); }
static inline tansy_f32x4 tansy_f32x4_min(tansy_f32x4 a, tansy_f32x4 b) { return tansy_f32x4_select((tansy_i32x4)(b < a), b, a); }
#endif
static inline tansy_f32x4 tansy_f32x4_abs(tansy_f32x4 a) { return (tansy_f32x4)((tansy_i32x4)a & tansy_i32x4_splat(0x7fffffff)); }
/* (lane 0 + lane 1) + (lane 2 + lane 3) */
static inline float tansy_f32x4_sum(tansy_f32x4 a) { return (a[0] + a[1]) + (a[2] + a[3]); }

/* e^x, 1.1 ulp. x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 P(r), P by interpolation at Chebyshev nodes; ln 2 in two parts, the
 * first with 15 bits so that n times it is exact; 2^n in two factors, so that results near overflow and below the normal
 * range round once. */
static inline tansy_f32x4 tansy_exp_f32x4(tansy_f32x4 x) {
  /* outside: e^89 overflows, e^-104 is less than half the smallest float */
  x = tansy_f32x4_max(tansy_f32x4_min(x, tansy_f32x4_splat(89.0f)), tansy_f32x4_splat(-104.0f));
  const tansy_f32x4 round = tansy_f32x4_splat(0x1.8p23f); /* adding it leaves the nearest integer in the low bits */
  tansy_f32x4 shifted = x * tansy_f32x4_splat(0x1.715476p+0f) + round;
  tansy_i32x4 n = (tansy_i32x4)((tansy_u32x4)shifted - (tansy_u32x4)round);
  tansy_f32x4 nf = shifted - round;
  tansy_f32x4 r = x - nf * tansy_f32x4_splat(0x1.62e4p-1f);
  r = r - nf * tansy_f32x4_splat(0x1.7f7d1cp-20f);
  tansy_f32x4 p = tansy_f32x4_splat(0x1.6d1109p-10f);
  p = p * r + tansy_f32x4_splat(0x1.120b6ep-7f);
  p = p * r + tansy_f32x4_splat(0x1.555519p-5f);
  p = p * r + tansy_f32x4_splat(0x1.5554ddp-3f);
  p = p * r + tansy_f32x4_splat(0.5f);
  tansy_f32x4 e = tansy_f32x4_splat(1.0f) + (r + (r * r) * p);
  tansy_i32x4 half = n >> 1;
  tansy_f32x4 a = (tansy_f32x4)((tansy_u32x4)(half + tansy_i32x4_splat(127)) << 23);
  tansy_f32x4 b = (tansy_f32x4)((tansy_u32x4)(n - half + tansy_i32x4_splat(127)) << 23);
  return (e * a) * b;
}

/* odd: x + x t P(t), t = x^2, below 0.55; 1 - 2 / (e^2|x| + 1) above */
static inline tansy_f32x4 tansy_tanh_f32x4(tansy_f32x4 x) {
  tansy_f32x4 a = tansy_f32x4_abs(x), t = x * x;
  tansy_f32x4 p = tansy_f32x4_splat(-0x1.b13538p-8f);
  p = p * t + tansy_f32x4_splat(0x1.5d220ep-6f);
  p = p * t + tansy_f32x4_splat(-0x1.b9a044p-5f);
  p = p * t + tansy_f32x4_splat(0x1.110feap-3f);
  p = p * t + tansy_f32x4_splat(-0x1.555554p-2f);
  tansy_f32x4 small = a + (a * t) * p;
  const tansy_f32x4 one = tansy_f32x4_splat(1.0f);
  tansy_f32x4 large = one - tansy_f32x4_splat(2.0f) / (tansy_exp_f32x4(a + a) + one);
  tansy_f32x4 y = tansy_f32x4_select((tansy_i32x4)(a < tansy_f32x4_splat(0.55f)), small, large);
  return (tansy_f32x4)((tansy_i32x4)y | ((tansy_i32x4)x & tansy_i32x4_splat(INT32_MIN)));
}

/* x + x P(x^2) below 0.94; 1 - e^Q(|x|) above, 1 from 4 on */
static inline tansy_f32x4 tansy_erf_f32x4(tansy_f32x4 x) {
  tansy_f32x4 a = tansy_f32x4_abs(x), t = x * x;
  tansy_f32x4 p = tansy_f32x4_splat(0x1.581b9ap-14f);
  p = p * t + tansy_f32x4_splat(-0x1.a8d37ep-11f);
  p = p * t + tansy_f32x4_splat(0x1.549f5ep-8f);
  p = p * t + tansy_f32x4_splat(-0x1.b80a72p-6f);
  p = p * t + tansy_f32x4_splat(0x1.ce2ddap-4f);
  p = p * t + tansy_f32x4_splat(-0x1.812742p-2f);
  p = p * t + tansy_f32x4_splat(0x1.06ebaap-3f);
  tansy_f32x4 small = a + a * p;
  const tansy_f32x4 one = tansy_f32x4_splat(1.0f), four = tansy_f32x4_splat(4.0f);
  tansy_f32x4 c = tansy_f32x4_min(a, four);
  tansy_f32x4 q = tansy_f32x4_splat(-0x1.d6efacp-25f);
  q = q * c + tansy_f32x4_splat(0x1.7c1a56p-19f);
  q = q * c + tansy_f32x4_splat(-0x1.e0e116p-15f);
  q = q * c + tansy_f32x4_splat(0x1.587646p-11f);
  q = q * c + tansy_f32x4_splat(-0x1.450ef4p-8f);
  q = q * c + tansy_f32x4_splat(0x1.b7ed9ap-6f);
  q = q * c + tansy_f32x4_splat(-0x1.c5514ap-4f);
  q = q * c + tansy_f32x4_splat(-0x1.433c56p-1f);
  q = q * c + tansy_f32x4_splat(-0x1.2166dap+0f);
  q = q * c + tansy_f32x4_splat(0x1.838678p-12f);
  tansy_f32x4 y = tansy_f32x4_select((tansy_i32x4)(a < tansy_f32x4_splat(0.94f)), small, one - tansy_exp_f32x4(q));
  return (tansy_f32x4)((tansy_i32x4)y | ((tansy_i32x4)x & tansy_i32x4_splat(INT32_MIN)));
}

#endif
