/* test.h: the few macros C tests need. A test program runs named functions and returns non-zero on any failure.
 *
 *   static void test_sum(void) { CHECK_EQ(1 + 1, 2); }
 *   int main(void) { RUN(test_sum); return test_finish(); }
 *
 * A failed check prints file, line and both values, and the function goes on; REQUIRE leaves the function.
 * test_finish() fails a program that checked nothing. */
#ifndef TANSY_TESTS_TEST_H
#define TANSY_TESTS_TEST_H

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned long test_n_checks, test_n_failures;
static const char *test_name = "";

static inline int test_report(int ok, const char *file, int line, const char *what) {
  test_n_checks++;
  if (!ok) {
    /* a broken inner loop must not fill the disk */
    if (test_n_failures++ < 50) fprintf(stderr, "%s:%d: %s: failed: %s\n", file, line, test_name, what);
  }
  return ok;
}
static inline int test_eq_i64(int64_t a, int64_t b, const char *file, int line, const char *what) {
  if (test_report(a == b, file, line, what)) return 1;
  if (test_n_failures <= 50) fprintf(stderr, "    %" PRId64 " is not %" PRId64 "\n", a, b);
  return 0;
}
static inline int test_near(double a, double b, double tolerance, const char *file, int line, const char *what) {
  /* written so that NaN fails */
  if (test_report(fabs(a - b) <= tolerance, file, line, what)) return 1;
  if (test_n_failures <= 50) fprintf(stderr, "    %.9g is not within %.3g of %.9g\n", a, tolerance, b);
  return 0;
}
static inline int test_mem(const void *a, const void *b, size_t nbytes, const char *file, int line, const char *what) {
  const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
  size_t i = 0;
  while (i < nbytes && x[i] == y[i]) i++;
  if (test_report(i == nbytes, file, line, what)) return 1;
  if (test_n_failures <= 50)
    fprintf(stderr, "    byte %lu of %lu: 0x%02x is not 0x%02x\n", (unsigned long)i, (unsigned long)nbytes, x[i], y[i]);
  return 0;
}

#define CHECK(cond) test_report(!!(cond), __FILE__, __LINE__, #cond)
/* integers of any type; both sides must fit int64_t */
#define CHECK_EQ(a, b) test_eq_i64((int64_t)(a), (int64_t)(b), __FILE__, __LINE__, #a " == " #b)
#define CHECK_NEAR(a, b, tolerance) test_near((a), (b), (tolerance), __FILE__, __LINE__, #a " ~ " #b)
#define CHECK_MEM(a, b, nbytes) test_mem((a), (b), (nbytes), __FILE__, __LINE__, #a " same bytes as " #b)
#define CHECK_STR(a, b) test_report(strcmp((a), (b)) == 0, __FILE__, __LINE__, #a " same text as " #b)
#define REQUIRE(cond)          \
  do {                         \
    if (!CHECK(cond)) return;  \
  } while (0)
#define RUN(function)       \
  do {                      \
    test_name = #function;  \
    function();             \
  } while (0)

static inline int test_finish(void) {
  if (test_n_checks == 0) {
    fprintf(stderr, "nothing was checked\n");
    return 1;
  }
  printf("%lu checks, %lu failed\n", test_n_checks, test_n_failures);
  return test_n_failures != 0;
}

/* memory a test cannot go on without */
static inline void *test_alloc(size_t nbytes) {
  void *p = malloc(nbytes ? nbytes : 1);
  if (!p) {
    fprintf(stderr, "test: out of memory (%lu bytes)\n", (unsigned long)nbytes);
    exit(2);
  }
  return p;
}

/* splitmix64: the same sequence on every target, so that a failure names its seed */
struct test_rng {
  uint64_t state;
};
static inline uint64_t test_rand(struct test_rng *rng) {
  uint64_t z = (rng->state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
static inline uint32_t test_rand_below(struct test_rng *rng, uint32_t n) { return (uint32_t)((test_rand(rng) >> 32) * n >> 32); }
/* uniform in [0, 1) */
static inline double test_rand_unit(struct test_rng *rng) { return (double)(test_rand(rng) >> 11) * 0x1p-53; }
/* near-normal: sum of 12 uniforms less 6 (variance 1); no libm, so equal everywhere */
static inline double test_rand_normal(struct test_rng *rng) {
  double s = -6;
  for (int i = 0; i < 12; i++) s += test_rand_unit(rng);
  return s;
}

#endif
