/* tile.h: where the parts of a tile lie, and which table a step uses. For decoders; parse.c has checked all of it. */
#ifndef TANSY_CODEC_TILE_H
#define TANSY_CODEC_TILE_H

#include "codec/codec.h"

/* the head's first byte */
enum { TANSY_CODED_FOUR_SETS = 1, TANSY_CODED_ROW_CLASSES = 2, TANSY_CODED_STEP_CLASSES = 4 };

enum {
  TANSY_SET_NBYTES = 2 * TANSY_LANES, /* start states: 16 low bytes, 16 high bytes */
  TANSY_STATE_MIN = 256,              /* states live in [2^8, 2^16); encoding starts here, so decoding ends here */
  /* A step takes (256 - f) * (x >> 8) + c >= x >> 8 from a state x, so from one byte to the next a state lasts at most
   * sum over q = 1 ... 255 of 256 / q + 1 < 1824 steps; a tile has two bytes for the one that a start state is. */
  TANSY_MAX_WEIGHTS_PER_BYTE = 2048,
};

struct tansy_tile {
  uint32_t row_begin, n_rows, n_groups;
  const uint8_t *states;    /* [n_sets][lo 16][hi 16] */
  const uint8_t *raw;       /* [n_groups][tansy_group_raw_nbytes] */
  const uint8_t *codes;     /* up to codes_end */
  const uint8_t *codes_end;
};

static inline uint32_t tansy_load_u32(const uint8_t *p) {
  return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Raw bits of a group of four rows, step by step, 16 lanes a vector. r = 1: a vector holds two steps, bit 4 * (step & 1) + row.
 * r = 2: a vector a step, bits 2 * row. r = 3: the two low bits as r = 2 for all steps, then the high bit as r = 1. r = 4: two
 * vectors a step, rows 0 and 1, rows 2 and 3, the even row in the low nibble. */
static inline uint32_t tansy_raw1_nbytes(uint32_t n_steps) { return (n_steps + 1) / 2 * TANSY_LANES; }
static inline uint32_t tansy_group_raw_nbytes(uint32_t raw_bits, uint32_t n_steps) {
  uint32_t step_vectors = raw_bits == 4 ? 2 : raw_bits >= 2 ? 1 : 0;
  return step_vectors * n_steps * TANSY_LANES + (raw_bits & 1 ? tansy_raw1_nbytes(n_steps) : 0);
}

static inline uint32_t tansy_coded_n_steps(const struct tansy_coded *c) { return c->n_cols_padded / TANSY_LANES; }

static inline struct tansy_tile tansy_coded_tile(const struct tansy_coded *c, uint32_t t) {
  struct tansy_tile tile;
  tile.row_begin = t * c->shape.tile_n_rows;
  tile.n_rows = c->shape.n_rows - tile.row_begin < c->shape.tile_n_rows ? c->shape.n_rows - tile.row_begin : c->shape.tile_n_rows;
  tile.n_groups = (tile.n_rows + TANSY_GROUP_N_ROWS - 1) / TANSY_GROUP_N_ROWS;
  const uint8_t *begin = c->tiles + (t ? tansy_load_u32(c->tile_offsets + 4 * (size_t)(t - 1)) : 0);
  tile.states = begin;
  tile.raw = begin + c->n_sets * TANSY_SET_NBYTES;
  tile.codes = tile.raw + (size_t)tile.n_groups * tansy_group_raw_nbytes(c->shape.raw_bits, tansy_coded_n_steps(c));
  tile.codes_end = c->tiles + (t + 1 < c->n_tiles ? tansy_load_u32(c->tile_offsets + 4 * (size_t)t) : c->tiles_nbytes);
  return tile;
}

static inline uint32_t tansy_nibble(const uint8_t *nibbles, uint32_t i) { return nibbles ? nibbles[i / 2] >> (4 * (i & 1)) & 15 : 0; }

/* Tables form a ladder, narrow to wide. `group` counts from the matrix's first row. */
static inline const struct tansy_freq_table *tansy_step_table(const struct tansy_coded *c, uint32_t group, uint32_t step) {
  uint32_t k = tansy_nibble(c->row_class, group) + tansy_nibble(c->step_class, step);
  return c->tables + (k < c->shape.n_tables ? k : c->shape.n_tables - 1);
}

/* ---- the portable decoder, one step (4 rows x 16 columns) at a time ---- */
struct tansy_tile_reader {
  const struct tansy_coded *coded;
  struct tansy_tile tile;
  const uint8_t *at; /* next code byte */
  uint32_t group, step; /* next to be decoded; group counts from the tile's first */
  uint16_t states[TANSY_GROUP_N_ROWS][TANSY_LANES];
};
void tansy_tile_reader_open(const struct tansy_coded *coded, uint32_t tile, struct tansy_tile_reader *out);
/* u [4][16]: coded + (8 << raw_bits). TANSY_ERR_CORRUPT when the codes end early, or late after the last step. */
enum tansy_status tansy_tile_reader_next(struct tansy_tile_reader *reader, uint8_t *u);

#endif
