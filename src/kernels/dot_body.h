/* dot_body.h: products with PACKED and INT8 weights in vectors, included by resident_{simd128,relaxed,relaxed32}.c after they defined
 *   SUFFIX
 *   act_v, load_act(q)          16 activations, prepared
 *   dot16(u, x)                 16 weights (u < 128) times 16 activations -> 8 sums of 2, 16 bits each
 *   dot32(u, x, sum)            the same as 4 sums of 4, added to sum
 *
 *   DOT_OF_FOUR                 1 where dot32 is one instruction: every step goes to it, and groups by one token go by twos
 *
 * A row's sum runs in 4 lanes of 32 bits. With small weights several steps fit 16 bits first: one product pair is at most
 * 2 * (2^(4+r) - 1) * 127, so 8, 4, 2, 1 of them stay below 2^15 for r = 0..3; 4 is as
 * much as pays (with 8, accumulators go to memory).
 * Work is done for 4 rows and 1 or 2 tokens at a time, over runs of blocks in which no token's exponent changes. */
#include "codec/tile.h"
#include "kernels/raw_simd.h"

#include "kernels/resident_body.h"

enum { ACT_N_STEPS = TANSY_ACT_BLOCK / TANSY_LANES };

/* steps summed in 16 bits before they are added to the sums; 1: each goes to dot32 */
TANSY_INLINE uint32_t steps_in_16_bits(uint32_t raw_bits) { return DOT_OF_FOUR ? 1 : raw_bits ? 8u >> raw_bits : 4; }

/* where weights come from: whole bytes; packed blocks; bytes without the raw bits, and those as the stream has them */
enum weights_form { BYTES, PACKED, APART, N_WEIGHTS_FORMS };
struct weights {
  const uint8_t *at;
  const uint8_t *raw; /* APART: of the group */
  uint32_t step;      /* APART: of the matrix where steps are counted from; even */
  uint32_t n_steps;
};

/* four rows of step s; raw_bits and form are constants */
TANSY_INLINE void load4(const struct weights *w, uint32_t s, uint32_t raw_bits, enum weights_form form, v128_t u[4]) {
  if (form == PACKED) {
    tansy_unpack4(w->at + (size_t)s * (32 + 8 * raw_bits), raw_bits, u);
  } else {
    for (int k = 0; k < 4; k++) u[k] = wasm_v128_load(w->at + (size_t)s * 64 + 16 * k);
    if (form == APART) tansy_merge_raw(u, w->raw, w->step + s, w->n_steps, raw_bits);
  }
}

/* step s of 4 rows by n_tokens, added to sums [4 * n_tokens] */
TANSY_INLINE void dot_step(const struct weights *w, const int8_t *const *q, uint32_t s, uint32_t raw_bits, enum weights_form form,
                           uint32_t n_tokens, v128_t *sums) {
  v128_t u[4];
  load4(w, s, raw_bits, form, u);
  for (uint32_t t = 0; t < n_tokens; t++) {
    const act_v x = load_act(q[t] + 16 * s);
    for (int k = 0; k < 4; k++) sums[4 * t + k] = dot32(u[k], x, sums[4 * t + k]);
  }
}

/* n_steps of them; everything but n_steps is a constant */
TANSY_INLINE void dot_steps(const struct weights *w, const int8_t *const *q, uint32_t n_steps, uint32_t raw_bits, enum weights_form form,
                            uint32_t n_tokens, v128_t *sums) {
  const uint32_t a_run = steps_in_16_bits(raw_bits);
  uint32_t s = 0;
  if (a_run > 1) {
    for (; s + a_run <= n_steps; s += a_run) {
      v128_t partial[8], u[4];
#pragma GCC unroll 4
      for (uint32_t i = 0; i < a_run; i++) {
        load4(w, s + i, raw_bits, form, u);
        for (uint32_t t = 0; t < n_tokens; t++) {
          const act_v x = load_act(q[t] + 16 * (s + i));
          for (int k = 0; k < 4; k++) partial[4 * t + k] = i ? wasm_i16x8_add(partial[4 * t + k], dot16(u[k], x)) : dot16(u[k], x);
        }
      }
      for (uint32_t k = 0; k < 4 * n_tokens; k++) sums[k] = wasm_i32x4_add(sums[k], wasm_i32x4_extadd_pairwise_i16x8(partial[k]));
    }
  }
  for (; s < n_steps; s++) dot_step(w, q, s, raw_bits, form, n_tokens, sums);
}

