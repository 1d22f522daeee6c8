/* plan.c: chooses raw bits and tables by cost. */
#include "codec/plan.h"

#include <stdbool.h>

#include "codec/classes.h"

enum { RANGE = 128 }; /* largest coded range, 8 << TANSY_MAX_RAW_BITS */

/* what an escape takes in the side list when n of total weights are escapes: gap, sign and magnitude */
static double escape_bits_at(double n, double total) {
  double gap = n > 0 ? total / n : total;
  return tansy_log2(gap < 1 ? 1 : gap) + 5;
}

struct histogram {
  double of[2 * RANGE]; /* [-RANGE, RANGE) */
  double outside, total;
};

struct single {
  double bits;        /* of the matrix with one table */
  double escape_bits; /* of an entry of the side list */
  double far_bits;    /* more for a weight outside the coded range, on average: its magnitude */
};

static struct single fit_single(const struct histogram *h, uint32_t raw_bits, uint32_t max_freq, int arranged, struct tansy_runs *runs) {
  double counts[TANSY_N_SYMBOLS] = {0}, far = h->outside;
  double magnitude_bits = h->outside * 8; /* beyond the least magnitude that escape_bits_at allows for */
  for (int32_t z = -RANGE; z < RANGE; z++) {
    uint32_t s = tansy_symbol_of(z, raw_bits);
    int32_t beyond = ((z < 0 ? -1 - z : z) >> raw_bits) - 8;
    if (s < TANSY_N_SYMBOLS) counts[s] += h->of[z + RANGE];
    else far += h->of[z + RANGE], magnitude_bits += h->of[z + RANGE] * tansy_log2(1.0 + beyond);
  }
  struct single single = {.escape_bits = 16, .far_bits = far > 0 ? magnitude_bits / far : 0};
  for (int round = 0; round < 3; round++) {
    struct tansy_costs costs;
    tansy_fit_table(counts, single.escape_bits, max_freq, arranged && round == 2, runs, &costs);
    double n_escapes = far;
    single.bits = far * (costs.bits[runs->commonest] + single.escape_bits) + magnitude_bits + h->total * raw_bits + 12.0 * runs->n_runs;
    uint32_t has_run = 0;
    for (uint32_t i = 0; i < runs->n_runs; i++) has_run |= 1u << runs->symbol[i];
    for (uint32_t v = 0; v < TANSY_N_SYMBOLS; v++) {
      single.bits += counts[v] * costs.bits[v];
      if (!(has_run >> v & 1)) n_escapes += counts[v];
    }
    single.escape_bits = escape_bits_at(n_escapes, h->total);
  }
  return single;
}

/* one table, or several where they pay */
static enum tansy_status plan_raw_bits(struct tansy_integers z, const struct histogram *h, uint32_t raw_bits, uint32_t max_tables,
                                       struct tansy_coding_plan *plan) {
  plan->raw_bits = raw_bits;
  plan->n_tables = 1;
  struct single single = fit_single(h, raw_bits, TANSY_MAX_FREQ, 1, &plan->tables[0]);
  plan->bits = single.bits;
  if (!tansy_has_fast_freqs(&plan->tables[0])) {
    struct tansy_runs runs;
    double bits = fit_single(h, raw_bits, TANSY_FAST_MAX_FREQ, 1, &runs).bits;
    if (bits <= (1 + TANSY_FAST_FREQ_PRICE) * plan->bits) plan->tables[0] = runs, plan->bits = bits;
  }
  return max_tables > 1 ? tansy_classes_choose(z, max_tables, single.escape_bits, single.far_bits, plan) : TANSY_OK;
}

enum tansy_status tansy_coding_plan_make(struct tansy_integers z, uint32_t n_rows, uint32_t n_cols, int raw_bits, int max_tables,
                                         struct tansy_coding_plan *plan) {
  struct tansy_coding_plan empty = {.n_rows = n_rows, .n_cols = n_cols};
  empty.n_groups = tansy_pad_rows(n_rows) / TANSY_GROUP_N_ROWS;
  empty.n_steps = tansy_pad_cols(n_cols) / TANSY_LANES;
  *plan = empty;
  struct histogram h = {.total = (double)n_rows * n_cols};
  for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) {
    int32_t v = tansy_integer_at(z, i);
    if (v >= -RANGE && v < RANGE) h.of[v + RANGE]++;
    else h.outside++;
  }

  double single[TANSY_MAX_RAW_BITS + 1], least = -1;
  for (uint32_t r = 0; r <= TANSY_MAX_RAW_BITS; r++) {
    single[r] = fit_single(&h, r, TANSY_MAX_FREQ, 0, &plan->tables[0]).bits;
    if (least < 0 || single[r] < least) least = single[r];
  }
  /* several tables can favour other raw bits than one does, but not by much */
  bool planned = false;
  for (uint32_t r = 0; r <= TANSY_MAX_RAW_BITS; r++) {
    if (raw_bits >= 0 ? r != (uint32_t)raw_bits : single[r] > 1.04 * least) continue;
    struct tansy_coding_plan trial = empty;
    enum tansy_status status = plan_raw_bits(z, &h, r, max_tables ? (uint32_t)max_tables : TANSY_MAX_TABLES, &trial);
    bool better = !planned || trial.bits < plan->bits;
    tansy_coding_plan_free(better ? plan : &trial);
    if (better) *plan = trial;
    planned = true;
    if (status != TANSY_OK) return status;
  }
  return TANSY_OK;
}
