/* gptq.c: see gptq.h. A row is rounded group by group of columns: what columns of later groups feed back is a matrix product; within the
 * group, errors are fed to the columns still to come one by one. Vectors run across the paths of the beam, so each path keeps its own sums
 * in one order.
 *
 * Paths that are left have the same past: all but the last few dozen of their columns are settled, and what those feed back is summed once
 * for all paths, of several rows at a time, so that the factor is read once for all of these. Rows that are done hold their errors in w
 * until the end. */
#include "pack/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

enum { COLS = 32, LANES = 16, TILE = 6, ROWS = 32, PATHS = 16, MAX_TOGETHER = 32 };
#define LARGEST 32767.0f /* integers beyond this are cut; only degenerate input gets here */

typedef float f32x16 __attribute__((vector_size(64), aligned(4)));
typedef int32_t i32x16 __attribute__((vector_size(64), aligned(4)));

/* The most promising ways to round the columns so far, the best one first. */
struct beam {
  uint32_t n;                   /* paths */
  float cost[PATHS];            /* above `base` */
  double base;
  float fed[COLS][PATHS];       /* of the group's columns: what errors of columns that are done feed back, times L_jj */
  float error[COLS][PATHS];     /* of the group */
  int32_t parent[COLS][PATHS];  /* number of the path that this one went on from */
};

/* A row at work. Columns from `settled` on have one error for all paths. */
struct row {
  float *target, *error, *errors; /* [n], [n]: settled, [n][PATHS]: columns that are done and not settled */
  uint32_t settled;
  float step;
  struct beam beam;
};

struct work {
  const struct tansy_gptq *g;
  float *w;
  int16_t *z;
  uint32_t block, n_items;  /* rows of an item */
  uint32_t together;        /* items that one thread takes together */
  struct row *rows;         /* [n_threads][together] */
  float *panels;            /* [n_threads][n][COLS] */
  double *loss;             /* [n_rows] */
};

/* to[p] = from[which[p]] */
static inline void pick(const float *from, const int32_t *which, float *to) {
#if defined(__AVX512F__)
  _mm512_storeu_ps(to, _mm512_permutexvar_ps(_mm512_loadu_si512(which), _mm512_loadu_ps(from)));
#else
  float old[PATHS];
  memcpy(old, from, sizeof old);
  for (uint32_t p = 0; p < PATHS; p++) to[p] = old[which[p]];
#endif
}

/* ---- what later groups feed back ---- */

/* sums [n][COLS] += errors[i] of columns k - 1, k - 2, .. end times their lines; panel: the line of column k - 1 and on */
static void feed_settled_tile(const float *panel, uint32_t k, uint32_t end, struct row *rows, uint32_t n, float *sums) {
  for (uint32_t c = 0; c < COLS; c += LANES) {
    f32x16 acc[TILE];
    for (uint32_t i = 0; i < n; i++) acc[i] = *(const f32x16 *)(sums + i * COLS + c);
    for (uint32_t j = k; j-- > end;) {
      f32x16 line = *(const f32x16 *)(panel + (size_t)(k - 1 - j) * COLS + c);
      for (uint32_t i = 0; i < n; i++) acc[i] += rows[i].error[j] * line;
    }
    for (uint32_t i = 0; i < n; i++) *(f32x16 *)(sums + i * COLS + c) = acc[i];
  }
}

/* fed of a row += its unsettled errors times their lines */
static void feed_unsettled(const float *panel, uint32_t settled, uint32_t end, const float *errors, float fed[COLS][PATHS]) {
  enum { TILE_COLS = 8 };
  for (uint32_t c = 0; c < COLS; c += TILE_COLS) {
    f32x16 acc[TILE_COLS];
    for (uint32_t i = 0; i < TILE_COLS; i++) acc[i] = *(const f32x16 *)fed[c + i];
    for (uint32_t k = settled; k-- > end;) {
      f32x16 e = *(const f32x16 *)(errors + (size_t)k * PATHS);
      const float *line = panel + (size_t)(settled - 1 - k) * COLS + c;
      for (uint32_t i = 0; i < TILE_COLS; i++) acc[i] += line[i] * e;
    }
    for (uint32_t i = 0; i < TILE_COLS; i++) *(f32x16 *)fed[c + i] = acc[i];
  }
}

