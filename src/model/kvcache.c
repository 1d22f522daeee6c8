/* kvcache.c: how the keys and values of a layer lie in memory: k, v, and for int8 their scales k_scale, v_scale. Each array is
 * [head][position][D], so that a head's positions are one run.
 *
 * The cache grows by blocks of positions: the runs are spread further apart, in place. That copies what is there, once every
 * TANSY_KV_BLOCK tokens, which is little beside evaluating so many; and attention reads runs without joints. */
#include <string.h>

#include "base/arena.h"
#include "base/half.h"
#include "model/forward.h"

enum { MAX_ARRAYS = 4 };

size_t tansy_kv_value_nbytes(enum tansy_kv_form form) {
  switch (form) {
    case TANSY_KV_F32: return sizeof(float);
    case TANSY_KV_F16: return sizeof(uint16_t);
    default: return 1;
  }
}

static struct tansy_layer_kv take(struct tansy_arena *a, const struct tansy_config *c, uint32_t capacity, enum tansy_kv_form form) {
  uint64_t n_rows = (uint64_t)c->n_kv_heads * capacity, nbytes = n_rows * c->head_dim * tansy_kv_value_nbytes(form);
  struct tansy_layer_kv kv = {.form = form, .capacity = capacity};
  kv.k = tansy_arena_take(a, nbytes);
  kv.v = tansy_arena_take(a, nbytes);
  if (form == TANSY_KV_INT8) {
    kv.k_scale = tansy_arena_take(a, n_rows * sizeof(float));
    kv.v_scale = tansy_arena_take(a, n_rows * sizeof(float));
  }
  return kv;
}

uint64_t tansy_layer_kv_nbytes(const struct tansy_config *config, uint32_t capacity, enum tansy_kv_form form) {
  struct tansy_arena count = {0};
  take(&count, config, capacity, form);
  return count.used;
}

struct tansy_layer_kv tansy_layer_kv_in(void *memory, const struct tansy_config *config, uint32_t capacity, enum tansy_kv_form form) {
  struct tansy_arena a = {.base = memory};
  return take(&a, config, capacity, form);
}

/* Beyond the largest half: the largest half, as infinities would not leave the cache again */
static void store_half(const float *x, uint32_t n, uint16_t *out) {
  for (uint32_t i = 0; i < n; i++) {
    uint16_t h = tansy_half_nearest(x[i]);
    out[i] = (h & 0x7c00) == 0x7c00 ? (h & 0x8000) | 0x7bff : h;
  }
}

void tansy_kv_store(const struct tansy_layer_kv *kv, const struct tansy_config *c, const struct tansy_kernels *kernels, uint32_t position,
                    const float *k, const float *v) {
  size_t row_nbytes = c->head_dim * tansy_kv_value_nbytes(kv->form);
  for (uint32_t h = 0; h < c->n_kv_heads; h++, k += c->head_dim, v += c->head_dim) {
    size_t row = (size_t)h * kv->capacity + position;
    uint8_t *to_k = kv->k + row * row_nbytes, *to_v = kv->v + row * row_nbytes;
    switch (kv->form) {
      case TANSY_KV_F32:
        memcpy(to_k, k, row_nbytes);
        memcpy(to_v, v, row_nbytes);
        break;
      case TANSY_KV_F16:
        store_half(k, c->head_dim, (uint16_t *)to_k);
        store_half(v, c->head_dim, (uint16_t *)to_v);
        break;
      default:
        kv->k_scale[row] = kernels->quantize_kv(k, c->head_dim, (int8_t *)to_k);
        kv->v_scale[row] = kernels->quantize_kv(v, c->head_dim, (int8_t *)to_v);
    }
  }
}

/* the arrays in the order in which they lie; the bytes of one position of one head */
static uint32_t arrays_of(const struct tansy_layer_kv *kv, const struct tansy_config *c, uint8_t *arrays[MAX_ARRAYS], size_t *row_nbytes) {
  uint32_t n = 0;
  size_t value_nbytes = c->head_dim * tansy_kv_value_nbytes(kv->form);
  arrays[n] = kv->k, row_nbytes[n++] = value_nbytes;
  arrays[n] = kv->v, row_nbytes[n++] = value_nbytes;
  if (kv->form == TANSY_KV_INT8) {
    arrays[n] = (uint8_t *)kv->k_scale, row_nbytes[n++] = sizeof(float);
    arrays[n] = (uint8_t *)kv->v_scale, row_nbytes[n++] = sizeof(float);
  }
  return n;
}

void tansy_kv_spread(struct tansy_layer_kv *layers, uint32_t n_layers, void *memory, const struct tansy_config *config, uint32_t capacity,
                     uint32_t n_positions) {
  /* last run first: every run moves up, to where only runs were that have moved already */
  for (uint32_t l = n_layers; l-- > 0;) {
    struct tansy_layer_kv old = layers[l];
    uint8_t *from[MAX_ARRAYS], *to[MAX_ARRAYS];
    size_t row_nbytes[MAX_ARRAYS];
    uint64_t layer_nbytes = tansy_layer_kv_nbytes(config, capacity, old.form);
    layers[l] = tansy_layer_kv_in((uint8_t *)memory + (size_t)(l * layer_nbytes), config, capacity, old.form);
    arrays_of(&old, config, from, row_nbytes);
    for (uint32_t i = arrays_of(&layers[l], config, to, row_nbytes); i-- > 0;) {
      for (uint32_t h = config->n_kv_heads; h-- > 0;) {
        memmove(to[i] + (size_t)h * capacity * row_nbytes[i], from[i] + (size_t)h * old.capacity * row_nbytes[i], n_positions * row_nbytes[i]);
      }
    }
  }
}
