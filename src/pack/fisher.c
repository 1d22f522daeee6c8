/* fisher.c: see fisher.h. Labels are drawn from the model's prediction with a generator seeded by the token's number, and sums
 * are taken window by window, so the result is the same on every machine and for any number of threads. */
#include "pack/fisher.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/gradient.h"
#include "pack/head.h"
#include "pack/linalg.h"

enum { VOCAB_PART = 1024, MAX_INPUT_NBYTES = 512 << 20, MAX_TOKENS = 32768, CHUNK_TOKENS = 4096, MAX_FELT_NBYTES = 192 << 20, MAX_FACTOR_NBYTES = 192 << 20, LEAST_BLOCK = 32 };
#define FACTOR_DAMPING 0.2 /* of the mean diagonal of E[g g^T]: factors know less than they seem to; 0.15 to 0.5 are as good, 0.03 is worse */

static const uint32_t linear_roles[TANSY_N_LAYER_LINEARS] = {TANSY_ROLE_Q,    TANSY_ROLE_K,  TANSY_ROLE_V,   TANSY_ROLE_O,
                                                             TANSY_ROLE_GATE, TANSY_ROLE_UP, TANSY_ROLE_DOWN};

int tansy_linear_number(uint32_t role) {
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++)
    if (linear_roles[i] == role) return i;
  return -1;
}

uint32_t tansy_fisher_block(const struct tansy_fisher *f, uint32_t n_rows) { return n_rows < f->block ? n_rows : f->block; }

size_t tansy_fisher_factor_n(const struct tansy_fisher *f, uint32_t n_rows) {
  size_t block = tansy_fisher_block(f, n_rows);
  return (n_rows + block - 1) / block * block * block;
}

struct work {
  struct tansy_runner *r;
  const struct tansy_layer_weights *weights;
  uint32_t layer, window, n_windows;
  const float *x;        /* input of the layer (or of the head), [n_windows * window, H] */
  float *g;              /* gradient, same shape */
  float *vocab;          /* [n_windows, vocab] */
  float **scratch;       /* [chunk] */
  uint32_t chunk, first; /* windows taken at a time; the first of them */
  float *felt[TANSY_N_LAYER_LINEARS]; /* [chunk * window, n_rows]: gradients at the linears' outputs */
  float **token;         /* [7] [n_windows * window]: squares of a token's gradient at each linear of the layer */
  float *head_token;     /* [n_windows * window]: 1 - sum of p_v^2 */
};

