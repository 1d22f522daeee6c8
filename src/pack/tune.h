/* tune.h: the last step of the best recipe: the file's integers moved end to end.
 *
 * Layer by layer, every matrix is rounded as well as it can be seen from where it stands: in a quadratic measure that knows nothing of
 * other matrices. Here the whole rounded model is trained to predict what the float model predicts: the gradient of the divergence
 * (exact, over the whole vocabulary) goes straight through the rounding to a shadow of each integer, which begins at the integer; where
 * small steps add up to half, the integer moves by one. Row scales move by their common factor. Some seven integers in a thousand
 * move, and the size with them by a tenth of a percent.
 *
 * It takes many tokens: a single one says little of each of millions of integers. What is gained is measured on windows that it did not see,
 * and where there is no gain, the file stays as it was. */
#ifndef TANSY_PACK_TUNE_H
#define TANSY_PACK_TUNE_H

#include "pack/job.h"

/* DONE: it is wanted, its cost is bounded (or somebody has asked for it by name), and there is text enough; else why not */
enum tansy_tuning tansy_tune_wanted(const struct tansy_job *job);
/* its work, in multiplications */
double tansy_tune_work(const struct tansy_job *job);

/* job->writer holds the whole model. Fills job->tuned. */
enum tansy_status tansy_tune(struct tansy_job *job, struct tansy_runner *runner, double work, struct tansy_failure *failure);

#endif
