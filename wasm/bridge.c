/* bridge.c: the flat ABI of every wasm module over tansy.h. Names and arguments: exports.txt. */
#include "tansy.h"

#define EXPORT __attribute__((visibility("default")))
typedef uint32_t u32;

extern unsigned char __heap_base; /* the linker's: end of static data */

static u32 heap_base(void) { return ((u32)(uintptr_t)&__heap_base + 15) & ~15u; }

EXPORT u32 tansy_abi_version(void);
EXPORT u32 tansy_abi_version(void) { return TANSY_ABI_VERSION; }
EXPORT u32 tansy_heap_base(void);
EXPORT u32 tansy_heap_base(void) { return heap_base(); }

EXPORT int32_t tansy_header_nbytes(const void *front, u32 n, double *out);
EXPORT int32_t tansy_header_nbytes(const void *front, u32 n, double *out) {
  uint64_t needed = 0;
  enum tansy_status status = tansy_header_size(front, n, &needed);
  *out = (double)needed;
  return (int32_t)status;
}

/* stack, static data and header count against the budget */
static struct tansy_options with_static(const struct tansy_options *options, u32 header_nbytes) {
  struct tansy_options o = *options;
  o.static_nbytes = heap_base() + ((header_nbytes + 15) & ~15u);
  return o;
}

EXPORT int32_t tansy_plan(const void *header, u32 header_nbytes, const struct tansy_options *options, struct tansy_plan *out, void *work, u32 work_nbytes);
EXPORT int32_t tansy_plan(const void *header, u32 header_nbytes, const struct tansy_options *options, struct tansy_plan *out, void *work, u32 work_nbytes) {
  struct tansy_options o = with_static(options, header_nbytes);
  return (int32_t)tansy_plan_make(header, header_nbytes, &o, work, work_nbytes, out);
}

EXPORT int32_t tansy_create(const void *header, u32 header_nbytes, const struct tansy_options *options, void *arena, u32 arena_nbytes);
EXPORT int32_t tansy_create(const void *header, u32 header_nbytes, const struct tansy_options *options, void *arena, u32 arena_nbytes) {
  struct tansy_options o = with_static(options, header_nbytes);
  struct tansy_engine *h;
  return (int32_t)tansy_engine_create(header, header_nbytes, &o, arena, arena_nbytes, &h);
}

EXPORT double tansy_arena_size(struct tansy_engine *h, u32 n_tokens);
EXPORT double tansy_arena_size(struct tansy_engine *h, u32 n_tokens) { return (double)tansy_engine_arena_nbytes(h, n_tokens); }

EXPORT int32_t tansy_grow(struct tansy_engine *h, u32 arena_nbytes);
EXPORT int32_t tansy_grow(struct tansy_engine *h, u32 arena_nbytes) { return (int32_t)tansy_engine_grow(h, arena_nbytes); }

EXPORT const void *tansy_detail(struct tansy_engine *h);
EXPORT const void *tansy_detail(struct tansy_engine *h) { return tansy_engine_detail(h); }

EXPORT void tansy_stats(struct tansy_engine *h, struct tansy_stats *out);
EXPORT void tansy_stats(struct tansy_engine *h, struct tansy_stats *out) { tansy_engine_stats(h, out); }

EXPORT const char *tansy_kernels_name(struct tansy_engine *h);
EXPORT const char *tansy_kernels_name(struct tansy_engine *h) { return tansy_engine_kernels(h); }

EXPORT u32 tansy_config_value(struct tansy_engine *h, u32 key);
EXPORT u32 tansy_config_value(struct tansy_engine *h, u32 key) { return tansy_engine_config(h, key); }

EXPORT void *tansy_io(struct tansy_engine *h);
EXPORT void *tansy_io(struct tansy_engine *h) { return tansy_engine_io(h); }

EXPORT u32 tansy_n_attachments(struct tansy_engine *h);
EXPORT u32 tansy_n_attachments(struct tansy_engine *h) { return tansy_engine_n_attachments(h); }

EXPORT int32_t tansy_attachment_at(struct tansy_engine *h, u32 i, struct tansy_attachment *out);
EXPORT int32_t tansy_attachment_at(struct tansy_engine *h, u32 i, struct tansy_attachment *out) { return (int32_t)tansy_engine_attachment(h, i, out); }

EXPORT u32 tansy_n_chunks(struct tansy_engine *h);
EXPORT u32 tansy_n_chunks(struct tansy_engine *h) { return tansy_engine_n_chunks(h); }

EXPORT double tansy_chunk_file_offset(struct tansy_engine *h, u32 i);
EXPORT double tansy_chunk_file_offset(struct tansy_engine *h, u32 i) { return (double)tansy_chunk_offset(h, i); }

EXPORT u32 tansy_chunk_size(struct tansy_engine *h, u32 i);
EXPORT u32 tansy_chunk_size(struct tansy_engine *h, u32 i) { return tansy_chunk_nbytes(h, i); }

EXPORT void *tansy_chunk_slot(struct tansy_engine *h, u32 i);
EXPORT void *tansy_chunk_slot(struct tansy_engine *h, u32 i) { return tansy_chunk_begin(h, i); }

