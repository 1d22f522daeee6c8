/* tansy.c: life of an engine: created in its arena, loaded (model/loader.c), run a layer at a time (model/eval.c), sampled. */
#include "tansy.h"

#include <string.h>

#include "model/engine.h"

enum tansy_status tansy_header_size(const void *front, size_t n, uint64_t *needed) { return tansy_container_header_size(front, n, needed); }

/* ---- creation ---- */

static void hand_out(struct tansy_engine *e) {
  struct tansy_freq_table *tables = e->tables;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    struct tansy_tensor *t = &e->tensors[i];
    t->tables = tables;
    tables += t->record.shape.n_tables;
    e->n_missing[tansy_tensor_group(&e->config, &t->record)]++;
  }
  for (uint32_t i = 0; i < e->config.n_layers; i++) {
    e->kv[i] = tansy_layer_kv_in(e->kv_memory, &e->config, 0, (enum tansy_kv_form)e->options.kv_form);
  }
}

enum tansy_status tansy_engine_create(const void *header, size_t header_nbytes, const struct tansy_options *options, void *arena,
                                      size_t arena_nbytes, struct tansy_engine **out) {
  struct tansy_engine *e = arena;
  *out = e;
  if ((uintptr_t)arena % 16 != 0 || arena_nbytes < sizeof *e) return TANSY_ERR_ARGUMENT;
  /* the tensor table's place in the arena is the first after the engine: plan right into it */
  size_t tensors_at = (size_t)tansy_align16(sizeof *e);
  size_t n_tensors_max = arena_nbytes > tensors_at ? (arena_nbytes - tensors_at) / sizeof(struct tansy_tensor) : 0;
  struct tansy_tensor *tensors = (struct tansy_tensor *)((uint8_t *)arena + tensors_at);
  TANSY_TRY(tansy_engine_plan(e, header, header_nbytes, options, tensors, n_tensors_max));
  e->arena_nbytes = arena_nbytes;
  if (arena_nbytes < tansy_engine_arena_nbytes(e, 0)) {
    tansy_engine_fail(e, TANSY_ERR_OVER_BUDGET);
    e->detail.needed_nbytes = e->plan.total_nbytes;
    return TANSY_ERR_OVER_BUDGET;
  }

  struct tansy_arena a = {.base = arena};
  tansy_engine_lay_out(e, &a);
  tansy_crc32_init(e->crc);
  memset(e->chunk_state, TANSY_CHUNK_MISSING, e->plan.n_chunks);
  memset(e->n_missing, 0, (e->config.n_layers + 2) * sizeof *e->n_missing);
  memset(e->layers, 0, e->config.n_layers * sizeof *e->layers);
  memset(e->slot_chunk, 0xFF, sizeof e->slot_chunk);
  hand_out(e);
  tansy_engine_make_room(e, 1);
  tansy_parallel_init(&e->parallel, e->plan.n_threads);
  tansy_forward_init(&e->forward, e->temporary_nbytes, e->scratch);
  tansy_rng_seed(&e->rng, 0);
  return TANSY_OK;
}

/* ---- asking ---- */

const struct tansy_detail *tansy_engine_detail(const struct tansy_engine *e) { return &e->detail; }
const char *tansy_engine_kernels(const struct tansy_engine *e) { return e->kernels->name; }
void *tansy_engine_io(struct tansy_engine *e) { return e->io; }
uint32_t tansy_engine_position(const struct tansy_engine *e) { return e->position; }
const int32_t *tansy_engine_tokens(const struct tansy_engine *e) { return e->tokens; }

uint32_t tansy_engine_config(const struct tansy_engine *e, uint32_t key) {
  uint32_t value = 0;
  tansy_config_get(&e->config, key, &value);
  return value;
}

