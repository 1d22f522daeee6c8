/* make_malformed.c: broken files, each with the code it must give: make-malformed FOLDER writes FOLDER/NAME.tansy and FOLDER/table.txt.
 *
 * One sound file is taken apart into fields; a case changes some of them, and the file is put together again with right checksums
 * (where they are not the matter). The files and the table are committed; tests hold that this program makes the same, and that
 * every build gives every file its code (tests/native/test_malformed.c, tests/js/malformed.test.js). */
#include <stdarg.h>

#include "tiny_model.h"

enum { MAX_TENSORS = 40, MAX_CONFIG = 64, MAX_ATTACHED = 300, ALL = -1 };

struct record {
  uint64_t role, layer, kind, n_rows, n_cols, nbytes, raw_bits, n_tables, tile_n_rows, n_escapes, head_nbytes, row_scale;
  struct tansy_buffer blob;
};
struct attached {
  const char *name;
  uint64_t name_nbytes, encoding, nbytes, raw_nbytes;
};
struct parts {
  uint64_t json_nbytes; /* 0: as it is */
  uint32_t version, index_nbytes; /* 0: as it is */
  int64_t more_data_nbytes, data_nbytes; /* added; instead (ALL: as it is) */
  uint32_t chunk_log2;
  uint64_t n_config, n_attached, n_tensors; /* as stated */
  struct {
    uint64_t key;
    uint32_t value;
  } config[MAX_CONFIG];
  struct attached attached[MAX_ATTACHED];
  struct record tensors[MAX_TENSORS];
  int n_config_put, n_attached_put, n_tensors_put; /* as written */
  bool overlong_varint;    /* n_tensors in one byte more than it takes */
  bool wrong_index_crc, wrong_chunk_crc;
  const char *magic;
};

/* ---- a coded matrix by hand: two tiles of 4 x 16, one table, an escape in each tile ---- */
struct hand_made {
  uint8_t flags;
  uint64_t stated_tiles_nbytes; /* 0: as they are */
  uint8_t n_runs, symbols[16], freqs[16];
  uint32_t tile_offset;
  uint8_t gap_bits, magnitude_bits;
  uint64_t base[2];
  uint32_t escape_offset;
  uint32_t n_in_tile[2], gap[2], magnitude[2];
  uint32_t n_escapes; /* in the index */
  uint32_t tile_nbytes;
  uint32_t cut; /* bytes missing at the head's end */
  float scale;
};

static struct hand_made hand_made(void) {
  return (struct hand_made){.n_runs = 3, .symbols = {7, 8, 9}, .freqs = {64, 128}, .tile_offset = 48, .gap_bits = 6, .magnitude_bits = 2,
                            .escape_offset = 4, .n_in_tile = {1, 1}, .gap = {5, 63 - 1}, .magnitude = {1, 0}, .n_escapes = 2, .tile_nbytes = 48,
                            .scale = 0.05f};
}

static void put_escapes(struct tansy_buffer *b, const struct hand_made *h, int tile) {
  uint64_t bits = h->n_in_tile[tile];
  uint32_t n_bits = 16;
  bits |= (uint64_t)h->gap[tile] << n_bits;
  n_bits += h->gap_bits + 1u;
  bits |= (uint64_t)h->magnitude[tile] << n_bits;
  for (n_bits += h->magnitude_bits; n_bits > 0; n_bits = n_bits > 8 ? n_bits - 8 : 0, bits >>= 8) tansy_put_u8(b, (uint8_t)bits);
}

static void write_hand_made(struct record *r, const struct hand_made *h) {
  struct tansy_buffer head = {0}, blob = {0};
  tansy_put_u8(&head, h->flags);
  tansy_put_varint(&head, h->stated_tiles_nbytes ? h->stated_tiles_nbytes : 2 * h->tile_nbytes);
  tansy_put_u8(&head, h->n_runs);
  for (int i = 0; i < h->n_runs; i += 2) tansy_put_u8(&head, (uint8_t)(h->symbols[i % 16] | (i + 1 < h->n_runs ? h->symbols[(i + 1) % 16] : 0) << 4));
  for (int i = 0; i + 1 < h->n_runs; i++) tansy_put_u8(&head, h->freqs[i % 16]);
  if (h->flags & 2) tansy_put_u8(&head, 0x10);
  if (h->flags & 4) tansy_put_u8(&head, 0x01);
  tansy_put_u32(&head, h->tile_offset);
  tansy_put_u8(&head, h->gap_bits);
  tansy_put_u8(&head, h->magnitude_bits);
  tansy_put_varint(&head, h->base[0]);
  tansy_put_varint(&head, h->base[1]);
  tansy_put_u32(&head, h->escape_offset);
  put_escapes(&head, h, 0);
  put_escapes(&head, h, 1);
  head.nbytes -= h->cut;
  tansy_put_f32(&blob, h->scale);
  tansy_put_bytes(&blob, head.bytes, head.nbytes);
  for (uint32_t i = 0; i < 2 * h->tile_nbytes; i++) tansy_put_u8(&blob, (uint8_t)(i % h->tile_nbytes / 16 == 1 ? 1 : i * 31));
  r->n_rows = 8, r->n_cols = 16, r->raw_bits = 0, r->n_tables = 1, r->tile_n_rows = 4, r->n_escapes = h->n_escapes, r->row_scale = 0;
  r->head_nbytes = head.nbytes;
  r->nbytes = blob.nbytes;
  tansy_buffer_free(&r->blob);
  tansy_buffer_free(&head);
  r->blob = blob;
}

