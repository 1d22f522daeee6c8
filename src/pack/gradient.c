/* gradient.c: see gradient.h. A layer is run again, keeping what the way back needs, and then walked backwards, step by step
 * as model/forward.c walks forwards. */
#include "pack/gradient.h"

#include <math.h>
#include <string.h>

#include "base/math.h"
#include "pack/linalg.h"

/* ---- small steps ---- */

static void norm_forward(const struct tansy_forward *f, const float *x, const float *weight, const float *bias, uint32_t n_tokens, float *out) {
  const struct tansy_config *c = f->config;
  for (size_t t = 0; t < n_tokens; t++) {
    if (c->norm_kind == TANSY_NORM_LAYER)
      f->kernels->layer_norm(x + t * c->hidden, weight, bias, c->hidden, c->norm_eps, out + t * c->hidden);
    else
      f->kernels->rms_norm(x + t * c->hidden, weight, c->hidden, c->norm_eps, out + t * c->hidden);
  }
}

/* out = (x - mean) r weight (+ bias), r = 1 / sqrt(var + eps); RMS norm has mean 0:
 * gx = r (g' - mean(g') - y mean(g' y)), y = (x - mean) r, g' = g weight (RMS norm without mean(g')) */
static void norm_backward_row(int is_layer, float eps, const float *x, const float *weight, const float *g, uint32_t n, float *gx) {
  double mean = 0, square = 0, g_mean = 0, g_y = 0;
  if (is_layer) {
    for (uint32_t i = 0; i < n; i++) mean += x[i];
    mean /= n;
  }
  for (uint32_t i = 0; i < n; i++) square += (x[i] - mean) * (x[i] - mean);
  double r = 1 / sqrt(square / n + eps);
  for (uint32_t i = 0; i < n; i++) {
    double scaled = (double)g[i] * weight[i];
    g_mean += scaled;
    g_y += scaled * ((x[i] - mean) * r);
  }
  g_mean = is_layer ? g_mean / n : 0;
  g_y /= n;
  for (uint32_t i = 0; i < n; i++) gx[i] += (float)(r * ((double)g[i] * weight[i] - g_mean - (x[i] - mean) * r * g_y));
}

void tansy_norm_backward(const struct tansy_config *c, const float *x, const float *weight, const float *g, uint32_t n_tokens, uint32_t n, float *gx) {
  for (size_t t = 0; t < n_tokens; t++)
    norm_backward_row(c->norm_kind == TANSY_NORM_LAYER, c->norm_eps, x + t * n, weight, g + t * n, n, gx + t * n);
}

static void linear_forward(const struct tansy_linear *l, const float *x, uint32_t n_tokens, float *y) {
  uint32_t rows = l->w.coded.shape.n_rows, cols = l->w.coded.shape.n_cols;
  tansy_matmul_f32_blocked(l->w.f32, x, n_tokens, rows, cols, 0, rows, y);
  for (size_t t = 0; l->bias && t < n_tokens; t++)
    for (uint32_t i = 0; i < rows; i++) y[t * rows + i] += l->bias[i];
}

/* gx += g W, and what is wanted of g and x */
static void linear_backward(const struct tansy_linear *l, const float *x, const float *g, uint32_t n_tokens, float *gx, struct tansy_felt felt) {
  uint32_t rows = l->w.coded.shape.n_rows;
  if (felt.x) memcpy(felt.x, x, (size_t)n_tokens * l->w.coded.shape.n_cols * sizeof *x);
  tansy_matmul_back(l->w.f32, g, rows, n_tokens, rows, l->w.coded.shape.n_cols, gx);
  if (felt.g) memcpy(felt.g, g, (size_t)n_tokens * rows * sizeof *g);
  for (size_t t = 0; felt.token && t < n_tokens; t++) felt.token[t] = (float)tansy_dot(g + t * rows, g + t * rows, rows);
}

/* derivative of the activation function */
static float slope(float x, uint32_t kind) {
  switch (kind) {
    case TANSY_ACT_SILU: {
      float s = 1 / (1 + tansy_expf(-x));
      return s * (1 + x * (1 - s));
    }
    case TANSY_ACT_GELU_TANH: {
      float u = 0.7978845608f * (x + 0.044715f * x * x * x), t = tansy_tanhf(u);
      return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
    }
    case TANSY_ACT_GELU_ERF: return 0.5f * (1 + tansy_erff(x * 0.7071067812f)) + x * 0.3989422804f * tansy_expf(-0.5f * x * x);
    default: return x > 0 ? 1.0f : 0.0f;
  }
}

