/* cmd_inspect.c: tansy-pack inspect: what every tensor of a .tansy file costs, or what plain integers of every matrix of a
 * safetensors file would cost. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "format/container.h"
#include "pack/checkpoint.h"
#include "pack/command.h"
#include "pack/model_file.h"
#include "pack/numeric.h"
#include "pack/quantize.h"

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

struct coded_figures {
  double entropy, n_zero;
};

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

static void shape(struct tansy_out *out, uint64_t n_rows, uint64_t n_cols) {
  tansy_out_begin(out, "shape", '[');
  tansy_out_uint(out, NULL, n_rows);
  tansy_out_uint(out, NULL, n_cols);
  tansy_out_end(out, ']');
}

static void matrix_figures(struct tansy_out *out, const struct tansy_coded_shape *s, uint64_t nbytes, double coded_bits, double entropy, double zeros) {
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
                                        const struct tansy_record *r, FILE *dump, struct tansy_failure *failure) {
  static const char *const kinds[] = {"F32", "F16", "LOG8", "CODED"};
  static const char *const scales[] = {"uniform", "half-octave", "F16"};
  char name[96];
  struct coded_figures figures = {0};
  if (r->kind == TANSY_KIND_CODED) TANSY_TRY(read_figures(file, index, r, dump, &figures, failure));
  tansy_role_name(r->role, r->layer, name, sizeof name);
  tansy_out_begin(out, NULL, '{');
  tansy_out_string(out, "name", name);
  tansy_out_string(out, "kind", kinds[r->kind]);
  shape(out, r->n_rows, r->n_cols);
  if (r->kind == TANSY_KIND_CODED) {
    double n = (double)r->n_rows * r->n_cols;
    matrix_figures(out, &r->shape, r->nbytes, (double)(r->nbytes - tansy_record_prefix_nbytes(r)) * 8 / n, figures.entropy, figures.n_zero);
    tansy_out_string(out, "row_scale", scales[r->row_scale]);
  } else {
    tansy_out_uint(out, "bytes", r->nbytes);
    tansy_out_number(out, "bits_per_weight", (double)r->nbytes * 8 / r->n_cols);
  }
  tansy_out_end(out, '}');
  return TANSY_OK;
}

static enum tansy_status inspect_model(const char *path, FILE *dump, struct tansy_out *out, struct tansy_failure *failure) {
  struct tansy_model_file file;
  struct tansy_index index;
  uint32_t failed;
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
      tansy_out_end(out, '}');
    }
    tansy_out_end(out, ']');
    tansy_out_begin(out, "tensors", '[');
    walk = tansy_index_tensor_walk(&index);
    for (uint32_t i = 0; i < index.n_tensors && status == TANSY_OK; i++) {
      struct tansy_record r;
      tansy_index_next_tensor(&walk, &r);
      status = inspect_tensor(out, &file, &index, &r, dump, failure);
    }
    tansy_out_end(out, ']');
  }
  tansy_model_file_close(&file);
  return status;
}

/* of 16-bit integers */
static double entropy_of_rounded(const int16_t *z, size_t n, uint32_t *count) {
  memset(count, 0, (1 << 16) * sizeof *count);
  for (size_t i = 0; i < n; i++) count[z[i] + (1 << 15)]++;
  double bits = 0;
  for (size_t i = 0; i < 1 << 16; i++)
    if (count[i]) bits -= (double)count[i] * tansy_log_f64((double)count[i] / (double)n);
  return bits / (double)n / 0.6931471805599453;
}

