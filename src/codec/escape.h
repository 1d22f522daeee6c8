/* escape.h: the reader of escape lists. CODEC.md, "Escapes".
 *
 *   struct tansy_escapes e = tansy_escapes_of_tile(coded, tile);
 *   while (tansy_escapes_next(coded, &e)) ... e.row, e.col, e.delta
 *
 * Entries have a fixed width, so that one does not wait for the bits of the one before it. Lists of a parsed matrix need no
 * checks; parse.c runs the same reader and looks at `failed`. */
#ifndef TANSY_CODEC_ESCAPE_H
#define TANSY_CODEC_ESCAPE_H

#include <stdbool.h>

#include "codec/tile.h"

enum { TANSY_ESCAPE_MAX_GAP_BITS = 24, TANSY_ESCAPE_MAX_MAGNITUDE_BITS = 16 };

struct tansy_escapes {
  const uint8_t *entries, *end; /* of the tile's list */
  uint64_t bit;     /* of the next entry, from `entries` */
  uint32_t n_far;   /* far magnitudes read, from the end backwards */
  uint32_t n_left;
  uint64_t cell;    /* the first not yet passed: row by row in the tile */
  uint32_t row_begin, n_rows; /* of the tile */
  uint32_t row, col; /* in the matrix */
  uint32_t delta;    /* z - coded, modulo 2^32 */
  bool failed;
};

/* up to 41 bits; zeros beyond the list */
static inline uint64_t tansy_escapes_peek(const struct tansy_escapes *e) {
  const uint8_t *at = e->entries + (size_t)(e->bit >> 3);
  uint64_t v = 0;
  if (e->end - at >= 8) {
    v = (uint64_t)tansy_load_u32(at) | (uint64_t)tansy_load_u32(at + 4) << 32;
  } else {
    for (int i = 0; i < 8 && at + i < e->end; i++) v |= (uint64_t)at[i] << (8 * i);
  }
  return v >> (e->bit & 7);
}

static inline struct tansy_escapes tansy_escapes_of_tile(const struct tansy_coded *c, uint32_t t) {
  struct tansy_escapes e = {0};
  if (!c->shape.n_escapes) return e;
  uint32_t n_rows = c->shape.n_rows, tile_n_rows = c->shape.tile_n_rows;
  e.row_begin = t * tile_n_rows;
  e.n_rows = n_rows - e.row_begin < tile_n_rows ? n_rows - e.row_begin : tile_n_rows;
  e.entries = c->escape_bits + (t ? tansy_load_u32(c->escape_offsets + 4 * (size_t)(t - 1)) : 0);
  e.end = c->escape_bits + (t + 1 < c->n_tiles ? tansy_load_u32(c->escape_offsets + 4 * (size_t)t) : c->escape_bits_nbytes);
  uint64_t front = tansy_escapes_peek(&e);
  e.n_left = front & 0x7fff;
  e.bit = 16;
  if (front & 0x8000) {
    e.n_left |= (uint32_t)(front >> 16 & 0xffff) << 15;
    e.bit = 32;
  }
  e.failed = (uint64_t)(e.end - e.entries) * 8 < e.bit;
  return e;
}

static inline bool tansy_escapes_next(const struct tansy_coded *c, struct tansy_escapes *e) {
  if (e->n_left == 0 || e->failed) return false;
  e->n_left--;
  const uint32_t gap_bits = c->escape_gap_bits, magnitude_bits = c->escape_magnitude_bits;
  const uint32_t skip = (1u << gap_bits) - 1, far = (1u << magnitude_bits) - 1;
  const uint64_t end_bit = (uint64_t)(e->end - e->entries) * 8;
  /* all ones: that many cells further, and no escape there */
  uint64_t cell = e->cell, entry;
  for (;;) {
    entry = tansy_escapes_peek(e);
    e->bit += gap_bits + 1 + magnitude_bits;
    uint32_t gap = (uint32_t)entry & skip;
    cell += gap;
    if (gap != skip) break;
    if (e->bit > end_bit) {
      e->failed = true;
      return false;
    }
  }
  uint32_t negative = (uint32_t)(entry >> gap_bits) & 1, magnitude = (uint32_t)(entry >> (gap_bits + 1)) & far;
  if (magnitude == far && far) {
    size_t from_end = 4 * ((size_t)++e->n_far);
    if (from_end > (size_t)(e->end - e->entries)) {
      e->failed = true;
      return false;
    }
    magnitude = tansy_load_u32(e->end - from_end);
  }
  magnitude = (magnitude + c->escape_base[negative]) << c->shape.raw_bits;
  e->delta = negative ? 0u - magnitude : magnitude;
  e->cell = cell + 1;
  /* from the cell's number, not from the last row and column: no division waits for another */
  const uint32_t n_cols = c->shape.n_cols;
  uint64_t row = cell <= UINT32_MAX ? (uint32_t)cell / n_cols : cell / n_cols;
  if (row >= e->n_rows || e->bit > end_bit) {
    e->failed = true;
    return false;
  }
  e->row = e->row_begin + (uint32_t)row;
  e->col = (uint32_t)(cell - row * n_cols);
  return true;
}

#endif