EXPORT int32_t tansy_chunk_commit(struct tansy_engine *h, u32 i);
EXPORT int32_t tansy_chunk_commit(struct tansy_engine *h, u32 i) { return (int32_t)tansy_chunk_end(h, i); }

EXPORT void tansy_chunk_drop(struct tansy_engine *h, u32 i);
EXPORT void tansy_chunk_drop(struct tansy_engine *h, u32 i) { tansy_chunk_abort(h, i); }

EXPORT u32 tansy_chunk_status(struct tansy_engine *h, u32 i);
EXPORT u32 tansy_chunk_status(struct tansy_engine *h, u32 i) { return tansy_chunk_state(h, i); }

EXPORT u32 tansy_layers_ready(struct tansy_engine *h);
EXPORT u32 tansy_layers_ready(struct tansy_engine *h) { return tansy_engine_layers_ready(h); }

EXPORT int32_t tansy_begin(struct tansy_engine *h, const int32_t *tokens, u32 n, u32 all_logits);
EXPORT int32_t tansy_begin(struct tansy_engine *h, const int32_t *tokens, u32 n, u32 all_logits) { return (int32_t)tansy_eval_begin(h, tokens, n, (int)all_logits); }

EXPORT int32_t tansy_step(struct tansy_engine *h);
EXPORT int32_t tansy_step(struct tansy_engine *h) { return tansy_eval_step(h); }

EXPORT void tansy_cancel(struct tansy_engine *h);
EXPORT void tansy_cancel(struct tansy_engine *h) { tansy_eval_cancel(h); }

EXPORT int32_t tansy_keep(struct tansy_engine *h, u32 n);
EXPORT int32_t tansy_keep(struct tansy_engine *h, u32 n) { return (int32_t)tansy_eval_keep(h, n); }

EXPORT u32 tansy_logits_count(struct tansy_engine *h);
EXPORT u32 tansy_logits_count(struct tansy_engine *h) { return tansy_logits_n(h); }

EXPORT u32 tansy_logits_position(struct tansy_engine *h);
EXPORT u32 tansy_logits_position(struct tansy_engine *h) { return tansy_logits_first(h); }

EXPORT const float *tansy_logits_at(struct tansy_engine *h);
EXPORT const float *tansy_logits_at(struct tansy_engine *h) { return tansy_logits(h); }

EXPORT u32 tansy_position(struct tansy_engine *h);
EXPORT u32 tansy_position(struct tansy_engine *h) { return tansy_engine_position(h); }

EXPORT int32_t tansy_rewind(struct tansy_engine *h, u32 position);
EXPORT int32_t tansy_rewind(struct tansy_engine *h, u32 position) { return (int32_t)tansy_engine_rewind(h, position); }

EXPORT void tansy_sampler_seed(struct tansy_engine *h, u32 lo, u32 hi);
EXPORT void tansy_sampler_seed(struct tansy_engine *h, u32 lo, u32 hi) { tansy_engine_seed(h, (uint64_t)hi << 32 | lo); }

EXPORT int32_t tansy_sample(struct tansy_engine *h, const struct tansy_sampler *sampler);
EXPORT int32_t tansy_sample(struct tansy_engine *h, const struct tansy_sampler *sampler) { return tansy_engine_sample(h, sampler); }

EXPORT float tansy_logprob(struct tansy_engine *h, int32_t token);
EXPORT float tansy_logprob(struct tansy_engine *h, int32_t token) { return tansy_engine_logprob(h, token); }

EXPORT void *tansy_worker_stack(struct tansy_engine *h, u32 thread);
EXPORT void *tansy_worker_stack(struct tansy_engine *h, u32 thread) { return tansy_engine_stack(h, thread); }

EXPORT void tansy_worker(struct tansy_engine *h, u32 thread);
EXPORT void tansy_worker(struct tansy_engine *h, u32 thread) { tansy_engine_work(h, thread); }

EXPORT void tansy_workers_end(struct tansy_engine *h);
EXPORT void tansy_workers_end(struct tansy_engine *h) { tansy_engine_end_workers(h); }

EXPORT u32 tansy_probe(struct tansy_engine *h, u32 form, u32 n_rounds);
EXPORT u32 tansy_probe(struct tansy_engine *h, u32 form, u32 n_rounds) { return tansy_engine_probe(h, form, n_rounds); }

EXPORT u32 tansy_session_count(struct tansy_engine *h);
EXPORT u32 tansy_session_count(struct tansy_engine *h) { return tansy_session_n(h); }

EXPORT void *tansy_session_at(struct tansy_engine *h, u32 i, u32 n_tokens);
EXPORT void *tansy_session_at(struct tansy_engine *h, u32 i, u32 n_tokens) {
  size_t nbytes;
  return tansy_session_piece(h, i, n_tokens, &nbytes);
}

EXPORT u32 tansy_session_size(struct tansy_engine *h, u32 i, u32 n_tokens);
EXPORT u32 tansy_session_size(struct tansy_engine *h, u32 i, u32 n_tokens) {
  size_t nbytes;
  tansy_session_piece(h, i, n_tokens, &nbytes);
  return (u32)nbytes;
}

EXPORT int32_t tansy_session_set(struct tansy_engine *h, u32 n_tokens);
EXPORT int32_t tansy_session_set(struct tansy_engine *h, u32 n_tokens) { return (int32_t)tansy_session_restore(h, n_tokens); }
