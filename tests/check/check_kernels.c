/* check_kernels.c: every table against the portable one, bit for bit, and the portable one against double precision.
 *
 * Widths around 16 and 128, short last groups, 1..32 tokens, weights and activations at their limits, zeros, denormals, huge
 * values, NaN. ANS is compared in check_codec.c. */
#include "base/f32x4.h"
#include "base/half.h"
#include "kernels/kernels_internal.h"
#include "kernels/packed.h"
#if defined(TANSY_HAVE_SIMD128)
#include "kernels/packed_simd.h"
#endif
#include "test.h"

static const struct tansy_kernels *const tables[] = {
#if defined(TANSY_HAVE_SIMD128)
  &tansy_kernels_simd128,
#endif
#if defined(TANSY_HAVE_RELAXED)
  &tansy_kernels_relaxed,
  &tansy_kernels_relaxed32,
#endif
};
enum { N_TABLES = sizeof tables / sizeof *tables };

static struct test_rng rng = {7};
static uint32_t below(uint32_t n) { return test_rand_below(&rng, n); }

/* kinds of float vectors */
enum { NORMAL, ZERO, DENORMAL, HUGE_VALUES, ONE_SPIKE, MIXED_SCALES, NOT_NUMBERS, N_KINDS };
static void fill(float *x, size_t n, int kind) {
  for (size_t i = 0; i < n; i++) {
    double v = test_rand_normal(&rng);
    switch (kind) {
      case ZERO: v = 0; break;
      case DENORMAL: v *= 1e-41; break;
      case HUGE_VALUES: v *= 1e37; break;
      case ONE_SPIKE: v = i == n / 2 ? 1000 : v * 0.01; break;
      case MIXED_SCALES: v = ldexp(v, (int)(i / 128 % 9) - 4); break;
      case NOT_NUMBERS: v = below(50) ? v : below(2) ? (double)NAN : (double)INFINITY; break;
      default: break;
    }
    x[i] = (float)v;
  }
}

static struct tansy_act act_alloc(uint32_t n_tokens, uint32_t n_cols) {
  struct tansy_act a = {0};
  a.n_tokens = n_tokens;
  a.n_cols_padded = tansy_pad_cols(n_cols);
  a.n_blocks = (a.n_cols_padded + 127) / 128;
  a.q = test_alloc((size_t)n_tokens * a.n_cols_padded);
  a.shift = test_alloc((size_t)n_tokens * a.n_blocks);
  a.d = test_alloc(n_tokens * sizeof(float));
  a.sum = test_alloc(n_tokens * sizeof(int32_t));
  memset(a.q, 0x55, (size_t)n_tokens * a.n_cols_padded);
  return a;
}
static void act_free(struct tansy_act *a) {
  free(a->q);
  free(a->shift);
  free(a->d);
  free(a->sum);
}

static const uint32_t widths[] = {1, 3, 16, 17, 64, 100, 127, 128, 129, 144, 255, 256, 300, 576, 1000, 2048};
enum { N_WIDTHS = sizeof widths / sizeof *widths };

static void test_quantize_act(void) {
  for (uint32_t i = 0; i < N_WIDTHS; i++)
    for (int kind = 0; kind < N_KINDS; kind++) {
      const uint32_t n_cols = widths[i], n_tokens = 1 + below(4);
      float *x = test_alloc((size_t)n_tokens * n_cols * sizeof *x);
      fill(x, (size_t)n_tokens * n_cols, kind);
      struct tansy_act a = act_alloc(n_tokens, n_cols);
      tansy_kernels_ref.quantize_act(x, n_tokens, n_cols, &a);
      for (uint32_t t = 0; t < n_tokens; t++) {
        const int8_t *q = a.q + (size_t)t * a.n_cols_padded;
        uint32_t sum = 0;
        for (uint32_t j = 0; j < a.n_cols_padded; j++) {
          uint32_t shift = a.shift[t * a.n_blocks + j / 128];
          CHECK(q[j] >= -127 && shift <= tansy_act_max_shift(a.n_cols_padded));
          if (j >= n_cols) CHECK(q[j] == 0);
          sum += (uint32_t)q[j] << shift;
          if (j < n_cols && kind != NOT_NUMBERS) {
            /* within half a step of its block; below TANSY_TINY the step is the value */
            double step = ldexp((double)a.d[t], (int)shift), v = x[(size_t)t * n_cols + j];
            CHECK(fabs(v - step * q[j]) <= 0.5001 * step + 1e-30);
          }
        }
        CHECK_EQ((int32_t)sum, a.sum[t]);
      }
      for (uint32_t k = 0; k < N_TABLES; k++) {
        struct tansy_act b = act_alloc(n_tokens, n_cols);
        tables[k]->quantize_act(x, n_tokens, n_cols, &b);
        CHECK_MEM(a.q, b.q, (size_t)n_tokens * a.n_cols_padded);
        CHECK_MEM(a.shift, b.shift, (size_t)n_tokens * a.n_blocks);
        CHECK_MEM(a.d, b.d, n_tokens * sizeof(float));
        CHECK_MEM(a.sum, b.sum, n_tokens * sizeof(int32_t));
        act_free(&b);
      }
      act_free(&a);
      free(x);
    }
}

