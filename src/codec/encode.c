/* encode.c: writes a codec stream as planned. Pipeline: plan -> tiles (states, raw bits, codes) -> head (tables, classes,
 * offsets, escapes). CODEC.md. */
#include "base/buffer.h"
#include "codec/escape.h"
#include "codec/plan.h"
#include "codec/tile.h"

/* Tiles have about TILE_N_WEIGHTS; fewer, but at least MIN_TILE_N_WEIGHTS, where a matrix would otherwise make less than N_SHARES. */
enum { TILE_N_WEIGHTS = 128 << 10, MIN_TILE_N_WEIGHTS = 40 << 10, N_SHARES = 8 };

struct escape {
  uint64_t cell; /* in its tile, row by row */
  int64_t step;  /* delta >> raw_bits */
};

struct encoder {
  struct tansy_integers z;
  const struct tansy_coding_plan *plan;
  uint32_t tile_n_rows, n_tiles, n_sets;
  struct run { uint8_t start, freq; } run_of[TANSY_MAX_TABLES][TANSY_N_SYMBOLS]; /* freq 0: no run */
  struct tansy_buffer tiles, offsets;
  struct tansy_buffer escapes; /* struct escape, tile after tile */
  uint32_t *n_escapes;         /* [n_tiles] */
  uint8_t *codes, *codes_end;  /* room for one tile, filled from the end */
};

/* ---- tiles ---- */

/* symbol and raw bits a weight is coded as; cells of the padding and escapes take the commonest symbol */
static uint32_t coded_cell(const struct encoder *e, uint32_t table, uint32_t row, uint32_t col, uint32_t *raw) {
  const struct tansy_coding_plan *p = e->plan;
  uint32_t commonest = p->tables[table].commonest;
  *raw = 0;
  if (row >= p->n_rows || col >= p->n_cols) return commonest;
  int32_t z = tansy_integer_at(e->z, (size_t)row * p->n_cols + col);
  *raw = (uint32_t)z & ((1u << p->raw_bits) - 1);
  uint32_t symbol = tansy_symbol_of(z, p->raw_bits);
  return symbol < TANSY_N_SYMBOLS && e->run_of[table][symbol].freq ? symbol : commonest;
}

static void put_raw(uint8_t *raw, uint32_t raw_bits, uint32_t n_steps, uint32_t row, uint32_t step, uint32_t lane, uint32_t bits) {
  uint8_t *high = raw_bits == 3 ? raw + (size_t)n_steps * TANSY_LANES : raw;
  if (raw_bits == 4) {
    raw[(2 * step + row / 2) * TANSY_LANES + lane] |= (uint8_t)(bits << (4 * (row & 1)));
    return;
  }
  if (raw_bits & 1) high[step / 2 * TANSY_LANES + lane] |= (uint8_t)((bits >> (raw_bits - 1)) << (4 * (step & 1) + row));
  if (raw_bits >= 2) raw[step * TANSY_LANES + lane] |= (uint8_t)((bits & 3u) << (2 * row));
}

