/* text_check.h: is a calibration text one that the model knows? */
#ifndef TANSY_PACK_TEXT_CHECK_H
#define TANSY_PACK_TEXT_CHECK_H

#include "pack/evaluate.h"

/* What the float model makes of some of the text, nats a token. A model is about as surprised as it expects to be by text of the
 * kinds it was trained on, and much more by others: another language, noise. */
struct tansy_text_check {
  uint32_t n_tokens;
  double nll;     /* surprise at the tokens that come */
  double entropy; /* surprise it expects */
};
/* nll - entropy beyond which a text is not the model's. Of a model of English books: -0.1 to 0.2 for others of them, 1.7 for WikiText with
 * its marks, 3.2 for source code, 3.6 for German, 4.3 for base64. */
#define TANSY_TEXT_STRANGE 2.0

enum tansy_status tansy_text_check(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, const struct tansy_windows *windows,
                                   struct tansy_text_check *out, struct tansy_failure *failure);

#endif
