/* tune.c: see tune.h. A step takes some windows through both models, forwards, and back through the rounded one. Sums over tokens are those of
 * linalg.h; windows, rows and blocks are items of threads: the result is the same for any number of them. */
#include "pack/tune.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/math.h"
#include "pack/fisher.h"
#include "pack/gradient.h"
#include "pack/head.h"
#include "pack/linalg.h"
#include "pack/numeric.h"
#include "pack/score.h"
#include "pack/tune_model.h"

enum { STEP_TOKENS = 2048, HELD_OUT = 16, HELD_TOKENS = 8192, MAX_REPEATS = 4, LEAST_STEPS = 96, BACK_TOKENS = 24, WARM_STEPS = 20 };
#define MAX_WORK 4e12       /* tokens times parameters: some minutes */
#define MAX_NBYTES (1u << 29)
#define REACH 4.8f          /* rates of all steps together come to half of this many integers */
#define MAX_RATE 0.03f      /* integers a step */
#define BASE_RATE 0.0003f   /* of the logarithm of a matrix' scale */
#define MOMENTUM 0.9f
#define SQUARES 0.99f
#define FLOOR 0.3f          /* of the mean square: what is hardly felt hardly moves */

/* ---- how much ---- */

static const struct tansy_windows *text_of(const struct tansy_job *job) { return job->tuning.n ? &job->tuning : &job->calibration; }

static uint32_t n_held(const struct tansy_windows *text) {
  uint32_t n = text->n / HELD_OUT, most = HELD_TOKENS / text->window + 1;
  return n > most ? most : n;
}

static uint32_t windows_of_step(const struct tansy_windows *text) { return text->window < STEP_TOKENS ? STEP_TOKENS / text->window : 1; }

static uint32_t n_steps(const struct tansy_job *job) {
  const struct tansy_windows *text = text_of(job);
  uint32_t step = windows_of_step(text), n_text = text->n - n_held(text);
  uint64_t n = (job->tune_tokens + (uint64_t)step * text->window - 1) / ((uint64_t)step * text->window), seen = (uint64_t)n_text * MAX_REPEATS / step;
  return (uint32_t)(n < seen || job->is_tune_given ? n : seen);
}

enum tansy_tuning tansy_tune_wanted(const struct tansy_job *job) {
  const struct tansy_checkpoint *c = job->checkpoint;
  bool fits = (double)c->n_params * job->tune_tokens <= MAX_WORK && tansy_tuned_model_nbytes(c) <= MAX_NBYTES;
  if (!job->tune_tokens) return TANSY_TUNING_OFF;
  if (!job->is_tune_given && !fits) return TANSY_TUNING_TOO_LARGE;
  if (n_held(text_of(job)) == 0 || (!job->is_tune_given && n_steps(job) < LEAST_STEPS)) return TANSY_TUNING_NO_TEXT;
  return TANSY_TUNING_DONE;
}

double tansy_tune_work(const struct tansy_job *job) {
  const struct tansy_checkpoint *c = job->checkpoint;
  if (tansy_tune_wanted(job) != TANSY_TUNING_DONE) return 0;
  return 5 * (double)c->n_params * n_steps(job) * windows_of_step(text_of(job)) * text_of(job)->window;
}

/* ---- one step ---- */

struct felt { /* of a linear: gradients at its outputs, and what it reads, for all tokens of a step */
  float *g, *x;
};

struct tune {
  struct tansy_job *job;
  struct tansy_runner *runner;
  const struct tansy_config *config;
  struct tansy_tuned_model model;
  struct tansy_float_layer *layers; /* [n_layers] of the float model */
  struct tansy_windows text;        /* n: those that are learned from; held-out ones come after them */
  uint32_t n_held, step, n_steps, n_windows, n_tokens; /* windows and tokens of a step */
  uint32_t group;                   /* tokens whose logits are there at a time */
  int32_t *tokens;                  /* [n_tokens] */
  float *x_float;                   /* [n_tokens, H] */
  float **inputs;                   /* [n_layers + 1] [n_tokens, H] of the rounded model's layers */
  float *g, *g_normed, *normed;     /* [n_tokens, H], [group, H] twice */
  float *p, *q;                     /* [group, vocab] */
  float *gradient;                  /* of a matrix of a layer, the largest one */
  float *embed_gradient, *head_gradient; /* [vocab, H]; the same when tied */
  struct felt felt[TANSY_N_LAYER_LINEARS];
  float **scratch;                  /* [n_threads] */
  double *sums;                     /* [rows of the largest matrix, or n_tokens] [2] */
  /* at hand */
  uint32_t layer, first, n;
  float rate, correct_moved, correct_square;
  struct tansy_tuned_matrix *matrix;
  const float *of_matrix;
};

