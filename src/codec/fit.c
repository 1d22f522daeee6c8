/* fit.c: chooses which symbols get a run of slots, how long each is, and in which order they lie. CODEC.md, "Tables".
 *
 * Order matters because a bucket of 16 slots may hold one boundary only: for a given order, dynamic programming over the
 * position of each boundary finds the cheapest frequencies; orders are searched by swapping. */
#include "codec/fit.h"

#include <stdbool.h>
#include <string.h>

enum { N_SLOTS = 256 };

double tansy_log2(double x) {
  int e = 0;
  while (x >= 2) x *= 0.5, e++;
  while (x < 1) x *= 2, e--;
  /* log2(x) = 2 / ln 2 * atanh((x - 1) / (x + 1)), x brought to [0.7, 1.42) */
  if (x > 1.4142135623730951) x *= 0.5, e++;
  double t = (x - 1) / (x + 1), t2 = t * t, s = 0;
  for (int k = 27; k >= 1; k -= 2) s = s * t2 + 1.0 / k;
  return e + s * t * 2.8853900817779268;
}

struct symbols {
  uint32_t n;
  uint8_t symbol[TANSY_N_SYMBOLS]; /* commonest first */
  double count[TANSY_N_SYMBOLS];   /* of symbol[i] */
  double ideal[TANSY_N_SYMBOLS];   /* slots, were they divisible */
  double total;
};

struct slot_bits {
  double of[N_SLOTS + 1]; /* -log2(f / 256) */
};

static void sort_symbols(struct symbols *s) {
  for (uint32_t i = 1; i < s->n; i++)
    for (uint32_t j = i; j > 0 && s->count[j] > s->count[j - 1]; j--) {
      double count = s->count[j];
      uint8_t symbol = s->symbol[j];
      s->count[j] = s->count[j - 1], s->symbol[j] = s->symbol[j - 1];
      s->count[j - 1] = count, s->symbol[j - 1] = symbol;
    }
}

/* Slots in proportion to counts; what a symbol may not have goes to those after it. */
static void share_slots(struct symbols *s, uint32_t max_freq) {
  double slots = N_SLOTS, count = s->total;
  for (uint32_t i = 0; i < s->n; i++) {
    s->ideal[i] = count > 0 ? s->count[i] / count * slots : slots / (s->n - i);
    if (s->ideal[i] <= max_freq) continue;
    s->ideal[i] = max_freq;
    slots -= max_freq, count -= s->count[i];
  }
}

/* Best frequencies without the bucket rule: start from the ideal ones, move slots one by one to where they save most. */
static double free_freqs(const struct symbols *s, uint32_t max_freq, const struct slot_bits *bits, uint32_t *freq) {
  int32_t left = N_SLOTS;
  for (uint32_t i = 0; i < s->n; i++) {
    freq[i] = s->ideal[i] < 1 ? 1 : (uint32_t)s->ideal[i];
    left -= (int32_t)freq[i];
  }
  while (left) {
    uint32_t best = s->n;
    double best_gain = 0;
    for (uint32_t i = 0; i < s->n; i++) {
      uint32_t to = left > 0 ? freq[i] + 1 : freq[i] - 1;
      if (to < 1 || to > max_freq) continue;
      double gain = s->count[i] * (bits->of[freq[i]] - bits->of[to]);
      if (best == s->n || gain > best_gain) best = i, best_gain = gain;
    }
    freq[best] = (uint32_t)((int32_t)freq[best] + (left > 0 ? 1 : -1));
    left += left > 0 ? -1 : 1;
  }
  double cost = 0;
  for (uint32_t i = 0; i < s->n; i++) cost += s->count[i] * bits->of[freq[i]];
  return cost;
}

/* Cheapest frequencies for the runs in the order `order` of s, obeying the bucket rule; freq in that order. Each frequency
 * is sought within `slack` of its ideal; a negative result says that none fit. */
static double ordered_freqs(const struct symbols *s, const uint8_t *order, uint32_t max_freq, const struct slot_bits *bits, double slack,
                            uint32_t *freq) {
  static const double none = 1e300;
  double cost[2][N_SLOTS + 1];
  uint8_t chosen[TANSY_N_SYMBOLS][N_SLOTS + 1];
  for (uint32_t p = 0; p <= N_SLOTS; p++) cost[0][p] = none;
  cost[0][0] = 0;
  for (uint32_t i = 0; i < s->n; i++) {
    const double *from = cost[i & 1];
    double *to = cost[1 - (i & 1)];
    double count = s->count[order[i]], ideal = s->ideal[order[i]];
    double low = ideal - slack - ideal * slack / 20, high = ideal + slack + ideal * slack / 20;
    uint32_t f_low = low < 1 ? 1 : (uint32_t)low, f_high = high > max_freq - 1 ? max_freq : (uint32_t)high + 1;
    for (uint32_t p = 0; p <= N_SLOTS; p++) to[p] = none;
    for (uint32_t p = 0; p < N_SLOTS; p++) {
      if (from[p] >= none) continue;
      for (uint32_t f = f_low; f <= f_high && p + f <= N_SLOTS; f++) {
        uint32_t q = p + f;
        if (p % 16 && q % 16 && p / 16 == q / 16) continue; /* a second boundary inside the bucket */
        double c = from[p] + count * bits->of[f];
        if (c < to[q]) to[q] = c, chosen[i][q] = (uint8_t)f;
      }
    }
  }
  double total = cost[s->n & 1][N_SLOTS];
  if (total >= none) return -1;
  for (uint32_t i = s->n, p = N_SLOTS; i-- > 0;) {
    freq[i] = chosen[i][p];
    p -= chosen[i][p];
  }
  return total;
}

