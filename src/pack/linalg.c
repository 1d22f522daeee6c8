/* linalg.c: see linalg.h.
 *
 * Vectors run across *outputs*: each output keeps its own running sum in the stated order, whatever a machine's vectors are. All
 * products are one loop over MM_TOKENS x MM_ROWS sums that stay in registers. Only tansy_dot has lanes, eight of them, spelled out. */
#include "pack/linalg.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_BLOCK = 64, TILE = 32, GRAM_ROWS = 96, GRAM_TOKENS = 256, SOLVE_ROWS = 96, SOLVE_COLS = 16 };

double tansy_dot(const float *a, const float *b, size_t n) {
  double s[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; k++) s[k] += (double)a[i + (size_t)k] * b[i + (size_t)k];
  for (int k = 0; i < n; i++, k++) s[k] += (double)a[i] * b[i];
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* ---- y = x w^T ---- */

/* Sums and operands fit the registers: 12 vectors of sums in 16 registers, 24 in 32. */
#if defined(__AVX512F__)
enum { MM_ROWS = 32, MM_TOKENS = 12, MM_COLS = 256 };
typedef float f32v __attribute__((vector_size(64)));
typedef double f64v __attribute__((vector_size(64)));
#else
enum { MM_ROWS = 16, MM_TOKENS = 6, MM_COLS = 256 };
typedef float f32v __attribute__((vector_size(32)));
typedef double f64v __attribute__((vector_size(32)));
#endif
#define INLINE static inline __attribute__((always_inline))

/* A matrix seen through steps: element (i, k) is at[i * row + k * col]. */
struct view {
  const float *at;
  size_t row, col;
};

/* n x MM_ROWS sums over k, or n x MM_ROWS / 2 where n_vectors is 1; n and n_vectors are constants where it matters. lines [n_k, MM_ROWS];
 * x: element (output, k) */
INLINE void add_tile(const float *lines, uint32_t n_vectors, struct view x, uint32_t n, uint32_t n_k, f32v acc[MM_TOKENS][2]) {
  for (uint32_t k = 0; k < n_k; k++) {
    f32v line[2];
    memcpy(line, lines + (size_t)k * MM_ROWS, sizeof line);
    for (uint32_t t = 0; t < n; t++) {
      float v = x.at[t * x.row + k * x.col];
      acc[t][0] += v * line[0];
      if (n_vectors == 2) acc[t][1] += v * line[1];
    }
  }
}

/* n_rows: those of the lines that count */
INLINE void add_tiles(const float *lines, uint32_t n_rows, struct view x, uint32_t n, uint32_t n_k, f32v acc[MM_TOKENS][2]) {
  if (n == MM_TOKENS && n_rows <= MM_ROWS / 2) add_tile(lines, 1, x, MM_TOKENS, n_k, acc);
  else if (n == MM_TOKENS) add_tile(lines, 2, x, MM_TOKENS, n_k, acc);
  else
    for (uint32_t t = 0; t < n; t++) add_tile(lines, 2, (struct view){x.at + t * x.row, 0, x.col}, 1, n_k, acc + t);
}

typedef float f32x4 __attribute__((vector_size(16)));

/* out [n_k, stride]: rows of `at`, n_k values each, as columns */
static void transpose(const float *at, size_t row, uint32_t n_rows, uint32_t n_k, float *out, size_t stride) {
  uint32_t whole = n_rows & ~3u, whole_k = n_k & ~3u;
  for (uint32_t j = 0; j < whole; j += 4)
    for (uint32_t k = 0; k < whole_k; k += 4) {
      f32x4 r[4];
      for (uint32_t i = 0; i < 4; i++) memcpy(&r[i], at + (j + i) * row + k, sizeof r[i]);
      f32x4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
      f32x4 c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
      r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5), r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
      r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5), r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
      for (uint32_t i = 0; i < 4; i++) memcpy(out + (k + i) * stride + j, &r[i], sizeof r[i]);
    }
  for (uint32_t j = 0; j < n_rows; j++)
    for (uint32_t k = j < whole ? whole_k : 0; k < n_k; k++) out[k * stride + j] = at[j * row + k];
}

