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
  if (n == 0) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the text has %zu tokens, less than one window of %u", n_ids, window);
  *out = (struct tansy_windows){.window = window, .n = (uint32_t)n, .tokens = malloc((size_t)n * window * sizeof *out->tokens)};
  if (!out->tokens) return tansy_fail_memory(failure);
  for (uint64_t i = 0; i < n; i++) {
    uint64_t from = n > 1 ? i * (n_ids - window) / (n - 1) : 0;
    memcpy(out->tokens + i * window, ids + from, window * sizeof *ids);
  }
  return TANSY_OK;
}

/* one text of the list, from *at on; false when it is damaged */
static bool next_text(const uint32_t *numbers, size_t n_numbers, size_t *at, uint32_t *n_tokens, uint32_t *n_guessed) {
  if (n_numbers - *at < 2) return false;
  *n_tokens = numbers[*at];
  *n_guessed = numbers[*at + 1];
  *at += 2;
  return *n_guessed >= 1 && *n_guessed < *n_tokens && *n_tokens <= n_numbers - *at;
}

enum tansy_status tansy_windows_cloze(const uint32_t *numbers, size_t n_numbers, uint32_t vocab, uint32_t context, struct tansy_windows *out,
                                      struct tansy_failure *failure) {
  uint32_t n = 0, longest = 0, n_tokens, n_guessed;
  for (size_t at = 0; at < n_numbers; at += n_tokens, n++) {
    if (!next_text(numbers, n_numbers, &at, &n_tokens, &n_guessed)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "text %u to guess at is damaged", n);
    for (uint32_t i = 0; i < n_tokens; i++)
      if (numbers[at + i] >= vocab)
        return tansy_fail(failure, TANSY_ERR_ARGUMENT, "text %u to guess at has token %u; the vocabulary has %u", n, numbers[at + i], vocab);
    if (n_guessed >= context) return tansy_fail(failure, TANSY_ERR_CONTEXT, "text %u to guess at exceeds the model's context of %u tokens", n, context);
    if (n_tokens > longest) longest = n_tokens;
  }
  if (n == 0) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "there is no text to guess at");
  uint32_t window = longest < context ? longest : context;
  *out = (struct tansy_windows){window, n, calloc((size_t)n * window, sizeof *out->tokens), calloc(n, sizeof *out->scored)};
  if (!out->tokens || !out->scored) return tansy_fail_memory(failure);
  size_t at = 0;
  for (uint32_t item = 0; item < n; item++, at += n_tokens) {
    next_text(numbers, n_numbers, &at, &n_tokens, &n_guessed);
    uint32_t kept = n_tokens < window ? n_tokens : window;
    for (uint32_t i = 0; i < kept; i++) out->tokens[(size_t)item * window + i] = (int32_t)numbers[at + n_tokens - kept + i];
    out->scored[item] = (struct tansy_span){kept - n_guessed, kept};
  }
  return TANSY_OK;
}

void tansy_windows_free(struct tansy_windows *w) {
  free(w->tokens);
  free(w->scored);
  *w = (struct tansy_windows){0};
}

enum tansy_status tansy_reference_init(struct tansy_reference *ref, const struct tansy_checkpoint *c, struct tansy_team *team,
                                       const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_failure *failure) {
  *ref = (struct tansy_reference){0};
  TANSY_TRY(tansy_float_outer_load(c, &ref->outer, failure));
  TANSY_TRY(tansy_runner_init(&ref->runner, c, &ref->outer.weights, team, windows->window, failure));
  ref->x = malloc((size_t)windows->n * windows->window * c->config.hidden * sizeof *ref->x);
  if (!ref->x) return tansy_fail_memory(failure);
  TANSY_TRY(tansy_runner_embed(&ref->runner, windows->tokens, windows->n, ref->x, failure));
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
  float *logits;           /* [N_LOGITS, vocab]: of a checkpoint that is evaluated */
  float *reference_logits; /* [N_LOGITS, vocab] */
};

