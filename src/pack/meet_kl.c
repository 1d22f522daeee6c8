/* meet_kl.c: see meet_kl.h. ln(divergence) falls almost in a line with bits, by 2 ln 2 for each bit, so a few tries meet it. Tries
 * close to each other differ by luck too, the more the smaller the model: where the line has led to a point that is still too good, ones
 * with ever fewer bits are tried, and the smallest within the limit is taken. */
#include "pack/meet_kl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

enum { HELD_OUT = 8, MAX_TRIES = 14, MAX_LUCKY_TRIES = 10 };
#define LEAST_BITS 0.35
#define MOST_BITS 9.0
#define CLOSE_BITS 0.004 /* tries closer than this differ by luck */
#define GOOD_ENOUGH 0.98 /* of the limit */
#define SLOPE 1.3862943611198906

struct search {
  struct tansy_job *job;
  tansy_recipe *recipe;
  void *ctx;
  const char *trial;
  struct tansy_windows held;
  struct tansy_reference reference;
};

/* every HELD_OUT-th window goes to `held`, the others close ranks */
static enum tansy_status hold_out(struct tansy_windows *all, struct tansy_windows *held, struct tansy_failure *failure) {
  if (all->n < 2)
    return tansy_fail(failure, TANSY_ERR_CALIBRATION, "--max-kl is measured on calibration text held out: it needs two windows of %u tokens, better 64", all->window);
  size_t nbytes = all->window * sizeof *all->tokens;
  *held = (struct tansy_windows){.window = all->window, .tokens = malloc((all->n / HELD_OUT + 1) * nbytes)};
  if (!held->tokens) return tansy_fail_memory(failure);
  uint32_t n = 0;
  for (uint32_t i = 0; i < all->n; i++) {
    int32_t *from = all->tokens + (size_t)i * all->window;
    bool is_held = i % HELD_OUT == HELD_OUT - 1 || (all->n < HELD_OUT && i + 1 == all->n);
    struct tansy_windows *to = is_held ? held : all;
    memmove(to->tokens + (size_t)(is_held ? held->n++ : n++) * all->window, from, nbytes);
  }
  all->n = n;
  return TANSY_OK;
}

static enum tansy_status measure(struct search *s, double *kl, uint32_t *n, struct tansy_failure *failure) {
  struct tansy_file_sizes sizes;
  struct tansy_model_file file;
  struct tansy_score score = {0};
  struct tansy_progress quiet = {0};
  TANSY_TRY(tansy_writer_write(&s->job->writer, s->trial, &sizes, failure));
  enum tansy_status status = tansy_model_file_open(s->trial, &file, failure);
  if (status == TANSY_OK) {
    status = tansy_evaluate(&file, &s->reference, s->job->team, &s->held, &quiet, &score, failure);
    tansy_model_file_close(&file);
  }
  remove(s->trial);
  *n = (uint32_t)score.n;
  *kl = score.kl / (double)score.n;
  if (status == TANSY_OK && !(*kl > 0)) *kl = 1e-12;
  return status;
}

static enum tansy_status try_bits(struct search *s, double bits, struct tansy_kl_met *out, struct tansy_failure *failure) {
  char text[64];
  double nbytes;
  snprintf(text, sizeof text, "%u, %.3f bits per weight", ++out->n_tries, bits);
  tansy_progress_at(&s->job->progress, "try", text, 0);
  tansy_job_clear(s->job);
  s->job->target = (struct tansy_target){.kind = TANSY_TARGET_BITS, .value = bits};
  TANSY_TRY(s->recipe(s->ctx, s->job, failure));
  TANSY_TRY(tansy_job_nbytes(s->job, &nbytes, failure));
  out->bits = nbytes * 8 / (double)s->job->checkpoint->n_params;
  return measure(s, &out->kl, &out->n_predictions, failure);
}

/* fewer bits than `bits`, which are within the limit: *bits become the fewest that are, *kl what they diverge by */
static enum tansy_status try_luck(struct search *s, double max_kl, double *bits, double *kl, struct tansy_kl_met *out, struct tansy_failure *failure) {
  double first = *bits;
  for (int i = 1; i <= MAX_LUCKY_TRIES && *kl < GOOD_ENOUGH * max_kl && first - i * CLOSE_BITS > LEAST_BITS; i++) {
    double fewer = first - i * CLOSE_BITS;
    TANSY_TRY(try_bits(s, fewer, out, failure));
    if (out->kl <= max_kl) *bits = fewer, *kl = out->kl;
  }
  return TANSY_OK;
}

static enum tansy_status search(struct search *s, double max_kl, struct tansy_kl_met *out, struct tansy_failure *failure) {
  double aim = tansy_log_f64(max_kl * 0.99), bits = 3.2 - (aim - tansy_log_f64(0.01)) / SLOPE, slope = SLOPE;
  double low = LEAST_BITS, high = MOST_BITS; /* low: too lossy or not tried; high: within the limit or not tried */
  double last_bits = 0, last_log = 0, within_kl = 0;
  while (out->n_tries < MAX_TRIES && high - low >= CLOSE_BITS) {
    if (bits <= low) bits = low > LEAST_BITS ? low + (high - low) / 8 : LEAST_BITS;
    if (bits >= high) bits = high < MOST_BITS ? high - (high - low) / 8 : MOST_BITS;
    TANSY_TRY(try_bits(s, bits, out, failure));
    bool within = out->kl <= max_kl;
    if (within && (out->kl >= GOOD_ENOUGH * max_kl || bits <= LEAST_BITS)) return TANSY_OK;
    if (!within && bits >= MOST_BITS)
      return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--max-kl %g cannot be met: %.2f bits per weight still diverge by %.3g nats a token", max_kl, out->bits, out->kl);
    if (within)
      high = bits, within_kl = out->kl;
    else
      low = bits;
    double log_kl = tansy_log_f64(out->kl);
    if (last_bits > 0 && (last_bits - bits > 0.02 || bits - last_bits > 0.02)) {
      double measured = (last_log - log_kl) / (bits - last_bits);
      if (measured > 0.5 && measured < 4) slope = measured;
    }
    last_bits = bits;
    last_log = log_kl;
    bits += (log_kl - aim) / slope;
  }
  if (within_kl == 0)
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--max-kl %g is not met after %u tries; the last one diverges by %.3g nats a token", max_kl, out->n_tries, out->kl);
  TANSY_TRY(try_luck(s, max_kl, &high, &within_kl, out, failure));
  return out->kl == within_kl ? TANSY_OK : try_bits(s, high, out, failure); /* the same again, byte for byte */
}

enum tansy_status tansy_meet_kl(struct tansy_job *job, double max_kl, const char *trial, tansy_recipe *recipe, void *ctx, struct tansy_kl_met *out,
                                struct tansy_failure *failure) {
  struct search s = {.job = job, .recipe = recipe, .ctx = ctx, .trial = trial};
  struct tansy_progress quiet = {0};
  *out = (struct tansy_kl_met){0};
  enum tansy_status status = hold_out(&job->calibration, &s.held, failure);
  if (status == TANSY_OK) status = tansy_reference_init(&s.reference, job->checkpoint, job->team, &s.held, &quiet, failure);
  if (status == TANSY_OK) status = search(&s, max_kl, out, failure);
  tansy_reference_free(&s.reference);
  free(s.held.tokens);
  return status;
}
