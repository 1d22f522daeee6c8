/* ans_relaxed.c: products straight from the codes, with relaxed SIMD. All operands stay where engines agree, but for the second one of
 * DOT_U8, which is taken where the engine says how it reads that. */
#include "kernels/simd.h"

#define ANS_SWIZZLE(a, i) wasm_i8x16_relaxed_swizzle(a, i)
#define ANS_DOT(a, b) wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b)
#define ANS_HAS_DOT 1

#include "kernels/ans_body.h"

/* Whether the dot's second operand has no sign, or what has a sign of 8 bits makes of it (x86 and Arm): the same for an engine's life. */
static enum ans_update ans_dot_here(void) {
  const v128_t dot = ANS_DOT(wasm_i16x8_splat(0x017f), wasm_i8x16_splat(-1));
  return wasm_i16x8_extract_lane(dot, 0) == 127 * 255 + 255 ? ANS_DOT_U8 : ANS_DOT_I7;
}

/* a matrix's update, if `dot` is how this engine does it with frequencies that fit */
static enum ans_update ans_update_of(const struct tansy_coded *c, enum ans_update dot) {
  uint8_t all = 0;
  for (uint32_t k = 0; k < c->shape.n_tables; k++)
    for (uint32_t i = 0; i < TANSY_N_SYMBOLS; i++) all |= c->tables[k].freq[i];
  return all < 128 && c->n_sets > 1 ? dot : ANS_PRODUCTS;
}

static void multiply_ans(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end, int32_t *acc,
                         size_t acc_stride, void *scratch, tansy_dot_groups_fn *dot_groups, int takes_raw,
                         enum ans_update dot) {
  const struct ans_product p = {&w->coded, act, acc, acc_stride, scratch, dot_groups, takes_raw, ans_update_of(&w->coded, dot)};
  ans_multiply(&p, tile_begin, tile_end);
}

void tansy_matmul_ans_relaxed(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                              int32_t *acc, size_t acc_stride, void *scratch) {
  multiply_ans(w, act, tile_begin, tile_end, acc, acc_stride, scratch, tansy_dot_groups_relaxed, 0, ans_dot_here());
}

void tansy_matmul_ans_relaxed32(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                int32_t *acc, size_t acc_stride, void *scratch) {
  multiply_ans(w, act, tile_begin, tile_end, acc, acc_stride, scratch, tansy_dot_groups_relaxed32, 1, ans_dot_here());
}

void tansy_matmul_ans_relaxed_i7(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                 int32_t *acc, size_t acc_stride, void *scratch) {
  multiply_ans(w, act, tile_begin, tile_end, acc, acc_stride, scratch, tansy_dot_groups_relaxed, 0, ANS_DOT_I7);
}