/* lines [n_k, MM_ROWS]: element (j, k) of w in line k, place j; 0 beyond n. w goes through rows or through columns in steps of 1. */
static void pack_lines(struct view w, uint32_t n, uint32_t n_k, float *lines) {
  if (n < MM_ROWS) memset(lines, 0, (size_t)n_k * MM_ROWS * sizeof *lines);
  if (w.row != 1) transpose(w.at, w.row, n, n_k, lines, MM_ROWS);
  else if (n == MM_ROWS)
    for (uint32_t k = 0; k < n_k; k++) memcpy(lines + k * MM_ROWS, w.at + k * w.col, MM_ROWS * sizeof *lines);
  else
    for (uint32_t k = 0; k < n_k; k++) memcpy(lines + k * MM_ROWS, w.at + k * w.col, n * sizeof *lines);
}

/* n values, at most MM_ROWS */
INLINE void move(void *to, const void *from, uint32_t n) {
  if (n == MM_ROWS) memcpy(to, from, MM_ROWS * sizeof(float));
  else memcpy(to, from, n * sizeof(float));
}

/* x [n_x][stride] of values in a row; y [n_x, y_stride] values 0 .. n_w - 1 of each row: sums over k of x(i, k) w(j, k), from first to
 * last; they go on from y, or begin at 0 */
INLINE void products(struct view w, uint32_t n_w, const float *x, size_t x_stride, uint32_t n_x, uint32_t n_k, bool go_on, float *y, size_t y_stride) {
  enum { SOME = 16 * MM_TOKENS };
  float lines[MM_COLS * MM_ROWS], tiles[MM_COLS * SOME];
  for (uint32_t first = 0; first < n_x; first += SOME)
    for (uint32_t begin = 0; begin < n_k; begin += MM_COLS) {
      uint32_t some_k = n_k - begin < MM_COLS ? n_k - begin : MM_COLS, some = n_x - first < SOME ? n_x - first : SOME;
      for (uint32_t i = 0; i < some; i += MM_TOKENS) /* [MM_COLS, MM_TOKENS] each */
        transpose(x + (first + i) * x_stride + begin, x_stride, some - i < MM_TOKENS ? some - i : MM_TOKENS, some_k, tiles + i * MM_COLS, MM_TOKENS);
      for (uint32_t j = 0; j < n_w; j += MM_ROWS) {
        uint32_t n = n_w - j < MM_ROWS ? n_w - j : MM_ROWS;
        pack_lines((struct view){w.at + j * w.row + begin * w.col, w.row, w.col}, n, some_k, lines);
        for (uint32_t i = 0; i < some; i += MM_TOKENS) {
          uint32_t rows = some - i < MM_TOKENS ? some - i : MM_TOKENS;
          float *to = y + (first + i) * y_stride + j;
          f32v acc[MM_TOKENS][2];
          memset(acc, 0, sizeof acc);
          for (uint32_t r = 0; (go_on || begin) && r < rows; r++) move(acc[r], to + r * y_stride, n);
          add_tiles(lines, n, (struct view){tiles + i * MM_COLS, 1, MM_TOKENS}, rows, some_k, acc);
          for (uint32_t r = 0; r < rows; r++) move(to + r * y_stride, acc[r], n);
        }
      }
    }
}

void tansy_matmul_rows(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *y, size_t stride) {
  products((struct view){w, n_cols, 1}, n_rows, x, n_cols, n_tokens, n_cols, false, y, stride);
}

void tansy_matmul_back(const float *w, const float *g, size_t stride, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *gx) {
  products((struct view){w, 1, n_cols}, n_cols, g, stride, n_tokens, n_rows, true, gx, n_cols);
}

struct tokens_product {
  const float *w, *x;
  uint32_t n_tokens, n_rows, n_cols;
  float *y;
};

