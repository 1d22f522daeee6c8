/* calibrate.h: shows a callback what every linear site of the float model reads, layer by layer. */
#ifndef TANSY_PACK_CALIBRATE_H
#define TANSY_PACK_CALIBRATE_H

#include "pack/evaluate.h"

/* x [n_tokens, n_cols] of one site; blocks come in the order of the text */
typedef void tansy_site_body(void *ctx, uint32_t layer, enum tansy_site site, const float *x, uint32_t n_tokens, uint32_t n_cols);

/* windows of a block whose inputs of a site with n_cols columns are kept at a time */
uint32_t tansy_site_block(uint32_t n_cols, uint32_t window);

/* Memory for the inputs of one block of windows. */
struct tansy_site_buffers {
  uint32_t block; /* windows */
  struct tansy_capture capture;
};
enum tansy_status tansy_site_buffers_init(struct tansy_site_buffers *b, const struct tansy_config *config, uint32_t window,
                                          struct tansy_failure *failure);
void tansy_site_buffers_free(struct tansy_site_buffers *b);

/* x through layer `layer`; `see` gets the inputs of its four sites */
void tansy_calibrate_layer(struct tansy_runner *r, struct tansy_site_buffers *b, uint32_t layer, const struct tansy_layer_weights *weights,
                           float *x, uint32_t n_windows, tansy_site_body *see, void *ctx);

/* final norm of x, as site HEAD of layer n_layers */
void tansy_calibrate_head(struct tansy_runner *r, struct tansy_site_buffers *b, const float *x, uint32_t n_windows, tansy_site_body *see,
                          void *ctx);

#endif
