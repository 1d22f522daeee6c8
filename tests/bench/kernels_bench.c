/* kernels_bench.c: speed of products with coded, packed and int8 weights, as JSON lines. Runs as a WASI command or natively.
 *
 *   kernels_bench [--sigma S]... [--form F]... [--batch B]... [--kernels NAME]... [--rows N] [--cols N] [--rounds N] [--ms T] [--quantile Q]
 *
 * All cases of a sigma are timed in turns, in many short rounds, and each reports its fastest tenth (--quantile 0.1): on a shared
 * machine, what it does when nothing disturbs it. Medians (--quantile 0.5) are no fairer there: what else runs on a core's other thread
 * halves the speed of what keeps its ports busy, and hardly that of what waits for memory. References: form int8 of the same run, and
 * `limit`, dot products between registers. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "kernels/simd.h"
#include "test.h"

/* CPU time of this process: other work on a shared machine does not count */
#if defined(__wasi__)
#include <wasi/api.h>
static double now_ms(void) {
  __wasi_timestamp_t t = 0;
  if (__wasi_clock_time_get(__WASI_CLOCKID_PROCESS_CPUTIME_ID, 1, &t)) exit(3);
  return (double)t * 1e-6;
}
#else
static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}
#endif

enum { MAX_CASES = 128, MAX_ROUNDS = 101 };
enum form_kind { ANS, PACKED, INT8, LIMIT, EXPAND, N_FORMS };
static const char *const form_names[N_FORMS] = {"ans", "packed", "int8", "limit", "expand"}; /* expand: decoding alone, into int8 */

struct workload {
  uint32_t n_rows, n_cols;
  struct tansy_buffer stream;
  struct tansy_coded_shape shape;
  struct tansy_encode_stats stats;
  struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_matrix forms[3];
  uint8_t *resident[3];
  struct tansy_act act;
  int32_t *acc;
  void *scratch;
};

struct bench_case {
  const struct tansy_kernels *kernels;
  enum form_kind form;
  uint32_t n_tokens;
  uint32_t n_calls;
  double ms[MAX_ROUNDS];
};

/* The arithmetic of a product and nothing else: two weights, activations and sums stay in registers. An average
 * gives each turn new weights in 0..127, so that the compiler cannot take products out of the loop. */
static volatile int32_t sink;
/* functions of their own: V8 compiles them well from their second call on, but never the middle of a long call */
#define LIMIT_FN(name, n_q, n_a_turn, SUM)                                                                               \
  static __attribute__((noinline)) void name(const struct workload *w, uint64_t n_products) {                            \
    v128_t q[n_q], u[2], s[2 * n_q];                                                                                     \
    for (int i = 0; i < n_q; i++) q[i] = wasm_v128_load(w->act.q + 16 * i);                                              \
    for (int i = 0; i < 2; i++) u[i] = wasm_v128_and(wasm_v128_load(w->resident[INT8] + 16 * i), wasm_i8x16_splat(15));   \
    for (int i = 0; i < 2 * n_q; i++) s[i] = wasm_i32x4_splat(0);                                                        \
    const v128_t toward = wasm_i8x16_splat(7);                                                                           \
    for (uint64_t n = n_products / (n_a_turn); n; n--) {                                                                 \
      for (int i = 0; i < 2 * n_q; i++) s[i] = SUM(s[i], q[i % n_q], u[i / n_q]);                                        \
      for (int i = 0; i < 2; i++) u[i] = wasm_u8x16_avgr(u[i], toward);                                                  \
    }                                                                                                                    \
    for (int i = 0; i < 2 * n_q; i++) sink += wasm_i32x4_extract_lane(s[i], 0);                                          \
  }