#if defined(TANSY_HAVE_SIMD128)
static void unpack4(const uint8_t *block, uint32_t r, v128_t u[4]) {
  switch (r) {
    case 0: tansy_unpack4(block, 0, u); break;
    case 1: tansy_unpack4(block, 1, u); break;
    case 2: tansy_unpack4(block, 2, u); break;
    default: tansy_unpack4(block, 3, u); break;
  }
}
#endif

static void test_packed_block(void) {
  for (uint32_t r = 0; r <= TANSY_MAX_RAW_BITS; r++)
    for (int round = 0; round < 200; round++) {
      uint8_t u[64], block[64], back[64];
      for (int i = 0; i < 64; i++) u[i] = (uint8_t)(test_rand(&rng) & ((16u << r) - 1));
      memset(block, 0xee, sizeof block);
      tansy_pack_block(u, r, block);
      for (uint32_t i = tansy_packed_block_nbytes(r); i < 64; i++) CHECK(block[i] == 0xee);
      tansy_unpack_block(block, r, back);
      CHECK_MEM(u, back, 64);
#if defined(TANSY_HAVE_SIMD128)
      if (r == TANSY_MAX_RAW_BITS) continue;
      v128_t v[4];
      uint8_t other[64];
      memset(other, 0xee, sizeof other);
      for (int k = 0; k < 4; k++) v[k] = wasm_v128_load(u + 16 * k);
      tansy_pack4(v, r, other);
      CHECK_MEM(block, other, 64);
      unpack4(block, r, v);
      for (int k = 0; k < 4; k++) wasm_v128_store(back + 16 * k, v[k]);
      CHECK_MEM(u, back, 64);
#endif
    }
}

/* activations straight as integers, limits included */
static void act_random(struct tansy_act *a, uint32_t n_cols, int extreme) {
  for (uint32_t t = 0; t < a->n_tokens; t++) {
    uint32_t sum = 0, shift = 0;
    for (uint32_t j = 0; j < a->n_cols_padded; j++) {
      if (j % 128 == 0) {
        if (j == 0 || below(2)) shift = below(tansy_act_max_shift(a->n_cols_padded) + 1);
        a->shift[t * a->n_blocks + j / 128] = (uint8_t)shift;
      }
      int v = extreme == 1 ? 127 : extreme == 2 ? -127 : (int)below(255) - 127;
      if (j >= n_cols) v = 0;
      a->q[(size_t)t * a->n_cols_padded + j] = (int8_t)v;
      sum += (uint32_t)v << shift;
    }
    a->d[t] = 1.0f;
    a->sum[t] = (int32_t)sum;
  }
}

