/* gptq.h: rounding a matrix with error feedback, in units that the model's prediction feels.
 *
 * An error E = W - W' costs |M^T E L|^2 (the sum of squares of all elements), where L L^T = E[x x^T] of the inputs and
 * M M^T = E[g g^T] of the gradients at the outputs (a Kronecker-factored Fisher matrix). Weights are rounded from the last
 * column and row to the first, weight (i, j) not as w_ij but as u: w_ij and what undoes the rounding of those after it, so that
 * (M^T E L)_ij = M_ii (u - w'_ij) L_jj, at most half a step if w'_ij is the integer nearest to u. (GPTQ, 2210.17323, in the order and the
 * form of Babai's nearest plane, with feedback from rows too; steps are uniform and unbounded, because the entropy coder makes rare
 * values cheap.)
 *
 * The nearest integer is best for a column and not for those that come after it: where inputs are correlated, a row of integers
 * is a point of a skewed lattice, and a closer one is elsewhere. So the 16 best ways to round a row so far go on together (a beam; the
 * M-algorithm of decoders), each with its nearest and its second nearest integer. Seen once, on books-3m at
 * 2.67 bits a weight: 10 % less divergence than one way, and 0.8 % less again with 48. */
#ifndef TANSY_PACK_GPTQ_H
#define TANSY_PACK_GPTQ_H

#include <stdint.h>

#include "pack/team.h"

struct tansy_gptq {
  const float *l;      /* [n, n] Cholesky factor, mirrored (tansy_cholesky) */
  const float *col;    /* [n] column scales: step of (i, j) is row_i * col_j */
  const float *row;    /* [n_rows] */
  const float *weight; /* [n_rows] M_ii^2, up to a factor */
  const float *m;      /* factors of blocks of outputs (fisher.h), mirrored; NULL: M is diagonal */
  uint32_t block;      /* rows in each of them */
  uint32_t n_rows, n;
};

/* w [n_rows, n]: in: what to round; out: rounded values. z [n_rows, n], within 16 bits. Returns the sum of weight_i ((u - w') L_jj)^2,
 * or -1 when memory is short. */
double tansy_gptq_round(struct tansy_team *team, const struct tansy_gptq *g, float *w, int16_t *z);

#endif
