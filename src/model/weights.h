/* weights.h: tensors in the heap. Each has a region; its bytes arrive at the region's end and are expanded in place:
 *
 *   vector           [ f32 values ]
 *   matrix, ANS      [ base, row scale codes | head | tiles ]                as in the file
 *   matrix, promoted [ base, row scale codes | head | pad to 16 | resident ]  tiles decoded from the region's end
 */
#ifndef TANSY_MODEL_WEIGHTS_H
#define TANSY_MODEL_WEIGHTS_H

#include "format/container.h"
#include "model/config.h"
#include "model/forward.h"
#include "tansy.h"

enum { TANSY_FORM_VECTOR = 0xFF };

struct tansy_tensor {
  struct tansy_record record;
  uint32_t form;          /* enum tansy_form as planned (as is, once complete), or TANSY_FORM_VECTOR */
  union {
    uint32_t received;    /* bytes of record.nbytes that are here */
    uint32_t ranked;      /* plan.c, while it chooses forms: number of the tensor that has this rank */
  };
  union {
    uint64_t region_nbytes;
    double gain_per_byte; /* likewise */
  };
  uint8_t *region;
  struct tansy_freq_table *tables; /* [n_tables] of a matrix */
};

/* Group of tensors that become usable together: 0 what the embedding needs, 1 + layer, n_layers + 1 final norm and head */
uint32_t tansy_tensor_group(const struct tansy_config *config, const struct tansy_record *record);

/* Fills tensors [index->n_tensors] and checks each against the config: roles, layers, shapes, duplicates, missing ones. */
enum tansy_status tansy_tensors_open(const struct tansy_index *index, const struct tansy_config *config, struct tansy_tensor *tensors,
                                     struct tansy_detail *detail);

/* bytes of the region in this form */
uint64_t tansy_tensor_region_nbytes(const struct tansy_record *record, uint32_t form);
/* false: the form gains nothing over ANS, or cannot be made in place */
bool tansy_tensor_can_be(const struct tansy_record *record, uint32_t form);
/* temporary memory that promoting this matrix takes */
uint64_t tansy_tensor_promotion_nbytes(const struct tansy_record *record, uint32_t form);

/* All bytes of the tensor are at the end of its region: expand, check, and bind it into the weights. `temporary` as planned.
 * A matrix whose tiles are not laid out so that it can be promoted in place stays ANS. */
enum tansy_status tansy_tensor_complete(struct tansy_tensor *tensor, const struct tansy_kernels *kernels, struct tansy_outer_weights *outer,
                                        struct tansy_layer_weights *layers, uint8_t *temporary, size_t temporary_nbytes);

void tansy_detail_set(struct tansy_detail *detail, enum tansy_status status, uint32_t tensor, const struct tansy_record *record);

#endif
