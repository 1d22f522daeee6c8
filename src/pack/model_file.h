/* model_file.h: a .tansy file through the engine, for evaluation and inspection. */
#ifndef TANSY_PACK_MODEL_FILE_H
#define TANSY_PACK_MODEL_FILE_H

#include "pack/failure.h"
#include "tansy.h"

/* The file's front (shell and index), and where it lies. */
struct tansy_model_file {
  int fd;
  const char *path;
  uint64_t file_nbytes;
  uint8_t *header;
  size_t header_nbytes;
};
enum tansy_status tansy_model_file_open(const char *path, struct tansy_model_file *out, struct tansy_failure *failure);
void tansy_model_file_close(struct tansy_model_file *file);
/* bytes [offset, offset + n) of the file */
enum tansy_status tansy_model_file_read(const struct tansy_model_file *file, uint64_t offset, void *out, size_t n, struct tansy_failure *failure);

/* An engine with every chunk loaded. *arena is malloc'd; the caller frees it, and nothing else. */
enum tansy_status tansy_model_file_load(const struct tansy_model_file *file, const struct tansy_options *options, void **arena,
                                        struct tansy_engine **engine, struct tansy_plan *plan, struct tansy_failure *failure);

#endif
