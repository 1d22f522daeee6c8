/* order.c: see order.h. The key of a channel is the logarithm of the spread of the integers that meet it: the root mean square of its
 * weights times that of its activations, up to a factor that is the same for all channels of a matrix. */
#include "pack/order.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

enum { ORDER_TOKENS = 4096, LARGE_N_PARAMS = 50000000, LARGE_ORDER_TOKENS = 1024 };

struct keys {
  const struct tansy_checkpoint *checkpoint;
  struct tansy_order *order;
  double *square[TANSY_N_SITES]; /* sums of x_j^2 of the layer at hand */
  double *hidden;                /* [H] weighted sum of keys over all matrices that read the residual stream */
  double *key;                   /* [widest site] */
};

static void see_squares(void *ctx, uint32_t layer, enum tansy_site site, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  struct keys *k = ctx;
  (void)layer;
  for (uint32_t t = 0; t < n_tokens; t++)
    for (uint32_t j = 0; j < n_cols; j++) k->square[site][j] += (double)x[(size_t)t * n_cols + j] * x[(size_t)t * n_cols + j];
}

/* key[j] = ln spread of column j: ln(sum_i w_ij^2) / 2 + ln(sum x_j^2) / 2, less their mean */
static enum tansy_status column_keys(struct keys *k, const struct tansy_source *s, const double *square, struct tansy_failure *failure) {
  enum { BLOCK_VALUES = 1 << 20 };
  uint32_t block = BLOCK_VALUES / s->n_cols + 1;
  if (block > s->n_rows || s->transposed) block = s->n_rows;
  float *w = malloc((size_t)block * s->n_cols * sizeof *w);
  enum tansy_status status = w ? TANSY_OK : tansy_fail_memory(failure);
  memset(k->key, 0, s->n_cols * sizeof *k->key);
  for (uint32_t first = 0; first < s->n_rows && status == TANSY_OK; first += block) {
    uint32_t n = s->n_rows - first < block ? s->n_rows - first : block;
    status = tansy_checkpoint_read(k->checkpoint, s, first, n, w, failure);
    for (size_t i = 0; i < n && status == TANSY_OK; i++)
      for (uint32_t j = 0; j < s->n_cols; j++) k->key[j] += (double)w[i * s->n_cols + j] * w[i * s->n_cols + j];
  }
  free(w);
  double mean = 0;
  for (uint32_t j = 0; j < s->n_cols; j++) {
    k->key[j] = (tansy_log_f64(k->key[j] + 1e-30) + tansy_log_f64(square[j] + 1e-30)) / 2;
    mean += k->key[j] / s->n_cols;
  }
  for (uint32_t j = 0; j < s->n_cols; j++) k->key[j] -= mean;
  return status;
}

struct item {
  double key;
  uint32_t number;
};
static int compare_items(const void *a, const void *b) {
  const struct item *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->number < y->number ? -1 : 1;
}

uint32_t *tansy_order_sorted(const double *key, uint32_t n) {
  struct item *items = malloc(n * sizeof *items);
  uint32_t *order = malloc(n * sizeof *order);
  for (uint32_t i = 0; items && order && i < n; i++) items[i] = (struct item){key[i], i};
  if (items && order) {
    qsort(items, n, sizeof *items, compare_items);
    for (uint32_t i = 0; i < n; i++) order[i] = items[i].number;
  }
  if (!items) free(order), order = NULL;
  free(items);
  return order;
}