/* ---- apart and together ---- */

static struct record *find(struct parts *p, uint32_t role) {
  for (int i = 0; i < p->n_tensors_put; i++)
    if (p->tensors[i].role == role) return &p->tensors[i];
  exit(2);
}

static void take_apart(const struct tiny_model *m, struct parts *p) {
  struct tansy_index index;
  uint32_t failed;
  if (tansy_index_open(m->file.bytes, m->header_nbytes, &index, &failed) != TANSY_OK) exit(2);
  *p = (struct parts){.data_nbytes = ALL, .chunk_log2 = index.chunk_log2, .n_config = index.n_config, .n_tensors = index.n_tensors};
  p->n_config_put = (int)index.n_config;
  p->n_tensors_put = (int)index.n_tensors;
  struct tansy_index_walk walk = tansy_index_config_walk(&index);
  for (uint32_t i = 0; i < index.n_config; i++) {
    uint64_t key;
    tansy_index_next_config(&walk, &key, &p->config[i].value);
    p->config[i].key = key;
  }
  walk = tansy_index_tensor_walk(&index);
  for (uint32_t i = 0; i < index.n_tensors; i++) {
    struct tansy_record r;
    tansy_index_next_tensor(&walk, &r);
    p->tensors[i] = (struct record){r.role, r.layer, r.kind, r.n_rows, r.n_cols, r.nbytes, r.shape.raw_bits, r.shape.n_tables, r.shape.tile_n_rows,
                                    r.shape.n_escapes, r.shape.head_nbytes, r.row_scale, {0}};
    tansy_put_bytes(&p->tensors[i].blob, m->file.bytes + index.payload_offset + r.offset, r.nbytes);
  }
  struct hand_made h = hand_made();
  write_hand_made(find(p, TANSY_ROLE_K), &h);
}

