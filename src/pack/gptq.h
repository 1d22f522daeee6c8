/* gptq.h: rounding a matrix with error feedback, in units that the layer's output feels.
 *
 * The error of a row e = w - w' costs e H e^T = |e L|^2, H = E[x x^T] = L L^T. Columns are rounded from the last to the first;
 * column j is rounded not as w_j but as u = w_j + sum over k > j of e_k L_kj / L_jj, which undoes what the rounding of
 * later columns has done to it. Then (e L)_j = (u - w'_j) L_jj, at most half a step times L_jj. (GPTQ, 2210.17323, in the order
 * and the form of Babai's nearest plane; steps are uniform and unbounded, because the entropy coder makes rare values cheap.) */
#ifndef TANSY_PACK_GPTQ_H
#define TANSY_PACK_GPTQ_H

#include <stdint.h>

#include "pack/team.h"

struct tansy_gptq {
  const float *l;      /* [n, n] Cholesky factor, mirrored (tansy_cholesky) */
  const float *col;    /* [n] column scales: step of (i, j) is row_i * col_j */
  const float *row;    /* [n_rows] */
  const float *weight; /* [n_rows] what a unit of |e L|^2 counts in row i */
  uint32_t n_rows, n;
};

/* w [n_rows, n]: in: what to round; out: rounded values. z [n_rows, n]. Returns the sum of weight_i |(e L)_i|^2,
 * or -1 when memory is short. */
double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int32_t *z);

#endif
