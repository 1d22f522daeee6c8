/* ans_ref.c: products and expansion straight from the codes, portable: the meaning of the vector files. */
#include "codec/tile.h"
#include "kernels/kernels_internal.h"
#include "kernels/packed.h"

/* One step in INT8 layout. A tile whose codes end early (possible only when bytes and checksum are both wrong) goes on as
 * whatever was there: results are then meaningless but nothing else is touched. */
static void next_block(struct tansy_tile_reader *r, uint8_t *block) {
  uint32_t step = r->step, group = r->group;
  if (tansy_tile_reader_next(r, block) != TANSY_OK && r->step == step && r->group == group) {
    if (++r->step == tansy_coded_n_steps(r->coded)) r->step = 0, r->group++;
  }
  if (r->coded->shape.raw_bits == TANSY_MAX_RAW_BITS)
    for (uint32_t i = 0; i < TANSY_INT8_BLOCK_NBYTES; i++) block[i] ^= 0x80; /* u - 128 */
}

void tansy_matmul_ans_ref(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                          int32_t *acc, size_t acc_stride, void *scratch) {
  const uint32_t n_steps = tansy_coded_n_steps(&w->coded), n_rows = w->coded.shape.n_rows;
  for (uint32_t t = tile_begin; t < tile_end; t++) {
    struct tansy_tile_reader r;
    tansy_tile_reader_open(&w->coded, t, &r);
    while (r.group < r.tile.n_groups) {
      uint32_t row = r.tile.row_begin + TANSY_GROUP_N_ROWS * r.group, left = n_rows - row;
      for (uint32_t s = 0; s < n_steps; s++) next_block(&r, (uint8_t *)scratch + (size_t)s * TANSY_INT8_BLOCK_NBYTES);
      tansy_dot_group_ref(scratch, w->coded.shape.raw_bits, act, left < TANSY_GROUP_N_ROWS ? left : TANSY_GROUP_N_ROWS, acc + row,
                          acc_stride);
    }
    tansy_escapes_dot(&w->coded, t, act, acc, acc_stride);
  }
}

void tansy_expand_int8_ref(const struct tansy_coded *coded, uint32_t tile, uint8_t *resident) {
  const uint32_t n_steps = tansy_coded_n_steps(coded);
  struct tansy_tile_reader r;
  tansy_tile_reader_open(coded, tile, &r);
  uint8_t *block = resident + (size_t)r.tile.row_begin / TANSY_GROUP_N_ROWS * n_steps * TANSY_INT8_BLOCK_NBYTES;
  for (; r.group < r.tile.n_groups; block += TANSY_INT8_BLOCK_NBYTES) next_block(&r, block);
}

void tansy_expand_packed_ref(const struct tansy_coded *coded, uint32_t tile, uint8_t *resident) {
  const uint32_t n_steps = tansy_coded_n_steps(coded), raw_bits = coded->shape.raw_bits;
  const uint32_t block_nbytes = tansy_packed_block_nbytes(raw_bits);
  struct tansy_tile_reader r;
  tansy_tile_reader_open(coded, tile, &r);
  uint8_t *block = resident + (size_t)r.tile.row_begin / TANSY_GROUP_N_ROWS * n_steps * block_nbytes;
  for (; r.group < r.tile.n_groups; block += block_nbytes) {
    uint8_t u[TANSY_INT8_BLOCK_NBYTES];
    next_block(&r, u);
    tansy_pack_block(u, raw_bits, block);
  }
}
