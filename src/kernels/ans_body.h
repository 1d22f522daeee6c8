/* ans_body.h: what ans_simd128.c and ans_relaxed.c have in common. They define ANS_HAS_DOT, 1 where frequencies below 128 are
 * updated by dots. */
#include "kernels/ans_simd.h"

/* Functions of their own, so that registers are allocated for one loop. */
#define ANS_SYMBOLS(name, n, update)                                                                                                \
  static __attribute__((noinline)) void name(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t group_stride, \
                                             uint32_t begin, uint32_t end, uint8_t *out, size_t out_stride) {                        \
    ans_read_symbols(r, n, c, group, group_stride, begin, end, out, out_stride, update);                                             \
  }
ANS_SYMBOLS(ans_symbols_by_products, 1, ANS_PRODUCTS)
#if ANS_HAS_DOT
ANS_SYMBOLS(ans_symbols_by_dot_i7, 1, ANS_DOT_I7)
ANS_SYMBOLS(ans_symbols_by_dot_u8, 1, ANS_DOT_U8)
ANS_SYMBOLS(ans_symbols_of_two, 2, ANS_DOT_U8)
#endif
static __attribute__((noinline)) void ans_symbols_one_set(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin,
                                                          uint32_t end, uint8_t *out) {
  ans_read_symbols_one_set(r, c, group, begin, end, out);
}

static __attribute__((noinline)) void ans_merge_raw_of(const struct tansy_coded *c, const uint8_t *group_raw, uint32_t begin, uint32_t end,
                                                       uint8_t *out) {
  const uint32_t n_steps = tansy_coded_n_steps(c);
  switch (c->shape.raw_bits) {
    case 0: break;
    case 1: ans_merge_raw_steps(group_raw, begin, end, n_steps, 1, out); break;
    case 2: ans_merge_raw_steps(group_raw, begin, end, n_steps, 2, out); break;
    case 3: ans_merge_raw_steps(group_raw, begin, end, n_steps, 3, out); break;
    default: ans_merge_raw_steps(group_raw, begin, end, n_steps, 4, out); break;
  }
}

/* The next steps [begin, end) of a tile, in INT8 layout without raw bits. `group` counts from the matrix's first row. */
static void ans_read_steps(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin, uint32_t end, uint8_t *out,
                           enum ans_update update) {
  if (c->n_sets == 1) {
    ans_symbols_one_set(r, c, group, begin, end, out);
    return;
  }
  switch (update) {
#if ANS_HAS_DOT
    case ANS_DOT_I7: ans_symbols_by_dot_i7(r, c, group, 0, begin, end, out, 0); break;
    case ANS_DOT_U8: ans_symbols_by_dot_u8(r, c, group, 0, begin, end, out, 0); break;
#endif
    default: ans_symbols_by_products(r, c, group, 0, begin, end, out, 0); break;
  }
}

struct ans_product {
  const struct tansy_coded *coded;
  const struct tansy_act *act;
  int32_t *acc;
  size_t acc_stride;
  uint8_t *scratch;
  tansy_dot_groups_fn *dot_groups;
  int takes_raw; /* dot_groups: raw bits apart */
  enum ans_update update;
};

static inline uint32_t ans_rows_from(const struct tansy_coded *c, uint32_t row) {
  const uint32_t left = c->shape.n_rows - row;
  return left < TANSY_GROUP_N_ROWS ? left : TANSY_GROUP_N_ROWS;
}
/* A group is decoded into scratch, which stays in the first-level cache, and multiplied by every token. */
static void ans_multiply_tile(const struct ans_product *p, const struct tansy_tile *tile) {
  const struct tansy_coded *c = p->coded;
  const uint32_t n_steps = tansy_coded_n_steps(c);
  const size_t raw_nbytes = tansy_group_raw_nbytes(c->shape.raw_bits, n_steps);
  struct ans_reader r;
  ans_open(&r, c, tile, p->update);
  for (uint32_t g = 0; g < tile->n_groups; g++) {
    const uint32_t row = tile->row_begin + TANSY_GROUP_N_ROWS * g;
    ans_read_steps(&r, c, row / TANSY_GROUP_N_ROWS, 0, n_steps, p->scratch, p->update);
    ans_merge_raw_of(c, tile->raw + g * raw_nbytes, 0, n_steps, p->scratch);
    const struct tansy_groups groups = {.w = p->scratch, .raw_bits = c->shape.raw_bits, .n = 1, .n_rows = ans_rows_from(c, row)};
    p->dot_groups(&groups, p->act, p->acc + row, p->acc_stride);
  }
}

#if ANS_HAS_DOT
/* two neighbours with as many groups each */
static void ans_multiply_two(const struct ans_product *p, const struct tansy_tile tiles[2]) {
  const struct tansy_coded *c = p->coded;
  const uint32_t n_steps = tansy_coded_n_steps(c), tile_n_groups = c->shape.tile_n_rows / TANSY_GROUP_N_ROWS;
  const size_t raw_nbytes = tansy_group_raw_nbytes(c->shape.raw_bits, n_steps), group_nbytes = (size_t)n_steps * TANSY_INT8_BLOCK_NBYTES;
  /* whether products take up the raw bits, which else are put into the weights first, once for all tokens */
  const uint32_t raw_bits = c->shape.raw_bits;
  const int is_apart = p->takes_raw && p->act->n_tokens == 1 && raw_bits > 0 && raw_bits < TANSY_MAX_RAW_BITS && n_steps % 2 == 0;
  struct ans_reader r[2];
  for (int i = 0; i < 2; i++) ans_open(&r[i], c, &tiles[i], p->update);
  for (uint32_t g = 0; g < tiles[0].n_groups; g++) {
    const uint32_t row = tiles[0].row_begin + TANSY_GROUP_N_ROWS * g;
    const uint8_t *raw[2] = {tiles[0].raw + g * raw_nbytes, tiles[1].raw + g * raw_nbytes};
    ans_symbols_of_two(r, c, row / TANSY_GROUP_N_ROWS, tile_n_groups, 0, n_steps, p->scratch, group_nbytes);
    if (!is_apart)
      for (uint32_t i = 0; i < 2; i++) ans_merge_raw_of(c, raw[i], 0, n_steps, p->scratch + i * group_nbytes);
    const struct tansy_groups groups = {.w = p->scratch,
                                        .raw = is_apart ? raw[0] : NULL,
                                        .raw_stride = (size_t)(raw[1] - raw[0]),
                                        .raw_bits = raw_bits,
                                        .n = 2,
                                        .row_stride = c->shape.tile_n_rows,
                                        .n_rows = ans_rows_from(c, row + c->shape.tile_n_rows)};
    p->dot_groups(&groups, p->act, p->acc + row, p->acc_stride);
  }
}
#endif

static void ans_multiply(const struct ans_product *p, uint32_t tile_begin, uint32_t tile_end) {
  for (uint32_t t = tile_begin; t < tile_end;) {
    const struct tansy_tile tile = tansy_coded_tile(p->coded, t);
    uint32_t n = 1;
#if ANS_HAS_DOT
    if (p->update == ANS_DOT_U8 && t + 2 <= tile_end) {
      const struct tansy_tile tiles[2] = {tile, tansy_coded_tile(p->coded, t + 1)};
      if (tiles[1].n_groups == tile.n_groups) {
        ans_multiply_two(p, tiles);
        n = 2;
      }
    }
#endif
    if (n == 1) ans_multiply_tile(p, &tile);
    for (; n; n--, t++) tansy_escapes_dot(p->coded, t, p->act, p->acc, p->acc_stride);
  }
}
