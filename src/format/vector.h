/* vector.h: norms, biases and scales as the file stores them, and as f32. FORMAT.md, "Vectors". */
#ifndef TANSY_FORMAT_VECTOR_H
#define TANSY_FORMAT_VECTOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum tansy_tensor_kind { TANSY_KIND_F32 = 0, TANSY_KIND_F16 = 1, TANSY_KIND_LOG8 = 2, TANSY_KIND_CODED = 3 };

/* 2^(i/16) rounded to f32; LOG8 value = (base * mantissa[e & 15]) * 2^(e >> 4) */
extern const float tansy_log8_mantissa[16];
static inline float tansy_log8_value(float base, uint8_t e) {
  return (base * tansy_log8_mantissa[e & 15]) * (float)(1u << (e >> 4));
}

/* bytes in the file; 0 for kinds that are not vectors */
uint64_t tansy_vector_nbytes(uint32_t kind, uint32_t n);
/* bytes that hold the f32 vector and, before, its file bytes at their end: what tansy_vector_expand works in */
uint64_t tansy_vector_region_nbytes(uint32_t kind, uint32_t n);

/* File bytes -> out [n]. They may lie at the end of out's own region: element i is read before it is written, and never
 * over elements still to be read. NONFINITE when a value is not a number. */
enum tansy_status tansy_vector_expand(uint32_t kind, const uint8_t *bytes, uint32_t n, float *out);

#endif
