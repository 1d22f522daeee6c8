/* linalg.c: see linalg.h.
 *
 * Loops are written so that vectors run across *outputs*: each output keeps its own running sum in the stated order, and the
 * compiler may choose any width. Only tansy_dot has lanes, eight of them, spelled out. */
#include "pack/linalg.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_BLOCK = 64, TILE = 32 };

double tansy_dot(const float *a, const float *b, size_t n) {
  double s[8] = {0};
  size_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int k = 0; k < 8; k++) s[k] += (double)a[i + (size_t)k] * b[i + (size_t)k];
  for (int k = 0; i < n; i++, k++) s[k] += (double)a[i] * b[i];
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* ---- y = x w^T ---- */

enum { MM_ROWS = 16, MM_TOKENS = 6, MM_COLS = 256 }; /* 12 sums of 8 lanes, and operands, fit 16 registers */

typedef float f32x8 __attribute__((vector_size(32)));
#define INLINE static inline __attribute__((always_inline))

/* n_tokens x MM_ROWS outputs, n_tokens a constant where it matters; wt [n_cols, MM_ROWS] */
INLINE void add_tile(const float *wt, const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols, f32x8 acc[MM_TOKENS][2]) {
  for (uint32_t c = 0; c < n_cols; c++) {
    f32x8 line[2];
    memcpy(line, wt + (size_t)c * MM_ROWS, sizeof line);
    for (uint32_t t = 0; t < n_tokens; t++) {
      float v = x[t * x_stride + c];
      acc[t][0] += v * line[0];
      acc[t][1] += v * line[1];
    }
  }
}

/* y [n_tokens, stride]: n values of each token become sums (that go on from y) over n_cols; wt [n_cols, MM_ROWS] */
static void matmul_tile(const float *wt, const float *x, size_t x_stride, uint32_t n_tokens, uint32_t n_cols, bool go_on, uint32_t n, float *y, size_t stride) {
  f32x8 acc[MM_TOKENS][2];
  memset(acc, 0, sizeof acc);
  for (uint32_t k = 0; go_on && k < n_tokens; k++) memcpy(acc[k], y + k * stride, n * sizeof *y);
  if (n_tokens == MM_TOKENS) add_tile(wt, x, x_stride, MM_TOKENS, n_cols, acc);
  else
    for (uint32_t k = 0; k < n_tokens; k++) add_tile(wt, x + k * x_stride, x_stride, 1, n_cols, acc + k);
  for (uint32_t k = 0; k < n_tokens; k++) memcpy(y + k * stride, acc[k], n * sizeof *y);
}

void tansy_matmul_rows(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *y, size_t stride) {
  float wt[MM_COLS * MM_ROWS];
  for (uint32_t row = 0; row < n_rows; row += MM_ROWS) {
    uint32_t rows = n_rows - row < MM_ROWS ? n_rows - row : MM_ROWS;
    for (uint32_t col = 0; col < n_cols; col += MM_COLS) {
      uint32_t cols = n_cols - col < MM_COLS ? n_cols - col : MM_COLS;
      for (uint32_t r = 0; r < MM_ROWS; r++)
        for (uint32_t c = 0; c < cols; c++) wt[c * MM_ROWS + r] = r < rows ? w[(size_t)(row + r) * n_cols + col + c] : 0;
      for (uint32_t t = 0; t < n_tokens; t += MM_TOKENS) {
        uint32_t tokens = n_tokens - t < MM_TOKENS ? n_tokens - t : MM_TOKENS;
        matmul_tile(wt, x + (size_t)t * n_cols + col, n_cols, tokens, cols, col > 0, rows, y + t * stride + row, stride);
      }
    }
  }
}

void tansy_matmul_f32_blocked(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                              uint32_t row_end, float *y) {
  tansy_matmul_rows(w + (size_t)row_begin * n_cols, x, n_tokens, row_end - row_begin, n_cols, y + row_begin, n_rows);
}

