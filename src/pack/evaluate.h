/* evaluate.h: a compressed model against text, and against the checkpoint it was made from. */
#ifndef TANSY_PACK_EVALUATE_H
#define TANSY_PACK_EVALUATE_H

#include "pack/checkpoint.h"
#include "pack/floats.h"
#include "pack/model_file.h"
#include "pack/report.h"
#include "pack/runner.h"
#include "pack/score.h"

/* Windows of a text: `window` tokens each, evenly spread over it, at most max_tokens in all (0: no limit), never overlapping. */
struct tansy_windows {
  uint32_t window, n;
  int32_t *tokens; /* [n * window] */
};
enum tansy_status tansy_windows_cut(const int32_t *ids, size_t n_ids, uint32_t window, uint64_t max_tokens, struct tansy_windows *out,
                                    struct tansy_failure *failure);

/* The float model's last hidden states of all windows, and what makes logits of them. */
struct tansy_reference {
  struct tansy_float_outer outer;
  struct tansy_runner runner;
  float *x; /* [n * window, H] */
};
enum tansy_status tansy_reference_init(struct tansy_reference *ref, const struct tansy_checkpoint *checkpoint, struct tansy_team *team,
                                       const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_failure *failure);
void tansy_reference_free(struct tansy_reference *ref);

/* Scores tokens 1.. of every window. `ref` may be NULL. */
enum tansy_status tansy_evaluate(const struct tansy_model_file *file, struct tansy_reference *ref, struct tansy_team *team,
                                 const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                 struct tansy_failure *failure);
/* the float model alone */
enum tansy_status tansy_evaluate_reference(struct tansy_reference *ref, const struct tansy_windows *windows, struct tansy_score *score,
                                           struct tansy_failure *failure);

#endif