/* ---- memory of one window ---- */

enum { QUERIES = 64 }; /* of a head taken at a time */

struct space {
  float *normed, *q_raw, *k_raw, *q, *k, *v, *attended, *out, *mid_x, *gate, *up, *mid; /* forwards */
  float *g_out, *g_normed, *g_q, *g_k, *g_v, *g_attended, *g_mid;                       /* backwards; gate's and up's: in place */
  /* attention of one head: [QUERIES, n_tokens] probabilities, their gradients, slopes of the cap, and a transpose; [n_tokens, D]; [QUERIES, D] */
  float *p, *dp, *cap, *turned, *head_k, *head_v, *head_gk, *head_gv, *head_q, *head_g;
};

static size_t lay_out(const struct tansy_config *c, uint32_t n_tokens, float *memory, struct space *s) {
  size_t t = n_tokens, hidden = t * c->hidden, q = t * c->n_heads * c->head_dim, kv = t * c->n_kv_heads * c->head_dim, mlp = t * c->intermediate, head = t * c->head_dim;
  size_t used = 0;
  const struct {
    float **at;
    size_t n;
  } parts[] = {{&s->normed, hidden}, {&s->q_raw, q},     {&s->k_raw, kv},  {&s->q, q},         {&s->k, kv},        {&s->v, kv},
               {&s->attended, q},    {&s->out, hidden},  {&s->mid_x, hidden}, {&s->gate, mlp}, {&s->up, mlp},      {&s->mid, mlp},
               {&s->g_out, hidden},  {&s->g_normed, hidden}, {&s->g_q, q}, {&s->g_k, kv},      {&s->g_v, kv},      {&s->g_attended, q},
               {&s->g_mid, mlp},
               {&s->p, QUERIES * t}, {&s->dp, QUERIES * t}, {&s->cap, QUERIES * t}, {&s->turned, QUERIES * t},
               {&s->head_k, head}, {&s->head_v, head},   {&s->head_gk, head}, {&s->head_gv, head},
               {&s->head_q, (size_t)QUERIES * c->head_dim}, {&s->head_g, (size_t)QUERIES * c->head_dim}};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    *parts[i].at = memory ? memory + used : NULL;
    used += parts[i].n;
  }
  return used;
}

size_t tansy_gradient_scratch_n(const struct tansy_config *config, uint32_t n_tokens) {
  struct space s;
  return lay_out(config, n_tokens, NULL, &s);
}

/* ---- attention ---- */

static void heads_forward(const struct tansy_forward *f, uint32_t layer, const float *norm, const float *raw, uint32_t n_heads, uint32_t n_tokens,
                          float *out) {
  const struct tansy_config *c = f->config;
  size_t n = (size_t)n_tokens * n_heads * c->head_dim;
  memcpy(out, raw, n * sizeof *out);
  for (size_t i = 0; norm && i < n; i += c->head_dim) f->kernels->rms_norm(out + i, norm, c->head_dim, c->norm_eps, out + i);
  if (!tansy_layer_has_rope(c, layer)) return;
  int local = tansy_layer_is_windowed(c, layer);
  for (size_t t = 0; t < n_tokens; t++)
    f->kernels->rope(out + t * n_heads * c->head_dim, n_heads, c->head_dim, c->rope_dim, (local ? f->cos_local : f->cos) + t * (c->rope_dim / 2),
                     (local ? f->sin_local : f->sin) + t * (c->rope_dim / 2));
}

/* g [n_tokens, n_heads, D] at rotated, normed heads -> at the linear's output, in place */
static void heads_backward(const struct tansy_forward *f, uint32_t layer, const float *norm, const float *raw, uint32_t n_heads, uint32_t n_tokens,
                           float *g) {
  const struct tansy_config *c = f->config;
  uint32_t half = c->rope_dim / 2;
  int local = tansy_layer_is_windowed(c, layer), has_rope = tansy_layer_has_rope(c, layer);
  for (size_t t = 0; t < n_tokens; t++) {
    const float *cosines = (local ? f->cos_local : f->cos) + t * half, *sines = (local ? f->sin_local : f->sin) + t * half;
    for (uint32_t h = 0; h < n_heads; h++) {
      float *at = g + (t * n_heads + h) * c->head_dim, copy[TANSY_MAX_HEAD_DIM];
      for (uint32_t i = 0; has_rope && i < half; i++) { /* transpose of the rotation */
        float a = at[i], b = at[i + half];
        at[i] = a * cosines[i] + b * sines[i];
        at[i + half] = b * cosines[i] - a * sines[i];
      }
      if (!norm) continue;
      memcpy(copy, at, c->head_dim * sizeof *copy);
      memset(at, 0, c->head_dim * sizeof *at);
      norm_backward_row(0, c->norm_eps, raw + (t * n_heads + h) * c->head_dim, norm, copy, c->head_dim, at);
    }
  }
}

