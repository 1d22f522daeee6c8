/* parts.c: see parts.h. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "pack/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t tansy_hash(uint64_t h, const void *bytes, size_t n) {
  const uint8_t *at = bytes;
  for (size_t i = 0; i < n; i++) h = (h ^ at[i]) * 0x100000001B3ull; /* FNV-1a */
  return h;
}

enum tansy_status tansy_parts_init(struct tansy_parts *p, const char *out, struct tansy_failure *failure) {
  size_t n = strlen(out) + sizeof ".parts";
  *p = (struct tansy_parts){.path = malloc(n), .hash = TANSY_HASH_BEGIN};
  if (!p->path) return tansy_fail_memory(failure);
  snprintf(p->path, n, "%s.parts", out);
  return TANSY_OK;
}

void tansy_parts_free(struct tansy_parts *p, bool keep) {
  if (p->file) {
    fclose(p->file);
    if (!keep) remove(p->path);
  }
  free(p->path);
  *p = (struct tansy_parts){0};
}

enum tansy_status tansy_parts_put(struct tansy_parts *p, const uint8_t *bytes, size_t n, uint64_t *at, struct tansy_failure *failure) {
  if (!p->file) p->file = fopen(p->path, "wb+");
  if (!p->file || fseeko(p->file, (off_t)p->nbytes, SEEK_SET) != 0 || fwrite(bytes, 1, n, p->file) != n)
    return tansy_fail(failure, TANSY_ERR_IO, "%s: %s", p->path, strerror(errno));
  *at = p->nbytes;
  p->nbytes += n;
  p->hash = tansy_hash(p->hash, bytes, n);
  return TANSY_OK;
}

bool tansy_parts_get(const struct tansy_parts *p, uint64_t at, uint8_t *bytes, size_t n) {
  return p->file && fseeko(p->file, (off_t)at, SEEK_SET) == 0 && fread(bytes, 1, n, p->file) == n;
}

bool tansy_parts_sync(const struct tansy_parts *p) { return !p->file || (fflush(p->file) == 0 && fsync(fileno(p->file)) == 0); }

void tansy_parts_clear(struct tansy_parts *p) {
  p->nbytes = 0;
  p->hash = TANSY_HASH_BEGIN;
}

bool tansy_parts_take_up(struct tansy_parts *p, uint64_t nbytes, uint64_t hash) {
  uint8_t bytes[1 << 14];
  if (nbytes == 0) return true;
  if (!p->path || !(p->file = fopen(p->path, "rb+"))) return false;
  tansy_parts_clear(p);
  while (p->nbytes < nbytes) {
    size_t n = nbytes - p->nbytes < sizeof bytes ? (size_t)(nbytes - p->nbytes) : sizeof bytes;
    if (fread(bytes, 1, n, p->file) != n) break;
    p->nbytes += n;
    p->hash = tansy_hash(p->hash, bytes, n);
  }
  if (p->nbytes == nbytes && p->hash == hash) return true;
  tansy_parts_clear(p);
  return false;
}