static void check_matmul(uint32_t n_rows, uint32_t n_cols, uint32_t r, uint32_t n_tokens, uint32_t tile_n_rows, int extreme) {
  struct tansy_matrix w = {.form = TANSY_FORM_INT8};
  w.coded.shape = (struct tansy_coded_shape){.n_rows = n_rows, .n_cols = n_cols, .raw_bits = r, .n_tables = 1, .tile_n_rows = tile_n_rows};
  w.coded.n_cols_padded = tansy_pad_cols(n_cols);
  w.coded.n_tiles = (n_rows + tile_n_rows - 1) / tile_n_rows;
  const size_t int8_nbytes = tansy_int8_nbytes(&w.coded.shape), packed_nbytes = tansy_packed_nbytes(&w.coded.shape);
  uint8_t *int8 = test_alloc(int8_nbytes), *packed = test_alloc(packed_nbytes);
  const uint32_t top = (16u << r) - 1;
  for (size_t i = 0; i < int8_nbytes; i++) {
    int8[i] = (uint8_t)(extreme ? (extreme == 1 ? top : 0) : test_rand(&rng) & top);
    if (r == TANSY_MAX_RAW_BITS && extreme) int8[i] = extreme == 1 ? 0x80 : 0x7f;
  }
  for (size_t b = 0; b < int8_nbytes / 64; b++) tansy_pack_block(int8 + 64 * b, r, packed + b * tansy_packed_block_nbytes(r));

  struct tansy_act act = act_alloc(n_tokens, n_cols);
  act_random(&act, n_cols, extreme);
  const size_t stride = n_rows + 3, acc_nbytes = n_tokens * stride * sizeof(int32_t);
  int32_t *expected = test_alloc(acc_nbytes), *acc = test_alloc(acc_nbytes);
  memset(expected, 0x77, acc_nbytes);
  const uint32_t n_steps = w.coded.n_cols_padded / 16;
  for (uint32_t t = 0; t < n_tokens; t++)
    for (uint32_t i = 0; i < n_rows; i++) {
      int64_t sum = 0; /* not modulo anything: the exact answer */
      for (uint32_t j = 0; j < n_cols; j++) {
        uint8_t u = int8[((size_t)(i / 4) * n_steps + j / 16) * 64 + i % 4 * 16 + j % 16];
        int32_t weight = r < TANSY_MAX_RAW_BITS ? (int32_t)u - (8 << r) : (int8_t)u;
        sum += (int64_t)weight * act.q[(size_t)t * act.n_cols_padded + j] * (1 << act.shift[t * act.n_blocks + j / 128]);
      }
      expected[t * stride + i] = (int32_t)sum;
      CHECK(sum == (int32_t)sum); /* the exponent limit keeps every sum of coded values in range */
    }
  void *scratch = test_alloc(tansy_matmul_scratch_nbytes(w.coded.n_cols_padded));
  for (uint32_t k = 0; k <= N_TABLES; k++) {
    const struct tansy_kernels *kernels = k ? tables[k - 1] : &tansy_kernels_ref;
    for (int form = TANSY_FORM_PACKED; form <= TANSY_FORM_INT8; form++) {
      w.form = (enum tansy_form)form;
      w.resident = form == TANSY_FORM_PACKED ? packed : int8;
      memset(acc, 0x77, acc_nbytes); /* rows beyond n_rows must stay */
      for (uint32_t tile = 0; tile < w.coded.n_tiles;) {
        uint32_t n = 1 + below(w.coded.n_tiles - tile);
        kernels->matmul(&w, &act, tile, tile + n, acc, stride, scratch);
        tile += n;
      }
      if (!CHECK_MEM(expected, acc, acc_nbytes))
        fprintf(stderr, "    %s form %d: %u x %u, r %u, %u tokens\n", kernels->name, form, n_rows, n_cols, r, n_tokens);
      int32_t *rows = test_alloc((size_t)n_rows * n_cols * sizeof *rows);
      CHECK(tansy_matrix_read_rows(&w, 0, n_rows, rows) == TANSY_OK);
      for (int probe = 0; probe < 20; probe++) {
        uint32_t i = below(n_rows), j = below(n_cols);
        uint8_t u = int8[((size_t)(i / 4) * n_steps + j / 16) * 64 + i % 4 * 16 + j % 16];
        CHECK_EQ(rows[(size_t)i * n_cols + j], r < TANSY_MAX_RAW_BITS ? (int32_t)u - (8 << r) : (int8_t)u);
      }
      free(rows);
    }
  }
  free(scratch);
  free(acc);
  free(expected);
  act_free(&act);
  free(int8);
  free(packed);
}