static double uniform(uint64_t number) {
  uint64_t z = (number + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* ---- at the head: labels, what each token of the vocabulary counts, and the gradient at the last layer's output ---- */

struct head_group {
  struct work *w;
  uint32_t first, n;
  float *p;     /* [n, vocab] logits, then probabilities, then gradients */
  float *slope; /* [n, vocab] of the cap on logits; NULL where there is none */
};

static void take_probabilities(void *ctx, uint32_t t, uint32_t thread) {
  (void)thread;
  const struct head_group *h = ctx;
  const struct tansy_config *c = h->w->r->config;
  float *p = h->p + (size_t)t * c->vocab, cap = c->logit_softcap;
  uint32_t largest;
  double sum = 0;
  for (uint32_t v = 0; h->slope && v < c->vocab; v++) h->slope[(size_t)t * c->vocab + v] = 1 - (p[v] / cap) * (p[v] / cap);
  tansy_softmax(p, c->vocab, p, &largest);
  for (uint32_t v = 0; v < c->vocab; v++) sum += p[v] * (1 - p[v]);
  h->w->head_token[h->first + t] = (float)sum;
}

/* p (1 - p) of a part of the vocabulary, window by window */
static void count_vocab(void *ctx, uint32_t part, uint32_t thread) {
  (void)thread;
  const struct head_group *h = ctx;
  uint32_t vocab = h->w->r->config->vocab, begin = part * VOCAB_PART, end = vocab - begin < VOCAB_PART ? vocab : begin + VOCAB_PART;
  for (uint32_t t = 0; t < h->n; t++) {
    const float *p = h->p + (size_t)t * vocab;
    float *sum = h->w->vocab + (size_t)((h->first + t) / h->w->window) * vocab;
    for (uint32_t v = begin; v < end; v++) sum[v] += p[v] * (1 - p[v]);
  }
}

/* gradient of ln p(label), its sign turned, the label drawn from p */
static void take_gradient(void *ctx, uint32_t t, uint32_t thread) {
  (void)thread;
  const struct head_group *h = ctx;
  uint32_t vocab = h->w->r->config->vocab, label = 0;
  float *p = h->p + (size_t)t * vocab;
  double left = uniform(h->first + t);
  while (label + 1 < vocab && left >= p[label]) left -= p[label++];
  p[label] -= 1;
  for (uint32_t v = 0; h->slope && v < vocab; v++) p[v] *= h->slope[(size_t)t * vocab + v];
}

static enum tansy_status go_back_from_head(struct work *w, uint32_t n_tokens, struct tansy_failure *failure) {
  const struct tansy_config *c = w->r->config;
  uint32_t group = tansy_head_group(c) < n_tokens ? tansy_head_group(c) : n_tokens;
  struct head_group h = {.w = w, .p = malloc((size_t)group * c->vocab * sizeof(float))};
  if (c->logit_softcap != 0) h.slope = malloc((size_t)group * c->vocab * sizeof(float));
  float *g_normed = malloc((size_t)group * c->hidden * sizeof *g_normed);
  bool ok = h.p && g_normed && (h.slope || c->logit_softcap == 0);
  enum tansy_status status = ok ? TANSY_OK : tansy_fail_memory(failure);
  memset(w->g, 0, (size_t)n_tokens * c->hidden * sizeof *w->g);
  for (; h.first < n_tokens && status == TANSY_OK; h.first += h.n) {
    h.n = n_tokens - h.first < group ? n_tokens - h.first : group;
    size_t at = (size_t)h.first * c->hidden;
    status = tansy_head_logits(w->r, w->x + at, h.n, h.p, failure);
    if (status != TANSY_OK) break;
    tansy_team_run(w->r->team, h.n, take_probabilities, &h);
    tansy_team_run(w->r->team, (c->vocab + VOCAB_PART - 1) / VOCAB_PART, count_vocab, &h);
    tansy_team_run(w->r->team, h.n, take_gradient, &h);
    memset(g_normed, 0, (size_t)h.n * c->hidden * sizeof *g_normed);
    status = tansy_head_back(w->r, h.p, h.n, g_normed, failure);
    tansy_norm_backward(c, w->x + at, w->r->outer->final_norm, g_normed, h.n, c->hidden, w->g + at);
  }
  free(h.p), free(h.slope), free(g_normed);
  return status;
}

/* ---- at the layers ---- */

static void layer_window(void *ctx, uint32_t number, uint32_t thread) {
  struct work *w = ctx;
  uint32_t item = w->first + number;
  size_t at = (size_t)item * w->window * w->r->config->hidden;
  struct tansy_output_fisher fisher = {0};
  struct tansy_felt *parts[TANSY_N_LAYER_LINEARS] = {&fisher.q, &fisher.k, &fisher.v, &fisher.o, &fisher.gate, &fisher.up, &fisher.down};
  struct tansy_layer_weights copy = *w->weights; /* tansy_layer_linear takes no const */
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) {
    uint32_t n_rows = tansy_layer_linear(&copy, linear_roles[i])->w.coded.shape.n_rows;
    if (n_rows) *parts[i] = (struct tansy_felt){.token = w->token[i] + (size_t)item * w->window, .g = w->felt[i] + (size_t)(item - w->first) * w->window * n_rows};
  }
  tansy_layer_backward(&w->r->forward[thread], w->layer, w->weights, w->x + at, w->window, w->g + at, w->scratch[number], &fisher);
}

static double mean_of(const float *x, uint32_t n) {
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += x[i];
  return sum / n;
}

/* around 1 */
static void normalize(float *x, uint32_t n) {
  double mean = mean_of(x, n);
  for (uint32_t i = 0; i < n; i++) x[i] = mean > 0 ? (float)(x[i] / mean) : 1;
}

/* ---- moments of the gradients at a linear's outputs, block by block ---- */

static void add_factors(struct work *w, struct tansy_fisher *out, uint32_t n_tokens) {
  struct tansy_layer_weights copy = *w->weights;
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) {
    uint32_t n_rows = tansy_layer_linear(&copy, linear_roles[i])->w.coded.shape.n_rows;
    if (!n_rows) continue;
    float *blocks = out->factor[w->layer * TANSY_N_LAYER_LINEARS + (uint32_t)i];
    tansy_gram_blocks_add(w->r->team, blocks, w->felt[i], n_tokens, n_rows, tansy_fisher_block(out, n_rows));
  }
}