static void put_at(struct tansy_buffer *b, size_t at, uint64_t value, int nbytes) {
  for (int i = 0; i < nbytes; i++) b->bytes[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

/* where a file of these parts has its boundaries */
struct boundaries {
  size_t index, config, attachments, tensors, crcs, payload;
};

static struct tansy_buffer put_together(const struct parts *p, struct boundaries *at) {
  static const char json[] = "{\"__metadata__\":{\"format\":\"tansy\"}}";
  struct tansy_buffer f = {0}, payload = {0};
  struct boundaries unused;
  if (!at) at = &unused;
  tansy_put_u64(&f, p->json_nbytes ? p->json_nbytes : sizeof json - 1);
  tansy_put_bytes(&f, json, sizeof json - 1);
  at->index = f.nbytes;
  tansy_put_bytes(&f, p->magic ? p->magic : "TANSYIDX", 8);
  tansy_put_u32(&f, p->version);
  if (!p->version) put_at(&f, f.nbytes - 4, TANSY_FORMAT_VERSION, 4);
  tansy_put_u32(&f, 0);
  tansy_put_u64(&f, 0);
  tansy_put_u8(&f, (uint8_t)p->chunk_log2);
  at->config = f.nbytes;
  tansy_put_varint(&f, p->n_config);
  for (int i = 0; i < p->n_config_put; i++) {
    tansy_put_varint(&f, p->config[i].key);
    tansy_put_u32(&f, p->config[i].value);
  }
  at->attachments = f.nbytes;
  tansy_put_varint(&f, p->n_attached);
  for (int i = 0; i < p->n_attached_put; i++) {
    const struct attached *a = &p->attached[i];
    tansy_put_varint(&f, a->name_nbytes);
    tansy_put_bytes(&f, a->name, strlen(a->name));
    tansy_put_u8(&f, (uint8_t)a->encoding);
    tansy_put_varint(&f, a->nbytes);
    tansy_put_varint(&f, a->raw_nbytes);
    for (uint64_t k = 0; k < a->nbytes && k < 8192; k++) tansy_put_u8(&payload, (uint8_t)(k * 7));
  }
  at->tensors = f.nbytes;
  tansy_put_varint(&f, p->n_tensors);
  if (p->overlong_varint) {
    f.bytes[f.nbytes - 1] |= 0x80;
    tansy_put_u8(&f, 0);
  }
  for (int i = 0; i < p->n_tensors_put; i++) {
    const struct record *r = &p->tensors[i];
    tansy_put_u8(&f, (uint8_t)r->role);
    tansy_put_varint(&f, r->layer);
    tansy_put_u8(&f, (uint8_t)r->kind);
    tansy_put_varint(&f, r->n_rows);
    tansy_put_varint(&f, r->n_cols);
    tansy_put_varint(&f, r->nbytes);
    tansy_put_bytes(&payload, r->blob.bytes, r->blob.nbytes);
    if (r->kind != TANSY_KIND_CODED) continue;
    tansy_put_u8(&f, (uint8_t)r->raw_bits);
    tansy_put_varint(&f, r->n_tables);
    tansy_put_varint(&f, r->tile_n_rows);
    tansy_put_varint(&f, r->n_escapes);
    tansy_put_varint(&f, r->head_nbytes);
    tansy_put_u8(&f, (uint8_t)r->row_scale);
  }
  at->crcs = f.nbytes;
  const size_t chunk = (size_t)1 << (p->chunk_log2 >= 12 && p->chunk_log2 <= 24 ? p->chunk_log2 : 12);
  for (size_t begin = 0; begin < payload.nbytes; begin += chunk) {
    size_t n = payload.nbytes - begin < chunk ? payload.nbytes - begin : chunk;
    tansy_put_u32(&f, tansy_crc32_small(payload.bytes + begin, n) ^ p->wrong_chunk_crc);
  }
  tansy_put_u32(&f, 0);
  uint64_t index_nbytes = f.nbytes - at->index;
  put_at(&f, at->index + 12, p->index_nbytes ? p->index_nbytes : index_nbytes, 4);
  put_at(&f, at->index + 16, p->data_nbytes == ALL ? index_nbytes + payload.nbytes + (uint64_t)p->more_data_nbytes : (uint64_t)p->data_nbytes, 8);
  put_at(&f, f.nbytes - 4, tansy_crc32_small(f.bytes + at->index, index_nbytes - 4) ^ p->wrong_index_crc, 4);
  at->payload = f.nbytes;
  tansy_put_bytes(&f, payload.bytes, payload.nbytes);
  tansy_buffer_free(&payload);
  if (f.failed) exit(2);
  return f;
}

/* ---- output ---- */

static const char *folder;
static FILE *table;
static const struct parts *sound;

static void write_file(const char *name, const char *code, const void *bytes, size_t nbytes) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s.tansy", folder, name);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(bytes, 1, nbytes, file) != nbytes || fclose(file) != 0) exit(2);
  fprintf(table, "%s %s\n", name, code);
}

static void write_parts(const char *name, const char *code, const struct parts *p) {
  struct tansy_buffer f = put_together(p, NULL);
  write_file(name, code, f.bytes, f.nbytes);
  tansy_buffer_free(&f);
}

/* CASE(name, code, statements that change *p) */
#define CASE(name, code, ...)           \
  do {                                  \
    struct parts changed = *sound, *p = &changed; \
    __VA_ARGS__;                        \
    write_parts(name, code, p);         \
  } while (0)

/* the same with the tensor *r, a copy of that of a role */
#define TENSOR(name, code, which, ...)         \
  CASE(name, code, struct record *r = find(p, which); __VA_ARGS__)

/* a byte of the blob of a tensor, without touching the sound one's */
static void own_blob(struct record *r) {
  struct tansy_buffer copy = {0};
  tansy_put_bytes(&copy, r->blob.bytes, r->blob.nbytes);
  r->blob = copy;
}
static void set_bytes(struct record *r, size_t at, uint64_t value, int nbytes) {
  own_blob(r);
  put_at(&r->blob, at, value, nbytes);
}

static void hand_made_case(const char *name, const char *code, struct hand_made h) {
  struct parts p = *sound;
  struct record *r = find(&p, TANSY_ROLE_K);
  r->blob = (struct tansy_buffer){0};
  write_hand_made(r, &h);
  write_parts(name, code, &p);
  tansy_buffer_free(&r->blob);
}
#define HAND_MADE(name, code, ...) \
  do {                             \
    struct hand_made h = hand_made(); \
    __VA_ARGS__;                   \
    hand_made_case(name, code, h); \
  } while (0)

static void set_config(struct parts *p, uint64_t key, uint32_t value) {
  for (int i = 0; i < p->n_config_put; i++)
    if (p->config[i].key == key) p->config[i].value = value;
}
static uint32_t bits_of(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}

static void attach(struct parts *p, const char *name, uint64_t nbytes) {
  p->attached[p->n_attached_put++] = (struct attached){name, strlen(name), 0, nbytes, nbytes};
  p->n_attached = (uint64_t)p->n_attached_put;
}

/* ---- the cases ---- */

static void shells(void) {
  struct boundaries at;
  struct tansy_buffer f = put_together(sound, &at);
  write_file("sound", "TANSY_OK", f.bytes, f.nbytes);
  write_file("empty", "TANSY_TRUNCATED", "", 0);
  write_file("15-bytes", "TANSY_NOT_TANSY", f.bytes, 15);
  static const char text[] = "Once upon a time there was a file that was no model at all.";
  write_file("text", "TANSY_NOT_TANSY", text, sizeof text - 1);
  static const char plain[] = "\x42\0\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",\"shape\":[8],\"data_offsets\":[0,32]}}          ................................";
  write_file("plain-safetensors", "TANSY_NOT_TANSY", plain, sizeof plain - 1);
  const struct {
    const char *name;
    size_t nbytes;
  } cuts[] = {{"cut-in-json", 20}, {"cut-before-index", at.index}, {"cut-in-magic", at.index + 5}, {"cut-after-magic", at.index + 8},
              {"cut-after-version", at.index + 12}, {"cut-after-index-size", at.index + 16}, {"cut-before-config", at.config},
              {"cut-in-config", at.config + 7}, {"cut-before-attachments", at.attachments}, {"cut-before-tensors", at.tensors},
              {"cut-in-tensors", at.tensors + 9}, {"cut-before-checksums", at.crcs}, {"cut-before-index-checksum", at.payload - 4},
              {"cut-in-index-checksum", at.payload - 1}, {"cut-before-payload", at.payload}, {"cut-in-payload", at.payload + 77},
              {"cut-by-one", f.nbytes - 1}};
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) write_file(cuts[i].name, "TANSY_TRUNCATED", f.bytes, cuts[i].nbytes);
  tansy_put_u8(&f, 0);
  write_file("longer-by-one", "TANSY_CORRUPT", f.bytes, f.nbytes);
  tansy_buffer_free(&f);
  CASE("json-size-0", "TANSY_NOT_TANSY", p->json_nbytes = 1);
  CASE("json-size-2-26-and-1", "TANSY_NOT_TANSY", p->json_nbytes = (1 << 26) + 1);
  CASE("json-size-2-63", "TANSY_NOT_TANSY", p->json_nbytes = (uint64_t)1 << 63);
  CASE("json-size-all-ones", "TANSY_NOT_TANSY", p->json_nbytes = UINT64_MAX);
  CASE("json-size-beyond-file", "TANSY_TRUNCATED", p->json_nbytes = 1 << 20);
  CASE("magic", "TANSY_NOT_TANSY", p->magic = "TANSYIDY");
}

