/* ans_simd.h: the vector decoder: 16 states of a set in two registers, 16 weights at a time. codec/CODEC.md, "rANS".
 *
 * The including file defines ANS_SWIZZLE (indices are < 16 or >= 128, so that the relaxed one agrees everywhere) and
 * ANS_DOT (sums of neighbours of i8 times 7-bit values, in 16 bits).
 *
 * Three forms of the update x = freq * hi + off, off = slot - start; the dots need freq < 128:
 *   PRODUCTS  16-bit multiplications of even and of odd lanes.
 *   DOT_U8    pairs (freq, 1) * (hi, off), for engines whose dot takes 8 bits without a sign in its second operand.
 *   DOT_I7    pairs (hi - 128, off') * (freq, 1), for all engines. Writing 128 * freq as 256 * ceil(freq / 2) less 128 for odd
 *             frequencies, x = dot + 256 * ceil(freq / 2) with off' = off - 128 * (freq & 1), which fits i8. `half` and
 *             `start_odd` of the table hold these corrections, and hi is kept less 128.
 *
 * A row of a step is a *slot* of the loop; slot n belongs to set n mod 4. The work on a slot is a chain of some 35 cycles:
 *   look     lo -> run -> value; freq, off
 *   update   freq, off, hi -> x
 *   refill   x -> lo, hi, with bytes of the stream for the lanes whose hi became 0
 * so that the four sets of a tile keep a processor waiting for one another unless it does little in a cycle. A refill therefore
 * comes after the look of the next slot, and where the dot makes slots cheap two tiles are decoded in turns, a step each.
 *
 * Whatever the bytes say, nothing is read beyond the codes' end plus TANSY_STREAM_SLACK: the pointer is held back every step,
 * and each of its four slots takes at most 16 bytes. */
#ifndef TANSY_KERNELS_ANS_SIMD_H
#define TANSY_KERNELS_ANS_SIMD_H

#include "codec/tile.h"
#include "kernels/raw_simd.h"

/* keeps the compiler from putting off what v needs */
#define ANS_NOW(v) __asm__ volatile("" : "+r"(v))
#define ANS_INLINE static inline __attribute__((always_inline))

/* Which code byte a lane takes, from the mask of lanes that need one: the sum of a vector for lanes 0..7 and one for lanes
 * 8..15. A lane takes the byte whose number is the count of set bits below it; others get >= 128, which swizzles to 0.
 * The first vector also carries the count of lanes 0..7 in lanes 8..15. */
#define ANS_BIT(m, i) ((m) >> (i) & 1)
#define ANS_RANK(m, i)                                                                                              \
  ((i > 0 ? ANS_BIT(m, 0) : 0) + (i > 1 ? ANS_BIT(m, 1) : 0) + (i > 2 ? ANS_BIT(m, 2) : 0) + (i > 3 ? ANS_BIT(m, 3) : 0) + \
   (i > 4 ? ANS_BIT(m, 4) : 0) + (i > 5 ? ANS_BIT(m, 5) : 0) + (i > 6 ? ANS_BIT(m, 6) : 0) + (i > 7 ? ANS_BIT(m, 7) : 0))
#define ANS_LANE(m, i) (ANS_BIT(m, i) ? ANS_RANK(m, i) : 0x80)
#define ANS_LANES(m) \
  ANS_LANE(m, 0), ANS_LANE(m, 1), ANS_LANE(m, 2), ANS_LANE(m, 3), ANS_LANE(m, 4), ANS_LANE(m, 5), ANS_LANE(m, 6), ANS_LANE(m, 7)
#define ANS_COUNTS(m) \
  ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8), ANS_RANK(m, 8)