/* MM_TOKENS x MM_ROWS sums of gx, over rows of w in blocks that stay in the cache while all tokens pass */
void tansy_matmul_back(const float *w, const float *g, size_t stride, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *gx) {
  for (uint32_t first = 0; first < n_rows; first += MM_COLS) {
    uint32_t last = n_rows - first < MM_COLS ? n_rows : first + MM_COLS;
    for (uint32_t col = 0; col < n_cols; col += MM_ROWS) {
      uint32_t cols = n_cols - col < MM_ROWS ? n_cols - col : MM_ROWS;
      float lines[MM_COLS * MM_ROWS];
      for (uint32_t i = first; i < last; i++)
        for (uint32_t j = 0; j < MM_ROWS; j++) lines[(i - first) * MM_ROWS + j] = j < cols ? w[(size_t)i * n_cols + col + j] : 0;
      for (uint32_t t = 0; t < n_tokens; t += MM_TOKENS) {
        uint32_t tokens = n_tokens - t < MM_TOKENS ? n_tokens - t : MM_TOKENS;
        matmul_tile(lines, g + t * stride + first, stride, tokens, last - first, true, cols, gx + (size_t)t * n_cols + col, n_cols);
      }
    }
  }
}

/* ---- gram ---- */

struct gram {
  float *out;
  const float *x, *y;
  uint32_t n_tokens, n, stride; /* stride: of a token in x and y */
};

enum { GRAM_ROWS = 2 };

/* rows [item * TILE, ...) of the gram */
static void gram_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct gram *g = ctx;
  uint32_t n = g->n, row_begin = item * TILE, row_end = row_begin + TILE < n ? row_begin + TILE : n;
  for (uint32_t begin = 0; begin < g->n_tokens; begin += TOKEN_BLOCK) {
    uint32_t tokens = g->n_tokens - begin < TOKEN_BLOCK ? g->n_tokens - begin : TOKEN_BLOCK;
    for (uint32_t col = 0; col < n; col += TILE) {
      if (g->x == g->y && col >= row_end) break;
      uint32_t cols = n - col < TILE ? n - col : TILE;
      float block[TOKEN_BLOCK][TILE] = {{0}};
      for (uint32_t t = 0; t < tokens; t++) memcpy(block[t], g->y + (size_t)(begin + t) * g->stride + col, cols * sizeof(float));
      for (uint32_t i = row_begin; i < row_end; i += GRAM_ROWS) {
        uint32_t rows = row_end - i < GRAM_ROWS ? row_end - i : GRAM_ROWS;
        float acc[GRAM_ROWS][TILE] = {{0}};
        for (uint32_t t = 0; t < tokens; t++) {
          const float *xi = g->x + (size_t)(begin + t) * g->stride + i;
          if (rows == GRAM_ROWS) {
            for (uint32_t r = 0; r < GRAM_ROWS; r++)
              for (uint32_t j = 0; j < TILE; j++) acc[r][j] += xi[r] * block[t][j];
          } else {
            for (uint32_t r = 0; r < rows; r++)
              for (uint32_t j = 0; j < TILE; j++) acc[r][j] += xi[r] * block[t][j];
          }
        }
        for (uint32_t r = 0; r < rows; r++)
          for (uint32_t j = 0; j < cols; j++) g->out[(size_t)(i + r) * n + col + j] += acc[r][j];
      }
    }
  }
}

void tansy_gram_add(struct tansy_team *team, float *gram, const float *x, const float *y, uint32_t n_tokens, uint32_t n) {
  struct gram g = {gram, x, y, n_tokens, n, n};
  tansy_team_run(team, (n + TILE - 1) / TILE, gram_body, &g);
}

struct gram_blocks {
  float *out;
  const float *x;
  uint32_t n_tokens, n, block, tiles; /* tiles: of rows, in a block */
};