/* rows of one head: [n, D] out of [n, stride] */
static void take_head(const float *from, size_t stride, uint32_t n, uint32_t dim, float *to) {
  for (size_t t = 0; t < n; t++) memcpy(to + t * dim, from + t * stride, dim * sizeof *to);
}

static void add_head(const float *from, size_t stride, uint32_t n, uint32_t dim, float *to) {
  for (size_t t = 0; t < n; t++)
    for (uint32_t j = 0; j < dim; j++) to[t * stride + j] += from[t * dim + j];
}

/* out [n_cols, n_rows] */
static void turn(const float *in, uint32_t n_rows, uint32_t n_cols, float *out) {
  for (size_t i = 0; i < n_rows; i++)
    for (size_t j = 0; j < n_cols; j++) out[j * n_rows + i] = in[i * n_cols + j];
}

/* scores of query t and keys 0 .. n - 1 -> probabilities, 0 where it does not look; `slope` of the cap */
static void attention_row(const struct tansy_config *c, uint32_t window, uint32_t t, uint32_t n, float *p, float *slope) {
  uint32_t first = window && t + 1 > window ? t + 1 - window : 0;
  float largest = -3e38f, sum = 0;
  for (uint32_t i = first; i <= t; i++) {
    float score = p[i] * c->attn_scale;
    if (c->attn_softcap != 0) {
      float tanh = tansy_tanhf(score / c->attn_softcap);
      score = c->attn_softcap * tanh;
      slope[i] = 1 - tanh * tanh;
    }
    p[i] = score;
    if (score > largest) largest = score;
  }
  for (uint32_t i = first; i <= t; i++) sum += p[i] = tansy_expf(p[i] - largest);
  for (uint32_t i = first; i <= t; i++) p[i] /= sum;
  memset(p, 0, first * sizeof *p);
  memset(p + t + 1, 0, (n - t - 1) * sizeof *p);
}

/* queries first .. first + n - 1 of a head, whose keys and values lie in s->head_k and head_v; `at`: the head's first value in a row of queries.
 * Backwards: adds to g_q, head_gk, head_gv. */
static void attend_queries(const struct tansy_config *c, uint32_t window, const struct space *s, size_t at, uint32_t first, uint32_t n, int backwards) {
  uint32_t n_keys = first + n, dim = c->head_dim;
  size_t stride = (size_t)c->n_heads * dim, begin = first * stride + at;
  take_head(s->q + begin, stride, n, dim, s->head_q);
  tansy_matmul_rows(s->head_k, s->head_q, n, n_keys, dim, s->p, n_keys);
  for (uint32_t i = 0; i < n; i++) attention_row(c, window, first + i, n_keys, s->p + (size_t)i * n_keys, s->cap + (size_t)i * n_keys);
  if (!backwards) {
    memset(s->head_g, 0, (size_t)n * dim * sizeof(float));
    tansy_matmul_back(s->head_v, s->p, n_keys, n, n_keys, dim, s->head_g);
    for (size_t i = 0; i < n; i++) memcpy(s->attended + begin + i * stride, s->head_g + i * dim, dim * sizeof(float));
    return;
  }
  take_head(s->g_attended + begin, stride, n, dim, s->head_g);
  turn(s->p, n, n_keys, s->turned);
  tansy_matmul_back(s->head_g, s->turned, n, n_keys, n, dim, s->head_gv);
  tansy_matmul_rows(s->head_v, s->head_g, n, n_keys, dim, s->dp, n_keys);
  for (uint32_t i = 0; i < n; i++) {
    float *p = s->p + (size_t)i * n_keys, *dp = s->dp + (size_t)i * n_keys, *cap = s->cap + (size_t)i * n_keys;
    float mean = (float)tansy_dot(s->head_g + (size_t)i * dim, s->attended + begin + i * stride, dim); /* sum of p dp */
    for (uint32_t k = 0; k < n_keys; k++) dp[k] = p[k] * (dp[k] - mean) * c->attn_scale;
    for (uint32_t k = 0; c->attn_softcap != 0 && k < n_keys; k++) dp[k] = p[k] > 0 ? dp[k] * cap[k] : 0;
  }
  turn(s->dp, n, n_keys, s->turned);
  tansy_matmul_back(s->head_q, s->turned, n, n_keys, n, dim, s->head_gk);
  memset(s->head_g, 0, (size_t)n * dim * sizeof(float));
  tansy_matmul_back(s->head_k, s->dp, n_keys, n, n_keys, dim, s->head_g);
  add_head(s->head_g, stride, n, dim, s->g_q + begin);
}