static const uint32_t linear_roles[TANSY_N_LAYER_LINEARS] = {TANSY_ROLE_Q,    TANSY_ROLE_K,  TANSY_ROLE_V,   TANSY_ROLE_O,
                                                             TANSY_ROLE_GATE, TANSY_ROLE_UP, TANSY_ROLE_DOWN};

static void run_layer(struct tune *t, uint32_t layer, const struct tansy_layer_weights *w, float *x, uint32_t n_windows) {
  tansy_runner_part(t->runner, layer, w, TANSY_PART_ATTENTION, x, n_windows, 0, NULL);
  tansy_runner_part(t->runner, layer, w, TANSY_PART_MLP, x, n_windows, 0, NULL);
}

/* both models over t->tokens, up to the head */
static enum tansy_status go_forward(struct tune *t, uint32_t n_windows, struct tansy_failure *failure) {
  size_t hidden = t->config->hidden, n_tokens = (size_t)n_windows * t->text.window;
  TANSY_TRY(tansy_runner_embed(t->runner, t->tokens, n_windows, t->x_float, failure));
  for (size_t i = 0; i < n_tokens; i++) memcpy(t->inputs[0] + i * hidden, t->model.embed + (size_t)t->tokens[i] * hidden, hidden * sizeof(float));
  tansy_runner_embed_rows(t->runner, n_windows, t->inputs[0]);
  for (uint32_t layer = 0; layer < t->config->n_layers; layer++) {
    run_layer(t, layer, &t->layers[layer].weights, t->x_float, n_windows);
    memcpy(t->inputs[layer + 1], t->inputs[layer], n_tokens * hidden * sizeof(float));
    run_layer(t, layer, &t->model.layers[layer].weights, t->inputs[layer + 1], n_windows);
  }
  return TANSY_OK;
}

/* q: logits of the rounded model, to gradients of the mean divergence at them */
static void token_body(void *ctx, uint32_t i, uint32_t thread) {
  struct tune *t = ctx;
  uint32_t vocab = t->config->vocab, largest;
  float *p = t->p + (size_t)i * vocab, *q = t->q + (size_t)i * vocab, cap = t->config->logit_softcap, scale = 1 / (float)t->n_tokens;
  float *capped = cap != 0 ? t->scratch[thread] : NULL;
  const float *bias = t->runner->outer->head.bias;
  for (uint32_t v = 0; bias && v < vocab; v++) q[v] += bias[v];
  for (uint32_t v = 0; capped && v < vocab; v++) {
    float tanh = tansy_tanhf(q[v] / cap);
    q[v] = cap * tanh;
    capped[v] = 1 - tanh * tanh;
  }
  tansy_softmax(p, vocab, p, &largest);
  tansy_softmax(q, vocab, q, &largest);
  if (t->step < t->n_steps) {
    for (uint32_t v = 0; v < vocab; v++) q[v] = (q[v] - p[v]) * (capped ? scale * capped[v] : scale);
    return;
  }
  double kl = 0;
  for (uint32_t v = 0; v < vocab; v++)
    if (p[v] > 1e-30f) kl += p[v] * tansy_logf(p[v] / (q[v] > 1e-30f ? q[v] : 1e-30f));
  t->sums[t->first + i] = kl;
}

static void head_back_body(void *ctx, uint32_t item, uint32_t thread) {
  (void)thread;
  struct tune *t = ctx;
  size_t vocab = t->config->vocab, hidden = t->config->hidden, first = (size_t)item * BACK_TOKENS;
  uint32_t n = t->n - (uint32_t)first < BACK_TOKENS ? t->n - (uint32_t)first : BACK_TOKENS;
  tansy_matmul_back(t->model.head, t->q + first * vocab, vocab, n, (uint32_t)vocab, (uint32_t)hidden, t->g_normed + first * hidden);
}

