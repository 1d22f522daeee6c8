/* container.c: see container.h. The order of checks: shell, magic, version, checksum, then every record in file order. */
#include "format/container.h"

#include "format/checksum.h"

static const uint8_t magic[8] = {'T', 'A', 'N', 'S', 'Y', 'I', 'D', 'X'};

/* Shell and the fixed part of the index: where the index begins and how long it is. */
static enum tansy_status read_front(const void *front, size_t n, uint64_t *needed, uint64_t *index_at) {
  struct tansy_cursor c = tansy_cursor_over(front, n);
  *needed = 16;
  if (n < 16) return TANSY_ERR_TRUNCATED;
  uint64_t json_nbytes = tansy_read_u64(&c);
  if (json_nbytes < 2 || json_nbytes > TANSY_MAX_HEADER_NBYTES || c.at[0] != '{') return TANSY_ERR_NOT_TANSY;
  *index_at = 8 + json_nbytes;
  *needed = *index_at + TANSY_INDEX_FIXED_NBYTES;
  if (n < *needed) return TANSY_ERR_TRUNCATED;
  tansy_read_bytes(&c, (size_t)json_nbytes);
  if (memcmp(tansy_read_bytes(&c, 8), magic, 8) != 0) return TANSY_ERR_NOT_TANSY;
  uint32_t version = tansy_read_u32(&c);
  uint32_t index_nbytes = tansy_read_u32(&c);
  if (version == 0) return TANSY_ERR_CORRUPT;
  if (version > TANSY_FORMAT_VERSION) return TANSY_ERR_VERSION;
  if (index_nbytes < TANSY_INDEX_FIXED_NBYTES + 4 || index_nbytes > TANSY_MAX_HEADER_NBYTES) return TANSY_ERR_CORRUPT;
  *needed = *index_at + index_nbytes;
  return n < *needed ? TANSY_ERR_TRUNCATED : TANSY_OK;
}

enum tansy_status tansy_container_header_size(const void *front, size_t n, uint64_t *needed) {
  uint64_t index_at;
  return read_front(front, n, needed, &index_at);
}

uint32_t tansy_row_scale_nbytes(uint32_t row_scale, uint32_t n_rows) {
  switch (row_scale) {
    case 1: return 4 + (n_rows + 1) / 2;
    case 2: return 4 + n_rows * 2;
    default: return 4;
  }
}

/* a varint that must fit u32; more fails the cursor */
static uint32_t read_varint32(struct tansy_cursor *c) {
  uint64_t v = tansy_read_varint(c);
  if (v > UINT32_MAX) c->failed = true;
  return (uint32_t)v;
}

static void read_attachment(struct tansy_index_walk *w, struct tansy_record_attachment *a) {
  a->name_nbytes = read_varint32(&w->c);
  a->name = tansy_read_bytes(&w->c, a->name_nbytes);
  a->encoding = tansy_read_u8(&w->c);
  a->nbytes = read_varint32(&w->c);
  a->raw_nbytes = read_varint32(&w->c);
  a->offset = w->offset;
  w->offset += a->nbytes;
}

static bool same_bytes(const uint8_t *a, const uint8_t *b, uint32_t n) {
  while (n > 0 && *a == *b) a++, b++, n--;
  return n == 0;
}

/* whether the name of attachment `n` is that of one before it; `w` stands before the first */
static bool is_name_taken(struct tansy_index_walk w, uint32_t n, const struct tansy_record_attachment *named) {
  struct tansy_record_attachment a;
  for (uint32_t i = 0; i < n; i++) {
    read_attachment(&w, &a);
    if (a.name_nbytes == named->name_nbytes && same_bytes(a.name, named->name, a.name_nbytes)) return true;
  }
  return false;
}