struct evaluation {
  struct tansy_reference *floats, *ref; /* either may be NULL */
  const struct tansy_windows *windows;
  struct worker *workers;
  struct tansy_score *scores;  /* [n windows] */
  enum tansy_status *statuses; /* [n windows] */
  struct tansy_progress *progress;
  double done_before;
  uint32_t vocab, n_threads;
};

static struct tansy_span scored_in(const struct tansy_windows *w, uint32_t item) {
  return w->scored ? w->scored[item] : (struct tansy_span){1, w->window};
}

static const float *float_logits(struct tansy_reference *model, const struct evaluation *e, uint32_t item, uint32_t thread, uint32_t first, uint32_t n,
                                 float *logits) {
  const float *x = model->x + ((size_t)item * e->windows->window + first) * model->runner.config->hidden;
  tansy_head_forward(&model->runner.forward[thread], &model->outer.weights, x, n, logits);
  return logits;
}

/* rows [first, first + n) of a window's logits: row i predicts token i + 1 */
static void score_rows(struct evaluation *e, uint32_t item, uint32_t thread, const float *logits, uint32_t first, uint32_t n) {
  const struct tansy_windows *w = e->windows;
  struct tansy_span s = scored_in(w, item);
  uint32_t begin = first + 1 < s.begin ? s.begin - 1 : first, end = first + n >= s.end ? s.end - 1 : first + n;
  if (begin >= end) return;
  const float *reference = e->ref ? float_logits(e->ref, e, item, thread, begin, end - begin, e->workers[thread].reference_logits) : NULL;
  tansy_score_add(&e->scores[item], logits + (size_t)(begin - first) * e->vocab, reference, w->tokens + (size_t)item * w->window + begin + 1, end - begin,
                  e->vocab);
}

static void engine_window(struct evaluation *e, uint32_t item, uint32_t thread) {
  const struct tansy_windows *w = e->windows;
  struct tansy_engine *engine = e->workers[thread].engine;
  enum tansy_status *status = &e->statuses[item];
  *status = tansy_engine_rewind(engine, 0);
  if (*status == TANSY_OK) *status = tansy_eval_begin(engine, w->tokens + (size_t)item * w->window, scored_in(w, item).end, 1);
  int more = *status == TANSY_OK;
  while (more == 1) {
    more = tansy_eval_step(engine);
    if (more < 0) *status = (enum tansy_status)-more;
    uint32_t n = more < 0 ? 0 : tansy_logits_n(engine), first = tansy_logits_first(engine);
    for (uint32_t i = 0; i < n; i += N_LOGITS)
      score_rows(e, item, thread, tansy_logits(engine) + (size_t)i * e->vocab, first + i, n - i < N_LOGITS ? n - i : N_LOGITS);
  }
}

static void float_window(struct evaluation *e, uint32_t item, uint32_t thread) {
  struct tansy_span s = scored_in(e->windows, item);
  for (uint32_t first = s.begin - 1; first < s.end - 1; first += N_LOGITS) {
    uint32_t n = s.end - 1 - first < N_LOGITS ? s.end - 1 - first : N_LOGITS;
    score_rows(e, item, thread, float_logits(e->floats, e, item, thread, first, n, e->workers[thread].logits), first, n);
  }
}

static void evaluate_window(void *ctx, uint32_t item, uint32_t thread) {
  struct evaluation *e = ctx;
  if (e->floats)
    float_window(e, item, thread);
  else
    engine_window(e, item, thread);
  if (thread == 0) tansy_progress_at(e->progress, "evaluate", NULL, e->done_before + item);
}

static enum tansy_status start_engine(struct evaluation *e, const struct tansy_model_file *file, struct worker *w, struct tansy_failure *failure) {
  struct tansy_options options = {.context = e->windows->window, .n_logits = N_LOGITS, .max_batch = 32, .residency = TANSY_RESIDENCY_INT8};
  struct tansy_plan plan;
  TANSY_TRY(tansy_model_file_load(file, &options, &w->arena, &w->engine, &plan, failure));
  if (plan.context < e->windows->window)
    return tansy_fail(failure, TANSY_ERR_CONTEXT, "windows of %u tokens exceed the model's context of %u", e->windows->window, plan.model_context);
  e->vocab = plan.vocab;
  return TANSY_OK;
}

