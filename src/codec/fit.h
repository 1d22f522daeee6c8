/* fit.h: frequency tables for given symbol counts, by exact cost. Compressor only. */
#ifndef TANSY_CODEC_FIT_H
#define TANSY_CODEC_FIT_H

#include <stdint.h>

#include "codec/codec.h"

/* A table as it is stored: runs in slot order. */
struct tansy_runs {
  uint32_t n_runs;
  uint8_t symbol[TANSY_N_SYMBOLS];
  uint8_t freq[TANSY_N_SYMBOLS];
  uint8_t commonest; /* symbol */
};

/* bits for one weight of each symbol; symbols without a run cost an escape */
struct tansy_costs {
  double bits[TANSY_N_SYMBOLS];
};

/* Decoders are faster where all frequencies of a matrix fit the dot's 7 bits (kernels/ans_simd.h); the encoder keeps to
 * that where it costs at most this share of the matrix. */
enum { TANSY_MAX_FREQ = 255, TANSY_FAST_MAX_FREQ = 127 };
#define TANSY_FAST_FREQ_PRICE 0.0025

/* counts [16] of symbols; escape_bits: what an escape costs in the side list. Without arranging, the frequencies are the
 * best ones if runs could lie anywhere: a lower bound, and quick. */
void tansy_fit_table(const double *counts, double escape_bits, uint32_t max_freq, int arrange, struct tansy_runs *runs,
                     struct tansy_costs *costs);
static inline int tansy_has_fast_freqs(const struct tansy_runs *runs) {
  for (uint32_t i = 0; i < runs->n_runs; i++)
    if (runs->freq[i] > TANSY_FAST_MAX_FREQ) return 0;
  return 1;
}

/* log2 of a positive number: our own, so that every build of the compressor makes the same choices */
double tansy_log2(double x);

#endif