/* The same for two groups by one token: a sum waits some 5 cycles for a dot of four, and 4 sums are not enough to fill them.
 * APART: n_steps is even, as raw bits come by pairs of steps. */
TANSY_INLINE void dot_step_of_two(const struct weights *w, const int8_t *q, uint32_t s, uint32_t raw_bits, enum weights_form form,
                                  v128_t *sums) {
  const act_v x = load_act(q + 16 * s);
  for (int i = 0; i < 2; i++) {
    v128_t u[4];
    load4(&w[i], s, raw_bits, form, u);
    for (int k = 0; k < 4; k++) sums[4 * i + k] = dot32(u[k], x, sums[4 * i + k]);
  }
}
TANSY_INLINE void dot_steps_of_two(const struct weights *w, const int8_t *q, uint32_t n_steps, uint32_t raw_bits, enum weights_form form,
                                   v128_t *sums) {
  uint32_t s = 0;
  if (form == APART) {
    for (; s < n_steps; s += 2) {
      dot_step_of_two(w, q, s, raw_bits, form, sums);
      dot_step_of_two(w, q, s + 1, raw_bits, form, sums);
    }
    return;
  }
  for (; s < n_steps; s++) dot_step_of_two(w, q, s, raw_bits, form, sums);
}

/* four vectors -> the sum of the lanes of each */
TANSY_INLINE v128_t sum_lanes(const v128_t v[4]) {
  v128_t a = wasm_i32x4_add(wasm_i32x4_shuffle(v[0], v[1], 0, 4, 1, 5), wasm_i32x4_shuffle(v[0], v[1], 2, 6, 3, 7));
  v128_t b = wasm_i32x4_add(wasm_i32x4_shuffle(v[2], v[3], 0, 4, 1, 5), wasm_i32x4_shuffle(v[2], v[3], 2, 6, 3, 7));
  return wasm_i32x4_add(wasm_i64x2_shuffle(a, b, 0, 2), wasm_i64x2_shuffle(a, b, 1, 3));
}

/* blocks from `begin` on, up to n_blocks, in which the shifts of both tokens stay what they are */
TANSY_INLINE uint32_t run_end(const uint8_t *shift0, const uint8_t *shift1, uint32_t begin, uint32_t n_blocks) {
  uint32_t b = begin + 1;
  while (b < n_blocks && shift0[b] == shift0[begin] && shift1[b] == shift1[begin]) b++;
  return b;
}

/* totals of token t less what the bias added to every row; modulo 2^32 */
TANSY_INLINE v128_t unbiased(v128_t totals, uint32_t raw_bits, const struct tansy_act *act, uint32_t t) {
  return wasm_i32x4_sub(totals, wasm_i32x4_splat((int32_t)((8u << raw_bits) * (uint32_t)act->sum[t])));
}

TANSY_INLINE void store_rows(v128_t rows, uint32_t n_rows, int32_t *acc) {
  if (n_rows == 4) {
    wasm_v128_store(acc, rows);
    return;
  }
  int32_t lanes[4];
  wasm_v128_store(lanes, rows);
  for (uint32_t k = 0; k < n_rows; k++) acc[k] = lanes[k];
}

/* n groups, a stream apart from each other, by tokens t .. t + n_tokens - 1; everything but w, stream_nbytes, n and t is a
 * constant; n is 1 where n_tokens is 2. raw: APART, of the first of two groups. totals [n * n_tokens]: four rows each, with
 * what the bias added.
 *
 * Of every run the lanes are added up before the shift: four rows in one vector are cheaper to shift and to keep than four
 * vectors. Several groups take turns, a run each: weights that come from memory come about twice as fast when several pages are
 * read at a time, each followed by a prefetcher of its own. */
