/* writer.c: see writer.h. The payload never exists in one piece: its checksums are taken, and it is written, chunk by chunk. */
#include "pack/writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/checksum.h"
#include "pack/checkpoint.h"
#include "pack/files.h"

enum { CHUNK_LOG2 = 18 };

struct tansy_blob *tansy_writer_add(struct tansy_writer *w, uint32_t role, uint32_t layer, enum tansy_tensor_kind kind, uint32_t n_rows,
                                      uint32_t n_cols) {
  if (w->n_blobs == w->capacity) {
    uint32_t capacity = w->capacity ? w->capacity * 2 : 64;
    struct tansy_blob *blobs = realloc(w->blobs, capacity * sizeof *blobs);
    if (!blobs) return NULL;
    w->blobs = blobs;
    w->capacity = capacity;
  }
  struct tansy_blob *r = &w->blobs[w->n_blobs++];
  *r = (struct tansy_blob){.role = (uint8_t)role, .kind = (uint8_t)kind, .layer = (uint16_t)layer, .n_rows = n_rows, .n_cols = n_cols};
  return r;
}

void tansy_writer_clear(struct tansy_writer *w) {
  for (uint32_t i = 0; i < w->n_blobs; i++) tansy_buffer_free(&w->blobs[i].stored);
  w->n_blobs = 0;
  if (w->parts) tansy_parts_clear(w->parts);
}

void tansy_writer_free(struct tansy_writer *w) {
  for (uint32_t i = 0; i < w->n_blobs; i++) tansy_buffer_free(&w->blobs[i].stored);
  for (uint32_t i = 0; i < w->n_attachments; i++) free(w->attachments[i].bytes);
  free(w->blobs);
  free(w->attachments);
  *w = (struct tansy_writer){0};
}

/* ---- tensors out of memory ---- */

enum tansy_status tansy_writer_settle(struct tansy_writer *w, struct tansy_failure *failure) {
  uint64_t in_memory = 0;
  for (uint32_t i = 0; i < w->n_blobs; i++) in_memory += w->blobs[i].stored.nbytes;
  if (!w->parts || in_memory <= w->max_memory_nbytes) return TANSY_OK;
  for (uint32_t i = 0; i < w->n_blobs; i++) {
    struct tansy_blob *b = &w->blobs[i];
    if (!b->stored.nbytes) continue;
    TANSY_TRY(tansy_parts_put(w->parts, b->stored.bytes, b->stored.nbytes, &b->part_at, failure));
    b->part_nbytes = b->stored.nbytes;
    tansy_buffer_free(&b->stored);
  }
  return TANSY_OK;
}

/* ---- the payload as a sequence of blocks: attachments, then tensors ---- */

static uint32_t n_blocks(const struct tansy_writer *w) { return w->n_attachments + w->n_blobs; }
static uint64_t block_nbytes(const struct tansy_writer *w, uint32_t i) {
  return i < w->n_attachments ? w->attachments[i].nbytes : tansy_blob_nbytes(&w->blobs[i - w->n_attachments]);
}
static uint64_t payload_nbytes(const struct tansy_writer *w) {
  uint64_t n = 0;
  for (uint32_t i = 0; i < n_blocks(w); i++) n += block_nbytes(w, i);
  return n;
}

/* how far it has been read */
struct payload {
  const struct tansy_writer *w;
  uint32_t block;
  uint64_t done; /* bytes of the block */
  bool failed;
};

/* the next bytes, n where there are so many */
static size_t payload_read(struct payload *p, uint8_t *out, size_t n) {
  size_t filled = 0;
  while (filled < n && p->block < n_blocks(p->w) && !p->failed) {
    uint64_t left = block_nbytes(p->w, p->block) - p->done;
    size_t some = left < n - filled ? (size_t)left : n - filled;
    const struct tansy_blob *b = p->block < p->w->n_attachments ? NULL : &p->w->blobs[p->block - p->w->n_attachments];
    const uint8_t *bytes = b ? b->stored.bytes : p->w->attachments[p->block].bytes;
    if (b && b->part_nbytes)
      p->failed = !tansy_parts_get(p->w->parts, b->part_at + p->done, out + filled, some);
    else if (some)
      memcpy(out + filled, bytes + p->done, some);
    filled += some;
    p->done += some;
    if (some == left) p->block++, p->done = 0;
  }
  return filled;
}

enum { CHUNK_NBYTES = 1 << CHUNK_LOG2 };