/* Everything is pushed in the reverse of decoding order, so that the decoder reads forward. */
static void write_tile(struct encoder *e, uint32_t t) {
  const struct tansy_coding_plan *p = e->plan;
  uint32_t row_begin = t * e->tile_n_rows;
  uint32_t row_end = p->n_rows - row_begin < e->tile_n_rows ? p->n_rows : row_begin + e->tile_n_rows;
  uint32_t n_groups = tansy_pad_rows(row_end - row_begin) / TANSY_GROUP_N_ROWS;
  size_t group_raw = tansy_group_raw_nbytes(p->raw_bits, p->n_steps);
  if (t) tansy_put_u32(&e->offsets, (uint32_t)e->tiles.nbytes);

  size_t begin = e->tiles.nbytes;
  uint8_t *payload = tansy_buffer_grow(&e->tiles, e->n_sets * TANSY_SET_NBYTES + n_groups * group_raw);
  if (!payload) return;
  memset(payload, 0, e->tiles.nbytes - begin);
  uint8_t *raws = payload + e->n_sets * TANSY_SET_NBYTES;

  uint32_t x[TANSY_GROUP_N_ROWS][TANSY_LANES];
  for (uint32_t s = 0; s < TANSY_GROUP_N_ROWS; s++)
    for (uint32_t l = 0; l < TANSY_LANES; l++) x[s][l] = TANSY_STATE_MIN;
  uint8_t *at = e->codes_end;
  for (uint32_t g = n_groups; g-- > 0;)
    for (uint32_t step = p->n_steps; step-- > 0;) {
      uint32_t table = tansy_plan_table(p, row_begin / TANSY_GROUP_N_ROWS + g, step);
      for (uint32_t r = TANSY_GROUP_N_ROWS; r-- > 0;)
        for (uint32_t l = TANSY_LANES; l-- > 0;) {
          uint32_t bits;
          uint32_t symbol = coded_cell(e, table, row_begin + TANSY_GROUP_N_ROWS * g + r, TANSY_LANES * step + l, &bits);
          put_raw(raws + g * group_raw, p->raw_bits, p->n_steps, r, step, l, bits);
          uint32_t *state = &x[e->n_sets == 1 ? 0 : r][l];
          struct run run = e->run_of[table][symbol];
          if (*state >= (uint32_t)run.freq << 8) {
            /* stored less what stays: a vector decoder then needs one addition for both kinds of lane */
            *--at = (uint8_t)(*state - (*state >> 8));
            *state >>= 8;
          }
          *state = (*state / run.freq) << 8 | (run.start + *state % run.freq);
        }
    }
  for (uint32_t s = 0; s < e->n_sets; s++)
    for (uint32_t l = 0; l < TANSY_LANES; l++) {
      payload[TANSY_SET_NBYTES * s + l] = (uint8_t)x[s][l];
      payload[TANSY_SET_NBYTES * s + TANSY_LANES + l] = (uint8_t)(x[s][l] >> 8);
    }
  tansy_put_bytes(&e->tiles, at, (size_t)(e->codes_end - at));

  for (uint32_t row = row_begin; row < row_end; row++)
    for (uint32_t col = 0; col < p->n_cols; col++) {
      int32_t z = tansy_integer_at(e->z, (size_t)row * p->n_cols + col);
      uint32_t table = tansy_plan_table(p, row / TANSY_GROUP_N_ROWS, col / TANSY_LANES);
      uint32_t symbol = tansy_symbol_of(z, p->raw_bits);
      if (symbol < TANSY_N_SYMBOLS && e->run_of[table][symbol].freq) continue;
      struct escape escape = {(uint64_t)(row - row_begin) * p->n_cols + col,
                              (int64_t)(z >> p->raw_bits) + 8 - p->tables[table].commonest};
      tansy_put_bytes(&e->escapes, &escape, sizeof escape);
      e->n_escapes[t]++;
    }
}

/* ---- escapes ---- */

struct bit_writer {
  struct tansy_buffer *out;
  uint64_t acc;
  uint32_t n;
};

static void put_bits(struct bit_writer *w, uint32_t value, uint32_t n) {
  w->acc |= (uint64_t)value << w->n;
  w->n += n;
  for (; w->n >= 8; w->n -= 8, w->acc >>= 8) tansy_put_u8(w->out, (uint8_t)w->acc);
}

static uint32_t magnitude(const struct escape *e) { return (uint32_t)(e->step < 0 ? -e->step : e->step); }

/* what both passes over the escapes need: gaps and magnitudes */
struct escape_walk {
  const struct escape *at;
  uint64_t next_cell;
};

static uint32_t escape_gap(struct escape_walk *w) {
  uint32_t gap = (uint32_t)(w->at->cell - w->next_cell);
  w->next_cell = w->at->cell + 1;
  w->at++;
  return gap;
}

