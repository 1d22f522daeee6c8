/* quantize_ref.c: activations to int8, portable. */
#include "base/f32x4.h"

static inline void store_i8x16(int8_t *q, const tansy_i32x4 v[4]) {
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < 4; i++) q[4 * k + i] = (int8_t)v[k][i];
}

#define NAME tansy_quantize_act_ref
#include "kernels/quantize_body.h"
