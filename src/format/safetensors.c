/* safetensors.c: see safetensors.h. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "format/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"

static bool read_at(int fd, uint64_t offset, void *out, size_t n) {
  uint8_t *at = out;
  while (n > 0) {
    ssize_t got = pread(fd, at, n < (1 << 30) ? n : (1 << 30), (off_t)offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    at += got;
    offset += (uint64_t)got;
    n -= (size_t)got;
  }
  return true;
}

/* what a list of entries is about */
struct listing {
  const struct tansy_json *json;
  uint64_t data_begin, file_nbytes; /* bound the offsets */
  bool table;
};

/* bytes that the values of a known type take; false when the last dimension cuts a block */
static bool stored_nbytes(const struct tansy_safetensors_entry *e, uint64_t *nbytes) {
  struct tansy_block_shape shape = tansy_block_shape(e->dtype);
  uint64_t n_cols = e->n_dims ? e->shape[e->n_dims - 1] : 1;
  *nbytes = e->n_values / shape.n_values * shape.nbytes;
  return n_cols % shape.n_values == 0;
}

static enum tansy_status parse_entry(const struct listing *list, tansy_json_ref value, struct tansy_safetensors_entry *e) {
  const struct tansy_json *json = list->json;
  if (!tansy_json_string(json, tansy_json_get(json, value, "dtype"), e->dtype_name, sizeof e->dtype_name)) return TANSY_ERR_CORRUPT;
  e->dtype = tansy_dtype_of(e->dtype_name);
  if (!list->table && e->dtype > TANSY_DTYPE_BF16) e->dtype = TANSY_DTYPE_OTHER; /* safetensors has no such types */
  tansy_json_ref shape = tansy_json_get(json, value, "shape");
  if (tansy_json_kind_of(json, shape) != TANSY_JSON_ARRAY) return TANSY_ERR_CORRUPT;
  e->n_dims = tansy_json_n_children(json, shape);
  e->n_values = 1;
  uint32_t dim = 0;
  for (tansy_json_ref d = tansy_json_first(json, shape); d >= 0; d = tansy_json_next(json, shape, d)) {
    uint64_t size;
    if (!tansy_json_uint(json, d, &size)) return TANSY_ERR_CORRUPT;
    if (size != 0 && e->n_values > UINT64_MAX / 8 / size) return TANSY_ERR_CORRUPT;
    e->n_values *= size;
    if (dim < TANSY_SAFETENSORS_MAX_DIMS) e->shape[dim++] = size;
  }
  if (e->n_dims > TANSY_SAFETENSORS_MAX_DIMS) e->dtype = TANSY_DTYPE_OTHER;
  tansy_json_ref offsets = tansy_json_get(json, value, "data_offsets");
  tansy_json_ref first = tansy_json_first(json, offsets), second = tansy_json_next(json, offsets, first);
  uint64_t begin, end;
  if (!tansy_json_uint(json, first, &begin) || !tansy_json_uint(json, second, &end) || begin > end) return TANSY_ERR_CORRUPT;
  if (end > list->file_nbytes - list->data_begin) return TANSY_ERR_TRUNCATED;
  e->offset = list->data_begin + begin;
  e->nbytes = end - begin;
  uint64_t wanted;
  if (e->dtype != TANSY_DTYPE_OTHER && (!stored_nbytes(e, &wanted) || wanted != e->nbytes)) return TANSY_ERR_CORRUPT;
  tansy_json_ref interleaved = tansy_json_get(json, value, "interleaved");
  if (list->table && interleaved >= 0) {
    uint64_t rows;
    if (!tansy_json_uint(json, interleaved, &rows) || rows < 2 || rows > 1 << 16 || rows % 2 || e->n_dims < 1 || e->shape[0] % rows)
      return TANSY_ERR_CORRUPT;
    e->interleaved = (uint32_t)rows;
  }
  return TANSY_OK;
}

static int compare_names(const void *a, const void *b) {
  return strcmp((*(const struct tansy_safetensors_entry *const *)a)->name, (*(const struct tansy_safetensors_entry *const *)b)->name);
}
static int compare_offsets(const void *a, const void *b) {
  const struct tansy_safetensors_entry *x = *(const struct tansy_safetensors_entry *const *)a, *y = *(const struct tansy_safetensors_entry *const *)b;
  return (x->offset > y->offset) - (x->offset < y->offset);
}

