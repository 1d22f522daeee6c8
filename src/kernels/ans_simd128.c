/* ans_simd128.c: products straight from the codes, and expansion into resident forms, with plain SIMD128. */
#include "kernels/simd.h"

#define ANS_SWIZZLE(a, i) wasm_i8x16_swizzle(a, i)
#define ANS_DOT(a, b) (a) /* five instructions instead of one: the dot does not pay here */
#define ANS_HAS_DOT 0

#include "kernels/ans_body.h"

void tansy_matmul_ans_simd128(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                              int32_t *acc, size_t acc_stride, void *scratch) {
  const struct ans_product p = {&w->coded, act, acc, acc_stride, scratch, tansy_dot_groups_simd128, 0, ANS_PRODUCTS};
  ans_multiply(&p, tile_begin, tile_end);
}

void tansy_expand_int8_simd128(const struct tansy_coded *c, uint32_t t, uint8_t *resident) {
  const struct tansy_tile tile = tansy_coded_tile(c, t);
  const uint32_t n_steps = tansy_coded_n_steps(c);
  const size_t raw_nbytes = tansy_group_raw_nbytes(c->shape.raw_bits, n_steps);
  struct ans_reader r;
  ans_open(&r, c, &tile, ANS_PRODUCTS);
  for (uint32_t g = 0; g < tile.n_groups; g++) {
    const uint32_t group = tile.row_begin / TANSY_GROUP_N_ROWS + g;
    uint8_t *out = resident + (size_t)group * n_steps * TANSY_INT8_BLOCK_NBYTES;
    ans_read_steps(&r, c, group, 0, n_steps, out, ANS_PRODUCTS);
    ans_merge_raw_of(c, tile.raw + g * raw_nbytes, 0, n_steps, out);
  }
}

ANS_INLINE void ans_pack_blocks(const uint8_t *blocks, uint32_t n, uint32_t raw_bits, uint8_t *out) {
  for (; n; n--, blocks += TANSY_INT8_BLOCK_NBYTES, out += tansy_packed_block_nbytes(raw_bits)) {
    v128_t u[4];
    for (int row = 0; row < 4; row++) u[row] = wasm_v128_load(blocks + 16 * row);
    tansy_pack4(u, raw_bits, out);
  }
}

void tansy_expand_packed_simd128(const struct tansy_coded *c, uint32_t t, uint8_t *resident) {
  enum { CHUNK_N_STEPS = 16 };
  const struct tansy_tile tile = tansy_coded_tile(c, t);
  const uint32_t n_steps = tansy_coded_n_steps(c), raw_bits = c->shape.raw_bits, block_nbytes = tansy_packed_block_nbytes(raw_bits);
  const size_t raw_nbytes = tansy_group_raw_nbytes(raw_bits, n_steps);
  struct ans_reader r;
  ans_open(&r, c, &tile, ANS_PRODUCTS);
  for (uint32_t g = 0; g < tile.n_groups; g++) {
    const uint32_t group = tile.row_begin / TANSY_GROUP_N_ROWS + g;
    uint8_t *out = resident + (size_t)group * n_steps * block_nbytes;
    for (uint32_t begin = 0, n; begin < n_steps; begin += n, out += n * block_nbytes) {
      uint8_t blocks[CHUNK_N_STEPS * TANSY_INT8_BLOCK_NBYTES];
      n = n_steps - begin < CHUNK_N_STEPS ? n_steps - begin : CHUNK_N_STEPS;
      uint8_t *whole = raw_bits == TANSY_MAX_RAW_BITS ? out : blocks;
      ans_read_steps(&r, c, group, begin, begin + n, whole, ANS_PRODUCTS);
      ans_merge_raw_of(c, tile.raw + g * raw_nbytes, begin, begin + n, whole);
      switch (raw_bits) {
        case 0: ans_pack_blocks(blocks, n, 0, out); break;
        case 1: ans_pack_blocks(blocks, n, 1, out); break;
        case 2: ans_pack_blocks(blocks, n, 2, out); break;
        case 3: ans_pack_blocks(blocks, n, 3, out); break;
        default: break; /* the same as INT8 */
      }
    }
  }
}
