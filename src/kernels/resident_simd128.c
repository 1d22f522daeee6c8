/* resident_simd128.c: products with PACKED and INT8 weights, SIMD128.
 *
 * Bytes are split into even and odd columns in 16-bit lanes: cheaper than widening low and high halves, and the product of two
 * 7-bit numbers fits, twice. */
#include "kernels/packed_simd.h"

typedef struct {
  v128_t even, odd;
} act_v;

TANSY_INLINE act_v load_act(const int8_t *q) {
  v128_t v = wasm_v128_load(q);
  return (act_v){wasm_i16x8_shr(wasm_i16x8_shl(v, 8), 8), wasm_i16x8_shr(v, 8)};
}
TANSY_INLINE v128_t dot16(v128_t u, act_v x) {
  v128_t even = wasm_v128_and(u, wasm_i16x8_splat(255)), odd = wasm_u16x8_shr(u, 8);
  return wasm_i16x8_add(wasm_i16x8_mul(even, x.even), wasm_i16x8_mul(odd, x.odd));
}
TANSY_INLINE v128_t dot32(v128_t u, act_v x, v128_t sum) { return wasm_i32x4_add(sum, wasm_i32x4_extadd_pairwise_i16x8(dot16(u, x))); }

#define DOT_OF_FOUR 0
#define SUFFIX simd128
#include "kernels/dot_body.h"

void tansy_unpack_group(const uint8_t *group, uint32_t raw_bits, uint32_t n_steps, uint8_t *out) {
#define UNPACK(r)                                                                              \
  for (uint32_t s = 0; s < n_steps; s++, group += 32 + 8 * r, out += TANSY_INT8_BLOCK_NBYTES) { \
    v128_t u[4];                                                                               \
    tansy_unpack4(group, r, u);                                                                \
    for (int k = 0; k < 4; k++) wasm_v128_store(out + 16 * k, u[k]);                           \
  }
  switch (raw_bits) {
    case 0: UNPACK(0) break;
    case 1: UNPACK(1) break;
    case 2: UNPACK(2) break;
    default: UNPACK(3) break;
  }
}

/* Functions of their own: merged into one, the shifts get amounts that are no constants, on which LLVM 19 gives up. */
#define PACK_FN static __attribute__((noinline)) void

static inline v128_t part(v128_t v, uint32_t shift, int mask) { return wasm_v128_and(wasm_i16x8_shl(v, shift), wasm_i8x16_splat((int8_t)mask)); }

PACK_FN store_nibbles(v128_t nibble, uint8_t *to) {
  v128_t other = wasm_i64x2_shuffle(nibble, nibble, 1, 1);
  wasm_v128_store64_lane(to, wasm_v128_or(nibble, wasm_i16x8_shl(other, 4)), 0);
}
PACK_FN pack_r0(const v128_t u[4], uint8_t *block) {
  wasm_v128_store(block, wasm_v128_or(u[0], wasm_i16x8_shl(u[1], 4)));
  wasm_v128_store(block + 16, wasm_v128_or(u[2], wasm_i16x8_shl(u[3], 4)));
}
PACK_FN pack_r1(const v128_t u[4], uint8_t *block) {
  wasm_v128_store(block, wasm_v128_or(u[0], part(u[2], 3, 0xe0)));
  wasm_v128_store(block + 16, wasm_v128_or(u[1], part(u[3], 3, 0xe0)));
  store_nibbles(wasm_v128_or(wasm_v128_and(u[2], wasm_i8x16_splat(3)), part(u[3], 2, 12)), block + 32);
}
PACK_FN pack_r2(const v128_t u[4], uint8_t *block) {
  wasm_v128_store(block, wasm_v128_or(u[0], part(u[3], 6, 0xc0)));
  wasm_v128_store(block + 16, wasm_v128_or(u[1], part(u[3], 4, 0xc0)));
  wasm_v128_store(block + 32, wasm_v128_or(u[2], part(u[3], 2, 0xc0)));
}
PACK_FN pack_r3(const v128_t u[4], uint8_t *block) {
  wasm_v128_store(block, wasm_v128_or(u[0], part(u[3], 3, 0x80)));
  wasm_v128_store(block + 16, wasm_v128_or(u[1], part(u[3], 2, 0x80)));
  wasm_v128_store(block + 32, wasm_v128_or(u[2], part(u[3], 1, 0x80)));
  store_nibbles(wasm_v128_and(u[3], wasm_i8x16_splat(15)), block + 48);
}

void tansy_pack4(const v128_t u[4], uint32_t raw_bits, uint8_t *block) {
  switch (raw_bits) {
    case 0: pack_r0(u, block); break;
    case 1: pack_r1(u, block); break;
    case 2: pack_r2(u, block); break;
    default: pack_r3(u, block); break;
  }
}

/* 8-bit weights: 128 * 127 fits 16 bits, but not twice as a 7-bit operand; files of this precision are about exactness, not speed */
void tansy_dot_group_wide_simd128(const uint8_t *w, const struct tansy_act *act, uint32_t n_rows, int32_t *acc, size_t acc_stride) {
  const uint32_t n_steps = act->n_cols_padded / TANSY_LANES, a_block = TANSY_ACT_BLOCK / TANSY_LANES;
  for (uint32_t t = 0; t < act->n_tokens; t++) {
    const int8_t *q = act->q + (size_t)t * act->n_cols_padded;
    const uint8_t *shift = act->shift + (size_t)t * act->n_blocks;
    v128_t totals[4], sums[4];
    for (int k = 0; k < 4; k++) totals[k] = sums[k] = wasm_i32x4_splat(0);
    for (uint32_t s = 0; s < n_steps; s++) {
      const act_v x = load_act(q + s * TANSY_LANES);
      for (int k = 0; k < 4; k++) {
        const act_v u = load_act((const int8_t *)w + (size_t)s * TANSY_INT8_BLOCK_NBYTES + 16 * k);
        sums[k] = wasm_i32x4_add(sums[k], wasm_i32x4_add(wasm_i32x4_dot_i16x8(u.even, x.even), wasm_i32x4_dot_i16x8(u.odd, x.odd)));
      }
      if ((s + 1) % a_block == 0 || s + 1 == n_steps)
        for (int k = 0; k < 4; k++) {
          totals[k] = wasm_i32x4_add(totals[k], wasm_i32x4_shl(sums[k], shift[s / a_block]));
          sums[k] = wasm_i32x4_splat(0);
        }
    }
    store_rows(sum_lanes(totals), n_rows, acc + t * acc_stride);
  }
}
