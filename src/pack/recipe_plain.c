/* recipe_plain.c: per-row absmax integers, ANS-coded. The baseline of every comparison. */
#include <stdlib.h>

#include "pack/job.h"

struct plain {
  uint32_t n_cols;
  float limit, *absmax;
  const struct tansy_rows *rows;
  int16_t *z;
};

static enum tansy_status see_absmax(void *ctx, uint32_t first, uint32_t n_rows, float *w, struct tansy_failure *failure) {
  (void)failure;
  const struct plain *p = ctx;
  tansy_absmax_rows(w, n_rows, p->n_cols, p->absmax + first);
  return TANSY_OK;
}

static enum tansy_status round_block(void *ctx, uint32_t first, uint32_t n_rows, float *w, struct tansy_failure *failure) {
  (void)failure;
  const struct plain *p = ctx;
  tansy_round_rows(w, n_rows, p->n_cols, p->rows->value + first, p->limit, p->z + (size_t)first * p->n_cols);
  return TANSY_OK;
}

/* the same integers as tansy_quantize_absmax, the matrix read twice instead of kept */
enum tansy_status tansy_job_add_plain_matrix(struct tansy_job *job, const struct tansy_source *s, uint32_t bits,
                                             struct tansy_failure *failure) {
  struct tansy_rows rows;
  struct plain p = {.n_cols = s->n_cols, .limit = tansy_integer_limit(bits), .rows = &rows};
  p.absmax = malloc(s->n_rows * sizeof *p.absmax);
  p.z = malloc((size_t)s->n_rows * s->n_cols * sizeof *p.z);
  enum tansy_status status = tansy_rows_init(&rows, s->n_rows, failure);
  if (status == TANSY_OK && (!p.absmax || !p.z)) status = tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_checkpoint_blocks(job->checkpoint, s, see_absmax, &p, failure);
  if (status == TANSY_OK) {
    for (uint32_t i = 0; i < s->n_rows; i++) p.absmax[i] /= p.limit;
    tansy_rows_set_half(&rows, p.absmax);
    status = tansy_checkpoint_blocks(job->checkpoint, s, round_block, &p, failure);
  }
  if (status == TANSY_OK) status = tansy_job_add_integers(job, s, (struct tansy_integers){p.z, NULL}, &rows, failure);
  tansy_rows_free(&rows);
  free(p.absmax);
  free(p.z);
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
