/* check_ans.c: products and expansion from the codes: every instruction set against the portable one, and that against
 * plain arithmetic on the integers. */
#include "base/buffer.h"
#include "codec/tile.h"
#include "kernels/kernels_internal.h"
#include "test.h"

struct isa {
  const char *name;
  tansy_matmul_fn *matmul;
  tansy_expand_fn *expand_packed, *expand_int8;
};
static const struct isa isas[] = {
    {"ref", tansy_matmul_ans_ref, tansy_expand_packed_ref, tansy_expand_int8_ref},
#if defined(TANSY_HAVE_SIMD128)
    {"simd128", tansy_matmul_ans_simd128, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
#endif
#if defined(TANSY_HAVE_RELAXED)
    {"relaxed", tansy_matmul_ans_relaxed, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
    {"relaxed, i7", tansy_matmul_ans_relaxed_i7, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
    {"relaxed32", tansy_matmul_ans_relaxed32, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
#endif
};
enum { N_ISAS = sizeof isas / sizeof *isas };

enum kind { NORMAL, SPARSE, WIDE_ROWS, UNIFORM, WILD, CONSTANT, N_KINDS };

static int32_t weight_of(enum kind kind, double sigma, uint32_t row, uint32_t col, struct test_rng *rng) {
  double v = sigma * test_rand_normal(rng);
  uint64_t u = test_rand(rng);
  switch (kind) {
    case SPARSE: return u % 16 ? 0 : (int32_t)v;
    case WIDE_ROWS: v *= (1 + row / 7 % 5) * (col / 16 % 3 ? 1 : 0.5); break; /* several tables, if any pay */
    case UNIFORM: return (int32_t)(u % 16) - 8;
    case WILD: return u % 5 ? (int32_t)v : (int32_t)(u >> 32);
    case CONSTANT: return 3;
    default: break;
  }
  return (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
}

struct fixture {
  struct tansy_buffer stream;
  struct tansy_coded_shape shape;
  struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_matrix w;
  int32_t *z;
  uint8_t *tiles; /* a copy with the promised slack and no more */
};

static void open_fixture(struct fixture *f, enum kind kind, double sigma, uint32_t n_rows, uint32_t n_cols,
                         const struct tansy_encode_options *options, struct test_rng *rng) {
  *f = (struct fixture){0};
  f->z = test_alloc(sizeof(int32_t) * n_rows * n_cols);
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < n_cols; j++) f->z[(size_t)i * n_cols + j] = weight_of(kind, sigma, i, j, rng);
  CHECK_EQ(tansy_encode(f->z, n_rows, n_cols, options, &f->stream, &f->shape, NULL), TANSY_OK);
  size_t tiles_nbytes = f->stream.nbytes - f->shape.head_nbytes;
  f->tiles = test_alloc(tiles_nbytes + TANSY_STREAM_SLACK);
  memcpy(f->tiles, f->stream.bytes + f->shape.head_nbytes, tiles_nbytes);
  memset(f->tiles + tiles_nbytes, 0xA5, TANSY_STREAM_SLACK);
  f->w = (struct tansy_matrix){.form = TANSY_FORM_ANS};
  CHECK_EQ(tansy_coded_parse(f->stream.bytes, f->tiles, tiles_nbytes, &f->shape, f->tables, &f->w.coded), TANSY_OK);
}
static void close_fixture(struct fixture *f) {
  tansy_buffer_free(&f->stream);
  free(f->z);
  free(f->tiles);
}

struct activations {
  struct tansy_act act;
  float d[TANSY_MAX_BATCH];
  int32_t sum[TANSY_MAX_BATCH];
};

static void make_activations(struct activations *a, uint32_t n_tokens, uint32_t n_cols, struct test_rng *rng) {
  uint32_t padded = tansy_pad_cols(n_cols), n_blocks = (padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
  a->act = (struct tansy_act){.q = test_alloc((size_t)n_tokens * padded), .shift = test_alloc((size_t)n_tokens * n_blocks), .d = a->d,
                              .sum = a->sum, .n_tokens = n_tokens, .n_cols_padded = padded, .n_blocks = n_blocks};
  int extreme = test_rand(rng) % 4 == 0;
  for (uint32_t t = 0; t < n_tokens; t++) {
    int8_t *q = a->act.q + (size_t)t * padded;
    uint8_t *shift = a->act.shift + (size_t)t * n_blocks;
    for (uint32_t b = 0; b < n_blocks; b++) shift[b] = (uint8_t)test_rand_below(rng, 5);
    uint32_t sum = 0;
    for (uint32_t j = 0; j < padded; j++) {
      q[j] = (int8_t)(j >= n_cols ? 0 : extreme ? (test_rand(rng) & 1 ? 127 : -127) : (int)test_rand_below(rng, 255) - 127);
      sum += (uint32_t)q[j] << shift[j / TANSY_ACT_BLOCK];
    }
    a->sum[t] = (int32_t)sum;
    a->d[t] = 1;
  }
}
static void free_activations(struct activations *a) {
  free(a->act.q);
  free(a->act.shift);
}

static void check_matmul(const struct fixture *f, uint32_t n_tokens, struct test_rng *rng) {
  const uint32_t n_rows = f->shape.n_rows, n_cols = f->shape.n_cols;
  const size_t stride = n_rows + 3;
  struct activations a;
  make_activations(&a, n_tokens, n_cols, rng);
  int32_t *expected = test_alloc(n_tokens * stride * 4), *acc = test_alloc(n_tokens * stride * 4);
  uint8_t *scratch = test_alloc(tansy_matmul_scratch_nbytes(f->w.coded.n_cols_padded));
  memset(expected, 0x77, n_tokens * stride * 4);
  for (uint32_t t = 0; t < n_tokens; t++)
    for (uint32_t i = 0; i < n_rows; i++) {
      uint32_t sum = 0;
      for (uint32_t j = 0; j < n_cols; j++)
        sum += ((uint32_t)f->z[(size_t)i * n_cols + j] * (uint32_t)a.act.q[(size_t)t * a.act.n_cols_padded + j])
               << a.act.shift[(size_t)t * a.act.n_blocks + j / TANSY_ACT_BLOCK];
      expected[t * stride + i] = (int32_t)sum;
    }
  for (int isa = 0; isa < N_ISAS; isa++) {
    memset(acc, 0x77, n_tokens * stride * 4);
    /* in two calls: tiles are independent */
    uint32_t half = f->w.coded.n_tiles / 2;
    isas[isa].matmul(&f->w, &a.act, half, f->w.coded.n_tiles, acc, stride, scratch);
    isas[isa].matmul(&f->w, &a.act, 0, half, acc, stride, scratch);
    if (!CHECK_MEM(acc, expected, n_tokens * stride * 4))
      fprintf(stderr, "    %s, %u x %u, r %u, %u tables, %u sets, %u tokens\n", isas[isa].name, n_rows, n_cols, f->shape.raw_bits,
              f->shape.n_tables, f->w.coded.n_sets, n_tokens);
  }
  free(expected);
  free(acc);
  free(scratch);
  free_activations(&a);
}

static void check_expand(const struct fixture *f) {
  const uint32_t n_blocks = tansy_n_groups(&f->shape) * tansy_coded_n_steps(&f->w.coded);
  const size_t nbytes[2] = {(size_t)n_blocks * TANSY_INT8_BLOCK_NBYTES, (size_t)n_blocks * tansy_packed_block_nbytes(f->shape.raw_bits)};
  for (int packed = 0; packed < 2; packed++) {
    uint8_t *expected = test_alloc(nbytes[packed]), *got = test_alloc(nbytes[packed]);
    for (int isa = 0; isa < N_ISAS; isa++) {
      uint8_t *out = isa ? got : expected;
      memset(out, 0x3C, nbytes[packed]);
      for (uint32_t t = 0; t < f->w.coded.n_tiles; t++) (packed ? isas[isa].expand_packed : isas[isa].expand_int8)(&f->w.coded, t, out);
      if (isa) CHECK_MEM(got, expected, nbytes[packed]);
    }
    if (!packed) { /* what INT8 means */
      uint32_t n_wrong = 0, n_cols = f->shape.n_cols;
      int32_t *z = test_alloc(sizeof(int32_t) * f->shape.n_rows * n_cols);
      for (uint32_t i = 0; i < f->shape.n_rows; i++)
        for (uint32_t j = 0; j < n_cols; j++) {
          uint8_t u = expected[((size_t)i / 4 * tansy_coded_n_steps(&f->w.coded) + j / 16) * 64 + 16 * (i % 4) + j % 16];
          z[(size_t)i * n_cols + j] = f->shape.raw_bits == 4 ? (int8_t)u : u - tansy_weight_bias(f->shape.raw_bits);
        }
      tansy_escapes_add(&f->w.coded, 0, f->shape.n_rows, z);
      for (size_t i = 0; i < (size_t)f->shape.n_rows * n_cols; i++) n_wrong += z[i] != f->z[i];
      CHECK_EQ(n_wrong, 0);
      free(z);
    }
    free(expected);
    free(got);
  }
}

static void test_random(void) {
  static const uint32_t sizes[][2] = {{1, 1}, {4, 16}, {5, 17}, {64, 64}, {13, 130}, {33, 300}, {200, 257}, {3, 4096}, {257, 3}};
  static const double sigmas[] = {0.4, 1, 2.2, 6, 30};
  static const uint32_t batches[] = {1, 2, 5, 32};
  struct test_rng rng = {2024};
  for (int kind = 0; kind < N_KINDS; kind++)
    for (int s = 0; s < 5; s++)
      for (int r = -1; r <= TANSY_MAX_RAW_BITS; r++) {
        const uint32_t *size = sizes[test_rand_below(&rng, 9)];
        struct fixture f;
        open_fixture(&f, (enum kind)kind, sigmas[s], size[0], size[1],
                     &(struct tansy_encode_options){.raw_bits = r, .tile_n_rows = 4 * test_rand_below(&rng, 5)}, &rng);
        check_matmul(&f, batches[test_rand_below(&rng, 4)], &rng);
        check_matmul(&f, 1, &rng);
        check_expand(&f);
        close_fixture(&f);
      }
}

/* wide enough for four sets of states, at every r and with both forms of the update */
static void test_four_sets(void) {
  struct test_rng rng = {77};
  for (int r = -1; r <= TANSY_MAX_RAW_BITS; r++)
    for (int narrow = 0; narrow < 2; narrow++) {
      struct fixture f;
      double sigma = (narrow ? 0.45 : 1.6) * (r > 0 ? 1 << r : 1);
      open_fixture(&f, WIDE_ROWS, sigma, 190, 700, &(struct tansy_encode_options){.raw_bits = r}, &rng);
      CHECK_EQ(f.w.coded.n_sets, 4);
      check_matmul(&f, 1, &rng);
      check_matmul(&f, 7, &rng);
      check_expand(&f);
      close_fixture(&f);
    }
}

/* Tiles are not checked before they are used: whatever is in them must stay inside the stream and its slack. The judge is the
 * sanitizer, and guard bytes around the results. */
static void test_hostile_tiles(void) {
  struct test_rng rng = {5};
  for (int trial = 0; trial < 60; trial++) {
    struct fixture f;
    open_fixture(&f, WIDE_ROWS, 2, 60 + test_rand_below(&rng, 8), 200, &(struct tansy_encode_options){.raw_bits = trial % 6 - 1}, &rng);
    for (size_t i = 0; i < f.w.coded.tiles_nbytes; i++)
      if (trial % 3 == 0) f.tiles[i] = 0;
      else if (trial % 3 == 1 || test_rand_below(&rng, 50) == 0) f.tiles[i] = (uint8_t)test_rand(&rng);
    struct activations a;
    make_activations(&a, trial & 1 ? 1 : 3, 200, &rng);
    int32_t *acc = test_alloc(4 * 3 * 80);
    uint8_t *scratch = test_alloc(tansy_matmul_scratch_nbytes(f.w.coded.n_cols_padded));
    memset(acc, 0x5A, 4 * 3 * 80);
    for (int isa = 0; isa < N_ISAS; isa++) isas[isa].matmul(&f.w, &a.act, 0, f.w.coded.n_tiles, acc, 80, scratch);
    for (uint32_t t = 0; t < a.act.n_tokens; t++)
      for (uint32_t i = f.shape.n_rows; i < 80; i++) CHECK_EQ(acc[t * 80 + i], 0x5A5A5A5A);
    const size_t nbytes = (size_t)tansy_n_groups(&f.shape) * 4 * f.w.coded.n_cols_padded;
    uint8_t *resident = test_alloc(nbytes);
    for (int isa = 0; isa < N_ISAS; isa++)
      for (uint32_t t = 0; t < f.w.coded.n_tiles; t++) {
        isas[isa].expand_int8(&f.w.coded, t, resident);
        isas[isa].expand_packed(&f.w.coded, t, resident);
      }
    free(resident);
    free(acc);
    free(scratch);
    free_activations(&a);
    close_fixture(&f);
  }
}

int main(void) {
  RUN(test_random);
  RUN(test_four_sets);
  RUN(test_hostile_tiles);
  return test_finish();
}
