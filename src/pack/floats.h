/* floats.h: a checkpoint's weights as f32, a layer at a time, in the shape the forward pass takes. */
#ifndef TANSY_PACK_FLOATS_H
#define TANSY_PACK_FLOATS_H

#include "model/forward.h"
#include "pack/checkpoint.h"

struct tansy_float_layer {
  struct tansy_layer_weights weights;
  float *memory;
};
enum tansy_status tansy_float_layer_load(const struct tansy_checkpoint *checkpoint, uint32_t layer, struct tansy_float_layer *out,
                                         struct tansy_failure *failure);
void tansy_float_layer_free(struct tansy_float_layer *layer);

/* What lies outside the layers, but for the embedding and the head: these are read from the checkpoint when they are needed (runner.h). */
struct tansy_float_outer {
  struct tansy_outer_weights weights;
  float *memory, *head;
};
enum tansy_status tansy_float_outer_load(const struct tansy_checkpoint *checkpoint, struct tansy_float_outer *out,
                                         struct tansy_failure *failure);
/* the head too, for tansy_head_forward: it may be larger than all else */
enum tansy_status tansy_float_outer_load_head(const struct tansy_checkpoint *checkpoint, struct tansy_float_outer *outer,
                                              struct tansy_failure *failure);
void tansy_float_outer_drop_head(struct tansy_float_outer *outer);
void tansy_float_outer_free(struct tansy_float_outer *outer);

/* the linear of a role in a layer; NULL when the role is no matrix of a layer */
struct tansy_linear *tansy_layer_linear(struct tansy_layer_weights *weights, uint32_t role);
/* the vector of a role in a layer; NULL when the role is no vector of a layer */
const float **tansy_layer_vector(struct tansy_layer_weights *weights, uint32_t role);
/* the site that a layer's matrix reads, and the role of that site's col_scale */
enum tansy_site tansy_role_site(uint32_t role);
uint32_t tansy_site_scale_role(enum tansy_site site);

#endif