#define ANS_LOW(m) {ANS_LANES(m), ANS_COUNTS(m)}
#define ANS_HIGH(m) {0, 0, 0, 0, 0, 0, 0, 0, ANS_LANES(m)}
#define ANS_4(row, m) row(m), row((m) + 1), row((m) + 2), row((m) + 3)
#define ANS_16(row, m) ANS_4(row, m), ANS_4(row, (m) + 4), ANS_4(row, (m) + 8), ANS_4(row, (m) + 12)
#define ANS_64(row, m) ANS_16(row, m), ANS_16(row, (m) + 16), ANS_16(row, (m) + 32), ANS_16(row, (m) + 48)
#define ANS_256(row) {ANS_64(row, 0), ANS_64(row, 64), ANS_64(row, 128), ANS_64(row, 192)}
_Alignas(16) static const uint8_t ans_take_low[256][16] = ANS_256(ANS_LOW);
_Alignas(16) static const uint8_t ans_take_high[256][16] = ANS_256(ANS_HIGH);

/* Constants come from memory through a pointer the compiler cannot see through: V8 would otherwise build each of them anew,
 * from general registers, in every turn of the loop. */
enum { ANS_FIFTEEN, ANS_ONE, ANS_SPLIT, ANS_EMPTY, ANS_EVEN, ANS_N_CONSTANTS };
#define ANS_SAME(x) {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}
_Alignas(16) static const uint8_t ans_constants[ANS_N_CONSTANTS][16] = {
    ANS_SAME(15), ANS_SAME(1), {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15}, ANS_SAME(0x80),
    {255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0}};

struct ans_constants {
  v128_t fifteen, one, split, empty, even;
};
enum ans_update { ANS_PRODUCTS, ANS_DOT_I7, ANS_DOT_U8 };

ANS_INLINE struct ans_constants ans_get_constants(enum ans_update update) {
  const uint8_t(*c)[16] = ans_constants;
  __asm__("" : "+r"(c));
  return (struct ans_constants){wasm_v128_load(c[ANS_FIFTEEN]), wasm_v128_load(c[ANS_ONE]), wasm_v128_load(c[ANS_SPLIT]),
                                update == ANS_DOT_I7 ? wasm_v128_load(c[ANS_EMPTY]) : wasm_i8x16_splat(0), wasm_v128_load(c[ANS_EVEN])};
}

struct ans_vectors {
  v128_t run, start, freq, half, value;
};
/* value: what a symbol contributes to a weight in INT8 layout */
ANS_INLINE struct ans_vectors ans_get_table(const struct tansy_freq_table *t, uint32_t raw_bits, enum ans_update update) {
  struct ans_vectors v;
  v.run = wasm_v128_load(t->run);
  v.start = wasm_v128_load(update == ANS_DOT_I7 ? t->start_odd : t->start);
  v.freq = wasm_v128_load(t->freq);
  v.half = wasm_v128_load(t->half);
  v.value = wasm_i16x8_shl(wasm_v128_load(t->value), raw_bits);
  if (raw_bits == TANSY_MAX_RAW_BITS) v.value = wasm_v128_xor(v.value, wasm_i8x16_splat(-128));
  return v;
}

/* between look and update */
struct ans_found {
  v128_t freq, off, half; /* half: DOT_I7 only */
};
/* between update and refill; hi less 128 in DOT_I7 */
struct ans_updated {
  v128_t lo, hi, empty;
  uint32_t mask; /* of lanes whose hi is 0 */
};

ANS_INLINE v128_t ans_look(v128_t lo, const struct ans_vectors *t, const struct ans_constants *k, struct ans_found *found) {
  v128_t bucket = wasm_v128_and(wasm_u16x8_shr(lo, 4), k->fifteen);
  v128_t run = wasm_v128_and(wasm_u16x8_shr(wasm_i8x16_add(lo, ANS_SWIZZLE(t->run, bucket)), 4), k->fifteen);
  found->freq = ANS_SWIZZLE(t->freq, run);
  found->off = wasm_i8x16_sub(lo, ANS_SWIZZLE(t->start, run));
  found->half = ANS_SWIZZLE(t->half, run);
  return ANS_SWIZZLE(t->value, run);
}

