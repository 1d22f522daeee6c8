/* forward.c: the forward pass. Each function below reads like the paper, one step a call; what differs between
 * architectures is a test on the config.
 *
 * Exactness: sums over weights are integers (kernels.h). What is left in floats is done per token and per row in one order,
 * whatever the batch, the thread or the form of the weights. */
#include "model/forward.h"

#include <string.h>

#include "base/arena.h"
#include "base/math.h"

/* ---- scratch ---- */

static uint32_t max_u32(uint32_t a, uint32_t b) { return a > b ? a : b; }

static void carve(struct tansy_forward *f, uint64_t min_temporary_nbytes, struct tansy_arena *a) {
  const struct tansy_config *c = f->config;
  uint64_t n = f->max_tokens;
  uint32_t n_threads = f->parallel ? f->parallel->n_threads : 1;
  uint64_t n_q = (uint64_t)c->n_heads * c->head_dim, n_kv = (uint64_t)c->n_kv_heads * c->head_dim;
  uint32_t widest = max_u32(max_u32(c->hidden, (uint32_t)n_q), c->intermediate);
  uint32_t widest_padded = tansy_pad_cols(widest);

  uint64_t n_angles = n * (c->rope_dim / 2);
  f->cos = tansy_arena_take(a, n_angles * 4);
  f->sin = tansy_arena_take(a, n_angles * 4);
  f->cos_local = c->window ? tansy_arena_take(a, n_angles * 4) : f->cos;
  f->sin_local = c->window ? tansy_arena_take(a, n_angles * 4) : f->sin;

  uint64_t temporary_at = a->used;
  f->temporary = tansy_arena_take(a, 0);
  f->normed = tansy_arena_take(a, n * c->hidden * 4);
  f->out = tansy_arena_take(a, n * c->hidden * 4);

  /* attention, MLP and look-ups are never alive together */
  struct tansy_arena attention = *a, mlp = *a, look_up = *a;
  f->q = tansy_arena_take(&attention, n * n_q * 4);
  f->k = tansy_arena_take(&attention, n * n_kv * 4);
  f->v = tansy_arena_take(&attention, n * n_kv * 4);
  f->attended = tansy_arena_take(&attention, n * n_q * 4);
  f->gate = tansy_arena_take(&mlp, n * c->intermediate * 4);
  f->up = tansy_arena_take(&mlp, n * c->intermediate * 4);
  f->tile = tansy_arena_take(&look_up, f->max_tile_nbytes);
  a->used = attention.used > mlp.used ? attention.used : mlp.used;
  if (a->used < look_up.used) a->used = look_up.used;

  uint32_t batch = f->max_tokens < TANSY_MAX_BATCH ? f->max_tokens : TANSY_MAX_BATCH;
  uint32_t n_blocks = (widest_padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
  f->scaled = tansy_arena_take(a, (uint64_t)batch * widest * 4);
  f->act.q = tansy_arena_take(a, (uint64_t)batch * widest_padded);
  f->act.shift = tansy_arena_take(a, (uint64_t)batch * n_blocks);
  f->act.d = tansy_arena_take(a, (uint64_t)batch * 4);
  f->act.sum = tansy_arena_take(a, (uint64_t)batch * 4);

  f->decode_stride = (size_t)tansy_align16(tansy_matmul_scratch_nbytes(widest_padded));
  f->decode = tansy_arena_take(a, (uint64_t)n_threads * f->decode_stride);
  uint64_t used = a->used - temporary_at;
  if (used < min_temporary_nbytes) tansy_arena_take(a, min_temporary_nbytes - used);
  f->temporary_nbytes = (size_t)(a->used - temporary_at);
}

uint64_t tansy_forward_nbytes(const struct tansy_forward *f, uint64_t min_temporary_nbytes) {
  struct tansy_forward counted = *f;
  struct tansy_arena count = {0};
  carve(&counted, min_temporary_nbytes, &count);
  return count.used;
}

void tansy_forward_init(struct tansy_forward *f, uint64_t min_temporary_nbytes, void *memory) {
  struct tansy_arena a = {.base = memory};
  carve(f, min_temporary_nbytes, &a);
}

static void parallel_for(struct tansy_forward *f, uint32_t n_items, uint64_t item_ns, tansy_parallel_body *body, void *ctx) {
  if (f->parallel) {
    tansy_parallel_for(f->parallel, n_items, item_ns, body, ctx);
  } else if (n_items) {
    body(ctx, 0, n_items, 0);
  }
}

/* ---- linears ---- */

struct tansy_linear tansy_linear_f32(const float *w, uint32_t n_rows, uint32_t n_cols, const float *bias) {
  struct tansy_linear linear = {.bias = bias};
  linear.w.form = TANSY_FORM_F32;
  linear.w.f32 = w;
  linear.w.coded.shape.n_rows = n_rows;
  linear.w.coded.shape.n_cols = n_cols;
  linear.w.coded.shape.tile_n_rows = 64;
  return linear;
}

static uint32_t n_rows_of(const struct tansy_linear *linear) { return linear->w.coded.shape.n_rows; }
static bool is_present(const struct tansy_linear *linear) { return n_rows_of(linear) != 0; }
static uint32_t n_tiles_of(const struct tansy_linear *linear) {
  uint32_t tile_n_rows = linear->w.coded.shape.tile_n_rows;
  return is_present(linear) ? (n_rows_of(linear) + tile_n_rows - 1) / tile_n_rows : 0;
}

/* Tiles of an item of work. Coded ones are decoded faster by twos, which threads get where shares stay about equal. */
static uint32_t item_n_tiles(const struct tansy_forward *f, const struct tansy_linear *linear) {
  uint32_t n_threads = f->parallel ? f->parallel->n_threads : 1;
  return linear->w.form == TANSY_FORM_ANS && n_tiles_of(linear) >= 4 * n_threads ? 2 : 1;
}
static uint32_t n_items_of(const struct tansy_forward *f, const struct tansy_linear *linear) {
  uint32_t n = item_n_tiles(f, linear);
  return (n_tiles_of(linear) + n - 1) / n;
}

/* Linears that read the same input: their items are one list of work. */
struct product {
  const struct tansy_linear *linear;
  float *y; /* [n_tokens, n_rows] */
};
struct products {
  struct tansy_forward *f;
  const struct product *list;
  uint32_t n;
  const float *x; /* [n_tokens, n_cols], col_scale applied */
  uint32_t n_tokens, n_cols;
  uint32_t first_token; /* of this batch within y */
};

static void multiply_tiles(struct products *p, const struct product *product, uint32_t tile_begin, uint32_t tile_end, uint32_t thread) {
  const struct tansy_linear *linear = product->linear;
  const struct tansy_kernels *kernels = p->f->kernels;
  uint32_t n_rows = n_rows_of(linear), tile_n_rows = linear->w.coded.shape.tile_n_rows;
  uint32_t row_begin = tile_begin * tile_n_rows, row_end = tile_end * tile_n_rows;
  if (row_end > n_rows) row_end = n_rows;
  float *y = product->y + (size_t)p->first_token * n_rows;
  if (linear->w.form == TANSY_FORM_F32) {
    kernels->matmul_f32(linear->w.f32, p->x, p->n_tokens, n_rows, p->n_cols, row_begin, row_end, y);
    for (uint32_t t = 0; linear->bias && t < p->n_tokens; t++) {
      for (uint32_t i = row_begin; i < row_end; i++) y[(size_t)t * n_rows + i] += linear->bias[i];
    }
  } else {
    const struct tansy_act *act = &p->f->act;
    int32_t *acc = (int32_t *)y; /* in place; built with -fno-strict-aliasing */
    kernels->matmul(&linear->w, act, tile_begin, tile_end, acc, n_rows, p->f->decode + thread * p->f->decode_stride);
    kernels->scale_rows(acc, n_rows, act->d, p->n_tokens, &linear->row_scale, linear->bias, row_begin, row_end, y, n_rows);
  }
}

static void multiply_body(void *ctx, uint32_t begin, uint32_t end, uint32_t thread) {
  struct products *p = ctx;
  for (uint32_t i = 0, first = 0; i < p->n && first < end; i++) {
    const struct tansy_linear *linear = p->list[i].linear;
    uint32_t n_items = n_items_of(p->f, linear), per_item = item_n_tiles(p->f, linear), n_tiles = n_tiles_of(linear);
    uint32_t from = begin > first ? begin - first : 0, to = end - first < n_items ? end - first : n_items;
    if (from < to) multiply_tiles(p, &p->list[i], from * per_item, to * per_item < n_tiles ? to * per_item : n_tiles, thread);
    first += n_items;
  }
}

/* a function of its own: the compiler knows the pointers do not change meanwhile, and takes four values at once */
static void scale_columns(const float *x, const float *scale, uint32_t n_cols, float *out) {
  for (uint32_t j = 0; j < n_cols; j++) out[j] = x[j] * scale[j];
}

/* every product of x [n_tokens, n_cols] with col_scale */
static void multiply(struct tansy_forward *f, const float *x, uint32_t n_tokens, uint32_t n_cols, const float *col_scale,
                     const struct product *list, uint32_t n) {
  struct products p = {.f = f, .list = list, .n = n, .n_cols = n_cols};
  uint32_t n_items = 0;
  uint64_t max_item_n_weights = 0;
  bool has_integers = false;
  for (uint32_t i = 0; i < n; i++) {
    n_items += n_items_of(f, list[i].linear);
    uint64_t item_n_weights = (uint64_t)item_n_tiles(f, list[i].linear) * list[i].linear->w.coded.shape.tile_n_rows * n_cols;
    if (item_n_weights > max_item_n_weights) max_item_n_weights = item_n_weights;
    has_integers |= list[i].linear->w.form != TANSY_FORM_F32;
  }
  for (uint32_t first = 0; first < n_tokens; first += TANSY_MAX_BATCH) {
    p.first_token = first;
    p.n_tokens = n_tokens - first < TANSY_MAX_BATCH ? n_tokens - first : TANSY_MAX_BATCH;
    p.x = x + (size_t)first * n_cols;
    if (col_scale) {
      for (uint32_t t = 0; t < p.n_tokens; t++) scale_columns(p.x + (size_t)t * n_cols, col_scale, n_cols, f->scaled + (size_t)t * n_cols);
      p.x = f->scaled;
    }
    if (has_integers) {
      f->act.n_tokens = p.n_tokens;
      f->act.n_cols_padded = tansy_pad_cols(n_cols);
      f->act.n_blocks = (f->act.n_cols_padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
      f->kernels->quantize_act(p.x, p.n_tokens, n_cols, &f->act);
    }
    /* less than 1 ns a weight and token */
    parallel_for(f, n_items, max_item_n_weights * p.n_tokens, multiply_body, &p);
  }
}

static void see(struct tansy_forward *f, enum tansy_site site, uint32_t layer, const float *x, uint32_t n_tokens, uint32_t n_cols) {
  if (f->hook) f->hook(f->hook_ctx, site, layer, x, n_tokens, n_cols);
}

/* ---- elementwise ---- */

static void norm(struct tansy_forward *f, const float *x, const float *weight, const float *bias, uint32_t n_tokens, float *out) {
  const struct tansy_config *c = f->config;
  for (uint32_t t = 0; t < n_tokens; t++) {
    const float *from = x + (size_t)t * c->hidden;
    float *to = out + (size_t)t * c->hidden;
    if (c->norm_kind == TANSY_NORM_LAYER) {
      f->kernels->layer_norm(from, weight, bias, c->hidden, c->norm_eps, to);
    } else {
      f->kernels->rms_norm(from, weight, c->hidden, c->norm_eps, to);
    }
  }
}

/* x += y, after the norm that Gemma puts between */
static void add_residual(struct tansy_forward *f, float *x, float *y, const float *post_norm, uint32_t n_tokens) {
  if (post_norm) norm(f, y, post_norm, NULL, n_tokens, y);
  size_t n = (size_t)n_tokens * f->config->hidden;
  for (size_t i = 0; i < n; i++) x[i] += y[i];
}

/* s = cap * tanh(s / cap) */
static void softcap(float *x, size_t n, float cap) {
  if (cap == 0) return;
  for (size_t i = 0; i < n; i++) x[i] = cap * tansy_tanhf(x[i] / cap);
}

/* ---- attention ---- */

static void fill_angles(const struct tansy_config *c, const float *inv_freq, uint32_t position, uint32_t n_tokens, float *cosines, float *sines) {
  uint32_t n = c->rope_dim / 2;
  for (uint32_t t = 0; t < n_tokens; t++) {
    for (uint32_t i = 0; i < n; i++) {
      float angle = (float)(position + t) * inv_freq[i];
      cosines[(size_t)t * n + i] = tansy_cosf(angle) * c->rope_attn_factor;
      sines[(size_t)t * n + i] = tansy_sinf(angle) * c->rope_attn_factor;
    }
  }
}

void tansy_rope_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, uint32_t position, uint32_t n_tokens) {
  const struct tansy_config *c = f->config;
  if (!c->rope_dim) return;
  fill_angles(c, w->inv_freq, position, n_tokens, f->cos, f->sin);
  if (f->cos_local != f->cos) {
    fill_angles(c, w->inv_freq_local ? w->inv_freq_local : w->inv_freq, position, n_tokens, f->cos_local, f->sin_local);
  }
}

static void rotate(struct tansy_forward *f, uint32_t layer, float *x, uint32_t n_heads, uint32_t n_tokens) {
  const struct tansy_config *c = f->config;
  if (!tansy_layer_has_rope(c, layer)) return;
  bool is_local = tansy_layer_is_windowed(c, layer);
  const float *cosines = is_local ? f->cos_local : f->cos, *sines = is_local ? f->sin_local : f->sin;
  for (uint32_t t = 0; t < n_tokens; t++) {
    size_t row = (size_t)t * (c->rope_dim / 2);
    f->kernels->rope(x + (size_t)t * n_heads * c->head_dim, n_heads, c->head_dim, c->rope_dim, cosines + row, sines + row);
  }
}

/* Qwen 3, Gemma 3: RMS norm of every head */
static void norm_heads(struct tansy_forward *f, const float *weight, float *x, uint32_t n_heads, uint32_t n_tokens) {
  const struct tansy_config *c = f->config;
  if (!weight) return;
  for (size_t i = 0; i < (size_t)n_tokens * n_heads; i++) {
    float *head = x + i * c->head_dim;
    f->kernels->rms_norm(head, weight, c->head_dim, c->norm_eps, head);
  }
}

static void store_kv(struct tansy_forward *f, struct tansy_layer_kv *kv, uint32_t position, uint32_t n_tokens) {
  const struct tansy_config *c = f->config;
  size_t n = (size_t)c->n_kv_heads * c->head_dim;
  for (uint32_t t = 0; t < n_tokens; t++) tansy_kv_store(kv, c, f->kernels, position + t, f->k + t * n, f->v + t * n);
}

struct attention {
  struct tansy_forward *f;
  const struct tansy_layer_kv *kv;
  uint32_t position, window; /* window 0: everything before */
};

/* item = one KV head of one token, with the query heads that share it */
static void attend_body(void *ctx, uint32_t begin, uint32_t end, uint32_t thread) {
  (void)thread;
  struct attention *a = ctx;
  struct tansy_forward *f = a->f;
  const struct tansy_config *c = f->config;
  const struct tansy_layer_kv *kv = a->kv;
  uint32_t n_q = c->n_heads / c->n_kv_heads;
  for (uint32_t item = begin; item < end; item++) {
    uint32_t t = item / c->n_kv_heads, head = item % c->n_kv_heads;
    uint32_t n_pos = a->position + t + 1, first = 0;
    if (a->window && n_pos > a->window) {
      first = n_pos - a->window;
      n_pos = a->window;
    }
    size_t row = (size_t)head * kv->capacity + first, at = row * c->head_dim * tansy_kv_value_nbytes(kv->form);
    const uint8_t *k = kv->k + at, *v = kv->v + at;
    const float *q = f->q + (size_t)item * n_q * c->head_dim;
    float *out = f->attended + (size_t)item * n_q * c->head_dim;
    switch (kv->form) {
      case TANSY_KV_F32:
        f->kernels->attend_f32(q, n_q, (const float *)k, (const float *)v, c->head_dim, n_pos, c->head_dim, c->attn_scale, c->attn_softcap, out);
        break;
      case TANSY_KV_F16:
        f->kernels->attend_f16(q, n_q, (const uint16_t *)k, (const uint16_t *)v, c->head_dim, n_pos, c->head_dim, c->attn_scale, c->attn_softcap, out);
        break;
      default:
        f->kernels->attend_i8(q, n_q, (const int8_t *)k, kv->k_scale + row, (const int8_t *)v, kv->v_scale + row, c->head_dim, 1, n_pos,
                              c->head_dim, c->attn_scale, c->attn_softcap, out);
    }
  }
}

static void attend(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_kv *kv, uint32_t position, uint32_t n_tokens) {
  struct attention a = {f, kv, position, tansy_layer_is_windowed(f->config, layer) ? f->config->window : 0};
  const struct tansy_config *c = f->config;
  uint64_t item_ns = (uint64_t)(position + n_tokens) * c->head_dim * (c->n_heads / c->n_kv_heads);
  parallel_for(f, n_tokens * c->n_kv_heads, item_ns, attend_body, &a);
}

/* ---- the pass ---- */

void tansy_attention_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, struct tansy_layer_kv *kv,
                            uint32_t position, uint32_t n_tokens, float *x) {
  const struct tansy_config *c = f->config;
  uint32_t n_q = c->n_heads * c->head_dim;
  norm(f, x, w->attn_norm, w->attn_norm_bias, n_tokens, f->normed);
  see(f, TANSY_SITE_ATTN_IN, layer, f->normed, n_tokens, c->hidden);
  struct product qkv[3] = {{&w->q, f->q}, {&w->k, f->k}, {&w->v, f->v}};
  multiply(f, f->normed, n_tokens, c->hidden, w->attn_in_scale, qkv, 3);
  norm_heads(f, w->q_norm, f->q, c->n_heads, n_tokens);
  norm_heads(f, w->k_norm, f->k, c->n_kv_heads, n_tokens);
  rotate(f, layer, f->q, c->n_heads, n_tokens);
  rotate(f, layer, f->k, c->n_kv_heads, n_tokens);
  store_kv(f, kv, position, n_tokens);
  attend(f, layer, kv, position, n_tokens);
  see(f, TANSY_SITE_ATTN_OUT, layer, f->attended, n_tokens, n_q);
  multiply(f, f->attended, n_tokens, n_q, w->attn_out_scale, &(struct product){&w->o, f->out}, 1);
  add_residual(f, x, f->out, w->post_attn_norm, n_tokens);
}

