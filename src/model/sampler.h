/* sampler.h: from logits to a token. The same arithmetic everywhere, so that a seed gives the same text on every engine. */
#ifndef TANSY_MODEL_SAMPLER_H
#define TANSY_MODEL_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

#include "tansy.h"

/* PCG-XSH-RR 64/32: one state, 32 bits out */
struct tansy_rng {
  uint64_t state;
};
void tansy_rng_seed(struct tansy_rng *rng, uint64_t seed);
uint32_t tansy_rng_next(struct tansy_rng *rng);

struct tansy_candidate {
  float logit;
  int32_t id;
};

/* memory for tansy_sampler_pick: candidates, and room to sort the tokens the penalties look back at */
uint64_t tansy_sampler_nbytes(uint32_t vocab, uint32_t context);

/* history [n_history]: all tokens so far, oldest first. Returns the id, or -status (ARGUMENT, NONFINITE). */
int32_t tansy_sampler_pick(const struct tansy_sampler *sampler, const float *logits, uint32_t vocab, const int32_t *history,
                           uint32_t n_history, struct tansy_rng *rng, void *memory);

float tansy_logprob_of(const float *logits, uint32_t vocab, int32_t token);

#endif