static void indexes(void) {
  CASE("version-2", "TANSY_VERSION", p->version = 2);
  CASE("version-all-ones", "TANSY_VERSION", p->version = UINT32_MAX);
  CASE("index-size-small", "TANSY_CORRUPT", p->index_nbytes = 28);
  CASE("index-size-huge", "TANSY_CORRUPT", p->index_nbytes = UINT32_MAX);
  CASE("index-size-beyond-file", "TANSY_TRUNCATED", p->index_nbytes = 1 << 20);
  CASE("index-checksum", "TANSY_CORRUPT", p->wrong_index_crc = true);
  CASE("data-size-0", "TANSY_CORRUPT", p->data_nbytes = 0);
  CASE("data-size-2-40-and-1", "TANSY_CORRUPT", p->data_nbytes = ((int64_t)1 << 40) + 1);
  CASE("data-size-all-ones", "TANSY_CORRUPT", p->data_nbytes = -2);
  CASE("data-size-one-more", "TANSY_CORRUPT", p->more_data_nbytes = 1);
  CASE("data-size-one-less", "TANSY_CORRUPT", p->more_data_nbytes = -1);
  CASE("chunks-2-11", "TANSY_CORRUPT", p->chunk_log2 = 11);
  CASE("chunks-2-25", "TANSY_CORRUPT", p->chunk_log2 = 25);
  CASE("chunks-2-255", "TANSY_CORRUPT", p->chunk_log2 = 255);
  CASE("chunk-checksum", "TANSY_CHECKSUM", p->wrong_chunk_crc = true);
  CASE("varint-overlong", "TANSY_CORRUPT", p->overlong_varint = true);
}

