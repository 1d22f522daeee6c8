/* tiny_model.h: `.tansy` files made in memory from random numbers, for tests of reader, planner and engine. Written from
 * FORMAT.md alone, so that it checks the compressor's writer by not being it. */
#ifndef TANSY_TESTS_TINY_MODEL_H
#define TANSY_TESTS_TINY_MODEL_H

#include "base/buffer.h"
#include "codec/codec.h"
#include "format/checksum.h"
#include "format/container.h"
#include "model/config.h"
#include "test.h"

struct tiny_options {
  struct tansy_config config;
  int raw_bits;          /* of the encoder; -1: its choice */
  double sigma;          /* of the integers */
  uint32_t tile_n_rows;  /* 0: the encoder's choice */
  uint32_t row_scale;    /* 0, 1, 2 */
  uint32_t vector_kind;  /* of norms and scales */
  uint32_t chunk_log2;
  int with_optional;     /* biases, scales, post norms too */
  int n_attachments;
  uint64_t seed;
};

static inline struct tansy_config tiny_config(void) {
  struct tansy_config c = tansy_config_default();
  c.vocab = 96;
  c.hidden = 48;
  c.intermediate = 100;
  c.n_layers = 2;
  c.n_heads = 4;
  c.n_kv_heads = 2;
  c.head_dim = 12;
  c.context = 200;
  c.norm_eps = 1e-5f;
  c.tied = 1;
  c.rope_dim = 12;
  c.attn_scale = 0.288675f;
  c.bos = 2;
  c.eos[0] = 3;
  return c;
}

static inline struct tiny_options tiny_options(void) {
  return (struct tiny_options){.config = tiny_config(), .raw_bits = -1, .sigma = 3, .vector_kind = TANSY_KIND_F32, .chunk_log2 = 12, .seed = 1};
}

struct tiny_model {
  struct tansy_buffer file;
  size_t header_nbytes, index_at;
  uint32_t n_tensors;
};


static inline void tiny_put_matrix(const struct tiny_options *o, struct test_rng *rng, uint32_t role, uint32_t layer, uint32_t n_rows,
                                   uint32_t n_cols, struct tansy_buffer *records, struct tansy_buffer *payload) {
  int32_t *z = test_alloc((size_t)n_rows * n_cols * sizeof *z);
  for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) z[i] = (int32_t)lrint(test_rand_normal(rng) * o->sigma);
  struct tansy_encode_options options = {.raw_bits = o->raw_bits, .tile_n_rows = o->tile_n_rows};
  struct tansy_buffer stream = {0};
  struct tansy_coded_shape shape;
  struct tansy_encode_stats stats;
  CHECK_EQ(tansy_encode(z, n_rows, n_cols, &options, &stream, &shape, &stats), TANSY_OK);
  free(z);
  size_t begin = payload->nbytes;
  tansy_put_f32(payload, (float)(0.7 / (o->sigma * sqrt(n_cols))));
  if (o->row_scale == 1) {
    for (uint32_t i = 0; i < (n_rows + 1) / 2; i++) tansy_put_u8(payload, (uint8_t)(test_rand_below(rng, 3) | test_rand_below(rng, 3) << 4));
  } else if (o->row_scale == 2) {
    for (uint32_t i = 0; i < n_rows; i++) tansy_put_u16(payload, (uint16_t)(0x3800 + test_rand_below(rng, 0x800))); /* 0.5 … 2 */
  }
  tansy_put_bytes(payload, stream.bytes, stream.nbytes);
  tansy_buffer_free(&stream);
  tansy_put_u8(records, (uint8_t)role);
  tansy_put_varint(records, layer);
  tansy_put_u8(records, TANSY_KIND_CODED);
  tansy_put_varint(records, n_rows);
  tansy_put_varint(records, n_cols);
  tansy_put_varint(records, payload->nbytes - begin);
  tansy_put_u8(records, (uint8_t)shape.raw_bits);
  tansy_put_varint(records, shape.n_tables);
  tansy_put_varint(records, shape.tile_n_rows);
  tansy_put_varint(records, shape.n_escapes);
  tansy_put_varint(records, shape.head_nbytes);
  tansy_put_u8(records, (uint8_t)o->row_scale);
}

static inline void tiny_put_vector(const struct tiny_options *o, struct test_rng *rng, uint32_t role, uint32_t layer, uint32_t n,
                                   struct tansy_buffer *records, struct tansy_buffer *payload) {
  int is_frequency = role == TANSY_ROLE_ROPE_INV_FREQ || role == TANSY_ROLE_ROPE_INV_FREQ_LOCAL;
  uint32_t kind = is_frequency ? TANSY_KIND_F32 : o->vector_kind;
  size_t begin = payload->nbytes;
  if (kind == TANSY_KIND_LOG8) tansy_put_f32(payload, 0.5f);
  for (uint32_t i = 0; i < n; i++) {
    if (kind == TANSY_KIND_F16) tansy_put_u16(payload, (uint16_t)(0x3800 + test_rand_below(rng, 0x800)));
    else if (kind == TANSY_KIND_LOG8) tansy_put_u8(payload, (uint8_t)test_rand_below(rng, 32));
    else tansy_put_f32(payload, is_frequency ? (float)exp(-0.8 * i) : (float)(1 + 0.2 * test_rand_normal(rng)));
  }
  tansy_put_u8(records, (uint8_t)role);
  tansy_put_varint(records, layer);
  tansy_put_u8(records, (uint8_t)kind);
  tansy_put_varint(records, 1);
  tansy_put_varint(records, n);
  tansy_put_varint(records, payload->nbytes - begin);
}

