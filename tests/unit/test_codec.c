/* test_codec.c: encoder and portable decoder: round trips, truncation, corruption. */
#include "base/buffer.h"
#include "codec/codec.h"
#include "codec/escape.h"
#include "test.h"

struct matrix {
  uint32_t n_rows, n_cols;
  int32_t *z;
};

static struct matrix new_matrix(uint32_t n_rows, uint32_t n_cols) {
  return (struct matrix){n_rows, n_cols, test_alloc(sizeof(int32_t) * n_rows * n_cols)};
}

static int32_t round_to_int(double v) { return (int32_t)(v < 0 ? v - 0.5 : v + 0.5); }

static struct matrix normal_matrix(uint32_t n_rows, uint32_t n_cols, double sigma, uint64_t seed) {
  struct matrix m = new_matrix(n_rows, n_cols);
  struct test_rng rng = {seed};
  for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) m.z[i] = round_to_int(sigma * test_rand_normal(&rng));
  return m;
}

struct coded {
  struct tansy_buffer stream;
  struct tansy_coded_shape shape;
  struct tansy_encode_stats stats;
};

static struct coded encode(const struct matrix *m, const struct tansy_encode_options *options) {
  struct coded c = {0};
  CHECK_EQ(tansy_encode(m->z, m->n_rows, m->n_cols, options, &c.stream, &c.shape, &c.stats), TANSY_OK);
  return c;
}

/* Parses and reads a stream that lies in memory of exactly its size plus the promised slack, so that sanitizers see more. */
static enum tansy_status decode(const uint8_t *stream, size_t nbytes, const struct tansy_coded_shape *shape, int32_t *out) {
  if (nbytes < shape->head_nbytes) return TANSY_ERR_TRUNCATED;
  uint8_t *head = test_alloc(shape->head_nbytes);
  uint8_t *tiles = test_alloc(nbytes - shape->head_nbytes);
  memcpy(head, stream, shape->head_nbytes);
  memcpy(tiles, stream + shape->head_nbytes, nbytes - shape->head_nbytes);
  struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_coded coded;
  enum tansy_status status = tansy_coded_parse(head, tiles, nbytes - shape->head_nbytes, shape, tables, &coded);
  if (status == TANSY_OK) status = tansy_coded_read_rows(&coded, 0, shape->n_rows, out);
  free(head);
  free(tiles);
  return status;
}

static double check_round_trip(const struct matrix *m, const struct tansy_encode_options *options) {
  struct coded c = encode(m, options);
  size_t n = (size_t)m->n_rows * m->n_cols;
  int32_t *out = test_alloc(n * sizeof *out);
  CHECK_EQ(decode(c.stream.bytes, c.stream.nbytes, &c.shape, out), TANSY_OK);
  CHECK_MEM(out, m->z, n * sizeof *out);
  free(out);
  tansy_buffer_free(&c.stream);
  return c.stats.coded_bits / c.stats.entropy_bits - 1;
}

