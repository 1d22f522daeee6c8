/* test_quantize.c: the compressor's numbers: halves, scales, exact functions, factorization, rounding with feedback, rates. */
#include "base/half.h"
#include "pack/gptq.h"
#include "pack/linalg.h"
#include "pack/numeric.h"
#include "pack/quantize.h"
#include "pack/rate.h"
#include "test.h"

static void test_halves(void) {
  for (uint32_t h = 0; h < 65536; h++) {
    if ((h >> 10 & 31) == 31) continue;
    float f = tansy_half_to_float((uint16_t)h);
    if (tansy_half_nearest(f) != h) CHECK_EQ(tansy_half_nearest(f), h);
  }
  /* between neighbours: the nearer one, and the even one in the middle */
  for (uint32_t h = 0; h + 1 < 0x7c00; h++) {
    double low = tansy_half_to_float((uint16_t)h), high = tansy_half_to_float((uint16_t)(h + 1)), middle = (low + high) / 2;
    uint32_t even = h & 1 ? h + 1 : h;
    if (tansy_half_nearest((float)middle) != even) CHECK_EQ(tansy_half_nearest((float)middle), even);
    if (tansy_half_nearest((float)(low + (high - low) * 0.4990234375)) != h) CHECK_EQ(h, 0);
    if (tansy_half_nearest((float)(low + (high - low) * 0.5009765625)) != h + 1) CHECK_EQ(h + 1, 0);
  }
  CHECK_EQ(tansy_half_nearest(65519.0f), 0x7bff);
  CHECK_EQ(tansy_half_nearest(65520.0f), 0x7c00);
  CHECK_EQ(tansy_half_nearest(-1e30f), 0xfc00);
}

static void test_functions(void) {
  for (double x = -700; x < 700; x += 0.37) CHECK_NEAR(tansy_exp_f64(x) / exp(x), 1, 4e-16 * (1 + fabs(x)));
  for (double x = 1e-300; x < 1e300; x *= 3.7) CHECK_NEAR(tansy_log_f64(x), log(x), 4e-16 * (1 + fabs(log(x))));
  CHECK(tansy_log_f64(1) == 0 && tansy_exp_f64(0) == 1);
  CHECK_NEAR(tansy_pow_f64(10000, -0.75), pow(10000, -0.75), 1e-18);
  CHECK(tansy_round_f32(2.5f) == 2 && tansy_round_f32(-3.5f) == -4 && tansy_round_f32(0.49f) == 0);
  CHECK(tansy_round_f64(-0.5) == 0 && tansy_round_f64(1e15 + 0.25) == 1e15);
}

static void test_row_scales(void) {
  struct tansy_failure failure;
  struct tansy_rows rows;
  float wanted[6] = {1e-9f, 3e-3f, 0, 2.5e-4f, 0.017f, 1e-12f};
  REQUIRE(tansy_rows_init(&rows, 6, &failure) == TANSY_OK);
  tansy_rows_set_half(&rows, wanted);
  for (int i = 0; i < 5; i++) CHECK_NEAR(rows.value[i], wanted[i], wanted[i] * 0x1p-11);
  CHECK(rows.value[2] == 0 && rows.value[5] > 0); /* a row that lives keeps a scale */
  uint8_t codes[6] = {0, 1, 2, 15, 7, 3};
  tansy_rows_set_half_octaves(&rows, 0.5f, codes);
  for (int i = 0; i < 6; i++) CHECK_NEAR(rows.value[i], 0.5 * exp2(codes[i] / 2.0), 1e-6 * rows.value[i]);
  tansy_rows_free(&rows);
}

