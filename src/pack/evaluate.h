/* evaluate.h: a compressed model (or another checkpoint) against text, and against the checkpoint it was made from. */
#ifndef TANSY_PACK_EVALUATE_H
#define TANSY_PACK_EVALUATE_H

#include "pack/checkpoint.h"
#include "pack/floats.h"
#include "pack/model_file.h"
#include "pack/report.h"
#include "pack/runner.h"
#include "pack/score.h"

/* Windows of a text: `window` tokens each, evenly spread over it, at most max_tokens in all (0: no limit), never overlapping. */
struct tansy_span {
  uint32_t begin, end;
};
struct tansy_windows {
  uint32_t window, n;
  int32_t *tokens;           /* [n * window] */
  struct tansy_span *scored; /* [n] tokens of the window that are to be predicted; NULL: all but the first */
};
enum tansy_status tansy_windows_cut(const int32_t *ids, size_t n_ids, uint32_t window, uint64_t max_tokens, struct tansy_windows *out,
                                    struct tansy_failure *failure);
/* Texts whose last tokens are to be guessed (LAMBADA), each a window of its own, padded at its end. `numbers` [n_numbers]: for
 * each text its tokens, how many of the last are to be guessed, and the ids. Texts longer than `context` lose their beginning. */
enum tansy_status tansy_windows_cloze(const uint32_t *numbers, size_t n_numbers, uint32_t vocab, uint32_t context, struct tansy_windows *out,
                                      struct tansy_failure *failure);
void tansy_windows_free(struct tansy_windows *windows);

/* The float model's last hidden states of all windows, and what makes logits of them. */
struct tansy_reference {
  struct tansy_float_outer outer;
  struct tansy_runner runner;
  float *x; /* [n * window, H] */
};
enum tansy_status tansy_reference_init(struct tansy_reference *ref, const struct tansy_checkpoint *checkpoint, struct tansy_team *team,
                                       const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_failure *failure);
void tansy_reference_free(struct tansy_reference *ref);

/* Scores the tokens to be predicted of every window. `ref` may be NULL. */
enum tansy_status tansy_evaluate(const struct tansy_model_file *file, struct tansy_reference *ref, struct tansy_team *team,
                                 const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                 struct tansy_failure *failure);
/* the same of a checkpoint, in floats all the way */
enum tansy_status tansy_evaluate_floats(struct tansy_reference *model, struct tansy_reference *ref, struct tansy_team *team,
                                        const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                        struct tansy_failure *failure);

#endif
