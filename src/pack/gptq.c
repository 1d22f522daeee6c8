/* gptq.c: see gptq.h. A row is rounded group by group of columns: what columns of later groups feed back is a matrix product; within the
 * group, errors are fed to the columns still to come one by one. Vectors run across the paths of the beam, so each path keeps its own sums
 * in one order. Rows that are done hold their errors in w until the end. */
#include "pack/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

enum { COLS = 32, TILE = 4, ROWS = 32, PATHS = 16 };
#define LARGEST 32767.0f /* integers beyond this are cut; only degenerate input gets here */

struct work {
  const struct tansy_gptq *g;
  float *w;
  int16_t *z;
  uint32_t block;  /* rows of an item */
  float *scratch;  /* [n_threads] [(PATHS + 1) n] */
  double *loss;    /* [n_items] */
};

/* The most promising ways to round the columns so far, the best one first. */
struct beam {
  uint32_t n;                   /* paths */
  float cost[PATHS];            /* above `base` */
  double base;
  float fed[COLS][PATHS];       /* of the group's columns: what errors of columns that are done feed back, times L_jj */
  float error[COLS][PATHS];     /* of the group */
  uint8_t parent[COLS][PATHS];  /* number of the path that this one went on from */
};

/* fed = sum over columns k >= end of errors [n][PATHS] times L_kj */
static void feed_group(const float *l, uint32_t n, uint32_t begin, uint32_t end, const float *errors, float fed[COLS][PATHS]) {
  for (uint32_t j = begin; j < end; j += TILE) {
    float acc[TILE][PATHS] = {{0}};
    uint32_t tile = end - j < TILE ? end - j : TILE;
    for (uint32_t k = n; k-- > end;) {
      const float *e = errors + (size_t)k * PATHS, *lk = l + (size_t)k * n + j;
      if (tile == TILE) {
        for (uint32_t c = 0; c < TILE; c++)
          for (uint32_t p = 0; p < PATHS; p++) acc[c][p] += lk[c] * e[p];
      } else {
        for (uint32_t c = 0; c < tile; c++)
          for (uint32_t p = 0; p < PATHS; p++) acc[c][p] += lk[c] * e[p];
      }
    }
    memcpy(fed[j - begin], acc, tile * sizeof *acc);
  }
}

static float nearest(float u, float step) {
  float q = step > 0 ? u / step : 0;
  return q > LARGEST ? LARGEST : q < -LARGEST ? -LARGEST : tansy_round_f32(q);
}

/* Every path goes on with the nearest and with the second nearest integer; the best of all these stay. */
static void round_column(struct beam *b, uint32_t c, float target, float step, float diagonal) {
  float cost[2 * PATHS], error[2 * PATHS];
  uint32_t n = b->n;
  for (uint32_t p = 0; p < 2 * PATHS; p++) cost[p] = 3e38f;
  for (uint32_t p = 0; p < n; p++) {
    float wanted = target + b->fed[c][p] / diagonal, q = nearest(wanted, step), other = wanted > q * step ? q + 1 : q - 1;
    float near_miss = (wanted - q * step) * diagonal, far_miss = (wanted - other * step) * diagonal;
    cost[2 * p] = b->cost[p] + near_miss * near_miss;
    cost[2 * p + 1] = step > 0 ? b->cost[p] + far_miss * far_miss : 3e38f;
    error[2 * p] = target - q * step;
    error[2 * p + 1] = target - other * step;
  }
  uint32_t kept = 2 * n < PATHS ? 2 * n : PATHS, from[PATHS] = {0};
  for (uint32_t i = 0; i < 2 * n; i++) {
    uint32_t rank = 0;
    for (uint32_t k = 0; k < 2 * PATHS; k++) rank += cost[k] < cost[i];
    for (uint32_t k = 0; k < i; k++) rank += cost[k] == cost[i];
    if (rank < kept) from[rank] = i;
  }
  float least = cost[from[0]];
  b->base += least;
  for (uint32_t p = 0; p < PATHS; p++) {
    uint32_t i = p < kept ? from[p] : from[0];
    b->cost[p] = cost[i] - least;
    b->error[c][p] = error[i];
    b->parent[c][p] = (uint8_t)(i / 2);
  }
  b->n = kept;
}

