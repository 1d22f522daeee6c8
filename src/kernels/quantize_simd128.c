/* quantize_simd128.c: activations to int8, the narrowing in vectors. */
#include "base/f32x4.h"
#include "kernels/simd.h"

static inline void store_i8x16(int8_t *q, const tansy_i32x4 v[4]) {
  v128_t lo = wasm_i16x8_narrow_i32x4((v128_t)v[0], (v128_t)v[1]), hi = wasm_i16x8_narrow_i32x4((v128_t)v[2], (v128_t)v[3]);
  wasm_v128_store(q, wasm_i8x16_narrow_i16x8(lo, hi));
}

#define NAME tansy_quantize_act_simd128
#include "kernels/quantize_body.h"
