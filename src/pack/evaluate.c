/* evaluate.c: see evaluate.h. Windows are shared out among threads, each with an engine of its own; sums are added up in the order of windows. */
#include "pack/evaluate.h"

#include <stdlib.h>
#include <string.h>

#include "format/config_keys.h"

enum { N_LOGITS = 32 };

enum tansy_status tansy_windows_cut(const int32_t *ids, size_t n_ids, uint32_t window, uint64_t max_tokens, struct tansy_windows *out,
                                    struct tansy_failure *failure) {
  uint64_t available = n_ids / window, n = max_tokens ? (max_tokens + window - 1) / window : available;
  if (n > available) n = available;
  if (n == 0) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%zu tokens are less than one window of %u", n_ids, window);
  *out = (struct tansy_windows){window, (uint32_t)n, malloc((size_t)n * window * sizeof *out->tokens)};
  if (!out->tokens) return tansy_fail_memory(failure);
  for (uint64_t i = 0; i < n; i++) {
    uint64_t from = n > 1 ? i * (n_ids - window) / (n - 1) : 0;
    memcpy(out->tokens + i * window, ids + from, window * sizeof *ids);
  }
  return TANSY_OK;
}

enum tansy_status tansy_reference_init(struct tansy_reference *ref, const struct tansy_checkpoint *c, struct tansy_team *team,
                                       const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_failure *failure) {
  *ref = (struct tansy_reference){0};
  TANSY_TRY(tansy_float_outer_load(c, &ref->outer, failure));
  TANSY_TRY(tansy_runner_init(&ref->runner, &c->config, &ref->outer.weights, team, windows->window, failure));
  ref->x = malloc((size_t)windows->n * windows->window * c->config.hidden * sizeof *ref->x);
  if (!ref->x) return tansy_fail_memory(failure);
  tansy_runner_embed(&ref->runner, windows->tokens, windows->n, ref->x);
  double done = progress->done;
  for (uint32_t layer = 0; layer < c->config.n_layers; layer++) {
    tansy_progress_at(progress, "reference", NULL, done + layer);
    struct tansy_float_layer weights;
    TANSY_TRY(tansy_float_layer_load(c, layer, &weights, failure));
    tansy_runner_part(&ref->runner, layer, &weights.weights, TANSY_PART_ATTENTION, ref->x, windows->n, 0, NULL);
    tansy_runner_part(&ref->runner, layer, &weights.weights, TANSY_PART_MLP, ref->x, windows->n, 0, NULL);
    tansy_float_layer_free(&weights);
  }
  tansy_progress_at(progress, "reference", NULL, done + c->config.n_layers);
  return TANSY_OK;
}

void tansy_reference_free(struct tansy_reference *ref) {
  tansy_runner_free(&ref->runner);
  tansy_float_outer_free(&ref->outer);
  free(ref->x);
  ref->x = NULL;
}

struct worker {
  void *arena;
  struct tansy_engine *engine;
  float *reference_logits; /* [N_LOGITS, vocab] */
};

struct evaluation {
  struct tansy_reference *ref;
  const struct tansy_windows *windows;
  struct worker *workers;
  struct tansy_score *scores;  /* [n windows] */
  enum tansy_status *statuses; /* [n windows] */
  struct tansy_progress *progress;
  double done_before;
  uint32_t vocab, n_threads;
};

/* rows [first, first + n) of a window's logits */
static void score_rows(struct evaluation *e, uint32_t item, uint32_t thread, const float *logits, uint32_t first, uint32_t n) {
  const struct tansy_windows *w = e->windows;
  const int32_t *tokens = w->tokens + (size_t)item * w->window;
  if (first + n == w->window) n--; /* nothing is known after the last token */
  const float *reference = NULL;
  if (e->ref && n) {
    uint32_t hidden = e->ref->runner.config->hidden;
    reference = e->workers[thread].reference_logits;
    tansy_head_forward(&e->ref->runner.forward[thread], &e->ref->outer.weights, e->ref->x + ((size_t)item * w->window + first) * hidden, n,
                       e->workers[thread].reference_logits);
  }
  tansy_score_add(&e->scores[item], logits, reference, tokens + first + 1, n, e->vocab);
}

static void evaluate_window(void *ctx, uint32_t item, uint32_t thread) {
  struct evaluation *e = ctx;
  const struct tansy_windows *w = e->windows;
  struct tansy_engine *engine = e->workers[thread].engine;
  enum tansy_status *status = &e->statuses[item];
  *status = tansy_engine_rewind(engine, 0);
  if (*status == TANSY_OK) *status = tansy_eval_begin(engine, w->tokens + (size_t)item * w->window, w->window, 1);
  int more = *status == TANSY_OK;
  while (more == 1) {
    more = tansy_eval_step(engine);
    if (more < 0) *status = (enum tansy_status)-more;
    uint32_t n = more < 0 ? 0 : tansy_logits_n(engine), first = tansy_logits_first(engine);
    for (uint32_t i = 0; i < n; i += N_LOGITS)
      score_rows(e, item, thread, tansy_logits(engine) + (size_t)i * e->vocab, first + i, n - i < N_LOGITS ? n - i : N_LOGITS);
  }
  if (thread == 0) tansy_progress_at(e->progress, "evaluate", NULL, e->done_before + item);
}

