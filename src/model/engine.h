/* engine.h: what a struct tansy_engine is made of, and the arena it lies in. Shared by plan.c, loader.c and tansy.c. */
#ifndef TANSY_MODEL_ENGINE_H
#define TANSY_MODEL_ENGINE_H

#include "base/arena.h"
#include "base/parallel.h"
#include "format/checksum.h"
#include "format/container.h"
#include "model/config.h"
#include "model/forward.h"
#include "model/sampler.h"
#include "model/weights.h"
#include "tansy.h"

enum {
  TANSY_MAX_STAGING = 64,
  TANSY_MAX_LOGITS = 32,
  TANSY_MAX_TILE_NBYTES = 512 << 10, /* decoded at once for look-ups; twice what the encoder makes */
  TANSY_STACK_NBYTES = 64 << 10, /* as the module's own (wasm/flags.cmake) */
  TANSY_IO_NBYTES = 4096, /* for structs, besides 4 bytes a token of the context */
  TANSY_KV_BLOCK = 64,    /* positions: the steps by which the KV cache grows */
};

enum tansy_chunk_status { TANSY_CHUNK_LOADED = 0, TANSY_CHUNK_IN_FLIGHT = 1, TANSY_CHUNK_MISSING = 2 };

/* An evaluation under way. Tokens go through the layers in groups, a group through a layer in batches (eval.c). */
struct tansy_eval {
  bool is_active, all_logits;
  uint32_t begin, n_tokens;     /* positions [begin, begin + n_tokens) */
  uint32_t max_group;           /* tokens there is room for in x */
  float *x;                     /* [max_group, hidden] residual streams */
  uint32_t group, n_group;      /* offset of the current group, its tokens */
  uint32_t stage;               /* next layer to run; n_layers: head */
  uint32_t batch;               /* offset of the next batch within the group */
  uint32_t head_row;            /* next row of the group the head has to do */
};

struct tansy_engine {
  struct tansy_detail detail; /* first: tansy_engine_detail works on an arena that tansy_engine_create refused */
  enum tansy_status broken;   /* a damaged tensor, a dead thread: nothing runs any more */
  struct tansy_plan plan;
  struct tansy_options options;
  struct tansy_index index;
  struct tansy_config config;
  const struct tansy_kernels *kernels;
  struct tansy_parallel parallel;

  /* what the arena holds, in this order after the engine itself */
  struct tansy_tensor *tensors;           /* [n_tensors] */
  struct tansy_crc32_tables *crc;
  uint8_t *chunk_state;                   /* [n_chunks] enum tansy_chunk_status */
  uint32_t *n_missing;                    /* [n_layers + 2] tensors still to come, by group */
  struct tansy_layer_weights *layers;     /* [n_layers] */
  struct tansy_layer_kv *kv;              /* [n_layers] */
  struct tansy_freq_table *tables;        /* of all matrices */
  uint8_t *io;                            /* [plan.io_nbytes] */
  int32_t *tokens;                        /* [context] */
  float *x;                               /* [max_batch, hidden] residual streams between steps */
  float *logits;                          /* [n_logits, vocab] */
  uint8_t *scratch;                       /* of `forward` */
  uint8_t *stacks;                        /* [n_threads - 1, TANSY_STACK_NBYTES] of workers that bring none (wasm) */
  uint8_t *staging;                       /* [n_staging, slot_nbytes] */
  uint8_t *regions;                       /* of the tensors, in file order, then TANSY_STREAM_SLACK */
  uint8_t *kv_memory;                     /* [n_layers] caches of kv_capacity positions; last, as it grows */

  uint64_t slot_nbytes, kv_at;            /* kv_at: offset in the arena */
  uint64_t arena_nbytes;                  /* now; plan.arena_nbytes in the end */
  uint32_t kv_capacity;                   /* positions the KV cache is laid out for; what the arena has beyond it is free */
  double n_weights;                       /* of a token's matrices */
  uint64_t promotion_nbytes, temporary_nbytes; /* what promoting takes; what `forward` lends between steps */
  uint32_t slot_chunk[TANSY_MAX_STAGING]; /* chunk in the slot, or UINT32_MAX */
  struct tansy_outer_weights outer;
  struct tansy_forward forward;
  struct {
    bool is_spread;
    uint32_t n_rounds;
  } probe;
  uint64_t loaded_nbytes;

  uint32_t position;
  struct tansy_eval eval;
  uint32_t n_logits, first_logits; /* rows ready, position of the first */
  struct tansy_rng rng;
};

/* Opens the header and plans: fills detail, plan, options, index, config, tensors (of which there is room for n_tensors_max, in
 * file order, forms chosen). Reads nothing else and takes no memory. */
enum tansy_status tansy_engine_plan(struct tansy_engine *e, const void *header, size_t header_nbytes, const struct tansy_options *options,
                                    struct tansy_tensor *tensors, size_t n_tensors_max);

/* Hands out the arena (a NULL base: counts it), engine and tensors included, as e->plan and the tensors' forms say. Fills in the
 * byte counts of e->plan. */
void tansy_engine_lay_out(struct tansy_engine *e, struct tansy_arena *arena);

/* Lays the KV cache out for n_tokens. NO_MEMORY: the arena is too short, CONTEXT: and would always be. */
enum tansy_status tansy_engine_make_room(struct tansy_engine *e, uint32_t n_tokens);

static inline enum tansy_status tansy_engine_fail(struct tansy_engine *e, enum tansy_status status) {
  if (status != TANSY_OK) tansy_detail_set(&e->detail, status, TANSY_NO_TENSOR, NULL);
  return status;
}

#endif
