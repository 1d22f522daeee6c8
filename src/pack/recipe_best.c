/* recipe_best.c: the best model for a given number of bytes: see best.h for its parts.
 *
 * 1. Measure: sensitivities (fisher.h), and how many bytes each matrix takes at a given fineness (rate.h).
 * 2. A quick pass over few calibration tokens: rounds and codes everything, to learn real bytes against predicted ones.
 * 3. The pass that counts, over all tokens: embedding, layers in order, head, each on inputs that the rounding so far has
 *    changed; the fineness is steered so that the size comes out as asked.
 * 4. Tuning (tune.h) of the finished integers on more tokens, where model and text allow. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/best.h"
#include "pack/generate.h"
#include "pack/numeric.h"
#include "pack/order.h"
#include "pack/resume.h"
#include "pack/tune.h"

/* Of a large model the quick pass sees QUICK_LAYERS layers: those after them code alike. */
enum { QUICK_TOKENS = 8192, QUICK_LAYERS = 2, MAX_PASSES = 4, LARGE_N_PARAMS = 50000000 };
#define LEAST_BITS 0.3 /* a weight */
#define SENSIBLE_BITS 2.0

static uint32_t quick_windows(const struct tansy_job *job) {
  uint32_t n = QUICK_TOKENS / job->calibration.window;
  return n < 1 ? 1 : n > job->calibration.n ? job->calibration.n : n;
}

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
  free(b->units), free(b->a), free(b->c), free(b->wc), free(b->effective), free(b->x), free(b->rounded_x);
}

/* what comes before the layers: the embedding rounded, and the windows' hidden states */
static enum tansy_status begin_pass(struct tansy_best *b, struct tansy_failure *failure) {
  tansy_job_clear(b->job);
  for (uint32_t i = 0; i < b->n_units; i++) b->units[i].nbytes = 0;
  b->spent = 0;
  tansy_progress_at(&b->job->progress, "quantize", "embedding", b->job->progress.done);
  return tansy_best_embed(b, failure);
}

/* Rounds and codes the model over n_windows windows: layers from b->stage.n_layers up to `end`, and what comes after all of them.
 * adapt: the pass that counts. work: of progress, for all layers. */
static enum tansy_status run_pass(struct tansy_best *b, uint32_t n_windows, uint32_t end, bool adapt, double work, struct tansy_failure *failure) {
  uint32_t n_layers = b->config->n_layers;
  b->work = work;
  b->adapt = adapt;
  b->n_windows = n_windows;
  if (b->stage.n_layers == 0) TANSY_TRY(begin_pass(b, failure));
  for (uint32_t layer = b->stage.n_layers; layer < end; layer++) {
    TANSY_TRY(tansy_best_layer(b, layer, failure));
    if (!adapt) continue;
    b->stage.n_layers = layer + 1;
    tansy_best_save(b, false);
  }
  b->stage.n_layers = 0;
  return end == n_layers ? tansy_best_final(b, failure) : TANSY_OK;
}

/* what real bytes are against predicted ones, and what else is in the file */
static enum tansy_status run_quick_pass(struct tansy_best *b, double allowed, struct tansy_failure *failure) {
  struct tansy_job *job = b->job;
  uint32_t n_layers = b->config->n_layers, n_windows = quick_windows(job), end = b->is_large && n_layers > QUICK_LAYERS ? QUICK_LAYERS : n_layers;
  double total = 0, overhead = tansy_rate_overhead(b->checkpoint);
  b->allowed = allowed - overhead;
  b->log_c = tansy_rate_solve(b->units, b->n_units, b->allowed);
  TANSY_TRY(run_pass(b, n_windows, end, false, b->work_of.quick * n_layers / end, failure));
  if (end == n_layers) { /* exact from here on but for a few bytes */
    TANSY_TRY(tansy_job_nbytes(job, &total, failure));
    overhead = total - b->spent;
  }
  b->stage = (struct tansy_best_stage){.is_measured = true, .is_quick_done = true, .overhead = overhead, .aim = allowed * 0.9985};
  return TANSY_OK;
}

