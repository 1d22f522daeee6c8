/* tune_model.h: a model that the writer holds, as integers that can be moved and as the floats that they mean. */
#ifndef TANSY_PACK_TUNE_MODEL_H
#define TANSY_PACK_TUNE_MODEL_H

#include "pack/floats.h"
#include "pack/job.h"

/* One coded matrix: w_ij = round(u_ij) row_i col_j. */
struct tansy_tuned_matrix {
  const struct tansy_source *source;
  uint32_t n_rows, n_cols, blob; /* number of its tensor in the writer */
  struct tansy_row_scale scale;  /* points into that tensor */
  float *row, *col;              /* [n_rows], [n_cols] */
  float *u;                      /* [n_rows, n_cols] what is rounded */
  float *w;                      /* [n_rows, n_cols], where the linears read it */
  float *moved, *square;         /* [n_rows, n_cols] running means of the gradient at u and of its square */
  float mean_square;             /* of all squares */
  float base_moved, base_square; /* the same of the logarithm of all row scales */
};

struct tansy_tuned_model {
  const struct tansy_checkpoint *checkpoint;
  uint32_t n_matrices;
  struct tansy_tuned_matrix *matrices; /* in file order */
  struct tansy_float_layer *layers;    /* [n_layers]: of the file */
  float *embed, *head;                 /* [vocab, H]; head == embed when tied */
  float *final_norm, *final_norm_bias; /* [H]; NULL where there is none */
};

/* bytes of memory that tuning a checkpoint's model takes, windows aside */
uint64_t tansy_tuned_model_nbytes(const struct tansy_checkpoint *checkpoint);
enum tansy_status tansy_tuned_model_load(const struct tansy_job *job, struct tansy_tuned_model *out, struct tansy_failure *failure);
void tansy_tuned_model_free(struct tansy_tuned_model *m);
struct tansy_tuned_matrix *tansy_tuned_matrix_of(struct tansy_tuned_model *m, uint32_t role, uint32_t layer);

/* w of rows from u and the scales; row scales from their base */
void tansy_tuned_set_rows(struct tansy_tuned_matrix *m, uint32_t begin, uint32_t end);
/* The file's tensors become what the integers are now. What they were is kept in `before`, [n_matrices]. */
struct tansy_tuned_before {
  struct tansy_buffer stored;
  struct tansy_coded_shape shape;
  struct tansy_matrix_result result;
};
enum tansy_status tansy_tuned_model_store(struct tansy_job *job, const struct tansy_tuned_model *m, struct tansy_tuned_before *before,
                                          struct tansy_failure *failure);
/* undoes that */
void tansy_tuned_model_restore(struct tansy_job *job, const struct tansy_tuned_model *m, struct tansy_tuned_before *before);

#endif
