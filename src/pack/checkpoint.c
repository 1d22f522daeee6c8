/* checkpoint.c: see checkpoint.h. */
#define _POSIX_C_SOURCE 200809L
#include "pack/checkpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "format/json.h"
#include "pack/files.h"
#include "pack/gguf.h"

enum { MAX_CONFIG_NBYTES = 4 << 20, MAX_INDEX_NBYTES = 64 << 20, MAX_FILES = 1024 };

static enum tansy_status read_json(const char *path, size_t limit, struct tansy_file_text *text, struct tansy_json *json,
                                   struct tansy_failure *failure) {
  TANSY_TRY(tansy_file_read(path, limit, text, failure));
  size_t at;
  enum tansy_status status = tansy_json_parse((const char *)text->bytes, text->nbytes, json, &at);
  if (status == TANSY_ERR_NO_MEMORY) return tansy_fail_memory(failure);
  if (status != TANSY_OK) return tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "%s is not JSON (byte %zu)", path, at);
  return TANSY_OK;
}

static enum tansy_status open_shard(struct tansy_checkpoint *c, const char *dir, const char *name, struct tansy_failure *failure) {
  char *path = tansy_path_join(dir, name), what[300];
  if (!path) return tansy_fail_memory(failure);
  enum tansy_status status = tansy_safetensors_open(path, &c->files[c->n_files], what, sizeof what);
  if (status == TANSY_OK)
    c->n_files++;
  else if (status == TANSY_ERR_NO_MEMORY)
    tansy_fail_memory(failure);
  else
    tansy_fail(failure, status, "%s: %s", path, what);
  free(path);
  return status;
}

/* opens every file that model.safetensors.index.json names, in order of first mention */
static enum tansy_status open_shards(struct tansy_checkpoint *c, const char *dir, const struct tansy_json *index,
                                     struct tansy_failure *failure) {
  char(*names)[256] = calloc(MAX_FILES, sizeof *names);
  c->files = calloc(MAX_FILES, sizeof *c->files);
  if (!names || !c->files) {
    free(names);
    return tansy_fail_memory(failure);
  }
  enum tansy_status status = TANSY_OK;
  tansy_json_ref map = tansy_json_get(index, 0, "weight_map");
  for (tansy_json_ref key = tansy_json_first(index, map); key >= 0 && status == TANSY_OK;) {
    tansy_json_ref value = (tansy_json_ref)index->values[key].next;
    key = tansy_json_next(index, map, value);
    char name[256];
    /* a path out of the directory is nobody's checkpoint */
    if (!tansy_json_string(index, value, name, sizeof name) || strpbrk(name, "/\\") || name[0] == '.' || !name[0]) {
      status = tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "model.safetensors.index.json: a weight_map entry is no plain file name");
      break;
    }
    uint32_t i = 0;
    while (i < c->n_files && strcmp(names[i], name) != 0) i++;
    if (i < c->n_files) continue;
    if (c->n_files == MAX_FILES) {
      status = tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "model.safetensors.index.json names more than %d files", MAX_FILES);
      break;
    }
    strcpy(names[c->n_files], name);
    status = open_shard(c, dir, name, failure);
  }
  free(names);
  if (status == TANSY_OK && c->n_files == 0)
    status = tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "model.safetensors.index.json has no weight_map");
  return status;
}

static enum tansy_status open_weights(struct tansy_checkpoint *c, const char *dir, struct tansy_failure *failure) {
  char *single = tansy_path_join(dir, "model.safetensors"), *index = tansy_path_join(dir, "model.safetensors.index.json");
  char *table = tansy_path_join(dir, TANSY_GGUF_TABLE);
  enum tansy_status status;
  struct stat info;
  if (!single || !index || !table) {
    status = tansy_fail_memory(failure);
  } else if (stat(single, &info) == 0) {
    c->files = calloc(1, sizeof *c->files);
    status = c->files ? open_shard(c, dir, "model.safetensors", failure) : tansy_fail_memory(failure);
  } else if (stat(index, &info) == 0) {
    struct tansy_file_text text = {0};
    struct tansy_json json = {0};
    status = read_json(index, MAX_INDEX_NBYTES, &text, &json, failure);
    if (status == TANSY_OK) status = open_shards(c, dir, &json, failure);
    tansy_json_free(&json);
    tansy_file_text_free(&text);
  } else if (stat(table, &info) == 0) {
    c->gguf = true;
    c->files = calloc(1, sizeof *c->files);
    status = c->files ? tansy_gguf_table_open(table, &c->files[0], failure) : tansy_fail_memory(failure);
    if (status == TANSY_OK) c->n_files = 1;
  } else {
    status = tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT,
                        "%s has no model.safetensors and no model.safetensors.index.json (other weight files must be converted first)", dir);
  }
  free(single);
  free(index);
  free(table);
  return status;
}