static enum tansy_status order_values(struct keys *k, uint32_t layer, struct tansy_failure *failure) {
  const struct tansy_config *c = &k->checkpoint->config;
  uint32_t d = c->head_dim, share = c->n_heads / c->n_kv_heads;
  uint32_t *v = malloc((size_t)c->n_kv_heads * d * sizeof *v), *o = malloc((size_t)c->n_heads * d * sizeof *o);
  k->order->v[layer] = v;
  k->order->o[layer] = o;
  if (!v || !o) return tansy_fail_memory(failure);
  for (uint32_t group = 0; group < c->n_kv_heads; group++) {
    double key[1024] = {0}; /* head_dim is at most 1024 (hf_config.c) */
    for (uint32_t h = group * share; h < (group + 1) * share; h++)
      for (uint32_t i = 0; i < d; i++) key[i] += k->key[h * d + i];
    uint32_t *order = tansy_order_sorted(key, d);
    if (!order) return tansy_fail_memory(failure);
    for (uint32_t i = 0; i < d; i++) v[group * d + i] = group * d + order[i];
    for (uint32_t h = group * share; h < (group + 1) * share; h++)
      for (uint32_t i = 0; i < d; i++) o[h * d + i] = h * d + order[i];
    free(order);
  }
  return TANSY_OK;
}

static enum tansy_status add_hidden(struct keys *k, const struct tansy_source *s, const double *square, struct tansy_failure *failure) {
  TANSY_TRY(column_keys(k, s, square, failure));
  for (uint32_t j = 0; j < s->n_cols; j++) k->hidden[j] += k->key[j] * s->n_rows;
  return TANSY_OK;
}

static enum tansy_status order_layer(struct keys *k, uint32_t layer, struct tansy_failure *failure) {
  for (uint32_t i = 0; i < k->checkpoint->n_sources; i++) {
    const struct tansy_source *s = &k->checkpoint->sources[i];
    if (tansy_role_section(s->role) != 1 || s->layer != layer || !s->matrix) continue;
    enum tansy_site site = tansy_role_site(s->role);
    if (site == TANSY_SITE_ATTN_IN || site == TANSY_SITE_MLP_IN) {
      TANSY_TRY(add_hidden(k, s, k->square[site], failure));
      continue;
    }
    TANSY_TRY(column_keys(k, s, k->square[site], failure));
    if (site == TANSY_SITE_ATTN_OUT)
      TANSY_TRY(order_values(k, layer, failure));
    else if (!(k->order->mlp[layer] = tansy_order_sorted(k->key, s->n_cols)))
      return tansy_fail_memory(failure);
  }
  return TANSY_OK;
}

static enum tansy_status order_all(struct keys *k, struct tansy_runner *r, struct tansy_site_buffers *buffers, const struct tansy_windows *windows,
                                   float *x, struct tansy_progress *progress, double work, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = k->checkpoint;
  double done = progress->done;
  TANSY_TRY(tansy_runner_embed(r, windows->tokens, windows->n, x, failure));
  for (uint32_t layer = 0; layer < c->config.n_layers; layer++) {
    struct tansy_float_layer weights;
    for (int site = 0; site < TANSY_N_SITES; site++)
      memset(k->square[site], 0, tansy_site_n_cols(&c->config, (enum tansy_site)site) * sizeof(double));
    TANSY_TRY(tansy_float_layer_load(c, layer, &weights, failure));
    tansy_calibrate_layer(r, buffers, layer, &weights.weights, x, windows->n, see_squares, k);
    tansy_float_layer_free(&weights);
    TANSY_TRY(order_layer(k, layer, failure));
    tansy_progress_at(progress, "order", NULL, done + work * (layer + 1) / c->config.n_layers);
  }
  tansy_calibrate_head(r, buffers, x, windows->n, see_squares, k);
  TANSY_TRY(add_hidden(k, tansy_checkpoint_head(c), k->square[TANSY_SITE_HEAD], failure));
  return (k->order->hidden = tansy_order_sorted(k->hidden, c->config.hidden)) ? TANSY_OK : tansy_fail_memory(failure);
}

