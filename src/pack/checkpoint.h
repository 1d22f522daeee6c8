/* checkpoint.h: a Hugging Face checkpoint directory as the compressor wants it: its configuration, and tensors by role in the
 * order of execution, each read as f32 rows whatever its name, dtype, transposition or fusion in the files.
 *
 * Everything is checked when it is opened: a tensor that is missing, has another shape than config.json says, or is not
 * known to the architecture is an error, because leaving it out would change the model silently. */
#ifndef TANSY_PACK_CHECKPOINT_H
#define TANSY_PACK_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "format/safetensors.h"
#include "model/config.h"
#include "pack/failure.h"

enum tansy_hf_family {
  TANSY_HF_LLAMA = 1, /* the number is TANSY_KEY_FAMILY's value */
  TANSY_HF_MISTRAL = 2,
  TANSY_HF_QWEN2 = 3,
  TANSY_HF_QWEN3 = 4,
  TANSY_HF_GEMMA = 5,
  TANSY_HF_GEMMA2 = 6,
  TANSY_HF_GEMMA3 = 7,
  TANSY_HF_PHI3 = 8,
  TANSY_HF_SMOLLM3 = 9,
  TANSY_HF_GPT2 = 10,
  TANSY_HF_OPT = 11,
};

/* One tensor by role. A vector has n_rows 1. */
struct tansy_source {
  uint8_t role;
  uint16_t layer;
  bool matrix;
  bool transposed;      /* stored [n_cols, all rows] (GPT-2's Conv1D) */
  bool add_one;         /* stored less 1 (Gemma's norms) */
  uint32_t n_rows, n_cols;
  uint32_t row_begin;   /* first row in the stored tensor (fused q,k,v and gate,up) */
  uint32_t stored_rows; /* rows of the stored tensor */
  const struct tansy_safetensors *file;
  const struct tansy_safetensors_entry *entry; /* NULL: `values` */
  const float *values;
  /* NULL, or a permutation of rows and of columns: row i is row row_order[i] of the files (order.h) */
  const uint32_t *row_order, *col_order;
};

struct tansy_checkpoint {
  const char *family; /* model_type */
  enum tansy_hf_family family_number;
  struct tansy_config config;
  uint32_t n_sources;
  struct tansy_source *sources; /* in file order: by section (before layers, layer 0.., after), then role */
  uint64_t n_params;  /* values of all sources that are in the files */
  uint64_t n_matrix_params;
  bool gguf; /* tensors as GGUF files arrange them (pack/gguf.h) */
  bool head_may_lack;    /* config.json does not say whether the head is tied: it is where there is none */
  bool biased_attention; /* q, k, v have biases, which must be there */
  uint32_t n_files;
  struct tansy_safetensors *files;
  float *inv_freq[2]; /* rotary frequencies: all layers, local layers */
};

enum tansy_status tansy_checkpoint_open(const char *dir, struct tansy_checkpoint *out, struct tansy_failure *failure);
void tansy_checkpoint_close(struct tansy_checkpoint *checkpoint);

/* source of a role, or NULL */
const struct tansy_source *tansy_checkpoint_find(const struct tansy_checkpoint *checkpoint, uint32_t role, uint32_t layer);

/* what makes logits: the head, or the embedding where they are tied */
const struct tansy_source *tansy_checkpoint_head(const struct tansy_checkpoint *checkpoint);

/* rows [row_begin, row_begin + n_rows) as f32 [n_rows, n_cols]. NONFINITE names tensor and place. */
enum tansy_status tansy_checkpoint_read(const struct tansy_checkpoint *checkpoint, const struct tansy_source *source,
                                        uint32_t row_begin, uint32_t n_rows, float *out, struct tansy_failure *failure);

/* Calls `body` with a matrix, block of rows after block of rows: w [n_rows, n_cols], the body's to change. A large matrix is never in
 * memory as a whole. */
typedef enum tansy_status tansy_block_body(void *ctx, uint32_t first_row, uint32_t n_rows, float *w, struct tansy_failure *failure);
enum tansy_status tansy_checkpoint_blocks(const struct tansy_checkpoint *checkpoint, const struct tansy_source *source, tansy_block_body *body,
                                          void *ctx, struct tansy_failure *failure);

/* name of a tensor in a Llama checkpoint ("model.layers.3.mlp.up_proj.weight"), whatever the family */
void tansy_role_name(uint32_t role, uint32_t layer, char *out, size_t capacity);

/* 0 before the layers, 1 in them, 2 after them */
int tansy_role_section(uint32_t role);

/* ---- parts of checkpoint.c's work ---- */

struct tansy_json;
/* hf_config.c: config.json -> config, rotary frequencies, family */
enum tansy_status tansy_hf_read_config(const struct tansy_json *json, struct tansy_checkpoint *checkpoint,
                                       struct tansy_failure *failure);
/* hf_names.c: tensors of the files -> sources */
enum tansy_status tansy_hf_map_tensors(struct tansy_checkpoint *checkpoint, struct tansy_failure *failure);

#endif
