/* calibrate.c: see calibrate.h. */
#include "pack/calibrate.h"

#include <stdlib.h>

enum { BLOCK_TOKENS = 4096, BLOCK_NBYTES = 64 << 20 };

uint32_t tansy_site_block(uint32_t n_cols, uint32_t window) {
  uint32_t n_tokens = BLOCK_NBYTES / (n_cols * (uint32_t)sizeof(float));
  if (n_tokens > BLOCK_TOKENS) n_tokens = BLOCK_TOKENS;
  return n_tokens > window ? n_tokens / window : 1;
}

enum tansy_status tansy_site_buffers_init(struct tansy_site_buffers *b, const struct tansy_config *config, uint32_t window,
                                          struct tansy_failure *failure) {
  *b = (struct tansy_site_buffers){.block = tansy_site_block(tansy_widest_site(config), window)};
  for (int site = 0; site < TANSY_N_SITES; site++) {
    b->capture.site[site] = malloc((size_t)b->block * window * tansy_site_n_cols(config, (enum tansy_site)site) * sizeof(float));
    if (!b->capture.site[site]) return tansy_fail_memory(failure);
  }
  return TANSY_OK;
}

void tansy_site_buffers_free(struct tansy_site_buffers *b) {
  for (int site = 0; site < TANSY_N_SITES; site++) free(b->capture.site[site]);
  *b = (struct tansy_site_buffers){0};
}

void tansy_calibrate_layer(struct tansy_runner *r, struct tansy_site_buffers *b, uint32_t layer, const struct tansy_layer_weights *weights,
                           float *x, uint32_t n_windows, tansy_site_body *see, void *ctx) {
  static const enum tansy_site sites[2][2] = {{TANSY_SITE_ATTN_IN, TANSY_SITE_ATTN_OUT}, {TANSY_SITE_MLP_IN, TANSY_SITE_MLP_MID}};
  for (uint32_t first = 0; first < n_windows; first += b->block) {
    uint32_t n = n_windows - first < b->block ? n_windows - first : b->block;
    float *part_x = x + (size_t)first * r->window * r->config->hidden;
    for (int part = 0; part < 2; part++) {
      tansy_runner_part(r, layer, weights, part ? TANSY_PART_MLP : TANSY_PART_ATTENTION, part_x, n, 0, &b->capture);
      for (int i = 0; i < 2; i++)
        see(ctx, layer, sites[part][i], b->capture.site[sites[part][i]], n * r->window, tansy_site_n_cols(r->config, sites[part][i]));
    }
  }
}

void tansy_calibrate_head(struct tansy_runner *r, struct tansy_site_buffers *b, const float *x, uint32_t n_windows, tansy_site_body *see,
                          void *ctx) {
  const struct tansy_config *c = r->config;
  float *normed = b->capture.site[TANSY_SITE_HEAD];
  for (uint32_t first = 0; first < n_windows; first += b->block) {
    uint32_t n = (n_windows - first < b->block ? n_windows - first : b->block) * r->window;
    tansy_runner_norm(r, x + (size_t)first * r->window * c->hidden, r->outer->final_norm, r->outer->final_norm_bias, n, normed);
    see(ctx, c->n_layers, TANSY_SITE_HEAD, normed, n, c->hidden);
  }
}
