/* probe.c: what a weight costs on this device in each form, for the planner (tansy_options.cost_*). The caller has the clock:
 * it times two calls with different n_rounds, the difference being the rounds alone. */
#include <string.h>

#include "model/engine.h"

/* room for a decoded tile, and for its results: the halves of `temporary` that products do not use themselves */
static size_t tile_capacity(const struct tansy_forward *f) { return (size_t)((uint8_t *)f->scaled - f->tile); }
static size_t result_capacity(const struct tansy_forward *f) { return (size_t)(f->tile - (uint8_t *)f->normed); }

static uint32_t tile_n_rows(const struct tansy_coded_shape *s) { return s->n_rows < s->tile_n_rows ? s->n_rows : s->tile_n_rows; }

static bool can_probe(const struct tansy_engine *e, const struct tansy_linear *linear, uint32_t form) {
  const struct tansy_coded_shape *s = &linear->w.coded.shape;
  if (s->n_rows == 0 || (size_t)tile_n_rows(s) * sizeof(int32_t) > result_capacity(&e->forward)) return false;
  if (linear->w.form == form) return true;
  return linear->w.form == TANSY_FORM_ANS && tansy_tile_nbytes(s) <= tile_capacity(&e->forward);
}

/* the linear with the largest first tile */
static const struct tansy_linear *choose(const struct tansy_engine *e, uint32_t form) {
  const struct tansy_linear *best = NULL;
  uint64_t most = 0;
  for (uint32_t l = 0; l < e->config.n_layers; l++) {
    if (e->n_missing[1 + l]) continue;
    const struct tansy_layer_weights *w = &e->layers[l];
    const struct tansy_linear *linears[] = {&w->q, &w->o, &w->gate, &w->up, &w->down};
    for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
      const struct tansy_coded_shape *s = &linears[i]->w.coded.shape;
      uint64_t n_weights = (uint64_t)tile_n_rows(s) * s->n_cols;
      if (n_weights > most && can_probe(e, linears[i], form)) most = n_weights, best = linears[i];
    }
  }
  return best;
}

/* Resident weights stream from memory, so each round reads another copy of the tile. Copies lie in what the arena has beyond the KV cache; without
 * room there it is one and the same, as in a model that fits in a processor's cache. They are made once: of other forms they are as good. */
static const uint8_t *next_copy(struct tansy_engine *e, const uint8_t *tile, const struct tansy_coded_shape *whole, uint32_t form) {
  struct tansy_coded_shape shape = *whole;
  shape.n_rows = tile_n_rows(whole);
  size_t nbytes = tansy_align16(form == TANSY_FORM_PACKED ? tansy_packed_nbytes(&shape) : tansy_int8_nbytes(&shape));
  uint64_t free_at = tansy_align16(tansy_engine_arena_nbytes(e, e->kv_capacity));
  uint32_t n_copies = e->arena_nbytes > free_at ? (uint32_t)((e->arena_nbytes - free_at) / nbytes) : 0;
  if (n_copies < 2) return tile;
  uint8_t *copies = (uint8_t *)e + (size_t)free_at;
  for (uint32_t i = 0; !e->probe.is_spread && i < n_copies; i++) memcpy(copies + i * nbytes, tile, nbytes);
  e->probe.is_spread = true;
  return copies + e->probe.n_rounds++ % n_copies * nbytes;
}

/* norms, quantization, attention, activation of a layer that is loaded, on whatever the activations are */
static uint32_t probe_layer(struct tansy_engine *e, uint32_t n_rounds) {
  uint32_t layer = 0;
  while (layer < e->config.n_layers && e->n_missing[1 + layer]) layer++;
  if (e->eval.is_active || layer == e->config.n_layers) return 0;
  if (tansy_engine_make_room(e, e->position + 1) != TANSY_OK) return 0; /* its row of the cache is free */
  struct tansy_layer_weights w = e->layers[layer];
  struct tansy_linear *linears[] = {&w.q, &w.k, &w.v, &w.o, &w.up, &w.down};
  for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) linears[i]->w.coded.shape.n_rows = 0;
  if (w.gate.w.coded.shape.n_rows) w.gate = tansy_linear_f32(w.mlp_norm, 1, e->config.hidden, NULL); /* a gate of one row, so that there is one */
  if (e->outer.inv_freq) tansy_rope_forward(&e->forward, &e->outer, e->position, 1);
  for (uint32_t i = 0; i < n_rounds; i++) tansy_layer_forward(&e->forward, layer, &w, &e->kv[layer], e->position, 1, e->x);
  return 1;
}

uint32_t tansy_engine_probe(struct tansy_engine *e, uint32_t form, uint32_t n_rounds) {
  if (form == TANSY_PROBE_LAYER) return probe_layer(e, n_rounds);
  struct tansy_forward *f = &e->forward;
  const struct tansy_linear *linear = form <= TANSY_FORM_INT8 && !e->eval.is_active ? choose(e, form) : NULL;
  if (!linear) return 0;
  struct tansy_matrix w = linear->w;
  if (w.form != form) {
    if (form == TANSY_FORM_PACKED) e->kernels->expand_packed(&w.coded, 0, f->tile);
    else e->kernels->expand_int8(&w.coded, 0, f->tile);
    w.form = (enum tansy_form)form;
    w.resident = f->tile;
  }
  uint32_t n_cols = w.coded.shape.n_cols;
  for (uint32_t j = 0; j < n_cols; j++) f->scaled[j] = (float)(j % 13) - 6;
  f->act.n_tokens = 1;
  f->act.n_cols_padded = tansy_pad_cols(n_cols);
  f->act.n_blocks = (f->act.n_cols_padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
  e->kernels->quantize_act(f->scaled, 1, n_cols, &f->act);
  const uint8_t *tile = w.resident;
  for (uint32_t i = 0; i < n_rounds; i++) {
    if (form != TANSY_FORM_ANS) w.resident = next_copy(e, tile, &w.coded.shape, form);
    e->kernels->matmul(&w, &f->act, 0, 1, (int32_t *)f->normed, 0, f->decode);
  }
  return tile_n_rows(&w.coded.shape) * n_cols;
}
