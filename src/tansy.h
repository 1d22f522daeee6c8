/* tansy.h: the public interface of the engine.
 *
 * An engine runs one model inside one block of memory ("arena") that the caller gives it; it does no I/O, keeps no globals and
 * never allocates. Life of an engine:
 *
 *   1. tansy_header_size: how many bytes of the file's front are needed (the "header": shell and index).
 *   2. tansy_plan_make: from the header alone, how many bytes the whole thing takes, byte by byte, or what is missing.
 *   3. tansy_engine_create in an arena of plan.arena_nbytes, or of less that grows with the conversation (tansy_engine_grow).
 *   4. Chunks, in any order: tansy_chunk_begin says where to put chunk i, tansy_chunk_end checks and takes it.
 *   5. tansy_eval_begin, tansy_eval_step until 0: one layer of one batch a step. Layers run as soon as they are there.
 *   6. tansy_engine_sample, and again from 5.
 * There is nothing to destroy: drop the arena.
 *
 * The structs hold only u32, f32 and f64 at the offsets written beside them, the same on every target, so that
 * JavaScript reads them from the heap (js/engine.js). */
#ifndef TANSY_H
#define TANSY_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
  TANSY_ABI_VERSION = 1,
  TANSY_PAGE_NBYTES = 65536,     /* of a wasm memory; plan totals are multiples of it */
  TANSY_HEADER_MIN_NBYTES = 16,  /* what tansy_header_size wants at least */
  TANSY_NO_TENSOR = 0xFFFFFFFFu, /* in tansy_detail.tensor */
};

enum tansy_kv_form { TANSY_KV_INT8 = 0, TANSY_KV_F32 = 1, TANSY_KV_F16 = 2 };
enum tansy_residency {
  TANSY_RESIDENCY_AUTO = 0,   /* as much in fast forms as the budget holds; without a budget: as ANS */
  TANSY_RESIDENCY_ANS = 1,    /* everything stays ANS-coded: the smallest heap */
  TANSY_RESIDENCY_PACKED = 2, /* every matrix that gains by it is packed */
  TANSY_RESIDENCY_INT8 = 3,
};
/* All compute the same bits; tests compare them. */
enum tansy_kernel_choice { TANSY_KERNELS_BEST = 0, TANSY_KERNELS_REF = 1, TANSY_KERNELS_SIMD128 = 2, TANSY_KERNELS_RELAXED = 3 };

/* What went wrong where. 48 bytes. */
struct tansy_detail {
  uint32_t status;          /*  0 enum tansy_status */
  uint32_t tensor;          /*  4 number in the index, or TANSY_NO_TENSOR */
  uint32_t role;            /*  8 of that tensor (format/roles.h) */
  uint32_t layer;           /* 12 */
  uint32_t n_rows;          /* 16 SHAPE: what the file has … */
  uint32_t n_cols;          /* 20 */
  uint32_t expected_n_rows; /* 24 … and what the config asks for; 0 x 0: no such tensor; n_rows 0: the tensor is missing */
  uint32_t expected_n_cols; /* 28 */
  double offset;            /* 32 byte of the file, where known, else -1 */
  double needed_nbytes;     /* 40 OVER_BUDGET: bytes the memory must have; CONTEXT: tokens there is room for; NO_MEMORY: bytes of the arena */
};

/* Wishes. All zero is a valid set. 64 bytes. */
struct tansy_options {
  double budget_nbytes;         /*  0 of the whole memory; 0: no limit */
  uint32_t context;             /*  8 tokens; 0: the model's, at most 4096, less if the budget asks for it (never below 128) */
  uint32_t n_threads;           /* 12 0: 1 */
  uint32_t kv_form;             /* 16 enum tansy_kv_form */
  uint32_t residency;           /* 20 enum tansy_residency */
  uint32_t max_batch;           /* 24 tokens run together in prefill, 1..256; 0: 8..128, as suits the budget */
  uint32_t n_logits;            /* 28 rows of the logits buffer, 1..32; 0: 1. More make "all logits" faster */
  uint32_t n_staging;           /* 32 chunks that can be in flight, 1..64; 0: 4 */
  uint32_t static_nbytes;       /* 36 bytes of the memory below the arena (static data, stack, header); bridge.c fills it in */
  float cost_ans;               /* 40 ns a weight and batch of one, measured on this device; 0: a typical figure */
  float cost_packed;            /* 44 */
  float cost_int8;              /* 48 */
  float target_ns_per_token;    /* 52 with residency 0: stop promoting when predicted to be this fast; 0: no target */
  uint32_t kernels;             /* 56 enum tansy_kernel_choice; UNSUPPORTED when this build lacks it */
  float cost_layer;             /* 60 ns of a token in a layer beside its matrices; 0: a typical figure */
};

