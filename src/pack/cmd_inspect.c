/* cmd_inspect.c: tansy-pack inspect: what every tensor of a .tansy file costs; of bare matrices, inspect_bare.c. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "codec/tile.h"
#include "format/container.h"
#include "pack/checkpoint.h"
#include "pack/command.h"
#include "pack/inspect.h"
#include "pack/model_file.h"
#include "pack/numeric.h"

/* Shannon entropy of n integers in one table, bits each; -1: they spread too wide to be counted */
static enum tansy_status entropy_of(const int32_t *z, size_t n, double *out, struct tansy_failure *failure) {
  int32_t low = z[0], high = z[0];
  for (size_t i = 1; i < n; i++) {
    if (z[i] < low) low = z[i];
    if (z[i] > high) high = z[i];
  }
  size_t range = (size_t)((int64_t)high - low) + 1;
  *out = -1;
  if (range > (size_t)1 << 26) return TANSY_OK;
  uint64_t *count = calloc(range, sizeof *count);
  if (!count) return tansy_fail_memory(failure);
  for (size_t i = 0; i < n; i++) count[z[i] - low]++;
  double bits = 0;
  for (size_t i = 0; i < range; i++)
    if (count[i]) bits -= (double)count[i] * tansy_log_f64((double)count[i] / (double)n);
  free(count);
  *out = bits / (double)n / 0.6931471805599453;
  return TANSY_OK;
}

/* where the bytes of a file are; HEADER, ATTACHMENTS and VECTORS are of the file only */
enum part { HEADER, ATTACHMENTS, VECTORS, ROW_SCALES, TABLES, CLASSES, OFFSETS, ESCAPES, STATES, RAW_BITS, CODES, N_PARTS };
static const char *const part_names[N_PARTS] = {"header", "attachments", "vectors", "row_scales", "tables", "classes", "offsets", "escapes", "states", "raw_bits", "codes"};

struct coded_figures {
  double entropy, n_zero;
  uint64_t part[N_PARTS];
};

static void parts_of(const struct tansy_coded *c, const struct tansy_record *r, uint64_t *part) {
  uint64_t n_groups = tansy_pad_rows(r->n_rows) / TANSY_GROUP_N_ROWS, n_steps = tansy_coded_n_steps(c);
  part[ROW_SCALES] = tansy_record_prefix_nbytes(r);
  part[CLASSES] = (c->row_class ? (n_groups + 1) / 2 : 0) + (c->step_class ? (n_steps + 1) / 2 : 0);
  part[TABLES] = (uint64_t)(c->tile_offsets - c->head) - part[CLASSES]; /* and a few bytes before them */
  part[OFFSETS] = 4 * (uint64_t)(c->n_tiles - 1);
  part[ESCAPES] = c->shape.head_nbytes - part[TABLES] - part[CLASSES] - part[OFFSETS];
  part[STATES] = (uint64_t)c->n_tiles * c->n_sets * TANSY_SET_NBYTES;
  part[RAW_BITS] = n_groups * tansy_group_raw_nbytes(r->shape.raw_bits, (uint32_t)n_steps);
  part[CODES] = c->tiles_nbytes - part[STATES] - part[RAW_BITS];
}

static void out_parts(struct tansy_out *out, const uint64_t *part, int first) {
  tansy_out_begin(out, "parts", '{');
  for (int i = first; i < N_PARTS; i++) tansy_out_uint(out, part_names[i], part[i]);
  tansy_out_end(out, '}');
}