static void write_escapes(const struct encoder *e, struct tansy_buffer *head) {
  const struct escape *escapes = (const struct escape *)(const void *)e->escapes.bytes;
  size_t n = e->escapes.nbytes / sizeof *escapes;
  uint32_t base[2] = {UINT32_MAX, UINT32_MAX};
  for (size_t i = 0; i < n; i++) {
    uint32_t m = magnitude(&escapes[i]), negative = escapes[i].step < 0;
    if (m < base[negative]) base[negative] = m;
  }
  for (int i = 0; i < 2; i++)
    if (base[i] == UINT32_MAX) base[i] = 0;

  /* widths by exact cost: an entry takes gap, sign, magnitude; a long gap more entries, a far magnitude 32 bits more */
  uint64_t n_entries[TANSY_ESCAPE_MAX_GAP_BITS + 1] = {0}, n_far[TANSY_ESCAPE_MAX_MAGNITUDE_BITS + 1] = {0};
  const struct escape *from = escapes;
  for (uint32_t t = 0; t < e->n_tiles; t++) {
    struct escape_walk walk = {from, 0};
    for (uint32_t i = 0; i < e->n_escapes[t]; i++) {
      uint32_t m = magnitude(walk.at) - base[walk.at->step < 0], gap = escape_gap(&walk);
      for (uint32_t b = 1; b <= TANSY_ESCAPE_MAX_GAP_BITS; b++) n_entries[b] += 1 + gap / ((1u << b) - 1);
      for (uint32_t b = 0; b <= TANSY_ESCAPE_MAX_MAGNITUDE_BITS; b++) n_far[b] += b ? m >= (1u << b) - 1 : m > 0;
    }
    from += e->n_escapes[t];
  }
  uint32_t gap_bits = 0, magnitude_bits = 0;
  uint64_t least = UINT64_MAX;
  for (uint32_t g = 1; g <= TANSY_ESCAPE_MAX_GAP_BITS; g++)
    for (uint32_t m = 0; m <= TANSY_ESCAPE_MAX_MAGNITUDE_BITS; m++) {
      if (m == 0 && n_far[0]) continue; /* no bits, no far magnitudes */
      uint64_t nbits = n_entries[g] * (g + 1 + m) + 32 * n_far[m];
      if (nbits < least) least = nbits, gap_bits = g, magnitude_bits = m;
    }
  const uint32_t skip = (1u << gap_bits) - 1, far = (1u << magnitude_bits) - 1;

  struct tansy_buffer bits = {0}, offsets = {0};
  from = escapes;
  for (uint32_t t = 0; t < e->n_tiles; t++) {
    if (t) tansy_put_u32(&offsets, (uint32_t)bits.nbytes);
    struct bit_writer w = {&bits, 0, 0};
    uint32_t count = e->n_escapes[t];
    put_bits(&w, count < 0x8000 ? count : (count & 0x7fff) | 0x8000, 16);
    if (count >= 0x8000) put_bits(&w, count >> 15, 16);
    struct escape_walk walk = {from, 0};
    for (uint32_t i = 0; i < count; i++) {
      uint32_t negative = walk.at->step < 0, m = magnitude(walk.at) - base[negative], gap = escape_gap(&walk);
      for (; gap >= skip; gap -= skip) {
        put_bits(&w, skip, gap_bits);
        put_bits(&w, 0, 1 + magnitude_bits);
      }
      put_bits(&w, gap, gap_bits);
      put_bits(&w, negative, 1);
      put_bits(&w, m < far ? m : far, magnitude_bits);
    }
    if (w.n) put_bits(&w, 0, 8 - w.n);
    /* read from the end backwards */
    for (uint32_t i = count; far && i-- > 0;) {
      uint32_t m = magnitude(&from[i]) - base[from[i].step < 0];
      if (m >= far) tansy_put_u32(&bits, m);
    }
    from += count;
  }
  tansy_put_u8(head, (uint8_t)gap_bits);
  tansy_put_u8(head, (uint8_t)magnitude_bits);
  tansy_put_varint(head, base[0]);
  tansy_put_varint(head, base[1]);
  tansy_put_bytes(head, offsets.bytes, offsets.nbytes);
  tansy_put_bytes(head, bits.bytes, bits.nbytes);
  if (bits.failed || offsets.failed) head->failed = true;
  tansy_buffer_free(&bits);
  tansy_buffer_free(&offsets);
}

/* ---- head ---- */

static void put_nibbles(struct tansy_buffer *b, const uint8_t *v, uint32_t n) {
  for (uint32_t i = 0; i < n; i += 2) tansy_put_u8(b, (uint8_t)(v[i] | (i + 1 < n ? v[i + 1] : 0) << 4));
}