/* Where every byte goes. 232 bytes. */
struct tansy_plan {
  double total_nbytes;       /*   0 the whole memory, a multiple of TANSY_PAGE_NBYTES */
  double needed_nbytes;      /*   8 smallest total_nbytes that would do (residency AUTO: all ANS; open sizes at their smallest) */
  double arena_nbytes;       /*  16 of the whole context; tansy_engine_create can begin with less */
  double static_nbytes;      /*  24 options.static_nbytes */
  double tables_nbytes;      /*  32 engine, tensor table, chunk states, frequency tables */
  double ans_nbytes;         /*  40 weights kept ANS-coded */
  double packed_nbytes;      /*  48 weights packed (their escape lists too) */
  double int8_nbytes;        /*  56 */
  double vectors_nbytes;     /*  64 norms, biases, scales */
  double kv_nbytes;          /*  72 of the whole context */
  double scratch_nbytes;     /*  80 activations, logits, decode scratch, token history */
  double staging_nbytes;     /*  88 */
  double io_nbytes;          /*  96 area for the caller's structs and tokens */
  double file_nbytes;        /* 104 */
  double predicted_ns;       /* 112 per generated token, at the costs of the options */
  uint32_t context;          /* 120 tokens */
  uint32_t model_context;    /* 124 what the model was made for */
  uint32_t n_tensors;        /* 128 */
  uint32_t n_matrices;       /* 132 */
  uint32_t n_packed;         /* 136 */
  uint32_t n_int8;           /* 140 */
  uint32_t n_chunks;         /* 144 */
  uint32_t chunk_nbytes;     /* 148 */
  uint32_t n_threads;        /* 152 as granted */
  uint32_t max_batch;        /* 156 */
  uint32_t n_logits;         /* 160 */
  uint32_t n_staging;        /* 164 */
  uint32_t vocab;            /* 168 */
  uint32_t n_layers;         /* 172 */
  struct tansy_detail detail; /* 176 when tansy_plan_make fails (also on success: status 0) */
  double start_nbytes;        /* 224 total_nbytes with a KV cache of one block: what the memory can begin with */
};

/* 128 bytes. Bytes by kind are as planned, but for the KV cache, which grows. */
struct tansy_stats {
  double total_nbytes;       /*   0 as planned */
  double static_nbytes;      /*   8 */
  double tables_nbytes;      /*  16 */
  double ans_nbytes;         /*  24 bytes of weights that are ANS-coded in the heap now */
  double packed_nbytes;      /*  32 */
  double int8_nbytes;        /*  40 */
  double vectors_nbytes;     /*  48 */
  double kv_nbytes;          /*  56 the arena's end, as long as it is now */
  double scratch_nbytes;     /*  64 */
  double staging_nbytes;     /*  72 */
  double io_nbytes;          /*  80 */
  double loaded_nbytes;      /*  88 payload bytes that arrived and were verified */
  double payload_nbytes;     /*  96 */
  double decoded_nbytes;     /* 104 most bytes that ever hold decoded weights of ANS matrices (per-thread buffers, a tile for look-ups) */
  uint32_t position;         /* 112 tokens in the KV cache */
  uint32_t context;          /* 116 */
  uint32_t n_packed;         /* 120 matrices packed now */
  uint32_t n_int8;           /* 124 */
};

/* Sampler, in this order (llama.cpp's): penalties, top-k, top-p, min-p, temperature. 32 bytes. */
struct tansy_sampler {
  float temperature;       /*  0 0: greedy (the lowest id wins ties); else > 0 */
  uint32_t top_k;          /*  4 0: off */
  float top_p;             /*  8 1 (or 0): off */
  float min_p;             /* 12 0: off */
  float repeat_penalty;    /* 16 1 (or 0): off */
  uint32_t repeat_last_n;  /* 20 tokens the three penalties look back; 0: off */
  float presence_penalty;  /* 24 0: off */
  float frequency_penalty; /* 28 0: off */
};

