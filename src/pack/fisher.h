/* fisher.h: how much the model's prediction feels an error at each place: Fisher information, from one pass back (gradient.h).
 *
 * KL(model || model with error) is about half of E[d G d^T], d the errors of a linear's outputs and G = E[g g^T]. G is kept for blocks
 * of outputs next to each other, all of them where memory allows: a head's outputs and those on the residual stream move together. */
#ifndef TANSY_PACK_FISHER_H
#define TANSY_PACK_FISHER_H

#include "pack/evaluate.h"

enum { TANSY_N_LAYER_LINEARS = 7 }; /* q, k, v, o, gate, up, down */

struct tansy_fisher {
  uint32_t n_layers;
  uint32_t block;      /* gradients of so many outputs next to each other are taken together */
  float **factor;      /* [n_layers * 7]: Cholesky factors of E[g g^T] of each block of outputs, mirrored, one
                        * after the other; NULL where there is no such linear */
  float *embed_moment; /* [H, H]: E[g g^T] at an embedding row (its scale included) */
  float *head_moment;  /* [H, H] lower triangle of E[h h^T] of the head's inputs, tokens weighted by 1 - sum of p_v^2 */
  float *vocab;        /* [vocab]: E[p_v (1 - p_v)], what the head's row v counts */
  uint32_t n_tokens;
  uint32_t window;
  uint32_t n_given;    /* windows of the text given, of which some were used */
  uint32_t n_windows;  /* used: given window i * n_given / n_windows is number i */
  float **token;       /* [n_layers * 7 + 1] [n_tokens]: how much an error in what a linear makes of a token is felt, 1 on average; the
                        * last one is the head's */
};

/* number of the linear 0..6, or -1 */
int tansy_linear_number(uint32_t role);

/* rows of a block of a linear with so many outputs (the last one may have fewer), and floats of its factor */
uint32_t tansy_fisher_block(const struct tansy_fisher *fisher, uint32_t n_rows);
size_t tansy_fisher_factor_n(const struct tansy_fisher *fisher, uint32_t n_rows);

/* weights of the tokens of window `given` at a linear of a layer, or at the head (EMBED or HEAD); NULL where the window was not used: they
 * count as 1 */
const float *tansy_fisher_tokens(const struct tansy_fisher *fisher, uint32_t layer, uint32_t role, uint32_t given);

/* how many of the windows are used */
uint32_t tansy_fisher_n_windows(const struct tansy_config *config, const struct tansy_windows *windows);
/* windows: a part of the calibration text; as many of them as memory for the layers' inputs allows are used */
enum tansy_status tansy_fisher_make(const struct tansy_checkpoint *checkpoint, struct tansy_runner *runner, const struct tansy_windows *windows,
                                    struct tansy_progress *progress, double work, struct tansy_fisher *out, struct tansy_failure *failure);
void tansy_fisher_free(struct tansy_fisher *fisher);

#endif
