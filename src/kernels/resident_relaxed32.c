/* resident_relaxed32.c: the same for processors with an instruction for the dot of four (AVX-VNNI, Arm's sdot). */
#include "kernels/packed_simd.h"

typedef v128_t act_v;

TANSY_INLINE act_v load_act(const int8_t *q) { return wasm_v128_load(q); }
TANSY_INLINE v128_t dot16(v128_t u, act_v x) { return wasm_i16x8_relaxed_dot_i8x16_i7x16(x, u); }
TANSY_INLINE v128_t dot32(v128_t u, act_v x, v128_t sum) { return wasm_i32x4_relaxed_dot_i8x16_i7x16_add(x, u, sum); }

#define DOT_OF_FOUR 1
#define SUFFIX relaxed32
#include "kernels/dot_body.h"