static void tokens_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct tokens_product *p = ctx;
  uint32_t first = item * TOKEN_BLOCK, n = p->n_tokens - first < TOKEN_BLOCK ? p->n_tokens - first : TOKEN_BLOCK;
  tansy_matmul_rows(p->w, p->x + (size_t)first * p->n_cols, n, p->n_rows, p->n_cols, p->y + (size_t)first * p->n_rows, p->n_rows);
}

void tansy_matmul_tokens(struct tansy_team *team, const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *y) {
  struct tokens_product p = {w, x, n_tokens, n_rows, n_cols, y};
  tansy_team_run(team, (n_tokens + TOKEN_BLOCK - 1) / TOKEN_BLOCK, tokens_body, &p);
}

void tansy_matmul_f32_blocked(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                              uint32_t row_end, float *y) {
  tansy_matmul_rows(w + (size_t)row_begin * n_cols, x, n_tokens, row_end - row_begin, n_cols, y + row_begin, n_rows);
}

/* ---- gram ---- */

struct gram {
  float *out;                       /* [n_rows, n] */
  const float *x, *y;
  uint32_t n_tokens, n_rows, n;
  size_t x_stride, y_stride;        /* of a token */
  uint32_t at_once;                 /* rows of an item */
};

/* many where there are many: y is read once for all of them */
static uint32_t gram_rows(uint32_t n_rows) { return n_rows > 10 * GRAM_ROWS ? GRAM_ROWS : GRAM_ROWS / 2; }

/* rows [item * at_once, ...) of the gram */
static void gram_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct gram *g = ctx;
  uint32_t n = g->n, row_begin = item * g->at_once, n_rows = g->n_rows - row_begin < g->at_once ? g->n_rows - row_begin : g->at_once;
  float lines[TOKEN_BLOCK * MM_ROWS], x[GRAM_TOKENS * GRAM_ROWS], out[GRAM_ROWS][MM_ROWS];
  for (uint32_t begin = 0; begin < g->n_tokens; begin += GRAM_TOKENS) {
    uint32_t n_tokens = g->n_tokens - begin < GRAM_TOKENS ? g->n_tokens - begin : GRAM_TOKENS;
    for (uint32_t t = 0; t < n_tokens; t++) memcpy(x + t * GRAM_ROWS, g->x + (begin + t) * g->x_stride + row_begin, n_rows * sizeof *x);
    for (uint32_t col = 0; col < n && (g->x != g->y || col < row_begin + n_rows); col += MM_ROWS) {
      uint32_t cols = n - col < MM_ROWS ? n - col : MM_ROWS;
      for (uint32_t i = 0; i < n_rows; i++) move(out[i], g->out + (size_t)(row_begin + i) * n + col, cols);
      for (uint32_t first = 0; first < n_tokens; first += TOKEN_BLOCK) {
        uint32_t tokens = n_tokens - first < TOKEN_BLOCK ? n_tokens - first : TOKEN_BLOCK;
        pack_lines((struct view){g->y + (begin + first) * g->y_stride + col, 1, g->y_stride}, cols, tokens, lines);
        for (uint32_t i = 0; i < n_rows; i += MM_TOKENS) {
          uint32_t rows = n_rows - i < MM_TOKENS ? n_rows - i : MM_TOKENS;
          union {
            f32v v[MM_TOKENS][2];
            float f[MM_TOKENS][MM_ROWS];
          } acc;
          memset(&acc, 0, sizeof acc);
          add_tiles(lines, cols, (struct view){x + first * GRAM_ROWS + i, 1, GRAM_ROWS}, rows, tokens, acc.v);
          for (uint32_t r = 0; r < rows; r++)
            for (uint32_t j = 0; j < cols; j++) out[i + r][j] += acc.f[r][j];
        }
      }
      for (uint32_t i = 0; i < n_rows; i++) move(g->out + (size_t)(row_begin + i) * n + col, out[i], cols);
    }
  }
}