/* made: whether their values matter, or only how many there are. False when the payload cannot be read. */
static bool put_chunk_checksums(const struct tansy_writer *w, bool made, struct tansy_buffer *out) {
  uint64_t n = (payload_nbytes(w) + CHUNK_NBYTES - 1) / CHUNK_NBYTES;
  struct tansy_crc32_tables tables;
  struct payload p = {.w = w};
  uint8_t *chunk = malloc(CHUNK_NBYTES);
  tansy_crc32_init(&tables);
  for (uint64_t i = 0; i < n && chunk; i++) tansy_put_u32(out, made ? tansy_crc32(&tables, chunk, payload_read(&p, chunk, CHUNK_NBYTES)) : 0);
  if (!chunk) out->failed = true;
  free(chunk);
  return !p.failed;
}

/* ---- index ---- */

static void put_config(const struct tansy_config *config, struct tansy_buffer *out) {
  struct tansy_config standard = tansy_config_default();
  uint32_t n = 0, value, normal;
  struct tansy_buffer pairs = {0};
  for (uint64_t key = 1; key < 256; key++) {
    if (!tansy_config_get(config, key, &value)) continue;
    if (tansy_config_get(&standard, key, &normal) && normal == value) continue;
    tansy_put_varint(&pairs, key);
    tansy_put_u32(&pairs, value);
    n++;
  }
  tansy_put_varint(out, n);
  tansy_put_bytes(out, pairs.bytes, pairs.nbytes);
  if (pairs.failed) out->failed = true;
  tansy_buffer_free(&pairs);
}

static void put_attachment(const struct tansy_attachment_file *a, struct tansy_buffer *out) {
  tansy_put_varint(out, strlen(a->name));
  tansy_put_bytes(out, a->name, strlen(a->name));
  tansy_put_u8(out, a->encoding);
  tansy_put_varint(out, a->nbytes);
  tansy_put_varint(out, a->raw_nbytes);
}

static void put_tensor(const struct tansy_blob *r, struct tansy_buffer *out) {
  tansy_put_u8(out, r->role);
  tansy_put_varint(out, r->layer);
  tansy_put_u8(out, r->kind);
  tansy_put_varint(out, r->n_rows);
  tansy_put_varint(out, r->n_cols);
  tansy_put_varint(out, tansy_blob_nbytes(r));
  if (r->kind != TANSY_KIND_CODED) return;
  tansy_put_u8(out, (uint8_t)r->shape.raw_bits);
  tansy_put_varint(out, r->shape.n_tables);
  tansy_put_varint(out, r->shape.tile_n_rows);
  tansy_put_varint(out, r->shape.n_escapes);
  tansy_put_varint(out, r->shape.head_nbytes);
  tansy_put_u8(out, r->row_scale);
}

static bool put_index(const struct tansy_writer *w, bool made, struct tansy_buffer *out) {
  tansy_put_bytes(out, "TANSYIDX", 8);
  tansy_put_u32(out, 1);
  size_t sizes_at = out->nbytes;
  tansy_put_u32(out, 0); /* index_nbytes and data_nbytes: known at the end */
  tansy_put_u64(out, 0);
  tansy_put_u8(out, CHUNK_LOG2);
  put_config(&w->config, out);
  tansy_put_varint(out, w->n_attachments);
  for (uint32_t i = 0; i < w->n_attachments; i++) put_attachment(&w->attachments[i], out);
  tansy_put_varint(out, w->n_blobs);
  for (uint32_t i = 0; i < w->n_blobs; i++) {
    put_tensor(&w->blobs[i], out);
    if (w->blobs[i].stored.failed) out->failed = true;
  }
  bool is_read = put_chunk_checksums(w, made, out);
  if (out->failed) return is_read;
  uint64_t index_nbytes = out->nbytes + 4, data_nbytes = index_nbytes + payload_nbytes(w);
  for (int i = 0; i < 4; i++) out->bytes[sizes_at + (size_t)i] = (uint8_t)(index_nbytes >> (8 * i));
  for (int i = 0; i < 8; i++) out->bytes[sizes_at + 4 + (size_t)i] = (uint8_t)(data_nbytes >> (8 * i));
  tansy_put_u32(out, tansy_crc32_small(out->bytes, out->nbytes));
  return is_read;
}

/* ---- shell ---- */

static void put_text(struct tansy_buffer *out, const char *text) { tansy_put_bytes(out, text, strlen(text)); }

/* one entry of the shell; *offset moves past it */
static void put_section(struct tansy_buffer *out, const char *name, uint64_t nbytes, uint64_t *offset) {
  char line[160];
  put_text(out, ",\"");
  for (const char *c = name; *c; c++) {
    if (*c == '"' || *c == '\\') tansy_put_u8(out, '\\');
    tansy_put_u8(out, (uint8_t)*c);
  }
  snprintf(line, sizeof line, "\":{\"dtype\":\"U8\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]}", (unsigned long long)nbytes,
           (unsigned long long)*offset, (unsigned long long)(*offset + nbytes));
  put_text(out, line);
  *offset += nbytes;
}

