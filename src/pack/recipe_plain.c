/* recipe_plain.c: per-row absmax integers, ANS-coded. The baseline of every comparison. */
#include <stdlib.h>

#include "pack/job.h"

enum tansy_status tansy_job_add_plain_matrix(struct tansy_job *job, const struct tansy_source *s, uint32_t bits,
                                             struct tansy_failure *failure) {
  size_t n = (size_t)s->n_rows * s->n_cols;
  struct tansy_rows rows;
  float *w = malloc(n * sizeof *w);
  int32_t *z = malloc(n * sizeof *z);
  enum tansy_status status = tansy_rows_init(&rows, s->n_rows, failure);
  if (status == TANSY_OK && (!w || !z)) status = tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_checkpoint_read(job->checkpoint, s, 0, s->n_rows, w, failure);
  if (status == TANSY_OK) status = tansy_quantize_absmax(w, s->n_rows, s->n_cols, bits, z, &rows, failure);
  if (status == TANSY_OK) status = tansy_job_add_matrix(job, s, z, &rows, failure);
  tansy_rows_free(&rows);
  free(w);
  free(z);
  return status;
}

enum tansy_status tansy_recipe_plain(struct tansy_job *job, uint32_t bits, struct tansy_failure *failure) {
  double done = 0;
  tansy_progress_start(&job->progress, job->progress.kind, (double)job->checkpoint->n_params);
  for (uint32_t i = 0; i < job->checkpoint->n_sources; i++) {
    const struct tansy_source *s = &job->checkpoint->sources[i];
    char name[96];
    tansy_role_name(s->role, s->layer, name, sizeof name);
    tansy_progress_at(&job->progress, "quantize", name, done);
    if (s->matrix)
      TANSY_TRY(tansy_job_add_plain_matrix(job, s, bits, failure));
    else
      TANSY_TRY(tansy_job_add_vector(job, s, failure));
    done += (double)s->n_rows * s->n_cols;
  }
  return TANSY_OK;
}