void tansy_gram_add(struct tansy_team *team, float *gram, const float *x, const float *y, uint32_t n_tokens, uint32_t n) {
  tansy_cross_add(team, gram, x, n, y, n, n_tokens);
}

void tansy_cross_add(struct tansy_team *team, float *out, const float *x, uint32_t n_x, const float *y, uint32_t n_y, uint32_t n_tokens) {
  struct gram g = {out, x, y, n_tokens, n_x, n_y, n_x, n_y, gram_rows(n_x)};
  tansy_team_run(team, (n_x + g.at_once - 1) / g.at_once, gram_body, &g);
}

struct gram_blocks {
  float *out;
  const float *x;
  uint32_t n_tokens, n, block, items; /* items: in a block */
};

static void gram_blocks_body(void *ctx, uint32_t item, uint32_t thread) {
  const struct gram_blocks *b = ctx;
  uint32_t number = item / b->items, part = item % b->items, first = number * b->block, n = b->n - first < b->block ? b->n - first : b->block;
  struct gram g = {b->out + (size_t)number * b->block * b->block, b->x + first, b->x + first, b->n_tokens, n, n, b->n, b->n, GRAM_ROWS / 2};
  if (part * g.at_once < n) gram_body(&g, part, thread);
}

void tansy_gram_blocks_add(struct tansy_team *team, float *grams, const float *x, uint32_t n_tokens, uint32_t n, uint32_t block) {
  struct gram_blocks b = {grams, x, n_tokens, n, block, (block + GRAM_ROWS / 2 - 1) / (GRAM_ROWS / 2)};
  tansy_team_run(team, (n + block - 1) / block * b.items, gram_blocks_body, &b);
}

/* ---- Cholesky, by blocks of columns: factor the diagonal block's columns, then every row below on its own ---- */

struct factor {
  float *a;
  uint32_t n, begin, end;
};

/* Rows times pivots over columns before the block, in double: of a large diagonal element little is left. */
#if defined(__AVX512F__)
enum { WIDE_ROWS = 6, WIDE_VECTORS = 4 };
#else
enum { WIDE_ROWS = 4, WIDE_VECTORS = 2 };
#endif
enum { WIDE_PIVOTS = WIDE_VECTORS * (int)sizeof(f64v) / (int)sizeof(double), FACTOR_ROWS = 96 };

/* sums [n][WIDE_PIVOTS] over k < n_k of row i times lines [n_k, WIDE_PIVOTS] */
INLINE void wide_tile(const double *lines, const float *rows, size_t stride, uint32_t n, uint32_t n_k, f64v acc[WIDE_ROWS][WIDE_VECTORS]) {
  for (uint32_t k = 0; k < n_k; k++) {
    f64v line[WIDE_VECTORS];
    memcpy(line, lines + (size_t)k * WIDE_PIVOTS, sizeof line);
    for (uint32_t i = 0; i < n; i++) {
      double v = rows[i * stride + k];
      for (uint32_t j = 0; j < WIDE_VECTORS; j++) acc[i][j] += v * line[j];
    }
  }
}

/* sums [n_rows][TILE] of rows from `rows` on with pivots begin .. end - 1, over columns [0, begin) */
static void wide_products(const struct factor *f, const float *rows, uint32_t n_rows, double sums[][TILE]) {
  enum { LINES = 128 };
  double lines[LINES * WIDE_PIVOTS];
  for (uint32_t i = 0; i < n_rows; i++) memset(sums[i], 0, sizeof sums[i]);
  for (uint32_t col = 0; col < f->begin; col += LINES) {
    uint32_t n_k = f->begin - col < LINES ? f->begin - col : LINES;
    for (uint32_t p = 0; p < f->end - f->begin; p += WIDE_PIVOTS) {
      for (uint32_t j = 0; j < WIDE_PIVOTS; j++) {
        const float *pivot = f->begin + p + j < f->end ? f->a + (size_t)(f->begin + p + j) * f->n + col : NULL;
        for (uint32_t k = 0; k < n_k; k++) lines[k * WIDE_PIVOTS + j] = pivot ? pivot[k] : 0;
      }
      for (uint32_t i = 0; i < n_rows; i += WIDE_ROWS) {
        uint32_t n = n_rows - i < WIDE_ROWS ? n_rows - i : WIDE_ROWS;
        f64v acc[WIDE_ROWS][WIDE_VECTORS];
        memset(acc, 0, sizeof acc);
        for (uint32_t r = 0; r < n; r++) memcpy(acc[r], &sums[i + r][p], sizeof acc[r]);
        if (n == WIDE_ROWS) wide_tile(lines, rows + (size_t)i * f->n + col, f->n, WIDE_ROWS, n_k, acc);
        else
          for (uint32_t r = 0; r < n; r++) wide_tile(lines, rows + (size_t)(i + r) * f->n + col, f->n, 1, n_k, acc + r);
        for (uint32_t r = 0; r < n; r++) memcpy(&sums[i + r][p], acc[r], sizeof acc[r]);
      }
    }
  }
}

