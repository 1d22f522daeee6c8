/* test_math.c: base/math.h against the C library in double, and its edges. */
#include "base/math.h"
#include "base/f32x4.h"
#include "test.h"

static float float_of(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* distance in units of the last place of a float near `exact` */
static double ulps(float got, double exact) {
  int exponent;
  frexp(exact, &exponent);
  if (exponent < -125) exponent = -125;
  return fabs((double)got - exact) / ldexp(1.0, exponent - 24);
}

typedef float function32(float);
typedef double function64(double);
static void sweep(const char *name, function32 *f, function64 *exact, float lo, float hi, double bound) {
  struct test_rng rng = {1};
  double worst = 0, at = 0;
  for (int i = 0; i < 400000; i++) {
    /* half of them uniform, half with uniform exponents */
    float x = i & 1 ? (float)(lo + (hi - lo) * test_rand_unit(&rng)) : float_of((uint32_t)test_rand(&rng));
    if (!(x >= lo && x <= hi)) continue;
    double e = exact((double)x);
    if (!(fabs(e) < 3.4028234e38)) continue;
    double d = ulps(f(x), e);
    if (!(d <= worst)) worst = d, at = x;
  }
  printf("%s: %.3f ulp at %.9g\n", name, worst, at);
  CHECK(worst <= bound);
}

static double exact_log2(double x) { return log(x) / log(2.0); }

static void test_accuracy(void) {
  sweep("exp", tansy_expf, exp, -103.9f, 88.73f, 1.1);
  sweep("exp2", tansy_exp2f, exp2, -149.0f, 128.0f, 0.51);
  sweep("log", tansy_logf, log, 1e-45f, 3.4e38f, 0.51);
  sweep("log2", tansy_log2f, exact_log2, 1e-45f, 3.4e38f, 0.51);
  sweep("sin", tansy_sinf, sin, -4194304.0f, 4194304.0f, 0.51);
  sweep("cos", tansy_cosf, cos, -4194304.0f, 4194304.0f, 0.51);
  sweep("tanh", tansy_tanhf, tanh, -20.0f, 20.0f, 2.0);
  sweep("erf", tansy_erff, erf, -6.0f, 6.0f, 2.0);
  struct test_rng rng = {2};
  double worst = 0;
  for (int i = 0; i < 200000; i++) {
    float x = (float)(test_rand_unit(&rng) * 1e6) + 1e-3f, y = (float)(test_rand_unit(&rng) * 4 - 2);
    double d = ulps(tansy_powf(x, y), pow((double)x, (double)y));
    if (!(d <= worst)) worst = d;
  }
  CHECK(worst <= 0.51);
}

static void test_edges(void) {
  const float inf = float_of(0x7f800000), nan = float_of(0x7fc00000);
  CHECK(tansy_expf(0) == 1 && tansy_expf(-0.0f) == 1);
  CHECK(tansy_expf(inf) == inf && tansy_expf(100) == inf && tansy_expf(-inf) == 0 && tansy_expf(-104) == 0);
  CHECK(tansy_expf(-103.0f) > 0);
  CHECK(tansy_expf(nan) != tansy_expf(nan));
  CHECK(tansy_exp2f(-149) == 0x1p-149f && tansy_exp2f(127) == 0x1p127f && tansy_exp2f(128) == inf && tansy_exp2f(-200) == 0);
  CHECK(tansy_exp2f(nan) != tansy_exp2f(nan));
  CHECK(tansy_logf(1) == 0 && tansy_logf(0) == -inf && tansy_logf(inf) == inf);
  CHECK(tansy_logf(-1) != tansy_logf(-1) && tansy_logf(nan) != tansy_logf(nan));
  for (int i = -149; i < 128; i++) CHECK(tansy_log2f(ldexpf(1, i)) == (float)i);
  CHECK(tansy_powf(0, 2) == 0 && tansy_powf(0, -2) == inf && tansy_powf(5, 0) == 1 && tansy_powf(10000, 0.5f) == 100);
  CHECK(tansy_sinf(0) == 0 && tansy_cosf(0) == 1);
  CHECK(tansy_sinf(inf) != tansy_sinf(inf) && tansy_cosf(nan) != tansy_cosf(nan));
  for (int i = 0; i < 300; i++) {
    float x = float_of(0x4b000000u + (uint32_t)i * 0x50000u);
    CHECK(tansy_sinf(x) >= -1 && tansy_sinf(x) <= 1 && tansy_cosf(x) >= -1 && tansy_cosf(x) <= 1);
  }
  CHECK(tansy_tanhf(inf) == 1 && tansy_tanhf(-inf) == -1 && tansy_tanhf(0) == 0 && tansy_tanhf(nan) != tansy_tanhf(nan));
  CHECK(tansy_erff(inf) == 1 && tansy_erff(-30) == -1 && tansy_erff(0) == 0 && tansy_erff(nan) != tansy_erff(nan));
}

/* A fingerprint of the bits on a fixed sequence: native, wasm and every compiler must agree on it. */
static void test_same_bits_everywhere(void) {
  struct test_rng rng = {3};
  uint64_t hash = 0xcbf29ce484222325ull;
  for (int i = 0; i < 20000; i++) {
    float x = (float)(test_rand_normal(&rng) * 8);
    float y[9] = {tansy_expf(x), tansy_exp2f(x), tansy_logf(x * x), tansy_log2f(x * x), tansy_powf(x * x, 0.7f), tansy_sinf(x * 100), tansy_cosf(x * 100), tansy_tanhf(x), tansy_erff(x)};
    for (int k = 0; k < 9; k++) {
      uint32_t bits;
      memcpy(&bits, &y[k], 4);
      hash = (hash ^ bits) * 0x100000001b3ull;
    }
  }
  printf("fingerprint %016" PRIx64 "\n", hash);
  CHECK(hash == 0xbb409e5a0d6d3883ull);
}

int main(void) {
  RUN(test_accuracy);
  RUN(test_edges);
  RUN(test_same_bits_everywhere);
  return test_finish();
}