/* both ways through attention; backwards: adds to g_q, g_k, g_v */
static void attend(const struct tansy_config *c, uint32_t window, const struct space *s, uint32_t n_tokens, int backwards) {
  size_t kv_stride = (size_t)c->n_kv_heads * c->head_dim, n_head = (size_t)n_tokens * c->head_dim;
  for (uint32_t h = 0; h < c->n_heads; h++) {
    size_t kv = (size_t)(h / (c->n_heads / c->n_kv_heads)) * c->head_dim, at = (size_t)h * c->head_dim;
    take_head(s->k + kv, kv_stride, n_tokens, c->head_dim, s->head_k);
    take_head(s->v + kv, kv_stride, n_tokens, c->head_dim, s->head_v);
    memset(s->head_gk, 0, n_head * sizeof(float));
    memset(s->head_gv, 0, n_head * sizeof(float));
    for (uint32_t first = 0; first < n_tokens; first += QUERIES)
      attend_queries(c, window, s, at, first, n_tokens - first < QUERIES ? n_tokens - first : QUERIES, backwards);
    if (!backwards) continue;
    add_head(s->head_gk, kv_stride, n_tokens, c->head_dim, s->g_k + kv);
    add_head(s->head_gv, kv_stride, n_tokens, c->head_dim, s->g_v + kv);
  }
}

/* ---- the layer ---- */

static void run_forward(const struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, const float *x, uint32_t n_tokens,
                        const struct space *s) {
  const struct tansy_config *c = f->config;
  size_t hidden = (size_t)n_tokens * c->hidden, mlp = (size_t)n_tokens * c->intermediate;
  norm_forward(f, x, w->attn_norm, w->attn_norm_bias, n_tokens, s->normed);
  linear_forward(&w->q, s->normed, n_tokens, s->q_raw);
  linear_forward(&w->k, s->normed, n_tokens, s->k_raw);
  linear_forward(&w->v, s->normed, n_tokens, s->v);
  heads_forward(f, layer, w->q_norm, s->q_raw, c->n_heads, n_tokens, s->q);
  heads_forward(f, layer, w->k_norm, s->k_raw, c->n_kv_heads, n_tokens, s->k);
  attend(c, tansy_layer_is_windowed(c, layer) ? c->window : 0, s, n_tokens, 0);
  linear_forward(&w->o, s->attended, n_tokens, s->out);
  memcpy(s->mid_x, s->out, hidden * sizeof(float));
  if (w->post_attn_norm) norm_forward(f, s->out, w->post_attn_norm, NULL, n_tokens, s->mid_x);
  for (size_t i = 0; i < hidden; i++) s->mid_x[i] += x[i];
  /* MLP: `normed` is free again */
  norm_forward(f, s->mid_x, w->mlp_norm, w->mlp_norm_bias, n_tokens, s->normed);
  linear_forward(&w->up, s->normed, n_tokens, s->up);
  int gated = w->gate.w.coded.shape.n_rows != 0;
  if (gated) linear_forward(&w->gate, s->normed, n_tokens, s->gate);
  memcpy(s->mid, gated ? s->gate : s->up, mlp * sizeof(float));
  f->kernels->activate(s->mid, gated ? s->up : NULL, (uint32_t)mlp, c->activation);
}

