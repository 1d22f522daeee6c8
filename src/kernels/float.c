/* float.c: the float steps of a layer, for all tables: four lanes of IEEE single operations in the order written. */
#include <math.h>

#include "base/f32x4.h"
#include "base/half.h"
#include "kernels/kernels_internal.h"
#include "kernels/quantize.h"

/* ---- norms ----
 * Sums over a row run in 16 lanes, lane j % 16, then lanes l, l+4, l+8, l+12 are added as (a + b) + (c + d), then the four of a
 * vector likewise. Columns beyond n count as 0. */

enum sum_kind { SUM, SUM_SQUARES };
static float sum16(const float *x, uint32_t n, enum sum_kind kind, float minus) {
  tansy_f32x4 lanes[4] = {{0}, {0}, {0}, {0}};
  const tansy_f32x4 m = tansy_f32x4_splat(minus);
  uint32_t j = 0;
  for (; j + 16 <= n; j += 16)
    for (uint32_t k = 0; k < 4; k++) {
      tansy_f32x4 v = tansy_f32x4_load(x + j + 4 * k) - m;
      lanes[k] += kind == SUM ? v : v * v;
    }
  for (uint32_t k = 0; j < n; j += 4, k++) {
    uint32_t left = n - j < 4 ? n - j : 4;
    tansy_f32x4 v = tansy_f32x4_load_n(x + j, left) - m;
    v = kind == SUM ? v : v * v;
    lanes[k] += left == 4 ? v : tansy_f32x4_load_n((const float *)&v, left);
  }
  return tansy_f32x4_sum((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]));
}

/* out[j] = ((x[j] - mean) * r) * weight[j] + bias[j]; without bias no addition */
static void norm_apply(const float *x, const float *weight, const float *bias, uint32_t n, float mean, float r, float *out) {
  const tansy_f32x4 m = tansy_f32x4_splat(mean), scale = tansy_f32x4_splat(r);
  for (uint32_t j = 0; j < n; j += 4) {
    uint32_t left = n - j;
    tansy_f32x4 v, w, b = {0};
    if (left >= 4) {
      v = tansy_f32x4_load(x + j);
      w = tansy_f32x4_load(weight + j);
      if (bias) b = tansy_f32x4_load(bias + j);
    } else {
      v = tansy_f32x4_load_n(x + j, left);
      w = tansy_f32x4_load_n(weight + j, left);
      if (bias) b = tansy_f32x4_load_n(bias + j, left);
    }
    v = ((v - m) * scale) * w;
    if (bias) v += b;
    if (left >= 4)
      tansy_f32x4_store(out + j, v);
    else
      tansy_f32x4_store_n(out + j, v, left);
  }
}

void tansy_rms_norm(const float *x, const float *weight, uint32_t n, float eps, float *out) {
  float mean_square = sum16(x, n, SUM_SQUARES, 0.0f) / (float)n;
  norm_apply(x, weight, NULL, n, 0.0f, 1.0f / sqrtf(mean_square + eps), out);
}

void tansy_layer_norm(const float *x, const float *weight, const float *bias, uint32_t n, float eps, float *out) {
  float mean = sum16(x, n, SUM, 0.0f) / (float)n;
  float variance = sum16(x, n, SUM_SQUARES, mean) / (float)n;
  norm_apply(x, weight, bias, n, mean, 1.0f / sqrtf(variance + eps), out);
}

/* ---- rotary positions: (a, b) -> (a cos - b sin, b cos + a sin) ---- */

void tansy_rope(float *x, uint32_t n_heads, uint32_t head_dim, uint32_t rope_dim, const float *cos, const float *sin) {
  const uint32_t half = rope_dim / 2;
  for (uint32_t h = 0; h < n_heads; h++) {
    float *a = x + (size_t)h * head_dim, *b = a + half;
    uint32_t i = 0;
    for (; i + 4 <= half; i += 4) {
      tansy_f32x4 va = tansy_f32x4_load(a + i), vb = tansy_f32x4_load(b + i), c = tansy_f32x4_load(cos + i), s = tansy_f32x4_load(sin + i);
      tansy_f32x4_store(a + i, va * c - vb * s);
      tansy_f32x4_store(b + i, vb * c + va * s);
    }
    for (; i < half; i++) {
      float va = a[i], vb = b[i];
      a[i] = va * cos[i] - vb * sin[i];
      b[i] = vb * cos[i] + va * sin[i];
    }
  }
}

/* ---- activation functions; kind: values of TANSY_KEY_ACTIVATION ---- */

static inline tansy_f32x4 activation(tansy_f32x4 x, uint32_t kind) {
  const tansy_f32x4 one = tansy_f32x4_splat(1.0f), half = tansy_f32x4_splat(0.5f);
  switch (kind) {
    case 0: return x / (one + tansy_exp_f32x4(-x)); /* SiLU */
    case 1: { /* GELU: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
      tansy_f32x4 u = tansy_f32x4_splat(0x1.988454p-1f) * (x + tansy_f32x4_splat(0.044715f) * ((x * x) * x));
      return (half * x) * (one + tansy_tanh_f32x4(u));
    }
    case 2: return (half * x) * (one + tansy_erf_f32x4(x * tansy_f32x4_splat(0x1.6a09e6p-1f))); /* GELU: x/2 (1 + erf(x / sqrt 2)) */
    default: return tansy_f32x4_select((tansy_i32x4)(x > tansy_f32x4_splat(0.0f)), x, tansy_f32x4_splat(0.0f)); /* ReLU */
  }
}

static inline __attribute__((always_inline)) void activate(float *gate, const float *up, uint32_t n, uint32_t kind) {
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    tansy_f32x4 y = activation(tansy_f32x4_load(gate + i), kind);
    tansy_f32x4_store(gate + i, up ? y * tansy_f32x4_load(up + i) : y);
  }
  if (i < n) {
    tansy_f32x4 y = activation(tansy_f32x4_load_n(gate + i, n - i), kind);
    tansy_f32x4_store_n(gate + i, up ? y * tansy_f32x4_load_n(up + i, n - i) : y, n - i);
  }
}

