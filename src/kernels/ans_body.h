/* ans_body.h: what ans_simd128.c and ans_relaxed.c have in common. They define SUFFIX and ANS_HAS_DOT (1: use the dot form of
 * the update where frequencies allow it). */
#include "kernels/ans_simd.h"

#define ANS_PASTE_(a, b) a##b
#define ANS_PASTE(a, b) ANS_PASTE_(a, b)
#define ANS_NAME(name) ANS_PASTE(name, SUFFIX)

static int ans_fits_dot(const struct tansy_coded *c) {
  uint8_t all = 0;
  for (uint32_t k = 0; k < c->shape.n_tables; k++)
    for (uint32_t i = 0; i < TANSY_N_SYMBOLS; i++) all |= c->tables[k].freq[i];
  return ANS_HAS_DOT && all < 128;
}

/* Functions of their own, so that registers are allocated for one loop. */
#define ANS_NOINLINE static __attribute__((noinline))
ANS_NOINLINE void ans_symbols_by_products(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin,
                                          uint32_t end, uint8_t *out) {
  ans_read_symbols(r, c, group, begin, end, out, 0);
}
#if ANS_HAS_DOT
ANS_NOINLINE void ans_symbols_by_dot(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin, uint32_t end,
                                     uint8_t *out) {
  ans_read_symbols(r, c, group, begin, end, out, 1);
}
#else
#define ans_symbols_by_dot ans_symbols_by_products
#endif
ANS_NOINLINE void ans_symbols_one_set(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin,
                                      uint32_t end, uint8_t *out) {
  ans_read_symbols_one_set(r, c, group, begin, end, out);
}

/* The next steps [begin, end) of a tile, in INT8 layout. `group` counts from the matrix's first row; group_raw: of the group. */
static void ans_read_steps(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, const uint8_t *group_raw,
                           uint32_t begin, uint32_t end, uint8_t *out) {
  const uint32_t n_steps = tansy_coded_n_steps(c);
  if (r->one_set) ans_symbols_one_set(r, c, group, begin, end, out);
  else if (r->by_dot) ans_symbols_by_dot(r, c, group, begin, end, out);
  else ans_symbols_by_products(r, c, group, begin, end, out);
  switch (c->shape.raw_bits) {
    case 0: break;
    case 1: ans_merge_raw_steps(group_raw, begin, end, n_steps, 1, out); break;
    case 2: ans_merge_raw_steps(group_raw, begin, end, n_steps, 2, out); break;
    case 3: ans_merge_raw_steps(group_raw, begin, end, n_steps, 3, out); break;
    default: ans_merge_raw_steps(group_raw, begin, end, n_steps, 4, out); break;
  }
}

/* Four rows are decoded into `scratch`, which stays in the first-level cache, and multiplied by every token. */
static void multiply_ans(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end, int32_t *acc,
                         size_t acc_stride, void *scratch, tansy_dot_group_fn *dot_group) {
  const struct tansy_coded *c = &w->coded;
  const uint32_t n_steps = tansy_coded_n_steps(c), raw_bits = c->shape.raw_bits;
  const size_t raw_nbytes = tansy_group_raw_nbytes(raw_bits, n_steps);
  const int by_dot = ans_fits_dot(c);
  for (uint32_t t = tile_begin; t < tile_end; t++) {
    const struct tansy_tile tile = tansy_coded_tile(c, t);
    struct ans_reader r;
    ans_open(&r, c, &tile, by_dot);
    for (uint32_t g = 0; g < tile.n_groups; g++) {
      const uint32_t row = tile.row_begin + TANSY_GROUP_N_ROWS * g, left = c->shape.n_rows - row;
      ans_read_steps(&r, c, row / TANSY_GROUP_N_ROWS, tile.raw + g * raw_nbytes, 0, n_steps, scratch);
      dot_group(scratch, raw_bits, act, left < TANSY_GROUP_N_ROWS ? left : TANSY_GROUP_N_ROWS, acc + row, acc_stride);
    }
    tansy_escapes_dot(c, t, act, acc, acc_stride);
  }
}

void ANS_NAME(tansy_matmul_ans_)(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                 int32_t *acc, size_t acc_stride, void *scratch) {
  multiply_ans(w, act, tile_begin, tile_end, acc, acc_stride, scratch, ANS_NAME(tansy_dot_group_));
}