static void test_matmul(void) {
  for (uint32_t r = 0; r <= TANSY_MAX_RAW_BITS; r++) {
    for (uint32_t i = 0; i < N_WIDTHS; i++) check_matmul(1 + below(21), widths[i], r, 1 + below(5), 4 * (1 + below(3)), 0);
    for (uint32_t n_tokens = 1; n_tokens <= TANSY_MAX_BATCH; n_tokens += n_tokens < 33 ? 1 : 223) check_matmul(1 + below(9), 16 * (1 + below(30)), r, n_tokens, 4, 0);
    for (int extreme = 1; extreme <= 2; extreme++)
      for (uint32_t n_tokens = 1; n_tokens <= 3; n_tokens++) check_matmul(5, 1024, r, n_tokens, 8, extreme);
  }
  /* 2^16 columns at the limits: the smallest exponent range */
  check_matmul(4, TANSY_MAX_COLS, 3, 2, 4, 1);
  check_matmul(4, TANSY_MAX_COLS, 4, 2, 4, 2);
}

static void test_scale_rows(void) {
  enum { ROWS = 203, TOKENS = 3, STRIDE = 210 };
  uint8_t nibbles[(ROWS + 1) / 2], halves[2 * ROWS];
  float bias[ROWS], d[TOKENS] = {0.25f, 1e-3f, 3};
  int32_t acc[TOKENS * STRIDE];
  float y[TOKENS * STRIDE];
  for (int i = 0; i < ROWS; i++) bias[i] = (float)test_rand_normal(&rng);
  for (size_t i = 0; i < sizeof nibbles; i++) nibbles[i] = (uint8_t)test_rand(&rng);
  for (size_t i = 0; i < sizeof halves; i += 2) halves[i] = (uint8_t)test_rand(&rng), halves[i + 1] = (uint8_t)below(0x7b); /* finite */
  for (int i = 0; i < TOKENS * STRIDE; i++) acc[i] = (int32_t)test_rand(&rng);
  for (uint32_t kind = 0; kind <= 2; kind++) {
    struct tansy_row_scale scale = {kind, 0.37f, kind == 1 ? nibbles : halves};
    for (int with_bias = 0; with_bias <= 1; with_bias++)
      for (uint32_t in_place = 0; in_place <= 1; in_place++) {
        memset(y, 0, sizeof y);
        if (in_place) memcpy(y, acc, sizeof y);
        const int32_t *from = in_place ? (const int32_t *)(const void *)y : acc;
        tansy_kernels_ref.scale_rows(from, STRIDE, d, TOKENS, &scale, with_bias ? bias : NULL, 5, ROWS, y, STRIDE);
        for (uint32_t t = 0; t < TOKENS; t++)
          for (uint32_t i = 5; i < ROWS; i++) {
            double s = kind == 0 ? 0.37f : kind == 1 ? 0.37f * pow(2, (nibbles[i / 2] >> (i & 1 ? 4 : 0) & 15) / 2.0)
                                                     : 0.37f * (double)tansy_half_to_float((uint16_t)(halves[2 * i] | halves[2 * i + 1] << 8));
            CHECK_NEAR(tansy_row_scale_at(&scale, i), s, 3e-7 * s);
            float exact = ((float)acc[t * STRIDE + i] * d[t]) * tansy_row_scale_at(&scale, i);
            if (with_bias) exact = exact + bias[i];
            CHECK_MEM(&exact, &y[t * STRIDE + i], 4);
          }
      }
  }
}