static void make_factors(struct work *w, struct tansy_fisher *out) {
  struct tansy_layer_weights copy = *w->weights;
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) {
    uint32_t n_rows = tansy_layer_linear(&copy, linear_roles[i])->w.coded.shape.n_rows;
    if (!n_rows) continue;
    uint32_t block = tansy_fisher_block(out, n_rows);
    float *at = out->factor[w->layer * TANSY_N_LAYER_LINEARS + (uint32_t)i];
    double mean = 0;
    for (int pass = 0; pass < 2; pass++) {
      for (uint32_t first = 0; first < n_rows; first += block) {
        uint32_t n = n_rows - first < block ? n_rows - first : block;
        float *m = at + (size_t)first * block;
        for (size_t k = 0; pass == 0 && k < (size_t)n * n; k++) m[k] /= (float)out->n_tokens;
        for (uint32_t k = 0; pass == 0 && k < n; k++) mean += m[(size_t)k * n + k] / n_rows;
        if (pass == 1) tansy_cholesky(w->r->team, m, n, FACTOR_DAMPING * mean);
      }
    }
  }
}

/* the largest power of two by which all factors stay within their memory */
static uint32_t choose_block(const struct tansy_checkpoint *c) {
  for (uint32_t block = 1u << 15; block > LEAST_BLOCK; block /= 2) {
    uint64_t nbytes = 0;
    for (uint32_t i = 0; i < c->n_sources; i++) {
      const struct tansy_source *s = &c->sources[i];
      if (tansy_linear_number(s->role) >= 0) nbytes += (uint64_t)s->n_rows * (s->n_rows < block ? s->n_rows : block) * sizeof(float);
    }
    if (nbytes <= MAX_FACTOR_NBYTES) return block;
  }
  return LEAST_BLOCK;
}

/* windows whose gradients at all linears of a layer are kept at a time */
static uint32_t choose_chunk(const struct tansy_checkpoint *c, uint32_t window) {
  size_t token_nbytes = 0;
  for (uint32_t i = 0; i < c->n_sources; i++)
    if (c->sources[i].layer == 0 && tansy_linear_number(c->sources[i].role) >= 0) token_nbytes += c->sources[i].n_rows * sizeof(float);
  size_t n_tokens = token_nbytes && MAX_FELT_NBYTES / token_nbytes < CHUNK_TOKENS ? MAX_FELT_NBYTES / token_nbytes : CHUNK_TOKENS;
  return n_tokens < window ? 1 : (uint32_t)(n_tokens / window);
}

static enum tansy_status allocate_factors(const struct tansy_checkpoint *c, struct work *w, uint32_t chunk, struct tansy_fisher *out,
                                          struct tansy_failure *failure) {
  out->block = choose_block(c);
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    int number = tansy_linear_number(s->role);
    if (number < 0) continue;
    float **factor = &out->factor[s->layer * TANSY_N_LAYER_LINEARS + (uint32_t)number];
    *factor = calloc(tansy_fisher_factor_n(out, s->n_rows), sizeof **factor);
    if (s->layer == 0) w->felt[number] = malloc((size_t)chunk * w->window * s->n_rows * sizeof(float));
    if (!*factor || !w->felt[number]) return tansy_fail_memory(failure);
  }
  return TANSY_OK;
}

/* h_t scaled by the root of its weight, window by window */
static enum tansy_status make_head_moment(struct work *w, struct tansy_fisher *out, struct tansy_failure *failure) {
  const struct tansy_config *c = w->r->config;
  const struct tansy_outer_weights *outer = w->r->outer;
  uint32_t n = c->hidden;
  float *h = malloc((size_t)w->window * n * sizeof *h);
  if (!h) return tansy_fail_memory(failure);
  for (uint32_t item = 0; item < w->n_windows; item++) {
    tansy_runner_norm(w->r, w->x + (size_t)item * w->window * n, outer->final_norm, outer->final_norm_bias, w->window, h);
    for (size_t t = 0; t < w->window; t++) {
      size_t token = (size_t)item * w->window + t;
      float root = (float)sqrt(w->head_token[token]);
      for (uint32_t j = 0; j < n; j++) h[t * n + j] *= root;
    }
    tansy_gram_add(w->r->team, out->head_moment, h, h, w->window, n);
  }
  free(h);
  for (size_t i = 0; i < (size_t)n * n; i++) out->head_moment[i] /= (float)out->n_tokens;
  return TANSY_OK;
}

