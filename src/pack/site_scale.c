/* site_scale.c: see site_scale.h. */
#include "pack/site_scale.h"

#include <stdbool.h>
#include <stdlib.h>

static uint32_t site_norm(enum tansy_site site) {
  switch (site) {
    case TANSY_SITE_ATTN_IN: return TANSY_ROLE_ATTN_NORM;
    case TANSY_SITE_MLP_IN: return TANSY_ROLE_MLP_NORM;
    case TANSY_SITE_HEAD: return TANSY_ROLE_FINAL_NORM;
    default: return UINT32_MAX;
  }
}

int tansy_role_is_site_norm(uint32_t role) {
  return role == TANSY_ROLE_ATTN_NORM || role == TANSY_ROLE_ATTN_NORM_BIAS || role == TANSY_ROLE_MLP_NORM || role == TANSY_ROLE_MLP_NORM_BIAS ||
         role == TANSY_ROLE_FINAL_NORM || role == TANSY_ROLE_FINAL_NORM_BIAS;
}

enum tansy_status tansy_job_add_scale(struct tansy_job *job, uint32_t role, uint32_t layer, uint32_t n, const float *wanted, float *effective,
                                      struct tansy_failure *failure) {
  if (wanted) return tansy_writer_add_log8(&job->writer, role, layer, wanted, n, effective, failure);
  for (uint32_t i = 0; i < n; i++) effective[i] = 1;
  return TANSY_OK;
}

/* A byte a value will do where weights are divided by what is stored: values that LOG8 holds, so positive and of no great range. */
static bool fits_log8(const float *values, uint32_t n) {
  float largest = 0, smallest = values[0];
  for (uint32_t i = 0; i < n; i++) {
    if (values[i] > largest) largest = values[i];
    if (values[i] < smallest) smallest = values[i];
  }
  return smallest > 0 && smallest >= largest * 0x1p-15f;
}

/* norm.weight * wanted, rounded as stored; effective = stored / norm.weight */
static enum tansy_status add_norm(struct tansy_job *job, const struct tansy_source *s, const float *wanted, float *effective,
                                  struct tansy_failure *failure) {
  uint32_t n = s->n_cols;
  float *weight = malloc(n * sizeof *weight), *product = malloc(n * sizeof *product);
  enum tansy_status status = weight && product ? tansy_checkpoint_read(job->checkpoint, s, 0, 1, weight, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    for (uint32_t i = 0; i < n; i++) product[i] = wanted ? weight[i] * wanted[i] : weight[i];
    status = wanted && fits_log8(product, n) ? tansy_writer_add_log8(&job->writer, s->role, s->layer, product, n, product, failure)
                                             : tansy_writer_add_vector(&job->writer, s->role, s->layer, product, n, product, failure);
    /* a weight of 0, or one that rounds to 0, leaves a channel that is always 0: its scale does not matter */
    for (uint32_t i = 0; i < n && status == TANSY_OK; i++) effective[i] = wanted && weight[i] != 0 && product[i] != 0 ? product[i] / weight[i] : 1;
  }
  free(weight);
  free(product);
  return status;
}

static enum tansy_status add_norm_bias(struct tansy_job *job, const struct tansy_source *s, const float *effective, struct tansy_failure *failure) {
  uint32_t n = s->n_cols;
  float *bias = malloc(n * sizeof *bias);
  enum tansy_status status = bias ? tansy_checkpoint_read(job->checkpoint, s, 0, 1, bias, failure) : tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    for (uint32_t i = 0; i < n; i++) bias[i] *= effective[i];
    status = tansy_writer_add_vector(&job->writer, s->role, s->layer, bias, n, NULL, failure);
  }
  free(bias);
  return status;
}

enum tansy_status tansy_job_add_site(struct tansy_job *job, uint32_t layer, enum tansy_site site, const float *wanted, float *effective,
                                     struct tansy_failure *failure) {
  uint32_t norm = site_norm(site);
  if (norm == UINT32_MAX)
    return tansy_job_add_scale(job, tansy_site_scale_role(site), layer, tansy_site_n_cols(&job->checkpoint->config, site), wanted, effective, failure);
  if (site == TANSY_SITE_HEAD) layer = 0;
  TANSY_TRY(add_norm(job, tansy_checkpoint_find(job->checkpoint, norm, layer), wanted, effective, failure));
  const struct tansy_source *bias = tansy_checkpoint_find(job->checkpoint, norm + 1, layer); /* *_NORM_BIAS follows *_NORM in roles.h */
  return bias ? add_norm_bias(job, bias, effective, failure) : TANSY_OK;
}
