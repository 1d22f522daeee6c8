/* fuzz_codec.c: any integers through encoder and decoder: what went in comes out. Input: 5 bytes of shape and wishes, then integers. */
#include "base/buffer.h"
#include "codec/codec.h"
#include "fuzz.h"

enum { MAX_N_WEIGHTS = 1 << 9 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  struct fuzz_input in = {data, nbytes};
  uint32_t n_cols = 1 + fuzz_u8(&in), n_rows = 1 + fuzz_u8(&in) % 64, width = fuzz_u8(&in);
  struct tansy_encode_options options = {.raw_bits = (int)(fuzz_u8(&in) % 6) - 1, .tile_n_rows = 4 * (fuzz_u8(&in) % 6), .max_tables = 1 + (int)(width >> 2 & 3)};
  if (n_rows * n_cols > MAX_N_WEIGHTS) n_rows = MAX_N_WEIGHTS / n_cols;
  const size_t n = (size_t)n_rows * n_cols;
  int32_t *z = fuzz_alloc(n * sizeof *z), *back = fuzz_alloc(n * sizeof *back);
  for (size_t i = 0; i < n; i++) {
    switch (width & 3) {
      case 0: z[i] = (int32_t)(fuzz_u8(&in) & 15) - 8; break;
      case 1: z[i] = (int8_t)fuzz_u8(&in); break;
      case 2: z[i] = (int16_t)fuzz_u16(&in); break;
      default: z[i] = (int32_t)fuzz_u32(&in);
    }
  }
  struct tansy_buffer stream = {0};
  struct tansy_coded_shape shape;
  PROMISE(tansy_encode(z, n_rows, n_cols, &options, &stream, &shape, NULL) == TANSY_OK);
  uint8_t *bytes = fuzz_copy(stream.bytes, stream.nbytes);
  _Alignas(16) struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_coded coded;
  PROMISE(tansy_coded_parse(bytes, bytes + shape.head_nbytes, stream.nbytes - shape.head_nbytes, &shape, tables, &coded) == TANSY_OK);
  PROMISE(tansy_coded_read_rows(&coded, 0, n_rows, back) == TANSY_OK);
  PROMISE(memcmp(z, back, n * sizeof *z) == 0);
  free(bytes);
  tansy_buffer_free(&stream);
  free(back);
  free(z);
  return 0;
}