TANSY_INLINE void dot_tokens(const uint8_t *w, size_t stream_nbytes, const uint8_t *raw, size_t raw_stride, uint32_t n, uint32_t raw_bits,
                             enum weights_form form, const struct tansy_act *act, uint32_t t, uint32_t n_tokens, v128_t *totals) {
  const uint32_t n_steps = act->n_cols_padded / TANSY_LANES, block_nbytes = form == PACKED ? 32 + 8 * raw_bits : 64;
  const uint8_t *shift0 = act->shift + (size_t)t * act->n_blocks, *shift1 = shift0 + (n_tokens - 1) * (size_t)act->n_blocks;
  const int8_t *q0 = act->q + (size_t)t * act->n_cols_padded, *q1 = q0 + (n_tokens - 1) * (size_t)act->n_cols_padded;
  for (uint32_t i = 0; i < n * n_tokens; i++) totals[i] = wasm_i32x4_splat(0);
  for (uint32_t begin = 0, b; begin < act->n_blocks; begin = b) {
    b = run_end(shift0, shift1, begin, act->n_blocks);
    const uint32_t first = begin * ACT_N_STEPS, end = b * ACT_N_STEPS < n_steps ? b * ACT_N_STEPS : n_steps;
    const int8_t *q[2] = {q0 + (size_t)first * TANSY_LANES, q1 + (size_t)first * TANSY_LANES};
    struct weights at[2] = {{w + (size_t)first * block_nbytes, raw, first, n_steps}};
    uint32_t i = 0;
    if (DOT_OF_FOUR && n_tokens == 1)
      for (; i + 2 <= n; i += 2) {
        at[1] = at[0];
        at[1].at += stream_nbytes;
        if (form == APART) at[1].raw += raw_stride;
        v128_t sums[8];
        for (uint32_t k = 0; k < 8; k++) sums[k] = wasm_i32x4_splat(0);
        dot_steps_of_two(at, q[0], end - first, raw_bits, form, sums);
        for (uint32_t k = 0; k < 2; k++)
          totals[i + k] = wasm_i32x4_add(totals[i + k], wasm_i32x4_shl(sum_lanes(sums + 4 * k), shift0[begin]));
        at[0].at += 2 * stream_nbytes;
        if (form == APART) at[0].raw += 2 * raw_stride;
      }
    for (; form != APART && i < n; i++) {
      v128_t sums[8];
      for (uint32_t k = 0; k < 4 * n_tokens; k++) sums[k] = wasm_i32x4_splat(0);
      dot_steps(at, q, end - first, raw_bits, form, n_tokens, sums);
      totals[i] = wasm_i32x4_add(totals[i], wasm_i32x4_shl(sum_lanes(sums), shift0[begin]));
      if (n_tokens == 2) totals[1] = wasm_i32x4_add(totals[1], wasm_i32x4_shl(sum_lanes(sums + 4), shift1[begin]));
      at[0].at += stream_nbytes;
    }
  }
}

/* One function a (raw_bits, form, tokens): the compiler keeps the sums of each in registers. For one token: n groups; for two: n
 * is 1. Bytes are the same whatever raw_bits are, but for the steps that fit 16 bits: those of r serve where they do. */
typedef void dot_fn(const uint8_t *w, size_t stream_nbytes, const uint8_t *raw, size_t raw_stride, uint32_t n, const struct tansy_act *act,
                    uint32_t t, v128_t *totals);
#define DOT_FN(r, form, n_tokens)                                                                                                   \
  static __attribute__((noinline)) void dot_##form##_r##r##_n##n_tokens(const uint8_t *w, size_t stream_nbytes, const uint8_t *raw, \
                                                                        size_t raw_stride, uint32_t n, const struct tansy_act *act, \
                                                                        uint32_t t, v128_t *totals) {                               \
    dot_tokens(w, stream_nbytes, raw, raw_stride, n_tokens == 1 ? n : 1, r, form, act, t, n_tokens, totals);                        \
  }