#define SUM_SIMD128(sum, q, u) wasm_i32x4_add(sum, wasm_i32x4_dot_i16x8(q, u))
LIMIT_FN(limit_simd128, 3, 6 * 8, SUM_SIMD128)
#if defined(TANSY_HAVE_RELAXED)
#define SUM_RELAXED(sum, q, u) wasm_i16x8_add(sum, wasm_i16x8_relaxed_dot_i8x16_i7x16(q, u))
LIMIT_FN(limit_relaxed, 3, 6 * 16, SUM_RELAXED)
/* a sum waits some 5 cycles for a dot of four, of which two begin in a cycle: 12 sums, and one register of each factor */
static __attribute__((noinline)) void limit_relaxed32(const struct workload *w, uint64_t n_products) {
  const v128_t q = wasm_v128_load(w->act.q), toward = wasm_i8x16_splat(7);
  v128_t u = wasm_v128_and(wasm_v128_load(w->resident[INT8]), wasm_i8x16_splat(15)), s[12];
  for (int i = 0; i < 12; i++) s[i] = wasm_i32x4_splat(i); /* alike, they would be one */
  for (uint64_t n = n_products / (12 * 16); n; n--) {
    for (int i = 0; i < 12; i++) s[i] = wasm_i32x4_relaxed_dot_i8x16_i7x16_add(q, u, s[i]);
    u = wasm_u8x16_avgr(u, toward);
  }
  for (int i = 0; i < 12; i++) sink += wasm_i32x4_extract_lane(s[i], 0);
}
#endif

static void run_limit(const struct workload *w, uint32_t n_tokens, const struct tansy_kernels *kernels) {
  const uint64_t n_products = (uint64_t)w->n_rows * w->n_cols * n_tokens;
#if defined(TANSY_HAVE_RELAXED)
  if (kernels == &tansy_kernels_relaxed32) {
    limit_relaxed32(w, n_products);
    return;
  }
  if (kernels == &tansy_kernels_relaxed) {
    limit_relaxed(w, n_products);
    return;
  }
#endif
  (void)kernels;
  limit_simd128(w, n_products);
}

static void run_case(const struct workload *w, const struct bench_case *c) {
  struct tansy_act act = w->act;
  act.n_tokens = c->n_tokens;
  uint32_t n_tiles = w->forms[ANS].coded.n_tiles;
  switch (c->form) {
    case LIMIT: run_limit(w, c->n_tokens, c->kernels); break;
    case EXPAND:
      for (uint32_t t = 0; t < n_tiles; t++) c->kernels->expand_int8(&w->forms[ANS].coded, t, w->resident[INT8]);
      break;
    default: c->kernels->matmul(&w->forms[c->form], &act, 0, n_tiles, w->acc, w->n_rows, w->scratch); break;
  }
}