/* Searches an order. Returns the cost; `order` indexes s. */
static double arrange(const struct symbols *s, uint32_t max_freq, const struct slot_bits *bits, double bound, uint8_t *order, uint32_t *freq) {
  /* first guess: small runs in pairs around bucket edges, large ones between the pairs */
  uint32_t n_large = 0, n = 0;
  while (n_large < s->n && s->count[n_large] * 17 >= s->total) n_large++;
  if (n_large == 0) n_large = 1;
  uint32_t n_small = s->n - n_large, small = s->n;
  for (uint32_t i = 0; i < n_large; i++) {
    order[n++] = (uint8_t)i;
    uint32_t take = (n_small * (i + 1) + n_large - 1) / n_large - (n_small * i + n_large - 1) / n_large;
    while (take--) order[n++] = (uint8_t)--small;
  }
  double slack = 4;
  double best = ordered_freqs(s, order, max_freq, bits, slack, freq);
  while (best < 0) best = ordered_freqs(s, order, max_freq, bits, slack *= 4, freq); /* 16 slots each always fit */
  const double enough = bound + 0.0003 * bound;
  bool better = true;
  uint32_t trial_freq[TANSY_N_SYMBOLS];
  for (int sweep = 0; better && sweep < 4 && best > enough; sweep++) {
    better = false;
    for (uint32_t i = 0; i < s->n && best > enough; i++)
      for (uint32_t j = i + 1; j < s->n && best > enough; j++) {
        uint8_t swap = order[i];
        order[i] = order[j], order[j] = swap;
        double cost = ordered_freqs(s, order, max_freq, bits, 4, trial_freq);
        if (cost >= 0 && cost < best) {
          best = cost;
          memcpy(freq, trial_freq, sizeof trial_freq);
          better = true;
        } else {
          order[j] = order[i], order[i] = swap;
        }
      }
  }
  return best;
}

/* cost of coding with the n commonest symbols; those after them are escapes, coded in place as the commonest */
static double cost_with(const struct symbols *all, uint32_t n, double escape_bits, uint32_t max_freq, const struct slot_bits *bits,
                        int arranged, struct symbols *kept, uint8_t *order, uint32_t *freq) {
  *kept = *all;
  kept->n = n;
  double escaped = 0;
  for (uint32_t i = n; i < all->n; i++) escaped += all->count[i];
  kept->count[0] += escaped;
  share_slots(kept, max_freq);
  double cost = free_freqs(kept, max_freq, bits, freq);
  for (uint32_t i = 0; i < n; i++) order[i] = (uint8_t)i;
  if (arranged) cost = arrange(kept, max_freq, bits, cost, order, freq);
  return cost + escaped * escape_bits + 12.0 * n; /* a run takes 12 bits of the head */
}

void tansy_fit_table(const double *counts, double escape_bits, uint32_t max_freq, int arranged, struct tansy_runs *runs,
                     struct tansy_costs *costs) {
  struct slot_bits bits;
  bits.of[0] = 1e9;
  for (int f = 1; f <= N_SLOTS; f++) bits.of[f] = 8 - tansy_log2(f);

  struct symbols all = {0};
  for (uint32_t v = 0; v < TANSY_N_SYMBOLS; v++)
    if (counts[v] > 0) {
      all.symbol[all.n] = (uint8_t)v;
      all.count[all.n++] = counts[v];
      all.total += counts[v];
    }
  /* as many runs as fill the slots */
  const uint32_t min_runs = N_SLOTS / max_freq + 1;
  for (uint32_t v = 8; all.n < min_runs; v = (v + 1) % TANSY_N_SYMBOLS)
    if (counts[v] <= 0) all.symbol[all.n++] = (uint8_t)v;
  sort_symbols(&all);

  struct symbols kept, best_kept = all;
  uint8_t order[TANSY_N_SYMBOLS], best_order[TANSY_N_SYMBOLS];
  uint32_t freq[TANSY_N_SYMBOLS] = {0}, best_freq[TANSY_N_SYMBOLS] = {0};
  double best = -1;
  /* dropping the rarest symbols one after another: cost falls, then rises */
  for (uint32_t n = all.n, worse = 0; n >= min_runs && worse < 2; n--) {
    double cost = cost_with(&all, n, escape_bits, max_freq, &bits, arranged, &kept, order, freq);
    if (best < 0 || cost < best) {
      best = cost;
      best_kept = kept;
      memcpy(best_order, order, sizeof order);
      memcpy(best_freq, freq, sizeof freq);
      worse = 0;
    } else {
      worse++;
    }
  }

  double cheapest = 1e9;
  for (uint32_t v = 0; v < TANSY_N_SYMBOLS; v++) costs->bits[v] = -1;
  runs->n_runs = best_kept.n;
  for (uint32_t i = 0; i < best_kept.n; i++) {
    runs->symbol[i] = best_kept.symbol[best_order[i]];
    runs->freq[i] = (uint8_t)best_freq[i];
    double b = bits.of[best_freq[i]];
    costs->bits[runs->symbol[i]] = b;
    if (b < cheapest) cheapest = b, runs->commonest = runs->symbol[i];
  }
  for (uint32_t v = 0; v < TANSY_N_SYMBOLS; v++)
    if (costs->bits[v] < 0) costs->bits[v] = cheapest + escape_bits;
}
