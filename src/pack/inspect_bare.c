/* inspect_bare.c: what the codec makes of matrices that belong to no model it knows: see inspect.h.
 *
 * `compress` numbers channels anew, so that rows and columns that spread alike stand together (order.h). Of a bare matrix nobody
 * knows which channels are free; its lines are sorted where that saves more than a list of their places takes, and the
 * list is counted. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "pack/checkpoint.h"
#include "pack/inspect.h"
#include "pack/numeric.h"
#include "pack/order.h"
#include "pack/quantize.h"

#define LN2 0.6931471805599453

struct bare {
  uint32_t n_rows, n_cols;
  int16_t *z, *sorted; /* [n_rows, n_cols] */
};

/* bits per weight, one table */
static double entropy_of(const int16_t *z, size_t n, uint32_t *count) {
  memset(count, 0, (1 << 16) * sizeof *count);
  for (size_t i = 0; i < n; i++) count[z[i] + (1 << 15)]++;
  double bits = 0;
  for (size_t i = 0; i < 1 << 16; i++)
    if (count[i]) bits -= (double)count[i] * tansy_log_f64((double)count[i] / (double)n);
  return bits / (double)n / LN2;
}

/* z = w / step rounded, with the step of the whole matrix at which z has an entropy of `bits`; no integer beyond 16 bits */
static enum tansy_status quantize_to_entropy(const float *w, struct bare *b, double bits, struct tansy_failure *failure) {
  enum { N_HALVINGS = 15 }; /* of the interval of log(step): 15 octaves / 2^15 */
  struct tansy_rows rows;
  enum tansy_status status = tansy_rows_init(&rows, b->n_rows, failure);
  uint32_t *count = malloc((1 << 16) * sizeof *count);
  if (status == TANSY_OK && !count) status = tansy_fail_memory(failure);
  if (status == TANSY_OK) {
    tansy_absmax_rows(w, b->n_rows, b->n_cols, rows.value);
    float largest = 0, limit = tansy_integer_limit(16);
    for (uint32_t i = 0; i < b->n_rows; i++) largest = rows.value[i] > largest ? rows.value[i] : largest;
    double low = 0, high = 15; /* log2 of the step over the least one */
    for (int i = 0; i <= N_HALVINGS; i++) {
      const double middle = i < N_HALVINGS ? (low + high) / 2 : low;
      tansy_rows_set_uniform(&rows, (float)((double)(largest / limit) * tansy_exp_f64(LN2 * middle)));
      tansy_round_rows(w, b->n_rows, b->n_cols, rows.value, limit, b->z);
      if (entropy_of(b->z, (size_t)b->n_rows * b->n_cols, count) < bits) high = middle;
      else low = middle;
    }
  }
  free(count);
  tansy_rows_free(&rows);
  return status;
}

/* ---- order ---- */

static uint64_t list_nbytes(uint32_t n) {
  uint32_t bits = 0;
  while (bits < 32 && (n - 1) >> bits) bits++;
  return ((uint64_t)n * bits + 7) / 8;
}

/* The numbers of rows (or columns) in the order of their spread, if that is likely to pay; *out NULL: it is not. Blocks share a
 * table, so lines in groups whose ln(spread) has a variance v cost about v / (2 ln 2) bits a weight more than they need. */
static enum tansy_status order_lines(const struct bare *b, bool rows, uint32_t **out, struct tansy_failure *failure) {
  uint32_t n = rows ? b->n_rows : b->n_cols, length = rows ? b->n_cols : b->n_rows, group = rows ? TANSY_GROUP_N_ROWS : TANSY_LANES;
  double *key = calloc(n, sizeof *key), excess = 0;
  *out = NULL;
  if (!key) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < b->n_rows; i++)
    for (uint32_t j = 0; j < b->n_cols; j++) key[rows ? i : j] += abs(b->z[(size_t)i * b->n_cols + j]);
  for (uint32_t i = 0; i < n; i++) key[i] = tansy_log_f64(key[i] / length + 0.05);
  for (uint32_t first = 0; first < n; first += group) {
    uint32_t m = n - first < group ? n - first : group;
    double sum = 0, square = 0;
    for (uint32_t i = first; i < first + m; i++) sum += key[i], square += key[i] * key[i];
    excess += square - sum * sum / m;
  }
  bool pays = excess * length / (2 * LN2) > 8.0 * (double)list_nbytes(n);
  if (pays) *out = tansy_order_sorted(key, n);
  free(key);
  return pays && !*out ? tansy_fail_memory(failure) : TANSY_OK;
}

