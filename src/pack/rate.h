/* rate.h: how many bytes a matrix will take at a given fineness, before it is rounded; and the fineness for a given size.
 *
 * All matrices share one constant: the step of weight (i, j) is c * r_i / (sqrt(kappa) * L_jj), where kappa and r_i say how much the
 * prediction feels the matrix and its row, and L_jj how much of input j the later inputs do not explain. Equal c is the best
 * allocation: each weight then costs the same loss per bit. */
#ifndef TANSY_PACK_RATE_H
#define TANSY_PACK_RATE_H

#include "pack/checkpoint.h"
#include "pack/quantize.h"

enum { TANSY_RATE_POINTS = 25 };

/* One matrix on its way. */
struct tansy_unit {
  const struct tansy_source *source;
  double kappa;      /* mean of weight */
  float *weight;     /* [n_rows] loss per unit of |e L|^2 in a row, nats */
  const float *factor; /* of the outputs' gradients (fisher.h), weight being its squared diagonal; NULL: rows do not matter to each other */
  uint32_t block;
  uint8_t *code;     /* [n_rows] r_i = 2^(code / 2) times r_base; NULL: all rows alike, r_i = 1 */
  double r_base;
  double bits[TANSY_RATE_POINTS]; /* entropy per weight at ln c = TANSY_RATE_LOW + i * TANSY_RATE_STEP + centre */
  double centre;
  double ratio;      /* real coded bits over this entropy, as learned */
  double nbytes;     /* real bytes once coded, else 0 */
  double loss;       /* predicted KL it adds, nats, once rounded */
};

/* weight [n_rows] is taken over. Rows get multipliers (weight / mean + 0.02)^(-exponent / 2) on half-octaves where that gains more
 * than its half byte a row costs. */
enum tansy_status tansy_unit_init(struct tansy_unit *u, const struct tansy_source *source, float *weight, double exponent,
                                  struct tansy_failure *failure);
void tansy_unit_free(struct tansy_unit *u);

/* r_i */
double tansy_unit_row(const struct tansy_unit *u, uint32_t row);

/* Fills bits[] from the weights w [n_rows, n_cols] (or some rows of them: row_of[k] is the number of row k) and L_jj. */
enum tansy_status tansy_unit_measure(struct tansy_unit *u, const float *w, const uint32_t *row_of, uint32_t n_rows, const float *l_diagonal,
                                     struct tansy_failure *failure);

/* expected blob bytes at ln c */
double tansy_unit_nbytes_at(const struct tansy_unit *u, double log_c);

/* ln c at which all units that are not coded yet come to `allowed` bytes */
double tansy_rate_solve(const struct tansy_unit *units, uint32_t n_units, double allowed);

/* bytes of everything but coded matrices: vectors, scales, index and shell; within a few percent */
double tansy_rate_overhead(const struct tansy_checkpoint *checkpoint);

#endif