/* one row; target [n] in, errors of the best path out */
static double round_row(const float *l, uint32_t n, float row, const float *col, float *target, float *errors) {
  struct beam b = {.n = 1};
  for (uint32_t end = n, begin; end > 0; end = begin) {
    begin = end > COLS ? end - COLS : 0;
    feed_group(l, n, begin, end, errors, b.fed);
    for (uint32_t j = end; j-- > begin;) {
      uint32_t c = j - begin;
      const float *lj = l + (size_t)j * n;
      round_column(&b, c, target[j], row * col[j], lj[j]);
      for (uint32_t k = 0; k < c; k++) {
        float old[PATHS];
        memcpy(old, b.fed[k], sizeof old);
        for (uint32_t p = 0; p < PATHS; p++) b.fed[k][p] = old[b.parent[c][p]] + lj[begin + k] * b.error[c][p];
      }
    }
    /* back along the parents: histories in the order of the paths that are left */
    uint32_t at[PATHS];
    for (uint32_t p = 0; p < PATHS; p++) at[p] = p;
    for (uint32_t c = 0; c < end - begin; c++)
      for (uint32_t p = 0; p < PATHS; p++) {
        errors[(size_t)(begin + c) * PATHS + p] = b.error[c][at[p]];
        at[p] = b.parent[c][at[p]];
      }
    for (uint32_t k = end; k < n; k++) {
      float old[PATHS], *e = errors + (size_t)k * PATHS;
      memcpy(old, e, sizeof old);
      for (uint32_t p = 0; p < PATHS; p++) e[p] = old[at[p]];
    }
  }
  return b.base + b.cost[0];
}

/* rows of one item, from the last to the first: each sees the errors of those after it */
static void round_item(void *ctx, uint32_t item, uint32_t thread) {
  struct work *p = ctx;
  const struct tansy_gptq *g = p->g;
  uint32_t n = g->n, first = item * p->block, rows = g->n_rows - first < p->block ? g->n_rows - first : p->block;
  float *target = p->scratch + (size_t)thread * (PATHS + 1) * n, *errors = target + n;
  const float *m = g->m ? g->m + (size_t)item * p->block * p->block : NULL; /* [rows, rows] */
  for (uint32_t i = rows; i-- > 0;) {
    float *w = p->w + (size_t)(first + i) * n, row = g->row[first + i];
    int16_t *z = p->z + (size_t)(first + i) * n;
    memset(target, 0, n * sizeof *target);
    for (uint32_t k = rows; m && k-- > i + 1;) {
      const float *e = p->w + (size_t)(first + k) * n;
      float share = m[(size_t)i * rows + k] / m[(size_t)i * rows + i];
      for (uint32_t j = 0; j < n; j++) target[j] += share * e[j];
    }
    for (uint32_t j = 0; j < n; j++) target[j] += w[j];
    p->loss[item] += g->weight[first + i] * round_row(g->l, n, row, g->col, target, errors);
    for (uint32_t j = 0; j < n; j++) {
      float step = row * g->col[j], q = nearest(target[j] - errors[(size_t)j * PATHS], step);
      z[j] = (int16_t)q;
      w[j] -= q * step;
    }
  }
}

static void give_values(void *ctx, uint32_t row, uint32_t thread) {
  (void)thread;
  struct work *p = ctx;
  size_t at = (size_t)row * p->g->n;
  for (uint32_t j = 0; j < p->g->n; j++) p->w[at + j] = (float)p->z[at + j] * (p->g->row[row] * p->g->col[j]);
}

double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int16_t *z) {
  struct work p = {.g = g, .w = w, .z = z, .block = g->m ? g->block : ROWS};
  uint32_t n_items = (g->n_rows + p.block - 1) / p.block;
  p.scratch = malloc((size_t)tansy_team_n_threads(team) * (PATHS + 1) * g->n * sizeof(float));
  p.loss = calloc(n_items, sizeof(double));
  double loss = -1;
  if (p.scratch && p.loss) {
    tansy_team_run(team, n_items, round_item, &p);
    tansy_team_run(team, g->n_rows, give_values, &p);
    loss = 0;
    for (uint32_t i = 0; i < n_items; i++) loss += p.loss[i];
  }
  free(p.scratch);
  free(p.loss);
  return loss; /* negative: out of memory */
}