static void gram_blocks_body(void *ctx, uint32_t item, uint32_t thread) {
  const struct gram_blocks *b = ctx;
  uint32_t number = item / b->tiles, tile = item % b->tiles, first = number * b->block, n = b->n - first < b->block ? b->n - first : b->block;
  struct gram g = {b->out + (size_t)number * b->block * b->block, b->x + first, b->x + first, b->n_tokens, n, b->n};
  if (tile * TILE < n) gram_body(&g, tile, thread);
}

void tansy_gram_blocks_add(struct tansy_team *team, float *grams, const float *x, uint32_t n_tokens, uint32_t n, uint32_t block) {
  struct gram_blocks b = {grams, x, n_tokens, n, block, (block + TILE - 1) / TILE};
  tansy_team_run(team, (n + block - 1) / block * b.tiles, gram_blocks_body, &b);
}

/* ---- Cholesky, by blocks of columns: factor the diagonal block's columns, then every row below on its own ---- */

struct factor {
  float *a;
  uint32_t n, begin, end;
};

static void factor_row(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct factor *f = ctx;
  enum { ROWS = 16 };
  uint32_t first = f->end + item * ROWS, last = first + ROWS < f->n ? first + ROWS : f->n;
  for (uint32_t i = first; i < last; i++) {
    float *row = f->a + (size_t)i * f->n;
    for (uint32_t j = f->begin; j < f->end; j++) {
      const float *pivot = f->a + (size_t)j * f->n;
      row[j] = (float)((row[j] - tansy_dot(row, pivot, j)) / pivot[j]);
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
    for (uint32_t i = begin; i < end; i++) {
      float *row = a + (size_t)i * n;
      for (uint32_t j = begin; j < i; j++) {
        const float *pivot = a + (size_t)j * n;
        row[j] = (float)((row[j] - tansy_dot(row, pivot, j)) / pivot[j]);
      }
      double d = row[i] - tansy_dot(row, row, i);
      if (!(d > largest * 1e-6)) d = largest * 1e-6;
      row[i] = (float)sqrt(d);
    }
    struct factor f = {a, n, begin, end};
    tansy_team_run(team, (n - end + 15) / 16, factor_row, &f);
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
  uint32_t n;
  float *x;
};

/* row x: first y L^T = x (forwards, rows of L), then z L = y (backwards, columns of L) */
static void solve_row(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct solve *s = ctx;
  uint32_t n = s->n;
  float *x = s->x + (size_t)item * n;
  for (uint32_t j = 0; j < n; j++) {
    const float *row = s->l + (size_t)j * n;
    x[j] = (float)((x[j] - tansy_dot(x, row, j)) / row[j]);
  }
  for (uint32_t j = n; j-- > 0;) {
    const float *row = s->l + (size_t)j * n;
    x[j] = (float)((x[j] - tansy_dot(x + j + 1, row + j + 1, n - j - 1)) / row[j]);
  }
}

void tansy_cholesky_solve_rows(struct tansy_team *team, const float *l, uint32_t n, float *x, uint32_t n_rows) {
  struct solve s = {l, n, x};
  tansy_team_run(team, n_rows, solve_row, &s);
}

struct right {
  const float *w, *m;
  float *out;
  uint32_t n;
};

static void right_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  const struct right *r = ctx;
  const float *w = r->w + (size_t)item * r->n;
  float *out = r->out + (size_t)item * r->n;
  memset(out, 0, r->n * sizeof *out);
  for (uint32_t k = 0; k < r->n; k++)
    for (uint32_t j = 0; j < r->n; j++) out[j] += w[k] * r->m[(size_t)k * r->n + j];
}

void tansy_matmul_right(struct tansy_team *team, const float *w, const float *m, uint32_t n_rows, uint32_t n, float *out) {
  struct right r = {w, m, out, n};
  tansy_team_run(team, n_rows, right_body, &r);
}
