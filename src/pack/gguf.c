/* gguf.c: see gguf.h. */
#include "pack/gguf.h"

#include <string.h>

#include "format/json.h"
#include "pack/files.h"

enum { MAX_TABLE_NBYTES = 64 << 20 };

enum tansy_status tansy_gguf_table_open(const char *path, struct tansy_safetensors *out, struct tansy_failure *failure) {
  struct tansy_file_text text = {0};
  struct tansy_json json = {0};
  TANSY_TRY(tansy_file_read(path, MAX_TABLE_NBYTES, &text, failure));
  size_t at;
  char file[4096], what[300];
  enum tansy_status status = tansy_json_parse((const char *)text.bytes, text.nbytes, &json, &at);
  tansy_json_ref tensors = tansy_json_get(&json, 0, "tensors");
  if (status == TANSY_ERR_NO_MEMORY) {
    tansy_fail_memory(failure);
  } else if (status != TANSY_OK || tansy_json_kind_of(&json, tensors) != TANSY_JSON_OBJECT ||
             !tansy_json_string(&json, tansy_json_get(&json, 0, "file"), file, sizeof file)) {
    status = tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "%s is no table of tensors", path);
  } else {
    status = tansy_safetensors_open_table(file, &json, tensors, out, what, sizeof what);
    if (status == TANSY_ERR_NO_MEMORY)
      tansy_fail_memory(failure);
    else if (status != TANSY_OK)
      tansy_fail(failure, status, "%s: %s", file, what);
  }
  tansy_json_free(&json);
  tansy_file_text_free(&text);
  return status;
}

enum tansy_status tansy_gguf_read_interleaved(const struct tansy_safetensors *file, const struct tansy_safetensors_entry *entry,
                                              uint64_t row, uint32_t n_rows, uint32_t n_cols, float *out) {
  uint32_t head = entry->interleaved, half = head / 2;
  for (uint64_t end = row + n_rows; row < end; row++, out += n_cols) {
    uint32_t within = (uint32_t)(row % head);
    uint64_t stored = row - within + 2 * (within % half) + within / half;
    TANSY_TRY(tansy_safetensors_read(file, entry, stored * n_cols, n_cols, out));
  }
  return TANSY_OK;
}
