/* job.h: one compression: what was asked, what it works on, what came out. The recipes (recipe_*.c) fill the writer. */
#ifndef TANSY_PACK_JOB_H
#define TANSY_PACK_JOB_H

#include "pack/evaluate.h"
#include "pack/quantize.h"
#include "pack/writer.h"

struct tansy_matrix_result {
  uint8_t role;
  uint16_t layer;
  uint32_t n_rows, n_cols;
  uint32_t raw_bits, n_tables, n_escapes;
  struct tansy_matrix_stats stats;
  double loss; /* predicted KL from rounding it, nats a token; 0 where the recipe does not know */
};

/* How large the result should be. */
enum tansy_target_kind { TANSY_TARGET_NONE, TANSY_TARGET_BITS, TANSY_TARGET_SIZE, TANSY_TARGET_KL };
struct tansy_target {
  enum tansy_target_kind kind;
  bool is_default; /* nobody has asked for it: missing it is no error */
  double value; /* bits per weight (every byte but attachments), bytes of the whole file, or nats per token */
};

/* Where the best recipe keeps what it has done (resume.h). */
struct tansy_resume {
  char *path; /* NULL: nowhere */
  uint64_t fingerprint;
  double interval, last; /* seconds */
};

/* What has become of tuning (tune.h). */
enum tansy_tuning { TANSY_TUNING_OFF, TANSY_TUNING_DONE, TANSY_TUNING_NO_GAIN, TANSY_TUNING_TOO_LARGE, TANSY_TUNING_NO_TEXT };
struct tansy_tuned {
  enum tansy_tuning outcome;  /* NO_GAIN: the file is as it was before */
  uint64_t n_tokens;          /* seen, repeats included */
  double kl_before, kl_after; /* on windows held out */
};

struct tansy_job {
  const struct tansy_checkpoint *checkpoint;
  struct tansy_writer writer;
  struct tansy_parts parts; /* of the writer's tensors; no path: they stay in memory */
  struct tansy_progress progress;
  struct tansy_team *team;
  struct tansy_target target;
  struct tansy_windows calibration; /* n 0: none */
  struct tansy_windows tuning;      /* more of the same text; n 0: the calibration windows serve */
  uint32_t tune_tokens;             /* to be tuned on, repeats included; 0: no tuning */
  bool is_tune_given;               /* somebody has asked for so many */
  struct tansy_tuned tuned;
  struct tansy_resume resume;
  uint32_t n_results;
  struct tansy_matrix_result *results; /* [number of matrices] */
};

/* one matrix into the writer and the results */
enum tansy_status tansy_job_add_integers(struct tansy_job *job, const struct tansy_source *source, struct tansy_integers z,
                                         const struct tansy_rows *rows, struct tansy_failure *failure);
/* the same from the checkpoint, as per-row absmax integers of `bits` bits */
enum tansy_status tansy_job_add_plain_matrix(struct tansy_job *job, const struct tansy_source *source, uint32_t bits,
                                             struct tansy_failure *failure);
/* one norm, bias or table of frequencies as it is */
enum tansy_status tansy_job_add_vector(struct tansy_job *job, const struct tansy_source *source, struct tansy_failure *failure);

/* forgets tensors and results; attachments stay */
void tansy_job_clear(struct tansy_job *job);
/* file bytes that the target allows for tensors and index (TARGET_BITS, TARGET_SIZE) */
double tansy_job_allowed_nbytes(const struct tansy_job *job);
/* what they are now */
enum tansy_status tansy_job_nbytes(const struct tansy_job *job, double *nbytes, struct tansy_failure *failure);

/* per-row absmax integers of `bits` bits, nothing else */
enum tansy_status tansy_recipe_plain(struct tansy_job *job, uint32_t bits, struct tansy_failure *failure);

/* The steps of "When Compression Meets Model Compression" (2502.15443): columns rescaled by activation, per-row integers,
 * pruning by activation and weight, entropy coding. Each can be left out. */
struct tansy_paper_options {
  double alpha; /* column j is scaled by (largest |activation| of it)^-alpha; 0: no rescaling */
  double prune; /* share of the weights set to 0: those with the smallest |w| * largest |activation| */
  double step;  /* integer step in units of absmax / 127 of the rescaled row; 0: found from the target */
  /* when the step is found: */
  double table_step; /* partial compression: that of embedding and head is this many times the others' */
  double allocate;   /* how far steps of a layer's matrices follow what their errors do to the residual stream; 0: one step for all, 1: equal marginal cost */
  double token_scale; /* those of embedding and head go with (frequency of the row's token in the calibration text)^(-this / 2) */
  double row_scale;  /* steps of a layer's matrix go with (largest |weight| of the row)^this; 0: one for the matrix */
};
enum tansy_status tansy_recipe_paper(struct tansy_job *job, const struct tansy_paper_options *options, struct tansy_failure *failure);

/* The default: calibrated, sensitivity-allocated, error feedback layer by layer (recipe_best.c). */
enum tansy_status tansy_recipe_best(struct tansy_job *job, struct tansy_failure *failure);

#endif
