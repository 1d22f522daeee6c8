/* math.c: scalar functions. exp, tanh and erf are lane 0 of the vector forms; the others work in double, where plain series
 * leave far more bits than the float result keeps. */
#include "base/math.h"

#include <stdint.h>
#include <string.h>

#include "base/f32x4.h"

float tansy_expf(float x) { return tansy_exp_f32x4(tansy_f32x4_splat(x))[0]; }
float tansy_tanhf(float x) { return tansy_tanh_f32x4(tansy_f32x4_splat(x))[0]; }
float tansy_erff(float x) { return tansy_erf_f32x4(tansy_f32x4_splat(x))[0]; }

static double from_bits(uint64_t bits) {
  double x;
  memcpy(&x, &bits, 8);
  return x;
}

/* adding and subtracting it rounds to the nearest integer, ties to even, for |x| < 2^51 */
#define ROUND 0x1.8p52

/* log2(x), x > 0 and finite: x = 2^n m, m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh((m - 1) / (m + 1)) by its series */
static double log2_positive(float x) {
  double wide = x; /* normal even where x is not */
  uint64_t bits;
  memcpy(&bits, &wide, 8);
  /* the exponent of x / sqrt(1/2), rounded down */
  int64_t n = (int64_t)(bits - 0x3fe6a09e667f3bcdull) >> 52;
  double m = from_bits(bits - ((uint64_t)n << 52));
  double s = (m - 1.0) / (m + 1.0), t = s * s;
  /* |s| <= 0.1716: the first term left out is below 2^-50 of the sum */
  double p = 1.0 / 19.0;
  p = p * t + 1.0 / 17.0;
  p = p * t + 1.0 / 15.0;
  p = p * t + 1.0 / 13.0;
  p = p * t + 1.0 / 11.0;
  p = p * t + 1.0 / 9.0;
  p = p * t + 1.0 / 7.0;
  p = p * t + 1.0 / 5.0;
  p = p * t + 1.0 / 3.0;
  return (double)n + (s + s * (t * p)) * 0x1.71547652b82fep+1; /* 2 / ln 2 */
}

/* 2^x rounded to float */
static float exp2_wide(double x) {
  if (!(x < 129.0)) return x == x ? (float)from_bits(0x7ff0000000000000ull) : (float)x;
  if (x < -151.0) return 0.0f;
  double n = (x + ROUND) - ROUND;
  double r = (x - n) * 0x1.62e42fefa39efp-1; /* ln 2 */
  double e = 1.0 / 39916800.0;                /* 1 / 11! */
  e = e * r + 1.0 / 3628800.0;
  e = e * r + 1.0 / 362880.0;
  e = e * r + 1.0 / 40320.0;
  e = e * r + 1.0 / 5040.0;
  e = e * r + 1.0 / 720.0;
  e = e * r + 1.0 / 120.0;
  e = e * r + 1.0 / 24.0;
  e = e * r + 1.0 / 6.0;
  e = e * r + 0.5;
  e = 1.0 + (r + (r * r) * e);
  return (float)(e * from_bits((uint64_t)((int64_t)n + 1023) << 52));
}

static int is_finite(float x) { return x - x == 0.0f; }

float tansy_log2f(float x) {
  if (!(x > 0.0f)) return x == 0.0f ? -1.0f / (x * x) : (x - x) / 0.0f;
  return is_finite(x) ? (float)log2_positive(x) : x;
}

float tansy_logf(float x) {
  if (!(x > 0.0f) || !is_finite(x)) return tansy_log2f(x);
  return (float)(log2_positive(x) * 0x1.62e42fefa39efp-1);
}

float tansy_exp2f(float x) { return exp2_wide(x); }

float tansy_powf(float x, float y) {
  if (y == 0.0f) return 1.0f;
  if (x == 0.0f) return y > 0.0f ? 0.0f : tansy_exp2f(1e9f);
  if (!(x > 0.0f)) return tansy_log2f(x);
  return exp2_wide((double)y * log2_positive(x));
}

/* x = k pi/2 + r, |r| <= pi/4, pi/2 in three parts of which the first two have 31 bits: exact products for |k| < 2^22 */
static double reduce(double x, uint32_t *quadrant) {
  double k = (x * 0x1.45f306dc9c883p-1 + ROUND) - ROUND;
  *quadrant = (uint32_t)(int64_t)k;
  double r = x - k * 0x1.921fb544p+0;
  r = r - k * 0x1.0b4611a4p-34;
  return r - k * 0x1.13198a2e03707p-65;
}

static double sine(double r) {
  double t = r * r, p = -1.0 / 1307674368000.0; /* 1 / 15! */
  p = p * t + 1.0 / 6227020800.0;
  p = p * t - 1.0 / 39916800.0;
  p = p * t + 1.0 / 362880.0;
  p = p * t - 1.0 / 5040.0;
  p = p * t + 1.0 / 120.0;
  p = p * t - 1.0 / 6.0;
  return r + r * (t * p);
}

static double cosine(double r) {
  double t = r * r, p = -1.0 / 87178291200.0; /* 1 / 14! */
  p = p * t + 1.0 / 479001600.0;
  p = p * t - 1.0 / 3628800.0;
  p = p * t + 1.0 / 40320.0;
  p = p * t - 1.0 / 720.0;
  p = p * t + 1.0 / 24.0;
  p = p * t - 0.5;
  return 1.0 + t * p;
}

static float sine_of_quadrant(float x, uint32_t ahead) {
  if (!is_finite(x)) return x - x;
  uint32_t quadrant;
  /* beyond the domain: a step of float is as long as a turn there, so any value does; keep k an exact integer in range */
  double wide = x > 0x1p40f || x < -0x1p40f ? 0.0 : (double)x;
  double r = reduce(wide, &quadrant);
  quadrant += ahead;
  double y = quadrant & 1 ? cosine(r) : sine(r);
  if (quadrant & 2) y = -y;
  return (float)(y > 1.0 ? 1.0 : y < -1.0 ? -1.0 : y);
}

float tansy_sinf(float x) { return sine_of_quadrant(x, 0); }
float tansy_cosf(float x) { return sine_of_quadrant(x, 1); }
