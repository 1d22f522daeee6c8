/* linalg.h: dense float algebra of the compressor. Every sum has one stated order, independent of vector width and threads,
 * so that native and WASI compressors write the same file. Matrices are row-major. */
#ifndef TANSY_PACK_LINALG_H
#define TANSY_PACK_LINALG_H

#include <stddef.h>
#include <stdint.h>

#include "pack/team.h"

/* y [n_tokens, stride]: values 0 .. n_rows - 1 of each token = x [n_tokens, n_cols] w^T; each sum runs over columns from first to last */
void tansy_matmul_rows(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *y, size_t stride);
/* y [n_tokens, n_rows], on all threads */
void tansy_matmul_tokens(struct tansy_team *team, const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *y);
/* the same with the interface of tansy_kernels.matmul_f32 */
void tansy_matmul_f32_blocked(const float *w, const float *x, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, uint32_t row_begin,
                              uint32_t row_end, float *y);

/* gx [n_tokens, n_cols] += g [n_tokens, stride] w, of g values 0 .. n_rows - 1 of each token; each sum goes on in gx, over rows from first
 * to last */
void tansy_matmul_back(const float *w, const float *g, size_t stride, uint32_t n_tokens, uint32_t n_rows, uint32_t n_cols, float *gx);

/* gram [n, n] += x^T y over n_tokens rows of x, y [n_tokens, n]; sums of 64 tokens in f32, added up in f32.
 * x == y: only the lower triangle (j <= i) is made. */
void tansy_gram_add(struct tansy_team *team, float *gram, const float *x, const float *y, uint32_t n_tokens, uint32_t n);

/* out [n_x, n_y] += x^T y, x [n_tokens, n_x], y [n_tokens, n_y] */
void tansy_cross_add(struct tansy_team *team, float *out, const float *x, uint32_t n_x, const float *y, uint32_t n_y, uint32_t n_tokens);

/* the same of x with itself, for blocks of its columns next to each other: grams of [block, block], one after the other; the last
 * may be smaller */
void tansy_gram_blocks_add(struct tansy_team *team, float *grams, const float *x, uint32_t n_tokens, uint32_t n, uint32_t block);

/* copies the lower triangle to the upper one */
void tansy_mirror(float *a, uint32_t n);

/* Lower Cholesky factor L of (lower triangle of) a + damping * I, in place and mirrored: row j holds L_j0.. L_jj, then L_j+1,j..
 * L_n-1,j, so that rows and columns of L are both contiguous. Sums in double. Pivots that are not positive become 1e-6 of the
 * largest diagonal element. */
void tansy_cholesky(struct tansy_team *team, float *a, uint32_t n, double damping);

/* rows of x [n_rows, n]: x := x (L L^T)^-1, L mirrored. Sums in f32. */
void tansy_cholesky_solve_rows(struct tansy_team *team, const float *l, uint32_t n, float *x, uint32_t n_rows);

/* out [n_rows, n] = w [n_rows, n] m [n, n] */
void tansy_matmul_right(struct tansy_team *team, const float *w, const float *m, uint32_t n_rows, uint32_t n, float *out);

/* fixed-order dot product in double */
double tansy_dot(const float *a, const float *b, size_t n);

#endif
