/* resident_body.h: what resident_{ref,simd128,relaxed,relaxed32}.c have in common; SUFFIX is theirs. */
#include <assert.h>

#include "kernels/kernels_internal.h"

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)

struct group_range {
  uint32_t begin, end;
};
static inline struct group_range groups_of_tiles(const struct tansy_matrix *w, uint32_t tile_begin, uint32_t tile_end) {
  uint32_t a_tile = w->coded.shape.tile_n_rows / TANSY_GROUP_N_ROWS, n_groups = tansy_n_groups(&w->coded.shape);
  uint64_t end = (uint64_t)tile_end * a_tile;
  return (struct group_range){tile_begin * a_tile, end < n_groups ? (uint32_t)end : n_groups};
}
static inline uint32_t rows_of_group(const struct tansy_matrix *w, uint32_t group) {
  uint32_t left = w->coded.shape.n_rows - group * TANSY_GROUP_N_ROWS;
  return left < TANSY_GROUP_N_ROWS ? left : TANSY_GROUP_N_ROWS;
}

void PASTE(tansy_matmul_, SUFFIX)(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                  int32_t *acc, size_t acc_stride, void *scratch) {
  assert(act->n_tokens >= 1 && act->n_tokens <= TANSY_MAX_BATCH && act->n_cols_padded == w->coded.n_cols_padded);
  switch (w->form) {
    case TANSY_FORM_ANS: PASTE(tansy_matmul_ans_, SUFFIX)(w, act, tile_begin, tile_end, acc, acc_stride, scratch); break;
    case TANSY_FORM_PACKED: PASTE(tansy_matmul_packed_, SUFFIX)(w, act, tile_begin, tile_end, acc, acc_stride, scratch); break;
    case TANSY_FORM_INT8: PASTE(tansy_matmul_int8_, SUFFIX)(w, act, tile_begin, tile_end, acc, acc_stride, scratch); break;
    case TANSY_FORM_F32: assert(!"F32 matrices go to matmul_f32"); break;
  }
}
