/* writer.h: puts a .tansy file together (FORMAT.md): shell, index, payload with chunk checksums; atomically. */
#ifndef TANSY_PACK_WRITER_H
#define TANSY_PACK_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "codec/codec.h"
#include "format/vector.h"
#include "model/config.h"
#include "pack/failure.h"
#include "pack/parts.h"

enum tansy_row_scale_kind { TANSY_ROW_SCALE_UNIFORM = 0, TANSY_ROW_SCALE_HALF_OCTAVE = 1, TANSY_ROW_SCALE_F16 = 2 };

/* One tensor of the file: its record and its bytes, in memory or among the writer's parts. */
struct tansy_blob {
  uint8_t role, kind, row_scale;
  uint16_t layer;
  uint32_t n_rows, n_cols;
  struct tansy_coded_shape shape; /* CODED */
  struct tansy_buffer stored;     /* no bytes in it: */
  uint64_t part_at, part_nbytes;
};
static inline uint64_t tansy_blob_nbytes(const struct tansy_blob *b) { return b->part_nbytes ? b->part_nbytes : b->stored.nbytes; }

struct tansy_attachment_file {
  char name[256];
  uint8_t encoding; /* 0 raw, 1 gzip */
  uint64_t raw_nbytes;
  uint8_t *bytes;
  size_t nbytes;
};

struct tansy_writer {
  struct tansy_config config;
  uint32_t n_blobs, n_attachments, capacity;
  struct tansy_blob *blobs; /* in file order */
  struct tansy_attachment_file *attachments;
  struct tansy_parts *parts;          /* NULL: all tensors stay in memory */
  uint64_t max_memory_nbytes;         /* of tensors that stay in memory where there are parts */
};

/* A new tensor at the end, nothing stored yet; NULL when memory is short. Pointers to earlier ones become invalid. */
struct tansy_blob *tansy_writer_add(struct tansy_writer *w, uint32_t role, uint32_t layer, enum tansy_tensor_kind kind, uint32_t n_rows,
                                      uint32_t n_cols);
/* The last tensor has all its bytes: when they are too many in all, those in memory go to the parts. */
enum tansy_status tansy_writer_settle(struct tansy_writer *w, struct tansy_failure *failure);
/* forgets all tensors; attachments stay */
void tansy_writer_clear(struct tansy_writer *w);
void tansy_writer_free(struct tansy_writer *w);

struct tansy_file_sizes {
  uint64_t file_nbytes;
  uint64_t attachment_nbytes; /* payload of attachments, and their share of shell and index */
  uint64_t tensor_nbytes;     /* payload of tensors */
  uint64_t index_nbytes;      /* shell and index less the attachments' share */
};
/* what tansy_writer_write would write, without writing */
enum tansy_status tansy_writer_sizes(const struct tansy_writer *w, struct tansy_file_sizes *sizes, struct tansy_failure *failure);
enum tansy_status tansy_writer_write(const struct tansy_writer *w, const char *path, struct tansy_file_sizes *sizes,
                                     struct tansy_failure *failure);

/* ---- vectors ---- */

/* F16 when that keeps every value within 2^-11 of itself (or of a 2^-10th of the largest), else F32. `stored` [n]: what a reader gets. */
enum tansy_status tansy_writer_add_vector(struct tansy_writer *w, uint32_t role, uint32_t layer, const float *values, uint32_t n,
                                          float *stored, struct tansy_failure *failure);
/* LOG8: every value within 2.2% on the grid base * 2^(e/16), all positive and within 2^15 of the largest (smaller ones are raised) */
enum tansy_status tansy_writer_add_log8(struct tansy_writer *w, uint32_t role, uint32_t layer, const float *values, uint32_t n,
                                        float *stored, struct tansy_failure *failure);

#endif