static void configs(void) {
  CASE("config-count-huge", "TANSY_CORRUPT", p->n_config = UINT32_MAX);
  CASE("config-count-2-64", "TANSY_CORRUPT", p->n_config = UINT64_MAX);
  CASE("config-count-one-more", "TANSY_CORRUPT", p->n_config++);
  CASE("config-key-twice", "TANSY_CORRUPT", p->config[1].key = p->config[0].key);
  CASE("config-key-0", "TANSY_CORRUPT", p->config[0].key = 0);
  CASE("config-key-unknown", "TANSY_UNSUPPORTED", p->config[p->n_config_put - 1].key = 99);
  CASE("config-nan", "TANSY_NONFINITE", set_config(p, TANSY_KEY_NORM_EPS, 0x7fc00000));
  CASE("config-infinite", "TANSY_NONFINITE", set_config(p, TANSY_KEY_ATTN_SCALE, 0x7f800000));
  CASE("config-vocab-0", "TANSY_CORRUPT", set_config(p, TANSY_KEY_VOCAB, 0));
  CASE("config-vocab-huge", "TANSY_CORRUPT", set_config(p, TANSY_KEY_VOCAB, UINT32_MAX));
  CASE("config-hidden-huge", "TANSY_CORRUPT", set_config(p, TANSY_KEY_HIDDEN, (1 << 16) + 1));
  CASE("config-layers-huge", "TANSY_CORRUPT", set_config(p, TANSY_KEY_LAYERS, 1025));
  CASE("config-layers-more-than-there-are", "TANSY_SHAPE", set_config(p, TANSY_KEY_LAYERS, 1024));
  CASE("config-heads-overflow", "TANSY_CORRUPT", set_config(p, TANSY_KEY_HEADS, 1024); set_config(p, TANSY_KEY_HEAD_DIM, 512));
  CASE("config-heads-uneven", "TANSY_CORRUPT", set_config(p, TANSY_KEY_HEADS, 3); set_config(p, TANSY_KEY_KV_HEADS, 2));
  CASE("config-context-huge", "TANSY_CORRUPT", set_config(p, TANSY_KEY_CONTEXT, UINT32_MAX));
  CASE("config-rope-odd", "TANSY_CORRUPT", set_config(p, TANSY_KEY_ROPE_DIM, 7));
  CASE("config-rope-wide", "TANSY_CORRUPT", set_config(p, TANSY_KEY_ROPE_DIM, 512));
  CASE("config-norm-unknown", "TANSY_UNSUPPORTED", set_config(p, TANSY_KEY_NORM_KIND, 9));
  CASE("config-scale-negative", "TANSY_CORRUPT", set_config(p, TANSY_KEY_ATTN_SCALE, bits_of(-1)));
  CASE("config-softcap-negative", "TANSY_CORRUPT", set_config(p, TANSY_KEY_LOGIT_SOFTCAP, bits_of(-1)));
}

static void attachments(void) {
  CASE("attachments-two-chunks", "TANSY_OK", attach(p, "a", 5000));
  CASE("attachments-two-chunks-checksum", "TANSY_CHECKSUM", attach(p, "a", 5000); p->wrong_chunk_crc = true);
  CASE("attachments-count-huge", "TANSY_UNSUPPORTED", p->n_attached = UINT32_MAX);
  CASE("attachments-257", "TANSY_UNSUPPORTED", for (int i = 0; i < 257; i++) attach(p, "", 0));
  CASE("attachments-one-more", "TANSY_CORRUPT", attach(p, "a", 10); p->n_attached++);
  static char name[257];
  memset(name, 'n', sizeof name - 1);
  CASE("attachment-name-255", "TANSY_OK", attach(p, name + 1, 10));
  CASE("attachment-name-256", "TANSY_UNSUPPORTED", attach(p, name, 10));
  CASE("attachment-name-twice", "TANSY_CORRUPT", attach(p, "a", 10); attach(p, "b", 10); attach(p, "a", 10));
  CASE("attachment-name-beyond-index", "TANSY_CORRUPT", attach(p, "a", 10); p->attached[0].name_nbytes = 1 << 20);
  CASE("attachment-name-2-64", "TANSY_CORRUPT", attach(p, "a", 10); p->attached[0].name_nbytes = UINT64_MAX);
  CASE("attachment-size-beyond-payload", "TANSY_CORRUPT", attach(p, "a", 10); p->attached[0].nbytes = p->attached[0].raw_nbytes = 1 << 20);
  CASE("attachment-size-2-32", "TANSY_CORRUPT", attach(p, "a", 10); p->attached[0].nbytes = p->attached[0].raw_nbytes = (uint64_t)1 << 32);
  CASE("attachment-raw-size-differs", "TANSY_CORRUPT", attach(p, "a", 10); p->attached[0].raw_nbytes = 11);
  CASE("attachment-encoding-unknown", "TANSY_UNSUPPORTED", attach(p, "a", 10); p->attached[0].encoding = 2);
}