static void test_plain_integers(void) {
  struct tansy_failure failure;
  struct test_rng rng = {2};
  enum { ROWS = 5, COLS = 33 };
  float w[ROWS * COLS];
  int16_t z[ROWS * COLS];
  for (int i = 0; i < ROWS * COLS; i++) w[i] = i / COLS == 3 ? 0 : (float)(test_rand_normal(&rng) * 0.02);
  struct tansy_rows rows;
  REQUIRE(tansy_rows_init(&rows, ROWS, &failure) == TANSY_OK);
  CHECK_EQ(tansy_quantize_absmax(w, ROWS, COLS, 8, z, &rows, &failure), TANSY_OK);
  for (int i = 0; i < ROWS * COLS; i++) {
    CHECK(z[i] >= -127 && z[i] <= 127);
    CHECK_NEAR((double)z[i] * rows.value[i / COLS], w[i], rows.value[i / COLS] * 0.51);
    if (i / COLS == 3) CHECK_EQ(z[i], 0);
  }
  tansy_rows_free(&rows);
}

static void test_vectors(void) {
  struct tansy_failure failure;
  struct tansy_writer w = {0};
  float norm[4] = {0.9f, 1.1f, 0.37f, 2.0f}, wild[4] = {1e-9f, 1.0f, 1e6f, 3.0f}, stored[4], expanded[4];
  CHECK_EQ(tansy_writer_add_vector(&w, TANSY_ROLE_FINAL_NORM, 0, norm, 4, stored, &failure), TANSY_OK);
  CHECK_EQ(w.blobs[0].kind, TANSY_KIND_F16);
  CHECK_EQ(tansy_vector_expand(TANSY_KIND_F16, w.blobs[0].stored.bytes, 4, expanded), TANSY_OK);
  CHECK_MEM(stored, expanded, sizeof stored);
  for (int i = 0; i < 4; i++) CHECK_NEAR(stored[i], norm[i], norm[i] * 0x1p-11);
  CHECK_EQ(tansy_writer_add_vector(&w, TANSY_ROLE_FINAL_NORM, 0, wild, 4, stored, &failure), TANSY_OK);
  CHECK_EQ(w.blobs[1].kind, TANSY_KIND_F32);
  CHECK_MEM(stored, wild, sizeof wild);
  float scales[4] = {1.0f, 0.03f, 700.0f, 1e-9f};
  CHECK_EQ(tansy_writer_add_log8(&w, TANSY_ROLE_EMBED_SCALE, 0, scales, 4, stored, &failure), TANSY_OK);
  CHECK_EQ(tansy_vector_expand(TANSY_KIND_LOG8, w.blobs[2].stored.bytes, 4, expanded), TANSY_OK);
  CHECK_MEM(stored, expanded, sizeof stored);
  for (int i = 0; i < 3; i++) CHECK_NEAR(stored[i], scales[i], scales[i] * 0.0221);
  CHECK_NEAR(stored[3], 0.03, 0.001); /* too small for the span: raised to the smallest that fits */
  tansy_writer_free(&w);
}

/* random symmetric positive matrix with correlated columns */
static void make_moment(struct test_rng *rng, uint32_t n, uint32_t n_samples, float *x, float *h) {
  for (uint32_t t = 0; t < n_samples; t++) {
    double common = test_rand_normal(rng);
    for (uint32_t j = 0; j < n; j++) x[t * n + j] = (float)((common + 0.5 * test_rand_normal(rng)) * (1 + j % 5));
  }
  struct tansy_team *team = tansy_team_new(3);
  memset(h, 0, n * n * sizeof *h);
  tansy_gram_add(team, h, x, x, n_samples, n);
  tansy_team_free(team);
}

