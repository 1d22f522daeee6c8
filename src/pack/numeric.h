/* numeric.h: double-precision functions with the same bits on every target (libm differs in the last place). */
#ifndef TANSY_PACK_NUMERIC_H
#define TANSY_PACK_NUMERIC_H

#include <stdint.h>
#include <string.h>

/* relative error below 4e-16; x finite. Underflow gives 0, overflow a huge finite value */
double tansy_exp_f64(double x);
/* x > 0 and normal */
double tansy_log_f64(double x);

static inline double tansy_pow_f64(double x, double y) { return tansy_exp_f64(y * tansy_log_f64(x)); }

/* nearest integer, ties to even, without libm: exact for |x| < 2^51 */
static inline double tansy_round_f64(double x) { return (x + 0x1.8p52) - 0x1.8p52; }
/* the same for |x| < 2^22 */
static inline float tansy_round_f32(float x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

static inline uint32_t tansy_float_bits(float x) {
  uint32_t u;
  memcpy(&u, &x, 4);
  return u;
}
static inline float tansy_float_from_bits(uint32_t u) {
  float x;
  memcpy(&x, &u, 4);
  return x;
}

#endif