static enum tansy_status start_workers(struct evaluation *e, const struct tansy_model_file *file, struct tansy_failure *failure) {
  for (uint32_t i = 0; i < e->n_threads; i++) {
    struct worker *w = &e->workers[i];
    struct tansy_options options = {.context = e->windows->window, .n_logits = N_LOGITS, .max_batch = 32, .residency = TANSY_RESIDENCY_INT8};
    struct tansy_plan plan;
    TANSY_TRY(tansy_model_file_load(file, &options, &w->arena, &w->engine, &plan, failure));
    if (plan.context < e->windows->window)
      return tansy_fail(failure, TANSY_ERR_CONTEXT, "windows of %u tokens exceed the model's context of %u", e->windows->window, plan.model_context);
    e->vocab = plan.vocab;
    if (e->ref && e->ref->runner.config->vocab != plan.vocab)
      return tansy_fail(failure, TANSY_ERR_SHAPE, "the reference has %u tokens, %s has %u", e->ref->runner.config->vocab, file->path, plan.vocab);
    w->reference_logits = malloc((size_t)N_LOGITS * plan.vocab * sizeof(float));
    if (!w->reference_logits) return tansy_fail_memory(failure);
  }
  return TANSY_OK;
}

enum tansy_status tansy_evaluate(const struct tansy_model_file *file, struct tansy_reference *ref, struct tansy_team *team,
                                 const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                 struct tansy_failure *failure) {
  struct evaluation e = {.ref = ref, .windows = windows, .progress = progress, .done_before = progress->done, .n_threads = tansy_team_n_threads(team)};
  *score = (struct tansy_score){0};
  e.workers = calloc(e.n_threads, sizeof *e.workers);
  e.scores = calloc(windows->n, sizeof *e.scores);
  e.statuses = calloc(windows->n, sizeof *e.statuses);
  enum tansy_status status = e.workers && e.scores && e.statuses ? start_workers(&e, file, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    tansy_team_run(team, windows->n, evaluate_window, &e);
    for (uint32_t i = 0; i < windows->n && status == TANSY_OK; i++) {
      if (e.statuses[i] != TANSY_OK) status = tansy_fail(failure, e.statuses[i], "evaluation failed in window %u", i);
      tansy_score_merge(score, &e.scores[i]);
    }
  }
  for (uint32_t i = 0; e.workers && i < e.n_threads; i++) {
    free(e.workers[i].arena);
    free(e.workers[i].reference_logits);
  }
  free(e.workers);
  free(e.scores);
  free(e.statuses);
  return status;
}

static void reference_window(void *ctx, uint32_t item, uint32_t thread) {
  struct evaluation *e = ctx;
  uint32_t window = e->windows->window, hidden = e->ref->runner.config->hidden;
  for (uint32_t first = 0; first < window; first += N_LOGITS) {
    uint32_t n = window - first < N_LOGITS ? window - first : N_LOGITS;
    float *logits = e->workers[thread].reference_logits;
    tansy_head_forward(&e->ref->runner.forward[thread], &e->ref->outer.weights, e->ref->x + ((size_t)item * window + first) * hidden, n, logits);
    tansy_score_add(&e->scores[item], logits, NULL, e->windows->tokens + (size_t)item * window + first + 1, first + n == window ? n - 1 : n, e->vocab);
  }
}

enum tansy_status tansy_evaluate_reference(struct tansy_reference *ref, const struct tansy_windows *windows, struct tansy_score *score,
                                           struct tansy_failure *failure) {
  struct evaluation e = {.ref = ref, .windows = windows, .vocab = ref->runner.config->vocab, .n_threads = ref->runner.n_threads};
  *score = (struct tansy_score){0};
  e.workers = calloc(e.n_threads, sizeof *e.workers);
  e.scores = calloc(windows->n, sizeof *e.scores);
  enum tansy_status status = e.workers && e.scores ? TANSY_OK : tansy_fail_memory(failure);
  for (uint32_t i = 0; i < e.n_threads && status == TANSY_OK; i++) {
    e.workers[i].reference_logits = malloc((size_t)N_LOGITS * e.vocab * sizeof(float));
    if (!e.workers[i].reference_logits) status = tansy_fail_memory(failure);
  }
  if (status == TANSY_OK) tansy_team_run(ref->runner.team, windows->n, reference_window, &e);
  for (uint32_t i = 0; i < windows->n && status == TANSY_OK; i++) tansy_score_merge(score, &e.scores[i]);
  for (uint32_t i = 0; e.workers && i < e.n_threads; i++) free(e.workers[i].reference_logits);
  free(e.workers);
  free(e.scores);
  return status;
}