static void factor_rows(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct factor *f = ctx;
  uint32_t first = f->end + item * FACTOR_ROWS, n = f->n - first < FACTOR_ROWS ? f->n - first : FACTOR_ROWS;
  double sums[FACTOR_ROWS][TILE];
  wide_products(f, f->a + (size_t)first * f->n, n, sums);
  for (uint32_t i = 0; i < n; i++) {
    float *row = f->a + (size_t)(first + i) * f->n;
    for (uint32_t j = f->begin; j < f->end; j++) {
      const float *pivot = f->a + (size_t)j * f->n;
      double sum = sums[i][j - f->begin];
      for (uint32_t k = f->begin; k < j; k++) sum += (double)row[k] * pivot[k];
      row[j] = (float)((row[j] - sum) / pivot[j]);
    }
  }
}

void tansy_cholesky(struct tansy_team *team, float *a, uint32_t n, double damping) {
  double largest = 0;
  for (uint32_t i = 0; i < n; i++) {
    float *d = &a[(size_t)i * n + i];
    *d = (float)(*d + damping);
    if (*d > largest) largest = *d;
  }
  if (largest <= 0) largest = 1;
  for (uint32_t begin = 0; begin < n; begin += TILE) {
    uint32_t end = begin + TILE < n ? begin + TILE : n;
    struct factor f = {a, n, begin, end};
    double sums[TILE][TILE];
    wide_products(&f, a + (size_t)begin * n, end - begin, sums);
    for (uint32_t i = begin; i < end; i++) {
      float *row = a + (size_t)i * n;
      for (uint32_t j = begin; j <= i; j++) {
        const float *pivot = a + (size_t)j * n;
        double sum = sums[i - begin][j - begin];
        for (uint32_t k = begin; k < j; k++) sum += (double)row[k] * pivot[k];
        double d = row[j] - sum;
        if (j < i)
          row[j] = (float)(d / pivot[j]);
        else
          row[i] = (float)sqrt(d > largest * 1e-6 ? d : largest * 1e-6);
      }
    }
    tansy_team_run(team, (n - end + FACTOR_ROWS - 1) / FACTOR_ROWS, factor_rows, &f);
  }
  tansy_mirror(a, n);
}

void tansy_mirror(float *a, uint32_t n) {
  enum { BLOCK = 32 }; /* square by square: columns of a large matrix are far apart */
  for (uint32_t bi = 0; bi < n; bi += BLOCK)
    for (uint32_t bj = 0; bj <= bi; bj += BLOCK)
      for (uint32_t i = bi; i < bi + BLOCK && i < n; i++)
        for (uint32_t j = bj; j < bj + BLOCK && j < i; j++) a[(size_t)j * n + i] = a[(size_t)i * n + j];
}

struct solve {
  const float *l;
  uint32_t n, n_rows;
  float *x;
};

/* columns begin .. end - 1 of some rows, across which vectors run */
struct solving {
  float x[SOLVE_COLS][SOLVE_ROWS], sums[SOLVE_COLS][SOLVE_ROWS];
};

