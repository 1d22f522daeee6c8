/* classes.c: rows and columns of one matrix spread differently; a table for each spread makes codes shorter, by 1.44 s^2 bits a
 * weight where s is the standard deviation of ln(spread). CODEC.md, "Tables".
 *
 * The table of a block is row_class + step_class on a ladder of spreads, so log-spreads are taken as a sum of a row's and a step's
 * part. Both start from measured spreads; then tables and classes are refined in turns, by cost, like k-means. */
#include "codec/classes.h"

#include <stdbool.h>
#include <string.h>

enum { N_BINS = TANSY_N_SYMBOLS + 1, MAX_CLASS = 15, N_TURNS = 5 };

struct blocks {
  uint32_t n_groups, n_steps;
  uint8_t *hist; /* [n_groups][n_steps][N_BINS]: symbols of 64 weights, the last bin for those outside; padding is left out */
};

struct candidate {
  uint32_t n_tables;
  uint8_t *row_class, *step_class;
  struct tansy_runs tables[TANSY_MAX_TABLES];
  double cost[TANSY_MAX_TABLES][N_BINS]; /* bits */
  double bits;
};

static const uint8_t *hist_of(const struct blocks *b, uint32_t group, uint32_t step) {
  return b->hist + ((size_t)group * b->n_steps + step) * N_BINS;
}

static void count_blocks(struct tansy_integers z, const struct tansy_coding_plan *p, struct blocks *b) {
  for (uint32_t i = 0; i < p->n_rows; i++)
    for (uint32_t j = 0; j < p->n_cols; j++) {
      size_t block = (size_t)(i / TANSY_GROUP_N_ROWS) * b->n_steps + j / TANSY_LANES;
      b->hist[block * N_BINS + tansy_symbol_of(tansy_integer_at(z, (size_t)i * p->n_cols + j), p->raw_bits)]++;
    }
}

static uint32_t table_of(const struct candidate *c, uint32_t group, uint32_t step) {
  uint32_t k = (uint32_t)c->row_class[group] + c->step_class[step];
  return k < c->n_tables ? k : c->n_tables - 1;
}

/* log2 of the mean distance from the middle of the symbols, of one line of blocks */
static double log_spread(const double *bins) {
  double sum = 0, n = 0;
  for (int v = 0; v < N_BINS; v++) {
    double d = v == TANSY_N_SYMBOLS ? 9 : v - 8 + 0.5;
    sum += bins[v] * (d < 0 ? -d : d);
    n += bins[v];
  }
  return n > 0 ? tansy_log2(sum / n + 0.01) : -6;
}

static void add_hist(double *bins, const uint8_t *hist) {
  for (int v = 0; v < N_BINS; v++) bins[v] += hist[v];
}

/* classes of lines from their spreads: steps of `rung` octaves from the least spread that is not rare */
static void classes_from_spreads(const double *spread, uint32_t n, double rung, uint8_t *class) {
  double low = 1e9, mean = 0;
  for (uint32_t i = 0; i < n; i++) {
    mean += spread[i] / n;
    if (spread[i] < low) low = spread[i];
  }
  if (low < mean - rung * MAX_CLASS / 2) low = mean - rung * MAX_CLASS / 2;
  for (uint32_t i = 0; i < n; i++) {
    double k = (spread[i] - low) / rung + 0.5;
    class[i] = (uint8_t)(k < 0 ? 0 : k > MAX_CLASS ? MAX_CLASS : k);
  }
}

/* tables for the present classes; returns the bits of everything */
static double fit_tables(const struct blocks *b, double escape_bits, double far_bits, uint32_t max_freq, int arranged, struct candidate *c) {
  static const double none[N_BINS] = {0};
  double counts[TANSY_MAX_TABLES][N_BINS];
  for (uint32_t k = 0; k < c->n_tables; k++) memcpy(counts[k], none, sizeof none);
  for (uint32_t g = 0; g < b->n_groups; g++)
    for (uint32_t s = 0; s < b->n_steps; s++) add_hist(counts[table_of(c, g, s)], hist_of(b, g, s));
  double bits = 0;
  for (uint32_t k = 0; k < c->n_tables; k++) {
    struct tansy_costs costs;
    tansy_fit_table(counts[k], escape_bits, max_freq, arranged, &c->tables[k], &costs);
    memcpy(c->cost[k], costs.bits, sizeof costs.bits);
    c->cost[k][TANSY_N_SYMBOLS] = costs.bits[c->tables[k].commonest] + escape_bits + far_bits;
    bits += 8 + 12.0 * c->tables[k].n_runs;
    for (int v = 0; v < N_BINS; v++) bits += counts[k][v] * c->cost[k][v];
  }
  return bits;
}