static void mlp_backward(const struct tansy_forward *f, const struct tansy_layer_weights *w, uint32_t n_tokens, const struct space *s, float *g,
                         const struct tansy_output_fisher *fisher) {
  const struct tansy_config *c = f->config;
  size_t hidden = (size_t)n_tokens * c->hidden, mlp = (size_t)n_tokens * c->intermediate;
  int gated = w->gate.w.coded.shape.n_rows != 0;
  memcpy(s->g_out, g, hidden * sizeof *g);
  if (w->post_mlp_norm) {
    linear_forward(&w->down, s->mid, n_tokens, s->g_normed); /* its output, which only this norm's way back needs */
    memset(s->g_out, 0, hidden * sizeof *g);
    tansy_norm_backward(c, s->g_normed, w->post_mlp_norm, g, n_tokens, c->hidden, s->g_out);
  }
  float *g_mid = s->g_mid, *g_gate = s->gate, *g_up = s->up;
  memset(g_mid, 0, mlp * sizeof *g);
  linear_backward(&w->down, s->mid, s->g_out, n_tokens, g_mid, fisher->down);
  float *act = s->mid; /* mid = act(gate) up; act(gate) again, since dividing mid by up would not do where up is 0 */
  if (gated) memcpy(act, s->gate, mlp * sizeof *act), f->kernels->activate(act, NULL, (uint32_t)mlp, c->activation);
  for (size_t i = 0; i < mlp; i++) {
    if (gated) {
      float up = s->up[i];
      g_up[i] = g_mid[i] * act[i];
      g_gate[i] = g_mid[i] * up * slope(s->gate[i], c->activation);
    } else {
      g_up[i] = g_mid[i] * slope(s->up[i], c->activation);
    }
  }
  memset(s->g_normed, 0, hidden * sizeof *g);
  linear_backward(&w->up, s->normed, g_up, n_tokens, s->g_normed, fisher->up);
  if (gated) linear_backward(&w->gate, s->normed, g_gate, n_tokens, s->g_normed, fisher->gate);
  tansy_norm_backward(c, s->mid_x, w->mlp_norm, s->g_normed, n_tokens, c->hidden, g);
}

static void attention_backward(const struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, const float *x, uint32_t n_tokens,
                               const struct space *s, float *g, const struct tansy_output_fisher *fisher) {
  const struct tansy_config *c = f->config;
  size_t hidden = (size_t)n_tokens * c->hidden, n_q = (size_t)n_tokens * c->n_heads * c->head_dim, n_kv = (size_t)n_tokens * c->n_kv_heads * c->head_dim;
  memcpy(s->g_out, g, hidden * sizeof *g);
  if (w->post_attn_norm) {
    memset(s->g_out, 0, hidden * sizeof *g);
    tansy_norm_backward(c, s->out, w->post_attn_norm, g, n_tokens, c->hidden, s->g_out);
  }
  memset(s->g_attended, 0, n_q * sizeof *g);
  linear_backward(&w->o, s->attended, s->g_out, n_tokens, s->g_attended, fisher->o);
  memset(s->g_q, 0, n_q * sizeof *g);
  memset(s->g_k, 0, n_kv * sizeof *g);
  memset(s->g_v, 0, n_kv * sizeof *g);
  attend(c, tansy_layer_is_windowed(c, layer) ? c->window : 0, s, n_tokens, 1);
  heads_backward(f, layer, w->q_norm, s->q_raw, c->n_heads, n_tokens, s->g_q);
  heads_backward(f, layer, w->k_norm, s->k_raw, c->n_kv_heads, n_tokens, s->g_k);
  memset(s->g_normed, 0, hidden * sizeof *g);
  norm_forward(f, x, w->attn_norm, w->attn_norm_bias, n_tokens, s->normed); /* the MLP's input lay there */
  linear_backward(&w->q, s->normed, s->g_q, n_tokens, s->g_normed, fisher->q);
  linear_backward(&w->k, s->normed, s->g_k, n_tokens, s->g_normed, fisher->k);
  linear_backward(&w->v, s->normed, s->g_v, n_tokens, s->g_normed, fisher->v);
  tansy_norm_backward(c, x, w->attn_norm, s->g_normed, n_tokens, c->hidden, g);
}

void tansy_layer_backward(const struct tansy_forward *f, uint32_t layer, const struct tansy_layer_weights *w, const float *x, uint32_t n_tokens,
                          float *g, float *scratch, const struct tansy_output_fisher *fisher) {
  struct space s;
  lay_out(f->config, n_tokens, scratch, &s);
  run_forward(f, layer, w, x, n_tokens, &s);
  mlp_backward(f, w, n_tokens, &s, g, fisher);
  attention_backward(f, layer, w, x, n_tokens, &s, g, fisher);
}
