/* fuzz_safetensors.c: a safetensors file, or (first byte odd) the table that js/gguf/ makes of a GGUF file's header, over a file of
 * nothing; and every value of every tensor that was accepted. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "format/safetensors.h"
#include "fuzz.h"

static int file = -1;
static char path[64];

static void write_file(const void *bytes, size_t nbytes) {
  if (file < 0) {
    file = memfd_create("fuzz", 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  PROMISE(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, bytes, nbytes, 0) == (ssize_t)nbytes);
}

static void read_all(const struct tansy_safetensors *st, size_t file_nbytes) {
  for (uint32_t i = 0; i < st->n_entries; i++) {
    const struct tansy_safetensors_entry *e = &st->entries[i];
    PROMISE(e->offset <= file_nbytes && e->nbytes <= file_nbytes - e->offset);
    PROMISE(tansy_safetensors_find(st, e->name) == e);
    if (e->dtype == TANSY_DTYPE_OTHER) continue;
    PROMISE(e->n_values <= 4 * e->nbytes);
    float *values = fuzz_alloc(e->n_values * sizeof *values);
    PROMISE(tansy_safetensors_read(st, e, 0, e->n_values, values) == TANSY_OK);
    if (e->n_values > 1) { /* a part, as rows of it are read */
      float part;
      PROMISE(tansy_safetensors_read(st, e, e->n_values / 2, 1, &part) == TANSY_OK);
      PROMISE(memcmp(&part, &values[e->n_values / 2], sizeof part) == 0);
    }
    PROMISE(tansy_safetensors_read(st, e, e->n_values, 1, values) == TANSY_ERR_ARGUMENT);
    free(values);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  struct fuzz_input in = {data, nbytes};
  struct tansy_safetensors st;
  char what[100];
  if (fuzz_u8(&in) & 1) {
    static const uint8_t zeros[4096];
    write_file(zeros, sizeof zeros);
    char *text = fuzz_copy(in.at, in.left);
    struct tansy_json json;
    size_t error_at;
    if (tansy_json_parse(text, in.left, &json, &error_at) == TANSY_OK &&
        tansy_safetensors_open_table(path, &json, 0, &st, what, sizeof what) == TANSY_OK) {
      read_all(&st, sizeof zeros);
      tansy_safetensors_close(&st);
    }
    tansy_json_free(&json);
    free(text);
    return 0;
  }
  /* the header's size is made right, or the fuzzer would learn little else */
  uint8_t *bytes = fuzz_copy(in.at, in.left);
  const uint8_t *end = in.left > 8 ? memchr(bytes + 8, '\n', in.left - 8) : NULL;
  if (end) {
    uint64_t header_nbytes = (uint64_t)(end - bytes - 8);
    memcpy(bytes, &header_nbytes, 8);
  }
  write_file(bytes, in.left);
  if (tansy_safetensors_open(path, &st, what, sizeof what) == TANSY_OK) {
    read_all(&st, in.left);
    tansy_safetensors_close(&st);
  }
  free(bytes);
  return 0;
}
