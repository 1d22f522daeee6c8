/* fuzz_blocks.c: the block types of GGUF: one byte says which, the rest are blocks. Values depend on their block alone. */
#include "format/blocks.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  struct fuzz_input in = {data, nbytes};
  enum tansy_dtype dtype = (enum tansy_dtype)(fuzz_u8(&in) % TANSY_DTYPE_OTHER);
  struct tansy_block_shape shape = tansy_block_shape(dtype);
  PROMISE(tansy_dtype_of(shape.name) == dtype && shape.n_values <= TANSY_BLOCK_MAX_VALUES);
  size_t n_blocks = in.left / shape.nbytes;
  if (n_blocks > 8) n_blocks = 8;
  uint8_t *blocks = fuzz_copy(in.at, n_blocks * shape.nbytes);
  float *values = fuzz_alloc(n_blocks * shape.n_values * sizeof *values), one[TANSY_BLOCK_MAX_VALUES];
  tansy_blocks_to_f32(dtype, blocks, n_blocks, values);
  if (n_blocks > 0) {
    const size_t last = n_blocks - 1;
    tansy_blocks_to_f32(dtype, blocks + last * shape.nbytes, 1, one);
    PROMISE(memcmp(one, values + last * shape.n_values, shape.n_values * sizeof *one) == 0);
  }
  free(values);
  free(blocks);
  return 0;
}