/* Beams' fed = sum over columns k from n - 1 down to `end` of errors times L_kj, j in [begin, end). panel [n - end][COLS] */
static void feed_group(const float *panel, uint32_t n, uint32_t end, struct row *rows, uint32_t n_rows) {
  float sums[TILE * COLS];
  for (uint32_t first = 0; first < n_rows; first += TILE) {
    struct row *some = rows + first;
    uint32_t count = n_rows - first < TILE ? n_rows - first : TILE, common = end;
    for (uint32_t i = 0; i < count; i++)
      if (some[i].settled > common) common = some[i].settled;
    memset(sums, 0, sizeof sums);
    if (count == TILE) feed_settled_tile(panel, n, common, some, TILE, sums);
    for (uint32_t i = 0; i < count; i++) {
      struct row *r = some + i;
      uint32_t from = count == TILE ? common : n;
      float *sum = sums + i * COLS;
      feed_settled_tile(panel + (size_t)(n - from) * COLS, from, r->settled, r, 1, sum);
      for (uint32_t c = 0; c < COLS; c++)
        for (uint32_t p = 0; p < PATHS; p++) r->beam.fed[c][p] = sum[c];
      feed_unsettled(panel + (size_t)(n - r->settled) * COLS, r->settled, end, r->errors, r->beam.fed);
    }
  }
}

/* ---- columns of a group ---- */

static inline float nearest(float u, float step) {
  float q = step > 0 ? u / step : 0;
  return q > LARGEST ? LARGEST : q < -LARGEST ? -LARGEST : tansy_round_f32(q);
}

/* Numbers of the candidates in the order of their costs; among equals, paths in their order, and the nearest integer first. */
static void sort_candidates(const float cost[2 * PATHS], int32_t from[2 * PATHS]) {
  int32_t rank[2 * PATHS], sum = 0;
  f32x16 low = *(const f32x16 *)cost, high = *(const f32x16 *)(cost + PATHS);
  i32x16 low_rank = {0}, high_rank = {0};
  for (uint32_t k = 0; k < 2 * PATHS; k++) {
    f32x16 other = cost[k] - (f32x16){0};
    low_rank -= other < low;
    high_rank -= other < high;
  }
  *(i32x16 *)rank = low_rank;
  *(i32x16 *)(rank + PATHS) = high_rank;
  for (uint32_t i = 0; i < 2 * PATHS; i++) sum += rank[i];
  if (sum != PATHS * (2 * PATHS - 1)) { /* some are equal */
    for (uint32_t i = 0; i < 2 * PATHS; i++)
      for (uint32_t k = 0; k < 2 * PATHS; k++) {
        uint32_t at_i = i % PATHS * 2 + i / PATHS, at_k = k % PATHS * 2 + k / PATHS;
        rank[i] += cost[k] == cost[i] && at_k < at_i;
      }
  }
  for (int32_t i = 0; i < 2 * PATHS; i++) from[rank[i]] = i;
}

/* Every path goes on with the nearest and with the second nearest integer; the best of all these stay. */
static void round_column(struct beam *b, uint32_t c, float target, float step, float diagonal) {
  float cost[2 * PATHS], error[2 * PATHS];
  int32_t from[2 * PATHS];
  for (uint32_t p = 0; p < PATHS; p++) {
    float wanted = target + b->fed[c][p] / diagonal, q = nearest(wanted, step), other = wanted > q * step ? q + 1 : q - 1;
    float near_miss = (wanted - q * step) * diagonal, far_miss = (wanted - other * step) * diagonal;
    cost[p] = b->cost[p] + near_miss * near_miss;
    cost[PATHS + p] = step > 0 ? b->cost[p] + far_miss * far_miss : 3e38f;
    error[p] = target - q * step;
    error[PATHS + p] = target - other * step;
  }
  for (uint32_t p = b->n; p < PATHS; p++) cost[p] = cost[PATHS + p] = 3e38f;
  sort_candidates(cost, from);
  uint32_t kept = 2 * b->n < PATHS ? 2 * b->n : PATHS;
  for (uint32_t p = kept; p < PATHS; p++) from[p] = from[0];
  float least = cost[from[0]];
  b->base += least;
  b->n = kept;
  for (uint32_t p = 0; p < PATHS; p++) {
    b->cost[p] = cost[from[p]] - least;
    b->error[c][p] = error[from[p]];
    b->parent[c][p] = from[p] % PATHS;
  }
}