/* 32 bytes */
struct tansy_attachment {
  uint32_t name_at;        /*  0 offset of the name in the header (UTF-8, not terminated) */
  uint32_t name_nbytes;    /*  4 */
  uint32_t encoding;       /*  8 0 raw, 1 gzip */
  uint32_t reserved;       /* 12 */
  double file_offset;      /* 16 */
  uint32_t nbytes;         /* 24 in the file */
  uint32_t raw_nbytes;     /* 28 after decoding */
};

/* ---- header and plan ---- */

/* Bytes of the file's front that make up the header. `front` holds the first n >= 16 bytes. OK: *needed <= n is final.
 * TRUNCATED: give at least *needed bytes and ask again. NOT_TANSY, VERSION, CORRUPT, UNSUPPORTED (header beyond 64 MiB). */
enum tansy_status tansy_header_size(const void *front, size_t n, uint64_t *needed);

/* work memory tansy_plan_make needs for this header; 0 when the header is damaged (tansy_plan_make says how) */
size_t tansy_plan_work_nbytes(const void *header, size_t header_nbytes);

/* Pure. `work` is scratch memory, 8-byte aligned; on success its first plan->n_tensors bytes are each tensor's form
 * (enum tansy_form, 0xFF for vectors). OVER_BUDGET: detail.needed_nbytes says how much would do. */
enum tansy_status tansy_plan_make(const void *header, size_t header_nbytes, const struct tansy_options *options, void *work,
                                  size_t work_nbytes, struct tansy_plan *plan);

/* ---- engine ---- */
struct tansy_engine;

/* `arena` is 16-byte aligned and plan.arena_nbytes long, or shorter by up to plan.total_nbytes - plan.start_nbytes; the engine lies at
 * its start, so *out == arena. `header` stays in place as long as the engine. `options` may lie inside the arena. On failure
 * tansy_engine_detail(arena) still works. */
enum tansy_status tansy_engine_create(const void *header, size_t header_nbytes, const struct tansy_options *options, void *arena,
                                      size_t arena_nbytes, struct tansy_engine **out);
/* Bytes the arena must have for n_tokens in the KV cache: the cache lies at the arena's end and grows by blocks of positions. Never
 * more than plan.arena_nbytes. */
uint64_t tansy_engine_arena_nbytes(const struct tansy_engine *e, uint32_t n_tokens);
/* The arena is this long now. The KV cache takes what it needs; what it does not need yet lets a long prompt begin before all weights are
 * there. ARGUMENT: during an evaluation, or when it is shorter than before. */
enum tansy_status tansy_engine_grow(struct tansy_engine *e, size_t arena_nbytes);
const struct tansy_detail *tansy_engine_detail(const struct tansy_engine *e);
void tansy_engine_stats(const struct tansy_engine *e, struct tansy_stats *out);
/* "ref", "simd128", "relaxed" */
const char *tansy_engine_kernels(const struct tansy_engine *e);
/* value of a config key (format/config_keys.h) as its 32 bits; 0 for keys the file leaves out and have no default */
uint32_t tansy_engine_config(const struct tansy_engine *e, uint32_t key);
/* area of plan.io_nbytes (>= 4096 + 4 * context) for the caller's structs and tokens */
void *tansy_engine_io(struct tansy_engine *e);

uint32_t tansy_engine_n_attachments(const struct tansy_engine *e);
enum tansy_status tansy_engine_attachment(const struct tansy_engine *e, uint32_t i, struct tansy_attachment *out);

/* ---- loading ---- */
uint32_t tansy_engine_n_chunks(const struct tansy_engine *e);
uint64_t tansy_chunk_offset(const struct tansy_engine *e, uint32_t i); /* in the file */
uint32_t tansy_chunk_nbytes(const struct tansy_engine *e, uint32_t i);
/* where to write chunk i; NULL when no staging slot is free, or the chunk is loaded or in flight already */
void *tansy_chunk_begin(struct tansy_engine *e, uint32_t i);
/* Chunk i is complete in its slot. OK: taken, slot free. CHECKSUM: slot free, begin again. CORRUPT: a tensor completed by it is
 * damaged (the engine is of no use any more). */
enum tansy_status tansy_chunk_end(struct tansy_engine *e, uint32_t i);
void tansy_chunk_abort(struct tansy_engine *e, uint32_t i);
/* 0 loaded, 1 in flight, 2 missing */
uint32_t tansy_chunk_state(const struct tansy_engine *e, uint32_t i);
/* layers that can run: n_layers + 1 when everything (final norm and head too) is there; 0 while the embedding is missing */
uint32_t tansy_engine_layers_ready(const struct tansy_engine *e);

