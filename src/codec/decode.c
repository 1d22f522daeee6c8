/* decode.c: the portable decoder, written to be read. CODEC.md, "Tiles"; the vector decoders are in kernels/. */
#include "codec/codec.h"
#include "codec/escape.h"
#include "codec/tile.h"

/* the raw bits of one weight of a group; layout in tile.h */
static uint32_t raw_of(const uint8_t *raw, uint32_t raw_bits, uint32_t n_steps, uint32_t row, uint32_t step, uint32_t lane) {
  const uint8_t *high = raw_bits == 3 ? raw + (size_t)n_steps * TANSY_LANES : raw;
  uint32_t bit = raw_bits & 1 ? high[step / 2 * TANSY_LANES + lane] >> (4 * (step & 1) + row) & 1u : 0;
  switch (raw_bits) {
    case 0: return 0;
    case 1: return bit;
    case 2: return raw[step * TANSY_LANES + lane] >> (2 * row) & 3u;
    case 3: return (raw[step * TANSY_LANES + lane] >> (2 * row) & 3u) | bit << 2;
    default: return raw[(2 * step + row / 2) * TANSY_LANES + lane] >> (4 * (row & 1)) & 15u;
  }
}

void tansy_tile_reader_open(const struct tansy_coded *coded, uint32_t t, struct tansy_tile_reader *r) {
  *r = (struct tansy_tile_reader){.coded = coded, .tile = tansy_coded_tile(coded, t)};
  r->at = r->tile.codes;
  for (uint32_t s = 0; s < coded->n_sets; s++)
    for (uint32_t l = 0; l < TANSY_LANES; l++) {
      const uint8_t *set = r->tile.states + TANSY_SET_NBYTES * s;
      r->states[s][l] = (uint16_t)(set[l] | set[TANSY_LANES + l] << 8);
    }
}

static bool is_at_end(const struct tansy_tile_reader *r) {
  for (uint32_t s = 0; s < r->coded->n_sets; s++)
    for (uint32_t l = 0; l < TANSY_LANES; l++)
      if (r->states[s][l] != TANSY_STATE_MIN) return false;
  return r->at == r->tile.codes_end;
}

enum tansy_status tansy_tile_reader_next(struct tansy_tile_reader *r, uint8_t *u) {
  const struct tansy_coded *c = r->coded;
  const uint32_t raw_bits = c->shape.raw_bits, n_steps = tansy_coded_n_steps(c);
  const struct tansy_freq_table *table = tansy_step_table(c, r->tile.row_begin / TANSY_GROUP_N_ROWS + r->group, r->step);
  const uint8_t *raw = r->tile.raw + (size_t)r->group * tansy_group_raw_nbytes(raw_bits, n_steps);
  for (uint32_t row = 0; row < TANSY_GROUP_N_ROWS; row++) {
    uint16_t *states = r->states[c->n_sets == 1 ? 0 : row];
    for (uint32_t lane = 0; lane < TANSY_LANES; lane++) {
      uint32_t slot = states[lane] & 255u;
      uint32_t run = (uint8_t)(slot + table->run[slot >> 4]) >> 4;
      uint32_t x = (uint32_t)table->freq[run] * (states[lane] >> 8) + slot - table->start[run];
      if (x < TANSY_STATE_MIN) {
        if (r->at == r->tile.codes_end) return TANSY_ERR_CORRUPT;
        x = x << 8 | ((x + *r->at++) & 255u);
      }
      states[lane] = (uint16_t)x;
      *u++ = (uint8_t)((uint32_t)table->value[run] << raw_bits | raw_of(raw, raw_bits, n_steps, row, r->step, lane));
    }
  }
  if (++r->step == n_steps) {
    r->step = 0;
    if (++r->group == r->tile.n_groups && !is_at_end(r)) return TANSY_ERR_CORRUPT;
  }
  return TANSY_OK;
}

/* decodes the tile's rows before row_end, and stores those from row_begin on */
static enum tansy_status read_tile(const struct tansy_coded *c, uint32_t t, uint32_t row_begin, uint32_t row_end, int32_t *out) {
  const uint32_t n_cols = c->shape.n_cols;
  struct tansy_tile_reader r;
  tansy_tile_reader_open(c, t, &r);
  while (r.group < r.tile.n_groups) {
    uint32_t row = r.tile.row_begin + TANSY_GROUP_N_ROWS * r.group, col = TANSY_LANES * r.step;
    if (row >= row_end) break;
    uint8_t u[TANSY_GROUP_N_ROWS][TANSY_LANES];
    TANSY_TRY(tansy_tile_reader_next(&r, u[0]));
    for (uint32_t k = 0; k < TANSY_GROUP_N_ROWS; k++)
      for (uint32_t l = 0; l < TANSY_LANES; l++)
        if (row + k >= row_begin && row + k < row_end && col + l < n_cols)
          out[(size_t)(row + k - row_begin) * n_cols + col + l] = u[k][l] - (8 << c->shape.raw_bits);
  }
  return TANSY_OK;
}

enum tansy_status tansy_coded_read_rows(const struct tansy_coded *c, uint32_t row_begin, uint32_t row_end, int32_t *out) {
  if (row_begin > row_end || row_end > c->shape.n_rows) return TANSY_ERR_ARGUMENT;
  for (uint32_t row = row_begin; row < row_end;) {
    uint32_t t = row / c->shape.tile_n_rows;
    uint32_t tile_end = (t + 1) * c->shape.tile_n_rows;
    uint32_t end = row_end < tile_end ? row_end : tile_end;
    int32_t *rows = out + (size_t)(row - row_begin) * c->shape.n_cols;
    TANSY_TRY(read_tile(c, t, row, end, rows));
    struct tansy_escapes e = tansy_escapes_of_tile(c, t);
    while (tansy_escapes_next(c, &e) && e.row < end)
      if (e.row >= row) {
        int32_t *z = &rows[(size_t)(e.row - row) * c->shape.n_cols + e.col];
        *z = (int32_t)((uint32_t)*z + e.delta);
      }
    row = end;
  }
  return TANSY_OK;
}
