/* generate.h: a calibration text for checkpoints that come without one: the model's own words. */
#ifndef TANSY_PACK_GENERATE_H
#define TANSY_PACK_GENERATE_H

#include "pack/evaluate.h"

/* Short windows of tokens drawn from the model's predictions; free out->tokens. Much worse than real text, much better than none. */
enum tansy_status tansy_generate_windows(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, struct tansy_progress *progress,
                                         struct tansy_windows *out, struct tansy_failure *failure);

#endif
