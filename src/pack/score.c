/* score.c: see score.h. */
#include "pack/score.h"

#include "base/math.h"
#include "pack/numeric.h"

/* ln sum exp(x) and the index of the largest */
static double log_sum_exp(const float *x, uint32_t n, uint32_t *largest) {
  uint32_t best = 0;
  for (uint32_t i = 1; i < n; i++)
    if (x[i] > x[best]) best = i;
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += tansy_expf(x[i] - x[best]);
  *largest = best;
  return x[best] + tansy_log_f64(sum);
}

double tansy_softmax(const float *logits, uint32_t n, float *probabilities, uint32_t *largest) {
  double log_sum = log_sum_exp(logits, n, largest);
  for (uint32_t i = 0; i < n; i++) probabilities[i] = tansy_expf((float)(logits[i] - log_sum));
  return log_sum;
}

void tansy_score_add(struct tansy_score *score, const float *logits, const float *reference, const int32_t *targets, uint32_t n,
                     uint32_t vocab) {
  for (uint32_t t = 0; t < n; t++) {
    const float *q = logits + (size_t)t * vocab;
    uint32_t best, right = (uint32_t)targets[t];
    double q_sum = log_sum_exp(q, vocab, &best);
    score->n++;
    score->nll += q_sum - q[right];
    score->n_right += best == right;
    if (!reference) continue;
    const float *p = reference + (size_t)t * vocab;
    uint32_t reference_best;
    double p_sum = log_sum_exp(p, vocab, &reference_best), kl = 0;
    for (uint32_t i = 0; i < vocab; i++) {
      double log_p = p[i] - p_sum, log_q = q[i] - q_sum;
      kl += (double)tansy_expf((float)log_p) * (log_p - log_q);
    }
    score->kl += kl;
    score->reference_nll += p_sum - p[right];
    score->n_reference_right += reference_best == right;
    score->n_agree += reference_best == best;
  }
}

void tansy_score_merge(struct tansy_score *score, const struct tansy_score *from) {
  score->n += from->n;
  score->n_right += from->n_right;
  score->nll += from->nll;
  score->n_reference_right += from->n_reference_right;
  score->n_agree += from->n_agree;
  score->reference_nll += from->reference_nll;
  score->kl += from->kl;
  score->n_windows++;
  score->n_whole += from->n_right == from->n;
  score->n_reference_whole += from->n_reference_right == from->n;
}
