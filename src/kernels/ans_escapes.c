/* ans_escapes.c: what escapes add to rows and to dot products, for every form a matrix can have. */
#include "codec/escape.h"
#include "kernels/kernels_internal.h"

/* A batch of escapes is decoded once, then each token takes it whole: one row of acc and of q at a time stays in the cache. */
void tansy_escapes_dot(const struct tansy_coded *coded, uint32_t tile, const struct tansy_act *act, int32_t *acc, size_t acc_stride) {
  enum { BATCH = 128 };
  struct {
    uint32_t row, col, delta;
  } batch[BATCH];
  struct tansy_escapes e = tansy_escapes_of_tile(coded, tile);
  for (uint32_t n = BATCH; n == BATCH;) {
    for (n = 0; n < BATCH && tansy_escapes_next(coded, &e); n++) {
      batch[n].row = e.row;
      batch[n].col = e.col;
      batch[n].delta = e.delta;
    }
    for (uint32_t t = 0; t < act->n_tokens; t++) {
      const int8_t *q = act->q + (size_t)t * act->n_cols_padded;
      const uint8_t *shift = act->shift + (size_t)t * act->n_blocks;
      uint32_t *row = (uint32_t *)acc + t * acc_stride;
      for (uint32_t i = 0; i < n; i++)
        row[batch[i].row] += batch[i].delta * (uint32_t)q[batch[i].col] << shift[batch[i].col / TANSY_ACT_BLOCK];
    }
  }
}

void tansy_escapes_add(const struct tansy_coded *coded, uint32_t row_begin, uint32_t row_end, int32_t *out) {
  const uint32_t tile_n_rows = coded->shape.tile_n_rows;
  for (uint32_t t = row_begin / tile_n_rows; t * tile_n_rows < row_end; t++) {
    struct tansy_escapes e = tansy_escapes_of_tile(coded, t);
    while (tansy_escapes_next(coded, &e) && e.row < row_end)
      if (e.row >= row_begin) {
        int32_t *z = &out[(size_t)(e.row - row_begin) * coded->shape.n_cols + e.col];
        *z = (int32_t)((uint32_t)*z + e.delta);
      }
  }
}