/* generation_config.json often has the full list of end tokens that config.json lacks; it is optional */
static enum tansy_status read_generation_config(struct tansy_checkpoint *c, const char *dir, struct tansy_failure *failure) {
  char *path = tansy_path_join(dir, "generation_config.json");
  if (!path) return tansy_fail_memory(failure);
  struct stat info;
  struct tansy_file_text text = {0};
  struct tansy_json json = {0};
  enum tansy_status status = TANSY_OK;
  if (stat(path, &info) == 0) status = read_json(path, MAX_CONFIG_NBYTES, &text, &json, failure);
  tansy_json_ref eos = tansy_json_get(&json, 0, "eos_token_id");
  bool list = tansy_json_kind_of(&json, eos) == TANSY_JSON_ARRAY;
  for (tansy_json_ref e = list ? tansy_json_first(&json, eos) : eos; e >= 0; e = list ? tansy_json_next(&json, eos, e) : TANSY_JSON_NONE) {
    uint64_t id;
    if (!tansy_json_uint(&json, e, &id) || id >= c->config.vocab) continue;
    for (int i = 0; i < 5; i++) {
      if (c->config.eos[i] == id + 1) break;
      if (c->config.eos[i]) continue;
      c->config.eos[i] = (uint32_t)id + 1;
      break;
    }
  }
  tansy_json_free(&json);
  tansy_file_text_free(&text);
  free(path);
  return status;
}

static enum tansy_status open_checkpoint(const char *dir, struct tansy_checkpoint *c, struct tansy_failure *failure) {
  struct stat info;
  if (stat(dir, &info) != 0) return tansy_fail(failure, TANSY_ERR_IO, "%s: %s", dir, strerror(errno));
  if (!S_ISDIR(info.st_mode)) return tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "%s is not a directory", dir);
  char *path = tansy_path_join(dir, "config.json");
  if (!path) return tansy_fail_memory(failure);
  struct tansy_file_text text = {0};
  struct tansy_json json = {0};
  enum tansy_status status = TANSY_OK;
  if (stat(path, &info) != 0) status = tansy_fail(failure, TANSY_ERR_NOT_CHECKPOINT, "%s has no config.json", dir);
  if (status == TANSY_OK) status = read_json(path, MAX_CONFIG_NBYTES, &text, &json, failure);
  if (status == TANSY_OK) status = tansy_hf_read_config(&json, c, failure);
  tansy_json_free(&json);
  tansy_file_text_free(&text);
  free(path);
  TANSY_TRY(status);
  TANSY_TRY(read_generation_config(c, dir, failure));
  TANSY_TRY(open_weights(c, dir, failure));
  TANSY_TRY(tansy_hf_map_tensors(c, failure));
  for (uint32_t i = 0; i < c->n_sources; i++) { /* where pointers have 32 bits, sizes in bytes must not wrap */
    const struct tansy_source *s = &c->sources[i];
    if ((uint64_t)s->n_rows * s->n_cols > SIZE_MAX / 8)
      return tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "tensor %s is too large for the compressor inside WebAssembly; build the native one", s->entry ? s->entry->name : "inv_freq");
  }
  return TANSY_OK;
}

enum tansy_status tansy_checkpoint_open(const char *dir, struct tansy_checkpoint *out, struct tansy_failure *failure) {
  *out = (struct tansy_checkpoint){0};
  enum tansy_status status = open_checkpoint(dir, out, failure);
  if (status != TANSY_OK) tansy_checkpoint_close(out);
  return status;
}

void tansy_checkpoint_close(struct tansy_checkpoint *c) {
  for (uint32_t i = 0; i < c->n_files; i++) tansy_safetensors_close(&c->files[i]);
  free(c->files);
  free(c->sources);
  free(c->inv_freq[0]);
  free(c->inv_freq[1]);
  *c = (struct tansy_checkpoint){0};
}

const struct tansy_source *tansy_checkpoint_find(const struct tansy_checkpoint *c, uint32_t role, uint32_t layer) {
  for (uint32_t i = 0; i < c->n_sources; i++)
    if (c->sources[i].role == role && c->sources[i].layer == layer) return &c->sources[i];
  return NULL;
}

const struct tansy_source *tansy_checkpoint_head(const struct tansy_checkpoint *c) {
  return tansy_checkpoint_find(c, c->config.tied ? TANSY_ROLE_EMBED : TANSY_ROLE_HEAD, 0);
}

