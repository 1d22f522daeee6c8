/* resume.h: an interrupted compression by the best recipe goes on where it was.
 *
 * What it has done so far is written beside the output, as OUT.resume (and tensors that have no room in memory stay in OUT.parts): whole,
 * then renamed into place, after the measuring and after layers, when some seconds have passed since the last time. A run with the same input, options and calibration text takes it up, and
 * writes the bytes that an uninterrupted one would have written. */
#ifndef TANSY_PACK_RESUME_H
#define TANSY_PACK_RESUME_H

#include "pack/best.h"

/* interval: seconds between saves */
enum tansy_status tansy_resume_open(struct tansy_job *job, const char *out, double interval, struct tansy_failure *failure);
/* done: the output is in place, and the file is removed */
void tansy_resume_close(struct tansy_job *job, bool done);

/* Saves when it is time to, or now. A file that cannot be written is a warning, no failure. */
void tansy_best_save(struct tansy_best *b, bool now);
/* Takes up a saved state, if there is one of this very compression: *found. Leaves b as it was when there is none. */
enum tansy_status tansy_best_restore(struct tansy_best *b, bool *found, struct tansy_failure *failure);

#endif
