/* test_container.c: the index reader on good files, on every truncation, and on hostile indexes whose checksum is right. */
#include "format/container.h"
#include "tansy.h"
#include "tiny_model.h"

static enum tansy_status open_model(const struct tiny_model *m, struct tansy_index *index) {
  uint32_t failed;
  return tansy_index_open(m->file.bytes, m->header_nbytes, index, &failed);
}

static void test_reads_what_was_written(void) {
  struct tiny_options o = tiny_options();
  o.n_attachments = 3;
  o.row_scale = 1;
  struct tiny_model m = tiny_make(&o);
  uint64_t needed = 0;
  CHECK_EQ(tansy_header_size(m.file.bytes, m.file.nbytes, &needed), TANSY_OK);
  CHECK_EQ(needed, m.header_nbytes);
  struct tansy_index index;
  CHECK_EQ(open_model(&m, &index), TANSY_OK);
  CHECK_EQ(index.n_tensors, m.n_tensors);
  CHECK_EQ(index.payload_offset, m.header_nbytes);
  CHECK_EQ(tansy_index_file_nbytes(&index), m.file.nbytes);
  uint64_t offset = 0;
  struct tansy_index_walk walk = tansy_index_attachment_walk(&index);
  for (uint32_t i = 0; i < index.n_attachments; i++) {
    struct tansy_record_attachment a;
    tansy_index_next_attachment(&walk, &a);
    CHECK_EQ(a.name_nbytes, 6);
    CHECK_EQ(a.name[5], 'a' + i);
    CHECK_EQ(a.offset, offset);
    offset += a.nbytes;
  }
  walk = tansy_index_tensor_walk(&index);
  for (uint32_t i = 0; i < index.n_tensors; i++) {
    struct tansy_record r;
    tansy_index_next_tensor(&walk, &r);
    struct tansy_role_spec spec = tansy_config_role(&o.config, r.role);
    CHECK_EQ(r.offset, offset);
    CHECK_EQ(r.n_cols, spec.n_cols);
    CHECK_EQ(r.n_rows, spec.n_rows);
    if (r.kind == TANSY_KIND_CODED) CHECK_EQ(r.row_scale, 1);
    offset += r.nbytes;
  }
  CHECK_EQ(offset, index.payload_nbytes);
  for (uint32_t i = 0; i < index.n_chunks; i++) {
    const uint8_t *bytes = m.file.bytes + index.payload_offset + ((uint64_t)i << index.chunk_log2);
    CHECK_EQ(tansy_crc32_small(bytes, tansy_index_chunk_nbytes(&index, i)), tansy_index_chunk_crc(&index, i));
  }
  tiny_free(&m);
}

/* asked with ever more bytes, the reader asks for more until it has what it needs, and never for more than the file has */
static void test_header_size_converges(void) {
  struct tiny_options o = tiny_options();
  struct tiny_model m = tiny_make(&o);
  for (size_t n = 0; n <= m.header_nbytes; n++) {
    uint64_t needed = 0;
    enum tansy_status status = tansy_header_size(m.file.bytes, n, &needed);
    CHECK_EQ(status, n < m.header_nbytes ? TANSY_ERR_TRUNCATED : TANSY_OK);
    CHECK(needed > n || status == TANSY_OK);
    CHECK(needed <= m.header_nbytes);
    struct tansy_index index;
    uint32_t failed;
    /* exactly n bytes, so that a sanitizer sees any read beyond */
    uint8_t *copy = test_alloc(n);
    memcpy(copy, m.file.bytes, n);
    CHECK_EQ(tansy_index_open(copy, n, &index, &failed), status);
    free(copy);
  }
  tiny_free(&m);
}

static void test_other_files(void) {
  uint64_t needed;
  CHECK_EQ(tansy_header_size("GGUF\3\0\0\0\0\0\0\0\0\0\0\0", 16, &needed), TANSY_ERR_NOT_TANSY);
  CHECK_EQ(tansy_header_size("<!DOCTYPE html><", 16, &needed), TANSY_ERR_NOT_TANSY);
  CHECK_EQ(tansy_header_size("\20\0\0\0\0\0\0\0[123456789012345678901234567890123456789012345678", 56, &needed), TANSY_ERR_NOT_TANSY);
  char other[128] = "\20\0\0\0\0\0\0\0{\"a\":{\"b\":1}}   NOTINDEX";
  CHECK_EQ(tansy_header_size(other, sizeof other, &needed), TANSY_ERR_NOT_TANSY);
}

static void test_damage(void) {
  struct tiny_options o = tiny_options();
  struct tiny_model m = tiny_make(&o);
  struct tansy_index index;
  for (size_t at = m.index_at; at < m.header_nbytes; at++) {
    for (int bit = 0; bit < 8; bit += 3) {
      m.file.bytes[at] ^= (uint8_t)(1 << bit);
      CHECK(open_model(&m, &index) != TANSY_OK);
      m.file.bytes[at] ^= (uint8_t)(1 << bit);
    }
  }
  CHECK_EQ(open_model(&m, &index), TANSY_OK);
  m.file.bytes[m.index_at + 8] = 2;
  tiny_seal(&m);
  CHECK_EQ(open_model(&m, &index), TANSY_ERR_VERSION);
  tiny_free(&m);
}