static void round_group(const float *l, uint32_t n, uint32_t begin, uint32_t end, const float *col, struct row *r) {
  struct beam *b = &r->beam;
  for (uint32_t j = end; j-- > begin;) {
    uint32_t c = j - begin;
    const float *lj = l + (size_t)j * n + begin;
    round_column(b, c, r->target[j], r->step * col[j], lj[c]);
    for (uint32_t k = 0; k < c; k++) {
      pick(b->fed[k], b->parent[c], b->fed[k]);
      *(f32x16 *)b->fed[k] += lj[k] * *(const f32x16 *)b->error[c];
    }
  }
}

/* back along the parents: histories in the order of the paths that are left; then what these agree on is settled */
static void settle(uint32_t begin, uint32_t end, struct row *r) {
  struct beam *b = &r->beam;
  int32_t at[PATHS];
  for (int32_t p = 0; p < PATHS; p++) at[p] = p;
  for (uint32_t c = 0; c < end - begin; c++) {
    pick(b->error[c], at, r->errors + (size_t)(begin + c) * PATHS);
    for (uint32_t p = 0; p < PATHS; p++) at[p] = b->parent[c][at[p]];
  }
  for (uint32_t k = end; k < r->settled; k++) pick(r->errors + (size_t)k * PATHS, at, r->errors + (size_t)k * PATHS);
  for (; r->settled > begin; r->settled--) {
    const float *e = r->errors + (size_t)(r->settled - 1) * PATHS;
    uint32_t n_equal = 0;
    for (uint32_t p = 0; p < PATHS; p++) n_equal += e[p] == e[0];
    if (n_equal < PATHS) break;
    r->error[r->settled - 1] = e[0];
  }
}

/* Rows with one factor: targets in, errors of each one's best path out. */
static void round_together(const float *l, uint32_t n, const float *col, float *panel, struct row *rows, uint32_t n_rows) {
  for (uint32_t i = 0; i < n_rows; i++) {
    memset(&rows[i].beam, 0, sizeof rows[i].beam);
    rows[i].beam.n = 1;
    rows[i].settled = n;
  }
  for (uint32_t end = n, begin; end > 0; end = begin) {
    begin = end > COLS ? end - COLS : 0;
    for (uint32_t k = n; k-- > end;) {
      float *line = panel + (size_t)(n - 1 - k) * COLS;
      if (end - begin == COLS) memcpy(line, l + (size_t)k * n + begin, COLS * sizeof *line);
      else memcpy(line, l + (size_t)k * n + begin, (end - begin) * sizeof *line);
    }
    feed_group(panel, n, end, rows, n_rows);
    for (uint32_t i = 0; i < n_rows; i++) {
      round_group(l, n, begin, end, col, &rows[i]);
      settle(begin, end, &rows[i]);
    }
  }
  for (uint32_t i = 0; i < n_rows; i++)
    for (uint32_t k = 0; k < rows[i].settled; k++) rows[i].error[k] = rows[i].errors[(size_t)k * PATHS];
}

