/* resident_ref.c: products with PACKED and INT8 weights, portable: the meaning of the vector files. */
#include "kernels/kernels_internal.h"
#include "kernels/packed.h"

void tansy_dot_group_ref(const uint8_t *w, uint32_t raw_bits, const struct tansy_act *act, uint32_t n_rows, int32_t *acc,
                         size_t acc_stride) {
  const uint32_t bias = (uint32_t)tansy_weight_bias(raw_bits);
  for (uint32_t t = 0; t < act->n_tokens; t++) {
    const int8_t *q = act->q + (size_t)t * act->n_cols_padded;
    const uint8_t *shift = act->shift + (size_t)t * act->n_blocks;
    for (uint32_t k = 0; k < n_rows; k++) {
      uint32_t sum = 0; /* modulo 2^32 */
      for (uint32_t j = 0; j < act->n_cols_padded; j++) {
        uint8_t byte = w[(size_t)(j / 16) * TANSY_INT8_BLOCK_NBYTES + 16 * k + j % 16];
        int32_t weight = raw_bits < TANSY_MAX_RAW_BITS ? byte : (int8_t)byte;
        sum += (uint32_t)(weight * q[j]) << shift[j / TANSY_ACT_BLOCK];
      }
      acc[t * acc_stride + k] = (int32_t)(sum - bias * (uint32_t)act->sum[t]);
    }
  }
}

#define SUFFIX ref
#include "kernels/resident_body.h"

void tansy_matmul_int8_ref(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                           int32_t *acc, size_t acc_stride, void *scratch) {
  (void)scratch;
  const size_t group_nbytes = (size_t)w->coded.n_cols_padded * TANSY_GROUP_N_ROWS;
  const struct group_range r = groups_of_tiles(w, tile_begin, tile_end);
  for (uint32_t g = r.begin; g < r.end; g++)
    tansy_dot_group_ref(w->resident + g * group_nbytes, w->coded.shape.raw_bits, act, rows_of_group(w, g), acc + 4 * (size_t)g, acc_stride);
  for (uint32_t t = tile_begin; t < tile_end; t++) tansy_escapes_dot(&w->coded, t, act, acc, acc_stride);
}

void tansy_matmul_packed_ref(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                             int32_t *acc, size_t acc_stride, void *scratch) {
  const uint32_t raw_bits = w->coded.shape.raw_bits, n_steps = w->coded.n_cols_padded / TANSY_LANES;
  const struct group_range r = groups_of_tiles(w, tile_begin, tile_end);
  for (uint32_t g = r.begin; g < r.end; g++) {
    const uint8_t *group = w->resident + (size_t)g * n_steps * tansy_packed_block_nbytes(raw_bits);
    for (uint32_t s = 0; s < n_steps; s++)
      tansy_unpack_block(group + (size_t)s * tansy_packed_block_nbytes(raw_bits), raw_bits, (uint8_t *)scratch + (size_t)s * TANSY_INT8_BLOCK_NBYTES);
    tansy_dot_group_ref(scratch, raw_bits, act, rows_of_group(w, g), acc + 4 * (size_t)g, acc_stride);
  }
  for (uint32_t t = tile_begin; t < tile_end; t++) tansy_escapes_dot(&w->coded, t, act, acc, acc_stride);
}