void tansy_mlp_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, uint32_t n_tokens, float *x) {
  const struct tansy_config *c = f->config;
  bool is_gated = is_present(&w->gate);
  norm(f, x, w->mlp_norm, w->mlp_norm_bias, n_tokens, f->normed);
  see(f, TANSY_SITE_MLP_IN, layer, f->normed, n_tokens, c->hidden);
  struct product gate_up[2] = {{&w->up, f->up}, {&w->gate, f->gate}};
  multiply(f, f->normed, n_tokens, c->hidden, w->mlp_in_scale, gate_up, is_gated ? 2 : 1);
  float *mid = is_gated ? f->gate : f->up;
  f->kernels->activate(mid, is_gated ? f->up : NULL, n_tokens * c->intermediate, c->activation);
  see(f, TANSY_SITE_MLP_MID, layer, mid, n_tokens, c->intermediate);
  multiply(f, mid, n_tokens, c->intermediate, w->mlp_mid_scale, &(struct product){&w->down, f->out}, 1);
  add_residual(f, x, f->out, w->post_mlp_norm, n_tokens);
}

void tansy_layer_forward(struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, struct tansy_layer_kv *kv,
                         uint32_t position, uint32_t n_tokens, float *x) {
  tansy_attention_forward(f, layer, w, kv, position, n_tokens, x);
  tansy_mlp_forward(f, layer, w, n_tokens, x);
}