static inline uint32_t tiny_put_tensors(const struct tiny_options *o, struct test_rng *rng, int in_layer, uint32_t layer, uint32_t role_begin,
                                        uint32_t role_end, struct tansy_buffer *records, struct tansy_buffer *payload) {
  uint32_t n = 0;
  for (uint32_t role = role_begin; role < role_end; role++) {
    struct tansy_role_spec s = tansy_config_role(&o->config, role);
    if (s.need == TANSY_NEED_NEVER || s.in_layer != in_layer || (s.need == TANSY_NEED_MAY && !o->with_optional)) continue;
    uint32_t n_rows = s.n_rows ? s.n_rows : o->config.context + o->config.position_offset;
    if (s.is_matrix) tiny_put_matrix(o, rng, role, layer, n_rows, s.n_cols, records, payload);
    else tiny_put_vector(o, rng, role, layer, s.n_cols, records, payload);
    n++;
  }
  return n;
}

/* recomputes index_crc32 after an edit of the index */
static inline void tiny_seal(struct tiny_model *m) {
  size_t end = m->header_nbytes - 4;
  uint32_t crc = tansy_crc32_small(m->file.bytes + m->index_at, end - m->index_at);
  for (int i = 0; i < 4; i++) m->file.bytes[end + i] = (uint8_t)(crc >> 8 * i);
}

static inline struct tiny_model tiny_make(const struct tiny_options *o) {
  struct test_rng rng = {o->seed};
  struct tansy_buffer records = {0}, payload = {0}, attachments = {0};
  for (int i = 0; i < o->n_attachments; i++) {
    uint32_t n = 500 + test_rand_below(&rng, 3000);
    tansy_put_varint(&attachments, 6);
    tansy_put_bytes(&attachments, "file-", 5);
    tansy_put_u8(&attachments, (uint8_t)('a' + i));
    tansy_put_u8(&attachments, 0);
    tansy_put_varint(&attachments, n);
    tansy_put_varint(&attachments, n);
    for (uint32_t k = 0; k < n; k++) tansy_put_u8(&payload, (uint8_t)test_rand(&rng));
  }
  uint32_t n_tensors = tiny_put_tensors(o, &rng, 0, 0, TANSY_ROLE_EMBED, TANSY_ROLE_FINAL_NORM, &records, &payload);
  n_tensors += tiny_put_tensors(o, &rng, 0, 0, TANSY_ROLE_POSITION_EMBED_SCALE, 16, &records, &payload);
  for (uint32_t l = 0; l < o->config.n_layers; l++) n_tensors += tiny_put_tensors(o, &rng, 1, l, 16, 64, &records, &payload);
  n_tensors += tiny_put_tensors(o, &rng, 0, 0, TANSY_ROLE_FINAL_NORM, TANSY_ROLE_POSITION_EMBED_SCALE, &records, &payload);

  struct tansy_buffer index = {0};
  uint32_t n_config = 0, value;
  for (uint64_t key = 1; key < 64; key++) n_config += tansy_config_get(&o->config, key, &value);
  tansy_put_bytes(&index, "TANSYIDX", 8);
  tansy_put_u32(&index, TANSY_FORMAT_VERSION);
  tansy_put_u32(&index, 0); /* index_nbytes and data_nbytes: patched below */
  tansy_put_u64(&index, 0);
  tansy_put_u8(&index, (uint8_t)o->chunk_log2);
  tansy_put_varint(&index, n_config);
  for (uint64_t key = 1; key < 64; key++) {
    if (!tansy_config_get(&o->config, key, &value)) continue;
    tansy_put_varint(&index, key);
    tansy_put_u32(&index, value);
  }
  tansy_put_varint(&index, (uint64_t)o->n_attachments);
  tansy_put_bytes(&index, attachments.bytes, attachments.nbytes);
  tansy_put_varint(&index, n_tensors);
  tansy_put_bytes(&index, records.bytes, records.nbytes);
  for (size_t at = 0; at < payload.nbytes; at += (size_t)1 << o->chunk_log2) {
    size_t left = payload.nbytes - at, n = left < (size_t)1 << o->chunk_log2 ? left : (size_t)1 << o->chunk_log2;
    tansy_put_u32(&index, tansy_crc32_small(payload.bytes + at, n));
  }
  tansy_put_u32(&index, 0); /* sealed below */
  uint64_t data_nbytes = index.nbytes + payload.nbytes;
  for (int i = 0; i < 4; i++) index.bytes[12 + i] = (uint8_t)(index.nbytes >> 8 * i);
  for (int i = 0; i < 8; i++) index.bytes[16 + i] = (uint8_t)(data_nbytes >> 8 * i);

  static const char json[] = "{\"__metadata__\":{\"format\":\"tansy\"}}";
  struct tiny_model m = {.n_tensors = n_tensors};
  tansy_put_u64(&m.file, sizeof json - 1);
  tansy_put_bytes(&m.file, json, sizeof json - 1);
  m.index_at = m.file.nbytes;
  m.header_nbytes = m.index_at + index.nbytes;
  tansy_put_bytes(&m.file, index.bytes, index.nbytes);
  tansy_put_bytes(&m.file, payload.bytes, payload.nbytes);
  tansy_buffer_free(&records);
  tansy_buffer_free(&payload);
  tansy_buffer_free(&attachments);
  tansy_buffer_free(&index);
  if (m.file.failed) exit(2);
  tiny_seal(&m);
  return m;
}

static inline void tiny_free(struct tiny_model *m) { tansy_buffer_free(&m->file); }

#endif
