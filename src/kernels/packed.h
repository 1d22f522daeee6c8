/* packed.h: pack and unpack one PACKED block, portable. Layout: kernels_internal.h; vectors: packed_simd.h. */
#ifndef TANSY_KERNELS_PACKED_H
#define TANSY_KERNELS_PACKED_H

#include <string.h>

#include "kernels/kernels_internal.h"

/* u: 64 bytes [4][16] as in INT8 (raw_bits 4: coded as i8) */
static inline void tansy_pack_block(const uint8_t *u, uint32_t raw_bits, uint8_t *block) {
  if (raw_bits >= TANSY_MAX_RAW_BITS) {
    memcpy(block, u, TANSY_INT8_BLOCK_NBYTES);
    return;
  }
  uint8_t nibble[16];
  for (uint32_t j = 0; j < 16; j++) {
    const uint32_t u0 = u[j], u1 = u[16 + j], u2 = u[32 + j], u3 = u[48 + j];
    nibble[j] = (uint8_t)(raw_bits == 1 ? (u2 & 3) | (u3 & 3) << 2 : u3 & 15);
    switch (raw_bits) {
      case 0:
        block[j] = (uint8_t)(u0 | u1 << 4);
        block[16 + j] = (uint8_t)(u2 | u3 << 4);
        break;
      case 1:
        block[j] = (uint8_t)(u0 | (u2 >> 2) << 5);
        block[16 + j] = (uint8_t)(u1 | (u3 >> 2) << 5);
        break;
      default: /* u3 spread over the free bits of three bytes */
        for (uint32_t k = 0; k < 3; k++) {
          uint32_t part = raw_bits == 2 ? u3 >> 2 * k & 3 : u3 >> (4 + k) & 1;
          block[16 * k + j] = (uint8_t)(u[16 * k + j] | part << (4 + raw_bits));
        }
    }
  }
  if (raw_bits & 1)
    for (uint32_t j = 0; j < 8; j++) block[(raw_bits == 1 ? 32 : 48) + j] = (uint8_t)(nibble[j] | nibble[j + 8] << 4);
}

static inline void tansy_unpack_block(const uint8_t *block, uint32_t raw_bits, uint8_t *u) {
  if (raw_bits >= TANSY_MAX_RAW_BITS) {
    memcpy(u, block, TANSY_INT8_BLOCK_NBYTES);
    return;
  }
  for (uint32_t j = 0; j < 16; j++) {
    const uint32_t v0 = block[j], v1 = block[16 + j], v2 = raw_bits >= 2 ? block[32 + j] : 0;
    const uint32_t nibble = raw_bits & 1 ? block[(raw_bits == 1 ? 32 : 48) + (j & 7)] >> (j & 8 ? 4 : 0) & 15 : 0;
    const uint32_t mask = (16u << raw_bits) - 1;
    uint32_t u2 = v2 & mask, u3;
    switch (raw_bits) {
      case 0: u2 = v1 & 15, u3 = v1 >> 4; break;
      case 1: u2 = (v0 >> 5) << 2 | (nibble & 3), u3 = (v1 >> 5) << 2 | nibble >> 2; break;
      case 2: u3 = v0 >> 6 | v1 >> 6 << 2 | v2 >> 6 << 4; break;
      default: u3 = nibble | v0 >> 7 << 4 | v1 >> 7 << 5 | v2 >> 7 << 6;
    }
    u[j] = (uint8_t)(v0 & mask);
    u[16 + j] = (uint8_t)(raw_bits == 0 ? v0 >> 4 : v1 & mask);
    u[32 + j] = (uint8_t)u2;
    u[48 + j] = (uint8_t)u3;
  }
}

#endif