/* lanes 0..7, and 8..15, of a and b in turns */
ANS_INLINE v128_t ans_zip_low(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
ANS_INLINE v128_t ans_zip_high(v128_t a, v128_t b) {
  return wasm_i8x16_shuffle(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}

ANS_INLINE void ans_update(const struct ans_found *f, v128_t hi, const struct ans_constants *k, enum ans_update update, struct ans_updated *u) {
  if (update == ANS_PRODUCTS) {
    v128_t even = wasm_i16x8_add(wasm_i16x8_mul(wasm_v128_and(f->freq, k->even), wasm_v128_and(hi, k->even)), wasm_v128_and(f->off, k->even));
    v128_t odd = wasm_i16x8_add(wasm_i16x8_mul(wasm_u16x8_shr(f->freq, 8), wasm_u16x8_shr(hi, 8)), wasm_u16x8_shr(f->off, 8));
    u->lo = wasm_v128_or(wasm_v128_and(even, k->even), wasm_i16x8_shl(odd, 8));
    u->hi = wasm_v128_or(wasm_u16x8_shr(even, 8), wasm_v128_andnot(odd, k->even));
  } else {
    v128_t states[2] = {ans_zip_low(hi, f->off), ans_zip_high(hi, f->off)};
    v128_t factors[2] = {ans_zip_low(f->freq, k->one), ans_zip_high(f->freq, k->one)};
    v128_t x[2];
    for (int i = 0; i < 2; i++) {
      x[i] = update == ANS_DOT_U8 ? ANS_DOT(factors[i], states[i]) : ANS_DOT(states[i], factors[i]);
      x[i] = ANS_SWIZZLE(x[i], k->split);
    }
    u->lo = wasm_i64x2_shuffle(x[0], x[1], 0, 2);
    u->hi = wasm_i64x2_shuffle(x[0], x[1], 1, 3);
    if (update == ANS_DOT_I7) u->hi = wasm_i8x16_add(u->hi, f->half);
  }
  u->empty = wasm_i8x16_eq(u->hi, k->empty);
  u->mask = wasm_i8x16_bitmask(u->empty);
}

/* lanes with nothing in hi: lo moves up, a byte of the stream (stored less lo) comes in */
ANS_INLINE void ans_refill(const struct ans_updated *u, const uint8_t **at, v128_t *lo, v128_t *hi) {
  v128_t take = wasm_i8x16_add(wasm_v128_load(ans_take_low[u->mask & 255]), wasm_v128_load(ans_take_high[u->mask >> 8]));
  *lo = wasm_i8x16_add(u->lo, ANS_SWIZZLE(wasm_v128_load(*at), take));
  *hi = wasm_i8x16_add(u->hi, wasm_v128_and(u->lo, u->empty));
  *at += (uint32_t)__builtin_popcount(u->mask);
}

/* of a tile; the states of the last set before its refill, those of others as they are */
struct ans_reader {
  v128_t lo[TANSY_GROUP_N_ROWS], hi[TANSY_GROUP_N_ROWS];
  struct ans_updated last;
  const uint8_t *at, *codes_end;
};

/* update: PRODUCTS for a tile with one set */
ANS_INLINE void ans_open(struct ans_reader *r, const struct tansy_coded *c, const struct tansy_tile *tile, enum ans_update update) {
  *r = (struct ans_reader){.at = tile->codes, .codes_end = tile->codes_end};
  for (uint32_t s = 0; s < c->n_sets; s++) {
    r->lo[s] = wasm_v128_load(tile->states + TANSY_SET_NBYTES * s);
    r->hi[s] = wasm_v128_load(tile->states + TANSY_SET_NBYTES * s + TANSY_LANES);
    if (update == ANS_DOT_I7) r->hi[s] = wasm_v128_xor(r->hi[s], wasm_i8x16_splat(-128));
  }
  /* nothing is empty: refilled, they are what they are */
  r->last = (struct ans_updated){.lo = r->lo[c->n_sets - 1], .hi = r->hi[c->n_sets - 1], .empty = wasm_i8x16_splat(0)};
}

/* first step from `step` on, up to `end`, that uses another table */
static inline uint32_t ans_span_end(const struct tansy_coded *c, uint32_t step, uint32_t end) {
  if (!c->step_class) return end;
  uint32_t s = step + 1;
  while (s < end && tansy_nibble(c->step_class, s) == tansy_nibble(c->step_class, step)) s++;
  return s;
}

/* Steps [begin, end) of groups `group` + i * group_stride, i < n, from n readers: symbols' contributions in INT8 layout, at
 * out + i * out_stride. Four sets; n and update are constants. */
ANS_INLINE void ans_read_symbols(struct ans_reader *readers, uint32_t n, const struct tansy_coded *c, uint32_t group, uint32_t group_stride,
                                 uint32_t begin, uint32_t end, uint8_t *out, size_t out_stride, enum ans_update update) {
  const struct ans_constants k = ans_get_constants(update);
  struct ans_reader r[2];
  for (uint32_t i = 0; i < n; i++) r[i] = readers[i];
  for (uint32_t step = begin; step < end;) {
    const uint32_t span_end = ans_span_end(c, step, end);
    struct ans_vectors t[2];
    for (uint32_t i = 0; i < n; i++)
      t[i] = ans_get_table(tansy_step_table(c, group + i * group_stride, step), c->shape.raw_bits, update);
    for (; step < span_end; step++, out += TANSY_INT8_BLOCK_NBYTES) {
      for (uint32_t i = 0; i < n; i++) {
        uint8_t *o = out + i * out_stride;
        r[i].at = r[i].at < r[i].codes_end ? r[i].at : r[i].codes_end;
        for (int set = 0, before = TANSY_GROUP_N_ROWS - 1; set < TANSY_GROUP_N_ROWS; before = set++) {
          struct ans_found found;
          wasm_v128_store(o + TANSY_LANES * set, ans_look(r[i].lo[set], &t[i], &k, &found));
          ans_refill(&r[i].last, &r[i].at, &r[i].lo[before], &r[i].hi[before]);
          ans_update(&found, r[i].hi[set], &k, update, &r[i].last);
          if (update != ANS_PRODUCTS) ANS_NOW(r[i].last.mask);
        }
      }
    }
  }
  for (uint32_t i = 0; i < n; i++) readers[i] = r[i];
}

/* the same for a tile with one set: small matrices, not worth a pipeline */
ANS_INLINE void ans_read_symbols_one_set(struct ans_reader *r, const struct tansy_coded *c, uint32_t group, uint32_t begin, uint32_t end,
                                         uint8_t *out) {
  const struct ans_constants k = ans_get_constants(ANS_PRODUCTS);
  v128_t lo = r->lo[0], hi = r->hi[0];
  for (uint32_t step = begin; step < end; step++) {
    const struct ans_vectors t = ans_get_table(tansy_step_table(c, group, step), c->shape.raw_bits, ANS_PRODUCTS);
    for (int row = 0; row < TANSY_GROUP_N_ROWS; row++, out += TANSY_LANES) {
      struct ans_found found;
      struct ans_updated updated;
      r->at = r->at < r->codes_end ? r->at : r->codes_end;
      wasm_v128_store(out, ans_look(lo, &t, &k, &found));
      ans_update(&found, hi, &k, ANS_PRODUCTS, &updated);
      ans_refill(&updated, &r->at, &lo, &hi);
    }
  }
  r->lo[0] = lo, r->hi[0] = hi;
}

ANS_INLINE void ans_merge_raw_steps(const uint8_t *group_raw, uint32_t begin, uint32_t end, uint32_t n_steps, uint32_t raw_bits,
                                    uint8_t *out) {
#pragma GCC unroll 1
  for (uint32_t step = begin; step < end; step++, out += TANSY_INT8_BLOCK_NBYTES) {
    v128_t w[4];
    for (int row = 0; row < 4; row++) w[row] = wasm_v128_load(out + 16 * row);
    tansy_merge_raw(w, group_raw, step, n_steps, raw_bits);
    for (int row = 0; row < 4; row++) wasm_v128_store(out + 16 * row, w[row]);
  }
}

#endif