void tansy_engine_stats(const struct tansy_engine *e, struct tansy_stats *out) {
  const struct tansy_plan *p = &e->plan;
  *out = (struct tansy_stats){
      .total_nbytes = p->total_nbytes,
      .static_nbytes = p->static_nbytes,
      .tables_nbytes = p->tables_nbytes,
      .kv_nbytes = (double)(e->arena_nbytes < p->arena_nbytes ? e->arena_nbytes : (uint64_t)p->arena_nbytes) - (double)e->kv_at,
      .scratch_nbytes = p->scratch_nbytes,
      .staging_nbytes = p->staging_nbytes,
      .io_nbytes = p->io_nbytes,
      .loaded_nbytes = (double)e->loaded_nbytes,
      .payload_nbytes = (double)e->index.payload_nbytes,
      .decoded_nbytes = (double)e->forward.decode_stride * p->n_threads + (double)e->forward.max_tile_nbytes,
      .position = e->position,
      .context = p->context,
  };
  for (uint32_t i = 0; i < p->n_tensors; i++) {
    const struct tansy_tensor *t = &e->tensors[i];
    double nbytes = (double)tansy_align16(t->region_nbytes);
    switch (t->form) {
      case TANSY_FORM_ANS: out->ans_nbytes += nbytes; break;
      case TANSY_FORM_PACKED: out->packed_nbytes += nbytes; out->n_packed++; break;
      case TANSY_FORM_INT8: out->int8_nbytes += nbytes; out->n_int8++; break;
      default: out->vectors_nbytes += nbytes;
    }
  }
}

uint32_t tansy_engine_n_attachments(const struct tansy_engine *e) { return e->index.n_attachments; }

enum tansy_status tansy_engine_attachment(const struct tansy_engine *e, uint32_t i, struct tansy_attachment *out) {
  if (i >= e->index.n_attachments) return TANSY_ERR_ARGUMENT;
  struct tansy_index_walk walk = tansy_index_attachment_walk(&e->index);
  struct tansy_record_attachment a;
  for (uint32_t k = 0; k <= i; k++) tansy_index_next_attachment(&walk, &a);
  *out = (struct tansy_attachment){
      .name_at = (uint32_t)(a.name - e->index.header),
      .name_nbytes = a.name_nbytes,
      .encoding = a.encoding,
      .file_offset = (double)(e->index.payload_offset + a.offset),
      .nbytes = a.nbytes,
      .raw_nbytes = a.raw_nbytes,
  };
  return TANSY_OK;
}

/* ---- threads ---- */

void tansy_engine_work(struct tansy_engine *e, uint32_t thread) {
  if (thread > 0 && thread < e->plan.n_threads) tansy_parallel_work(&e->parallel, thread);
}
void *tansy_engine_stack(struct tansy_engine *e, uint32_t thread) {
  return thread > 0 && thread < e->plan.n_threads ? e->stacks + (size_t)thread * TANSY_STACK_NBYTES : NULL;
}
void tansy_engine_end_workers(struct tansy_engine *e) { tansy_parallel_end(&e->parallel); }

/* ---- sampling ---- */

static const float *last_logits(const struct tansy_engine *e) {
  return e->n_logits ? e->logits + (size_t)(e->n_logits - 1) * e->config.vocab : NULL;
}

void tansy_engine_seed(struct tansy_engine *e, uint64_t seed) { tansy_rng_seed(&e->rng, seed); }

int32_t tansy_engine_sample(struct tansy_engine *e, const struct tansy_sampler *sampler) {
  const float *logits = last_logits(e);
  if (!logits) return -(int32_t)tansy_engine_fail(e, TANSY_ERR_NOT_READY);
  /* while drafts are verified, the tokens seen so far end with the row's own */
  uint32_t n_history = e->first_logits + e->n_logits;
  int32_t picked = tansy_sampler_pick(sampler, logits, e->config.vocab, e->tokens, n_history, &e->rng, e->forward.temporary);
  if (picked < 0) tansy_engine_fail(e, (enum tansy_status)-picked);
  return picked;
}

float tansy_engine_logprob(struct tansy_engine const *e, int32_t token) {
  const float *logits = last_logits(e);
  return logits && (uint32_t)token < e->config.vocab ? tansy_logprob_of(logits, e->config.vocab, token) : 0;
}
