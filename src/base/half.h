/* half.h: IEEE 754 binary16. */
#ifndef TANSY_BASE_HALF_H
#define TANSY_BASE_HALF_H

#include <stdint.h>
#include <string.h>

/* exactly */
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

/* to the nearest, ties to even; from 65520 on infinity */
static inline uint16_t tansy_half_nearest(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00));
  if (magnitude < 0x38800000) { /* below 2^-14: multiples of 2^-24, which are the last bits of 0.5 + |f| */
    float a;
    memcpy(&a, &magnitude, 4);
    a += 0.5f;
    memcpy(&bits, &a, 4);
    return (uint16_t)(sign | (bits & 0x7ff));
  }
  magnitude += 0xfff + (magnitude >> 13 & 1); /* a carry raises the exponent as it should */
  return (uint16_t)(sign | ((magnitude >> 13) - (112u << 10)));
}

#endif
