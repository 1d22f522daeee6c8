/* job.c: see job.h. */
#include "pack/job.h"

#include <stdlib.h>

enum tansy_status tansy_job_add_integers(struct tansy_job *job, const struct tansy_source *s, struct tansy_integers z,
                                         const struct tansy_rows *rows, struct tansy_failure *failure) {
  struct tansy_matrix_result *r = &job->results[job->n_results];
  TANSY_TRY(tansy_writer_add_matrix(&job->writer, s->role, s->layer, s->n_rows, s->n_cols, z, rows, &r->stats, failure));
  const struct tansy_coded_shape *shape = &job->writer.blobs[job->writer.n_blobs - 1].shape;
  r->role = s->role;
  r->layer = s->layer;
  r->n_rows = s->n_rows;
  r->n_cols = s->n_cols;
  r->raw_bits = shape->raw_bits;
  r->n_tables = shape->n_tables;
  r->n_escapes = shape->n_escapes;
  job->n_results++;
  return tansy_writer_settle(&job->writer, failure);
}

enum tansy_status tansy_job_add_vector(struct tansy_job *job, const struct tansy_source *s, struct tansy_failure *failure) {
  float *values = malloc(s->n_cols * sizeof *values);
  if (!values) return tansy_fail_memory(failure);
  enum tansy_status status = tansy_checkpoint_read(job->checkpoint, s, 0, 1, values, failure);
  if (status == TANSY_OK && (s->role == TANSY_ROLE_ROPE_INV_FREQ || s->role == TANSY_ROLE_ROPE_INV_FREQ_LOCAL)) {
    /* angles grow with the position: a half's 11 bits would not do */
    struct tansy_blob *b = tansy_writer_add(&job->writer, s->role, s->layer, TANSY_KIND_F32, 1, s->n_cols);
    for (uint32_t i = 0; b && i < s->n_cols; i++) tansy_put_f32(&b->stored, values[i]);
    if (!b || b->stored.failed) status = tansy_fail_memory(failure);
  } else if (status == TANSY_OK) {
    status = tansy_writer_add_vector(&job->writer, s->role, s->layer, values, s->n_cols, NULL, failure);
  }
  free(values);
  return status;
}

void tansy_job_clear(struct tansy_job *job) {
  tansy_writer_clear(&job->writer);
  job->n_results = 0;
}

double tansy_job_allowed_nbytes(const struct tansy_job *job) {
  if (job->target.kind == TANSY_TARGET_BITS) return job->target.value * (double)job->checkpoint->n_params / 8;
  double attached = 0;
  for (uint32_t i = 0; i < job->writer.n_attachments; i++) /* an attachment's record and shell entry are about 100 bytes */
    attached += (double)job->writer.attachments[i].nbytes + 100;
  return job->target.value - attached;
}

enum tansy_status tansy_job_nbytes(const struct tansy_job *job, double *nbytes, struct tansy_failure *failure) {
  struct tansy_file_sizes sizes;
  TANSY_TRY(tansy_writer_sizes(&job->writer, &sizes, failure));
  *nbytes = (double)(sizes.tensor_nbytes + sizes.index_nbytes);
  return TANSY_OK;
}
