/* attend_integer.h: the integer sums of attend_body.h, portable. */
#include "kernels/softmax.h"

static inline void score_run_portable(const int16_t *q, uint32_t n_heads, const int8_t *k, size_t stride, uint32_t n, uint32_t head_dim, int32_t *dots) {
  for (uint32_t h = 0; h < n_heads; h++)
    for (uint32_t i = 0; i < n; i++) {
      int32_t sum = 0;
      for (uint32_t j = 0; j < head_dim; j++) sum += q[h * TANSY_MAX_HEAD_DIM + j] * k[i * stride + j];
      dots[h * TANSY_ATTEND_RUN + i] = sum;
    }
}

static inline void weigh_run_portable(const int16_t *w, uint32_t n_heads, const int8_t *v, size_t stride, uint32_t n, uint32_t head_dim, int32_t *sums) {
  for (uint32_t h = 0; h < n_heads; h++) {
    int32_t *sum = sums + h * TANSY_MAX_HEAD_DIM;
    memset(sum, 0, head_dim * sizeof *sum);
    for (uint32_t i = 0; i < n; i++)
      for (uint32_t j = 0; j < head_dim; j++) sum[j] += w[h * TANSY_ATTEND_RUN + i] * v[i * stride + j];
  }
}
