/* loader.c: chunks of the file become tensors. A chunk is written into a staging slot, verified, copied to the tensors it
 * overlaps; a tensor whose last byte has come is completed (weights.c). Any order, any number in flight. */
#include <string.h>

#include "model/engine.h"

uint32_t tansy_engine_n_chunks(const struct tansy_engine *e) { return e->index.n_chunks; }

uint64_t tansy_chunk_offset(const struct tansy_engine *e, uint32_t i) {
  return i < e->index.n_chunks ? e->index.payload_offset + ((uint64_t)i << e->index.chunk_log2) : 0;
}

uint32_t tansy_chunk_nbytes(const struct tansy_engine *e, uint32_t i) {
  return i < e->index.n_chunks ? tansy_index_chunk_nbytes(&e->index, i) : 0;
}

uint32_t tansy_chunk_state(const struct tansy_engine *e, uint32_t i) {
  return i < e->index.n_chunks ? e->chunk_state[i] : TANSY_CHUNK_MISSING;
}

/* slot that holds `chunk` (UINT32_MAX: a free one), or NULL */
static uint32_t *find_slot(struct tansy_engine *e, uint32_t chunk) {
  for (uint32_t s = 0; s < e->plan.n_staging; s++) {
    if (e->slot_chunk[s] == chunk) return &e->slot_chunk[s];
  }
  return NULL;
}

static uint8_t *slot_memory(struct tansy_engine *e, const uint32_t *slot) {
  return e->staging + (size_t)(slot - e->slot_chunk) * (size_t)e->slot_nbytes;
}

void *tansy_chunk_begin(struct tansy_engine *e, uint32_t i) {
  if (tansy_chunk_state(e, i) != TANSY_CHUNK_MISSING || i >= e->index.n_chunks) return NULL;
  uint32_t *slot = find_slot(e, UINT32_MAX);
  if (!slot) return NULL;
  *slot = i;
  e->chunk_state[i] = TANSY_CHUNK_IN_FLIGHT;
  return slot_memory(e, slot);
}

void tansy_chunk_abort(struct tansy_engine *e, uint32_t i) {
  uint32_t *slot = i < e->index.n_chunks ? find_slot(e, i) : NULL;
  if (!slot) return;
  *slot = UINT32_MAX;
  e->chunk_state[i] = TANSY_CHUNK_MISSING;
}

/* first tensor whose bytes end after payload offset `at` */
static uint32_t first_tensor_after(const struct tansy_engine *e, uint64_t at) {
  uint32_t lo = 0, hi = e->plan.n_tensors;
  while (lo < hi) {
    uint32_t middle = lo + (hi - lo) / 2;
    const struct tansy_record *r = &e->tensors[middle].record;
    if (r->offset + r->nbytes > at) hi = middle;
    else lo = middle + 1;
  }
  return lo;
}

static enum tansy_status complete(struct tansy_engine *e, uint32_t i) {
  struct tansy_tensor *t = &e->tensors[i];
  enum tansy_status status = tansy_tensor_complete(t, e->kernels, &e->outer, e->layers, e->forward.temporary, e->forward.temporary_nbytes);
  if (status != TANSY_OK) {
    tansy_detail_set(&e->detail, status, i, &t->record);
    e->detail.offset = (double)(e->index.payload_offset + t->record.offset);
    e->broken = status;
    return status;
  }
  e->n_missing[tansy_tensor_group(&e->config, &t->record)]--;
  return TANSY_OK;
}

/* payload bytes [begin, begin + n) */
static enum tansy_status scatter(struct tansy_engine *e, const uint8_t *bytes, uint64_t begin, uint32_t n) {
  uint64_t end = begin + n;
  for (uint32_t i = first_tensor_after(e, begin); i < e->plan.n_tensors; i++) {
    struct tansy_tensor *t = &e->tensors[i];
    const struct tansy_record *r = &t->record;
    if (r->offset >= end) break;
    uint64_t from = r->offset > begin ? r->offset : begin, to = r->offset + r->nbytes < end ? r->offset + r->nbytes : end;
    uint8_t *file_bytes = t->region + (t->region_nbytes - r->nbytes);
    memcpy(file_bytes + (from - r->offset), bytes + (from - begin), (size_t)(to - from));
    t->received += (uint32_t)(to - from);
    if (t->received == r->nbytes) TANSY_TRY(complete(e, i));
  }
  return TANSY_OK;
}

enum tansy_status tansy_chunk_end(struct tansy_engine *e, uint32_t i) {
  uint32_t *slot = i < e->index.n_chunks ? find_slot(e, i) : NULL;
  if (!slot) return TANSY_ERR_ARGUMENT;
  if (e->broken) return e->broken;
  const uint8_t *bytes = slot_memory(e, slot);
  uint32_t nbytes = tansy_index_chunk_nbytes(&e->index, i);
  *slot = UINT32_MAX;
  if (tansy_crc32(e->crc, bytes, nbytes) != tansy_index_chunk_crc(&e->index, i)) {
    e->chunk_state[i] = TANSY_CHUNK_MISSING;
    tansy_detail_set(&e->detail, TANSY_ERR_CHECKSUM, TANSY_NO_TENSOR, NULL);
    e->detail.offset = (double)tansy_chunk_offset(e, i);
    return TANSY_ERR_CHECKSUM;
  }
  e->chunk_state[i] = TANSY_CHUNK_LOADED;
  e->loaded_nbytes += nbytes;
  return scatter(e, bytes, (uint64_t)i << e->index.chunk_log2, nbytes);
}

uint32_t tansy_engine_layers_ready(const struct tansy_engine *e) {
  uint32_t n = 0;
  while (n < e->config.n_layers + 2 && e->n_missing[n] == 0) n++;
  return n ? n - 1 : 0;
}
