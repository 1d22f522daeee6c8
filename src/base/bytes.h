/* bytes.h: bounded little-endian cursor. Every byte that came from a file or the network is read through it.
 *
 * Reads past the end return 0 and set `failed`; check it once after a group of reads. */
#ifndef TANSY_BASE_BYTES_H
#define TANSY_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tansy_cursor {
  const uint8_t *at;
  const uint8_t *end;
  bool failed;
};

static inline struct tansy_cursor tansy_cursor_over(const void *bytes, size_t n) {
  return (struct tansy_cursor){bytes, (const uint8_t *)bytes + n, false};
}

static inline size_t tansy_cursor_left(const struct tansy_cursor *c) { return (size_t)(c->end - c->at); }

/* n bytes, or NULL (and failed) when fewer are left */
static inline const uint8_t *tansy_read_bytes(struct tansy_cursor *c, size_t n) {
  if (c->failed || tansy_cursor_left(c) < n) {
    c->failed = true;
    return NULL;
  }
  const uint8_t *p = c->at;
  c->at += n;
  return p;
}

static inline uint8_t tansy_read_u8(struct tansy_cursor *c) {
  const uint8_t *p = tansy_read_bytes(c, 1);
  return p ? p[0] : 0;
}

static inline uint16_t tansy_read_u16(struct tansy_cursor *c) {
  const uint8_t *p = tansy_read_bytes(c, 2);
  return p ? (uint16_t)(p[0] | p[1] << 8) : 0;
}

static inline uint32_t tansy_read_u32(struct tansy_cursor *c) {
  const uint8_t *p = tansy_read_bytes(c, 4);
  return p ? (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24 : 0;
}

static inline uint64_t tansy_read_u64(struct tansy_cursor *c) {
  uint64_t lo = tansy_read_u32(c);
  return lo | (uint64_t)tansy_read_u32(c) << 32;
}

static inline float tansy_read_f32(struct tansy_cursor *c) {
  uint32_t u = tansy_read_u32(c);
  float f;
  memcpy(&f, &u, 4);
  return f;
}

/* unsigned LEB128, at most 64 bits; an overlong or overflowing encoding sets `failed` */
static inline uint64_t tansy_read_varint(struct tansy_cursor *c) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    uint8_t b = tansy_read_u8(c);
    if (c->failed || (shift == 63 && b > 1)) break;
    value |= (uint64_t)(b & 0x7f) << shift;
    if (!(b & 0x80)) {
      if (b == 0 && shift > 0) break;
      return value;
    }
  }
  c->failed = true;
  return 0;
}

#endif
