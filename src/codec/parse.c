/* parse.c: reads and checks the head of a codec stream. CODEC.md, "Head" and "Tables". */
#include "base/bytes.h"
#include "codec/codec.h"
#include "codec/escape.h"
#include "codec/tile.h"

/* runs of slots -> the vectors decoders use */
static enum tansy_status make_table(const uint8_t *symbols, const uint8_t *freqs, uint32_t n_runs, struct tansy_freq_table *table) {
  memset(table, 0, sizeof *table);
  uint32_t end = 0, bucket = 0;
  for (uint32_t i = 0; i < n_runs; i++) {
    uint32_t start = end;
    end += freqs[i];
    table->start[i] = (uint8_t)start;
    table->freq[i] = freqs[i];
    table->value[i] = symbols[i];
    table->start_odd[i] = (uint8_t)(start + 128u * (freqs[i] & 1u));
    table->half[i] = (uint8_t)((freqs[i] + 1u) / 2u - 128u);
    /* a run strictly inside a bucket would be a second boundary there */
    if (start % 16 && end % 16 && start / 16 == end / 16) return TANSY_ERR_CORRUPT;
    for (; 16 * bucket < end; bucket++) {
      uint32_t last = (end < 16 * bucket + 16 ? end : 16 * bucket + 16) - 1;
      table->run[bucket] = (uint8_t)(16 * i + 15 - last);
    }
  }
  return TANSY_OK;
}

static enum tansy_status read_table(struct tansy_cursor *c, struct tansy_freq_table *table) {
  uint8_t symbols[TANSY_N_SYMBOLS], freqs[TANSY_N_SYMBOLS];
  uint32_t n_runs = tansy_read_u8(c);
  const uint8_t *nibbles = tansy_read_bytes(c, (n_runs + 1) / 2);
  if (c->failed) return TANSY_ERR_TRUNCATED;
  if (n_runs < 2 || n_runs > TANSY_N_SYMBOLS) return TANSY_ERR_CORRUPT;
  const uint8_t *stored = tansy_read_bytes(c, n_runs - 1);
  if (c->failed) return TANSY_ERR_TRUNCATED;
  uint32_t seen = 0, left = 256;
  for (uint32_t i = 0; i < n_runs; i++) {
    symbols[i] = nibbles[i / 2] >> (4 * (i & 1)) & 15;
    if (seen >> symbols[i] & 1) return TANSY_ERR_CORRUPT;
    seen |= 1u << symbols[i];
    uint32_t freq = i + 1 < n_runs ? stored[i] : left;
    if (freq == 0 || freq > 255 || freq > left) return TANSY_ERR_CORRUPT;
    freqs[i] = (uint8_t)freq;
    left -= freq;
  }
  return make_table(symbols, freqs, n_runs, table);
}

/* [n - 1] u32 offsets, ascending, the last not beyond `end` */
static enum tansy_status check_offsets(const uint8_t *offsets, uint32_t n, size_t end) {
  uint32_t last = 0;
  for (uint32_t i = 0; i + 1 < n; i++) {
    uint32_t offset = tansy_load_u32(offsets + 4 * (size_t)i);
    if (offset < last || offset > end) return TANSY_ERR_CORRUPT;
    last = offset;
  }
  return TANSY_OK;
}

static enum tansy_status read_escapes(struct tansy_cursor *c, struct tansy_coded *out) {
  uint32_t raw_bits = out->shape.raw_bits;
  out->escape_gap_bits = tansy_read_u8(c);
  out->escape_magnitude_bits = tansy_read_u8(c);
  for (int i = 0; i < 2; i++) {
    uint64_t base = tansy_read_varint(c);
    if (base > UINT32_MAX >> raw_bits) return TANSY_ERR_CORRUPT;
    out->escape_base[i] = (uint32_t)base;
  }
  out->escape_offsets = tansy_read_bytes(c, 4 * (size_t)(out->n_tiles - 1));
  out->escape_bits = c->at;
  if (c->failed) return TANSY_ERR_TRUNCATED;
  if (out->escape_gap_bits < 1 || out->escape_gap_bits > TANSY_ESCAPE_MAX_GAP_BITS ||
      out->escape_magnitude_bits > TANSY_ESCAPE_MAX_MAGNITUDE_BITS)
    return TANSY_ERR_CORRUPT;
  out->escape_bits_nbytes = (uint32_t)tansy_cursor_left(c);
  TANSY_TRY(check_offsets(out->escape_offsets, out->n_tiles, out->escape_bits_nbytes));

