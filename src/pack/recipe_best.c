/* recipe_best.c: the best model for a given number of bytes: see best.h for its parts.
 *
 * 1. Measure: sensitivities (fisher.h), and how many bytes each matrix takes at a given fineness (rate.h).
 * 2. A quick pass over few calibration tokens: rounds and codes everything, to learn real bytes against predicted ones.
 * 3. The pass that counts, over all tokens: embedding, layers in order, head, each on inputs that the rounding so far has
 *    changed; the fineness is steered so that the size comes out as asked. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/best.h"
#include "pack/generate.h"
#include "pack/numeric.h"
#include "pack/order.h"
#include "pack/resume.h"

enum { QUICK_TOKENS = 8192, MAX_PASSES = 4 };
#define LEAST_BITS 0.3 /* a weight */

/* hidden states of both models; not there yet while the model is measured */
static enum tansy_status allocate_windows(struct tansy_best *b, struct tansy_failure *failure) {
  size_t n_x = (size_t)b->job->calibration.n * b->runner.window * b->config->hidden;
  b->x = malloc(n_x * sizeof *b->x);
  b->rounded_x = malloc(n_x * sizeof *b->rounded_x);
  return b->x && b->rounded_x ? TANSY_OK : tansy_fail_memory(failure);
}

static void release(struct tansy_best *b) {
  for (uint32_t i = 0; i < b->n_units; i++) tansy_unit_free(&b->units[i]);
  tansy_fisher_free(&b->fisher);
  tansy_runner_free(&b->runner);
  tansy_float_outer_free(&b->outer);
  free(b->units), free(b->a), free(b->c), free(b->effective), free(b->x), free(b->rounded_x);
}

/* what comes before the layers: the embedding rounded, and the windows' hidden states */
static enum tansy_status begin_pass(struct tansy_best *b, struct tansy_failure *failure) {
  tansy_job_clear(b->job);
  for (uint32_t i = 0; i < b->n_units; i++) b->units[i].nbytes = 0;
  b->spent = 0;
  return tansy_best_embed(b, failure);
}

/* rounds and codes the whole model over n_windows windows, or what is left of it after b->stage.n_layers layers */
static enum tansy_status run_pass(struct tansy_best *b, uint32_t n_windows, bool adapt, double work, struct tansy_failure *failure) {
  double n_layers = b->config->n_layers, end = b->job->progress.done + work * (n_layers - b->stage.n_layers) / n_layers;
  b->work = work;
  b->adapt = adapt;
  b->n_windows = n_windows;
  if (b->stage.n_layers == 0) TANSY_TRY(begin_pass(b, failure));
  for (uint32_t layer = b->stage.n_layers; layer < b->config->n_layers; layer++) {
    TANSY_TRY(tansy_best_layer(b, layer, failure));
    if (!adapt) continue;
    b->stage.n_layers = layer + 1;
    tansy_best_save(b);
  }
  b->stage.n_layers = 0;
  TANSY_TRY(tansy_best_final(b, failure));
  tansy_progress_at(&b->job->progress, "quantize", NULL, end);
  return TANSY_OK;
}

