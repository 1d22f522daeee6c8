/* site_scale.h: column scales of a site, put where they cost least.
 *
 * W ~ row * z * col needs the site's input multiplied by col. Where the input comes out of a norm, col is multiplied into the
 * norm's stored weight (and bias) and takes no byte of its own; else it is a vector. LOG8 either way, if it can be: it is rounded
 * first, and the rounded scale is what the weights are divided by, so rounding costs nothing. */
#ifndef TANSY_PACK_SITE_SCALE_H
#define TANSY_PACK_SITE_SCALE_H

#include "pack/floats.h"
#include "pack/job.h"

/* Writes the scale of `site` (with the norm it is folded into, and the norm's bias). wanted [n]: positive, or NULL for ones: then
 * norms are written as they are and no vector is. effective [n]: what weights must be divided by. */
enum tansy_status tansy_job_add_site(struct tansy_job *job, uint32_t layer, enum tansy_site site, const float *wanted, float *effective,
                                     struct tansy_failure *failure);
/* the same for a scale vector with a role of its own (EMBED_SCALE) */
enum tansy_status tansy_job_add_scale(struct tansy_job *job, uint32_t role, uint32_t layer, uint32_t n, const float *wanted, float *effective,
                                      struct tansy_failure *failure);
/* true for roles that tansy_job_add_site writes: norms before a site, and their biases */
int tansy_role_is_site_norm(uint32_t role);

#endif
