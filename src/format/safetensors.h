/* safetensors.h: reads tensors of one .safetensors file by position, never the whole file. Compressor only.
 *
 * File = u64 header size, JSON header {name: {dtype, shape, data_offsets}}, data. All offsets are checked against the
 * file size and the shape when it is opened, so a read can only fail by an I/O error.
 *
 * A table does the same for a file of another format whose tensors somebody has listed: entries as in a header, offsets
 * from the beginning of the file, and block types too. */
#ifndef TANSY_FORMAT_SAFETENSORS_H
#define TANSY_FORMAT_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "format/blocks.h"
#include "format/json.h"

enum { TANSY_SAFETENSORS_MAX_DIMS = 4, TANSY_SAFETENSORS_MAX_HEADER = 100 << 20 };

struct tansy_safetensors_entry {
  char *name;
  enum tansy_dtype dtype;
  char dtype_name[12];
  uint32_t n_dims; /* more than TANSY_SAFETENSORS_MAX_DIMS: dtype OTHER */
  uint64_t shape[TANSY_SAFETENSORS_MAX_DIMS];
  uint64_t n_values;
  uint64_t offset, nbytes; /* in the file */
  uint32_t interleaved;    /* rows of a head whose halves are stored alternately (row 0 of the first half, row 0 of the second,
                            * row 1 of the first ...); 0: rows in order. Tables only */
};

struct tansy_safetensors {
  int fd;
  uint32_t n_entries;
  struct tansy_safetensors_entry *entries; /* in header order */
};

/* IO: cannot be opened or read. NOT_CHECKPOINT: not a safetensors file. TRUNCATED: shorter than its header says.
 * CORRUPT: offsets or shapes that contradict each other, a name twice, tensors that overlap. `what` [>= 1]: a few words about the failure. */
enum tansy_status tansy_safetensors_open(const char *path, struct tansy_safetensors *out, char *what, size_t what_capacity);
/* the same over the file `path` by an object of entries {name: {dtype, shape, data_offsets, interleaved}} */
enum tansy_status tansy_safetensors_open_table(const char *path, const struct tansy_json *json, tansy_json_ref entries,
                                               struct tansy_safetensors *out, char *what, size_t what_capacity);
void tansy_safetensors_close(struct tansy_safetensors *st);

const struct tansy_safetensors_entry *tansy_safetensors_find(const struct tansy_safetensors *st, const char *name);

/* values [begin, begin + n) in row-major order as f32. Safe from several threads at once. */
enum tansy_status tansy_safetensors_read(const struct tansy_safetensors *st, const struct tansy_safetensors_entry *entry,
                                         uint64_t begin, uint64_t n, float *out);

#endif