static void test_norms_and_rope(void) {
  for (uint32_t i = 0; i < N_WIDTHS; i++) {
    const uint32_t n = widths[i];
    float *x = test_alloc(n * sizeof *x), *w = test_alloc(n * sizeof *w), *b = test_alloc(n * sizeof *b), *y = test_alloc(n * sizeof *y);
    fill(x, n, NORMAL);
    fill(w, n, NORMAL);
    fill(b, n, NORMAL);
    double square = 0, mean = 0, variance = 0;
    for (uint32_t j = 0; j < n; j++) square += (double)x[j] * x[j] / n, mean += (double)x[j] / n;
    for (uint32_t j = 0; j < n; j++) variance += (x[j] - mean) * (x[j] - mean) / n;
    tansy_kernels_ref.rms_norm(x, w, n, 1e-5f, y);
    for (uint32_t j = 0; j < n; j++) CHECK_NEAR(y[j], x[j] / sqrt(square + 1e-5) * w[j], 1e-5);
    tansy_kernels_ref.layer_norm(x, w, b, n, 1e-2f, y);
    for (uint32_t j = 0; j < n; j++) CHECK_NEAR(y[j], (x[j] - mean) / sqrt(variance + 1e-2) * w[j] + b[j], 2e-5);
    free(x), free(w), free(b), free(y);
  }
  float x[2 * 20], before[2 * 20], c[7], s[7]; /* two heads of 20, 14 of them rotated */
  fill(x, 40, NORMAL);
  memcpy(before, x, sizeof x);
  for (int i = 0; i < 7; i++) c[i] = (float)cos(i + 1), s[i] = (float)sin(i + 1);
  tansy_kernels_ref.rope(x, 2, 20, 14, c, s);
  for (int h = 0; h < 2; h++)
    for (int i = 0; i < 20; i++) {
      const float *from = before + 20 * h;
      double v = i < 7 ? from[i] * cos(i + 1) - from[i + 7] * sin(i + 1) : i < 14 ? from[i] * cos(i - 6) + from[i - 7] * sin(i - 6) : from[i];
      CHECK_NEAR(x[20 * h + i], v, 1e-6);
    }
}

static double exact_activation(double x, uint32_t kind) {
  switch (kind) {
    case 0: return x / (1 + exp(-x));
    case 1: return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
    case 2: return 0.5 * x * (1 + erf(x / sqrt(2)));
    default: return x > 0 ? x : 0;
  }
}
static void test_activate(void) {
  float gate[203], up[203], y[203];
  for (uint32_t kind = 0; kind <= 3; kind++)
    for (uint32_t n = 197; n <= 203; n++) {
      for (uint32_t i = 0; i < n; i++) gate[i] = (float)(test_rand_normal(&rng) * 6);
      gate[0] = -200, gate[1] = 200, gate[2] = 0;
      fill(up, n, NORMAL);
      memcpy(y, gate, sizeof y);
      tansy_kernels_ref.activate(y, up, n, kind);
      for (uint32_t i = 0; i < n; i++) CHECK_NEAR(y[i], exact_activation(gate[i], kind) * up[i], 1e-6 * (1 + fabs(gate[i] * up[i])));
      memcpy(y, gate, sizeof y);
      tansy_kernels_ref.activate(y, NULL, n, kind);
      for (uint32_t i = 0; i < n; i++) CHECK_NEAR(y[i], exact_activation(gate[i], kind), 1e-6 * (1 + fabs(gate[i])));
    }
}

static void test_matmul_f32(void) {
  for (uint32_t n_cols = 1; n_cols <= 41; n_cols += 5)
    for (uint32_t n_tokens = 1; n_tokens <= 5; n_tokens++)
      for (uint32_t n_rows = 1; n_rows <= 9; n_rows++) {
        float w[9 * 41], x[5 * 41], y[5 * 9];
        fill(w, n_rows * n_cols, NORMAL);
        fill(x, n_tokens * n_cols, NORMAL);
        memset(y, 0, sizeof y);
        const uint32_t begin = below(n_rows), end = begin + 1 + below(n_rows - begin);
        tansy_kernels_ref.matmul_f32(w, x, n_tokens, n_rows, n_cols, begin, end, y);
        for (uint32_t t = 0; t < n_tokens; t++)
          for (uint32_t i = 0; i < n_rows; i++) {
            float lanes[8] = {0}; /* the order matmul_f32.c states */
            if (i >= begin && i < end)
              for (uint32_t j = 0; j < n_cols; j++) lanes[j % 8] += w[i * n_cols + j] * x[t * n_cols + j];
            for (int l = 0; l < 4; l++) lanes[l] += lanes[l + 4];
            float exact = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
            CHECK_MEM(&exact, &y[t * n_rows + i], 4);
          }
      }
}

