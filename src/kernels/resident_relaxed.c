/* resident_relaxed.c: products with PACKED and INT8 weights, relaxed SIMD: the 7-bit operand of the dot is the biased weight,
 * so every meaning the instruction may have gives the same integers. For processors whose dot of four is several instructions. */
#include "kernels/packed_simd.h"

typedef v128_t act_v;

TANSY_INLINE act_v load_act(const int8_t *q) { return wasm_v128_load(q); }
TANSY_INLINE v128_t dot16(v128_t u, act_v x) { return wasm_i16x8_relaxed_dot_i8x16_i7x16(x, u); }
TANSY_INLINE v128_t dot32(v128_t u, act_v x, v128_t sum) { return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, u, sum); }

#define DOT_OF_FOUR 0
#define SUFFIX relaxed
#include "kernels/dot_body.h"