/* z = w / step rounded, with the step of the whole matrix at which z has an entropy of `bits`; no integer beyond 16 bits */
static enum tansy_status quantize_to_entropy(const float *w, uint32_t n_rows, uint32_t n_cols, double bits, int16_t *z, struct tansy_rows *rows,
                                             struct tansy_failure *failure) {
  enum { N_HALVINGS = 15 }; /* of the interval of log(step): 15 octaves / 2^15 */
  uint32_t *count = malloc((1 << 16) * sizeof *count);
  if (!count) return tansy_fail_memory(failure);
  tansy_absmax_rows(w, n_rows, n_cols, rows->value);
  float largest = 0, limit = tansy_integer_limit(16);
  for (uint32_t i = 0; i < n_rows; i++) largest = rows->value[i] > largest ? rows->value[i] : largest;
  double low = 0, high = 15; /* log2 of the step over the least one */
  for (int i = 0; i <= N_HALVINGS; i++) {
    const double middle = i < N_HALVINGS ? (low + high) / 2 : low;
    tansy_rows_set_uniform(rows, (float)((double)(largest / limit) * tansy_exp_f64(0.6931471805599453 * middle)));
    tansy_round_rows(w, n_rows, n_cols, rows->value, limit, z);
    if (entropy_of_rounded(z, (size_t)n_rows * n_cols, count) < bits) high = middle;
    else low = middle;
  }
  free(count);
  return TANSY_OK;
}

/* one matrix of a safetensors file as plain integers */
static enum tansy_status inspect_entry(struct tansy_out *out, const struct tansy_safetensors *st, const struct tansy_safetensors_entry *e,
                                       double bits, struct tansy_failure *failure) {
  struct tansy_writer writer = {0};
  struct tansy_matrix_stats stats;
  struct tansy_rows rows;
  uint32_t n_rows = (uint32_t)e->shape[0], n_cols = (uint32_t)e->shape[1];
  float *w = malloc(e->n_values * sizeof *w);
  int16_t *z = malloc(e->n_values * sizeof *z);
  enum tansy_status status = tansy_rows_init(&rows, n_rows, failure);
  if (status == TANSY_OK && (!w || !z)) status = tansy_fail_memory(failure);
  if (status == TANSY_OK && tansy_safetensors_read(st, e, 0, e->n_values, w) != TANSY_OK)
    status = tansy_fail(failure, TANSY_ERR_IO, "tensor %s cannot be read", e->name);
  if (status == TANSY_OK) status = quantize_to_entropy(w, n_rows, n_cols, bits, z, &rows, failure);
  if (status == TANSY_OK) status = tansy_writer_add_matrix(&writer, TANSY_ROLE_Q, 0, n_rows, n_cols, (struct tansy_integers){z, NULL}, &rows, &stats, failure);
  if (status == TANSY_OK) {
    tansy_out_begin(out, NULL, '{');
    tansy_out_string(out, "name", e->name);
    tansy_out_string(out, "kind", "CODED");
    shape(out, n_rows, n_cols);
    matrix_figures(out, &writer.blobs[0].shape, stats.nbytes, stats.coded_bits, stats.entropy_bits, (double)stats.n_zero / (double)e->n_values);
    tansy_out_end(out, '}');
  }
  tansy_writer_free(&writer);
  tansy_rows_free(&rows);
  free(w);
  free(z);
  return status;
}

static enum tansy_status inspect_safetensors(const char *path, double bits, struct tansy_out *out, struct tansy_failure *failure) {
  struct tansy_safetensors st;
  char what[300];
  enum tansy_status status = tansy_safetensors_open(path, &st, what, sizeof what);
  if (status != TANSY_OK) return tansy_fail(failure, status, "%s: %s", path, what);
  tansy_out_string(out, "file", path);
  tansy_out_number(out, "integer_bits", bits);
  tansy_out_begin(out, "tensors", '[');
  for (uint32_t i = 0; i < st.n_entries && status == TANSY_OK; i++) {
    const struct tansy_safetensors_entry *e = &st.entries[i];
    if (e->n_dims == 2 && e->dtype != TANSY_DTYPE_OTHER && e->n_values > 0 && e->shape[0] <= TANSY_MAX_DIM && e->shape[1] <= TANSY_MAX_COLS)
      status = inspect_entry(out, &st, e, bits, failure);
  }
  tansy_out_end(out, ']');
  tansy_safetensors_close(&st);
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
                             : is_safetensors   ? inspect_safetensors(path, bits, &out, failure)
                                                : inspect_model(path, dump, &out, failure);
  if (dump && fclose(dump) != 0 && status == TANSY_OK) status = tansy_fail(failure, TANSY_ERR_IO, "%s cannot be written", dump_path);
  tansy_out_end(&out, '}');
  fclose(out.file);
  if (status == TANSY_OK) fwrite(text, 1, nbytes, stdout);
  free(text);
  return status;
}
