/* kernels_relaxed.c: the tables of relaxed SIMD, and which of them this processor is better at. */
#include "kernels/kernels_internal.h"
#include "kernels/simd.h"

/* The two differ in their dot product alone. */
#define RELAXED_TABLE(MATMUL)                     \
  {                                               \
    .name = "relaxed",                            \
    .quantize_act = tansy_quantize_act_simd128,   \
    .matmul = MATMUL,                             \
    .expand_packed = tansy_expand_packed_simd128, \
    .expand_int8 = tansy_expand_int8_simd128,     \
    .scale_rows = tansy_scale_rows,               \
    .rms_norm = tansy_rms_norm,                   \
    .layer_norm = tansy_layer_norm,               \
    .rope = tansy_rope,                           \
    .activate = tansy_activate,                   \
    .quantize_kv = tansy_quantize_kv,             \
    .attend_i8 = tansy_attend_i8_simd128,         \
    .attend_f32 = tansy_attend_f32,               \
    .attend_f16 = tansy_attend_f16,               \
    .matmul_f32 = tansy_matmul_f32,               \
  }

const struct tansy_kernels tansy_kernels_relaxed = RELAXED_TABLE(tansy_matmul_relaxed);
const struct tansy_kernels tansy_kernels_relaxed32 = RELAXED_TABLE(tansy_matmul_relaxed32);

/* Four products of 127 by 255, which is no 7-bit number: an engine that makes the dot of instructions of SSSE3 has sums of two saturate
 * on the way; one instruction has no such place, and Arm takes 255 for -1. Only speed depends on it. Old engines compile this
 * operation wrongly at first: they are left to the table that needs it least. */
const struct tansy_kernels *tansy_kernels_best_relaxed(void) {
  const v128_t dot = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(wasm_i8x16_splat(127), wasm_i8x16_splat(-1), wasm_i32x4_splat(1000));
  const int32_t sum = wasm_i32x4_extract_lane(dot, 0) - 1000;
  return sum == 4 * 127 * 255 || sum == 4 * 127 * -1 ? &tansy_kernels_relaxed32 : &tansy_kernels_relaxed;
}
