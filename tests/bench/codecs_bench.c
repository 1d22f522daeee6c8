/* codecs_bench.c: the ANS coder beside general compressors on the integers of quantized matrices. Prints JSON lines.
 *
 *   codecs-bench NAME FILE.tansy                 the integers of a compressed model
 *   codecs-bench NAME FILE.safetensors STEP      matrices as integers with rows of step absmax / 127 * STEP
 *
 * Every matrix is a stream of its own, one byte an integer; the few integers beyond a byte are cut, for all codecs alike. Speed is
 * that of decoding everything once on one thread, the median of some rounds. */
#include <libdeflate.h>
#include <lz4.h>
#include <lz4hc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "format/container.h"
#include "format/safetensors.h"
#include "kernels/kernels.h"
#include "pack/model_file.h"
#include "pack/quantize.h"
#include "pack/report.h"

enum { MAX_MATRICES = 512, ROUNDS = 9 };

struct matrix {
  uint32_t n_rows, n_cols;
  int8_t *z;
  size_t n;
};
static struct matrix matrices[MAX_MATRICES];
static uint32_t n_matrices;

static void die(const char *what) {
  fprintf(stderr, "codecs-bench: %s\n", what);
  exit(1);
}
static void *need(size_t n) {
  void *p = malloc(n + 64);
  if (!p) die("out of memory");
  return p;
}

static void add(const int32_t *wide, const int16_t *narrow, uint32_t n_rows, uint32_t n_cols) {
  if (n_matrices == MAX_MATRICES) die("too many matrices");
  struct matrix *m = &matrices[n_matrices++];
  *m = (struct matrix){n_rows, n_cols, need((size_t)n_rows * n_cols), (size_t)n_rows * n_cols};
  for (size_t i = 0; i < m->n; i++) {
    int32_t v = wide ? wide[i] : narrow[i];
    m->z[i] = (int8_t)(v > 127 ? 127 : v < -127 ? -127 : v);
  }
}

static void read_model(const char *path) {
  struct tansy_failure failure;
  struct tansy_model_file file;
  struct tansy_index index;
  uint32_t failed;
  if (tansy_model_file_open(path, &file, &failure) != TANSY_OK) die(failure.text);
  if (tansy_index_open(file.header, file.header_nbytes, &index, &failed) != TANSY_OK) die("damaged index");
  struct tansy_index_walk walk = tansy_index_tensor_walk(&index);
  for (uint32_t i = 0; i < index.n_tensors; i++) {
    struct tansy_record r;
    tansy_index_next_tensor(&walk, &r);
    if (r.kind != TANSY_KIND_CODED) continue;
    size_t prefix = tansy_record_prefix_nbytes(&r);
    uint8_t *bytes = need((size_t)r.nbytes);
    int32_t *z = need((size_t)r.n_rows * r.n_cols * sizeof *z);
    struct tansy_freq_table tables[TANSY_MAX_TABLES];
    struct tansy_coded coded;
    if (tansy_model_file_read(&file, index.payload_offset + r.offset, bytes, r.nbytes, &failure) != TANSY_OK) die(failure.text);
    if (tansy_coded_parse(bytes + prefix, bytes + prefix + r.shape.head_nbytes, tansy_record_tiles_nbytes(&r), &r.shape, tables, &coded) != TANSY_OK ||
        tansy_coded_read_rows(&coded, 0, r.n_rows, z) != TANSY_OK)
      die("damaged codes");
    add(z, NULL, r.n_rows, r.n_cols);
    free(bytes);
    free(z);
  }
  tansy_model_file_close(&file);
}