static void test_algebra(void) {
  enum { N = 75, SAMPLES = 300, ROWS = 9 };
  struct test_rng rng = {11};
  float *x = test_alloc(N * SAMPLES * 4), *h = test_alloc(N * N * 4), *l = test_alloc(N * N * 4), *c = test_alloc(N * N * 4);
  struct tansy_team *one = tansy_team_new(1), *three = tansy_team_new(3);
  make_moment(&rng, N, SAMPLES, x, h);
  for (uint32_t i = 0; i < N; i += 7) {
    for (uint32_t j = 0; j <= i; j += 5) {
      double sum = 0;
      for (uint32_t t = 0; t < SAMPLES; t++) sum += (double)x[t * N + i] * x[t * N + j];
      CHECK_NEAR(h[i * N + j], sum, 1e-5 * (fabs(sum) + SAMPLES));
    }
  }
  /* x^T y of different x and y is complete, and equals the lower triangle where they are the same */
  memset(c, 0, N * N * 4);
  float *copy = test_alloc(N * SAMPLES * 4);
  memcpy(copy, x, N * SAMPLES * 4);
  tansy_gram_add(three, c, x, copy, SAMPLES, N);
  for (uint32_t i = 0; i < N; i++)
    for (uint32_t j = 0; j < N; j++)
      if (c[i * N + j] != h[i > j ? i * N + j : j * N + i]) CHECK_NEAR(c[i * N + j], h[i > j ? i * N + j : j * N + i], 1e-3);
  /* blocks of columns by themselves */
  enum { BLOCK = 32 };
  float *blocks = test_alloc(3 * BLOCK * BLOCK * 4);
  memset(blocks, 0, 3 * BLOCK * BLOCK * 4);
  tansy_gram_blocks_add(three, blocks, x, SAMPLES, N, BLOCK);
  for (uint32_t first = 0; first < N; first += BLOCK) {
    uint32_t n = N - first < BLOCK ? N - first : BLOCK;
    for (uint32_t i = 0; i < n; i++)
      for (uint32_t j = 0; j <= i; j++) CHECK(blocks[first * BLOCK + i * n + j] == h[(first + i) * N + first + j]);
  }
  free(blocks);
  /* L L^T = H + damping, on any number of threads the same bits */
  memcpy(l, h, N * N * 4);
  memcpy(c, h, N * N * 4);
  tansy_cholesky(one, l, N, 3.0);
  tansy_cholesky(three, c, N, 3.0);
  CHECK_MEM(l, c, N * N * 4);
  for (uint32_t i = 0; i < N; i++) {
    for (uint32_t j = 0; j <= i; j++) {
      double sum = 0;
      for (uint32_t k = 0; k <= j; k++) sum += (double)l[i * N + k] * (k == j ? l[j * N + j] : l[j * N + k]);
      CHECK_NEAR(sum, h[i * N + j] + (i == j ? 3.0 : 0.0), 1e-4 * (1 + fabs(h[i * N + j])));
      CHECK(l[j * N + i] == l[i * N + j]); /* mirrored */
    }
  }
  /* y (L L^T) = b */
  float *b = test_alloc(ROWS * N * 4), *y = test_alloc(ROWS * N * 4);
  for (uint32_t i = 0; i < ROWS * N; i++) y[i] = b[i] = (float)test_rand_normal(&rng);
  tansy_cholesky_solve_rows(three, l, N, y, ROWS);
  for (uint32_t r = 0; r < ROWS; r++) {
    for (uint32_t j = 0; j < N; j++) {
      double sum = 3.0 * y[r * N + j];
      for (uint32_t k = 0; k < N; k++) sum += (double)y[r * N + k] * h[k > j ? k * N + j : j * N + k];
      CHECK_NEAR(sum, b[r * N + j], 2e-3);
    }
  }
  /* a moment of nothing still factors */
  memset(l, 0, N * N * 4);
  tansy_cholesky(one, l, N, 0);
  for (uint32_t i = 0; i < N; i++) CHECK(l[i * N + i] > 0);
  free(x), free(h), free(l), free(c), free(copy), free(b), free(y);
  tansy_team_free(one);
  tansy_team_free(three);
}

