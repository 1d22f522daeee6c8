/* tune_model.c: see tune_model.h. Tensors are decoded as a reader would, so that a resumed compression goes on with what it has. */
#include "pack/tune_model.h"

#include <stdlib.h>
#include <string.h>

#include "pack/numeric.h"

static const struct tansy_blob *find_blob(const struct tansy_writer *w, uint32_t role, uint32_t layer) {
  for (uint32_t i = 0; i < w->n_blobs; i++)
    if (w->blobs[i].role == role && w->blobs[i].layer == layer) return &w->blobs[i];
  return NULL;
}

static bool is_tuned(const struct tansy_source *s) { return s->matrix && s->role != TANSY_ROLE_POSITION_EMBED; }

uint64_t tansy_tuned_model_nbytes(const struct tansy_checkpoint *c) {
  enum { OF_LINEAR = 20, OF_TABLE = 20, GRADIENT = 4 }; /* u, w, moved, square, and the float model's; a table's gradient */
  uint64_t n = 0;
  for (uint32_t i = 0; i < c->n_sources; i++)
    if (is_tuned(&c->sources[i])) n += (uint64_t)c->sources[i].n_rows * c->sources[i].n_cols * (tansy_role_section(c->sources[i].role) == 1 ? OF_LINEAR : OF_TABLE + GRADIENT);
  return n;
}

/* role of the vector that a matrix' columns are multiplied by */
static uint32_t scale_role(uint32_t role) {
  if (role == TANSY_ROLE_EMBED) return TANSY_ROLE_EMBED_SCALE;
  return tansy_site_scale_role(tansy_role_site(role));
}

/* ---- reading ---- */

static enum tansy_status read_vector(const struct tansy_blob *b, float *out, struct tansy_failure *failure) {
  return tansy_vector_expand(b->kind, b->stored.bytes, b->n_cols, out) == TANSY_OK
             ? TANSY_OK
             : tansy_fail(failure, TANSY_ERR_NONFINITE, "the vector of role %u, layer %u is not finite", b->role, b->layer);
}

static size_t prefix_nbytes(const struct tansy_blob *b) {
  return 4 + (b->row_scale == TANSY_ROW_SCALE_F16 ? 2 * (size_t)b->n_rows : b->row_scale == TANSY_ROW_SCALE_HALF_OCTAVE ? (b->n_rows + 1u) / 2 : 0);
}

/* the integers of a tensor, into u */
static enum tansy_status read_integers(const struct tansy_blob *b, float *u, struct tansy_failure *failure) {
  enum { SOME = 64 };
  size_t prefix = prefix_nbytes(b), n_cols = b->n_cols;
  uint8_t *bytes = calloc(1, b->stored.nbytes + TANSY_STREAM_SLACK);
  struct tansy_freq_table *tables = aligned_alloc(16, b->shape.n_tables * sizeof *tables);
  int32_t *z = malloc(SOME * n_cols * sizeof *z);
  struct tansy_coded coded;
  enum tansy_status status = bytes && tables && z ? TANSY_OK : TANSY_ERR_NO_MEMORY;
  if (status == TANSY_OK) {
    memcpy(bytes, b->stored.bytes, b->stored.nbytes);
    const uint8_t *head = bytes + prefix;
    status = tansy_coded_parse(head, head + b->shape.head_nbytes, b->stored.nbytes - prefix - b->shape.head_nbytes, &b->shape, tables, &coded);
  }
  for (uint32_t row = 0; row < b->n_rows && status == TANSY_OK; row += SOME) {
    uint32_t n = b->n_rows - row < SOME ? b->n_rows - row : SOME;
    status = tansy_coded_read_rows(&coded, row, row + n, z);
    for (size_t i = 0; i < n * n_cols; i++) u[row * n_cols + i] = (float)z[i];
  }
  free(bytes), free(tables), free(z);
  if (status == TANSY_ERR_NO_MEMORY) return tansy_fail_memory(failure);
  return status == TANSY_OK ? TANSY_OK : tansy_fail(failure, status, "the tensor of role %u, layer %u does not decode", b->role, b->layer);
}

void tansy_tuned_set_rows(struct tansy_tuned_matrix *m, uint32_t begin, uint32_t end) {
  for (uint32_t i = begin; i < end; i++) {
    float row = m->row[i] = tansy_row_scale_at(&m->scale, i);
    size_t at = (size_t)i * m->n_cols;
    for (uint32_t j = 0; j < m->n_cols; j++) m->w[at + j] = tansy_round_f32(m->u[at + j]) * (row * m->col[j]);
  }
}