static void records(void) {
  const uint32_t q = TANSY_ROLE_Q, k = TANSY_ROLE_K, norm = TANSY_ROLE_ATTN_NORM;
  CASE("tensors-none", "TANSY_SHAPE", p->n_tensors = 0; p->n_tensors_put = 0);
  CASE("tensors-count-huge", "TANSY_UNSUPPORTED", p->n_tensors = UINT32_MAX);
  CASE("tensors-count-one-more", "TANSY_CORRUPT", p->n_tensors++);
  CASE("tensors-count-one-less", "TANSY_CORRUPT", p->n_tensors--);
  CASE("tensor-missing", "TANSY_SHAPE", *find(p, q) = p->tensors[--p->n_tensors_put]; p->n_tensors--);
  CASE("tensor-twice", "TANSY_CORRUPT", p->tensors[p->n_tensors_put++] = *find(p, q); p->n_tensors++);
  TENSOR("tensor-role-unknown", "TANSY_SHAPE", q, r->role = 200);
  TENSOR("tensor-role-without-place", "TANSY_SHAPE", q, r->role = TANSY_ROLE_HEAD);
  TENSOR("tensor-layer-beyond", "TANSY_SHAPE", q, r->layer = 1);
  TENSOR("tensor-layer-huge", "TANSY_SHAPE", q, r->layer = UINT32_MAX);
  TENSOR("tensor-layer-2-32", "TANSY_CORRUPT", q, r->layer = (uint64_t)1 << 32);
  TENSOR("tensor-kind-unknown", "TANSY_UNSUPPORTED", norm, r->kind = 4);
  TENSOR("tensor-rows-0", "TANSY_CORRUPT", q, r->n_rows = 0);
  TENSOR("tensor-cols-0", "TANSY_CORRUPT", norm, r->n_cols = 0);
  TENSOR("tensor-rows-huge", "TANSY_UNSUPPORTED", q, r->n_rows = UINT32_MAX);
  TENSOR("tensor-cols-huge", "TANSY_UNSUPPORTED", q, r->n_cols = 1 << 17);
  TENSOR("tensor-rows-2-20", "TANSY_SHAPE", q, r->n_rows = 1 << 20);
  TENSOR("tensor-rows-times-cols-overflow", "TANSY_SHAPE", q, r->n_rows = 1 << 20; r->n_cols = 1 << 16);
  TENSOR("tensor-shape-other", "TANSY_SHAPE", q, r->n_rows = 12);
  TENSOR("tensor-bytes-one-more", "TANSY_CORRUPT", q, r->nbytes++);
  TENSOR("tensor-bytes-overlap-next", "TANSY_CORRUPT", q, r->nbytes += 64; own_blob(r); r->blob.nbytes -= 16);
  TENSOR("tensor-bytes-2-32", "TANSY_CORRUPT", q, r->nbytes = (uint64_t)1 << 32);
  TENSOR("tensor-bytes-all-ones", "TANSY_CORRUPT", q, r->nbytes = UINT32_MAX);
  TENSOR("vector-bytes-other", "TANSY_CORRUPT", norm, r->nbytes = 3);
  TENSOR("vector-rows-2", "TANSY_CORRUPT", norm, r->n_rows = 2);
  TENSOR("matrix-raw-bits-5", "TANSY_UNSUPPORTED", k, r->raw_bits = 5);
  TENSOR("matrix-tables-0", "TANSY_CORRUPT", k, r->n_tables = 0);
  TENSOR("matrix-tables-33", "TANSY_CORRUPT", k, r->n_tables = 33);
  TENSOR("matrix-tables-more-than-there-are", "TANSY_TRUNCATED", k, r->n_tables = 2);
  TENSOR("matrix-tile-rows-0", "TANSY_CORRUPT", k, r->tile_n_rows = 0);
  TENSOR("matrix-tile-rows-6", "TANSY_CORRUPT", k, r->tile_n_rows = 6);
  TENSOR("matrix-tile-rows-huge", "TANSY_CORRUPT", k, r->tile_n_rows = UINT32_MAX - 3);
  TENSOR("matrix-escapes-more-than-cells", "TANSY_CORRUPT", k, r->n_escapes = 129);
  TENSOR("matrix-escapes-all-ones", "TANSY_CORRUPT", k, r->n_escapes = UINT32_MAX);
  TENSOR("matrix-escapes-one-more", "TANSY_CORRUPT", k, r->n_escapes++);
  TENSOR("matrix-escapes-one-less", "TANSY_CORRUPT", k, r->n_escapes--);
  TENSOR("matrix-head-beyond-blob", "TANSY_CORRUPT", k, r->head_nbytes = r->nbytes);
  TENSOR("matrix-head-all-ones", "TANSY_CORRUPT", k, r->head_nbytes = UINT32_MAX);
  TENSOR("matrix-head-0", "TANSY_CORRUPT", k, r->head_nbytes = 0);
  TENSOR("matrix-row-scale-unknown", "TANSY_UNSUPPORTED", k, r->row_scale = 3);
}

