/* ans_body.h: what ans_simd128.c and ans_relaxed.c have in common. They define ANS_HAS_DOT, 1 where frequencies below 128 are
 * updated by dots, and ANS_RAW_APART, 1 where products with one token take raw bits apart from the weights. */
#include "kernels/ans_simd.h"

/* Functions of their own, so that registers are allocated for one loop. */
#define ANS_SYMBOLS(name, update)                                                                                               \
  static __attribute__((noinline)) void name(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin, \
                                             uint32_t end, uint8_t *out) {                                                      \
    ans_read_symbols(r, c, group, begin, end, out, update);                                                                     \
  }
ANS_SYMBOLS(ans_symbols_by_products, ANS_PRODUCTS)
#if ANS_HAS_DOT
ANS_SYMBOLS(ans_symbols_by_dot_i7, ANS_DOT_I7)
ANS_SYMBOLS(ans_symbols_by_dot_u8, ANS_DOT_U8)
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
    case ANS_DOT_I7: ans_symbols_by_dot_i7(r, c, group, begin, end, out); break;
    case ANS_DOT_U8: ans_symbols_by_dot_u8(r, c, group, begin, end, out); break;
#endif
    default: ans_symbols_by_products(r, c, group, begin, end, out); break;
  }
}

struct ans_product {
  const struct tansy_coded *coded;
  const struct tansy_act *act;
  int32_t *acc;
  size_t acc_stride;
  uint8_t *scratch;
  tansy_dot_groups_fn *dot_groups;
  enum ans_update update;
};

/* Groups are decoded into scratch, which stays in a cache, and multiplied by every token: two at a time by one token, whose products
 * take up the raw bits too; one at a time by several, where raw bits are put in once for all. */
static void ans_multiply_tile(const struct ans_product *p, const struct tansy_tile *tile) {
  const struct tansy_coded *c = p->coded;
  const uint32_t n_steps = tansy_coded_n_steps(c), raw_bits = c->shape.raw_bits;
  const int is_alone = ANS_RAW_APART && p->act->n_tokens == 1, is_apart = is_alone && raw_bits > 0 && raw_bits < TANSY_MAX_RAW_BITS;
  const uint32_t at_once = is_alone ? 2 : 1;
  const size_t raw_nbytes = tansy_group_raw_nbytes(raw_bits, n_steps), group_nbytes = (size_t)n_steps * TANSY_INT8_BLOCK_NBYTES;
  struct ans_reader r;
  ans_open(&r, c, tile, p->update);
  for (uint32_t g = 0; g < tile->n_groups; g += at_once) {
    const uint32_t row = TANSY_GROUP_N_ROWS * g, first = (tile->row_begin + row) / TANSY_GROUP_N_ROWS;
    const uint32_t n = tile->n_groups - g < at_once ? tile->n_groups - g : at_once, left = tile->n_rows - row;
    const uint8_t *raw = tile->raw + g * raw_nbytes;
    for (uint32_t i = 0; i < n; i++) {
      ans_read_steps(&r, c, first + i, 0, n_steps, p->scratch + i * group_nbytes, p->update);
      if (!is_apart) ans_merge_raw_of(c, raw + i * raw_nbytes, 0, n_steps, p->scratch + i * group_nbytes);
    }
    p->dot_groups(p->scratch, is_apart ? raw : NULL, raw_bits, p->act, left < n * TANSY_GROUP_N_ROWS ? left : n * TANSY_GROUP_N_ROWS,
                  p->acc + tile->row_begin + row, p->acc_stride);
  }
}

static void ans_multiply(const struct ans_product *p, uint32_t tile_begin, uint32_t tile_end) {
  for (uint32_t t = tile_begin; t < tile_end; t++) {
    const struct tansy_tile tile = tansy_coded_tile(p->coded, t);
    ans_multiply_tile(p, &tile);
    tansy_escapes_dot(p->coded, t, p->act, p->acc, p->acc_stride);
  }
}