static void exact_attention(const float *q, const double *k, const double *v, uint32_t n_pos, uint32_t dim, double scale, double cap, double *out) {
  double *p = test_alloc(n_pos * sizeof *p), m = -1e300, sum = 0;
  for (uint32_t t = 0; t < n_pos; t++) {
    p[t] = 0;
    for (uint32_t j = 0; j < dim; j++) p[t] += q[j] * k[t * dim + j];
    p[t] *= scale;
    if (cap > 0) p[t] = cap * tanh(p[t] / cap);
    if (p[t] > m) m = p[t];
  }
  for (uint32_t t = 0; t < n_pos; t++) sum += p[t] = exp(p[t] - m);
  for (uint32_t j = 0; j < dim; j++) {
    out[j] = 0;
    for (uint32_t t = 0; t < n_pos; t++) out[j] += p[t] / sum * v[t * dim + j];
  }
  free(p);
}

static void check_attend(uint32_t n_q, uint32_t dim, uint32_t n_pos, float sharp, float cap, int kind) {
  const size_t stride = dim + 3;
  float *q = test_alloc(n_q * dim * sizeof *q), *k = test_alloc(n_pos * stride * sizeof *k), *v = test_alloc(n_pos * stride * sizeof *v);
  int8_t *k8 = test_alloc(n_pos * stride), *v8 = test_alloc(n_pos * stride);
  float *ks = test_alloc(2 * n_pos * sizeof *ks), *vs = test_alloc(2 * n_pos * sizeof *vs), *a = test_alloc(n_q * dim * sizeof *a), *b = test_alloc(n_q * dim * sizeof *b);
  double *kd = test_alloc(n_pos * dim * sizeof *kd), *vd = test_alloc(n_pos * dim * sizeof *vd), *exact = test_alloc(dim * sizeof *exact);
  fill(q, n_q * dim, kind);
  fill(k, n_pos * stride, NORMAL);
  fill(v, n_pos * stride, NORMAL);
  double largest = 0;
  for (uint32_t t = 0; t < n_pos; t++) {
    ks[2 * t] = tansy_kernels_ref.quantize_kv(k + t * stride, dim, k8 + t * stride);
    vs[2 * t] = tansy_kernels_ref.quantize_kv(v + t * stride, dim, v8 + t * stride);
    for (uint32_t j = 0; j < dim; j++) {
      CHECK_NEAR(k8[t * stride + j] * ks[2 * t], k[t * stride + j], 0.501 * ks[2 * t]);
      kd[t * dim + j] = (double)k8[t * stride + j] * ks[2 * t], vd[t * dim + j] = (double)v8[t * stride + j] * vs[2 * t];
      if (fabs(vd[t * dim + j]) > largest) largest = fabs(vd[t * dim + j]);
    }
  }
  const float scale = sharp / sqrtf((float)dim);
  tansy_kernels_ref.attend_i8(q, n_q, k8, ks, v8, vs, stride, 2, n_pos, dim, scale, cap, a);
  if (kind == NORMAL || kind == ZERO)
    for (uint32_t h = 0; h < n_q; h++) {
      exact_attention(q + h * dim, kd, vd, n_pos, dim, scale, cap, exact);
      /* of the largest value; sharp scores magnify the 16-bit rounding of q */
      for (uint32_t j = 0; j < dim; j++) CHECK_NEAR(a[h * dim + j], exact[j], 1e-4 * largest * (sharp > 1 ? sharp : 1));
    }
  for (uint32_t i = 0; i < N_TABLES; i++) {
    memset(b, 0, n_q * dim * sizeof *b);
    tables[i]->attend_i8(q, n_q, k8, ks, v8, vs, stride, 2, n_pos, dim, scale, cap, b);
    if (kind != NOT_NUMBERS) CHECK_MEM(a, b, n_q * dim * sizeof *a);
  }
  if (kind == NORMAL) {
    tansy_kernels_ref.attend_f32(q, n_q, k, v, stride, n_pos, dim, scale, cap, b);
    for (uint32_t t = 0; t < n_pos; t++)
      for (uint32_t j = 0; j < dim; j++) kd[t * dim + j] = k[t * stride + j], vd[t * dim + j] = v[t * stride + j];
    for (uint32_t h = 0; h < n_q; h++) {
      exact_attention(q + h * dim, kd, vd, n_pos, dim, scale, cap, exact);
      for (uint32_t j = 0; j < dim; j++) CHECK_NEAR(b[h * dim + j], exact[j], 1e-5 * largest * (sharp > 1 ? sharp : 1));
    }
  }
  /* halves: what f32 gives of the same values, to the bit */
  uint16_t *kh = test_alloc(n_pos * stride * sizeof *kh), *vh = test_alloc(n_pos * stride * sizeof *vh);
  for (size_t i = 0; i < n_pos * stride; i++) {
    if (i % 7 == 3) k[i] *= 0x1p-16f; /* subnormal ones too */
    kh[i] = tansy_half_nearest(k[i]), vh[i] = tansy_half_nearest(v[i]);
    k[i] = tansy_half_to_float(kh[i]), v[i] = tansy_half_to_float(vh[i]);
  }
  tansy_kernels_ref.attend_f32(q, n_q, k, v, stride, n_pos, dim, scale, cap, a);
  for (uint32_t i = 0; i < N_TABLES && kind != NOT_NUMBERS; i++) {
    tables[i]->attend_f16(q, n_q, kh, vh, stride, n_pos, dim, scale, cap, b);
    CHECK_MEM(a, b, n_q * dim * sizeof *a);
  }
  free(kh), free(vh);
  free(q), free(k), free(v), free(k8), free(v8), free(ks), free(vs), free(a), free(b), free(kd), free(vd), free(exact);
}

