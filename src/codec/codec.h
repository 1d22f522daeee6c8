/* codec.h: 16-lane rANS over a matrix of integers. Bitstream and the reasons for it: CODEC.md. Includes base/ only.
 *
 * A matrix z [n_rows, n_cols] of integers is coded in tiles of whole rows that decode on their own. Decoding yields the
 * *coded* value of each weight, in [-8*2^r, 8*2^r) with r = raw_bits; weights outside the range, or too rare for a table
 * slot, are escapes: coded as some cheap value and corrected by the tile's list of (row, col, delta) in the head.
 * z = coded + delta. All dot products are sums of integers modulo 2^32, so escapes, tiles, forms and threads commute. */
#ifndef TANSY_CODEC_CODEC_H
#define TANSY_CODEC_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
  TANSY_LANES = 16,            /* columns of one step: one byte each in a v128 */
  TANSY_GROUP_N_ROWS = 4,      /* rows coded side by side, 16 rANS states each */
  TANSY_N_SYMBOLS = 16,
  TANSY_MAX_RAW_BITS = 4,
  TANSY_MAX_TABLES = 32,
  TANSY_MAX_DIM = 1 << 20,     /* rows; columns are limited to TANSY_MAX_COLS */
  TANSY_MAX_COLS = 1 << 16,
};

/* What the index says of a coded matrix; enough to plan memory without its bytes. */
struct tansy_coded_shape {
  uint32_t n_rows, n_cols;
  uint32_t raw_bits;    /* 0..TANSY_MAX_RAW_BITS */
  uint32_t n_tables;    /* 1..TANSY_MAX_TABLES */
  uint32_t tile_n_rows; /* multiple of 4 */
  uint32_t n_escapes;
  uint32_t head_nbytes; /* the stream is head | tiles: tables, classes, tile offsets and ALL escape lists are in the head */
};

/* One frequency table, ready for decoders: 16-byte vectors. Slots 0..255 are cut into runs, one per symbol; at most one
 * boundary lies inside bucket b = slot >> 4, so the slot's run is the bucket's first, or the next one beyond the slot where that
 * ends. Both are in run[b] = 16 * first + 15 - last slot of it in the bucket: the slot's run is (uint8_t)(slot + run[b]) >> 4. */
struct tansy_freq_table {
  uint8_t run[16];       /* [bucket] */
  uint8_t start[16];     /* [run] first slot */
  uint8_t freq[16];      /* [run] number of slots */
  uint8_t value[16];     /* [run] symbol 0..15: (coded value >> raw_bits) + 8 */
  uint8_t start_odd[16]; /* [run] start + 128 * (freq & 1): for the dot-product form of the state update */
  uint8_t half[16];      /* [run] ((freq + 1) >> 1) - 128, likewise */
};

/* A validated view of a codec stream. Points into the stream and into `tables`; owns nothing. */
struct tansy_coded {
  struct tansy_coded_shape shape;
  uint32_t n_cols_padded; /* multiple of 16; padding decodes to arbitrary coded values */
  uint32_t n_tiles;
  const struct tansy_freq_table *tables; /* [n_tables] */
  /* The two halves of the stream may lie apart: a matrix promoted to PACKED or INT8 keeps its head (escapes) and drops its
   * tiles. To move a head, parse it again at its new place. */
  const uint8_t *head;  /* [shape.head_nbytes] */
  const uint8_t *tiles; /* not valid once promoted */
  size_t tiles_nbytes;
  uint32_t n_sets;             /* 4: a set of 16 states for each row of a group; 1: one set for all (small matrices) */
  const uint8_t *row_class;    /* one nibble a row group, low nibble first; NULL: all 0 */
  const uint8_t *step_class;   /* one nibble a step of 16 columns; NULL: all 0 */
  const uint8_t *tile_offsets; /* [n_tiles - 1] u32, unaligned, ascending: where tiles 1... begin, relative to `tiles` */
  /* escapes */
  const uint8_t *escape_offsets; /* [n_tiles - 1] u32, unaligned, relative to escape_bits */
  const uint8_t *escape_bits;
  uint32_t escape_bits_nbytes;
  uint32_t escape_base[2]; /* smallest |delta| >> raw_bits of positive, of negative deltas */
  uint8_t escape_gap_bits, escape_magnitude_bits;
};

static inline uint32_t tansy_pad_cols(uint32_t n_cols) { return (n_cols + 15u) & ~15u; }
static inline uint32_t tansy_pad_rows(uint32_t n_rows) { return (n_rows + 3u) & ~3u; }

enum { TANSY_STREAM_SLACK = 64 }; /* decoders may read (not use) this many bytes past a stream: the caller keeps them mapped */

/* Checks the whole head (escape lists too) and every tile's bounds, so that decoding can never leave
 * [tiles, tiles + tiles_nbytes + TANSY_STREAM_SLACK). Reads the head only: the tiles' bytes may still be on their way.
 * `head` has shape->head_nbytes bytes; in the file tiles follow it directly. `tables` is caller memory, 16-byte aligned, for
 * shape->n_tables tables. */
enum tansy_status tansy_coded_parse(const uint8_t *head, const uint8_t *tiles, size_t tiles_nbytes,
                                    const struct tansy_coded_shape *shape, struct tansy_freq_table *tables, struct tansy_coded *out);

/* Decodes rows [row_begin, row_end) of the matrix, escapes applied, into out [row_end - row_begin, n_cols]. Portable reference.
 * TANSY_ERR_CORRUPT when a tile that was decoded to its end does not end in the states it was begun with. */
enum tansy_status tansy_coded_read_rows(const struct tansy_coded *coded, uint32_t row_begin, uint32_t row_end, int32_t *out);

/* ---- encoder (compressor only; allocates) ---- */
struct tansy_encode_options {
  int raw_bits;          /* -1: choose by exact cost */
  uint32_t tile_n_rows;  /* 0: tansy_tile_n_rows() */
  int max_tables;        /* 0: choose */
};
/* of about 128 Ki weights; of less in small matrices, so that up to 8 threads find equal shares */
uint32_t tansy_tile_n_rows(uint32_t n_rows, uint32_t n_cols);

struct tansy_encode_stats {
  double entropy_bits;   /* empirical entropy of all integers, bits per weight, one table for the matrix */
  double coded_bits;     /* stream bytes * 8 / (n_rows * n_cols) */
};
/* Integers of a matrix, row by row: 16 bits each where they all fit, which halves the memory of a large one. */
struct tansy_integers {
  const int16_t *narrow; /* NULL: */
  const int32_t *wide;
};
static inline int32_t tansy_integer_at(struct tansy_integers z, size_t i) { return z.narrow ? z.narrow[i] : z.wide[i]; }

struct tansy_buffer; /* base/buffer.h: growable, malloc-backed */
enum tansy_status tansy_encode_integers(struct tansy_integers z /* [n_rows, n_cols] */, uint32_t n_rows, uint32_t n_cols,
                                        const struct tansy_encode_options *options, struct tansy_buffer *stream,
                                        struct tansy_coded_shape *shape, struct tansy_encode_stats *stats);
enum tansy_status tansy_encode(const int32_t *z /* [n_rows, n_cols] */, uint32_t n_rows, uint32_t n_cols,
                               const struct tansy_encode_options *options, struct tansy_buffer *stream,
                               struct tansy_coded_shape *shape, struct tansy_encode_stats *stats);

#endif
