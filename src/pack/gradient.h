/* gradient.h: backwards through one float layer, to learn which errors a model's prediction feels.
 *
 * With labels drawn from the model's own prediction, the mean of g g^T, g the gradient of ln p(label), is the Fisher
 * information F: an error d of some activation costs about d F d^T / 2 nats. The compressor needs it for every linear's outputs
 * (diagonal) and for the embedding's output (all of it). Checked against finite differences of the forward pass. */
#ifndef TANSY_PACK_GRADIENT_H
#define TANSY_PACK_GRADIENT_H

#include "model/forward.h"

/* gradients at a linear's outputs, and what it reads; any pointer may be NULL */
struct tansy_felt {
  float *token; /* [n_tokens]: sums of squares over outputs */
  float *g;     /* [n_tokens, n_rows]: themselves */
  float *x;     /* [n_tokens, n_cols]: its inputs */
};
struct tansy_output_fisher {
  struct tansy_felt q, k, v, o, gate, up, down;
};

/* floats of scratch for windows of n_tokens */
size_t tansy_gradient_scratch_n(const struct tansy_config *config, uint32_t n_tokens);

/* x [n_tokens, H]: the layer's input (one window from position 0). g [n_tokens, H]: gradient at its output, replaced by the
 * gradient at its input. `f` has the angles of positions 0.. (tansy_rope_forward). */
void tansy_layer_backward(const struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, const float *x,
                          uint32_t n_tokens, float *g, float *scratch, const struct tansy_output_fisher *fisher);

/* gx [n_tokens, n] += backwards through out = norm(x) (RMS or LayerNorm as the config says), g [n_tokens, n] at its output */
void tansy_norm_backward(const struct tansy_config *config, const float *x, const float *weight, const float *g, uint32_t n_tokens,
                         uint32_t n, float *gx);

#endif