#define DOT_FNS(r, form) DOT_FN(r, form, 1) DOT_FN(r, form, 2)
DOT_FNS(0, PACKED) DOT_FNS(1, PACKED) DOT_FNS(2, PACKED) DOT_FNS(3, PACKED)
#if DOT_OF_FOUR
DOT_FNS(0, BYTES)
#define BYTES_OF(r) {dot_BYTES_r0_n1, dot_BYTES_r0_n2}
/* only here: a module has room for no more */
DOT_FN(1, APART, 1) DOT_FN(2, APART, 1) DOT_FN(3, APART, 1)
#define dot_APART_r0_n1 NULL
#define APART_OF(r) {dot_APART_r##r##_n1, NULL}
#else
DOT_FNS(1, BYTES) DOT_FNS(2, BYTES) DOT_FNS(3, BYTES)
#define dot_BYTES_r0_n1 dot_BYTES_r1_n1
#define dot_BYTES_r0_n2 dot_BYTES_r1_n2
#define BYTES_OF(r) {dot_BYTES_r##r##_n1, dot_BYTES_r##r##_n2}
#define APART_OF(r) {NULL, NULL}
#endif

static inline dot_fn *dot_of(uint32_t raw_bits, enum weights_form form, uint32_t n_tokens) {
#define OF(r) {BYTES_OF(r), {dot_PACKED_r##r##_n1, dot_PACKED_r##r##_n2}, APART_OF(r)}
  static dot_fn *const table[TANSY_MAX_RAW_BITS][N_WEIGHTS_FORMS][2] = {OF(0), OF(1), OF(2), OF(3)};
  return table[raw_bits][form][n_tokens - 1];
}

/* a group by every token */
static inline void dot_all(const uint8_t *w, uint32_t raw_bits, enum weights_form form, const struct tansy_act *act, uint32_t n_rows,
                           int32_t *acc, size_t acc_stride) {
  v128_t totals[2];
  dot_fn *two = dot_of(raw_bits, form, 2);
  uint32_t t = 0;
  for (; t + 2 <= act->n_tokens; t += 2) {
    two(w, 0, NULL, 0, 1, act, t, totals);
    store_rows(unbiased(totals[0], raw_bits, act, t), n_rows, acc + t * acc_stride);
    store_rows(unbiased(totals[1], raw_bits, act, t + 1), n_rows, acc + (t + 1) * acc_stride);
  }
  if (t == act->n_tokens) return;
  dot_of(raw_bits, form, 1)(w, 0, NULL, 0, 1, act, t, totals);
  store_rows(unbiased(totals[0], raw_bits, act, t), n_rows, acc + t * acc_stride);
}

/* the groups of tiles by one token; raw_bits < 4 */
static void multiply_token(const struct tansy_matrix *w, enum weights_form form, const struct tansy_act *act, uint32_t tile_begin,
                           uint32_t tile_end, int32_t *acc) {
  /* prefetchers follow pages, and run into the next one: streams nearer than two pages would be one to them */
  enum { MAX_STREAMS = 8, MIN_STREAM_NBYTES = 8192 };
  const uint32_t raw_bits = w->coded.shape.raw_bits, n_steps = act->n_cols_padded / TANSY_LANES;
  const size_t group_nbytes = (size_t)n_steps * (form == PACKED ? tansy_packed_block_nbytes(raw_bits) : TANSY_INT8_BLOCK_NBYTES);
  const struct group_range r = groups_of_tiles(w, tile_begin, tile_end);
  const size_t fitting = (r.end - r.begin) * group_nbytes / MIN_STREAM_NBYTES;
  const uint32_t n_streams = fitting < 1 ? 1 : fitting > MAX_STREAMS ? MAX_STREAMS : (uint32_t)fitting;
  dot_fn *dot = dot_of(raw_bits, form, 1);
  for (uint32_t begin = r.begin; begin < r.end;) {
    const uint32_t left = r.end - begin, n = left < n_streams ? left : n_streams, a_stream = left / n;
    for (uint32_t g = begin; g < begin + a_stream; g++) {
      v128_t totals[MAX_STREAMS];
      dot(w->resident + g * group_nbytes, a_stream * group_nbytes, NULL, 0, n, act, 0, totals);
      for (uint32_t i = 0; i < n; i++)
        store_rows(unbiased(totals[i], raw_bits, act, 0), rows_of_group(w, g + i * a_stream), acc + 4 * ((size_t)g + i * a_stream));
    }
    begin += n * a_stream;
  }
}

