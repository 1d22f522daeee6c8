/* model_file.c: see model_file.h. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "pack/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum tansy_status tansy_model_file_read(const struct tansy_model_file *file, uint64_t offset, void *out, size_t n, struct tansy_failure *failure) {
  uint8_t *at = out;
  while (n > 0) {
    ssize_t got = pread(file->fd, at, n < (1 << 30) ? n : (1 << 30), (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return tansy_fail(failure, TANSY_ERR_IO, "%s: %s", file->path, strerror(errno));
    if (got == 0) return tansy_fail(failure, TANSY_ERR_TRUNCATED, "%s ends at byte %llu", file->path, (unsigned long long)offset);
    at += got;
    offset += (uint64_t)got;
    n -= (size_t)got;
  }
  return TANSY_OK;
}

static enum tansy_status read_header(struct tansy_model_file *file, struct tansy_failure *failure) {
  uint64_t needed = TANSY_HEADER_MIN_NBYTES;
  for (;;) {
    if (needed > file->file_nbytes) {
      if (file->file_nbytes < TANSY_HEADER_MIN_NBYTES) return tansy_fail(failure, TANSY_ERR_NOT_TANSY, "%s is not a .tansy file", file->path);
      return tansy_fail(failure, TANSY_ERR_TRUNCATED, "%s ends inside its header", file->path);
    }
    uint8_t *header = realloc(file->header, (size_t)needed);
    if (!header) return tansy_fail_memory(failure);
    file->header = header;
    file->header_nbytes = (size_t)needed;
    TANSY_TRY(tansy_model_file_read(file, 0, header, file->header_nbytes, failure));
    enum tansy_status status = tansy_header_size(header, file->header_nbytes, &needed);
    if (status == TANSY_OK) {
      file->header_nbytes = (size_t)needed;
      return TANSY_OK;
    }
    if (status != TANSY_ERR_TRUNCATED || needed <= file->header_nbytes)
      return tansy_fail(failure, status, "%s is not a usable .tansy file (%s)", file->path,
                        status == TANSY_ERR_VERSION ? "written by a newer version" : "its header is damaged or of another format");
  }
}

enum tansy_status tansy_model_file_open(const char *path, struct tansy_model_file *out, struct tansy_failure *failure) {
  struct stat info;
  *out = (struct tansy_model_file){.path = path, .fd = open(path, O_RDONLY)};
  if (out->fd < 0 || fstat(out->fd, &info) != 0) {
    enum tansy_status status = tansy_fail(failure, TANSY_ERR_IO, "%s: %s", path, strerror(errno));
    tansy_model_file_close(out);
    return status;
  }
  out->file_nbytes = info.st_size > 0 ? (uint64_t)info.st_size : 0;
  enum tansy_status status = read_header(out, failure);
  if (status != TANSY_OK) tansy_model_file_close(out);
  return status;
}

void tansy_model_file_close(struct tansy_model_file *file) {
  if (file->fd >= 0) close(file->fd);
  free(file->header);
  *file = (struct tansy_model_file){.fd = -1};
}

static enum tansy_status fail_detail(const struct tansy_model_file *file, const struct tansy_detail *d, enum tansy_status status,
                                     struct tansy_failure *failure) {
  if (d->tensor == TANSY_NO_TENSOR) return tansy_fail(failure, status, "%s: cannot be loaded", file->path);
  return tansy_fail(failure, status, "%s: tensor %u (role %u, layer %u) is damaged or does not fit the model", file->path, d->tensor, d->role, d->layer);
}

static enum tansy_status load_chunks(const struct tansy_model_file *file, struct tansy_engine *engine, struct tansy_failure *failure) {
  for (uint32_t i = 0; i < tansy_engine_n_chunks(engine); i++) {
    void *to = tansy_chunk_begin(engine, i);
    if (!to) return tansy_fail(failure, TANSY_ERR_NOT_READY, "%s: no room for chunk %u", file->path, i);
    TANSY_TRY(tansy_model_file_read(file, tansy_chunk_offset(engine, i), to, tansy_chunk_nbytes(engine, i), failure));
    enum tansy_status status = tansy_chunk_end(engine, i);
    if (status == TANSY_ERR_CHECKSUM)
      return tansy_fail(failure, status, "%s: bytes from %llu on are damaged (checksum)", file->path,
                        (unsigned long long)tansy_chunk_offset(engine, i));
    if (status != TANSY_OK) return fail_detail(file, tansy_engine_detail(engine), status, failure);
  }
  return TANSY_OK;
}

enum tansy_status tansy_model_file_load(const struct tansy_model_file *file, const struct tansy_options *options, void **arena,
                                        struct tansy_engine **engine, struct tansy_plan *plan, struct tansy_failure *failure) {
  *arena = NULL;
  size_t work_nbytes = tansy_plan_work_nbytes(file->header, file->header_nbytes);
  void *work = malloc(work_nbytes + 1);
  if (!work) return tansy_fail_memory(failure);
  enum tansy_status status = tansy_plan_make(file->header, file->header_nbytes, options, work, work_nbytes, plan);
  free(work);
  if (status != TANSY_OK) return fail_detail(file, &plan->detail, status, failure);
  size_t arena_nbytes = ((size_t)plan->arena_nbytes + 63) & ~(size_t)63;
  *arena = aligned_alloc(64, arena_nbytes);
  if (!*arena) return tansy_fail_memory(failure);
  status = tansy_engine_create(file->header, file->header_nbytes, options, *arena, arena_nbytes, engine);
  if (status != TANSY_OK) return fail_detail(file, tansy_engine_detail(*arena), status, failure);
  return load_chunks(file, *engine, failure);
}