static enum tansy_status go_back(const struct tansy_checkpoint *checkpoint, struct work *w, float **inputs, struct tansy_progress *progress,
                                 double work, struct tansy_fisher *out, struct tansy_failure *failure) {
  const struct tansy_config *c = w->r->config;
  w->x = inputs[c->n_layers];
  TANSY_TRY(go_back_from_head(w, out->n_tokens, failure));
  for (uint32_t v = 0; v < c->vocab; v++) {
    double sum = 0;
    for (uint32_t item = 0; item < w->n_windows; item++) sum += w->vocab[(size_t)item * c->vocab + v];
    out->vocab[v] = (float)(sum / out->n_tokens);
  }
  double done = progress->done;
  normalize(w->head_token, out->n_tokens);
  TANSY_TRY(make_head_moment(w, out, failure));
  for (uint32_t layer = c->n_layers; layer-- > 0;) {
    struct tansy_float_layer weights;
    TANSY_TRY(tansy_float_layer_load(checkpoint, layer, &weights, failure));
    w->weights = &weights.weights;
    w->layer = layer;
    w->token = out->token + (size_t)layer * TANSY_N_LAYER_LINEARS;
    w->x = inputs[layer];
    for (w->first = 0; w->first < w->n_windows; w->first += w->chunk) {
      uint32_t n = w->n_windows - w->first < w->chunk ? w->n_windows - w->first : w->chunk;
      tansy_team_run(w->r->team, n, layer_window, w);
      add_factors(w, out, n * w->window);
    }
    make_factors(w, out);
    for (uint32_t i = 0; i < TANSY_N_LAYER_LINEARS; i++) normalize(w->token[i], out->n_tokens);
    tansy_float_layer_free(&weights);
    tansy_progress_at(progress, "sensitivity", NULL, done + work * (c->n_layers - layer) / (double)c->n_layers);
  }
  tansy_gram_add(w->r->team, out->embed_moment, w->g, w->g, out->n_tokens, c->hidden);
  float scale = c->embed_scale * c->embed_scale / (float)out->n_tokens;
  for (uint32_t i = 0; i < c->hidden; i++)
    for (uint32_t j = 0; j <= i; j++) out->embed_moment[(size_t)i * c->hidden + j] *= scale;
  return TANSY_OK;
}

/* inputs of all layers, the last being the head's */
static enum tansy_status go_forward(const struct tansy_checkpoint *checkpoint, struct tansy_runner *r, const int32_t *tokens, uint32_t n_windows,
                                    float **inputs, struct tansy_progress *progress, double work, struct tansy_failure *failure) {
  const struct tansy_config *c = r->config;
  size_t n = (size_t)n_windows * r->window * c->hidden;
  double done = progress->done;
  TANSY_TRY(tansy_runner_embed(r, tokens, n_windows, inputs[0], failure));
  for (uint32_t layer = 0; layer < c->n_layers; layer++) {
    struct tansy_float_layer weights;
    TANSY_TRY(tansy_float_layer_load(checkpoint, layer, &weights, failure));
    memcpy(inputs[layer + 1], inputs[layer], n * sizeof(float));
    tansy_runner_part(r, layer, &weights.weights, TANSY_PART_ATTENTION, inputs[layer + 1], n_windows, 0, NULL);
    tansy_runner_part(r, layer, &weights.weights, TANSY_PART_MLP, inputs[layer + 1], n_windows, 0, NULL);
    tansy_float_layer_free(&weights);
    tansy_progress_at(progress, "sensitivity", NULL, done + work * (layer + 1) / c->n_layers);
  }
  return TANSY_OK;
}

uint32_t tansy_fisher_n_windows(const struct tansy_config *c, const struct tansy_windows *windows) {
  size_t token_nbytes = (size_t)(c->n_layers + 2) * c->hidden * sizeof(float);
  uint64_t max_tokens = MAX_INPUT_NBYTES / token_nbytes < MAX_TOKENS ? MAX_INPUT_NBYTES / token_nbytes : MAX_TOKENS;
  uint32_t n = (uint32_t)(max_tokens / windows->window);
  return n < 1 ? 1 : n > windows->n ? windows->n : n;
}