static void read_safetensors(const char *path, double step) {
  struct tansy_failure failure;
  struct tansy_safetensors st;
  char what[300];
  if (tansy_safetensors_open(path, &st, what, sizeof what) != TANSY_OK) die(what);
  for (uint32_t i = 0; i < st.n_entries; i++) {
    const struct tansy_safetensors_entry *e = &st.entries[i];
    if (e->n_dims != 2 || e->dtype == TANSY_DTYPE_OTHER || e->n_values == 0) continue;
    uint32_t n_rows = (uint32_t)e->shape[0], n_cols = (uint32_t)e->shape[1];
    float *w = need(e->n_values * sizeof *w), *scale = need(n_rows * sizeof *scale);
    int16_t *z = need(e->n_values * sizeof *z);
    if (tansy_safetensors_read(&st, e, 0, e->n_values, w) != TANSY_OK) die("unreadable tensor");
    tansy_absmax_rows(w, n_rows, n_cols, scale);
    for (uint32_t r = 0; r < n_rows; r++) scale[r] *= (float)(step / 127);
    tansy_round_rows(w, n_rows, n_cols, scale, 127, z);
    add(NULL, z, n_rows, n_cols);
    free(w), free(scale), free(z);
  }
  (void)failure;
  tansy_safetensors_close(&st);
}

/* ---- codecs: compress returns bytes, decompress fills out ---- */

struct stream {
  uint8_t *bytes;
  size_t nbytes;
  struct tansy_coded coded; /* ANS */
  struct tansy_freq_table *tables;
};

static void zstd_pack(const struct matrix *m, int level, struct stream *s) {
  s->bytes = need(ZSTD_compressBound(m->n));
  s->nbytes = ZSTD_compress(s->bytes, ZSTD_compressBound(m->n), m->z, m->n, level);
  if (ZSTD_isError(s->nbytes)) die("zstd");
}
static void zstd_unpack(const struct stream *s, const struct matrix *m, uint8_t *out) {
  if (ZSTD_decompress(out, m->n, s->bytes, s->nbytes) != m->n) die("zstd");
}
static void lz4_pack(const struct matrix *m, int level, struct stream *s) {
  int bound = LZ4_compressBound((int)m->n);
  s->bytes = need((size_t)bound);
  int n = level ? LZ4_compress_HC((const char *)m->z, (char *)s->bytes, (int)m->n, bound, level)
                : LZ4_compress_default((const char *)m->z, (char *)s->bytes, (int)m->n, bound);
  if (n <= 0) die("lz4");
  s->nbytes = (size_t)n;
}
static void lz4_unpack(const struct stream *s, const struct matrix *m, uint8_t *out) {
  if (LZ4_decompress_safe((const char *)s->bytes, (char *)out, (int)s->nbytes, (int)m->n) != (int)m->n) die("lz4");
}
/* level 0: Huffman codes alone */
static void deflate_pack(const struct matrix *m, int level, struct stream *s) {
  z_stream z = {0};
  if (deflateInit2(&z, level ? level : 9, Z_DEFLATED, -15, 9, level ? Z_DEFAULT_STRATEGY : Z_HUFFMAN_ONLY) != Z_OK) die("zlib");
  size_t bound = deflateBound(&z, m->n);
  s->bytes = need(bound);
  z.next_in = (Bytef *)m->z, z.avail_in = (uInt)m->n, z.next_out = s->bytes, z.avail_out = (uInt)bound;
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) die("zlib");
  s->nbytes = z.total_out;
  deflateEnd(&z);
}
static void deflate_unpack(const struct stream *s, const struct matrix *m, uint8_t *out) {
  static struct libdeflate_decompressor *d; /* the fastest there is */
  if (!d) d = libdeflate_alloc_decompressor();
  size_t n;
  if (!d || libdeflate_deflate_decompress(d, s->bytes, s->nbytes, out, m->n, &n) != LIBDEFLATE_SUCCESS || n != m->n) die("libdeflate");
}
static void ans_pack(const struct matrix *m, int level, struct stream *s) {
  (void)level;
  struct tansy_buffer b = {0};
  struct tansy_coded_shape shape;
  int16_t *z = need(m->n * sizeof *z);
  for (size_t i = 0; i < m->n; i++) z[i] = m->z[i];
  if (tansy_encode_integers((struct tansy_integers){z, NULL}, m->n_rows, m->n_cols, NULL, &b, &shape, NULL) != TANSY_OK) die("ans");
  free(z);
  s->nbytes = b.nbytes;
  tansy_buffer_grow(&b, TANSY_STREAM_SLACK);
  s->bytes = b.bytes;
  s->tables = aligned_alloc(16, TANSY_MAX_TABLES * sizeof *s->tables);
  if (!s->tables || tansy_coded_parse(s->bytes, s->bytes + shape.head_nbytes, s->nbytes - shape.head_nbytes, &shape, s->tables, &s->coded) != TANSY_OK)
    die("ans");
}
static void ans_unpack(const struct stream *s, const struct matrix *m, uint8_t *out) {
  (void)m;
  const struct tansy_kernels *k = tansy_kernels_best();
  for (uint32_t t = 0; t < s->coded.n_tiles; t++) k->expand_int8(&s->coded, t, out);
}