/* ---- look-ups ---- */

/* out [n_cols] = row of W: (z * row_scale) * col_scale; `w`: its matrix, or the decoded tile with the row */
static void look_up(const struct tansy_linear *table, const struct tansy_matrix *w, const float *col_scale, uint32_t row, float *out) {
  uint32_t n_cols = w->coded.shape.n_cols;
  if (w->form == TANSY_FORM_F32) {
    memcpy(out, w->f32 + (size_t)row * n_cols, n_cols * sizeof(float));
  } else {
    int32_t *z = (int32_t *)out; /* in place */
    tansy_matrix_read_rows(w, row, row + 1, z);
    float row_scale = tansy_row_scale_at(&table->row_scale, row);
    for (uint32_t j = 0; j < n_cols; j++) out[j] = (float)z[j] * row_scale;
  }
  for (uint32_t j = 0; col_scale && j < n_cols; j++) out[j] *= col_scale[j];
}

size_t tansy_tile_nbytes(const struct tansy_coded_shape *shape) {
  struct tansy_coded_shape tile = *shape;
  if (tile.n_rows > tile.tile_n_rows) tile.n_rows = tile.tile_n_rows;
  return tansy_int8_nbytes(&tile);
}

/* rows [n] of an ANS-coded table: every tile that is needed is decoded once, for all rows in it */
static void look_up_tiles(struct tansy_forward *f, const struct tansy_linear *table, const float *col_scale, const uint32_t *rows, uint32_t n,
                          float *out) {
  const struct tansy_coded *coded = &table->w.coded;
  uint32_t tile_n_rows = coded->shape.tile_n_rows;
  struct tansy_matrix decoded = {.form = TANSY_FORM_INT8, .coded = *coded};
  for (uint32_t i = 0; i < n; i++) {
    uint32_t tile = rows[i] / tile_n_rows;
    bool is_done = false; /* an earlier row has brought this tile's rows along */
    for (uint32_t k = 0; k < i && !is_done; k++) is_done = rows[k] / tile_n_rows == tile;
    if (is_done) continue;
    /* expand_int8 writes at the tile's place in the whole matrix: pretend the matrix begins that much before f->tile */
    size_t tile_at = (size_t)tile * tile_n_rows * coded->n_cols_padded;
    uint8_t *matrix = (uint8_t *)((uintptr_t)f->tile - tile_at);
    f->kernels->expand_int8(coded, tile, matrix);
    decoded.resident = matrix;
    for (uint32_t k = i; k < n; k++) {
      if (rows[k] / tile_n_rows == tile) look_up(table, &decoded, col_scale, rows[k], out + (size_t)k * coded->shape.n_cols);
    }
  }
}

