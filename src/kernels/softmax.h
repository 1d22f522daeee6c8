/* softmax.h: the softmax of attention, over TANSY_ATTEND_RUN positions at a time.
 *
 * For each query head: m the largest score so far, s the sum of e^(score - m), o the sum of e^(score - m) v. A run with a larger
 * score scales s and o by e^(old m - new m). In the end out = o / s. Sums of s run in 4 lanes, position % 4. */
#ifndef TANSY_KERNELS_SOFTMAX_H
#define TANSY_KERNELS_SOFTMAX_H

#include <math.h>

#include "base/f32x4.h"
#include "kernels/kernels_internal.h"
#include "kernels/quantize.h"

enum { TANSY_ATTEND_RUN = 64 };

struct tansy_softmax {
  float max;
  tansy_f32x4 sum;
};

static inline void tansy_softmax_begin(struct tansy_softmax *s, float *out, uint32_t head_dim) {
  s->max = -INFINITY;
  s->sum = tansy_f32x4_splat(0.0f);
  memset(out, 0, head_dim * sizeof *out);
}

/* Scores of n positions (1..TANSY_ATTEND_RUN; the array has room for the next multiple of 4) -> e^(score - m), zeros beyond n */
static inline void tansy_softmax_run(struct tansy_softmax *s, float *scores, uint32_t n, float softcap, float *out, uint32_t head_dim) {
  uint32_t padded = (n + 3) & ~3u;
  if (softcap > 0.0f) {
    const tansy_f32x4 cap = tansy_f32x4_splat(softcap), inverse = tansy_f32x4_splat(1.0f / softcap);
    for (uint32_t i = 0; i < padded; i += 4) tansy_f32x4_store(scores + i, cap * tansy_tanh_f32x4(tansy_f32x4_load(scores + i) * inverse));
  }
  for (uint32_t i = n; i < padded; i++) scores[i] = -INFINITY;
  tansy_f32x4 m4 = tansy_f32x4_splat(s->max);
  for (uint32_t i = 0; i < padded; i += 4) m4 = tansy_f32x4_max(m4, tansy_f32x4_load(scores + i));
  const float m = tansy_max_lane(m4);
  if (m > s->max) {
    const tansy_f32x4 shrink = tansy_exp_f32x4(tansy_f32x4_splat(s->max - m));
    s->sum *= shrink;
    uint32_t j = 0;
    for (; j + 4 <= head_dim; j += 4) tansy_f32x4_store(out + j, tansy_f32x4_load(out + j) * shrink);
    for (; j < head_dim; j++) out[j] *= shrink[0];
    s->max = m;
  }
  m4 = tansy_f32x4_splat(m);
  for (uint32_t i = 0; i < padded; i += 4) {
    tansy_f32x4 p = tansy_exp_f32x4(tansy_f32x4_load(scores + i) - m4);
    tansy_f32x4_store(scores + i, p);
    s->sum += p;
  }
}

static inline void tansy_softmax_end(const struct tansy_softmax *s, float *out, uint32_t head_dim) {
  const float inverse = 1.0f / tansy_f32x4_sum(s->sum);
  for (uint32_t j = 0; j < head_dim; j++) out[j] *= inverse;
}

#endif