/* decodes all integers of a coded tensor through the portable reader; `dump`, when not NULL, gets them as i32 */
static enum tansy_status read_figures(const struct tansy_model_file *file, const struct tansy_index *index, const struct tansy_record *r,
                                      FILE *dump, struct coded_figures *out, struct tansy_failure *failure) {
  size_t n = (size_t)r->n_rows * r->n_cols, prefix = tansy_record_prefix_nbytes(r);
  uint8_t *bytes = calloc(1, (size_t)r->nbytes + TANSY_STREAM_SLACK);
  int32_t *z = NULL;
  struct tansy_freq_table *tables = aligned_alloc(16, r->shape.n_tables * sizeof *tables);
  struct tansy_coded coded;
  enum tansy_status status = bytes && tables ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK) status = tansy_model_file_read(file, index->payload_offset + r->offset, bytes, r->nbytes, failure);
  if (status == TANSY_OK) {
    status = tansy_coded_parse(bytes + prefix, bytes + prefix + r->shape.head_nbytes, tansy_record_tiles_nbytes(r), &r->shape, tables, &coded);
    /* only now is it known that the shape is one that these bytes can have */
    if (status == TANSY_OK && !(z = malloc(n * sizeof *z))) status = TANSY_ERR_NO_MEMORY;
    if (status == TANSY_OK) status = tansy_coded_read_rows(&coded, 0, r->n_rows, z);
    if (status == TANSY_ERR_NO_MEMORY) tansy_fail_memory(failure);
    else if (status != TANSY_OK) tansy_fail(failure, status, "%s: the codes of role %u, layer %u are damaged", file->path, r->role, r->layer);
  }
  if (status == TANSY_OK) status = entropy_of(z, n, &out->entropy, failure);
  if (status == TANSY_OK) {
    parts_of(&coded, r, out->part);
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++) zeros += z[i] == 0;
    out->n_zero = (double)zeros / (double)n;
    if (dump && fwrite(z, sizeof *z, n, dump) != n) status = tansy_fail(failure, TANSY_ERR_IO, "the integers cannot be written");
  }
  free(bytes);
  free(z);
  free(tables);
  return status;
}

void tansy_out_shape(struct tansy_out *out, uint64_t n_rows, uint64_t n_cols) {
  tansy_out_begin(out, "shape", '[');
  tansy_out_uint(out, NULL, n_rows);
  tansy_out_uint(out, NULL, n_cols);
  tansy_out_end(out, ']');
}

void tansy_out_coded(struct tansy_out *out, const struct tansy_coded_shape *s, uint64_t nbytes, double coded_bits, double entropy, double zeros) {
  double n = (double)s->n_rows * s->n_cols;
  tansy_out_uint(out, "bytes", nbytes);
  tansy_out_number(out, "bits_per_weight", (double)nbytes * 8 / n);
  tansy_out_number(out, "entropy", entropy);
  tansy_out_number(out, "coded_bits", coded_bits);
  tansy_out_number(out, "loss", entropy > 0 ? coded_bits / entropy - 1 : 0);
  tansy_out_number(out, "zeros", zeros);
  tansy_out_uint(out, "escapes", s->n_escapes);
  tansy_out_uint(out, "n_tables", s->n_tables);
  tansy_out_uint(out, "raw_bits", s->raw_bits);
  tansy_out_uint(out, "tile_rows", s->tile_n_rows);
}

static enum tansy_status inspect_tensor(struct tansy_out *out, const struct tansy_model_file *file, const struct tansy_index *index,
                                        const struct tansy_record *r, FILE *dump, uint64_t *total, struct tansy_failure *failure) {
  static const char *const kinds[] = {"F32", "F16", "LOG8", "CODED"};
  static const char *const scales[] = {"uniform", "half-octave", "F16"};
  char name[96];
  struct coded_figures figures = {0};
  if (r->kind == TANSY_KIND_CODED) TANSY_TRY(read_figures(file, index, r, dump, &figures, failure));
  tansy_role_name(r->role, r->layer, name, sizeof name);
  tansy_out_begin(out, NULL, '{');
  tansy_out_string(out, "name", name);
  tansy_out_string(out, "kind", kinds[r->kind]);
  tansy_out_shape(out, r->n_rows, r->n_cols);
  if (r->kind == TANSY_KIND_CODED) {
    double n = (double)r->n_rows * r->n_cols;
    tansy_out_coded(out, &r->shape, r->nbytes, (double)(r->nbytes - tansy_record_prefix_nbytes(r)) * 8 / n, figures.entropy, figures.n_zero);
    tansy_out_string(out, "row_scale", scales[r->row_scale]);
    out_parts(out, figures.part, ROW_SCALES);
    for (int i = ROW_SCALES; i < N_PARTS; i++) total[i] += figures.part[i];
  } else {
    tansy_out_uint(out, "bytes", r->nbytes);
    tansy_out_number(out, "bits_per_weight", (double)r->nbytes * 8 / r->n_cols);
    total[VECTORS] += r->nbytes;
  }
  tansy_out_end(out, '}');
  return TANSY_OK;
}