/* x_j = (x_j - sum) / L_jj, the sum going on with columns [k, end) of the block, which are solved */
static void solve_column(struct solving *s, const float *row, uint32_t j, uint32_t k, uint32_t end) {
  float *sum = s->sums[j], *x = s->x[j];
  for (; k < end; k++)
    for (uint32_t i = 0; i < SOLVE_ROWS; i++) sum[i] += s->x[k][i] * row[k];
  for (uint32_t i = 0; i < SOLVE_ROWS; i++) x[i] = (x[i] - sum[i]) / row[j];
}

static void solve_block(const struct solve *s, uint32_t begin, uint32_t end, float *x, float sums[][SOLVE_COLS], uint32_t n_rows, bool backwards) {
  struct solving b;
  uint32_t n = end - begin;
  const float *l = s->l + (size_t)begin * s->n + begin;
  memset(&b, 0, sizeof b);
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < n; j++) b.x[j][i] = x[(size_t)i * s->n + begin + j], b.sums[j][i] = sums[i][j];
  for (uint32_t j = 0; j < n; j++) {
    uint32_t at = backwards ? n - 1 - j : j;
    solve_column(&b, l + (size_t)at * s->n, at, backwards ? at + 1 : 0, backwards ? n : at);
  }
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t j = 0; j < n; j++) x[(size_t)i * s->n + begin + j] = b.x[j][i];
}

/* Rows x: first y L^T = x (forwards, rows of L), then z L = y (backwards, columns of L), SOLVE_COLS columns at a time: what other columns
 * contribute is a product. */
static void solve_rows(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct solve *s = ctx;
  uint32_t n = s->n, first = item * SOLVE_ROWS, rows = s->n_rows - first < SOLVE_ROWS ? s->n_rows - first : SOLVE_ROWS;
  float *x = s->x + (size_t)first * n, sums[SOLVE_ROWS][SOLVE_COLS];
  memset(sums, 0, sizeof sums);
  for (uint32_t begin = 0; begin < n; begin += SOLVE_COLS) {
    uint32_t end = n - begin < SOLVE_COLS ? n : begin + SOLVE_COLS;
    products((struct view){s->l + (size_t)begin * n, n, 1}, end - begin, x, n, rows, begin, false, sums[0], SOLVE_COLS);
    solve_block(s, begin, end, x, sums, rows, false);
  }
  for (uint32_t end = n; end > 0;) {
    uint32_t begin = (end - 1) / SOLVE_COLS * SOLVE_COLS;
    if (end == n) memset(sums, 0, sizeof sums); /* a sum of nothing */
    products((struct view){s->l + (size_t)begin * n + end, n, 1}, end - begin, x + end, n, rows, n - end, false, sums[0], SOLVE_COLS);
    solve_block(s, begin, end, x, sums, rows, true);
    end = begin;
  }
}

void tansy_cholesky_solve_rows(struct tansy_team *team, const float *l, uint32_t n, float *x, uint32_t n_rows) {
  struct solve s = {l, n, n_rows, x};
  tansy_team_run(team, (n_rows + SOLVE_ROWS - 1) / SOLVE_ROWS, solve_rows, &s);
}

struct right {
  const float *w, *m;
  float *out;
  uint32_t n, n_rows;
};

static void right_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct right *r = ctx;
  uint32_t first = item * SOLVE_ROWS, rows = r->n_rows - first < SOLVE_ROWS ? r->n_rows - first : SOLVE_ROWS;
  size_t n = r->n;
  products((struct view){r->m, 1, n}, r->n, r->w + first * n, n, rows, r->n, false, r->out + first * n, n);
}

void tansy_matmul_right(struct tansy_team *team, const float *w, const float *m, uint32_t n_rows, uint32_t n, float *out) {
  struct right r = {w, m, out, n, n_rows};
  tansy_team_run(team, (n_rows + SOLVE_ROWS - 1) / SOLVE_ROWS, right_body, &r);
}
