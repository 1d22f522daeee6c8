/* fuzz_alloc.c: the parts that allocate, with one allocation that fails. Input: which part, which allocation, then its bytes.
 * What is promised: NO_MEMORY is reported (nothing else changes), and whatever was taken is given back (the leak sanitizer). */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "alloc_fault.h"
#include "base/buffer.h"
#include "codec/codec.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "fuzz.h"
#include "pack/checkpoint.h"

static enum tansy_status read_json(const uint8_t *bytes, size_t nbytes) {
  struct tansy_json json;
  size_t error_at;
  enum tansy_status status = tansy_json_parse((const char *)bytes, nbytes, &json, &error_at);
  struct tansy_checkpoint checkpoint = {0};
  struct tansy_failure failure;
  if (status == TANSY_OK) status = tansy_hf_read_config(&json, &checkpoint, &failure);
  tansy_checkpoint_close(&checkpoint);
  tansy_json_free(&json);
  return status;
}

static enum tansy_status read_safetensors(const char *path) {
  struct tansy_safetensors st;
  char what[100];
  enum tansy_status status = tansy_safetensors_open(path, &st, what, sizeof what);
  if (status == TANSY_OK) tansy_safetensors_close(&st);
  return status;
}

static enum tansy_status encode(const uint8_t *bytes, size_t nbytes) {
  enum { N_COLS = 16 };
  uint32_t n_rows = nbytes < N_COLS ? 1 : nbytes < 256 ? (uint32_t)(nbytes / N_COLS) : 256 / N_COLS;
  int32_t z[256] = {0};
  for (size_t i = 0; i < nbytes && i < 256; i++) z[i] = (int8_t)bytes[i];
  struct tansy_buffer stream = {0};
  struct tansy_coded_shape shape;
  struct tansy_encode_stats stats;
  enum tansy_status status = tansy_encode(z, n_rows, N_COLS, &(struct tansy_encode_options){.raw_bits = -1, .max_tables = 2}, &stream, &shape, &stats);
  tansy_buffer_free(&stream);
  return status;
}

static enum tansy_status run(uint32_t part, const uint8_t *bytes, size_t nbytes, const char *path) {
  switch (part) {
    case 0: return read_json(bytes, nbytes);
    case 1: return read_safetensors(path);
    default: return encode(bytes, nbytes);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  static int file = -1;
  static char path[64];
  struct fuzz_input in = {data, nbytes};
  uint32_t part = fuzz_u8(&in) % 3, nth = fuzz_u8(&in);
  if (file < 0) {
    file = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  PROMISE(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, in.at, in.left, 0) == (ssize_t)in.left);
  uint8_t *bytes = fuzz_copy(in.at, in.left);
  enum tansy_status sound = run(part, bytes, in.left, path);
  alloc_fault_arm(nth);
  enum tansy_status status = run(part, bytes, in.left, path);
  bool failed = alloc_fault_disarm();
  PROMISE(failed ? status == TANSY_ERR_NO_MEMORY : status == sound);
  free(bytes);
  return 0;
}