/* tables as they are stored; `price` bits more are paid for fast ones */
static void arrange_tables(const struct blocks *b, double escape_bits, double far_bits, double price, struct candidate *c) {
  double bits = fit_tables(b, escape_bits, far_bits, TANSY_MAX_FREQ, 1, c);
  int is_fast = 1;
  for (uint32_t k = 0; k < c->n_tables; k++) is_fast &= tansy_has_fast_freqs(&c->tables[k]);
  if (is_fast) return;
  struct tansy_runs tables[TANSY_MAX_TABLES];
  memcpy(tables, c->tables, sizeof tables);
  if (fit_tables(b, escape_bits, far_bits, TANSY_FAST_MAX_FREQ, 1, c) > bits + price) memcpy(c->tables, tables, sizeof tables);
}

/* the best class of a line, given how much of the line lies on each class of the other kind */
static uint8_t best_class(double bins[MAX_CLASS + 1][N_BINS], const struct candidate *c) {
  uint8_t best = 0;
  double best_bits = -1;
  for (uint32_t class = 0; class <= MAX_CLASS && class < c->n_tables; class++) {
    double bits = 0;
    for (uint32_t other = 0; other <= MAX_CLASS; other++) {
      uint32_t k = class + other < c->n_tables ? class + other : c->n_tables - 1;
      for (int v = 0; v < N_BINS; v++)
        if (bins[other][v] > 0) bits += bins[other][v] * c->cost[k][v];
    }
    if (best_bits < 0 || bits < best_bits) best_bits = bits, best = (uint8_t)class;
  }
  return best;
}

static void choose_row_classes(const struct blocks *b, struct candidate *c) {
  for (uint32_t g = 0; g < b->n_groups; g++) {
    double bins[MAX_CLASS + 1][N_BINS];
    memset(bins, 0, sizeof bins);
    for (uint32_t s = 0; s < b->n_steps; s++) add_hist(bins[c->step_class[s]], hist_of(b, g, s));
    c->row_class[g] = best_class(bins, c);
  }
}

static void choose_step_classes(const struct blocks *b, struct candidate *c) {
  for (uint32_t s = 0; s < b->n_steps; s++) {
    double bins[MAX_CLASS + 1][N_BINS];
    memset(bins, 0, sizeof bins);
    for (uint32_t g = 0; g < b->n_groups; g++) add_hist(bins[c->row_class[g]], hist_of(b, g, s));
    c->step_class[s] = best_class(bins, c);
  }
}

static uint32_t max_class(const uint8_t *class, uint32_t n) {
  uint32_t max = 0;
  for (uint32_t i = 0; i < n; i++)
    if (class[i] > max) max = class[i];
  return max;
}

/* one way to cut spreads into classes; row_spread or step_spread NULL: that kind has no classes */
static void refine(const struct blocks *b, const double *row_spread, const double *step_spread, double rung, uint32_t max_tables,
                   double escape_bits, double far_bits, struct candidate *c) {
  memset(c->row_class, 0, b->n_groups);
  memset(c->step_class, 0, b->n_steps);
  if (row_spread) classes_from_spreads(row_spread, b->n_groups, rung, c->row_class);
  if (step_spread) classes_from_spreads(step_spread, b->n_steps, rung, c->step_class);
  c->n_tables = max_class(c->row_class, b->n_groups) + max_class(c->step_class, b->n_steps) + 1;
  if (c->n_tables > max_tables) c->n_tables = max_tables;
  for (int turn = 0;; turn++) {
    c->bits = fit_tables(b, escape_bits, far_bits, TANSY_MAX_FREQ, 0, c);
    if (turn == N_TURNS || c->n_tables == 1) break;
    if (row_spread) choose_row_classes(b, c);
    if (step_spread) choose_step_classes(b, c);
  }
  /* nibbles in the head */
  if (row_spread) c->bits += 4.0 * b->n_groups;
  if (step_spread) c->bits += 4.0 * b->n_steps;
}