/* an index that lies, with a checksum that does not: any status, no access outside (sanitizers), and OK only when sizes add up */
static void test_hostile_index(void) {
  struct tiny_options o = tiny_options();
  o.config.n_layers = 1;
  o.n_attachments = 1;
  struct tiny_model m = tiny_make(&o);
  struct test_rng rng = {11};
  uint32_t n_ok = 0;
  for (int round = 0; round < 20000; round++) {
    uint8_t *copy = test_alloc(m.header_nbytes);
    memcpy(copy, m.file.bytes, m.header_nbytes);
    struct tiny_model hostile = {.file = {.bytes = copy}, .header_nbytes = m.header_nbytes, .index_at = m.index_at};
    int n_edits = 1 + (int)test_rand_below(&rng, 4);
    for (int i = 0; i < n_edits; i++) {
      size_t at = m.index_at + 16 + test_rand_below(&rng, (uint32_t)(m.header_nbytes - m.index_at - 20));
      copy[at] = test_rand_below(&rng, 2) ? (uint8_t)test_rand(&rng) : (uint8_t)(copy[at] + (test_rand_below(&rng, 2) ? 1 : -1));
    }
    tiny_seal(&hostile);
    size_t work_nbytes = tansy_plan_work_nbytes(copy, m.header_nbytes);
    void *work = test_alloc(work_nbytes);
    struct tansy_plan plan;
    enum tansy_status status = tansy_plan_make(copy, m.header_nbytes, &(struct tansy_options){0}, work, work_nbytes, &plan);
    CHECK_EQ(plan.detail.status, status);
    n_ok += status == TANSY_OK;
    free(work);
    free(copy);
  }
  CHECK(n_ok > 0 && n_ok < 20000); /* both happen, or the test has lost its point */
  tiny_free(&m);
}

static void test_checksums_agree(void) {
  static struct tansy_crc32_tables tables;
  tansy_crc32_init(&tables);
  CHECK_EQ(tansy_crc32_small("123456789", 9), 0xCBF43926u); /* the check value of this CRC */
  uint8_t bytes[300];
  struct test_rng rng = {5};
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)test_rand(&rng);
  for (size_t n = 0; n < 40; n++) {
    for (size_t at = 0; at < 9; at++) CHECK_EQ(tansy_crc32(&tables, bytes + at, n * 7), tansy_crc32_small(bytes + at, n * 7));
  }
}

/* vectors expand in place at the end of their region */
static void test_vectors(void) {
  struct test_rng rng = {9};
  for (uint32_t kind = TANSY_KIND_F32; kind <= TANSY_KIND_LOG8; kind++) {
    for (uint32_t n = 1; n < 70; n++) {
      uint8_t stored[4 + 70 * 4];
      float apart[70];
      uint64_t nbytes = tansy_vector_nbytes(kind, n), region_nbytes = tansy_vector_region_nbytes(kind, n);
      for (uint64_t i = 0; i < nbytes; i++) stored[i] = (uint8_t)test_rand(&rng);
      if (kind == TANSY_KIND_LOG8) memcpy(stored, &(float){0.25f}, 4);
      for (uint32_t i = 0; i < n && kind != TANSY_KIND_LOG8; i++) stored[(i + 1) * (kind == TANSY_KIND_F16 ? 2 : 4) - 1] &= 0xBB; /* finite */
      float *region = test_alloc(region_nbytes);
      uint8_t *tail = (uint8_t *)region + (region_nbytes - nbytes);
      memcpy(tail, stored, nbytes);
      CHECK_EQ(tansy_vector_expand(kind, stored, n, apart), TANSY_OK);
      CHECK_EQ(tansy_vector_expand(kind, tail, n, region), TANSY_OK);
      CHECK_MEM(apart, region, n * 4);
      if (kind == TANSY_KIND_LOG8) {
        for (uint32_t i = 0; i < n; i++) CHECK_NEAR((double)apart[i] / (0.25 * exp2(stored[4 + i] / 16.0)), 1, 1e-6);
      }
      free(region);
    }
  }
  float out[2];
  CHECK_EQ(tansy_vector_expand(TANSY_KIND_F16, (const uint8_t *)"\0\x3c\0\xc0", 2, out), TANSY_OK);
  CHECK(out[0] == 1.0f && out[1] == -2.0f);
  CHECK_EQ(tansy_vector_expand(TANSY_KIND_F16, (const uint8_t *)"\1\0\0\x7c", 2, out), TANSY_ERR_NONFINITE);
  CHECK_EQ(tansy_vector_expand(TANSY_KIND_F32, (const uint8_t *)"\0\0\xc0\x7f", 1, out), TANSY_ERR_NONFINITE);
}

int main(void) {
  RUN(test_reads_what_was_written);
  RUN(test_header_size_converges);
  RUN(test_other_files);
  RUN(test_damage);
  RUN(test_hostile_index);
  RUN(test_checksums_agree);
  RUN(test_vectors);
  return test_finish();
}
