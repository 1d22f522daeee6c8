/* paper_stream.h: how much of the residual stream each half of a layer makes up, and so what an error in its linears does.
 *
 * Attention and MLP add their output to the stream, whose channels are of very different size. Of channel j after such a half, the half
 * itself made share_j = E[added_j^2] / E[stream_j^2]. A linear whose output is wrong by a relative r makes the stream wrong by about
 * r * share: the last linear of a half channel by channel, those before it on average. That needs activations only, no gradient, and
 * is mostly within a factor of two of what gradients say (Fisher information). */
#ifndef TANSY_PACK_PAPER_STREAM_H
#define TANSY_PACK_PAPER_STREAM_H

#include <stdbool.h>

#include "pack/checkpoint.h"

struct tansy_paper_stream {
  uint32_t hidden;
  float *share;        /* [n_layers, 2, hidden]: attention, MLP */
  /* while the layers are run */
  const float *x;      /* [n_tokens, hidden] the stream, which the caller moves on */
  float *before;       /* [n_tokens, hidden] the stream before the half at hand */
  double *added, *sum; /* [2, hidden] sums of squares over the tokens so far */
  size_t n_tokens, n_seen[2];
};
enum tansy_status tansy_paper_stream_init(struct tansy_paper_stream *s, uint32_t n_layers, uint32_t hidden, const float *x, size_t n_tokens,
                                          struct tansy_failure *failure);
/* x has moved on half a layer for the next n_tokens */
void tansy_paper_stream_see(struct tansy_paper_stream *s, uint32_t layer, bool mlp, uint32_t n_tokens);
/* frees what is needed meanwhile only */
void tansy_paper_stream_end(struct tansy_paper_stream *s);
void tansy_paper_stream_free(struct tansy_paper_stream *s);

/* What a linear's rounding does to the stream, up to a factor that is the same for all linears. Its steps are in proportion to
 * row_step [n_rows]; energy [n_rows]: squares of its outputs, summed over the text; columns: squares of what its rounded columns read,
 * summed likewise. 0: nothing is known. */
double tansy_paper_stream_damage(const struct tansy_paper_stream *s, const struct tansy_source *linear, const float *row_step, const double *energy,
                                 double columns);

#endif