static bool new_candidate(const struct blocks *b, struct candidate *c) {
  c->row_class = calloc(b->n_groups, 1);
  c->step_class = calloc(b->n_steps, 1);
  return c->row_class && c->step_class;
}
static void free_candidate(struct candidate *c) {
  free(c->row_class);
  free(c->step_class);
}

static void search(const struct blocks *b, uint32_t max_tables, double escape_bits, double far_bits, double *spreads,
                   struct candidate *trial, struct candidate *best) {
  double *row_spread = spreads, *step_spread = spreads + b->n_groups;
  for (uint32_t g = 0; g < b->n_groups; g++) {
    double bins[N_BINS] = {0};
    for (uint32_t s = 0; s < b->n_steps; s++) add_hist(bins, hist_of(b, g, s));
    row_spread[g] = log_spread(bins);
  }
  for (uint32_t s = 0; s < b->n_steps; s++) {
    double bins[N_BINS] = {0};
    for (uint32_t g = 0; g < b->n_groups; g++) add_hist(bins, hist_of(b, g, s));
    step_spread[s] = log_spread(bins);
  }
  best->n_tables = 1;
  best->bits = fit_tables(b, escape_bits, far_bits, TANSY_MAX_FREQ, 0, best);
  /* rows first: their classes cost no speed. Classes of steps switch tables inside a row, so they must win by a margin. */
  static const double rungs[] = {0.6, 0.4, 0.25}; /* octaves */
  for (int kind = 0; kind < 3; kind++) {
    double without = best->bits;
    for (int i = 0; i < 3; i++) {
      refine(b, kind != 1 ? row_spread : NULL, kind > 0 ? step_spread : NULL, rungs[i], max_tables, escape_bits, far_bits, trial);
      if (trial->bits < best->bits && (kind == 0 || trial->bits < 0.995 * without)) {
        struct candidate swap = *best;
        *best = *trial;
        *trial = swap;
      }
    }
  }
}

enum tansy_status tansy_classes_choose(struct tansy_integers z, uint32_t max_tables, double escape_bits, double far_bits,
                                       struct tansy_coding_plan *p) {
  struct blocks b = {.n_groups = p->n_groups, .n_steps = p->n_steps};
  b.hist = calloc((size_t)b.n_groups * b.n_steps, N_BINS);
  double *spreads = malloc(((size_t)b.n_groups + b.n_steps) * sizeof *spreads);
  struct candidate *c = calloc(2, sizeof *c); /* too large for a small stack */
  bool ok = b.hist && spreads && c && new_candidate(&b, &c[0]) && new_candidate(&b, &c[1]);
  if (ok) {
    struct candidate *best = &c[1];
    count_blocks(z, p, &b);
    search(&b, max_tables, escape_bits, far_bits, spreads, &c[0], best);
    if (best->n_tables > 1) {
      p->n_tables = best->n_tables;
      p->bits = best->bits + (double)p->n_rows * p->n_cols * p->raw_bits;
      arrange_tables(&b, escape_bits, far_bits, TANSY_FAST_FREQ_PRICE * p->bits, best);
      memcpy(p->tables, best->tables, sizeof best->tables);
      if (max_class(best->row_class, b.n_groups)) {
        p->row_class = best->row_class;
        best->row_class = NULL;
      }
      if (max_class(best->step_class, b.n_steps)) {
        p->step_class = best->step_class;
        best->step_class = NULL;
      }
    }
  }
  if (c) {
    free_candidate(&c[0]);
    free_candidate(&c[1]);
  }
  free(c);
  free(spreads);
  free(b.hist);
  return ok ? TANSY_OK : TANSY_ERR_NO_MEMORY;
}