static enum tansy_status load_matrix(const struct tansy_writer *writer, const struct tansy_source *s, float *w, struct tansy_tuned_matrix *m,
                                     struct tansy_failure *failure) {
  const struct tansy_blob *b = find_blob(writer, s->role, s->layer), *scale = find_blob(writer, scale_role(s->role), s->layer);
  size_t n = (size_t)s->n_rows * s->n_cols;
  *m = (struct tansy_tuned_matrix){.source = s, .n_rows = s->n_rows, .n_cols = s->n_cols, .blob = (uint32_t)(b - writer->blobs), .w = w};
  m->scale = (struct tansy_row_scale){.kind = b->row_scale, .codes = b->stored.bytes + 4};
  memcpy(&m->scale.base, b->stored.bytes, sizeof m->scale.base);
  m->row = malloc(s->n_rows * sizeof *m->row);
  m->col = malloc(s->n_cols * sizeof *m->col);
  m->u = malloc(n * sizeof *m->u);
  m->moved = calloc(n, sizeof *m->moved);
  m->square = calloc(n, sizeof *m->square);
  if (!m->row || !m->col || !m->u || !m->moved || !m->square) return tansy_fail_memory(failure);
  for (uint32_t j = 0; j < s->n_cols; j++) m->col[j] = 1;
  if (scale) TANSY_TRY(read_vector(scale, m->col, failure));
  TANSY_TRY(read_integers(b, m->u, failure));
  tansy_tuned_set_rows(m, 0, m->n_rows);
  return TANSY_OK;
}

/* vectors of a layer as the file has them, over those of the checkpoint */
static enum tansy_status load_layer_vectors(const struct tansy_writer *writer, uint32_t layer, struct tansy_layer_weights *w,
                                            struct tansy_failure *failure) {
  for (uint32_t i = 0; i < writer->n_blobs; i++) {
    const struct tansy_blob *b = &writer->blobs[i];
    const float **to = b->layer == layer && b->kind != TANSY_KIND_CODED ? tansy_layer_vector(w, b->role) : NULL;
    if (to && *to) TANSY_TRY(read_vector(b, (float *)(uintptr_t)*to, failure)); /* the layer's own copy */
  }
  return TANSY_OK;
}

static enum tansy_status load_final(const struct tansy_writer *writer, uint32_t role, float **out, struct tansy_failure *failure) {
  const struct tansy_blob *b = find_blob(writer, role, 0);
  if (!b) return TANSY_OK;
  *out = malloc(b->n_cols * sizeof **out);
  return *out ? read_vector(b, *out, failure) : tansy_fail_memory(failure);
}

enum tansy_status tansy_tuned_model_load(const struct tansy_job *job, struct tansy_tuned_model *out, struct tansy_failure *failure) {
  const struct tansy_checkpoint *c = job->checkpoint;
  const struct tansy_writer *writer = &job->writer;
  size_t table = (size_t)c->config.vocab * c->config.hidden;
  *out = (struct tansy_tuned_model){.checkpoint = c};
  out->matrices = calloc(c->n_sources, sizeof *out->matrices);
  out->layers = calloc(c->config.n_layers, sizeof *out->layers);
  out->embed = malloc(table * sizeof *out->embed);
  out->head = c->config.tied ? out->embed : malloc(table * sizeof *out->head);
  if (!out->matrices || !out->layers || !out->embed || !out->head) return tansy_fail_memory(failure);
  for (uint32_t layer = 0; layer < c->config.n_layers; layer++) {
    TANSY_TRY(tansy_float_layer_load(c, layer, &out->layers[layer], failure));
    TANSY_TRY(load_layer_vectors(writer, layer, &out->layers[layer].weights, failure));
  }
  TANSY_TRY(load_final(writer, TANSY_ROLE_FINAL_NORM, &out->final_norm, failure));
  TANSY_TRY(load_final(writer, TANSY_ROLE_FINAL_NORM_BIAS, &out->final_norm_bias, failure));
  for (uint32_t i = 0; i < c->n_sources; i++) {
    const struct tansy_source *s = &c->sources[i];
    if (!is_tuned(s)) continue;
    float *w = s->role == TANSY_ROLE_EMBED ? out->embed : out->head;
    if (tansy_role_section(s->role) == 1) w = (float *)(uintptr_t)tansy_layer_linear(&out->layers[s->layer].weights, s->role)->w.f32;
    TANSY_TRY(load_matrix(writer, s, w, &out->matrices[out->n_matrices++], failure));
  }
  return TANSY_OK;
}