static enum tansy_status read_values(const struct tansy_source *s, uint64_t begin, uint64_t n, float *out, struct tansy_failure *failure) {
  enum tansy_status status = tansy_safetensors_read(s->file, s->entry, begin, n, out);
  return status == TANSY_OK ? status : tansy_fail(failure, status, "tensor %s cannot be read", s->entry->name);
}

static enum tansy_status read_transposed(const struct tansy_source *s, uint32_t row_begin, uint32_t n_rows, float *out,
                                         struct tansy_failure *failure) {
  float *line = malloc(n_rows * sizeof *line);
  if (!line) return tansy_fail_memory(failure);
  enum tansy_status status = TANSY_OK;
  for (uint32_t col = 0; col < s->n_cols && status == TANSY_OK; col++) {
    status = read_values(s, (uint64_t)col * s->stored_rows + s->row_begin + row_begin, n_rows, line, failure);
    for (uint32_t row = 0; row < n_rows; row++) out[(size_t)row * s->n_cols + col] = line[row];
  }
  free(line);
  return status;
}

/* rows in the order of the files */
static enum tansy_status read_stored(const struct tansy_source *s, uint32_t row_begin, uint32_t n_rows, float *out,
                                     struct tansy_failure *failure) {
  size_t n = (size_t)n_rows * s->n_cols;
  if (s->values) {
    memcpy(out, s->values, n * sizeof *out);
  } else if (s->entry->interleaved) {
    uint32_t rows = s->matrix ? n_rows : s->n_cols, cols = s->matrix ? s->n_cols : 1;
    enum tansy_status status = tansy_gguf_read_interleaved(s->file, s->entry, s->row_begin + row_begin, rows, cols, out);
    if (status != TANSY_OK) return tansy_fail(failure, status, "tensor %s cannot be read", s->entry->name);
  } else if (s->transposed) {
    TANSY_TRY(read_transposed(s, row_begin, n_rows, out, failure));
  } else {
    /* a vector's stored "rows" are its values */
    uint64_t begin = s->matrix ? (uint64_t)(s->row_begin + row_begin) * s->n_cols : s->row_begin;
    TANSY_TRY(read_values(s, begin, n, out, failure));
  }
  for (size_t i = 0; i < n; i++) {
    if (!(out[i] >= -3.4e38f && out[i] <= 3.4e38f))
      return tansy_fail(failure, TANSY_ERR_NONFINITE, "tensor %s has a value that is not finite (row %zu, column %zu)",
                        s->entry ? s->entry->name : "inv_freq", row_begin + i / s->n_cols, i % s->n_cols);
    if (s->add_one) out[i] += 1;
  }
  return TANSY_OK;
}

enum tansy_status tansy_checkpoint_read(const struct tansy_checkpoint *c, const struct tansy_source *s, uint32_t row_begin,
                                        uint32_t n_rows, float *out, struct tansy_failure *failure) {
  (void)c;
  if (!s->row_order)
    TANSY_TRY(read_stored(s, row_begin, n_rows, out, failure));
  else
    for (uint32_t i = 0; i < n_rows; i++)
      TANSY_TRY(read_stored(s, s->row_order[row_begin + i], 1, out + (size_t)i * s->n_cols, failure));
  if (!s->col_order) return TANSY_OK;
  float *row = malloc(s->n_cols * sizeof *row);
  if (!row) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < n_rows; i++) {
    float *at = out + (size_t)i * s->n_cols;
    memcpy(row, at, s->n_cols * sizeof *row);
    for (uint32_t j = 0; j < s->n_cols; j++) at[j] = row[s->col_order[j]];
  }
  free(row);
  return TANSY_OK;
}

enum tansy_status tansy_checkpoint_blocks(const struct tansy_checkpoint *c, const struct tansy_source *s, tansy_block_body *body, void *ctx,
                                          struct tansy_failure *failure) {
  enum { BLOCK_N_VALUES = 1 << 20 };
  uint32_t block = BLOCK_N_VALUES / s->n_cols + 1;
  if (block > s->n_rows || s->transposed) block = s->n_rows; /* a transposed one is read column by column */
  float *w = malloc((size_t)block * s->n_cols * sizeof *w);
  enum tansy_status status = w ? TANSY_OK : tansy_fail_memory(failure);
  for (uint32_t first = 0; first < s->n_rows && status == TANSY_OK; first += block) {
    uint32_t n = s->n_rows - first < block ? s->n_rows - first : block;
    status = tansy_checkpoint_read(c, s, first, n, w, failure);
    if (status == TANSY_OK) status = body(ctx, first, n, w, failure);
  }
  free(w);
  return status;
}
