/* half.h: IEEE 754 binary16 to float, exactly. */
#ifndef TANSY_BASE_HALF_H
#define TANSY_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float tansy_half_to_float(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, fraction = h & 0x3ff, bits;
  if (exponent == 31) {
    bits = sign | 0x7f800000 | fraction << 13;
  } else if (exponent) {
    bits = sign | (exponent + 112) << 23 | fraction << 13;
  } else { /* zero or subnormal: fraction * 2^-24 */
    float magnitude = (float)fraction * 0x1p-24f;
    memcpy(&bits, &magnitude, 4);
    bits |= sign;
  }
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

#endif