static void section_name(const struct tansy_blob *r, char *out, size_t capacity) {
  int section = tansy_role_section(r->role);
  if (section == 1)
    snprintf(out, capacity, "layer.%u", r->layer);
  else
    snprintf(out, capacity, "%s", section == 0 ? "embed" : "final");
}

static void put_shell(const struct tansy_writer *w, uint64_t index_nbytes, struct tansy_buffer *out) {
  struct tansy_buffer json = {0};
  uint64_t offset = 0;
  put_text(&json, "{\"__metadata__\":{\"format\":\"tansy\"}");
  put_section(&json, "tansy.index", index_nbytes, &offset);
  for (uint32_t i = 0; i < w->n_attachments; i++) put_section(&json, w->attachments[i].name, w->attachments[i].nbytes, &offset);
  for (uint32_t i = 0; i < w->n_blobs;) {
    char name[32], next[32];
    uint64_t nbytes = 0;
    section_name(&w->blobs[i], name, sizeof name);
    do {
      nbytes += tansy_blob_nbytes(&w->blobs[i++]);
      if (i < w->n_blobs) section_name(&w->blobs[i], next, sizeof next);
    } while (i < w->n_blobs && strcmp(name, next) == 0);
    put_section(&json, name, nbytes, &offset);
  }
  put_text(&json, "}");
  tansy_put_u64(out, json.nbytes);
  tansy_put_bytes(out, json.bytes, json.nbytes);
  if (json.failed) out->failed = true;
  tansy_buffer_free(&json);
}

/* made: with the checksums, not only as long as with them */
static enum tansy_status make_front(const struct tansy_writer *w, bool made, struct tansy_buffer *front, struct tansy_failure *failure) {
  struct tansy_buffer index = {0};
  bool is_read = put_index(w, made, &index);
  put_shell(w, index.nbytes, front);
  tansy_put_bytes(front, index.bytes, index.nbytes);
  bool failed = index.failed || front->failed;
  tansy_buffer_free(&index);
  if (!is_read) return tansy_fail(failure, TANSY_ERR_IO, "%s cannot be read again", w->parts->path);
  return failed ? tansy_fail_memory(failure) : TANSY_OK;
}

enum tansy_status tansy_writer_sizes(const struct tansy_writer *w, struct tansy_file_sizes *sizes, struct tansy_failure *failure) {
  struct tansy_buffer with = {0}, without = {0};
  struct tansy_writer bare = *w;
  bare.n_attachments = 0;
  enum tansy_status status = make_front(w, false, &with, failure);
  if (status == TANSY_OK) status = make_front(&bare, false, &without, failure);
  sizes->tensor_nbytes = payload_nbytes(&bare);
  sizes->file_nbytes = with.nbytes + payload_nbytes(w);
  sizes->index_nbytes = without.nbytes;
  sizes->attachment_nbytes = sizes->file_nbytes - sizes->tensor_nbytes - sizes->index_nbytes;
  tansy_buffer_free(&with);
  tansy_buffer_free(&without);
  return status;
}

enum tansy_status tansy_writer_write(const struct tansy_writer *w, const char *path, struct tansy_file_sizes *sizes,
                                     struct tansy_failure *failure) {
  struct tansy_new_file file;
  struct tansy_buffer front = {0};
  TANSY_TRY(tansy_writer_sizes(w, sizes, failure));
  enum tansy_status status = make_front(w, true, &front, failure);
  if (status == TANSY_OK) status = tansy_new_file_open(path, &file, failure);
  if (status == TANSY_OK) {
    bool failed = fwrite(front.bytes, 1, front.nbytes, file.file) != front.nbytes;
    struct payload p = {.w = w};
    uint8_t bytes[1 << 14];
    for (size_t n; !failed && (n = payload_read(&p, bytes, sizeof bytes)) > 0;) failed = p.failed || fwrite(bytes, 1, n, file.file) != n;
    if (failed) {
      status = tansy_fail(failure, TANSY_ERR_IO, "%s: writing %llu bytes failed (%s); nothing is left of it", path, (unsigned long long)sizes->file_nbytes,
                          strerror(errno));
      tansy_new_file_abandon(&file);
    } else {
      status = tansy_new_file_commit(&file, failure);
    }
  }
  tansy_buffer_free(&front);
  return status;
}