static void make_workload(struct workload *w, uint32_t n_rows, uint32_t n_cols, double sigma) {
  *w = (struct workload){.n_rows = n_rows, .n_cols = n_cols};
  struct test_rng rng = {1};
  int32_t *z = test_alloc(sizeof(int32_t) * n_rows * n_cols);
  for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) {
    double v = sigma * test_rand_normal(&rng);
    z[i] = (int32_t)(v < 0 ? v - 0.5 : v + 0.5);
  }
  if (tansy_encode(z, n_rows, n_cols, NULL, &w->stream, &w->shape, &w->stats) != TANSY_OK) exit(4);
  free(z);
  uint8_t pad[TANSY_STREAM_SLACK] = {0};
  tansy_put_bytes(&w->stream, pad, sizeof pad);
  struct tansy_matrix m = {.form = TANSY_FORM_ANS};
  size_t tiles_nbytes = w->stream.nbytes - sizeof pad - w->shape.head_nbytes;
  if (tansy_coded_parse(w->stream.bytes, w->stream.bytes + w->shape.head_nbytes, tiles_nbytes, &w->shape, w->tables, &m.coded) != TANSY_OK) exit(5);
  w->resident[PACKED] = test_alloc(tansy_packed_nbytes(&w->shape) + 64);
  w->resident[INT8] = test_alloc(tansy_int8_nbytes(&w->shape) + 64);
  for (uint32_t t = 0; t < m.coded.n_tiles; t++) {
    tansy_kernels_ref.expand_packed(&m.coded, t, w->resident[PACKED]);
    tansy_kernels_ref.expand_int8(&m.coded, t, w->resident[INT8]);
  }
  for (int f = 0; f < 3; f++) {
    w->forms[f] = m;
    w->forms[f].form = f == ANS ? TANSY_FORM_ANS : f == PACKED ? TANSY_FORM_PACKED : TANSY_FORM_INT8;
    w->forms[f].resident = w->resident[f];
  }
  uint32_t padded = tansy_pad_cols(n_cols), n_blocks = (padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
  float *x = test_alloc(sizeof(float) * TANSY_MAX_BATCH * n_cols);
  for (size_t i = 0; i < (size_t)TANSY_MAX_BATCH * n_cols; i++) x[i] = (float)test_rand_normal(&rng);
  w->act = (struct tansy_act){.q = test_alloc((size_t)TANSY_MAX_BATCH * padded), .shift = test_alloc((size_t)TANSY_MAX_BATCH * n_blocks),
                              .d = test_alloc(sizeof(float) * TANSY_MAX_BATCH), .sum = test_alloc(sizeof(int32_t) * TANSY_MAX_BATCH),
                              .n_tokens = TANSY_MAX_BATCH, .n_cols_padded = padded, .n_blocks = n_blocks};
  tansy_kernels_ref.quantize_act(x, TANSY_MAX_BATCH, n_cols, &w->act);
  free(x);
  w->acc = test_alloc(sizeof(int32_t) * TANSY_MAX_BATCH * n_rows);
  w->scratch = test_alloc(tansy_matmul_scratch_nbytes(padded));
}
static void free_workload(struct workload *w) {
  tansy_buffer_free(&w->stream);
  for (int f = 0; f < 3; f++) free(w->resident[f]);
  free(w->act.q), free(w->act.shift), free(w->act.d), free(w->act.sum), free(w->acc), free(w->scratch);
}

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* options given several times; none: the defaults */
struct list {
  double of[16];
  int n;
};
static int has(const struct list *l, double v) {
  for (int i = 0; i < l->n; i++)
    if (l->of[i] == v) return 1;
  return l->n == 0;
}