static void values(void) {
  const uint32_t norm = TANSY_ROLE_ATTN_NORM;
  TENSOR("vector-nan", "TANSY_NONFINITE", norm, set_bytes(r, 8, 0x7fc00001, 4));
  TENSOR("vector-infinite", "TANSY_NONFINITE", norm, set_bytes(r, 60, 0xff800000, 4));
  TENSOR("vector-f16-infinite", "TANSY_NONFINITE", norm, r->kind = TANSY_KIND_F16; r->nbytes = r->blob.nbytes = 32; set_bytes(r, 2, 0x7c00, 2));
  TENSOR("vector-log8-base-nan", "TANSY_NONFINITE", norm, r->kind = TANSY_KIND_LOG8; r->nbytes = r->blob.nbytes = 20; set_bytes(r, 0, 0x7fc00000, 4));
  TENSOR("vector-log8-overflow", "TANSY_NONFINITE", norm, r->kind = TANSY_KIND_LOG8; r->nbytes = r->blob.nbytes = 20; set_bytes(r, 0, bits_of(3e38f), 4); r->blob.bytes[5] = 255);
  HAND_MADE("matrix-scale-nan", "TANSY_NONFINITE", h.scale = (float)NAN);
  HAND_MADE("matrix-scale-infinite", "TANSY_NONFINITE", h.scale = (float)-INFINITY);
  TENSOR("matrix-row-scales-infinite", "TANSY_NONFINITE", TANSY_ROLE_K, {
    struct tansy_buffer old = r->blob, made = {0};
    tansy_put_bytes(&made, old.bytes, 4);
    for (int i = 0; i < 8; i++) tansy_put_u16(&made, i == 5 ? 0x7c00 : 0x3c00);
    tansy_put_bytes(&made, old.bytes + 4, old.nbytes - 4);
    r->blob = made;
    r->nbytes = made.nbytes;
    r->row_scale = 2;
  });
}

static void codecs(void) {
  HAND_MADE("head-flags-unknown", "TANSY_CORRUPT", h.flags = 8);
  HAND_MADE("head-four-sets-in-short-tiles", "TANSY_CORRUPT", h.flags = 1);
  HAND_MADE("head-classes", "TANSY_OK", h.flags = 6);
  HAND_MADE("head-cut-in-escapes", "TANSY_CORRUPT", h.cut = 3);
  HAND_MADE("head-cut-in-offsets", "TANSY_TRUNCATED", h.cut = 14);
  HAND_MADE("tiles-fewer-than-stated", "TANSY_TRUNCATED", h.stated_tiles_nbytes = 97);
  HAND_MADE("tiles-more-than-stated", "TANSY_CORRUPT", h.stated_tiles_nbytes = 95);
  HAND_MADE("tiles-2-64", "TANSY_TRUNCATED", h.stated_tiles_nbytes = UINT64_MAX);
  HAND_MADE("table-runs-1", "TANSY_CORRUPT", h.n_runs = 1);
  HAND_MADE("table-runs-17", "TANSY_CORRUPT", h.n_runs = 17);
  HAND_MADE("table-runs-255", "TANSY_TRUNCATED", h.n_runs = 255; h.cut = 290);
  HAND_MADE("table-symbol-twice", "TANSY_CORRUPT", h.symbols[1] = 7);
  HAND_MADE("table-frequency-0", "TANSY_CORRUPT", h.freqs[0] = 0);
  HAND_MADE("table-sum-257", "TANSY_CORRUPT", h.freqs[0] = 128; h.freqs[1] = 129);
  HAND_MADE("table-sum-256-early", "TANSY_CORRUPT", h.freqs[0] = 128; h.freqs[1] = 128);
  HAND_MADE("table-two-boundaries-in-a-bucket", "TANSY_CORRUPT", h.freqs[0] = 65; h.freqs[1] = 3);
  HAND_MADE("tile-offset-beyond", "TANSY_CORRUPT", h.tile_offset = 97);
  HAND_MADE("tile-offset-all-ones", "TANSY_CORRUPT", h.tile_offset = UINT32_MAX);
  HAND_MADE("tile-offset-0", "TANSY_CORRUPT", h.tile_offset = 0);
  HAND_MADE("tile-too-short", "TANSY_CORRUPT", h.tile_nbytes = 16; h.tile_offset = 16);
  HAND_MADE("escape-gap-bits-0", "TANSY_CORRUPT", h.gap_bits = 0);
  HAND_MADE("escape-gap-bits-25", "TANSY_CORRUPT", h.gap_bits = 25);
  HAND_MADE("escape-magnitude-bits-17", "TANSY_CORRUPT", h.magnitude_bits = 17);
  HAND_MADE("escape-base-2-32", "TANSY_CORRUPT", h.base[0] = (uint64_t)1 << 32);
  HAND_MADE("escape-base-2-64", "TANSY_CORRUPT", h.base[1] = UINT64_MAX);
  HAND_MADE("escape-offset-beyond", "TANSY_CORRUPT", h.escape_offset = 9);
  HAND_MADE("escape-offset-all-ones", "TANSY_CORRUPT", h.escape_offset = UINT32_MAX);
  HAND_MADE("escape-list-too-long", "TANSY_CORRUPT", h.escape_offset = 5);
  HAND_MADE("escape-beyond-its-tile", "TANSY_CORRUPT", h.gap_bits = 7; h.gap[0] = 64);
  HAND_MADE("escape-far-magnitude-missing", "TANSY_CORRUPT", h.magnitude[0] = 3);
  HAND_MADE("escape-count-in-tile", "TANSY_CORRUPT", h.n_in_tile[0] = 2);
  HAND_MADE("escape-count-in-tile-32767", "TANSY_CORRUPT", h.n_in_tile[1] = 0x7fff);
}

