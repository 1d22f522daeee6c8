/* score.h: how well logits predict: perplexity, top-1, and Kullback-Leibler divergence from a reference. */
#ifndef TANSY_PACK_SCORE_H
#define TANSY_PACK_SCORE_H

#include <stddef.h>
#include <stdint.h>

struct tansy_score {
  uint64_t n;            /* predictions */
  uint64_t n_right;      /* the most likely token is the right one (the lowest id wins ties) */
  double nll;            /* sum of -ln p(right token) */
  uint64_t n_reference_right, n_agree;
  double reference_nll;
  double kl;             /* sum of KL(reference || model), nats */
  uint64_t n_windows, n_whole, n_reference_whole; /* windows, and those of whose predictions every one is right */
};

/* logits, reference [n, vocab] (reference may be NULL), targets [n] */
void tansy_score_add(struct tansy_score *score, const float *logits, const float *reference, const int32_t *targets, uint32_t n,
                     uint32_t vocab);
/* sums of `from`, a window's, into `score` */
void tansy_score_merge(struct tansy_score *score, const struct tansy_score *from);

/* probabilities [n] = softmax(logits), largest logit in *largest (index) ; returns ln of the sum of exp(logit) */
double tansy_softmax(const float *logits, uint32_t n, float *probabilities, uint32_t *largest);

#endif
