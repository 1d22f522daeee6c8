/* gptq.c: see gptq.h. Vectors run across rows: a block of rows is turned on its side, and each keeps its own sum in the order
 * of columns. */
#include "pack/gptq.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

enum { ROWS = 32 };
#define LARGEST 1048576.0f /* integers beyond this are cut; only degenerate input gets here */

struct work {
  const struct tansy_gptq *g;
  float *w;
  int32_t *z;
  float *scratch; /* [n_threads] [2, n, ROWS] */
  double *loss;   /* [n_blocks] */
};

static void round_block(void *ctx, uint32_t item, uint32_t thread) {
  struct work *p = ctx;
  const struct tansy_gptq *g = p->g;
  uint32_t n = g->n, first = item * ROWS, rows = g->n_rows - first < ROWS ? g->n_rows - first : ROWS;
  float *w = p->scratch + (size_t)thread * 2 * n * ROWS, *e = w + (size_t)n * ROWS;
  float row[ROWS], loss[ROWS] = {0};
  for (uint32_t r = 0; r < ROWS; r++) {
    const float *from = p->w + (size_t)(first + (r < rows ? r : 0)) * n;
    for (uint32_t j = 0; j < n; j++) w[(size_t)j * ROWS + r] = from[j];
    row[r] = g->row[first + (r < rows ? r : 0)];
  }
  for (uint32_t j = n; j-- > 0;) {
    const float *l = g->l + (size_t)j * n;
    float sum[ROWS] = {0}, *wj = w + (size_t)j * ROWS, *ej = e + (size_t)j * ROWS;
    for (uint32_t k = n; k-- > j + 1;)
      for (uint32_t r = 0; r < ROWS; r++) sum[r] += l[k] * e[(size_t)k * ROWS + r];
    for (uint32_t r = 0; r < ROWS; r++) {
      float step = row[r] * g->col[j], u = wj[r] + sum[r] / l[j];
      float q = step > 0 ? u / step : 0;
      q = q > LARGEST ? LARGEST : q < -LARGEST ? -LARGEST : tansy_round_f32(q);
      float rounded = q * step, miss = (u - rounded) * l[j];
      ej[r] = wj[r] - rounded;
      wj[r] = q; /* the integer, exact in a float */
      loss[r] += miss * miss;
    }
  }
  double total = 0;
  for (uint32_t r = 0; r < rows; r++) {
    total += (double)loss[r] * g->weight[first + r];
    float *to = p->w + (size_t)(first + r) * n;
    int32_t *z = p->z + (size_t)(first + r) * n;
    for (uint32_t j = 0; j < n; j++) {
      z[j] = (int32_t)w[(size_t)j * ROWS + r];
      to[j] = w[(size_t)j * ROWS + r] * (row[r] * g->col[j]);
    }
  }
  p->loss[item] = total;
}

double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int32_t *z) {
  uint32_t n_blocks = (g->n_rows + ROWS - 1) / ROWS;
  struct work p = {g, w, z, malloc((size_t)tansy_team_n_threads(team) * 2 * g->n * ROWS * sizeof(float)), calloc(n_blocks, sizeof(double))};
  double loss = -1;
  if (p.scratch && p.loss) {
    tansy_team_run(team, n_blocks, round_block, &p);
    loss = 0;
    for (uint32_t i = 0; i < n_blocks; i++) loss += p.loss[i];
  }
  free(p.scratch);
  free(p.loss);
  return loss; /* negative: out of memory */
}