static void write_head(const struct encoder *e, struct tansy_buffer *head) {
  const struct tansy_coding_plan *p = e->plan;
  tansy_put_u8(head, (uint8_t)((e->n_sets > 1 ? TANSY_CODED_FOUR_SETS : 0) | (p->row_class ? TANSY_CODED_ROW_CLASSES : 0) |
                               (p->step_class ? TANSY_CODED_STEP_CLASSES : 0)));
  tansy_put_varint(head, e->tiles.nbytes);
  for (uint32_t k = 0; k < p->n_tables; k++) {
    const struct tansy_runs *runs = &p->tables[k];
    tansy_put_u8(head, (uint8_t)runs->n_runs);
    put_nibbles(head, runs->symbol, runs->n_runs);
    tansy_put_bytes(head, runs->freq, runs->n_runs - 1);
  }
  if (p->row_class) put_nibbles(head, p->row_class, p->n_groups);
  if (p->step_class) put_nibbles(head, p->step_class, p->n_steps);
  tansy_put_bytes(head, e->offsets.bytes, e->offsets.nbytes);
  if (e->escapes.nbytes) write_escapes(e, head);
}

/* ---- the whole ---- */

static int compare_i32(const void *a, const void *b) {
  int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
  return (x > y) - (x < y);
}

/* empirical entropy in bits per weight: a counter for each common value, the few others sorted */
static enum tansy_status entropy_of(struct tansy_integers z, size_t n, double *bits) {
  enum { RANGE = 1 << 12 };
  uint64_t *count = calloc(2 * RANGE, sizeof *count);
  size_t n_far = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t v = tansy_integer_at(z, i);
    n_far += v < -RANGE || v >= RANGE;
  }
  int32_t *far = malloc((n_far + 1) * sizeof *far);
  if (!count || !far) {
    free(count);
    free(far);
    return TANSY_ERR_NO_MEMORY;
  }
  n_far = 0;
  for (size_t i = 0; i < n; i++) {
    int32_t v = tansy_integer_at(z, i);
    if (v < -RANGE || v >= RANGE)
      far[n_far++] = v;
    else
      count[v + RANGE]++;
  }
  qsort(far, n_far, sizeof *far, compare_i32);
  double sum = 0;
  for (size_t i = 0; i < 2 * RANGE; i++)
    if (count[i]) sum += (double)count[i] * tansy_log2((double)count[i]);
  for (size_t i = 0, j; i < n_far; i = j) {
    for (j = i + 1; j < n_far && far[j] == far[i]; j++) {
    }
    sum += (double)(j - i) * tansy_log2((double)(j - i));
  }
  free(far);
  free(count);
  *bits = tansy_log2((double)n) - sum / (double)n;
  return TANSY_OK;
}

/* of equal height: a thread should not wait for a long one */
uint32_t tansy_tile_n_rows(uint32_t n_rows, uint32_t n_cols) {
  uint32_t n_groups = tansy_pad_rows(n_rows) / TANSY_GROUP_N_ROWS;
  uint64_t n_weights = (uint64_t)tansy_pad_rows(n_rows) * tansy_pad_cols(n_cols);
  uint64_t n_tiles = (n_weights + TILE_N_WEIGHTS / 2) / TILE_N_WEIGHTS, n_small = n_weights / MIN_TILE_N_WEIGHTS;
  if (n_small > N_SHARES) n_small = N_SHARES;
  if (n_tiles < n_small) n_tiles = n_small;
  if (n_tiles < 1) n_tiles = 1;
  if (n_tiles > n_groups) n_tiles = n_groups;
  return (uint32_t)((n_groups + n_tiles - 1) / n_tiles) * TANSY_GROUP_N_ROWS;
}

static void choose_tiles(struct encoder *e, uint32_t tile_n_rows) {
  const struct tansy_coding_plan *p = e->plan;
  if (!tile_n_rows) tile_n_rows = tansy_tile_n_rows(p->n_rows, p->n_cols);
  e->tile_n_rows = tile_n_rows;
  e->n_tiles = (p->n_rows + tile_n_rows - 1) / tile_n_rows;
  /* A set of 16 states costs about 24 bytes: three more sets must stay below 0.75 % of a tile. */
  double tile_nbytes = p->bits / 8 * tile_n_rows / p->n_rows;
  e->n_sets = tile_nbytes * 0.0075 < 72 ? 1 : TANSY_GROUP_N_ROWS;
}

