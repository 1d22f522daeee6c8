/* packed_simd.h: PACKED blocks in vectors. Layout: kernels_internal.h.
 *
 * Shifts are on 16-bit lanes (8-bit ones cost an extra mask on x86); what they bring in from the neighbour byte is masked off. */
#ifndef TANSY_KERNELS_PACKED_SIMD_H
#define TANSY_KERNELS_PACKED_SIMD_H

#include "kernels/kernels_internal.h"
#include "kernels/simd.h"

/* raw_bits is a constant at every call: everything below folds */
#define TANSY_INLINE static inline __attribute__((always_inline))

/* nibble(j) in the lower half of byte j; the upper half is to be masked off */
TANSY_INLINE v128_t tansy_nibbles(const uint8_t *p) {
  v128_t x = wasm_v128_load64_zero(p);
  return wasm_i64x2_shuffle(x, wasm_u16x8_shr(x, 4), 0, 2);
}

/* (v >> shift) & mask, bytewise where the mask keeps the neighbour's bits out */
TANSY_INLINE v128_t tansy_bits(v128_t v, uint32_t shift, int mask) { return wasm_v128_and(wasm_u16x8_shr(v, shift), wasm_i8x16_splat((int8_t)mask)); }

/* u of the four rows; raw_bits < 4 */
TANSY_INLINE void tansy_unpack4(const uint8_t *block, uint32_t raw_bits, v128_t u[4]) {
  const v128_t whole = wasm_i8x16_splat((int8_t)((16 << raw_bits) - 1));
  const v128_t v0 = wasm_v128_load(block), v1 = wasm_v128_load(block + 16);
  u[0] = wasm_v128_and(v0, whole);
  if (raw_bits == 0) {
    u[1] = tansy_bits(v0, 4, 15);
    u[2] = wasm_v128_and(v1, whole);
    u[3] = tansy_bits(v1, 4, 15);
    return;
  }
  u[1] = wasm_v128_and(v1, whole);
  if (raw_bits == 1) {
    const v128_t x = tansy_nibbles(block + 32);
    u[2] = wasm_v128_or(tansy_bits(v0, 3, 0x1c), wasm_v128_and(x, wasm_i8x16_splat(3)));
    u[3] = wasm_v128_or(tansy_bits(v1, 3, 0x1c), tansy_bits(x, 2, 3));
    return;
  }
  const v128_t v2 = wasm_v128_load(block + 32);
  u[2] = wasm_v128_and(v2, whole);
  if (raw_bits == 2) {
    u[3] = wasm_v128_or(wasm_v128_or(tansy_bits(v0, 6, 3), tansy_bits(v1, 4, 12)), tansy_bits(v2, 2, 48));
  } else {
    /* u3 = ((n + c0) / 2 + c1) / 2 + c2) / 2 with n its nibble times 8 and c the top bits: every average is exact */
    const v128_t x = wasm_v128_load64_zero(block + 48);
    v128_t n = wasm_v128_and(wasm_i64x2_shuffle(wasm_i16x8_shl(x, 3), wasm_u16x8_shr(x, 1), 0, 2), wasm_i8x16_splat(0x78));
    n = wasm_u8x16_avgr(n, wasm_v128_andnot(v0, whole));
    n = wasm_u8x16_avgr(n, wasm_v128_andnot(v1, whole));
    u[3] = wasm_u8x16_avgr(n, wasm_v128_andnot(v2, whole));
  }
}

/* the other way, any raw_bits < 4; every u below 16 << raw_bits (resident_simd128.c) */
void tansy_pack4(const v128_t u[4], uint32_t raw_bits, uint8_t *block);

#endif