void tansy_activate(float *gate, const float *up, uint32_t n, uint32_t kind) {
  switch (kind) {
    case 0: activate(gate, up, n, 0); break;
    case 1: activate(gate, up, n, 1); break;
    case 2: activate(gate, up, n, 2); break;
    default: activate(gate, up, n, 3); break;
  }
}

/* ---- results of integer products ---- */

static void half_octaves(float base, float table[16]) {
  float odd = base * 1.41421354f, power = 1.0f;
  for (uint32_t code = 0; code < 16; code += 2, power += power) {
    table[code] = base * power;
    table[code + 1] = odd * power;
  }
}

/* kind 2; an infinite or NaN scale stays what it is */
static inline tansy_f32x4 halves4(const uint8_t *codes) {
  typedef uint16_t u16x4 __attribute__((vector_size(8)));
  u16x4 h;
  memcpy(&h, codes, 8); /* the file and every target are little-endian */
  const tansy_u32x4 bits = __builtin_convertvector(h, tansy_u32x4), magnitude = (bits & 0x7fff) << 13;
  /* exponents differ by 112; the product also turns what is below half's normal range into a normal float */
  tansy_f32x4 f = (tansy_f32x4)magnitude * tansy_f32x4_splat(0x1p112f);
  f = tansy_f32x4_select((tansy_i32x4)(magnitude >= 0x0f800000), (tansy_f32x4)(magnitude | 0x7f800000), f);
  return (tansy_f32x4)((tansy_u32x4)f | (bits & 0x8000) << 16);
}

float tansy_row_scale_at(const struct tansy_row_scale *scale, uint32_t row) {
  if (scale->kind == 0) return scale->base;
  if (scale->kind == 1) {
    float table[16];
    half_octaves(scale->base, table);
    return table[scale->codes[row / 2] >> (row & 1 ? 4 : 0) & 15];
  }
  const uint8_t *half = scale->codes + 2 * (size_t)row;
  return scale->base * tansy_half_to_float((uint16_t)(half[0] | half[1] << 8));
}

/* scales of rows [begin, begin + n) */
static void row_scales(const struct tansy_row_scale *scale, const float table[16], uint32_t begin, uint32_t n, float *out) {
  uint32_t i = 0;
  if (scale->kind == 0) {
    for (; i < n; i++) out[i] = scale->base;
  } else if (scale->kind == 1) {
    const uint8_t *codes = scale->codes + begin / 2;
    if (begin & 1) out[i++] = table[*codes++ >> 4];
    for (; i + 2 <= n; i += 2, codes++) {
      out[i] = table[*codes & 15];
      out[i + 1] = table[*codes >> 4];
    }
    if (i < n) out[i] = table[*codes & 15];
  } else {
    const uint8_t *codes = scale->codes + 2 * (size_t)begin;
    for (; i + 4 <= n; i += 4) tansy_f32x4_store(out + i, tansy_f32x4_splat(scale->base) * halves4(codes + 2 * i));
    for (; i < n; i++) out[i] = tansy_row_scale_at(scale, begin + i);
  }
}

void tansy_scale_rows(const int32_t *acc, size_t acc_stride, const float *d, uint32_t n_tokens, const struct tansy_row_scale *scale,
                      const float *bias, uint32_t row_begin, uint32_t row_end, float *y, size_t y_stride) {
  enum { RUN = 64 };
  float table[16] = {0}, scales[RUN];
  if (scale->kind == 1) half_octaves(scale->base, table);
  for (uint32_t begin = row_begin; begin < row_end; begin += RUN) {
    const uint32_t n = row_end - begin < RUN ? row_end - begin : RUN;
    row_scales(scale, table, begin, n, scales);
    for (uint32_t t = 0; t < n_tokens; t++) {
      const int32_t *from = acc + t * acc_stride + begin;
      float *to = y + t * y_stride + begin;
      /* an integer is read before the float is written over it */
      const tansy_f32x4 step = tansy_f32x4_splat(d[t]);
      uint32_t i = 0;
      for (; i + 4 <= n; i += 4) {
        tansy_i32x4 v;
        memcpy(&v, from + i, 16);
        tansy_f32x4 f = (__builtin_convertvector(v, tansy_f32x4) * step) * tansy_f32x4_load(scales + i);
        if (bias) f += tansy_f32x4_load(bias + begin + i);
        tansy_f32x4_store(to + i, f);
      }
      for (; i < n; i++) {
        float f = ((float)from[i] * d[t]) * scales[i];
        to[i] = bias ? f + bias[begin + i] : f;
      }
    }
  }
}

/* ---- KV cache rows ---- */

float tansy_quantize_kv(const float *x, uint32_t head_dim, int8_t *q) {
  const float m = tansy_max_abs(x, head_dim);
  if (!(m >= TANSY_TINY)) {
    memset(q, 0, head_dim);
    return 0.0f;
  }
  const tansy_f32x4 scale = tansy_f32x4_splat(127.0f / m);
  for (uint32_t j = 0; j < head_dim; j += 4) {
    uint32_t n = head_dim - j < 4 ? head_dim - j : 4;
    tansy_i32x4 v = tansy_quantize4(tansy_f32x4_load_n(x + j, n), scale, 127.0f);
    for (uint32_t i = 0; i < n; i++) q[j + i] = (int8_t)v[i];
  }
  return m / 127.0f;
}