/* loss of a row by the nearest plane alone: column by column, the nearest integer to what errors so far leave wanted */
static double nearest_plane(const float *l, const float *w, float row, const float *col, int n) {
  double e[64], loss = 0;
  for (int j = n; j-- > 0;) {
    double step = (double)row * col[j], wanted = w[j], miss;
    for (int k = j + 1; k < n; k++) wanted += e[k] * l[k * n + j] / l[j * n + j];
    miss = (wanted - step * nearbyint(wanted / step)) * l[j * n + j];
    e[j] = w[j] - step * nearbyint(wanted / step);
    loss += miss * miss;
  }
  return loss;
}

/* error feedback: integers on the grid, loss as reported, and well below rounding's; outputs one by one, and blocks of them (the last is
 * shorter) whose gradients go together */
static void test_feedback(void) {
  enum { N = 40, ROWS = 70, SAMPLES = 400, BLOCK = 32 };
  struct test_rng rng = {23};
  float *x = test_alloc(N * SAMPLES * 4), *h = test_alloc(N * N * 4), *l = test_alloc(N * N * 4), *w = test_alloc(ROWS * N * 4), *v = test_alloc(ROWS * N * 4);
  float *g_moment = test_alloc(ROWS * ROWS * 4), *m = test_alloc(3 * BLOCK * BLOCK * 4), *felt = test_alloc(ROWS * SAMPLES * 4);
  double *e = (double *)test_alloc(ROWS * N * 8);
  float col[N], row[ROWS], weight[ROWS];
  int16_t *z = test_alloc(ROWS * N * 2), *again = test_alloc(ROWS * N * 2);
  make_moment(&rng, N, SAMPLES, x, h);
  make_moment(&rng, ROWS, SAMPLES, felt, g_moment);
  for (int i = 0; i < N * N; i++) h[i] /= SAMPLES;
  for (int i = 0; i < ROWS; i++) g_moment[i * ROWS + i] += SAMPLES;
  memcpy(l, h, N * N * 4);
  struct tansy_team *team = tansy_team_new(3), *one = tansy_team_new(1);
  tansy_cholesky(team, l, N, 0.05);
  for (int with_blocks = 0; with_blocks < 2; with_blocks++) {
    for (int i = 0; i < ROWS; i++) weight[i] = 1 + (float)(i % 3);
    for (int first = 0; first < ROWS; first += BLOCK) {
      int n = ROWS - first < BLOCK ? ROWS - first : BLOCK;
      float *block = m + first * BLOCK;
      for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) block[i * n + j] = g_moment[(first + (i > j ? i : j)) * ROWS + first + (i > j ? j : i)] / SAMPLES;
      tansy_cholesky(team, block, (uint32_t)n, 0);
      for (int i = 0; with_blocks && i < n; i++) weight[first + i] = block[i * n + i] * block[i * n + i];
    }
    for (int j = 0; j < N; j++) col[j] = 1 / l[j * N + j];
    for (int i = 0; i < ROWS; i++) row[i] = i % 2 ? 0.5f : 0.25f;
    for (int i = 0; i < ROWS * N; i++) v[i] = w[i] = (float)test_rand_normal(&rng);
    struct tansy_gptq g = {l, col, row, weight, with_blocks ? m : NULL, BLOCK, ROWS, N};
    double loss = tansy_gptq_round(team, &g, v, z), measured[2] = {0};
    for (int i = 0; i < ROWS * N; i++) CHECK_NEAR(v[i], z[i] * (row[i / N] * col[i % N]), 1e-6 * fabs(v[i]));
    for (int kind = 0; kind < 2; kind++) { /* of what feedback gives; of plain rounding */
      for (int i = 0; i < ROWS * N; i++) {
        double step = row[i / N] * col[i % N];
        e[i] = w[i] - (kind ? step * nearbyint(w[i] / step) : v[i]);
      }
      for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < ROWS; k++) {
          double together = i == k ? weight[i] : 0;
          if (with_blocks) together = i / BLOCK == k / BLOCK ? g_moment[(i > k ? i : k) * ROWS + (i > k ? k : i)] / SAMPLES : 0;
          for (int a = 0; together != 0 && a < N; a++)
            for (int b = 0; b < N; b++) measured[kind] += together * e[i * N + a] * e[k * N + b] * (h[a > b ? a * N + b : b * N + a] + (a == b ? 0.05 : 0));
        }
      }
    }
    CHECK_NEAR(loss, measured[0], 1e-2 * measured[0]);
    CHECK(loss < 0.5 * measured[1]);
    double plane = 0;
    for (int i = 0; i < ROWS; i++) plane += weight[i] * nearest_plane(l, w + i * N, row[i], col, N);
    if (!with_blocks) CHECK(loss < 0.97 * plane); /* a beam finds better ones */
    memcpy(v, w, ROWS * N * 4);
    CHECK(tansy_gptq_round(one, &g, v, again) == loss);
    CHECK_MEM(z, again, ROWS * N * 2);
  }
  free(x), free(h), free(l), free(w), free(v), free(z), free(again), free(g_moment), free(m), free(felt), free(e);
  tansy_team_free(team);
  tansy_team_free(one);
}

