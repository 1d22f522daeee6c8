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

/* gx += g W, and what is wanted of g */
static void linear_backward(const struct tansy_linear *l, const float *g, uint32_t n_tokens, float *gx, struct tansy_felt felt) {
  uint32_t rows = l->w.coded.shape.n_rows;
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

struct space {
  float *normed, *q_raw, *k_raw, *q, *k, *v, *attended, *out, *mid_x, *gate, *up, *mid; /* forwards */
  float *g_out, *g_normed, *g_q, *g_k, *g_v, *g_attended;                               /* backwards; of the MLP's: in place */
  float *p, *dp;                                                                        /* [n_tokens] attention row */
};

static size_t lay_out(const struct tansy_config *c, uint32_t n_tokens, float *memory, struct space *s) {
  size_t t = n_tokens, hidden = t * c->hidden, q = t * c->n_heads * c->head_dim, kv = t * c->n_kv_heads * c->head_dim, mlp = t * c->intermediate;
  size_t used = 0;
  const struct {
    float **at;
    size_t n;
  } parts[] = {{&s->normed, hidden}, {&s->q_raw, q},     {&s->k_raw, kv},  {&s->q, q},         {&s->k, kv},        {&s->v, kv},
               {&s->attended, q},    {&s->out, hidden},  {&s->mid_x, hidden}, {&s->gate, mlp}, {&s->up, mlp},      {&s->mid, mlp},
               {&s->g_out, hidden},  {&s->g_normed, hidden}, {&s->g_q, q}, {&s->g_k, kv},      {&s->g_v, kv},      {&s->g_attended, q},
               {&s->p, t},         {&s->dp, t}};
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

/* eight running sums, so that they make a vector */
static float dot(const float *a, const float *b, uint32_t n) {
  float s[8] = {0};
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (uint32_t k = 0; k < 8; k++) s[k] += a[i + k] * b[i + k];
  for (uint32_t k = 0; i < n; i++, k++) s[k] += a[i] * b[i];
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* softmax row of one query; returns its first position. p [t - first + 1], and raw scores in `score` when capped */
static uint32_t attention_row(const struct tansy_config *c, uint32_t window, const float *q, const float *k, size_t stride, uint32_t t, float *p,
                              float *cap_slope) {
  uint32_t first = window && t + 1 > window ? t + 1 - window : 0, n = t + 1 - first;
  float largest = -3e38f, sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    const float *row = k + (size_t)(first + i) * stride;
    float s = dot(q, row, c->head_dim) * c->attn_scale;
    cap_slope[i] = 1;
    if (c->attn_softcap != 0) {
      float tanh = tansy_tanhf(s / c->attn_softcap);
      s = c->attn_softcap * tanh;
      cap_slope[i] = 1 - tanh * tanh;
    }
    p[i] = s;
    if (s > largest) largest = s;
  }
  for (uint32_t i = 0; i < n; i++) sum += p[i] = tansy_expf(p[i] - largest);
  for (uint32_t i = 0; i < n; i++) p[i] /= sum;
  return first;
}

/* both ways through attention; backwards when g_attended is given: adds to g_q, g_k, g_v */
static void attend(const struct tansy_config *c, uint32_t window, const struct space *s, uint32_t n_tokens, int backwards) {
  size_t q_stride = (size_t)c->n_heads * c->head_dim, kv_stride = (size_t)c->n_kv_heads * c->head_dim;
  for (uint32_t h = 0; h < c->n_heads; h++) {
    size_t kv = (size_t)(h / (c->n_heads / c->n_kv_heads)) * c->head_dim, at = (size_t)h * c->head_dim;
    for (uint32_t t = 0; t < n_tokens; t++) {
      const float *q = s->q + t * q_stride + at;
      uint32_t first = attention_row(c, window, q, s->k + kv, kv_stride, t, s->p, s->dp), n = t + 1 - first;
      if (!backwards) {
        float *out = s->attended + t * q_stride + at;
        memset(out, 0, c->head_dim * sizeof *out);
        for (uint32_t i = 0; i < n; i++)
          for (uint32_t j = 0; j < c->head_dim; j++) out[j] += s->p[i] * s->v[(first + i) * kv_stride + kv + j];
        continue;
      }
      const float *g = s->g_attended + t * q_stride + at, *out = s->attended + t * q_stride + at;
      float *g_q = s->g_q + t * q_stride + at, mean = dot(g, out, c->head_dim); /* sum_i p_i dp_i */
      for (uint32_t i = 0; i < n; i++) {
        size_t row = (first + i) * kv_stride + kv;
        float ds = s->p[i] * (dot(g, s->v + row, c->head_dim) - mean) * s->dp[i] * c->attn_scale;
        for (uint32_t j = 0; j < c->head_dim; j++) {
          s->g_v[row + j] += s->p[i] * g[j];
          g_q[j] += ds * s->k[row + j];
          s->g_k[row + j] += ds * q[j];
        }
      }
    }
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
  float *g_mid = s->mid, *g_gate = s->gate, *g_up = s->up;
  memset(g_mid, 0, mlp * sizeof *g);
  linear_backward(&w->down, s->g_out, n_tokens, g_mid, fisher->down);
  for (size_t i = 0; i < mlp; i++) {
    if (gated) {
      /* mid = act(gate) up; act(gate) again, since dividing mid by up would not do where up is 0 */
      float act = s->gate[i], up = s->up[i];
      f->kernels->activate(&act, NULL, 1, c->activation);
      g_up[i] = g_mid[i] * act;
      g_gate[i] = g_mid[i] * up * slope(s->gate[i], c->activation);
    } else {
      g_up[i] = g_mid[i] * slope(s->up[i], c->activation);
    }
  }
  memset(s->g_normed, 0, hidden * sizeof *g);
  linear_backward(&w->up, g_up, n_tokens, s->g_normed, fisher->up);
  if (gated) linear_backward(&w->gate, g_gate, n_tokens, s->g_normed, fisher->gate);
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
  linear_backward(&w->o, s->g_out, n_tokens, s->g_attended, fisher->o);
  memset(s->g_q, 0, n_q * sizeof *g);
  memset(s->g_k, 0, n_kv * sizeof *g);
  memset(s->g_v, 0, n_kv * sizeof *g);
  attend(c, tansy_layer_is_windowed(c, layer) ? c->window : 0, s, n_tokens, 1);
  heads_backward(f, layer, w->q_norm, s->q_raw, c->n_heads, n_tokens, s->g_q);
  heads_backward(f, layer, w->k_norm, s->k_raw, c->n_kv_heads, n_tokens, s->g_k);
  memset(s->g_normed, 0, hidden * sizeof *g);
  linear_backward(&w->q, s->g_q, n_tokens, s->g_normed, fisher->q);
  linear_backward(&w->k, s->g_k, n_tokens, s->g_normed, fisher->k);
  linear_backward(&w->v, s->g_v, n_tokens, s->g_normed, fisher->v);
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
