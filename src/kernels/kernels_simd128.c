/* kernels_simd128.c: the table of SIMD128. */
#include "kernels/kernels_internal.h"

const struct tansy_kernels tansy_kernels_simd128 = {
  .name = "simd128",
  .quantize_act = tansy_quantize_act_simd128,
  .matmul = tansy_matmul_simd128,
  .expand_packed = tansy_expand_packed_simd128,
  .expand_int8 = tansy_expand_int8_simd128,
  .scale_rows = tansy_scale_rows,
  .rms_norm = tansy_rms_norm,
  .layer_norm = tansy_layer_norm,
  .rope = tansy_rope,
  .activate = tansy_activate,
  .quantize_kv = tansy_quantize_kv,
  .attend_i8 = tansy_attend_i8_simd128,
  .attend_f32 = tansy_attend_f32,
  .attend_f16 = tansy_attend_f16,
  .matmul_f32 = tansy_matmul_f32,
};