enum tansy_status tansy_fisher_make(const struct tansy_checkpoint *checkpoint, struct tansy_runner *r, const struct tansy_windows *windows,
                                    struct tansy_progress *progress, double work, struct tansy_fisher *out, struct tansy_failure *failure) {
  const struct tansy_config *c = r->config;
  uint32_t n = tansy_fisher_n_windows(c, windows);
  *out = (struct tansy_fisher){.n_layers = c->n_layers, .n_tokens = n * windows->window, .window = windows->window, .n_given = windows->n, .n_windows = n};
  out->factor = calloc((size_t)c->n_layers * TANSY_N_LAYER_LINEARS, sizeof *out->factor);
  out->embed_moment = calloc((size_t)c->hidden * c->hidden, sizeof *out->embed_moment);
  out->head_moment = calloc((size_t)c->hidden * c->hidden, sizeof *out->head_moment);
  out->vocab = calloc(c->vocab, sizeof *out->vocab);
  uint32_t n_token = c->n_layers * TANSY_N_LAYER_LINEARS + 1;
  out->token = calloc(n_token, sizeof *out->token);

  struct work w = {.r = r, .window = windows->window, .n_windows = n};
  size_t n_hidden = (size_t)out->n_tokens * c->hidden, n_scratch = tansy_gradient_scratch_n(c, windows->window);
  float **inputs = calloc(c->n_layers + 1u, sizeof *inputs);
  int32_t *tokens = malloc((size_t)out->n_tokens * sizeof *tokens);
  w.g = malloc(n_hidden * sizeof *w.g);
  w.vocab = calloc((size_t)n * c->vocab, sizeof *w.vocab);
  w.chunk = choose_chunk(checkpoint, w.window);
  if (w.chunk > n) w.chunk = n;
  w.scratch = calloc(w.chunk, sizeof *w.scratch);
  bool ok = out->factor && out->embed_moment && out->head_moment && out->vocab && out->token && inputs && tokens && w.g && w.vocab && w.scratch;
  for (uint32_t i = 0; ok && i < n_token; i++) ok = (out->token[i] = calloc(out->n_tokens, sizeof(float))) != NULL;
  if (ok) w.head_token = out->token[n_token - 1];
  for (uint32_t i = 0; ok && i < w.chunk; i++) ok = (w.scratch[i] = malloc(n_scratch * sizeof(float))) != NULL;
  for (uint32_t i = 0; ok && i <= c->n_layers; i++) ok = (inputs[i] = malloc(n_hidden * sizeof(float))) != NULL;
  enum tansy_status status = ok ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = allocate_factors(checkpoint, &w, w.chunk, out, failure);
  if (status == TANSY_OK) {
    for (uint32_t i = 0; i < n; i++) /* evenly spread over the windows given */
      memcpy(tokens + (size_t)i * w.window, windows->tokens + (size_t)((uint64_t)i * windows->n / n) * w.window, w.window * sizeof *tokens);
    status = go_forward(checkpoint, r, tokens, n, inputs, progress, work / 4, failure);
  }
  if (status == TANSY_OK) status = go_back(checkpoint, &w, inputs, progress, work * 3 / 4, out, failure);
  for (uint32_t i = 0; w.scratch && i < w.chunk; i++) free(w.scratch[i]);
  for (int i = 0; i < TANSY_N_LAYER_LINEARS; i++) free(w.felt[i]);
  for (uint32_t i = 0; inputs && i <= c->n_layers; i++) free(inputs[i]);
  free(inputs), free(tokens), free(w.g), free(w.vocab), free(w.scratch);
  if (status != TANSY_OK) tansy_fisher_free(out);
  return status;
}

void tansy_fisher_free(struct tansy_fisher *f) {
  for (size_t i = 0; f->token && i < (size_t)f->n_layers * TANSY_N_LAYER_LINEARS + 1; i++) free(f->token[i]);
  for (size_t i = 0; f->factor && i < (size_t)f->n_layers * TANSY_N_LAYER_LINEARS; i++) free(f->factor[i]);
  free(f->factor);
  free(f->token);
  free(f->embed_moment);
  free(f->head_moment);
  free(f->vocab);
  *f = (struct tansy_fisher){0};
}

const float *tansy_fisher_tokens(const struct tansy_fisher *f, uint32_t layer, uint32_t role, uint32_t given) {
  uint64_t number = ((uint64_t)given * f->n_windows + f->n_given - 1) / f->n_given; /* the first whose window is not before it */
  if (number >= f->n_windows || number * f->n_given / f->n_windows != given) return NULL;
  int linear = tansy_linear_number(role);
  return f->token[linear < 0 ? f->n_layers * TANSY_N_LAYER_LINEARS : layer * TANSY_N_LAYER_LINEARS + (uint32_t)linear] + number * f->window;
}
