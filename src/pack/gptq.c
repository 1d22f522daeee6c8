/* gptq.c: see gptq.h. Columns are done in groups. What rounded columns feed back to a whole group is a matrix product; within the
 * group, and among rows that feed each other, it goes one by one. Vectors run across outputs, so each keeps its own sum in one order.
 * Columns that are done hold their errors in w until the end. */
#include "pack/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

enum { COLS = 32, TILE_ROWS = 2, ROWS = 32 };
#define LARGEST 32767.0f /* integers beyond this are cut; only degenerate input gets here */

struct work {
  const struct tansy_gptq *g;
  float *w;
  int16_t *z;
  uint32_t begin, end; /* columns of the group */
  uint32_t block;      /* rows of an item */
  float *scratch;      /* [n_threads] [(2 COLS + 3) block] */
  double *loss;        /* [n_items] */
};

/* fed [COLS][block]: what errors of the columns from p->end on feed back to rows [first, first + rows) of the group */
static void feed_group(const struct work *p, uint32_t first, uint32_t rows, float *fed) {
  uint32_t n = p->g->n, cols = p->end - p->begin;
  for (uint32_t i = 0; i < rows; i += TILE_ROWS) {
    float acc[TILE_ROWS][COLS] = {{0}};
    uint32_t tile = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
    const float *e = p->w + (size_t)(first + i) * n;
    for (uint32_t k = n; k-- > p->end;) {
      const float *l = p->g->l + (size_t)k * n + p->begin;
      if (tile == TILE_ROWS && cols == COLS) {
        for (uint32_t r = 0; r < TILE_ROWS; r++)
          for (uint32_t j = 0; j < COLS; j++) acc[r][j] += e[r * (size_t)n + k] * l[j];
      } else {
        for (uint32_t r = 0; r < tile; r++)
          for (uint32_t j = 0; j < cols; j++) acc[r][j] += e[r * (size_t)n + k] * l[j];
      }
    }
    for (uint32_t r = 0; r < tile; r++)
      for (uint32_t j = 0; j < cols; j++) fed[(size_t)j * p->block + i + r] = acc[r][j];
  }
}

static float nearest(float u, float step) {
  float q = step > 0 ? u / step : 0;
  return q > LARGEST ? LARGEST : q < -LARGEST ? -LARGEST : tansy_round_f32(q);
}

/* one group of columns of one item's rows */
static void round_item(void *ctx, uint32_t item, uint32_t thread) {
  struct work *p = ctx;
  const struct tansy_gptq *g = p->g;
  uint32_t n = g->n, first = item * p->block, rows = g->n_rows - first < p->block ? g->n_rows - first : p->block;
  float *fed = p->scratch + (size_t)thread * (2 * COLS + 3) * p->block, *e = fed + (size_t)COLS * p->block;
  float *fed_by_rows = e + (size_t)COLS * p->block, *u = fed_by_rows + p->block, *miss = u + p->block;
  const float *m = g->m ? g->m + (size_t)item * p->block * p->block : NULL; /* [rows, rows] */
  double loss = 0;
  feed_group(p, first, rows, fed);
  for (uint32_t j = p->end; j-- > p->begin;) {
    const float *l = g->l + (size_t)j * n;
    float *sum = fed + (size_t)(j - p->begin) * p->block, *ej = e + (size_t)(j - p->begin) * p->block;
    for (uint32_t k = p->end; k-- > j + 1;)
      for (uint32_t i = 0; i < rows; i++) sum[i] += l[k] * e[(size_t)(k - p->begin) * p->block + i];
    for (uint32_t i = 0; i < rows; i++) u[i] = p->w[(size_t)(first + i) * n + j] + sum[i] / l[j];
    memset(fed_by_rows, 0, rows * sizeof *fed_by_rows);
    for (uint32_t i = rows; i-- > 0;) {
      float step = g->row[first + i] * g->col[j], w = p->w[(size_t)(first + i) * n + j];
      const float *mi = m ? m + (size_t)i * rows : NULL;
      float wanted = m ? u[i] + fed_by_rows[i] / (mi[i] * l[j]) : u[i], q = nearest(wanted, step);
      ej[i] = w - q * step;
      miss[i] = (wanted - q * step) * l[j];
      p->z[(size_t)(first + i) * n + j] = (int16_t)q;
      p->w[(size_t)(first + i) * n + j] = ej[i];
      if (!m) continue;
      float felt = sum[i] + ej[i] * l[j]; /* (E L)_ij */
      for (uint32_t k = 0; k < i; k++) fed_by_rows[k] += mi[k] * felt;
    }
    for (uint32_t i = 0; i < rows; i++) loss += (double)g->weight[first + i] * miss[i] * miss[i];
  }
  p->loss[item] += loss;
}

static void give_values(void *ctx, uint32_t row, uint32_t thread) {
  (void)thread;
  struct work *p = ctx;
  size_t at = (size_t)row * p->g->n;
  for (uint32_t j = 0; j < p->g->n; j++) p->w[at + j] = (float)p->z[at + j] * (p->g->row[row] * p->g->col[j]);
}

double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int16_t *z) {
  struct work p = {.g = g, .w = w, .z = z, .end = g->n, .block = g->m ? g->block : ROWS};
  uint32_t n_items = (g->n_rows + p.block - 1) / p.block;
  p.scratch = malloc((size_t)tansy_team_n_threads(team) * (2 * COLS + 3) * p.block * sizeof(float));
  p.loss = calloc(n_items, sizeof(double));
  double loss = -1;
  if (p.scratch && p.loss) {
    for (; p.end > 0; p.end = p.begin) {
      p.begin = p.end > COLS ? p.end - COLS : 0;
      tansy_team_run(team, n_items, round_item, &p);
    }
    tansy_team_run(team, g->n_rows, give_values, &p);
    loss = 0;
    for (uint32_t i = 0; i < n_items; i++) loss += p.loss[i];
  }
  free(p.scratch);
  free(p.loss);
  return loss; /* negative: out of memory */
}