static void multiply_group(const uint8_t *w, uint32_t raw_bits, const struct tansy_act *act, uint32_t n_rows, int32_t *acc,
                           size_t acc_stride) {
  if (raw_bits >= TANSY_MAX_RAW_BITS)
    tansy_dot_group_wide_simd128(w, act, n_rows, acc, acc_stride);
  else
    dot_all(w, raw_bits, BYTES, act, n_rows, acc, acc_stride);
}

void PASTE(tansy_dot_groups_, SUFFIX)(const struct tansy_groups *g, const struct tansy_act *act, int32_t *acc, size_t acc_stride) {
  const size_t group_nbytes = (size_t)act->n_cols_padded * TANSY_GROUP_N_ROWS;
  v128_t totals[2];
  const int is_alone = act->n_tokens == 1 && g->raw_bits < TANSY_MAX_RAW_BITS;
  if (is_alone) dot_of(g->raw_bits, g->raw ? APART : BYTES, 1)(g->w, group_nbytes, g->raw, g->raw_stride, g->n, act, 0, totals);
  for (uint32_t i = 0; i < g->n; i++) {
    const uint32_t n_rows = i + 1 < g->n ? TANSY_GROUP_N_ROWS : g->n_rows;
    int32_t *out = acc + i * (size_t)g->row_stride;
    if (is_alone)
      store_rows(unbiased(totals[i], g->raw_bits, act, 0), n_rows, out);
    else
      multiply_group(g->w + i * group_nbytes, g->raw_bits, act, n_rows, out, acc_stride);
  }
}

void PASTE(tansy_matmul_int8_, SUFFIX)(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                       int32_t *acc, size_t acc_stride, void *scratch) {
  (void)scratch;
  const size_t group_nbytes = (size_t)w->coded.n_cols_padded * TANSY_GROUP_N_ROWS;
  const struct group_range r = groups_of_tiles(w, tile_begin, tile_end);
  if (act->n_tokens == 1 && w->coded.shape.raw_bits < TANSY_MAX_RAW_BITS) {
    multiply_token(w, BYTES, act, tile_begin, tile_end, acc);
  } else {
    for (uint32_t g = r.begin; g < r.end; g++)
      multiply_group(w->resident + g * group_nbytes, w->coded.shape.raw_bits, act, rows_of_group(w, g), acc + 4 * (size_t)g, acc_stride);
  }
  for (uint32_t t = tile_begin; t < tile_end; t++) tansy_escapes_dot(&w->coded, t, act, acc, acc_stride);
}

void PASTE(tansy_matmul_packed_, SUFFIX)(const struct tansy_matrix *w, const struct tansy_act *act, uint32_t tile_begin, uint32_t tile_end,
                                         int32_t *acc, size_t acc_stride, void *scratch) {
  const uint32_t raw_bits = w->coded.shape.raw_bits, n_steps = w->coded.n_cols_padded / TANSY_LANES;
  if (raw_bits >= TANSY_MAX_RAW_BITS) { /* the same bytes */
    PASTE(tansy_matmul_int8_, SUFFIX)(w, act, tile_begin, tile_end, acc, acc_stride, scratch);
    return;
  }
  const size_t group_nbytes = (size_t)n_steps * tansy_packed_block_nbytes(raw_bits);
  const struct group_range r = groups_of_tiles(w, tile_begin, tile_end);
  if (act->n_tokens == 1) {
    multiply_token(w, PACKED, act, tile_begin, tile_end, acc);
  } else {
    for (uint32_t g = r.begin; g < r.end; g++) {
      const uint8_t *group = w->resident + g * group_nbytes;
      int32_t *out = acc + 4 * (size_t)g;
      if (act->n_tokens == 2) {
        dot_all(group, raw_bits, PACKED, act, rows_of_group(w, g), out, acc_stride);
      } else {
        tansy_unpack_group(group, raw_bits, n_steps, scratch);
        dot_all(scratch, raw_bits, BYTES, act, rows_of_group(w, g), out, acc_stride);
      }
    }
  }
  for (uint32_t t = tile_begin; t < tile_end; t++) tansy_escapes_dot(&w->coded, t, act, acc, acc_stride);
}