/* ---- running ---- */
/* Appends n tokens at the current position. all_logits: every token's logits are produced, else the last one's.
 * ARGUMENT: a token outside the vocabulary, n = 0, or an evaluation under way. CONTEXT: no room. NO_MEMORY: the arena is too short yet. */
enum tansy_status tansy_eval_begin(struct tansy_engine *e, const int32_t *tokens, size_t n, int all_logits);
/* One layer of one batch. 1: call again. 0: done. Negative: -enum tansy_status; -NOT_READY: feed chunks, call again.
 * After a step tansy_logits_n rows of logits are ready; they last until the next step. */
int tansy_eval_step(struct tansy_engine *e);
/* gives up; position is what it was before tansy_eval_begin */
void tansy_eval_cancel(struct tansy_engine *e);
/* Ends an evaluation early: its first n tokens stay, the others are forgotten (drafts that turned out wrong). ARGUMENT when not all
 * of the n have been through every layer. */
enum tansy_status tansy_eval_keep(struct tansy_engine *e, uint32_t n);

uint32_t tansy_logits_n(const struct tansy_engine *e);     /* rows made by the last step */
uint32_t tansy_logits_first(const struct tansy_engine *e); /* position of the first of them */
const float *tansy_logits(const struct tansy_engine *e);   /* [tansy_logits_n, vocab] */

uint32_t tansy_engine_position(const struct tansy_engine *e);
/* Forgets the tokens from `position` on. ARGUMENT when position is beyond the current one. */
enum tansy_status tansy_engine_rewind(struct tansy_engine *e, uint32_t position);
/* token ids in the cache, [position] */
const int32_t *tansy_engine_tokens(const struct tansy_engine *e);

/* Costs on this device: runs n_rounds products of one tile in this form (enum tansy_form: 0 ANS, 1 packed, 2 int8) and returns its
 * weights. Form TANSY_PROBE_LAYER: n_rounds of a layer without its matrices, for the next token; returns 1. 0: nothing that is loaded can
 * be tried. Time two calls with different n_rounds: the difference is the rounds alone. */
enum { TANSY_PROBE_LAYER = 3 };
uint32_t tansy_engine_probe(struct tansy_engine *e, uint32_t form, uint32_t n_rounds);

/* ---- sessions: the conversation so far, as pieces to copy out and in ---- */

/* To save: copy every piece. To restore, or to move to an engine of another budget: copy them in, then tansy_session_restore. File
 * and KV form must be the same; context, residency, batch and threads need not. */
uint32_t tansy_session_n(const struct tansy_engine *e);
/* piece i of a session of n_tokens tokens; NULL: no such piece, more tokens than the context or the arena holds, or an evaluation under way */
void *tansy_session_piece(struct tansy_engine *e, uint32_t i, uint32_t n_tokens, size_t *nbytes);
/* the pieces hold n_tokens tokens now. CORRUPT: token ids outside the vocabulary, or numbers that are not finite */
enum tansy_status tansy_session_restore(struct tansy_engine *e, uint32_t n_tokens);

/* ---- threads (builds with TANSY_HAVE_THREADS; else plan.n_threads is 1) ---- */

/* The life of worker `thread`, 1 … plan.n_threads − 1, to be called on a thread of its own; returns after tansy_engine_end_workers. The
 * engine runs with whatever workers have come. One that comes late or is held up costs no correctness and little time. */
void tansy_engine_work(struct tansy_engine *e, uint32_t thread);
/* end of a stack of 64 KiB for that worker (wasm: its instance's __stack_pointer); NULL: no such worker */
void *tansy_engine_stack(struct tansy_engine *e, uint32_t thread);
/* sends the workers home, for good */
void tansy_engine_end_workers(struct tansy_engine *e);

/* ---- sampling ---- */
void tansy_engine_seed(struct tansy_engine *e, uint64_t seed);
/* Picks a token from the last row of logits; >= 0, or -enum tansy_status (NOT_READY without logits, ARGUMENT, NONFINITE). Does not append it.
 * Between the steps of an evaluation of all logits it picks what follows that row's token: so drafts are verified. */
int32_t tansy_engine_sample(struct tansy_engine *e, const struct tansy_sampler *sampler);
/* log softmax of the last row of logits at `token` */
float tansy_engine_logprob(const struct tansy_engine *e, int32_t token);

#ifdef __cplusplus
}
#endif
#endif