/* Some items, in each of them a row at a time from the last to the first: each sees the errors of those after it. */
static void round_items(void *ctx, uint32_t number, uint32_t thread) {
  struct work *p = ctx;
  const struct tansy_gptq *g = p->g;
  uint32_t n = g->n, first_item = number * p->together, n_items = p->n_items - first_item < p->together ? p->n_items - first_item : p->together;
  struct row *rows = p->rows + (size_t)thread * p->together;
  for (uint32_t i = p->block; i-- > 0;) {
    uint32_t n_rows = 0, index[MAX_TOGETHER];
    for (uint32_t item = first_item; item < first_item + n_items; item++) {
      uint32_t first = item * p->block, size = g->n_rows - first < p->block ? g->n_rows - first : p->block;
      if (i >= size) continue;
      const float *m = g->m ? g->m + (size_t)first * p->block : NULL; /* [size, size] */
      struct row *r = &rows[n_rows];
      index[n_rows++] = first + i;
      r->step = g->row[first + i];
      memset(r->target, 0, n * sizeof *r->target);
      for (uint32_t k = size; m && k-- > i + 1;) {
        const float *e = p->w + (size_t)(first + k) * n;
        float share = m[(size_t)i * size + k] / m[(size_t)i * size + i];
        for (uint32_t j = 0; j < n; j++) r->target[j] += share * e[j];
      }
      const float *w = p->w + (size_t)(first + i) * n;
      for (uint32_t j = 0; j < n; j++) r->target[j] += w[j];
    }
    round_together(g->l, n, g->col, p->panels + (size_t)thread * n * COLS, rows, n_rows);
    for (uint32_t k = 0; k < n_rows; k++) {
      const struct row *r = &rows[k];
      float *w = p->w + (size_t)index[k] * n;
      int16_t *z = p->z + (size_t)index[k] * n;
      p->loss[index[k]] = g->weight[index[k]] * (r->beam.base + r->beam.cost[0]);
      for (uint32_t j = 0; j < n; j++) {
        float step = r->step * g->col[j], q = nearest(r->target[j] - r->error[j], step);
        z[j] = (int16_t)q;
        w[j] -= q * step;
      }
    }
  }
}

static void give_values(void *ctx, uint32_t row, uint32_t thread) {
  (void)thread;
  struct work *p = ctx;
  size_t at = (size_t)row * p->g->n;
  for (uint32_t j = 0; j < p->g->n; j++) p->w[at + j] = (float)p->z[at + j] * (p->g->row[row] * p->g->col[j]);
}

/* in one order, whatever threads and items there are */
static double sum_of_losses(const double *loss, uint32_t n_rows, uint32_t block) {
  double sum = 0;
  for (uint32_t first = 0; first < n_rows; first += block) {
    double some = 0;
    for (uint32_t i = n_rows - first < block ? n_rows : first + block; i-- > first;) some += loss[i];
    sum += some;
  }
  return sum;
}

double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int16_t *z) {
  uint32_t n = g->n, n_threads = tansy_team_n_threads(team), block = g->m ? g->block : 1;
  struct work p = {.g = g, .w = w, .z = z, .block = block, .n_items = (g->n_rows + block - 1) / block};
  p.together = (p.n_items + n_threads - 1) / n_threads; /* every thread has its share */
  while (p.together > MAX_TOGETHER) p.together = (p.together + 1) / 2;
  size_t n_rows = (size_t)n_threads * p.together, row_nfloats = (size_t)(PATHS + 2) * n;
  p.rows = calloc(n_rows, sizeof *p.rows);
  p.panels = calloc((size_t)n_threads * n * COLS + n_rows * row_nfloats, sizeof *p.panels);
  p.loss = malloc(g->n_rows * sizeof *p.loss);
  double loss = -1;
  if (p.rows && p.panels && p.loss) {
    for (size_t i = 0; i < n_rows; i++) {
      struct row *r = &p.rows[i];
      r->target = p.panels + (size_t)n_threads * n * COLS + i * row_nfloats;
      r->error = r->target + n;
      r->errors = r->error + n;
    }
    tansy_team_run(team, (p.n_items + p.together - 1) / p.together, round_items, &p);
    tansy_team_run(team, g->n_rows, give_values, &p);
    loss = sum_of_losses(p.loss, g->n_rows, g->m ? block : ROWS);
  }
  free(p.rows);
  free(p.panels);
  free(p.loss);
  return loss; /* negative: out of memory */
}
