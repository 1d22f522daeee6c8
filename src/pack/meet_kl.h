/* meet_kl.h: the smallest model that stays within a given divergence from its checkpoint. */
#ifndef TANSY_PACK_MEET_KL_H
#define TANSY_PACK_MEET_KL_H

#include "pack/job.h"

typedef enum tansy_status tansy_recipe(void *ctx, struct tansy_job *job, struct tansy_failure *failure);

struct tansy_kl_met {
  double kl;   /* nats a token, of the file as engines run it, on windows of the calibration text that the recipe did not see */
  double bits; /* per weight */
  uint32_t n_tries, n_predictions;
};

/* Tries bits per weight until the measured divergence is at most `max_kl` and at least 98% of it, or no smaller ones are within it; job is left as the last try made it.
 * Every eighth window of the calibration text is held out for measuring. `trial` is the path of a file for the tries. */
enum tansy_status tansy_meet_kl(struct tansy_job *job, double max_kl, const char *trial, tansy_recipe *recipe, void *ctx, struct tansy_kl_met *out,
                                struct tansy_failure *failure);

#endif