static enum tansy_status meet_size(struct tansy_best *b, struct tansy_failure *failure) {
  struct tansy_job *job = b->job;
  double n_params = (double)b->checkpoint->n_params, allowed = tansy_job_allowed_nbytes(job);
  uint32_t n_quick = QUICK_TOKENS / b->runner.window;
  n_quick = n_quick < 1 ? 1 : n_quick > job->calibration.n ? job->calibration.n : n_quick;
  double total = 0, quick = (double)n_quick / job->calibration.n;
  struct tansy_best_stage *stage = &b->stage;
  bool resumed = stage->n_layers > 0;
  if (!resumed) {
    double overhead = tansy_rate_overhead(b->checkpoint), least = overhead + n_params * LEAST_BITS / 8;
    if (allowed < least)
      return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%.3f bits per weight are too few: %.0f bytes go to what is not weights; %.3f bits is the least",
                        allowed * 8 / n_params, overhead, least * 8 / n_params);
    b->allowed = allowed - overhead;
    b->log_c = tansy_rate_solve(b->units, b->n_units, b->allowed);
    TANSY_TRY(run_pass(b, n_quick, false, quick, failure));
    TANSY_TRY(tansy_job_nbytes(job, &total, failure));
    /* the overhead is exact from here on but for a few bytes */
    *stage = (struct tansy_best_stage){.overhead = total - b->spent, .aim = allowed * 0.9985};
  }
  /* Predictions are for matrices of some size: of tiny ones, tables and states are most, and it takes some passes to learn them. */
  for (; stage->round < MAX_PASSES; stage->round++) {
    if (!resumed) {
      b->allowed = stage->aim - stage->overhead;
      b->spent = 0;
      for (uint32_t i = 0; i < b->n_units; i++) b->units[i].nbytes = 0;
      b->log_c = tansy_rate_solve(b->units, b->n_units, b->allowed);
    }
    resumed = false;
    TANSY_TRY(run_pass(b, job->calibration.n, true, 1, failure));
    TANSY_TRY(tansy_job_nbytes(job, &total, failure));
    if (total <= allowed * 1.01 && total >= allowed * 0.99) return TANSY_OK;
    if (stage->nearest == 0 || fabs(total - allowed) < fabs(stage->nearest - allowed)) stage->nearest = total;
    stage->aim += allowed * 0.9985 - total;
  }
  return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%.3f bits per weight cannot be met; the nearest that this model comes to is %.3f (%.0f bytes)",
                    allowed * 8 / n_params, stage->nearest * 8 / n_params, stage->nearest);
}

static enum tansy_status compress(struct tansy_job *job, struct tansy_failure *failure) {
  struct tansy_best b = {.job = job, .checkpoint = job->checkpoint, .config = &job->checkpoint->config};
  double quick = (double)QUICK_TOKENS / job->calibration.window / job->calibration.n;
  double measure = 0.5;
  tansy_progress_start(&job->progress, job->progress.kind, measure + (quick < 1 ? quick : 1) + 1);
  enum tansy_status status = tansy_float_outer_load(b.checkpoint, &b.outer, failure);
  if (status == TANSY_OK) status = tansy_runner_init(&b.runner, b.checkpoint, &b.outer.weights, job->team, job->calibration.window, failure);
  if (status == TANSY_OK && !(b.effective = malloc(tansy_widest_site(b.config) * sizeof *b.effective))) status = tansy_fail_memory(failure);
  bool resumed = false;
  if (status == TANSY_OK) status = tansy_best_restore(&b, &resumed, failure);
  if (status == TANSY_OK && !resumed) status = tansy_best_measure(&b, measure, failure);
  if (status == TANSY_OK && !b.x) status = allocate_windows(&b, failure);
  if (status == TANSY_OK && !resumed) tansy_best_save(&b);
  if (status == TANSY_OK) status = meet_size(&b, failure);
  for (uint32_t i = 0; i < job->n_results && status == TANSY_OK; i++) {
    struct tansy_unit *u = tansy_best_unit(&b, job->results[i].role, job->results[i].layer);
    job->results[i].loss = u ? u->loss : 0;
  }
  release(&b);
  return status;
}

enum tansy_status tansy_recipe_best(struct tansy_job *job, struct tansy_failure *failure) {
  if (!job->calibration.n) {
    tansy_progress_warn(&job->progress, "no calibration text: the model's own words are used, which is clearly worse");
    TANSY_TRY(tansy_generate_windows(job->checkpoint, job->team, &job->progress, &job->calibration, failure));
  }
  /* from here on the model is one whose channels are numbered anew */
  const struct tansy_checkpoint *checkpoint = job->checkpoint;
  struct tansy_checkpoint renumbered = *checkpoint;
  struct tansy_order order = {0};
  renumbered.sources = malloc(checkpoint->n_sources * sizeof *renumbered.sources);
  enum tansy_status status = renumbered.sources ? tansy_order_make(checkpoint, job->team, &job->calibration, &order, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    memcpy(renumbered.sources, checkpoint->sources, checkpoint->n_sources * sizeof *renumbered.sources);
    tansy_order_apply(&order, renumbered.sources, renumbered.n_sources);
    job->checkpoint = &renumbered;
    status = compress(job, failure);
    job->checkpoint = checkpoint;
  }
  tansy_order_free(&order);
  free(renumbered.sources);
  return status;
}
