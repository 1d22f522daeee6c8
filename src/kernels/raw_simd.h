/* raw_simd.h: raw bits of the stream, put into weights. */
#ifndef TANSY_KERNELS_RAW_SIMD_H
#define TANSY_KERNELS_RAW_SIMD_H

#include "kernels/packed_simd.h"

/* raw bits of a step, or-ed into four rows; group_raw: of the group. Layout: codec/tile.h */
TANSY_INLINE void tansy_merge_raw(v128_t w[4], const uint8_t *group_raw, uint32_t step, uint32_t n_steps, uint32_t raw_bits) {
  if (raw_bits == 4) {
    const v128_t low = wasm_i8x16_splat(15);
    v128_t r01 = wasm_v128_load(group_raw + 32 * step), r23 = wasm_v128_load(group_raw + 32 * step + 16);
    w[0] = wasm_v128_or(w[0], wasm_v128_and(r01, low));
    w[1] = wasm_v128_or(w[1], wasm_v128_and(wasm_u16x8_shr(r01, 4), low));
    w[2] = wasm_v128_or(w[2], wasm_v128_and(r23, low));
    w[3] = wasm_v128_or(w[3], wasm_v128_and(wasm_u16x8_shr(r23, 4), low));
    return;
  }
  if (raw_bits >= 2) {
    const v128_t two = wasm_i8x16_splat(3);
    v128_t r = wasm_v128_load(group_raw + 16 * step);
    w[0] = wasm_v128_or(w[0], wasm_v128_and(r, two));
    w[1] = wasm_v128_or(w[1], wasm_v128_and(wasm_u16x8_shr(r, 2), two));
    w[2] = wasm_v128_or(w[2], wasm_v128_and(wasm_u16x8_shr(r, 4), two));
    w[3] = wasm_v128_or(w[3], wasm_v128_and(wasm_u16x8_shr(r, 6), two));
  }
  if (raw_bits & 1) {
    const uint8_t *high = raw_bits == 3 ? group_raw + 16 * n_steps : group_raw;
    v128_t r = wasm_u16x8_shr(wasm_v128_load(high + 16 * (step / 2)), 4 * (step & 1));
    if (raw_bits == 1) {
      const v128_t one = wasm_i8x16_splat(1);
      w[0] = wasm_v128_or(w[0], wasm_v128_and(r, one));
      w[1] = wasm_v128_or(w[1], wasm_v128_and(wasm_u16x8_shr(r, 1), one));
      w[2] = wasm_v128_or(w[2], wasm_v128_and(wasm_u16x8_shr(r, 2), one));
      w[3] = wasm_v128_or(w[3], wasm_v128_and(wasm_u16x8_shr(r, 3), one));
    } else {
      const v128_t four = wasm_i8x16_splat(4);
      w[0] = wasm_v128_or(w[0], wasm_v128_and(wasm_i16x8_shl(r, 2), four));
      w[1] = wasm_v128_or(w[1], wasm_v128_and(wasm_i16x8_shl(r, 1), four));
      w[2] = wasm_v128_or(w[2], wasm_v128_and(r, four));
      w[3] = wasm_v128_or(w[3], wasm_v128_and(wasm_u16x8_shr(r, 1), four));
    }
  }
}

#endif
