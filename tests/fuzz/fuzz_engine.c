/* fuzz_engine.c: a whole file from a stranger: header, plan, engine, chunks, tokens. The input is the front of a `.tansy` file
 * and as much of its payload as there is; checksums are made right, so that what lies behind them is reached. */
#include "format/checksum.h"
#include "model/engine.h"
#include "tansy.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

enum { MAX_ARENA_NBYTES = 64 << 20 };

static void put_u32(uint8_t *at, uint32_t v) {
  for (int i = 0; i < 4; i++) at[i] = (uint8_t)(v >> 8 * i);
}

/* chunk checksums of a payload that goes on as zeros; then the index's own */
static void seal(uint8_t *file, size_t nbytes, size_t header_nbytes) {
  uint64_t json_nbytes;
  memcpy(&json_nbytes, file, 8);
  uint8_t *index = file + 8 + json_nbytes;
  uint32_t index_nbytes = (uint32_t)(header_nbytes - 8 - json_nbytes);
  struct tansy_index view;
  uint32_t failed;
  put_u32(index + index_nbytes - 4, tansy_crc32_small(index, index_nbytes - 4));
  if (tansy_index_open(file, header_nbytes, &view, &failed) != TANSY_OK || view.payload_nbytes > MAX_ARENA_NBYTES) return;
  uint8_t *chunk = malloc((size_t)1 << view.chunk_log2);
  for (uint32_t i = 0; chunk && i < view.n_chunks; i++) {
    uint32_t n = tansy_index_chunk_nbytes(&view, i);
    uint64_t at = view.payload_offset + ((uint64_t)i << view.chunk_log2);
    memset(chunk, 0, n);
    if (at < nbytes) memcpy(chunk, file + at, nbytes - at < n ? nbytes - (size_t)at : n);
    put_u32((uint8_t *)(uintptr_t)view.chunk_crcs + 4 * i, tansy_crc32_small(chunk, n));
  }
  free(chunk);
  put_u32(index + index_nbytes - 4, tansy_crc32_small(index, index_nbytes - 4));
}

static void run(struct tansy_engine *e, const uint8_t *file, size_t nbytes) {
  for (uint32_t i = tansy_engine_n_chunks(e); i-- > 0;) { /* the last first: any order is allowed */
    uint8_t *slot = tansy_chunk_begin(e, i);
    if (!slot) return;
    uint32_t n = tansy_chunk_nbytes(e, i);
    uint64_t at = tansy_chunk_offset(e, i);
    memset(slot, 0, n);
    if (at < nbytes) memcpy(slot, file + at, nbytes - at < n ? nbytes - (size_t)at : n);
    if (tansy_chunk_end(e, i) != TANSY_OK) return;
  }
  int32_t ids[3] = {0, 0, 0};
  if (tansy_eval_begin(e, ids, 3, 1) != TANSY_OK) return;
  int left;
  while ((left = tansy_eval_step(e)) > 0) {}
  if (left == 0) tansy_engine_sample(e, &(struct tansy_sampler){.temperature = 1, .top_k = 3});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  uint64_t needed;
  if (tansy_header_size(data, nbytes, &needed) != TANSY_OK) return 0;
  size_t header_nbytes = (size_t)needed;
  uint8_t *file = malloc(nbytes);
  if (!file) return 0;
  memcpy(file, data, nbytes);
  seal(file, nbytes, header_nbytes);
  for (uint32_t residency = TANSY_RESIDENCY_ANS; residency <= TANSY_RESIDENCY_INT8; residency++) {
    struct tansy_options options = {.budget_nbytes = MAX_ARENA_NBYTES, .residency = residency, .context = 4, .max_batch = 2};
    size_t work_nbytes = tansy_plan_work_nbytes(file, header_nbytes);
    void *work = malloc(work_nbytes + 1), *arena = NULL;
    struct tansy_plan plan;
    struct tansy_engine *e;
    if (work && tansy_plan_make(file, header_nbytes, &options, work, work_nbytes, &plan) == TANSY_OK) {
      arena = aligned_alloc(16, (size_t)plan.arena_nbytes);
      if (arena && tansy_engine_create(file, header_nbytes, &options, arena, (size_t)plan.arena_nbytes, &e) == TANSY_OK) run(e, file, nbytes);
    }
    free(arena);
    free(work);
  }
  free(file);
  return 0;
}