static void test_attend(void) {
  static const uint32_t dims[] = {2, 8, 12, 16, 24, 64, 80, 128, 256, 512};
  for (uint32_t i = 0; i < sizeof dims / sizeof *dims; i++)
    for (uint32_t n_pos = 1; n_pos < 300; n_pos += 1 + n_pos * 2 / 3) check_attend(1 + below(9), dims[i], n_pos, 1.0f, below(2) ? 0.0f : 5.0f, NORMAL);
  for (uint32_t n_pos = 60; n_pos < 70; n_pos++) check_attend(3, 64, n_pos, 1.0f, 0.0f, NORMAL);
  check_attend(2, 64, 1500, 0.1f, 0.0f, NORMAL); /* flat */
  check_attend(2, 64, 1500, 8.0f, 0.0f, NORMAL); /* sharp */
  check_attend(2, 64, 100, 1.0f, 0.0f, ZERO);
  for (int kind = DENORMAL; kind < N_KINDS; kind++) check_attend(5, 48, 130, 1.0f, 0.0f, kind);
}

/* A fingerprint of the float steps on fixed input: native, wasm and every compiler must agree on it. */
static void test_same_bits_everywhere(void) {
  struct test_rng fixed = {11};
  enum { N = 250 };
  float x[N], w[N], y[N], m[8];
  uint64_t hash = 0xcbf29ce484222325ull;
  for (int round = 0; round < 50; round++) {
    for (int i = 0; i < N; i++) x[i] = (float)(test_rand_normal(&fixed) * 3), w[i] = (float)test_rand_normal(&fixed);
    for (int step = 0; step < 8; step++) {
      memcpy(y, x, sizeof y);
      if (step == 0) tansy_kernels_ref.rms_norm(x, w, N, 1e-5f, y);
      if (step == 1) tansy_kernels_ref.layer_norm(x, w, x, N, 1e-5f, y);
      if (step >= 2 && step <= 4) tansy_kernels_ref.activate(y, w, N, (uint32_t)step - 2);
      if (step == 5) tansy_kernels_ref.rope(y, 5, 50, 50, w, w + 25);
      if (step == 6) tansy_kernels_ref.matmul_f32(x, w, 2, 2, 125, 0, 2, m), memcpy(y, m, 16);
      if (step == 7) tansy_kernels_ref.attend_f32(x, 2, w, w + 25, 50, 5, 25, 0.2f, 3.0f, y);
      for (int i = 0; i < N; i++) {
        uint32_t bits;
        memcpy(&bits, &y[i], 4);
        hash = (hash ^ bits) * 0x100000001b3ull;
      }
    }
  }
  printf("fingerprint %016" PRIx64 "\n", hash);
  CHECK(hash == 0x325ed716e345d38aull);
}

int main(void) {
  RUN(test_quantize_act);
  RUN(test_packed_block);
  RUN(test_matmul);
  RUN(test_scale_rows);
  RUN(test_norms_and_rope);
  RUN(test_activate);
  RUN(test_matmul_f32);
  RUN(test_attend);
  RUN(test_same_bits_everywhere);
  return test_finish();
}
