/* plan.h: what the encoder decides before it writes a byte. Compressor only. */
#ifndef TANSY_CODEC_PLAN_H
#define TANSY_CODEC_PLAN_H

#include <stdlib.h>

#include "codec/fit.h"

struct tansy_coding_plan {
  uint32_t n_rows, n_cols, n_groups, n_steps;
  uint32_t raw_bits;
  uint32_t n_tables;
  struct tansy_runs tables[TANSY_MAX_TABLES]; /* narrow to wide */
  uint8_t *row_class;  /* [n_groups] or NULL: all 0 */
  uint8_t *step_class; /* [n_steps] or NULL: all 0 */
  double bits;         /* expected size without tile overheads */
};

/* raw_bits -1: choose. max_tables 0: choose. Free with tansy_coding_plan_free, also after an error. */
enum tansy_status tansy_coding_plan_make(struct tansy_integers z, uint32_t n_rows, uint32_t n_cols, int raw_bits, int max_tables,
                                         struct tansy_coding_plan *plan);

static inline void tansy_coding_plan_free(struct tansy_coding_plan *plan) {
  free(plan->row_class);
  free(plan->step_class);
  plan->row_class = plan->step_class = NULL;
}

/* 0..15, or 16 when z is outside the coded range */
static inline uint32_t tansy_symbol_of(int32_t z, uint32_t raw_bits) {
  int32_t s = z >> raw_bits;
  return s >= -8 && s < 8 ? (uint32_t)(s + 8) : TANSY_N_SYMBOLS;
}

static inline uint32_t tansy_plan_table(const struct tansy_coding_plan *p, uint32_t group, uint32_t step) {
  uint32_t k = (p->row_class ? p->row_class[group] : 0u) + (p->step_class ? p->step_class[step] : 0u);
  return k < p->n_tables ? k : p->n_tables - 1;
}

#endif