static enum tansy_status inspect_model(const char *path, FILE *dump, struct tansy_out *out, struct tansy_failure *failure) {
  struct tansy_model_file file;
  struct tansy_index index;
  uint32_t failed;
  uint64_t part[N_PARTS] = {0};
  TANSY_TRY(tansy_model_file_open(path, &file, failure));
  enum tansy_status status = tansy_index_open(file.header, file.header_nbytes, &index, &failed);
  if (status != TANSY_OK) tansy_fail(failure, status, "%s: the index is damaged (tensor %d)", path, (int)failed);
  if (status == TANSY_OK && tansy_index_file_nbytes(&index) != file.file_nbytes)
    status = tansy_fail(failure, TANSY_ERR_TRUNCATED, "%s has %llu bytes; its index says %llu", path, (unsigned long long)file.file_nbytes,
                        (unsigned long long)tansy_index_file_nbytes(&index));
  if (status == TANSY_OK) {
    tansy_out_string(out, "file", path);
    tansy_out_uint(out, "file_bytes", file.file_nbytes);
    tansy_out_uint(out, "header_bytes", file.header_nbytes);
    tansy_out_begin(out, "config", '{');
    struct tansy_index_walk walk = tansy_index_config_walk(&index);
    for (uint32_t i = 0; i < index.n_config; i++) {
      uint64_t key;
      uint32_t value;
      char name[24];
      tansy_index_next_config(&walk, &key, &value);
      snprintf(name, sizeof name, "%llu", (unsigned long long)key);
      tansy_out_uint(out, name, value);
    }
    tansy_out_end(out, '}');
    tansy_out_begin(out, "attachments", '[');
    walk = tansy_index_attachment_walk(&index);
    for (uint32_t i = 0; i < index.n_attachments; i++) {
      struct tansy_record_attachment a;
      char name[256];
      tansy_index_next_attachment(&walk, &a);
      snprintf(name, sizeof name, "%.*s", (int)(a.name_nbytes < 255 ? a.name_nbytes : 255), (const char *)a.name);
      tansy_out_begin(out, NULL, '{');
      tansy_out_string(out, "name", name);
      tansy_out_string(out, "encoding", a.encoding ? "gzip" : "raw");
      tansy_out_uint(out, "bytes", a.nbytes);
      tansy_out_uint(out, "raw_bytes", a.raw_nbytes);
      part[ATTACHMENTS] += a.nbytes;
      tansy_out_end(out, '}');
    }
    tansy_out_end(out, ']');
    tansy_out_begin(out, "tensors", '[');
    walk = tansy_index_tensor_walk(&index);
    for (uint32_t i = 0; i < index.n_tensors && status == TANSY_OK; i++) {
      struct tansy_record r;
      tansy_index_next_tensor(&walk, &r);
      status = inspect_tensor(out, &file, &index, &r, dump, part, failure);
    }
    tansy_out_end(out, ']');
    part[HEADER] = file.header_nbytes;
    out_parts(out, part, HEADER);
  }
  tansy_model_file_close(&file);
  return status;
}

enum tansy_status tansy_command_inspect(int argc, char **argv, struct tansy_failure *failure) {
  double bits = 4;
  const char *path = NULL, *progress = "none", *dump_path = NULL;
  const struct tansy_option options[] = {{"--bits", 'd', &bits, NULL}, {"--progress", 's', &progress, NULL}, {"--dump", 's', &dump_path, NULL}};
  TANSY_TRY(tansy_options_parse(argc, argv, options, 3, &path, 1, failure));
  if (!path) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "inspect needs a .tansy or .safetensors file");
  if (!(bits >= 0.5 && bits <= 8)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--bits is 0.5 to 8");
  /* the report is made in memory, so that a failure half way leaves stdout to the error */
  char *text = NULL;
  size_t nbytes = 0;
  struct tansy_out out = {.file = open_memstream(&text, &nbytes)};
  if (!out.file) return tansy_fail_memory(failure);
  tansy_out_begin(&out, NULL, '{');
  size_t n = strlen(path);
  bool is_safetensors = n > 12 && strcmp(path + n - 12, ".safetensors") == 0;
  FILE *dump = dump_path && !is_safetensors ? fopen(dump_path, "wb") : NULL;
  enum tansy_status status = dump_path && !dump ? tansy_fail(failure, TANSY_ERR_IO, "--dump: %s cannot be written (of a .tansy file only)", dump_path)
                             : is_safetensors   ? tansy_inspect_bare(path, bits, &out, failure)
                                                : inspect_model(path, dump, &out, failure);
  if (dump && fclose(dump) != 0 && status == TANSY_OK) status = tansy_fail(failure, TANSY_ERR_IO, "%s cannot be written", dump_path);
  tansy_out_end(&out, '}');
  fclose(out.file);
  if (status == TANSY_OK) fwrite(text, 1, nbytes, stdout);
  free(text);
  return status;
}