static void read_tensor(struct tansy_index_walk *w, struct tansy_record *r) {
  *r = (struct tansy_record){.offset = w->offset};
  r->role = tansy_read_u8(&w->c);
  r->layer = read_varint32(&w->c);
  r->kind = tansy_read_u8(&w->c);
  r->n_rows = read_varint32(&w->c);
  r->n_cols = read_varint32(&w->c);
  r->nbytes = read_varint32(&w->c);
  if (r->kind == TANSY_KIND_CODED) {
    r->shape.n_rows = r->n_rows;
    r->shape.n_cols = r->n_cols;
    r->shape.raw_bits = tansy_read_u8(&w->c);
    r->shape.n_tables = read_varint32(&w->c);
    r->shape.tile_n_rows = read_varint32(&w->c);
    r->shape.n_escapes = read_varint32(&w->c);
    r->shape.head_nbytes = read_varint32(&w->c);
    r->row_scale = tansy_read_u8(&w->c);
  }
  w->offset += r->nbytes;
}

static enum tansy_status check_tensor(const struct tansy_record *r) {
  if (r->kind > TANSY_KIND_CODED) return TANSY_ERR_UNSUPPORTED;
  if (r->n_rows == 0 || r->n_cols == 0) return TANSY_ERR_CORRUPT;
  if (r->n_rows > TANSY_MAX_DIM || r->n_cols > TANSY_MAX_DIM) return TANSY_ERR_UNSUPPORTED;
  if (r->kind != TANSY_KIND_CODED) {
    return r->n_rows == 1 && r->nbytes == tansy_vector_nbytes(r->kind, r->n_cols) ? TANSY_OK : TANSY_ERR_CORRUPT;
  }
  const struct tansy_coded_shape *s = &r->shape;
  if (r->n_cols > TANSY_MAX_COLS || s->raw_bits > TANSY_MAX_RAW_BITS || r->row_scale > 2) return TANSY_ERR_UNSUPPORTED;
  if (s->n_tables == 0 || s->n_tables > TANSY_MAX_TABLES) return TANSY_ERR_CORRUPT;
  if (s->tile_n_rows == 0 || s->tile_n_rows % TANSY_GROUP_N_ROWS != 0 || s->tile_n_rows > TANSY_MAX_DIM) return TANSY_ERR_CORRUPT;
  if (s->n_escapes > (uint64_t)r->n_rows * r->n_cols) return TANSY_ERR_CORRUPT;
  /* an escape takes at least a bit of the head */
  if (s->n_escapes > (uint64_t)s->head_nbytes * 8) return TANSY_ERR_CORRUPT;
  if ((uint64_t)tansy_record_prefix_nbytes(r) + s->head_nbytes > r->nbytes) return TANSY_ERR_CORRUPT;
  return TANSY_OK;
}

enum tansy_status tansy_index_open(const void *header, size_t header_nbytes, struct tansy_index *index, uint32_t *failed_tensor) {
  uint64_t needed, index_at;
  *failed_tensor = UINT32_MAX;
  TANSY_TRY(read_front(header, header_nbytes, &needed, &index_at));

  const uint8_t *begin = (const uint8_t *)header + index_at;
  uint32_t index_nbytes = (uint32_t)(needed - index_at);
  struct tansy_cursor end = tansy_cursor_over(begin + index_nbytes - 4, 4);
  if (tansy_crc32_small(begin, index_nbytes - 4) != tansy_read_u32(&end)) return TANSY_ERR_CORRUPT;

  struct tansy_index_walk w = {.c = tansy_cursor_over(begin, index_nbytes - 4)};
  tansy_read_bytes(&w.c, 16); /* magic, version, index_nbytes: read_front has seen them */
  uint64_t data_nbytes = tansy_read_u64(&w.c);
  uint32_t chunk_log2 = tansy_read_u8(&w.c);
  if (data_nbytes < index_nbytes || data_nbytes > (uint64_t)1 << 40) return TANSY_ERR_CORRUPT;
  if (chunk_log2 < TANSY_MIN_CHUNK_LOG2 || chunk_log2 > TANSY_MAX_CHUNK_LOG2) return TANSY_ERR_CORRUPT;
  *index = (struct tansy_index){
      .header = header,
      .payload_offset = index_at + index_nbytes,
      .payload_nbytes = data_nbytes - index_nbytes,
      .chunk_log2 = chunk_log2,
  };
  index->n_chunks = (uint32_t)((index->payload_nbytes + ((uint64_t)1 << chunk_log2) - 1) >> chunk_log2);

