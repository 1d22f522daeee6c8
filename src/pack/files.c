/* files.c: see files.h. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "pack/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum tansy_status tansy_file_read(const char *path, size_t limit, struct tansy_file_text *out, struct tansy_failure *failure) {
  *out = (struct tansy_file_text){0};
  FILE *f = fopen(path, "rb");
  struct stat info;
  if (!f || fstat(fileno(f), &info) != 0 || S_ISDIR(info.st_mode)) {
    enum tansy_status status = tansy_fail(failure, TANSY_ERR_IO, "%s: %s", path, f ? "not a file" : strerror(errno));
    if (f) fclose(f);
    return status;
  }
  enum tansy_status status = TANSY_OK;
  if (info.st_size < 0 || (uint64_t)info.st_size > limit) {
    status = tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "%s is larger than %zu bytes", path, limit);
  } else {
    out->nbytes = (size_t)info.st_size;
    out->bytes = malloc(out->nbytes + 1);
    if (!out->bytes) {
      status = tansy_fail_memory(failure);
    } else if (fread(out->bytes, 1, out->nbytes, f) != out->nbytes) {
      status = tansy_fail(failure, TANSY_ERR_IO, "%s: cannot be read", path);
    } else {
      out->bytes[out->nbytes] = 0;
    }
  }
  fclose(f);
  if (status != TANSY_OK) tansy_file_text_free(out);
  return status;
}

void tansy_file_text_free(struct tansy_file_text *text) {
  free(text->bytes);
  *text = (struct tansy_file_text){0};
}

char *tansy_path_join(const char *dir, const char *name) {
  size_t n = strlen(dir) + strlen(name) + 2;
  char *path = malloc(n);
  if (path) snprintf(path, n, "%s/%s", dir, name);
  return path;
}

enum tansy_status tansy_new_file_open(const char *path, struct tansy_new_file *out, struct tansy_failure *failure) {
  *out = (struct tansy_new_file){0};
  size_t n = strlen(path) + sizeof ".partial";
  out->path = malloc(n);
  out->temporary = malloc(n);
  if (!out->path || !out->temporary) {
    tansy_new_file_abandon(out);
    return tansy_fail_memory(failure);
  }
  strcpy(out->path, path);
  snprintf(out->temporary, n, "%s.partial", path);
  out->file = fopen(out->temporary, "wb+");
  if (!out->file) {
    enum tansy_status status = tansy_fail(failure, TANSY_ERR_IO, "%s: %s", out->temporary, strerror(errno));
    free(out->temporary);
    out->temporary = NULL;
    tansy_new_file_abandon(out);
    return status;
  }
  return TANSY_OK;
}

enum tansy_status tansy_new_file_commit(struct tansy_new_file *file, struct tansy_failure *failure) {
  int failed = fflush(file->file) != 0 || ferror(file->file) || fsync(fileno(file->file)) != 0;
  int error = errno;
  if (fclose(file->file) != 0 && !failed) failed = 1, error = errno;
  file->file = NULL;
  if (!failed && rename(file->temporary, file->path) != 0) failed = 1, error = errno;
  enum tansy_status status = failed ? tansy_fail(failure, TANSY_ERR_IO, "%s: %s", file->path, strerror(error)) : TANSY_OK;
  if (!failed) {
    free(file->temporary);
    file->temporary = NULL;
  }
  tansy_new_file_abandon(file);
  return status;
}

void tansy_new_file_abandon(struct tansy_new_file *file) {
  if (file->file) fclose(file->file);
  if (file->temporary) remove(file->temporary);
  free(file->temporary);
  free(file->path);
  *file = (struct tansy_new_file){0};
}
