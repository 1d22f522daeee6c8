/* kvcache.c: how the keys and values of a layer lie in memory. [head][position][D], so that a head's positions are one run;
 * int8 rows have an f32 scale each, in arrays of their own. */
#include "base/arena.h"
#include "model/forward.h"

static struct tansy_layer_kv take(struct tansy_arena *a, const struct tansy_config *c, uint32_t capacity, int is_f32) {
  uint64_t n_rows = (uint64_t)c->n_kv_heads * capacity, n = n_rows * c->head_dim;
  struct tansy_layer_kv kv = {.capacity = capacity};
  if (is_f32) {
    kv.k_f32 = tansy_arena_take(a, n * 4);
    kv.v_f32 = tansy_arena_take(a, n * 4);
  } else {
    kv.k = tansy_arena_take(a, n);
    kv.v = tansy_arena_take(a, n);
    kv.k_scale = tansy_arena_take(a, n_rows * 4);
    kv.v_scale = tansy_arena_take(a, n_rows * 4);
  }
  return kv;
}

uint64_t tansy_layer_kv_nbytes(const struct tansy_config *config, uint32_t capacity, int is_f32) {
  struct tansy_arena count = {0};
  take(&count, config, capacity, is_f32);
  return count.used;
}

struct tansy_layer_kv tansy_layer_kv_in(void *memory, const struct tansy_config *config, uint32_t capacity, int is_f32) {
  struct tansy_arena a = {.base = memory};
  return take(&a, config, capacity, is_f32);
}