struct codec {
  const char *name;
  int level;
  void (*pack)(const struct matrix *m, int level, struct stream *s);
  void (*unpack)(const struct stream *s, const struct matrix *m, uint8_t *out);
};
static const struct codec codecs[] = {{"tansy ANS", 0, ans_pack, ans_unpack},         {"zstd -3", 3, zstd_pack, zstd_unpack},
                                      {"zstd -19", 19, zstd_pack, zstd_unpack},       {"LZ4", 0, lz4_pack, lz4_unpack},
                                      {"LZ4 HC -12", 12, lz4_pack, lz4_unpack},       {"DEFLATE -9", 9, deflate_pack, deflate_unpack},
                                      {"Huffman (DEFLATE)", 0, deflate_pack, deflate_unpack}};

static int compare_double(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void run(const char *name, const struct codec *c) {
  static struct stream streams[MAX_MATRICES];
  size_t n = 0, nbytes = 0, widest = 0;
  double packing = tansy_seconds(), seconds[ROUNDS];
  for (uint32_t i = 0; i < n_matrices; i++) {
    c->pack(&matrices[i], c->level, &streams[i]);
    n += matrices[i].n;
    nbytes += streams[i].nbytes;
    size_t room = (size_t)tansy_pad_rows(matrices[i].n_rows) * tansy_pad_cols(matrices[i].n_cols);
    if (room > widest) widest = room;
  }
  packing = tansy_seconds() - packing;
  uint8_t *out = need(widest);
  for (int round = 0; round < ROUNDS; round++) {
    double started = tansy_seconds();
    for (uint32_t i = 0; i < n_matrices; i++) c->unpack(&streams[i], &matrices[i], out);
    seconds[round] = tansy_seconds() - started;
  }
  for (uint32_t i = 0; i < n_matrices && c->unpack != ans_unpack; i++) {
    c->unpack(&streams[i], &matrices[i], out);
    if (memcmp(out, matrices[i].z, matrices[i].n) != 0) die("what came out is not what went in");
  }
  qsort(seconds, ROUNDS, sizeof *seconds, compare_double);
  printf("{\"integers\": \"%s\", \"codec\": \"%s\", \"n_weights\": %zu, \"bytes\": %zu, \"bits_per_weight\": %.4f, \"ratio\": %.4f, \"encode_Mw_s\": %.2f, "
         "\"decode_Mw_s\": %.1f}\n",
         name, c->name, n, nbytes, (double)nbytes * 8 / (double)n, (double)n / (double)nbytes, (double)n / packing / 1e6, (double)n / seconds[ROUNDS / 2] / 1e6);
  fflush(stdout);
  for (uint32_t i = 0; i < n_matrices; i++) {
    free(streams[i].bytes);
    free(streams[i].tables);
    streams[i] = (struct stream){0};
  }
  free(out);
}

int main(int argc, char **argv) {
  if (argc < 3) die("NAME FILE.tansy, or NAME FILE.safetensors STEP");
  if (argc > 3)
    read_safetensors(argv[2], atof(argv[3]));
  else
    read_model(argv[2]);
  for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++) run(argv[1], &codecs[i]);
  for (uint32_t i = 0; i < n_matrices; i++) free(matrices[i].z);
  return 0;
}
