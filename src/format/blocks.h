/* blocks.h: element types of stored tensors, and the block formats of GGUF files as f32. Compressor only.
 *
 * A block holds `n_values` consecutive values of a row in `nbytes` bytes; plain numbers are blocks of one value. */
#ifndef TANSY_FORMAT_BLOCKS_H
#define TANSY_FORMAT_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

enum tansy_dtype {
  TANSY_DTYPE_F32,
  TANSY_DTYPE_F16,
  TANSY_DTYPE_BF16,
  TANSY_DTYPE_Q8_0,
  TANSY_DTYPE_Q4_0,
  TANSY_DTYPE_Q4_K,
  TANSY_DTYPE_Q5_K,
  TANSY_DTYPE_Q6_K,
  TANSY_DTYPE_Q4_1,
  TANSY_DTYPE_Q5_0,
  TANSY_DTYPE_Q5_1,
  TANSY_DTYPE_Q2_K,
  TANSY_DTYPE_Q3_K,
  TANSY_DTYPE_IQ4_NL,
  TANSY_DTYPE_IQ4_XS,
  TANSY_DTYPE_OTHER,
};
enum { TANSY_BLOCK_MAX_VALUES = 256, TANSY_BLOCK_MAX_NBYTES = 210 };

struct tansy_block_shape {
  const char *name;
  uint32_t n_values, nbytes;
};

/* shape of a type's blocks; not for OTHER */
struct tansy_block_shape tansy_block_shape(enum tansy_dtype dtype);
/* OTHER when unknown */
enum tansy_dtype tansy_dtype_of(const char *name);

/* `n_blocks` blocks -> n_blocks * n_values floats */
void tansy_blocks_to_f32(enum tansy_dtype dtype, const uint8_t *bytes, size_t n_blocks, float *out);

#endif
