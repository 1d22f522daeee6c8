/* numeric.c: see numeric.h. Only +, -, *, / and bit moves, so no target can round differently. */
#include "pack/numeric.h"

/* ln 2 in two parts; the first has 32 trailing zero bits, so that its product with an exponent is exact */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33

double tansy_exp_f64(double x) {
  if (x < -708) return 0;
  if (x > 709) x = 709;
  double k = tansy_round_f64(x * 0x1.71547652b82fep0);
  double r = (x - k * LN2_HIGH) - k * LN2_LOW;
  /* Taylor to r^14 / 14!: |r| <= 0.35 leaves 1e-19 */
  double sum = 1;
  for (int i = 14; i >= 1; i--) sum = 1 + sum * r / i;
  uint64_t bits = (uint64_t)((int64_t)k + 1023) << 52;
  double scale;
  memcpy(&scale, &bits, 8);
  return sum * scale;
}

double tansy_log_f64(double x) {
  uint64_t bits;
  memcpy(&bits, &x, 8);
  int exponent = (int)(bits >> 52 & 2047) - 1023;
  bits = (bits & 0x000FFFFFFFFFFFFFull) | 0x3FF0000000000000ull;
  double m;
  memcpy(&m, &bits, 8);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  /* ln m = 2 atanh s, s = (m - 1) / (m + 1), |s| < 0.172: terms to s^21 leave 1e-19 */
  double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
  for (int i = 21; i >= 3; i -= 2) sum = (sum + 1.0 / i) * s2;
  return exponent * LN2_HIGH + (2 * s + (2 * s * sum + exponent * LN2_LOW));
}
