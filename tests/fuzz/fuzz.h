/* fuzz.h: what fuzz targets share: numbers taken from the front of the input, and a promise that must hold. */
#ifndef TANSY_TESTS_FUZZ_H
#define TANSY_TESTS_FUZZ_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

/* the input, front to back; zeros beyond its end */
struct fuzz_input {
  const uint8_t *at;
  size_t left;
};

static inline uint32_t fuzz_u8(struct fuzz_input *in) {
  if (!in->left) return 0;
  in->left--;
  return *in->at++;
}
static inline uint32_t fuzz_u16(struct fuzz_input *in) {
  uint32_t low = fuzz_u8(in);
  return low | fuzz_u8(in) << 8;
}
static inline uint32_t fuzz_u32(struct fuzz_input *in) {
  uint32_t low = fuzz_u16(in);
  return low | fuzz_u16(in) << 16;
}
static inline float fuzz_f32(struct fuzz_input *in) {
  uint32_t bits = fuzz_u32(in);
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* a block of exactly n bytes, so that the sanitizer sees the first one beyond it */
static inline void *fuzz_alloc(size_t n) {
  void *p = malloc(n);
  if (!p && n) exit(2);
  return p;
}
static inline void *fuzz_copy(const void *bytes, size_t n) {
  void *copy = fuzz_alloc(n);
  if (n) memcpy(copy, bytes, n);
  return copy;
}

/* broken: the fuzzer stops here and keeps the input */
#define PROMISE(condition)                                                        \
  do {                                                                            \
    if (!(condition)) {                                                           \
      fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                    \
    }                                                                             \
  } while (0)

#endif