  index->n_config = read_varint32(&w.c);
  index->config = w.c.at;
  uint64_t last_key = 0;
  for (uint32_t i = 0; i < index->n_config && !w.c.failed; i++) {
    uint64_t key = tansy_read_varint(&w.c);
    tansy_read_u32(&w.c);
    if (key <= last_key) return TANSY_ERR_CORRUPT; /* ascending; 0 is no key */
    last_key = key;
  }

  index->n_attachments = read_varint32(&w.c);
  index->attachments = w.c.at;
  if (index->n_attachments > TANSY_MAX_ATTACHMENTS) return TANSY_ERR_UNSUPPORTED;
  const struct tansy_index_walk first = w;
  for (uint32_t i = 0; i < index->n_attachments && !w.c.failed; i++) {
    struct tansy_record_attachment a;
    read_attachment(&w, &a);
    if (a.encoding > 1) return TANSY_ERR_UNSUPPORTED;
    if (a.encoding == 0 && a.raw_nbytes != a.nbytes) return TANSY_ERR_CORRUPT;
    if (w.c.failed) break;
    if (a.name_nbytes > TANSY_MAX_NAME_NBYTES) return TANSY_ERR_UNSUPPORTED;
    if (is_name_taken(first, i, &a)) return TANSY_ERR_CORRUPT;
  }

  index->n_tensors = read_varint32(&w.c);
  index->tensors = w.c.at;
  if (index->n_tensors > TANSY_MAX_TENSORS) return TANSY_ERR_UNSUPPORTED;
  for (uint32_t i = 0; i < index->n_tensors && !w.c.failed; i++) {
    struct tansy_record r;
    *failed_tensor = i;
    read_tensor(&w, &r);
    if (!w.c.failed) TANSY_TRY(check_tensor(&r));
  }
  *failed_tensor = UINT32_MAX;
  if (w.c.failed || w.offset != index->payload_nbytes) return TANSY_ERR_CORRUPT;
  index->chunk_crcs = w.c.at;
  return tansy_cursor_left(&w.c) == (uint64_t)index->n_chunks * 4 ? TANSY_OK : TANSY_ERR_CORRUPT;
}

/* the index was checked as a whole: a cursor to its end cannot fail */
static struct tansy_index_walk walk_from(const struct tansy_index *index, const uint8_t *at) {
  return (struct tansy_index_walk){.c = {at, index->chunk_crcs, false}};
}

struct tansy_index_walk tansy_index_config_walk(const struct tansy_index *index) { return walk_from(index, index->config); }
void tansy_index_next_config(struct tansy_index_walk *walk, uint64_t *key, uint32_t *value) {
  *key = tansy_read_varint(&walk->c);
  *value = tansy_read_u32(&walk->c);
}

struct tansy_index_walk tansy_index_attachment_walk(const struct tansy_index *index) { return walk_from(index, index->attachments); }
void tansy_index_next_attachment(struct tansy_index_walk *walk, struct tansy_record_attachment *out) { read_attachment(walk, out); }

struct tansy_index_walk tansy_index_tensor_walk(const struct tansy_index *index) {
  struct tansy_index_walk walk = tansy_index_attachment_walk(index);
  struct tansy_record_attachment a;
  for (uint32_t i = 0; i < index->n_attachments; i++) read_attachment(&walk, &a);
  walk.c.at = index->tensors;
  return walk;
}
void tansy_index_next_tensor(struct tansy_index_walk *walk, struct tansy_record *out) { read_tensor(walk, out); }