static enum tansy_status encode_planned(struct encoder *e, struct tansy_buffer *stream, struct tansy_coded_shape *shape) {
  const struct tansy_coding_plan *p = e->plan;
  for (uint32_t k = 0; k < p->n_tables; k++) {
    uint32_t start = 0;
    for (uint32_t i = 0; i < p->tables[k].n_runs; i++) {
      e->run_of[k][p->tables[k].symbol[i]] = (struct run){(uint8_t)start, p->tables[k].freq[i]};
      start += p->tables[k].freq[i];
    }
  }
  size_t tile_n_cells = (size_t)(e->tile_n_rows < tansy_pad_rows(p->n_rows) ? e->tile_n_rows : tansy_pad_rows(p->n_rows)) *
                        p->n_steps * TANSY_LANES;
  e->codes = malloc(tile_n_cells); /* a symbol takes at most a byte */
  e->n_escapes = calloc(e->n_tiles, sizeof *e->n_escapes);
  if (!e->codes || !e->n_escapes) return TANSY_ERR_NO_MEMORY;
  e->codes_end = e->codes + tile_n_cells;
  for (uint32_t t = 0; t < e->n_tiles; t++) write_tile(e, t);
  if (e->tiles.failed || e->offsets.failed || e->escapes.failed) return TANSY_ERR_NO_MEMORY;
  if (e->tiles.nbytes > UINT32_MAX) return TANSY_ERR_UNSUPPORTED;

  size_t head_begin = stream->nbytes;
  write_head(e, stream);
  size_t head_nbytes = stream->nbytes - head_begin;
  tansy_put_bytes(stream, e->tiles.bytes, e->tiles.nbytes);
  if (stream->failed) return TANSY_ERR_NO_MEMORY;
  *shape = (struct tansy_coded_shape){
      .n_rows = p->n_rows, .n_cols = p->n_cols, .raw_bits = p->raw_bits, .n_tables = p->n_tables, .tile_n_rows = e->tile_n_rows,
      .n_escapes = (uint32_t)(e->escapes.nbytes / sizeof(struct escape)), .head_nbytes = (uint32_t)head_nbytes};
  return TANSY_OK;
}

enum tansy_status tansy_encode_integers(struct tansy_integers z, uint32_t n_rows, uint32_t n_cols, const struct tansy_encode_options *options,
                                        struct tansy_buffer *stream, struct tansy_coded_shape *shape, struct tansy_encode_stats *stats) {
  static const struct tansy_encode_options defaults = {.raw_bits = -1};
  if (!options) options = &defaults;
  if (n_rows < 1 || n_rows > TANSY_MAX_DIM || n_cols < 1 || n_cols > TANSY_MAX_COLS || options->raw_bits < -1 ||
      options->raw_bits > TANSY_MAX_RAW_BITS || options->tile_n_rows % TANSY_GROUP_N_ROWS || options->tile_n_rows > TANSY_MAX_DIM ||
      options->max_tables < 0 || options->max_tables > TANSY_MAX_TABLES ||
      (uint64_t)(options->tile_n_rows < n_rows ? options->tile_n_rows : n_rows) * n_cols > UINT32_MAX) /* gaps between escapes */
    return TANSY_ERR_ARGUMENT;

  struct tansy_coding_plan plan;
  enum tansy_status status = tansy_coding_plan_make(z, n_rows, n_cols, options->raw_bits, options->max_tables, &plan);
  if (status == TANSY_OK) {
    size_t before = stream->nbytes;
    struct encoder e = {.z = z, .plan = &plan};
    choose_tiles(&e, options->tile_n_rows);
    status = encode_planned(&e, stream, shape);
    if (status == TANSY_OK && stats) {
      stats->coded_bits = 8.0 * (double)(stream->nbytes - before) / ((double)n_rows * n_cols);
      status = entropy_of(z, (size_t)n_rows * n_cols, &stats->entropy_bits);
    }
    tansy_buffer_free(&e.tiles);
    tansy_buffer_free(&e.offsets);
    tansy_buffer_free(&e.escapes);
    free(e.n_escapes);
    free(e.codes);
  }
  tansy_coding_plan_free(&plan);
  return status;
}

enum tansy_status tansy_encode(const int32_t *z, uint32_t n_rows, uint32_t n_cols, const struct tansy_encode_options *options,
                               struct tansy_buffer *stream, struct tansy_coded_shape *shape, struct tansy_encode_stats *stats) {
  return tansy_encode_integers((struct tansy_integers){NULL, z}, n_rows, n_cols, options, stream, shape, stats);
}
