/* kernels_ref.c: sizes, row look-up, and the portable table. */
#include "codec/escape.h"
#include "kernels/kernels_internal.h"
#include "kernels/packed.h"

uint32_t tansy_act_max_shift(uint32_t n_cols_padded) {
  /* |coded * q| <= 128 * 127 */
  uint32_t shift = 0;
  while (shift < 4 && ((uint64_t)n_cols_padded * 128 * 127 << (shift + 1)) < (uint64_t)1 << 31) shift++;
  return shift;
}

static size_t n_blocks(const struct tansy_coded_shape *shape) {
  return (size_t)tansy_n_groups(shape) * (tansy_pad_cols(shape->n_cols) / TANSY_LANES);
}
size_t tansy_packed_nbytes(const struct tansy_coded_shape *shape) { return n_blocks(shape) * tansy_packed_block_nbytes(shape->raw_bits); }
size_t tansy_int8_nbytes(const struct tansy_coded_shape *shape) { return n_blocks(shape) * TANSY_INT8_BLOCK_NBYTES; }
/* two groups in INT8 layout */
size_t tansy_matmul_scratch_nbytes(uint32_t n_cols_padded) { return (size_t)n_cols_padded * TANSY_GROUP_N_ROWS * 2; }

enum tansy_status tansy_matrix_read_rows(const struct tansy_matrix *w, uint32_t row_begin, uint32_t row_end, int32_t *out) {
  if (w->form == TANSY_FORM_ANS) return tansy_coded_read_rows(&w->coded, row_begin, row_end, out);
  const struct tansy_coded_shape *shape = &w->coded.shape;
  if (w->form == TANSY_FORM_F32 || row_begin > row_end || row_end > shape->n_rows) return TANSY_ERR_ARGUMENT;
  const uint32_t r = shape->raw_bits, n_steps = w->coded.n_cols_padded / TANSY_LANES;
  const uint32_t block_nbytes = w->form == TANSY_FORM_PACKED ? tansy_packed_block_nbytes(r) : TANSY_INT8_BLOCK_NBYTES;
  const int32_t bias = tansy_weight_bias(r);
  for (uint32_t row = row_begin; row < row_end; row++) {
    const uint8_t *block = w->resident + (size_t)(row / TANSY_GROUP_N_ROWS) * n_steps * block_nbytes;
    int32_t *to = out + (size_t)(row - row_begin) * shape->n_cols;
    for (uint32_t s = 0; s < n_steps; s++, block += block_nbytes) {
      uint8_t u[TANSY_INT8_BLOCK_NBYTES];
      if (w->form == TANSY_FORM_PACKED)
        tansy_unpack_block(block, r, u);
      else
        memcpy(u, block, sizeof u);
      const uint8_t *lanes = u + 16 * (row % TANSY_GROUP_N_ROWS);
      for (uint32_t j = 16 * s; j < 16 * s + 16 && j < shape->n_cols; j++)
        to[j] = r < TANSY_MAX_RAW_BITS ? (int32_t)lanes[j % 16] - bias : (int8_t)lanes[j % 16];
    }
  }
  tansy_escapes_add(&w->coded, row_begin, row_end, out);
  return TANSY_OK;
}

const struct tansy_kernels tansy_kernels_ref = {
  .name = "ref",
  .quantize_act = tansy_quantize_act_ref,
  .matmul = tansy_matmul_ref,
  .expand_packed = tansy_expand_packed_ref,
  .expand_int8 = tansy_expand_int8_ref,
  .scale_rows = tansy_scale_rows,
  .rms_norm = tansy_rms_norm,
  .layer_norm = tansy_layer_norm,
  .rope = tansy_rope,
  .activate = tansy_activate,
  .quantize_kv = tansy_quantize_kv,
  .attend_i8 = tansy_attend_i8_ref,
  .attend_f32 = tansy_attend_f32,
  .attend_f16 = tansy_attend_f16,
  .matmul_f32 = tansy_matmul_f32,
};

const struct tansy_kernels *tansy_kernels_best(void) {
#if defined(TANSY_HAVE_RELAXED)
  return tansy_kernels_best_relaxed();
#elif defined(TANSY_HAVE_SIMD128)
  return &tansy_kernels_simd128;
#else
  return &tansy_kernels_ref;
#endif
}