/* file NULL: e->floats is evaluated */
static enum tansy_status start_workers(struct evaluation *e, const struct tansy_model_file *file, struct tansy_failure *failure) {
  for (uint32_t i = 0; i < e->n_threads; i++) {
    struct worker *w = &e->workers[i];
    if (file) TANSY_TRY(start_engine(e, file, w, failure));
    else e->vocab = e->floats->runner.config->vocab;
    w->logits = malloc((size_t)N_LOGITS * e->vocab * sizeof(float));
    w->reference_logits = malloc((size_t)N_LOGITS * e->vocab * sizeof(float));
    if (!w->logits || !w->reference_logits) return tansy_fail_memory(failure);
  }
  if (e->ref && e->ref->runner.config->vocab != e->vocab)
    return tansy_fail(failure, TANSY_ERR_SHAPE, "the reference has %u tokens, the model has %u", e->ref->runner.config->vocab, e->vocab);
  return TANSY_OK;
}

/* heads are there only as long as logits are made of hidden states */
static enum tansy_status load_heads(struct evaluation *e, struct tansy_failure *failure) {
  if (e->floats) TANSY_TRY(tansy_float_outer_load_head(e->floats->runner.checkpoint, &e->floats->outer, failure));
  return e->ref ? tansy_float_outer_load_head(e->ref->runner.checkpoint, &e->ref->outer, failure) : TANSY_OK;
}

static void drop_heads(struct evaluation *e) {
  if (e->floats) tansy_float_outer_drop_head(&e->floats->outer);
  if (e->ref) tansy_float_outer_drop_head(&e->ref->outer);
}

static enum tansy_status evaluate(struct evaluation *e, const struct tansy_model_file *file, struct tansy_team *team, struct tansy_score *score,
                                  struct tansy_failure *failure) {
  uint32_t n = e->windows->n;
  e->done_before = e->progress->done;
  e->n_threads = tansy_team_n_threads(team);
  *score = (struct tansy_score){0};
  e->workers = calloc(e->n_threads, sizeof *e->workers);
  e->scores = calloc(n, sizeof *e->scores);
  e->statuses = calloc(n, sizeof *e->statuses);
  enum tansy_status status = e->workers && e->scores && e->statuses ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = load_heads(e, failure);
  if (status == TANSY_OK) status = start_workers(e, file, failure);
  if (status == TANSY_OK) tansy_team_run(team, n, evaluate_window, e);
  for (uint32_t i = 0; i < n && status == TANSY_OK; i++) {
    if (e->statuses[i] != TANSY_OK) status = tansy_fail(failure, e->statuses[i], "evaluation failed in window %u", i);
    tansy_score_merge(score, &e->scores[i]);
  }
  for (uint32_t i = 0; e->workers && i < e->n_threads; i++) {
    free(e->workers[i].arena);
    free(e->workers[i].logits);
    free(e->workers[i].reference_logits);
  }
  free(e->workers);
  free(e->scores);
  free(e->statuses);
  drop_heads(e);
  return status;
}

enum tansy_status tansy_evaluate(const struct tansy_model_file *file, struct tansy_reference *ref, struct tansy_team *team,
                                 const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                 struct tansy_failure *failure) {
  struct evaluation e = {.ref = ref, .windows = windows, .progress = progress};
  return evaluate(&e, file, team, score, failure);
}

enum tansy_status tansy_evaluate_floats(struct tansy_reference *model, struct tansy_reference *ref, struct tansy_team *team,
                                        const struct tansy_windows *windows, struct tansy_progress *progress, struct tansy_score *score,
                                        struct tansy_failure *failure) {
  struct evaluation e = {.floats = model, .ref = ref, .windows = windows, .progress = progress};
  return evaluate(&e, NULL, team, score, failure);
}
