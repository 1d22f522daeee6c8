/* paper_stream.c: see paper_stream.h. */
#include "pack/paper_stream.h"

#include <stdlib.h>
#include <string.h>

#include "pack/floats.h"

enum tansy_status tansy_paper_stream_init(struct tansy_paper_stream *s, uint32_t n_layers, uint32_t hidden, const float *x, size_t n_tokens,
                                          struct tansy_failure *failure) {
  *s = (struct tansy_paper_stream){.hidden = hidden, .x = x, .n_tokens = n_tokens};
  s->share = calloc((size_t)n_layers * 2 * hidden, sizeof *s->share);
  s->before = malloc(n_tokens * hidden * sizeof *s->before);
  s->added = calloc((size_t)2 * hidden, sizeof *s->added);
  s->sum = calloc((size_t)2 * hidden, sizeof *s->sum);
  if (!s->share || !s->before || !s->added || !s->sum) {
    tansy_paper_stream_free(s);
    return tansy_fail_memory(failure);
  }
  memcpy(s->before, x, n_tokens * hidden * sizeof *x);
  return TANSY_OK;
}

void tansy_paper_stream_see(struct tansy_paper_stream *s, uint32_t layer, bool mlp, uint32_t n_tokens) {
  uint32_t n = s->hidden;
  const float *x = s->x + s->n_seen[mlp] * n;
  float *before = s->before + s->n_seen[mlp] * n;
  double *added = s->added + (mlp ? n : 0), *sum = s->sum + (mlp ? n : 0);
  for (uint32_t t = 0; t < n_tokens; t++)
    for (uint32_t j = 0; j < n; j++) {
      double now = x[(size_t)t * n + j], change = now - before[(size_t)t * n + j];
      added[j] += change * change;
      sum[j] += now * now;
      before[(size_t)t * n + j] = (float)now;
    }
  s->n_seen[mlp] += n_tokens;
  if (s->n_seen[mlp] < s->n_tokens) return;
  float *share = s->share + ((size_t)layer * 2 + mlp) * n;
  for (uint32_t j = 0; j < n; j++) {
    share[j] = sum[j] > 0 ? (float)(added[j] / sum[j]) : 0;
    added[j] = sum[j] = 0;
  }
  s->n_seen[mlp] = 0;
}

void tansy_paper_stream_end(struct tansy_paper_stream *s) {
  free(s->before), free(s->added), free(s->sum);
  s->before = NULL;
  s->added = s->sum = NULL;
}

void tansy_paper_stream_free(struct tansy_paper_stream *s) {
  tansy_paper_stream_end(s);
  free(s->share);
  s->share = NULL;
}

double tansy_paper_stream_damage(const struct tansy_paper_stream *s, const struct tansy_source *linear, const float *row_step, const double *energy,
                                 double columns) {
  enum tansy_site site = tansy_role_site(linear->role);
  const float *share = s->share + ((size_t)linear->layer * 2 + (site == TANSY_SITE_MLP_IN || site == TANSY_SITE_MLP_MID)) * s->hidden;
  bool writes = site == TANSY_SITE_ATTN_OUT || site == TANSY_SITE_MLP_MID; /* its rows are channels of the stream */
  double error = 0, total = 0, mean = 0, by_row = 0;
  for (uint32_t j = 0; j < s->hidden; j++) mean += share[j] / s->hidden;
  for (uint32_t i = 0; i < linear->n_rows; i++) {
    double square = (double)row_step[i] * row_step[i];
    error += square;
    total += energy[i];
    if (writes && energy[i] > 0) by_row += square / energy[i] * share[i];
  }
  if (writes) return columns * by_row / linear->n_rows;
  return total > 0 ? columns * error / total * mean : 0;
}