/* The size asked for is a wish where nobody has named one. */
static enum tansy_status miss(struct tansy_best *b, double total, double allowed, struct tansy_failure *failure) {
  double to_bits = 8 / (double)b->checkpoint->n_params;
  if (!b->job->target.is_default)
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%.3f bits per weight cannot be met; the nearest that this model comes to is %.3f (%.0f bytes)",
                      allowed * to_bits, b->stage.nearest * to_bits, b->stage.nearest);
  char text[160];
  snprintf(text, sizeof text, "this model does not come to the %.1f bits per weight that are usual: these are %.2f", b->job->target.value, total * to_bits);
  tansy_progress_warn(&b->job->progress, text);
  return TANSY_OK;
}

static enum tansy_status meet_size(struct tansy_best *b, struct tansy_failure *failure) {
  struct tansy_job *job = b->job;
  double n_params = (double)b->checkpoint->n_params, allowed = tansy_job_allowed_nbytes(job), total = 0;
  double overhead = tansy_rate_overhead(b->checkpoint), least = overhead + n_params * LEAST_BITS / 8, sensible = overhead + n_params * SENSIBLE_BITS / 8;
  if (allowed < sensible && job->target.is_default) allowed = sensible;
  if (allowed < least)
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%.3f bits per weight are too few: %.0f bytes go to what is not weights; %.3f bits is the least",
                      allowed * 8 / n_params, overhead, least * 8 / n_params);
  struct tansy_best_stage *stage = &b->stage;
  if (!stage->is_quick_done) TANSY_TRY(run_quick_pass(b, allowed, failure));
  /* Predictions are for matrices of some size: of tiny ones, tables and states are most, and it takes some passes to learn them. */
  bool met = false;
  for (; stage->round < MAX_PASSES && !met; stage->round++) {
    if (stage->n_layers == 0) {
      b->allowed = stage->aim - stage->overhead;
      b->spent = 0;
      for (uint32_t i = 0; i < b->n_units; i++) b->units[i].nbytes = 0;
      b->log_c = tansy_rate_solve(b->units, b->n_units, b->allowed);
      tansy_best_save(b, stage->round > 0); /* what was saved before needs tensors that are written over now */
    }
    TANSY_TRY(run_pass(b, job->calibration.n, b->config->n_layers, true, b->work_of.pass, failure));
    TANSY_TRY(tansy_job_nbytes(job, &total, failure));
    met = total <= allowed * 1.01 && total >= allowed * 0.99;
    if (stage->nearest == 0 || fabs(total - allowed) < fabs(stage->nearest - allowed)) stage->nearest = total;
    stage->aim += allowed * 0.9985 - total;
  }
  return met && allowed == tansy_job_allowed_nbytes(job) ? TANSY_OK : miss(b, total, allowed, failure);
}

/* Work in multiplications, so that the time left is that of this model: embedding and head count much in some, wide layers in others. */
static void estimate_work(struct tansy_best *b) {
  const struct tansy_checkpoint *c = b->job->checkpoint;
  double linears = 0, tables = 0, moments = 0, solving = 0;
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    double n_weights = s->matrix ? (double)s->n_rows * s->n_cols : 0;
    if (tansy_role_section(s->role) != 1) tables += n_weights;
    else linears += n_weights, solving += 2.5 * n_weights * s->n_cols;
  }
  for (int site = 0; site < TANSY_SITE_HEAD; site++) {
    double n = tansy_site_n_cols(b->config, (enum tansy_site)site);
    moments += b->config->n_layers * n * n;
    solving += b->config->n_layers * n * n * n / 2;
  }
  uint32_t window = b->job->calibration.window;
  double n_tokens = (double)b->job->calibration.n * window, n_quick = (double)quick_windows(b->job) * window;
  double n_felt = tansy_fisher_n_windows(b->config, &b->job->calibration) * (double)window;
  double coding = 12000 * linears + solving;
  double head = b->config->tied ? tables : tables / 2;
  b->work_of.order = (b->is_large ? 1024 : 4096) * linears;
  b->work_of.sensitivity = n_felt * (4 * linears + 2 * head);
  b->work_of.measure = n_quick * (linears + moments / 2) + solving / 8;
  b->work_of.table = head * 12000;
  b->work_of.pass = n_tokens * (2.7 * linears + 1.5 * moments) + coding;
  b->work_of.quick = n_quick * (2.7 * linears + 1.5 * moments) + coding;
  if (b->is_large && b->config->n_layers > QUICK_LAYERS) b->work_of.quick *= (double)QUICK_LAYERS / b->config->n_layers;
  b->work_of.tune = tansy_tune_work(b->job);
}