/* no name twice, no byte in two tensors */
static enum tansy_status check_entries(const struct tansy_safetensors *st, char *what, size_t what_capacity) {
  const struct tansy_safetensors_entry **sorted = malloc((st->n_entries + 1u) * sizeof *sorted);
  if (!sorted) return TANSY_ERR_NO_MEMORY;
  enum tansy_status status = TANSY_OK;
  for (uint32_t i = 0; i < st->n_entries; i++) sorted[i] = &st->entries[i];
  qsort(sorted, st->n_entries, sizeof *sorted, compare_names);
  for (uint32_t i = 1; i < st->n_entries && status == TANSY_OK; i++) {
    if (strcmp(sorted[i - 1]->name, sorted[i]->name) != 0) continue;
    snprintf(what, what_capacity, "tensor %.200s is there twice", sorted[i]->name);
    status = TANSY_ERR_CORRUPT;
  }
  qsort(sorted, st->n_entries, sizeof *sorted, compare_offsets);
  const struct tansy_safetensors_entry *last = NULL; /* with bytes */
  for (uint32_t i = 0; i < st->n_entries && status == TANSY_OK; i++) {
    if (sorted[i]->nbytes == 0) continue;
    if (last && last->offset + last->nbytes > sorted[i]->offset) {
      snprintf(what, what_capacity, "tensors %.120s and %.120s overlap", last->name, sorted[i]->name);
      status = TANSY_ERR_CORRUPT;
    }
    last = sorted[i];
  }
  free(sorted);
  return status;
}

/* entries of an object {name: entry}; a safetensors header's __metadata__ is none */
static enum tansy_status parse_entries(struct tansy_safetensors *st, const struct listing *list, tansy_json_ref object, char *what,
                                       size_t what_capacity) {
  const struct tansy_json *json = list->json;
  st->entries = calloc(tansy_json_n_children(json, object) + 1u, sizeof *st->entries);
  if (!st->entries) return TANSY_ERR_NO_MEMORY;
  for (tansy_json_ref key = tansy_json_first(json, object); key >= 0;) {
    tansy_json_ref value = (tansy_json_ref)json->values[key].next;
    char name[512];
    if (!tansy_json_string(json, key, name, sizeof name)) {
      snprintf(what, what_capacity, "a tensor name is too long");
      return TANSY_ERR_CORRUPT;
    }
    if (strcmp(name, "__metadata__") != 0) {
      struct tansy_safetensors_entry *e = &st->entries[st->n_entries++];
      e->name = malloc(strlen(name) + 1);
      if (!e->name) return TANSY_ERR_NO_MEMORY;
      strcpy(e->name, name);
      enum tansy_status status = parse_entry(list, value, e);
      if (status != TANSY_OK) {
        snprintf(what, what_capacity, "tensor %.200s %s", name,
                 status == TANSY_ERR_TRUNCATED ? "ends beyond the end of the file" : "has a bad dtype, shape or data_offsets");
        return status;
      }
    }
    key = tansy_json_next(json, object, value);
  }
  return check_entries(st, what, what_capacity);
}

static enum tansy_status parse_header(struct tansy_safetensors *st, const char *text, size_t nbytes, uint64_t file_nbytes, char *what,
                                      size_t what_capacity) {
  struct tansy_json json;
  size_t error_at;
  enum tansy_status status = tansy_json_parse(text, nbytes, &json, &error_at);
  if (status == TANSY_ERR_NO_MEMORY) {
    snprintf(what, what_capacity, "out of memory");
  } else if (status != TANSY_OK || tansy_json_kind_of(&json, 0) != TANSY_JSON_OBJECT) {
    snprintf(what, what_capacity, "its header is not a JSON object");
    status = TANSY_ERR_NOT_CHECKPOINT;
  } else {
    struct listing list = {&json, 8 + (uint64_t)nbytes, file_nbytes, false};
    status = parse_entries(st, &list, 0, what, what_capacity);
  }
  tansy_json_free(&json);
  return status;
}

static enum tansy_status open_file(const char *path, struct tansy_safetensors *st, uint64_t *file_nbytes, char *what, size_t what_capacity) {
  struct stat info;
  st->fd = open(path, O_RDONLY);
  if (st->fd < 0 || fstat(st->fd, &info) != 0 || info.st_size < 0) {
    snprintf(what, what_capacity, "%s", strerror(errno));
    return TANSY_ERR_IO;
  }
  *file_nbytes = (uint64_t)info.st_size;
  return TANSY_OK;
}