static void take_in_order(struct bare *b, const uint32_t *row_of, const uint32_t *col_of) {
  for (uint32_t i = 0; i < b->n_rows; i++) {
    const int16_t *from = b->z + (size_t)(row_of ? row_of[i] : i) * b->n_cols;
    int16_t *to = b->sorted + (size_t)i * b->n_cols;
    for (uint32_t j = 0; j < b->n_cols; j++) to[j] = from[col_of ? col_of[j] : j];
  }
}

/* ---- the report ---- */

struct coding {
  struct tansy_coded_shape shape;
  struct tansy_encode_stats stats;
  uint64_t stream_nbytes, order_nbytes;
};

static enum tansy_status encode(const struct bare *b, const int16_t *z, struct coding *out, struct tansy_failure *failure) {
  struct tansy_buffer stream = {0};
  enum tansy_status status = tansy_encode_integers((struct tansy_integers){z, NULL}, b->n_rows, b->n_cols, NULL, &stream, &out->shape, &out->stats);
  out->stream_nbytes = stream.nbytes;
  tansy_buffer_free(&stream);
  return status == TANSY_OK ? TANSY_OK : tansy_fail_memory(failure);
}

/* as it stands, or in order if that takes fewer bytes */
static enum tansy_status encode_best(struct bare *b, struct coding *out, struct tansy_failure *failure) {
  uint32_t *row_of = NULL, *col_of = NULL;
  struct coding ordered = {0};
  out->order_nbytes = 0;
  TANSY_TRY(encode(b, b->z, out, failure));
  enum tansy_status status = order_lines(b, true, &row_of, failure);
  if (status == TANSY_OK) status = order_lines(b, false, &col_of, failure);
  if (status == TANSY_OK && (row_of || col_of)) {
    take_in_order(b, row_of, col_of);
    status = encode(b, b->sorted, &ordered, failure);
    ordered.order_nbytes = (row_of ? list_nbytes(b->n_rows) : 0) + (col_of ? list_nbytes(b->n_cols) : 0);
    if (status == TANSY_OK && ordered.stream_nbytes + ordered.order_nbytes < out->stream_nbytes) *out = ordered;
  }
  free(row_of);
  free(col_of);
  return status;
}

static enum tansy_status inspect_matrix(struct tansy_out *out, const struct tansy_safetensors *st, const struct tansy_safetensors_entry *e,
                                        double bits, struct tansy_failure *failure) {
  struct bare b = {.n_rows = (uint32_t)e->shape[0], .n_cols = (uint32_t)e->shape[1]};
  struct coding coding = {0};
  float *w = malloc(e->n_values * sizeof *w);
  b.z = malloc(e->n_values * sizeof *b.z);
  b.sorted = malloc(e->n_values * sizeof *b.sorted);
  enum tansy_status status = w && b.z && b.sorted ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK && tansy_safetensors_read(st, e, 0, e->n_values, w) != TANSY_OK)
    status = tansy_fail(failure, TANSY_ERR_IO, "tensor %s cannot be read", e->name);
  for (size_t i = 0; i < e->n_values && status == TANSY_OK; i++)
    if (!isfinite(w[i])) status = tansy_fail(failure, TANSY_ERR_NONFINITE, "tensor %s has a weight that is no finite number", e->name);
  if (status == TANSY_OK) status = quantize_to_entropy(w, &b, bits, failure);
  if (status == TANSY_OK) status = encode_best(&b, &coding, failure);
  if (status == TANSY_OK) {
    double n = (double)e->n_values;
    uint64_t nbytes = coding.stream_nbytes + coding.order_nbytes, n_zero = 0;
    for (size_t i = 0; i < e->n_values; i++) n_zero += b.z[i] == 0;
    tansy_out_begin(out, NULL, '{');
    tansy_out_string(out, "name", e->name);
    tansy_out_string(out, "kind", "CODED");
    tansy_out_shape(out, b.n_rows, b.n_cols);
    tansy_out_coded(out, &coding.shape, nbytes + 4 /* the step */, (double)nbytes * 8 / n, coding.stats.entropy_bits, (double)n_zero / n);
    tansy_out_uint(out, "order_bytes", coding.order_nbytes);
    tansy_out_end(out, '}');
  }
  free(w);
  free(b.z);
  free(b.sorted);
  return status;
}

enum tansy_status tansy_inspect_bare(const char *path, double bits, struct tansy_out *out, struct tansy_failure *failure) {
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
      status = inspect_matrix(out, &st, e, bits, failure);
  }
  tansy_out_end(out, ']');
  tansy_safetensors_close(&st);
  return status;
}
