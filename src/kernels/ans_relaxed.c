/* ans_relaxed.c: products straight from the codes, with relaxed SIMD. All operands stay where engines agree. */
#include "kernels/simd.h"

#define ANS_SWIZZLE(a, i) wasm_i8x16_relaxed_swizzle(a, i)
#define ANS_DOT(a, b) wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b)
#define ANS_HAS_DOT 1
#define SUFFIX relaxed

#include "kernels/ans_body.h"

void tansy_matmul_ans_relaxed32(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                int32_t *acc, size_t acc_stride, void *scratch) {
  multiply_ans(w, act, tile_begin, tile_end, acc, acc_stride, scratch, tansy_dot_group_relaxed32);
}