static enum tansy_status open_with_header(const char *path, struct tansy_safetensors *st, char *what, size_t what_capacity) {
  uint8_t front[8];
  uint64_t file_nbytes;
  TANSY_TRY(open_file(path, st, &file_nbytes, what, what_capacity));
  if (file_nbytes < 8 || !read_at(st->fd, 0, front, 8)) {
    snprintf(what, what_capacity, "it is shorter than a safetensors header");
    return TANSY_ERR_NOT_CHECKPOINT;
  }
  struct tansy_cursor c = tansy_cursor_over(front, 8);
  uint64_t header_nbytes = tansy_read_u64(&c);
  if (header_nbytes > TANSY_SAFETENSORS_MAX_HEADER) {
    snprintf(what, what_capacity, "its first 8 bytes are no safetensors header size");
    return TANSY_ERR_NOT_CHECKPOINT;
  }
  if (header_nbytes > file_nbytes - 8) {
    snprintf(what, what_capacity, "it ends inside its header");
    return TANSY_ERR_TRUNCATED;
  }
  char *text = malloc((size_t)header_nbytes + 1);
  if (!text) return TANSY_ERR_NO_MEMORY;
  enum tansy_status status = TANSY_ERR_IO;
  if (read_at(st->fd, 8, text, (size_t)header_nbytes))
    status = parse_header(st, text, (size_t)header_nbytes, file_nbytes, what, what_capacity);
  else
    snprintf(what, what_capacity, "its header cannot be read");
  free(text);
  return status;
}

enum tansy_status tansy_safetensors_open(const char *path, struct tansy_safetensors *out, char *what, size_t what_capacity) {
  *out = (struct tansy_safetensors){.fd = -1};
  what[0] = '\0';
  enum tansy_status status = open_with_header(path, out, what, what_capacity);
  if (status != TANSY_OK) tansy_safetensors_close(out);
  return status;
}

enum tansy_status tansy_safetensors_open_table(const char *path, const struct tansy_json *json, tansy_json_ref entries,
                                               struct tansy_safetensors *out, char *what, size_t what_capacity) {
  *out = (struct tansy_safetensors){.fd = -1};
  what[0] = '\0';
  struct listing list = {.json = json, .table = true};
  enum tansy_status status = open_file(path, out, &list.file_nbytes, what, what_capacity);
  if (status == TANSY_OK) status = parse_entries(out, &list, entries, what, what_capacity);
  if (status != TANSY_OK) tansy_safetensors_close(out);
  return status;
}

void tansy_safetensors_close(struct tansy_safetensors *st) {
  if (st->fd >= 0) close(st->fd);
  for (uint32_t i = 0; i < st->n_entries; i++) free(st->entries[i].name);
  free(st->entries);
  *st = (struct tansy_safetensors){.fd = -1};
}

const struct tansy_safetensors_entry *tansy_safetensors_find(const struct tansy_safetensors *st, const char *name) {
  for (uint32_t i = 0; i < st->n_entries; i++)
    if (strcmp(st->entries[i].name, name) == 0) return &st->entries[i];
  return NULL;
}

enum tansy_status tansy_safetensors_read(const struct tansy_safetensors *st, const struct tansy_safetensors_entry *entry,
                                         uint64_t begin, uint64_t n, float *out) {
  if (entry->dtype == TANSY_DTYPE_OTHER || begin > entry->n_values || n > entry->n_values - begin) return TANSY_ERR_ARGUMENT;
  struct tansy_block_shape shape = tansy_block_shape(entry->dtype);
  uint8_t bytes[1 << 14];
  float first[TANSY_BLOCK_MAX_VALUES];
  while (n > 0) {
    uint64_t block = begin / shape.n_values;
    uint32_t skip = (uint32_t)(begin % shape.n_values);
    size_t count = sizeof bytes / shape.nbytes;
    bool part = skip || n < shape.n_values; /* of one block */
    if (part)
      count = 1;
    else if (count > n / shape.n_values)
      count = (size_t)(n / shape.n_values);
    if (!read_at(st->fd, entry->offset + block * shape.nbytes, bytes, count * shape.nbytes)) return TANSY_ERR_IO;
    size_t n_read = count * shape.n_values;
    if (part) {
      n_read -= skip;
      if (n_read > n) n_read = (size_t)n;
      tansy_blocks_to_f32(entry->dtype, bytes, 1, first);
      memcpy(out, first + skip, n_read * sizeof *out);
    } else {
      tansy_blocks_to_f32(entry->dtype, bytes, count, out);
    }
    out += n_read;
    begin += n_read;
    n -= n_read;
  }
  return TANSY_OK;
}