/* through the head; and back, to t->g and the head's gradient, but for the last time */
static enum tansy_status do_head(struct tune *t, uint32_t n_tokens, struct tansy_failure *failure) {
  const struct tansy_config *c = t->config;
  size_t hidden = c->hidden;
  const float *x = t->inputs[c->n_layers];
  memset(t->g, 0, n_tokens * hidden * sizeof *t->g);
  for (t->first = 0; t->first < n_tokens; t->first += t->n) {
    t->n = n_tokens - t->first < t->group ? n_tokens - t->first : t->group;
    TANSY_TRY(tansy_head_logits(t->runner, t->x_float + t->first * hidden, t->n, t->p, failure));
    tansy_runner_norm(t->runner, x + t->first * hidden, t->model.final_norm, t->model.final_norm_bias, t->n, t->normed);
    tansy_matmul_tokens(t->job->team, t->model.head, t->normed, t->n, c->vocab, c->hidden, t->q);
    tansy_team_run(t->job->team, t->n, token_body, t);
    if (t->step == t->n_steps) continue;
    tansy_cross_add(t->job->team, t->head_gradient, t->q, c->vocab, t->normed, c->hidden, t->n);
    memset(t->g_normed, 0, t->n * hidden * sizeof *t->g_normed);
    tansy_team_run(t->job->team, (t->n + BACK_TOKENS - 1) / BACK_TOKENS, head_back_body, t);
    tansy_norm_backward(c, x + t->first * hidden, t->model.final_norm, t->g_normed, t->n, c->hidden, t->g + t->first * hidden);
  }
  return TANSY_OK;
}

static void layer_window(void *ctx, uint32_t item, uint32_t thread) {
  struct tune *t = ctx;
  size_t window = t->text.window, at = item * window;
  struct tansy_output_fisher wanted = {0};
  struct tansy_felt *parts[TANSY_N_LAYER_LINEARS] = {&wanted.q, &wanted.k, &wanted.v, &wanted.o, &wanted.gate, &wanted.up, &wanted.down};
  struct tansy_layer_weights *w = &t->model.layers[t->layer].weights;
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) {
    const struct tansy_coded_shape *shape = &tansy_layer_linear(w, linear_roles[i])->w.coded.shape;
    if (shape->n_rows) *parts[i] = (struct tansy_felt){.g = t->felt[i].g + at * shape->n_rows, .x = t->felt[i].x + at * shape->n_cols};
  }
  size_t hidden = at * t->config->hidden;
  tansy_layer_backward(&t->runner->forward[thread], t->layer, w, t->inputs[t->layer] + hidden, (uint32_t)window, t->g + hidden, t->scratch[thread], &wanted);
}

/* ---- moving a matrix ---- */

/* running means of a row's gradients; its share of the sums over the matrix */
static void feel_row(void *ctx, uint32_t row, uint32_t thread) {
  (void)thread;
  struct tune *t = ctx;
  struct tansy_tuned_matrix *m = t->matrix;
  size_t at = (size_t)row * m->n_cols;
  double square = 0, base = 0;
  for (uint32_t j = 0; j < m->n_cols; j++) {
    float of_w = t->of_matrix[at + j], g = of_w * (m->row[row] * m->col[j]);
    m->moved[at + j] = MOMENTUM * m->moved[at + j] + (1 - MOMENTUM) * g;
    m->square[at + j] = SQUARES * m->square[at + j] + (1 - SQUARES) * g * g;
    square += m->square[at + j];
    base += of_w * m->w[at + j];
  }
  t->sums[2 * row] = square;
  t->sums[2 * row + 1] = base;
}

static void move_row(void *ctx, uint32_t row, uint32_t thread) {
  (void)thread;
  struct tune *t = ctx;
  struct tansy_tuned_matrix *m = t->matrix;
  size_t at = (size_t)row * m->n_cols;
  float most = REACH / (float)t->n_steps, rate = t->rate * (most < MAX_RATE ? most : MAX_RATE) * t->correct_moved;
  for (uint32_t j = 0; j < m->n_cols; j++) {
    float square = (m->square[at + j] + FLOOR * m->mean_square) * t->correct_square;
    if (square > 0) m->u[at + j] -= rate * m->moved[at + j] / sqrtf(square);
  }
  tansy_tuned_set_rows(m, row, row + 1);
}