static void look_up_rows(struct tansy_forward *f, const struct tansy_linear *table, const float *col_scale, const uint32_t *rows, uint32_t n,
                         float *out) {
  if (table->w.form == TANSY_FORM_ANS && tansy_tile_nbytes(&table->w.coded.shape) <= f->max_tile_nbytes) {
    look_up_tiles(f, table, col_scale, rows, n, out);
  } else {
    for (uint32_t i = 0; i < n; i++) look_up(table, &table->w, col_scale, rows[i], out + (size_t)i * table->w.coded.shape.n_cols);
  }
}

void tansy_embed_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, const int32_t *tokens, uint32_t position,
                         uint32_t n_tokens, float *x) {
  const struct tansy_config *c = f->config;
  uint32_t rows[TANSY_MAX_BATCH];
  for (uint32_t first = 0; first < n_tokens; first += TANSY_MAX_BATCH) {
    uint32_t n = n_tokens - first < TANSY_MAX_BATCH ? n_tokens - first : TANSY_MAX_BATCH;
    size_t n_values = (size_t)n * c->hidden;
    float *to = x + (size_t)first * c->hidden;
    for (uint32_t t = 0; t < n; t++) rows[t] = (uint32_t)tokens[first + t];
    look_up_rows(f, &w->embed, w->embed_scale, rows, n, to);
    for (size_t i = 0; c->embed_scale != 1 && i < n_values; i++) to[i] *= c->embed_scale;
    if (is_present(&w->position)) {
      for (uint32_t t = 0; t < n; t++) rows[t] = position + first + t + c->position_offset;
      look_up_rows(f, &w->position, w->position_scale, rows, n, f->normed);
      for (size_t i = 0; i < n_values; i++) to[i] += f->normed[i];
    }
  }
}

void tansy_head_forward(struct tansy_forward *f, const struct tansy_outer_weights *w, const float *x, uint32_t n_tokens, float *logits) {
  const struct tansy_config *c = f->config;
  norm(f, x, w->final_norm, w->final_norm_bias, n_tokens, f->normed);
  see(f, TANSY_SITE_HEAD, c->n_layers, f->normed, n_tokens, c->hidden);
  struct tansy_linear head = c->tied ? w->embed : w->head;
  head.bias = w->head.bias;
  multiply(f, f->normed, n_tokens, c->hidden, c->tied ? w->embed_scale : w->head_scale, &(struct product){&head, logits}, 1);
  softcap(logits, (size_t)n_tokens * c->vocab, c->logit_softcap);
}
