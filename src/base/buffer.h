/* buffer.h: a growable byte buffer on malloc, little-endian. Compressor only: the runtime core never allocates.
 *
 * An allocation failure sets `failed` and later writes do nothing; check it once after a group of writes. */
#ifndef TANSY_BASE_BUFFER_H
#define TANSY_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct tansy_buffer {
  uint8_t *bytes;
  size_t nbytes, capacity;
  bool failed;
};

static inline void tansy_buffer_free(struct tansy_buffer *b) {
  free(b->bytes);
  *b = (struct tansy_buffer){0};
}

/* room for n more bytes at the end, counted as written; NULL (and failed) when memory is short */
static inline uint8_t *tansy_buffer_grow(struct tansy_buffer *b, size_t n) {
  if (b->failed) return NULL;
  if (n > SIZE_MAX / 2 - b->nbytes) {
    b->failed = true;
    return NULL;
  }
  if (!b->bytes || b->nbytes + n > b->capacity) {
    size_t capacity = b->capacity ? b->capacity : 256;
    while (capacity < b->nbytes + n) capacity += capacity / 2;
    uint8_t *bytes = realloc(b->bytes, capacity);
    if (!bytes) {
      b->failed = true;
      return NULL;
    }
    b->bytes = bytes;
    b->capacity = capacity;
  }
  uint8_t *at = b->bytes + b->nbytes;
  b->nbytes += n;
  return at;
}

static inline void tansy_put_bytes(struct tansy_buffer *b, const void *bytes, size_t n) {
  uint8_t *at = tansy_buffer_grow(b, n);
  if (at && n) memcpy(at, bytes, n);
}

static inline void tansy_put_u8(struct tansy_buffer *b, uint8_t v) { tansy_put_bytes(b, &v, 1); }

static inline void tansy_put_u16(struct tansy_buffer *b, uint16_t v) {
  uint8_t le[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
  tansy_put_bytes(b, le, 2);
}

static inline void tansy_put_u32(struct tansy_buffer *b, uint32_t v) {
  uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
  tansy_put_bytes(b, le, 4);
}

static inline void tansy_put_u64(struct tansy_buffer *b, uint64_t v) {
  tansy_put_u32(b, (uint32_t)v);
  tansy_put_u32(b, (uint32_t)(v >> 32));
}

static inline void tansy_put_f32(struct tansy_buffer *b, float v) {
  uint32_t u;
  memcpy(&u, &v, 4);
  tansy_put_u32(b, u);
}

/* unsigned LEB128, shortest form */
static inline void tansy_put_varint(struct tansy_buffer *b, uint64_t v) {
  while (v >= 0x80) {
    tansy_put_u8(b, (uint8_t)(v | 0x80));
    v >>= 7;
  }
  tansy_put_u8(b, (uint8_t)v);
}

#endif