/* gradient [n_rows, n_cols] at w */
static void move_matrix(struct tune *t, struct tansy_tuned_matrix *m, const float *gradient) {
  double square = 0, base = 0;
  t->matrix = m;
  t->of_matrix = gradient;
  tansy_team_run(t->job->team, m->n_rows, feel_row, t);
  for (uint32_t i = 0; i < m->n_rows; i++) square += t->sums[2 * i], base += t->sums[2 * i + 1];
  m->mean_square = (float)(square / ((double)m->n_rows * m->n_cols));
  m->base_moved = MOMENTUM * m->base_moved + (1 - MOMENTUM) * (float)base;
  m->base_square = SQUARES * m->base_square + (1 - SQUARES) * (float)base * (float)base;
  if (m->base_square > 0)
    m->scale.base *= 1 - t->rate * BASE_RATE * (m->base_moved * t->correct_moved) / sqrtf(m->base_square * t->correct_square);
  tansy_team_run(t->job->team, m->n_rows, move_row, t);
}

static void move_layer(struct tune *t, uint32_t layer) {
  struct tansy_layer_weights *w = &t->model.layers[layer].weights;
  t->layer = layer;
  tansy_team_run(t->job->team, t->n_windows, layer_window, t);
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) {
    const struct tansy_coded_shape *shape = &tansy_layer_linear(w, linear_roles[i])->w.coded.shape;
    if (!shape->n_rows) continue;
    memset(t->gradient, 0, (size_t)shape->n_rows * shape->n_cols * sizeof *t->gradient);
    tansy_cross_add(t->job->team, t->gradient, t->felt[i].g, shape->n_rows, t->felt[i].x, shape->n_cols, t->n_tokens);
    move_matrix(t, tansy_tuned_matrix_of(&t->model, linear_roles[i], layer), t->gradient);
  }
}

static void move_tables(struct tune *t) {
  const struct tansy_config *c = t->config;
  for (size_t i = 0; i < t->n_tokens; i++) {
    float *row = t->embed_gradient + (size_t)t->tokens[i] * c->hidden;
    for (uint32_t j = 0; j < c->hidden; j++) row[j] += c->embed_scale * t->g[i * c->hidden + j];
  }
  move_matrix(t, tansy_tuned_matrix_of(&t->model, TANSY_ROLE_EMBED, 0), t->embed_gradient);
  if (!c->tied) move_matrix(t, tansy_tuned_matrix_of(&t->model, TANSY_ROLE_HEAD, 0), t->head_gradient);
}

/* the windows of a step; each comes as often as any other, in an order that mixes what is next to each other in the text */
static void choose_windows(struct tune *t) {
  uint32_t n = t->text.n, stride = (uint32_t)((uint64_t)n * 618034 / 1000000) | 1;
  for (uint32_t a, b, r;; stride += 2) { /* until it has no divisor in common with n */
    for (a = n, b = stride; b; r = a % b, a = b, b = r) {}
    if (a == 1) break;
  }
  size_t window = t->text.window;
  for (uint32_t i = 0; i < t->n_windows; i++) {
    uint64_t number = ((uint64_t)t->step * t->n_windows + i) * stride % n;
    memcpy(t->tokens + i * window, t->text.tokens + number * window, window * sizeof *t->tokens);
  }
}

static enum tansy_status take_step(struct tune *t, struct tansy_failure *failure) {
  size_t n_table = (size_t)t->config->vocab * t->config->hidden;
  float done = (float)t->step / (float)t->n_steps, warm = (float)(t->step + 1) / WARM_STEPS;
  t->rate = (1 - done) * (warm < 1 ? warm : 1);
  t->correct_moved = (float)(1 / (1 - tansy_pow_f64(MOMENTUM, t->step + 1)));
  t->correct_square = (float)(1 / (1 - tansy_pow_f64(SQUARES, t->step + 1)));
  choose_windows(t);
  memset(t->embed_gradient, 0, n_table * sizeof(float));
  if (!t->config->tied) memset(t->head_gradient, 0, n_table * sizeof(float));
  TANSY_TRY(go_forward(t, t->n_windows, failure));
  TANSY_TRY(do_head(t, t->n_tokens, failure));
  for (uint32_t layer = t->config->n_layers; layer-- > 0;) move_layer(t, layer);
  move_tables(t);
  return TANSY_OK;
}

