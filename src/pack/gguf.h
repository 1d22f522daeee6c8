/* gguf.h: weights that stay where they are in a GGUF file. The command line reads the file's header (js/gguf) and writes a
 * directory with config.json and a table instead of model.safetensors:
 *
 *   model.gguf.json  {"file": PATH, "tensors": {HUGGING_FACE_NAME: {"dtype", "shape", "data_offsets", "interleaved"?}}}
 *
 * with offsets from the beginning of that file. In such files every linear is [out, in], also GPT-2's, Gemma's norms hold
 * 1 + w, and the rows of some families' q and k are interleaved (format/safetensors.h). */
#ifndef TANSY_PACK_GGUF_H
#define TANSY_PACK_GGUF_H

#include "format/safetensors.h"
#include "pack/failure.h"

#define TANSY_GGUF_TABLE "model.gguf.json"

enum tansy_status tansy_gguf_table_open(const char *path, struct tansy_safetensors *out, struct tansy_failure *failure);

/* rows [row, row + n_rows) of the unfused order, of a tensor with interleaved rows of n_cols values */
enum tansy_status tansy_gguf_read_interleaved(const struct tansy_safetensors *file, const struct tansy_safetensors_entry *entry,
                                              uint64_t row, uint32_t n_rows, uint32_t n_cols, float *out);

#endif
