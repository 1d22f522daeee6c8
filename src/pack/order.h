/* order.h: renumbers channels inside a model, so that channels whose integers spread alike stand together.
 *
 * The codec changes its table with every 4 rows and 16 columns. Hidden dimensions, channels inside an MLP, and value channels
 * inside a key-value head can stand in any order as long as every tensor agrees; the function computed is the same. */
#ifndef TANSY_PACK_ORDER_H
#define TANSY_PACK_ORDER_H

#include "pack/calibrate.h"
#include "pack/report.h"

struct tansy_order {
  uint32_t n_layers;
  uint32_t *hidden;  /* [H] */
  uint32_t **mlp;    /* [n_layers] [intermediate] */
  uint32_t **v, **o; /* [n_layers]: value channels as rows of V, and as columns of O */
};

/* from the spread of weights times that of the activations they meet, over a little text; work: of progress */
enum tansy_status tansy_order_make(const struct tansy_checkpoint *checkpoint, struct tansy_team *team, const struct tansy_windows *windows,
                                   struct tansy_progress *progress, double work, struct tansy_order *out, struct tansy_failure *failure);
void tansy_order_free(struct tansy_order *order);

/* sources [n]: reads are in the new order from now on, as long as `order` lives */
void tansy_order_apply(const struct tansy_order *order, struct tansy_source *sources, uint32_t n);

/* numbers 0..n-1 by key, ascending, to be freed; NULL when memory is short */
uint32_t *tansy_order_sorted(const double *key, uint32_t n);

#endif