enum tansy_status tansy_order_make(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, const struct tansy_windows *windows,
                                   struct tansy_progress *progress, double work, struct tansy_order *out, struct tansy_failure *failure) {
  const struct tansy_config *c = &checkpoint->config;
  struct keys k = {.checkpoint = checkpoint, .order = out};
  struct tansy_float_outer outer = {0};
  struct tansy_runner runner = {0};
  struct tansy_site_buffers buffers = {0};
  struct tansy_windows some = *windows; /* the first ones */
  uint32_t n_tokens = checkpoint->n_params > LARGE_N_PARAMS ? LARGE_ORDER_TOKENS : ORDER_TOKENS;
  if ((uint64_t)some.n * some.window > n_tokens) some.n = n_tokens / some.window ? n_tokens / some.window : 1;
  *out = (struct tansy_order){.n_layers = c->n_layers};
  out->mlp = calloc(c->n_layers, sizeof *out->mlp);
  out->v = calloc(c->n_layers, sizeof *out->v);
  out->o = calloc(c->n_layers, sizeof *out->o);
  k.hidden = calloc(c->hidden, sizeof *k.hidden);
  k.key = malloc((size_t)(1 << 16) * sizeof *k.key);
  float *x = malloc((size_t)some.n * some.window * c->hidden * sizeof *x);
  bool ok = out->mlp && out->v && out->o && k.hidden && k.key && x;
  for (int site = 0; site < TANSY_N_SITES && ok; site++)
    ok = (k.square[site] = calloc(tansy_site_n_cols(c, (enum tansy_site)site), sizeof(double))) != NULL;
  enum tansy_status status = ok ? tansy_float_outer_load(checkpoint, &outer, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_runner_init(&runner, checkpoint, &outer.weights, team, some.window, failure);
  if (status == TANSY_OK) status = tansy_site_buffers_init(&buffers, c, some.window, failure);
  if (status == TANSY_OK) status = order_all(&k, &runner, &buffers, &some, x, progress, work, failure);
  tansy_site_buffers_free(&buffers);
  tansy_runner_free(&runner);
  tansy_float_outer_free(&outer);
  for (int site = 0; site < TANSY_N_SITES; site++) free(k.square[site]);
  free(k.hidden), free(k.key), free(x);
  if (status != TANSY_OK) tansy_order_free(out);
  return status;
}

void tansy_order_free(struct tansy_order *order) {
  for (uint32_t i = 0; i < order->n_layers; i++) {
    if (order->mlp) free(order->mlp[i]);
    if (order->v) free(order->v[i]);
    if (order->o) free(order->o[i]);
  }
  free(order->mlp), free(order->v), free(order->o), free(order->hidden);
  *order = (struct tansy_order){0};
}

void tansy_order_apply(const struct tansy_order *order, struct tansy_source *sources, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) {
    struct tansy_source *s = &sources[i];
    switch (s->role) {
      case TANSY_ROLE_ROPE_INV_FREQ:
      case TANSY_ROLE_ROPE_INV_FREQ_LOCAL:
      case TANSY_ROLE_HEAD_BIAS:
      case TANSY_ROLE_Q_BIAS:
      case TANSY_ROLE_K_BIAS:
      case TANSY_ROLE_Q_NORM:
      case TANSY_ROLE_K_NORM: break; /* heads, rotary pairs and tokens stay where they are */
      case TANSY_ROLE_V_BIAS: s->col_order = order->v[s->layer]; break;
      case TANSY_ROLE_UP_BIAS: s->col_order = order->mlp[s->layer]; break;
      case TANSY_ROLE_V:
        s->row_order = order->v[s->layer];
        s->col_order = order->hidden;
        break;
      case TANSY_ROLE_GATE:
      case TANSY_ROLE_UP:
        s->row_order = order->mlp[s->layer];
        s->col_order = order->hidden;
        break;
      case TANSY_ROLE_O:
        s->row_order = order->hidden;
        s->col_order = order->o[s->layer];
        break;
      case TANSY_ROLE_DOWN:
        s->row_order = order->hidden;
        s->col_order = order->mlp[s->layer];
        break;
      default: s->col_order = order->hidden; /* embeddings, Q, K, a head, norms, output biases */
    }
  }
}