static enum tansy_status compress(struct tansy_best *b, struct tansy_failure *failure) {
  struct tansy_job *job = b->job;
  enum tansy_status status = tansy_float_outer_load(b->checkpoint, &b->outer, failure);
  if (status == TANSY_OK) status = tansy_runner_init(&b->runner, b->checkpoint, &b->outer.weights, job->team, job->calibration.window, failure);
  if (status == TANSY_OK && !(b->effective = malloc(tansy_widest_site(b->config) * sizeof *b->effective))) status = tansy_fail_memory(failure);
  bool resumed = false;
  if (status == TANSY_OK) status = tansy_best_restore(b, &resumed, failure);
  if (status == TANSY_OK && !resumed) {
    status = tansy_best_feel(b, failure);
    if (status == TANSY_OK) tansy_best_save(b, false);
  }
  if (status == TANSY_OK && !b->stage.is_measured) {
    status = tansy_best_measure(b, failure);
    b->stage.is_measured = status == TANSY_OK;
    if (status == TANSY_OK) tansy_best_save(b, false);
  }
  if (status == TANSY_OK && !b->x) status = allocate_windows(b, failure);
  if (status == TANSY_OK) status = meet_size(b, failure);
  job->tuned = (struct tansy_tuned){.outcome = tansy_tune_wanted(job)};
  if (status == TANSY_OK && job->tuned.outcome == TANSY_TUNING_DONE) status = tansy_tune(job, &b->runner, b->work_of.tune, failure);
  for (uint32_t i = 0; i < job->n_results && status == TANSY_OK; i++) {
    struct tansy_unit *u = tansy_best_unit(b, job->results[i].role, job->results[i].layer);
    job->results[i].loss = u ? u->loss : 0;
  }
  release(b);
  return status;
}

enum tansy_status tansy_recipe_best(struct tansy_job *job, struct tansy_failure *failure) {
  if (!job->calibration.n) {
    tansy_progress_warn(&job->progress, "no calibration text: the model's own words are used, which is clearly worse");
    TANSY_TRY(tansy_generate_windows(job->checkpoint, job->team, &job->progress, &job->calibration, failure));
  }
  const struct tansy_checkpoint *checkpoint = job->checkpoint;
  struct tansy_best b = {.job = job, .config = &checkpoint->config, .is_large = checkpoint->n_params > LARGE_N_PARAMS};
  estimate_work(&b);
  bool quick_is_whole = !b.is_large || b.config->n_layers <= QUICK_LAYERS;
  double n_tables = b.config->tied ? 2 : quick_is_whole ? 4 : 3; /* in both passes; a quick one of some layers has no head */
  tansy_progress_start(&job->progress, job->progress.kind, b.work_of.order + b.work_of.sensitivity + b.work_of.measure + b.work_of.quick + b.work_of.pass + n_tables * b.work_of.table + b.work_of.tune);
  tansy_progress_at(&job->progress, "order", NULL, 0);
  /* from here on the model is one whose channels are numbered anew */
  struct tansy_checkpoint renumbered = *checkpoint;
  struct tansy_order order = {0};
  renumbered.sources = malloc(checkpoint->n_sources * sizeof *renumbered.sources);
  enum tansy_status status = tansy_fail_memory(failure);
  if (renumbered.sources)
    status = tansy_order_make(checkpoint, job->team, &job->calibration, &job->progress, b.work_of.order, &order, failure);
  if (status == TANSY_OK) {
    memcpy(renumbered.sources, checkpoint->sources, checkpoint->n_sources * sizeof *renumbered.sources);
    tansy_order_apply(&order, renumbered.sources, renumbered.n_sources);
    job->checkpoint = b.checkpoint = &renumbered;
    b.config = &renumbered.config;
    status = compress(&b, failure);
    job->checkpoint = checkpoint;
  }
  tansy_order_free(&order);
  free(renumbered.sources);
  return status;
}