/* mean divergence on the windows held out */
static enum tansy_status measure(struct tune *t, double *kl, struct tansy_failure *failure) {
  uint32_t step = t->step, window = t->text.window;
  double sum = 0;
  t->step = t->n_steps;
  for (uint32_t first = 0, n; first < t->n_held; first += n) {
    n = t->n_held - first < t->n_windows ? t->n_held - first : t->n_windows;
    memcpy(t->tokens, t->text.tokens + (size_t)(t->text.n + first) * window, (size_t)n * window * sizeof *t->tokens);
    TANSY_TRY(go_forward(t, n, failure));
    TANSY_TRY(do_head(t, n * window, failure));
    for (uint32_t i = 0; i < n * window; i++) sum += t->sums[i];
  }
  t->step = step;
  *kl = sum / ((double)t->n_held * window);
  return TANSY_OK;
}

/* ---- memory ---- */

/* a copy of the text, every HELD_OUT-th window at its end */
static enum tansy_status split_text(struct tune *t, struct tansy_failure *failure) {
  const struct tansy_windows *all = text_of(t->job);
  size_t window = all->window;
  t->n_held = n_held(all);
  t->text = (struct tansy_windows){.window = all->window, .n = all->n - t->n_held, .tokens = malloc(all->n * window * sizeof(int32_t))};
  if (!t->text.tokens) return tansy_fail_memory(failure);
  for (uint32_t i = 0, n = 0, held = 0; i < all->n; i++) {
    bool is_held = (uint64_t)(i + 1) * t->n_held / all->n > held;
    uint32_t to = is_held ? t->text.n + held++ : n++;
    memcpy(t->text.tokens + to * window, all->tokens + i * window, window * sizeof(int32_t));
  }
  return TANSY_OK;
}

static float *floats(size_t n, bool *ok) {
  float *memory = malloc((n + 1) * sizeof *memory);
  if (!memory) *ok = false;
  return memory;
}

static enum tansy_status tune_init(struct tune *t, struct tansy_failure *failure) {
  const struct tansy_config *c = t->config;
  TANSY_TRY(split_text(t, failure));
  TANSY_TRY(tansy_tuned_model_load(t->job, &t->model, failure));
  t->n_windows = windows_of_step(&t->text);
  t->n_tokens = t->n_windows * t->text.window;
  t->group = tansy_head_group(c) < t->n_tokens ? tansy_head_group(c) : t->n_tokens;
  size_t hidden = (size_t)t->n_tokens * c->hidden, table = (size_t)c->vocab * c->hidden, largest = 0, n_rows = t->n_tokens;
  size_t scratch = tansy_gradient_scratch_n(c, t->text.window);
  if (scratch < c->vocab) scratch = c->vocab;
  for (uint32_t i = 0; i < t->model.n_matrices; i++) {
    const struct tansy_tuned_matrix *m = &t->model.matrices[i];
    if (m->n_rows > n_rows) n_rows = m->n_rows;
    if (tansy_role_section(m->source->role) == 1 && (size_t)m->n_rows * m->n_cols > largest) largest = (size_t)m->n_rows * m->n_cols;
  }
  t->layers = calloc(c->n_layers, sizeof *t->layers);
  t->inputs = calloc(c->n_layers + 1u, sizeof *t->inputs);
  t->scratch = calloc(tansy_team_n_threads(t->job->team), sizeof *t->scratch);
  t->tokens = malloc(t->n_tokens * sizeof *t->tokens);
  t->sums = malloc(2 * n_rows * sizeof *t->sums);
  bool ok = t->layers && t->inputs && t->scratch && t->tokens && t->sums;
  t->x_float = floats(hidden, &ok), t->g = floats(hidden, &ok);
  t->g_normed = floats((size_t)t->group * c->hidden, &ok), t->normed = floats((size_t)t->group * c->hidden, &ok);
  t->p = floats((size_t)t->group * c->vocab, &ok), t->q = floats((size_t)t->group * c->vocab, &ok);
  t->gradient = floats(largest, &ok);
  t->embed_gradient = floats(table, &ok);
  t->head_gradient = c->tied ? t->embed_gradient : floats(table, &ok);
  for (uint32_t i = 0; ok && i <= c->n_layers; i++) t->inputs[i] = floats(hidden, &ok);
  for (uint32_t i = 0; ok && i < tansy_team_n_threads(t->job->team); i++) t->scratch[i] = floats(scratch, &ok);
  for (int i = 0; ok && i < TANSY_N_LAYER_LINEARS; i++) {
    const struct tansy_coded_shape *shape = &tansy_layer_linear(&t->model.layers[0].weights, linear_roles[i])->w.coded.shape;
    t->felt[i] = (struct felt){floats((size_t)t->n_tokens * shape->n_rows, &ok), floats((size_t)t->n_tokens * shape->n_cols, &ok)};
  }
  if (!ok) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < c->n_layers; i++) TANSY_TRY(tansy_float_layer_load(t->job->checkpoint, i, &t->layers[i], failure));
  return TANSY_OK;
}

