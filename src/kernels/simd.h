/* simd.h: the wasm SIMD128 intrinsics, natively through SIMDe, so that the same vector files run in wasm and in native tests.
 *
 * Natively the relaxed instructions are given one of the meanings wasm allows. What follows from operands inside the domain
 * where all meanings agree (7-bit second dot operand, swizzle index < 16 or >= 128) is therefore the same everywhere. */
#ifndef TANSY_KERNELS_SIMD_H
#define TANSY_KERNELS_SIMD_H

#if defined(__wasm_simd128__)
#include <wasm_simd128.h>
#else
#define SIMDE_WASM_SIMD128_ENABLE_NATIVE_ALIASES
#include <simde/wasm/simd128.h>
#if defined(__SSSE3__)
#include <tmmintrin.h>
#endif
#include <string.h>

/* a [16] i8 times b [16] in 0..127: sums of 2 neighbours */
static inline v128_t wasm_i16x8_relaxed_dot_i8x16_i7x16(v128_t a, v128_t b) {
#if defined(__SSSE3__)
  __m128i x, y;
  memcpy(&x, &a, 16);
  memcpy(&y, &b, 16);
  x = _mm_maddubs_epi16(y, x);
  memcpy(&a, &x, 16);
  return a;
#else
  v128_t lo = wasm_i16x8_extmul_low_i8x16(a, b), hi = wasm_i16x8_extmul_high_i8x16(a, b);
  return wasm_i16x8_add(wasm_i16x8_shuffle(lo, hi, 0, 2, 4, 6, 8, 10, 12, 14), wasm_i16x8_shuffle(lo, hi, 1, 3, 5, 7, 9, 11, 13, 15));
#endif
}
/* the same, sums of 4 neighbours, plus c [4] */
static inline v128_t wasm_i32x4_relaxed_dot_i8x16_i7x16_add(v128_t a, v128_t b, v128_t c) {
  return wasm_i32x4_add(wasm_i32x4_extadd_pairwise_i16x8(wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b)), c);
}
static inline v128_t wasm_i8x16_relaxed_swizzle(v128_t a, v128_t s) { return wasm_i8x16_swizzle(a, s); }
static inline v128_t wasm_i8x16_relaxed_laneselect(v128_t a, v128_t b, v128_t m) { return wasm_v128_bitselect(a, b, m); }
#endif

#endif