void tansy_tuned_model_free(struct tansy_tuned_model *m) {
  for (uint32_t i = 0; i < m->n_matrices; i++) {
    struct tansy_tuned_matrix *t = &m->matrices[i];
    free(t->row), free(t->col), free(t->u), free(t->moved), free(t->square);
  }
  for (uint32_t i = 0; m->layers && i < m->checkpoint->config.n_layers; i++) tansy_float_layer_free(&m->layers[i]);
  if (m->head != m->embed) free(m->head);
  free(m->matrices), free(m->layers), free(m->embed), free(m->final_norm), free(m->final_norm_bias);
  *m = (struct tansy_tuned_model){0};
}

struct tansy_tuned_matrix *tansy_tuned_matrix_of(struct tansy_tuned_model *m, uint32_t role, uint32_t layer) {
  for (uint32_t i = 0; i < m->n_matrices; i++)
    if (m->matrices[i].source->role == role && m->matrices[i].source->layer == layer) return &m->matrices[i];
  return NULL;
}

/* ---- writing ---- */

static uint16_t code_at(const struct tansy_row_scale *s, uint32_t row) {
  if (s->kind == TANSY_ROW_SCALE_F16) return (uint16_t)(s->codes[2 * (size_t)row] | s->codes[2 * (size_t)row + 1] << 8);
  return s->kind == TANSY_ROW_SCALE_HALF_OCTAVE ? s->codes[row / 2] >> (row & 1 ? 4 : 0) & 15 : 0;
}

static struct tansy_matrix_result *result_of(struct tansy_job *job, const struct tansy_source *s) {
  for (uint32_t i = 0; i < job->n_results; i++)
    if (job->results[i].role == s->role && job->results[i].layer == s->layer) return &job->results[i];
  return NULL;
}

/* coded as a new tensor at the writer's end, which then takes the old one's place */
static enum tansy_status store_matrix(struct tansy_job *job, const struct tansy_tuned_matrix *m, struct tansy_tuned_before *before,
                                      struct tansy_failure *failure) {
  size_t n = (size_t)m->n_rows * m->n_cols;
  struct tansy_writer *w = &job->writer;
  struct tansy_matrix_result *result = result_of(job, m->source);
  struct tansy_rows rows;
  TANSY_TRY(tansy_rows_init(&rows, m->n_rows, failure));
  rows.kind = (enum tansy_row_scale_kind)m->scale.kind;
  rows.base = m->scale.base;
  for (uint32_t i = 0; i < m->n_rows; i++) rows.code[i] = code_at(&m->scale, i);
  int16_t *z = malloc(n * sizeof *z);
  for (size_t i = 0; z && i < n; i++) z[i] = (int16_t)tansy_round_f32(m->u[i]);
  enum tansy_status status = z ? TANSY_OK : tansy_fail_memory(failure);
  uint32_t n_blobs = w->n_blobs;
  if (status == TANSY_OK)
    status = tansy_writer_add_matrix(w, m->source->role, m->source->layer, m->n_rows, m->n_cols, (struct tansy_integers){z, NULL}, &rows, &result->stats, failure);
  if (status == TANSY_OK) {
    struct tansy_blob *old = &w->blobs[m->blob], *new = &w->blobs[n_blobs];
    before->stored = old->stored;
    before->shape = old->shape;
    old->stored = new->stored;
    old->shape = new->shape;
    result->raw_bits = old->shape.raw_bits;
    result->n_tables = old->shape.n_tables;
    result->n_escapes = old->shape.n_escapes;
  } else if (w->n_blobs > n_blobs) {
    tansy_buffer_free(&w->blobs[n_blobs].stored);
  }
  w->n_blobs = n_blobs;
  free(z);
  tansy_rows_free(&rows);
  return status;
}

enum tansy_status tansy_tuned_model_store(struct tansy_job *job, const struct tansy_tuned_model *m, struct tansy_tuned_before *before,
                                          struct tansy_failure *failure) {
  for (uint32_t i = 0; i < m->n_matrices; i++) {
    before[i].result = *result_of(job, m->matrices[i].source);
    TANSY_TRY(store_matrix(job, &m->matrices[i], &before[i], failure));
  }
  return TANSY_OK;
}

void tansy_tuned_model_restore(struct tansy_job *job, const struct tansy_tuned_model *m, struct tansy_tuned_before *before) {
  for (uint32_t i = 0; i < m->n_matrices; i++) {
    struct tansy_blob *b = &job->writer.blobs[m->matrices[i].blob];
    if (!before[i].stored.bytes) continue;
    tansy_buffer_free(&b->stored);
    b->stored = before[i].stored;
    b->shape = before[i].shape;
    *result_of(job, m->matrices[i].source) = before[i].result;
    before[i].stored = (struct tansy_buffer){0};
  }
}
