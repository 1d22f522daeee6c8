/* fuzz_tile.c: a codec stream from a stranger, through every decoder. Input: 12 bytes of shape, then head and tiles.
 * What is promised: a stream is refused or stays inside itself whatever its codes say; and where the portable decoder finds it
 * sound, every form and every instruction set gives its integers. */
#include "codec/codec.h"
#include "fuzz.h"
#include "kernels/kernels_internal.h"

enum { MAX_N_WEIGHTS = 1 << 14, N_TOKENS = 2 };

struct isa {
  tansy_matmul_fn *ans, *packed, *int8;
  tansy_expand_fn *expand_packed, *expand_int8;
};
static const struct isa isas[] = {
    {tansy_matmul_ans_ref, tansy_matmul_packed_ref, tansy_matmul_int8_ref, tansy_expand_packed_ref, tansy_expand_int8_ref},
    {tansy_matmul_ans_simd128, tansy_matmul_packed_simd128, tansy_matmul_int8_simd128, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
    {tansy_matmul_ans_relaxed, tansy_matmul_packed_relaxed, tansy_matmul_int8_relaxed, tansy_expand_packed_simd128, tansy_expand_int8_simd128},
};
enum { N_ISAS = sizeof isas / sizeof *isas };

static void multiply(const struct tansy_coded *coded, const int32_t *z, uint32_t seed) {
  const uint32_t n_rows = coded->shape.n_rows, n_cols = coded->shape.n_cols, padded = coded->n_cols_padded;
  const uint32_t n_blocks = (padded + TANSY_ACT_BLOCK - 1) / TANSY_ACT_BLOCK;
  float d[N_TOKENS] = {1, 1};
  int32_t sum[N_TOKENS];
  struct tansy_act act = {.q = fuzz_alloc((size_t)N_TOKENS * padded), .shift = fuzz_alloc((size_t)N_TOKENS * n_blocks), .d = d, .sum = sum,
                          .n_tokens = N_TOKENS, .n_cols_padded = padded, .n_blocks = n_blocks};
  for (uint32_t t = 0; t < N_TOKENS; t++) {
    uint32_t total = 0;
    for (uint32_t b = 0; b < n_blocks; b++) act.shift[t * n_blocks + b] = (uint8_t)((seed + b + t) % 5);
    for (uint32_t j = 0; j < padded; j++) {
      int8_t q = (int8_t)(j < n_cols ? (int32_t)((seed + 3 * t + 1) * (j + 7) * 37 % 255) - 127 : 0);
      act.q[(size_t)t * padded + j] = q;
      total += (uint32_t)q << act.shift[t * n_blocks + j / TANSY_ACT_BLOCK];
    }
    sum[t] = (int32_t)total;
  }
  const size_t acc_nbytes = (size_t)N_TOKENS * n_rows * sizeof(int32_t);
  int32_t *acc = fuzz_alloc(acc_nbytes), *expected = fuzz_alloc(acc_nbytes);
  for (uint32_t t = 0; z && t < N_TOKENS; t++)
    for (uint32_t i = 0; i < n_rows; i++) {
      uint32_t dot = 0;
      for (uint32_t j = 0; j < n_cols; j++)
        dot += ((uint32_t)z[(size_t)i * n_cols + j] * (uint32_t)act.q[(size_t)t * padded + j]) << act.shift[t * n_blocks + j / TANSY_ACT_BLOCK];
      expected[t * n_rows + i] = (int32_t)dot;
    }
  void *scratch = fuzz_alloc(tansy_matmul_scratch_nbytes(padded));
  const size_t packed_nbytes = tansy_packed_nbytes(&coded->shape), int8_nbytes = tansy_int8_nbytes(&coded->shape);
  uint8_t *packed = fuzz_alloc(packed_nbytes), *int8 = fuzz_alloc(int8_nbytes), *first = fuzz_alloc(int8_nbytes);
  for (int i = 0; i < N_ISAS; i++) {
    struct tansy_matrix w = {.form = TANSY_FORM_ANS, .coded = *coded};
    isas[i].ans(&w, &act, 0, coded->n_tiles, acc, n_rows, scratch);
    if (z) PROMISE(memcmp(acc, expected, acc_nbytes) == 0);
    for (uint32_t t = 0; t < coded->n_tiles; t++) {
      isas[i].expand_int8(coded, t, int8);
      if (coded->shape.raw_bits < TANSY_MAX_RAW_BITS) isas[i].expand_packed(coded, t, packed);
    }
    if (i == 0) memcpy(first, int8, int8_nbytes);
    else if (z) PROMISE(memcmp(first, int8, int8_nbytes) == 0);
    w.form = TANSY_FORM_INT8;
    w.resident = int8;
    isas[i].int8(&w, &act, 0, coded->n_tiles, acc, n_rows, scratch);
    if (z) PROMISE(memcmp(acc, expected, acc_nbytes) == 0);
    if (coded->shape.raw_bits == TANSY_MAX_RAW_BITS) continue;
    w.form = TANSY_FORM_PACKED;
    w.resident = packed;
    isas[i].packed(&w, &act, 0, coded->n_tiles, acc, n_rows, scratch);
    if (z) PROMISE(memcmp(acc, expected, acc_nbytes) == 0);
  }
  free(first);
  free(int8);
  free(packed);
  free(scratch);
  free(expected);
  free(acc);
  free(act.shift);
  free(act.q);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  struct fuzz_input in = {data, nbytes};
  struct tansy_coded_shape shape = {.n_rows = fuzz_u16(&in), .n_cols = fuzz_u16(&in)};
  shape.raw_bits = fuzz_u8(&in);
  shape.n_tables = fuzz_u8(&in);
  shape.tile_n_rows = 4 * fuzz_u8(&in);
  shape.n_escapes = fuzz_u16(&in);
  shape.head_nbytes = fuzz_u16(&in);
  uint32_t seed = fuzz_u8(&in);
  if (shape.n_rows * shape.n_cols > MAX_N_WEIGHTS || shape.head_nbytes > in.left) return 0;
  const size_t tiles_nbytes = in.left - shape.head_nbytes;
  uint8_t *head = fuzz_copy(in.at, shape.head_nbytes), *tiles = fuzz_alloc(tiles_nbytes + TANSY_STREAM_SLACK);
  memcpy(tiles, in.at + shape.head_nbytes, tiles_nbytes);
  memset(tiles + tiles_nbytes, 0xA5, TANSY_STREAM_SLACK);
  _Alignas(16) struct tansy_freq_table tables[TANSY_MAX_TABLES];
  struct tansy_coded coded;
  if (tansy_coded_parse(head, tiles, tiles_nbytes, &shape, tables, &coded) == TANSY_OK) {
    int32_t *z = fuzz_alloc((size_t)shape.n_rows * shape.n_cols * sizeof *z);
    bool sound = tansy_coded_read_rows(&coded, 0, shape.n_rows, z) == TANSY_OK;
    multiply(&coded, sound ? z : NULL, seed);
    free(z);
  }
  free(tiles);
  free(head);
  return 0;
}