static void test_sizes(void) {
  static const uint32_t sizes[][2] = {{1, 1}, {1, 17}, {17, 1}, {4, 16}, {3, 15}, {5, 33}, {64, 64}, {7, 1000}, {1000, 7}, {130, 257}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
    for (int r = -1; r <= TANSY_MAX_RAW_BITS; r++)
      for (uint32_t tile = 0; tile <= 8; tile += 4) {
        struct matrix m = normal_matrix(sizes[i][0], sizes[i][1], 1.0 + 3 * (r < 0 ? 0 : r), i * 10 + tile);
        check_round_trip(&m, &(struct tansy_encode_options){.raw_bits = r, .tile_n_rows = tile});
        free(m.z);
      }
}

static void test_adversarial_values(void) {
  struct test_rng rng = {7};
  for (int kind = 0; kind < 9; kind++) {
    struct matrix m = new_matrix(37, 83);
    for (size_t i = 0; i < 37 * 83; i++) {
      uint64_t u = test_rand(&rng);
      switch (kind) {
        case 0: m.z[i] = 0; break;
        case 1: m.z[i] = -5; break;
        case 2: m.z[i] = 1000000; break;                                         /* only escapes */
        case 3: m.z[i] = (int32_t)u; break;                                      /* any 32 bits */
        case 4: m.z[i] = i & 1 ? INT32_MAX : INT32_MIN; break;
        case 5: m.z[i] = (int32_t)(u % 16) - 8; break;                           /* uniform */
        case 6: m.z[i] = u % 1000 ? 0 : (int32_t)(u >> 32) % 9; break;           /* nearly constant */
        case 7: m.z[i] = (int32_t)(u % 256) - 128; break;
        default: m.z[i] = u & 1 ? 7 : -8; break;
      }
    }
    for (int r = -1; r <= TANSY_MAX_RAW_BITS; r++) check_round_trip(&m, &(struct tansy_encode_options){.raw_bits = r});
    free(m.z);
  }
}

/* the commonest use: a normal distribution. Loss over entropy with every byte counted. */
static void test_loss(void) {
  static const double sigmas[] = {0.7, 1, 1.5, 2, 3};
  for (size_t i = 0; i < 5; i++) {
    struct matrix m = normal_matrix(1024, 1024, sigmas[i], 42 + i);
    double loss = check_round_trip(&m, NULL);
    printf("sigma %.1f: loss %.2f %%\n", sigmas[i], 100 * loss);
    CHECK(loss <= 0.015);
    free(m.z);
  }
}

/* rows and columns of different spread: several tables code below the entropy that one distribution has */
static void test_classes(void) {
  for (int kind = 0; kind < 3; kind++) {
    struct matrix m = normal_matrix(512, 640, 1, 60);
    struct test_rng rng = {61};
    for (uint32_t i = 0; i < m.n_rows; i++)
      for (uint32_t j = 0; j < m.n_cols; j++) {
        double sigma = 0.8;
        if (kind != 1) sigma *= i / 12 % 3 + 1;
        if (kind != 0) sigma *= j / 48 % 2 ? 2 : 1;
        m.z[i * m.n_cols + j] = round_to_int(sigma * test_rand_normal(&rng));
      }
    struct coded c = encode(&m, NULL);
    double loss = c.stats.coded_bits / c.stats.entropy_bits - 1;
    printf("spreads %d: %u tables, loss %.2f %%\n", kind, c.shape.n_tables, 100 * loss);
    CHECK(c.shape.n_tables > 1);
    CHECK(loss < -0.01);
    tansy_buffer_free(&c.stream);
    check_round_trip(&m, NULL);
    check_round_trip(&m, &(struct tansy_encode_options){.raw_bits = -1, .max_tables = 2});
    struct coded one = encode(&m, &(struct tansy_encode_options){.raw_bits = -1, .max_tables = 1});
    CHECK_EQ(one.shape.n_tables, 1);
    tansy_buffer_free(&one.stream);
    free(m.z);
  }
}

static void test_row_ranges(void) {
  struct matrix m = normal_matrix(50, 40, 2, 3);
  for (size_t i = 0; i < 50; i++) m.z[i * 40 + i % 40] = 100; /* an escape a row */
  struct coded c = encode(&m, &(struct tansy_encode_options){.raw_bits = 0, .tile_n_rows = 12});
  struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_coded coded;
  REQUIRE(tansy_coded_parse(c.stream.bytes, c.stream.bytes + c.shape.head_nbytes, c.stream.nbytes - c.shape.head_nbytes, &c.shape,
                            tables, &coded) == TANSY_OK);
  int32_t out[50 * 40];
  for (uint32_t begin = 0; begin <= 50; begin += 3)
    for (uint32_t end = begin; end <= 50; end++) {
      CHECK_EQ(tansy_coded_read_rows(&coded, begin, end, out), TANSY_OK);
      CHECK_MEM(out, m.z + begin * 40, (end - begin) * 40 * sizeof *out);
    }
  CHECK_EQ(tansy_coded_read_rows(&coded, 3, 2, out), TANSY_ERR_ARGUMENT);
  CHECK_EQ(tansy_coded_read_rows(&coded, 0, 51, out), TANSY_ERR_ARGUMENT);
  tansy_buffer_free(&c.stream);
  free(m.z);
}

static void test_truncation(void) {
  struct matrix m = normal_matrix(20, 50, 2, 5);
  m.z[77] = 10000;
  for (int r = 0; r <= TANSY_MAX_RAW_BITS; r += 2) {
    struct coded c = encode(&m, &(struct tansy_encode_options){.raw_bits = r, .tile_n_rows = 8});
    int32_t out[20 * 50];
    for (size_t n = 0; n < c.stream.nbytes; n++) CHECK(decode(c.stream.bytes, n, &c.shape, out) != TANSY_OK);
    /* a shorter head as well */
    for (uint32_t n = 0; n < c.shape.head_nbytes; n++) {
      struct tansy_coded_shape shape = c.shape;
      shape.head_nbytes = n;
      CHECK(decode(c.stream.bytes, c.stream.nbytes, &shape, out) != TANSY_OK);
    }
    tansy_buffer_free(&c.stream);
  }
  free(m.z);
}

/* Damaged streams must be refused or decode to something, within bounds: the sanitizers of the test build are the judge. */
static void test_corruption(void) {
  struct matrix m = normal_matrix(24, 70, 1.5, 9);
  for (size_t i = 0; i < 24 * 70; i += 97) m.z[i] = (int32_t)i * 1000;
  int32_t *out = test_alloc(sizeof(int32_t) * 24 * 70);
  struct test_rng rng = {11};
  uint32_t n_refused = 0;
  for (int r = 0; r <= TANSY_MAX_RAW_BITS; r++) {
    struct coded c = encode(&m, &(struct tansy_encode_options){.raw_bits = r, .tile_n_rows = 8});
    for (int trial = 0; trial < 4000; trial++) {
      struct tansy_coded_shape shape = c.shape;
      uint8_t *bad = test_alloc(c.stream.nbytes);
      memcpy(bad, c.stream.bytes, c.stream.nbytes);
      uint32_t span = trial & 1 ? shape.head_nbytes : (uint32_t)c.stream.nbytes; /* the head has more to break */
      for (uint32_t k = 0; k <= test_rand_below(&rng, 4); k++) bad[test_rand_below(&rng, span)] = (uint8_t)test_rand(&rng);
      if (trial % 16 == 0) shape.n_escapes = (uint32_t)test_rand(&rng);
      if (trial % 16 == 1) shape.n_tables = test_rand_below(&rng, 40);
      if (trial % 16 == 2) shape.tile_n_rows = 4 * test_rand_below(&rng, 8);
      if (trial % 16 == 3) shape.raw_bits = test_rand_below(&rng, 6);
      n_refused += decode(bad, c.stream.nbytes, &shape, out) != TANSY_OK;
      free(bad);
    }
    tansy_buffer_free(&c.stream);
  }
  CHECK(n_refused > 12000); /* final states catch most that bounds do not */
  free(out);
  free(m.z);
}

/* shapes that promise more than a stream can hold */
static void test_hostile_shapes(void) {
  struct matrix m = normal_matrix(8, 16, 1, 1);
  struct coded c = encode(&m, NULL);
  struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_coded coded;
  static const uint32_t rows[] = {0, 9, 1u << 20, (1u << 20) + 1, UINT32_MAX}, cols[] = {0, 17, 1u << 16, (1u << 16) + 1, UINT32_MAX};
  for (int i = 0; i < 5; i++)
    for (int j = 0; j < 5; j++)
      for (uint32_t r = 0; r <= 5; r++) {
        struct tansy_coded_shape shape = c.shape;
        shape.n_rows = rows[i], shape.n_cols = cols[j], shape.raw_bits = r;
        for (uint32_t tile = 4; tile; tile *= 16) {
          shape.tile_n_rows = tile;
          enum tansy_status status = tansy_coded_parse(c.stream.bytes, c.stream.bytes + c.shape.head_nbytes,
                                                       c.stream.nbytes - c.shape.head_nbytes, &shape, tables, &coded);
          /* more rows or columns with no raw bits may be a valid head: only the codes end too early */
          if (status == TANSY_OK) CHECK(r == 0 && rows[i] && cols[j]);
        }
      }
  tansy_buffer_free(&c.stream);
  free(m.z);
}

static void test_small_headers(void) {
  struct matrix m = normal_matrix(64, 64, 2, 21);
  struct coded c = encode(&m, NULL);
  double loss = c.stats.coded_bits / c.stats.entropy_bits - 1;
  printf("64x64: head %u bytes of %lu, loss %.2f %%\n", c.shape.head_nbytes, (unsigned long)c.stream.nbytes, 100 * loss);
  CHECK(c.shape.head_nbytes <= 48);
  CHECK(loss < 0.05);
  tansy_buffer_free(&c.stream);
  free(m.z);
}

/* what no encoder can do is refused before an integer is read */
static void test_options(void) {
  static const struct {
    uint32_t n_rows, n_cols;
    struct tansy_encode_options options;
  } bad[] = {
      {0, 1, {.raw_bits = -1}},
      {1, 0, {.raw_bits = -1}},
      {TANSY_MAX_DIM + 1, 1, {.raw_bits = -1}},
      {1, TANSY_MAX_COLS + 1, {.raw_bits = -1}},
      {8, 8, {.raw_bits = TANSY_MAX_RAW_BITS + 1}},
      {8, 8, {.raw_bits = -2}},
      {8, 8, {.raw_bits = -1, .tile_n_rows = 6}},
      {8, 8, {.raw_bits = -1, .max_tables = TANSY_MAX_TABLES + 1}},
      {TANSY_MAX_DIM, TANSY_MAX_COLS, {.raw_bits = -1, .tile_n_rows = TANSY_MAX_DIM}}, /* a tile of more cells than gaps can count */
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct tansy_buffer stream = {0};
    struct tansy_coded_shape shape;
    CHECK_EQ(tansy_encode(NULL, bad[i].n_rows, bad[i].n_cols, &bad[i].options, &stream, &shape, NULL), TANSY_ERR_ARGUMENT);
    CHECK_EQ(stream.nbytes, 0);
  }
}

int main(void) {
  RUN(test_options);
  RUN(test_sizes);
  RUN(test_adversarial_values);
  RUN(test_loss);
  RUN(test_classes);
  RUN(test_row_ranges);
  RUN(test_truncation);
  RUN(test_corruption);
  RUN(test_hostile_shapes);
  RUN(test_small_headers);
  return test_finish();
}
