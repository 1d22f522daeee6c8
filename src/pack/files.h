/* files.h: whole files, paths, and writing that leaves either the old file or the complete new one. */
#ifndef TANSY_PACK_FILES_H
#define TANSY_PACK_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "pack/failure.h"

struct tansy_file_text {
  uint8_t *bytes; /* NUL-terminated */
  size_t nbytes;
};

/* IO when it cannot be read, UNSUPPORTED when it is larger than limit */
enum tansy_status tansy_file_read(const char *path, size_t limit, struct tansy_file_text *out, struct tansy_failure *failure);
void tansy_file_text_free(struct tansy_file_text *text);

/* dir + "/" + name, malloc'd; NULL when memory is short */
char *tansy_path_join(const char *dir, const char *name);

/* A file that appears under its name only when it is complete: written beside it, synced, renamed. */
struct tansy_new_file {
  FILE *file;
  char *path, *temporary;
};
enum tansy_status tansy_new_file_open(const char *path, struct tansy_new_file *out, struct tansy_failure *failure);
/* failure leaves nothing behind */
enum tansy_status tansy_new_file_commit(struct tansy_new_file *file, struct tansy_failure *failure);
void tansy_new_file_abandon(struct tansy_new_file *file);

#endif
