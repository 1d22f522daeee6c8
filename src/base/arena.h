/* arena.h: carves one block of memory into 16-byte aligned pieces. The same calls with base = NULL count bytes, so that a
 * plan and the layout that follows it cannot disagree. */
#ifndef TANSY_BASE_ARENA_H
#define TANSY_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct tansy_arena {
  uint8_t *base; /* 16-byte aligned, or NULL: only count */
  uint64_t used; /* 64 bits, so that counting cannot wrap on a 32-bit target */
};

static inline uint64_t tansy_align16(uint64_t n) { return (n + 15) & ~(uint64_t)15; }

/* NULL when counting */
static inline void *tansy_arena_take(struct tansy_arena *a, uint64_t nbytes) {
  void *p = a->base ? a->base + a->used : NULL;
  a->used += tansy_align16(nbytes);
  return p;
}

#endif