/* A matrix of 2^30 weights in 40 bytes: it would be multiplied with for seconds. */
static void work(void) {
  CASE("work-beyond-bytes", "TANSY_CORRUPT", {
    set_config(p, TANSY_KEY_INTERMEDIATE, 1 << 16);
    struct record *r = find(p, TANSY_ROLE_UP);
    struct tansy_buffer blob = {0};
    tansy_put_f32(&blob, 1);
    const uint8_t head[] = {0, 40, 2, 0x98, 255};
    tansy_put_bytes(&blob, head, sizeof head);
    for (int i = 0; i < 40; i++) tansy_put_u8(&blob, 1);
    *r = (struct record){.role = r->role, .kind = TANSY_KIND_CODED, .n_rows = 1 << 16, .n_cols = 16, .nbytes = blob.nbytes, .n_tables = 1, .tile_n_rows = 1 << 16, .head_nbytes = sizeof head, .blob = blob};
    struct record *gate = find(p, TANSY_ROLE_GATE), *down = find(p, TANSY_ROLE_DOWN);
    uint64_t role = gate->role;
    *gate = *r;
    gate->role = role;
    role = down->role;
    *down = *r;
    down->role = role;
    down->n_rows = 16;
    down->n_cols = 1 << 16;
    down->tile_n_rows = 16;
  });
}

/* codes are not checked: whatever they say, the file loads and the engine stays inside it */
static void garbage(void) {
  TENSOR("codes-zeros", "TANSY_OK", TANSY_ROLE_Q, own_blob(r); memset(r->blob.bytes + 4 + r->head_nbytes, 0, r->blob.nbytes - 4 - r->head_nbytes));
  TENSOR("codes-ones", "TANSY_OK", TANSY_ROLE_EMBED, own_blob(r); memset(r->blob.bytes + 4 + r->head_nbytes, 255, r->blob.nbytes - 4 - r->head_nbytes));
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  char path[1024];
  snprintf(path, sizeof path, "%s/table.txt", folder);
  table = fopen(path, "w");
  if (!table) return 2;
  fprintf(table, "# made by make_malformed.c: a file, and the code that loading it gives\n");
  struct tiny_options o = tiny_options();
  o.config.vocab = o.config.hidden = o.config.intermediate = 16;
  o.config.n_layers = 1;
  o.config.n_heads = 2;
  o.config.n_kv_heads = 1;
  o.config.head_dim = o.config.rope_dim = 8;
  o.config.context = 32;
  o.raw_bits = 0;
  o.sigma = 2;
  struct tiny_model model = tiny_make(&o);
  static struct parts parts;
  take_apart(&model, &parts);
  sound = &parts;
  shells();
  indexes();
  configs();
  attachments();
  records();
  values();
  codecs();
  work();
  garbage();
  tiny_free(&model);
  return fclose(table) != 0;
}