  uint32_t n_left = out->shape.n_escapes;
  for (uint32_t t = 0; t < out->n_tiles; t++) {
    struct tansy_escapes e = tansy_escapes_of_tile(out, t);
    if (e.n_left > n_left) return e.failed ? TANSY_ERR_TRUNCATED : TANSY_ERR_CORRUPT;
    n_left -= e.n_left;
    while (tansy_escapes_next(out, &e)) {
    }
    if (e.failed || (e.bit + 7) / 8 + 4 * (uint64_t)e.n_far != (uint64_t)(e.end - e.entries)) return TANSY_ERR_CORRUPT;
  }
  return n_left ? TANSY_ERR_CORRUPT : TANSY_OK;
}

enum tansy_status tansy_coded_parse(const uint8_t *head, const uint8_t *tiles, size_t tiles_nbytes,
                                    const struct tansy_coded_shape *shape, struct tansy_freq_table *tables, struct tansy_coded *out) {
  if (shape->n_rows < 1 || shape->n_rows > TANSY_MAX_DIM || shape->n_cols < 1 || shape->n_cols > TANSY_MAX_COLS ||
      shape->raw_bits > TANSY_MAX_RAW_BITS || shape->n_tables < 1 || shape->n_tables > TANSY_MAX_TABLES ||
      shape->tile_n_rows < TANSY_GROUP_N_ROWS || shape->tile_n_rows % TANSY_GROUP_N_ROWS || shape->tile_n_rows > TANSY_MAX_DIM)
    return TANSY_ERR_CORRUPT;
  *out = (struct tansy_coded){0};
  out->shape = *shape;
  out->n_cols_padded = tansy_pad_cols(shape->n_cols);
  out->n_tiles = (shape->n_rows + shape->tile_n_rows - 1) / shape->tile_n_rows;
  out->tables = tables;
  out->head = head;
  out->tiles = tiles;
  out->tiles_nbytes = tiles_nbytes;
  uint32_t n_groups = tansy_pad_rows(shape->n_rows) / TANSY_GROUP_N_ROWS;
  uint32_t n_steps = tansy_coded_n_steps(out);

  struct tansy_cursor c = tansy_cursor_over(head, shape->head_nbytes);
  uint8_t flags = tansy_read_u8(&c);
  if (flags & ~(TANSY_CODED_FOUR_SETS | TANSY_CODED_ROW_CLASSES | TANSY_CODED_STEP_CLASSES)) return TANSY_ERR_CORRUPT;
  out->n_sets = flags & TANSY_CODED_FOUR_SETS ? TANSY_GROUP_N_ROWS : 1;
  uint64_t stated_nbytes = tansy_read_varint(&c);
  for (uint32_t i = 0; i < shape->n_tables; i++) TANSY_TRY(read_table(&c, &tables[i]));
  if (flags & TANSY_CODED_ROW_CLASSES) out->row_class = tansy_read_bytes(&c, (n_groups + 1) / 2);
  if (flags & TANSY_CODED_STEP_CLASSES) out->step_class = tansy_read_bytes(&c, (n_steps + 1) / 2);
  out->tile_offsets = tansy_read_bytes(&c, 4 * (size_t)(out->n_tiles - 1));
  if (c.failed) return TANSY_ERR_TRUNCATED;
  if (stated_nbytes != tiles_nbytes) return stated_nbytes > tiles_nbytes ? TANSY_ERR_TRUNCATED : TANSY_ERR_CORRUPT;

  /* every tile holds its start states and raw bits; how many code bytes follow only decoding can tell */
  TANSY_TRY(check_offsets(out->tile_offsets, out->n_tiles, tiles_nbytes));
  size_t begin = 0;
  for (uint32_t t = 0; t < out->n_tiles; t++) {
    size_t end = t + 1 < out->n_tiles ? tansy_load_u32(out->tile_offsets + 4 * (size_t)t) : tiles_nbytes;
    uint32_t rows_left = shape->n_rows - t * shape->tile_n_rows;
    uint64_t tile_n_groups = tansy_pad_rows(rows_left < shape->tile_n_rows ? rows_left : shape->tile_n_rows) / TANSY_GROUP_N_ROWS;
    if (end - begin < out->n_sets * TANSY_SET_NBYTES + tile_n_groups * tansy_group_raw_nbytes(shape->raw_bits, n_steps))
      return TANSY_ERR_CORRUPT;
    /* time is bought with bytes: no tile holds more weights than its bytes can code */
    if (tile_n_groups * n_steps * (TANSY_GROUP_N_ROWS * TANSY_LANES) > (uint64_t)(end - begin) * TANSY_MAX_WEIGHTS_PER_BYTE) return TANSY_ERR_CORRUPT;
    begin = end;
  }
  if (shape->n_escapes) return read_escapes(&c, out);
  return tansy_cursor_left(&c) ? TANSY_ERR_CORRUPT : TANSY_OK;
}
