/* container.h: the reader of a `.tansy` file's front: shell and index (FORMAT.md). No memory of its own: an index is a view
 * of the caller's header bytes, walked record by record. Everything is checked; nothing is believed. */
#ifndef TANSY_FORMAT_CONTAINER_H
#define TANSY_FORMAT_CONTAINER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "codec/codec.h"
#include "format/vector.h"

enum {
  TANSY_FORMAT_VERSION = 1,
  TANSY_INDEX_FIXED_NBYTES = 25,       /* magic to chunk_log2 */
  TANSY_MAX_HEADER_NBYTES = 64 << 20,  /* shell JSON and index, each */
  TANSY_MAX_TENSORS = 1 << 16,
  TANSY_MAX_ATTACHMENTS = 256,
  TANSY_MAX_NAME_NBYTES = 255, /* of an attachment */
  TANSY_MIN_CHUNK_LOG2 = 12,
  TANSY_MAX_CHUNK_LOG2 = 24,
};

struct tansy_index {
  const uint8_t *header;    /* the file's front */
  uint64_t payload_offset;  /* in the file: 8 + JSON + index */
  uint64_t payload_nbytes;
  uint32_t chunk_log2, n_chunks;
  uint32_t n_config, n_attachments, n_tensors;
  const uint8_t *config, *attachments, *tensors; /* where their records begin */
  const uint8_t *chunk_crcs;                     /* [n_chunks] u32, unaligned */
};

struct tansy_record_attachment {
  const uint8_t *name; /* [name_nbytes] */
  uint32_t name_nbytes;
  uint32_t encoding; /* 0 raw, 1 gzip */
  uint32_t nbytes, raw_nbytes;
  uint64_t offset; /* in the payload */
};

/* One tensor as the index has it. */
struct tansy_record {
  uint64_t offset; /* in the payload */
  uint32_t nbytes;
  uint32_t role, layer, kind;
  uint32_t n_rows, n_cols;
  struct tansy_coded_shape shape; /* kind CODED */
  uint32_t row_scale;             /* kind CODED: 0, 1, 2 */
};
/* bytes of a coded blob before its codec stream: f32 base and row scale codes */
uint32_t tansy_row_scale_nbytes(uint32_t row_scale, uint32_t n_rows);
static inline uint32_t tansy_record_prefix_nbytes(const struct tansy_record *r) {
  return tansy_row_scale_nbytes(r->row_scale, r->n_rows);
}
static inline uint32_t tansy_record_tiles_nbytes(const struct tansy_record *r) {
  return r->nbytes - tansy_record_prefix_nbytes(r) - r->shape.head_nbytes;
}

/* see tansy.h, tansy_header_size */
enum tansy_status tansy_container_header_size(const void *front, size_t n, uint64_t *needed);

/* Checks the whole index: checksum, every record, and that sizes add up. On failure *failed_tensor is the record it stopped
 * at, or ~0. */
enum tansy_status tansy_index_open(const void *header, size_t header_nbytes, struct tansy_index *index, uint32_t *failed_tensor);

/* Walks. They only see indexes that tansy_index_open accepted, so they cannot fail. */
struct tansy_index_walk {
  struct tansy_cursor c;
  uint64_t offset; /* payload offset of the next record's bytes */
};
struct tansy_index_walk tansy_index_config_walk(const struct tansy_index *index);
void tansy_index_next_config(struct tansy_index_walk *walk, uint64_t *key, uint32_t *value);
struct tansy_index_walk tansy_index_attachment_walk(const struct tansy_index *index);
void tansy_index_next_attachment(struct tansy_index_walk *walk, struct tansy_record_attachment *out);
struct tansy_index_walk tansy_index_tensor_walk(const struct tansy_index *index);
void tansy_index_next_tensor(struct tansy_index_walk *walk, struct tansy_record *out);

static inline uint64_t tansy_index_file_nbytes(const struct tansy_index *index) { return index->payload_offset + index->payload_nbytes; }
static inline uint32_t tansy_index_chunk_nbytes(const struct tansy_index *index, uint32_t i) {
  uint64_t begin = (uint64_t)i << index->chunk_log2, left = index->payload_nbytes - begin;
  uint64_t full = (uint64_t)1 << index->chunk_log2;
  return (uint32_t)(left < full ? left : full);
}
static inline uint32_t tansy_index_chunk_crc(const struct tansy_index *index, uint32_t i) {
  struct tansy_cursor c = tansy_cursor_over(index->chunk_crcs + (size_t)i * 4, 4);
  return tansy_read_u32(&c);
}

#endif