static void test_rates(void) {
  enum { ROWS = 64, COLS = 200 };
  struct tansy_failure failure;
  struct test_rng rng = {31};
  struct tansy_source source = {.n_rows = ROWS, .n_cols = COLS, .matrix = true};
  float *weight = test_alloc(ROWS * 4), *w = test_alloc(ROWS * COLS * 4), ones[COLS];
  for (int i = 0; i < ROWS; i++) weight[i] = i < ROWS / 2 ? 4.0f : 0.01f;
  for (int i = 0; i < ROWS * COLS; i++) w[i] = (float)test_rand_normal(&rng);
  for (int j = 0; j < COLS; j++) ones[j] = 1;
  struct tansy_unit u;
  CHECK_EQ(tansy_unit_init(&u, &source, weight, 1, &failure), TANSY_OK);
  REQUIRE(u.code != NULL); /* rows this uneven pay for their codes */
  CHECK_NEAR(tansy_unit_row(&u, ROWS - 1) / tansy_unit_row(&u, 0), sqrt((2 + 0.02) / (0.005 + 0.02)), 2.0);
  CHECK_EQ(tansy_unit_measure(&u, w, NULL, ROWS, ones, &failure), TANSY_OK);
  for (double c = u.centre - 4; c < u.centre + 2; c += 0.1) CHECK(tansy_unit_nbytes_at(&u, c) >= tansy_unit_nbytes_at(&u, c + 0.1));
  /* Gaussian of width s in steps of d: ln(s / d) / ln 2 + 2.05 bits when d is small; rows differ by u's multipliers */
  double fine = u.centre - 3, bits = 0;
  for (int i = 0; i < ROWS; i++) bits += (log(sqrt(u.kappa) / tansy_unit_row(&u, (uint32_t)i)) - fine) / log(2) + 2.047;
  /* one table for both kinds of rows costs up to a bit more than a table each */
  CHECK_NEAR((tansy_unit_nbytes_at(&u, fine) - ROWS / 2 - 48) * 8 / (ROWS * COLS), bits / ROWS + 0.5, 0.55);
  double wanted = 3.0 * ROWS * COLS / 8;
  CHECK_NEAR(tansy_unit_nbytes_at(&u, tansy_rate_solve(&u, 1, wanted)), wanted, 1);
  tansy_unit_free(&u);
  /* even rows: no codes */
  weight = test_alloc(ROWS * 4);
  for (int i = 0; i < ROWS; i++) weight[i] = 1;
  CHECK_EQ(tansy_unit_init(&u, &source, weight, 1, &failure), TANSY_OK);
  CHECK(u.code == NULL);
  tansy_unit_free(&u);
  free(w);
}

int main(void) {
  RUN(test_halves);
  RUN(test_functions);
  RUN(test_row_scales);
  RUN(test_plain_integers);
  RUN(test_vectors);
  RUN(test_algebra);
  RUN(test_feedback);
  RUN(test_rates);
  return test_finish();
}