int main(int argc, char **argv) {
  struct list sigmas = {0}, forms = {0}, batches = {0}, kernels = {0};
  uint32_t n_rows = 2048, n_cols = 2048, n_rounds = 31;
  double round_ms = 4, quantile = 0.1;
  for (int i = 1; i < argc; i++) {
    if (i + 1 == argc) return fprintf(stderr, "kernels_bench: %s wants a value\n", argv[i]), 2;
    const char *name = argv[i], *value = argv[++i];
    struct list *list = NULL;
    double v = atof(value);
    if (!strcmp(name, "--sigma")) list = &sigmas;
    else if (!strcmp(name, "--batch")) list = &batches;
    else if (!strcmp(name, "--form")) {
      list = &forms;
      for (v = 0; v < N_FORMS && strcmp(form_names[(int)v], value); v++) {
      }
    } else if (!strcmp(name, "--kernels")) {
      list = &kernels;
      v = !strcmp(value, "relaxed") ? 2 : !strcmp(value, "simd128") ? 1 : 0;
    } else if (!strcmp(name, "--rows")) n_rows = (uint32_t)v;
    else if (!strcmp(name, "--cols")) n_cols = (uint32_t)v;
    else if (!strcmp(name, "--rounds")) n_rounds = (uint32_t)v;
    else if (!strcmp(name, "--ms")) round_ms = v;
    else if (!strcmp(name, "--quantile")) quantile = v;
    else return fprintf(stderr, "kernels_bench: unknown option %s\n", name), 2;
    if (list && list->n < 16) list->of[list->n++] = v;
  }
  if (!sigmas.n) sigmas = (struct list){{0.7, 1, 1.5, 2, 3, 14}, 6};
  if (!batches.n) batches = (struct list){{1, 4, 8, 32, 128}, 5};
  if (n_rounds < 1 || n_rounds > MAX_ROUNDS || n_rows < 1 || n_cols < 1 || !(quantile >= 0 && quantile < 1)) return 2;
  const uint32_t reported = (uint32_t)(quantile * n_rounds);

  const struct tansy_kernels *tables[3] = {&tansy_kernels_ref, NULL, NULL};
#if defined(TANSY_HAVE_SIMD128)
  tables[1] = &tansy_kernels_simd128;
#endif
#if defined(TANSY_HAVE_RELAXED)
  tables[2] = tansy_kernels_best_relaxed();
#endif
  for (int s = 0; s < sigmas.n; s++) {
    struct workload w;
    make_workload(&w, n_rows, n_cols, sigmas.of[s]);
    static struct bench_case cases[MAX_CASES];
    int n_cases = 0;
    for (int k = 0; k < 3; k++)
      for (int f = 0; f < N_FORMS; f++)
        for (int b = 0; b < batches.n; b++) {
          if (!tables[k] || !has(&kernels, k) || (!kernels.n && k == 0)) continue;
          if (!has(&forms, f) && f != INT8) continue;
          if (f == EXPAND && b > 0) continue;
          if (n_cases < MAX_CASES)
            cases[n_cases++] = (struct bench_case){.kernels = tables[k], .form = (enum form_kind)f, .n_tokens = (uint32_t)batches.of[b]};
        }
    /* long enough for the engine to compile the loop well, then to know how many calls fill a round */
    for (int i = 0; i < n_cases; i++) {
      struct bench_case *c = &cases[i];
      double start = now_ms(), elapsed = 0, last = 0;
      uint32_t n = 0;
      while (elapsed < 60 || n < 3) {
        double before = now_ms();
        run_case(&w, c);
        n++;
        last = now_ms() - before;
        elapsed = now_ms() - start;
      }
      c->n_calls = (uint32_t)(round_ms / (last > 1e-3 ? last : 1e-3)) + 1;
    }
    for (uint32_t r = 0; r < n_rounds; r++)
      for (int i = 0; i < n_cases; i++) {
        double start = now_ms();
        for (uint32_t n = 0; n < cases[i].n_calls; n++) run_case(&w, &cases[i]);
        cases[i].ms[r] = (now_ms() - start) / cases[i].n_calls;
      }
    for (int i = 0; i < n_cases; i++) qsort(cases[i].ms, n_rounds, sizeof *cases[i].ms, compare_double);
    for (int i = 0; i < n_cases; i++) {
      const struct bench_case *c = &cases[i];
      double ms = c->ms[reported], int8_ms = 0;
      for (int j = 0; j < n_cases; j++)
        if (cases[j].form == INT8 && cases[j].kernels == c->kernels && cases[j].n_tokens == c->n_tokens) int8_ms = cases[j].ms[reported];
      double bits = c->form == ANS || c->form == EXPAND ? w.stats.coded_bits : c->form == PACKED ? 4.0 + w.shape.raw_bits : c->form == INT8 ? 8 : 0;
      printf("{\"module\":\"%s\",\"sigma\":%g,\"form\":\"%s\",\"batch\":%u,\"gweights_per_s\":%.3f,\"ratio_int8\":%.3f,"
             "\"bits_per_weight\":%.4f,\"entropy_bits\":%.4f,\"raw_bits\":%u,\"rows\":%u,\"cols\":%u}\n",
             c->kernels->name, sigmas.of[s], form_names[c->form], c->n_tokens, (double)n_rows * n_cols / ms * 1e-6, int8_ms / ms, bits,
             w.stats.entropy_bits, w.shape.raw_bits, n_rows, n_cols);
    }
    fflush(stdout);
    free_workload(&w);
  }
  return 0;
}