static void tune_free(struct tune *t) {
  for (uint32_t i = 0; t->layers && i < t->config->n_layers; i++) tansy_float_layer_free(&t->layers[i]);
  for (uint32_t i = 0; t->inputs && i <= t->config->n_layers; i++) free(t->inputs[i]);
  for (uint32_t i = 0; t->scratch && i < tansy_team_n_threads(t->job->team); i++) free(t->scratch[i]);
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) free(t->felt[i].g), free(t->felt[i].x);
  if (t->head_gradient != t->embed_gradient) free(t->head_gradient);
  free(t->layers), free(t->inputs), free(t->scratch), free(t->tokens), free(t->sums), free(t->x_float), free(t->g), free(t->g_normed);
  free(t->normed), free(t->p), free(t->q), free(t->gradient), free(t->embed_gradient), free(t->text.tokens);
  tansy_tuned_model_free(&t->model);
}

/* ---- the whole ---- */

/* the integers as they are now, if that is a gain and the size is still what was asked for */
static enum tansy_status keep_gain(struct tune *t, struct tansy_failure *failure) {
  struct tansy_job *job = t->job;
  struct tansy_tuned_before *before = calloc(t->model.n_matrices + 1u, sizeof *before);
  double nbytes_before, nbytes = 0, allowed = tansy_job_allowed_nbytes(job);
  if (!before) return tansy_fail_memory(failure);
  enum tansy_status status = tansy_job_nbytes(job, &nbytes_before, failure);
  if (status == TANSY_OK) status = tansy_tuned_model_store(job, &t->model, before, failure);
  if (status == TANSY_OK) status = tansy_job_nbytes(job, &nbytes, failure);
  if (status != TANSY_OK || (nbytes > 1.01 * allowed && nbytes > nbytes_before)) tansy_tuned_model_restore(job, &t->model, before);
  else job->tuned.outcome = TANSY_TUNING_DONE;
  for (uint32_t i = 0; i < t->model.n_matrices; i++) tansy_buffer_free(&before[i].stored);
  free(before);
  return status;
}

enum tansy_status tansy_tune(struct tansy_job *job, struct tansy_runner *runner, double work, struct tansy_failure *failure) {
  struct tune t = {.job = job, .runner = runner, .config = &job->checkpoint->config, .n_steps = n_steps(job)};
  struct tansy_tuned *out = &job->tuned;
  double done = job->progress.done;
  *out = (struct tansy_tuned){.outcome = TANSY_TUNING_NO_GAIN};
  tansy_progress_at(&job->progress, "tune", NULL, done);
  enum tansy_status status = tune_init(&t, failure);
  if (status == TANSY_OK) status = measure(&t, &out->kl_before, failure);
  for (; t.step < t.n_steps && status == TANSY_OK; t.step++) {
    status = take_step(&t, failure);
    tansy_progress_at(&job->progress, "tune", NULL, done + work * (t.step + 1) / t.n_steps);
  }
  if (status == TANSY_OK) status = measure(&t, &out->kl_after, failure);
  out->n_tokens = (uint64_t)t.n_steps * t.n_tokens;
  if (status == TANSY_OK && out->kl_after < out->kl_before) status = keep_gain(&t, failure);
  tune_free(&t);
  return status;
}
