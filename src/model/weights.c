/* weights.c: see weights.h */
#include "model/weights.h"

#include <string.h>

#include "base/arena.h"

void tansy_detail_set(struct tansy_detail *detail, enum tansy_status status, uint32_t tensor, const struct tansy_record *record) {
  *detail = (struct tansy_detail){.status = status, .tensor = tensor, .offset = -1};
  if (!record) return;
  detail->role = record->role;
  detail->layer = record->layer;
  detail->n_rows = record->n_rows;
  detail->n_cols = record->n_cols;
}

/* ---- against the config ---- */

uint32_t tansy_tensor_group(const struct tansy_config *config, const struct tansy_record *record) {
  if (tansy_config_role(config, record->role).in_layer) return 1 + record->layer;
  switch (record->role) {
    case TANSY_ROLE_FINAL_NORM:
    case TANSY_ROLE_FINAL_NORM_BIAS:
    case TANSY_ROLE_HEAD:
    case TANSY_ROLE_HEAD_SCALE:
    case TANSY_ROLE_HEAD_BIAS: return config->n_layers + 1;
    default: return 0;
  }
}

static enum tansy_status check_shape(const struct tansy_config *config, const struct tansy_record *r, uint32_t number, struct tansy_detail *detail) {
  struct tansy_role_spec spec = tansy_config_role(config, r->role);
  tansy_detail_set(detail, TANSY_ERR_SHAPE, number, r);
  if (spec.need == TANSY_NEED_NEVER || r->layer >= (spec.in_layer ? config->n_layers : 1)) return TANSY_ERR_SHAPE;
  detail->expected_n_rows = spec.n_rows ? spec.n_rows : config->context + config->position_offset;
  detail->expected_n_cols = spec.n_cols;
  bool rows_fit = spec.n_rows ? r->n_rows == spec.n_rows : r->n_rows >= detail->expected_n_rows;
  if (!rows_fit || r->n_cols != spec.n_cols || (r->kind == TANSY_KIND_CODED) != spec.is_matrix) return TANSY_ERR_SHAPE;
  return TANSY_OK;
}

enum tansy_status tansy_tensors_open(const struct tansy_index *index, const struct tansy_config *config, struct tansy_tensor *tensors,
                                     struct tansy_detail *detail) {
  uint64_t seen[1 + 1024] = {0}; /* a bit a role; [0] outside layers, [1 + layer] */
  struct tansy_index_walk walk = tansy_index_tensor_walk(index);
  for (uint32_t i = 0; i < index->n_tensors; i++) {
    struct tansy_record *r = &tensors[i].record;
    tensors[i] = (struct tansy_tensor){.form = TANSY_FORM_VECTOR};
    tansy_index_next_tensor(&walk, r);
    TANSY_TRY(check_shape(config, r, i, detail));
    uint64_t *of_layer = &seen[tansy_config_role(config, r->role).in_layer ? 1 + r->layer : 0];
    if (*of_layer >> r->role & 1) {
      tansy_detail_set(detail, TANSY_ERR_CORRUPT, i, r);
      return TANSY_ERR_CORRUPT;
    }
    *of_layer |= (uint64_t)1 << r->role;
    if (r->kind == TANSY_KIND_CODED) tensors[i].form = TANSY_FORM_ANS;
  }
  for (uint32_t layer = 0; layer <= config->n_layers; layer++) {
    for (uint32_t role = 0; role < 64; role++) {
      struct tansy_role_spec spec = tansy_config_role(config, role);
      if (spec.need != TANSY_NEED_MUST || spec.in_layer != (layer > 0) || seen[layer] >> role & 1) continue;
      tansy_detail_set(detail, TANSY_ERR_SHAPE, TANSY_NO_TENSOR, NULL);
      detail->role = role;
      detail->layer = layer ? layer - 1 : 0;
      detail->expected_n_rows = spec.n_rows;
      detail->expected_n_cols = spec.n_cols;
      return TANSY_ERR_SHAPE;
    }
  }
  return TANSY_OK;
}

/* ---- regions ---- */

static uint64_t resident_nbytes(const struct tansy_coded_shape *shape, uint32_t form) {
  return form == TANSY_FORM_PACKED ? tansy_packed_nbytes(shape) : tansy_int8_nbytes(shape);
}

/* where the resident weights begin in a promoted region */
static uint64_t resident_at(const struct tansy_record *r) {
  return tansy_align16((uint64_t)tansy_record_prefix_nbytes(r) + r->shape.head_nbytes);
}

uint64_t tansy_tensor_region_nbytes(const struct tansy_record *r, uint32_t form) {
  if (form == TANSY_FORM_VECTOR) return tansy_vector_region_nbytes(r->kind, r->n_cols);
  if (form == TANSY_FORM_ANS) return r->nbytes;
  return resident_at(r) + resident_nbytes(&r->shape, form);
}

bool tansy_tensor_can_be(const struct tansy_record *r, uint32_t form) {
  if (form == TANSY_FORM_PACKED && r->shape.raw_bits == TANSY_MAX_RAW_BITS) return false; /* 4 + 4 bits: int8 is as small */
  /* the matrix must not shrink, or its tiles would be overwritten before they are read */
  return tansy_tensor_region_nbytes(r, form) >= r->nbytes;
}

uint64_t tansy_tensor_promotion_nbytes(const struct tansy_record *r, uint32_t form) {
  /* one tile as coded: a tile longer than its resident form does not fit in front of it anyway */
  struct tansy_coded_shape tile = r->shape;
  if (tile.n_rows > tile.tile_n_rows) tile.n_rows = tile.tile_n_rows;
  return resident_nbytes(&tile, form) + TANSY_STREAM_SLACK + 1024;
}

static uint32_t tile_offset(const struct tansy_coded *coded, uint32_t tile) {
  if (tile == 0) return 0;
  if (tile == coded->n_tiles) return (uint32_t)coded->tiles_nbytes;
  struct tansy_cursor c = tansy_cursor_over(coded->tile_offsets + (size_t)(tile - 1) * 4, 4);
  return tansy_read_u32(&c);
}

/* Tiles are decoded front to back, each from a copy, so tile t may overwrite itself but nothing after it. */
static bool promotes_in_place(const struct tansy_tensor *tensor, const struct tansy_coded *coded, size_t temporary_nbytes) {
  const struct tansy_record *r = &tensor->record;
  uint64_t tiles_at = tensor->region_nbytes - coded->tiles_nbytes;
  if (tiles_at < resident_at(r)) return false;
  for (uint32_t t = 0; t < coded->n_tiles; t++) {
    struct tansy_coded_shape done = r->shape;
    uint64_t n_rows = (uint64_t)(t + 1) * r->shape.tile_n_rows;
    if (n_rows < done.n_rows) done.n_rows = (uint32_t)n_rows;
    uint64_t written = resident_at(r) + resident_nbytes(&done, tensor->form);
    uint64_t read = tiles_at + tile_offset(coded, t + 1);
    if (t + 1 < coded->n_tiles && written > read) return false;
    if ((uint64_t)tile_offset(coded, t + 1) - tile_offset(coded, t) + TANSY_STREAM_SLACK > temporary_nbytes) return false;
  }
  return true;
}

static enum tansy_status promote(struct tansy_tensor *tensor, const struct tansy_kernels *kernels, struct tansy_linear *linear,
                                 uint8_t *temporary, size_t temporary_nbytes) {
  const struct tansy_record *r = &tensor->record;
  struct tansy_coded coded = linear->w.coded;
  if (!promotes_in_place(tensor, &coded, temporary_nbytes)) {
    tensor->form = TANSY_FORM_ANS;
    return TANSY_OK;
  }
  uint32_t prefix_nbytes = tansy_record_prefix_nbytes(r);
  memmove(tensor->region, tensor->region + tensor->region_nbytes - r->nbytes, prefix_nbytes + r->shape.head_nbytes);
  TANSY_TRY(tansy_coded_parse(tensor->region + prefix_nbytes, coded.tiles, coded.tiles_nbytes, &r->shape, tensor->tables, &coded));
  uint8_t *resident = tensor->region + resident_at(r);
  for (uint32_t t = 0; t < coded.n_tiles; t++) {
    uint32_t begin = tile_offset(&coded, t), nbytes = tile_offset(&coded, t + 1) - begin;
    memcpy(temporary, coded.tiles + begin, nbytes);
    memset(temporary + nbytes, 0, TANSY_STREAM_SLACK);
    struct tansy_coded copy = coded;
    copy.tiles = (const uint8_t *)((uintptr_t)temporary - begin);
    if (tensor->form == TANSY_FORM_PACKED) {
      kernels->expand_packed(&copy, t, resident);
    } else {
      kernels->expand_int8(&copy, t, resident);
    }
  }
  coded.tiles = NULL;
  coded.tiles_nbytes = 0;
  linear->w.coded = coded;
  linear->w.form = (enum tansy_form)tensor->form;
  linear->w.resident = resident;
  linear->row_scale.codes = tensor->region + 4;
  return TANSY_OK;
}

/* ---- binding ---- */

static struct tansy_linear *linear_of(uint32_t role, struct tansy_outer_weights *outer, struct tansy_layer_weights *layer) {
  switch (role) {
    case TANSY_ROLE_EMBED: return &outer->embed;
    case TANSY_ROLE_POSITION_EMBED: return &outer->position;
    case TANSY_ROLE_HEAD: return &outer->head;
    case TANSY_ROLE_Q: return &layer->q;
    case TANSY_ROLE_K: return &layer->k;
    case TANSY_ROLE_V: return &layer->v;
    case TANSY_ROLE_O: return &layer->o;
    case TANSY_ROLE_GATE: return &layer->gate;
    case TANSY_ROLE_UP: return &layer->up;
    case TANSY_ROLE_DOWN: return &layer->down;
    default: return NULL;
  }
}

static const float **vector_of(uint32_t role, struct tansy_outer_weights *outer, struct tansy_layer_weights *layer) {
  switch (role) {
    case TANSY_ROLE_EMBED_SCALE: return &outer->embed_scale;
    case TANSY_ROLE_POSITION_EMBED_SCALE: return &outer->position_scale;
    case TANSY_ROLE_FINAL_NORM: return &outer->final_norm;
    case TANSY_ROLE_FINAL_NORM_BIAS: return &outer->final_norm_bias;
    case TANSY_ROLE_HEAD_SCALE: return &outer->head_scale;
    case TANSY_ROLE_HEAD_BIAS: return &outer->head.bias;
    case TANSY_ROLE_ROPE_INV_FREQ: return &outer->inv_freq;
    case TANSY_ROLE_ROPE_INV_FREQ_LOCAL: return &outer->inv_freq_local;
    case TANSY_ROLE_ATTN_NORM: return &layer->attn_norm;
    case TANSY_ROLE_ATTN_NORM_BIAS: return &layer->attn_norm_bias;
    case TANSY_ROLE_ATTN_IN_SCALE: return &layer->attn_in_scale;
    case TANSY_ROLE_Q_BIAS: return &layer->q.bias;
    case TANSY_ROLE_K_BIAS: return &layer->k.bias;
    case TANSY_ROLE_V_BIAS: return &layer->v.bias;
    case TANSY_ROLE_Q_NORM: return &layer->q_norm;
    case TANSY_ROLE_K_NORM: return &layer->k_norm;
    case TANSY_ROLE_ATTN_OUT_SCALE: return &layer->attn_out_scale;
    case TANSY_ROLE_O_BIAS: return &layer->o.bias;
    case TANSY_ROLE_POST_ATTN_NORM: return &layer->post_attn_norm;
    case TANSY_ROLE_MLP_NORM: return &layer->mlp_norm;
    case TANSY_ROLE_MLP_NORM_BIAS: return &layer->mlp_norm_bias;
    case TANSY_ROLE_MLP_IN_SCALE: return &layer->mlp_in_scale;
    case TANSY_ROLE_UP_BIAS: return &layer->up.bias;
    case TANSY_ROLE_MLP_MID_SCALE: return &layer->mlp_mid_scale;
    case TANSY_ROLE_DOWN_BIAS: return &layer->down.bias;
    case TANSY_ROLE_POST_MLP_NORM: return &layer->post_mlp_norm;
    default: return NULL;
  }
}

static bool is_finite(float f) { return f - f == 0; }

static enum tansy_status complete_matrix(struct tansy_tensor *tensor, const struct tansy_kernels *kernels, struct tansy_linear *linear,
                                         uint8_t *temporary, size_t temporary_nbytes) {
  const struct tansy_record *r = &tensor->record;
  const uint8_t *blob = tensor->region + tensor->region_nbytes - r->nbytes, *head = blob + tansy_record_prefix_nbytes(r);
  struct tansy_cursor c = tansy_cursor_over(blob, 4);
  linear->row_scale = (struct tansy_row_scale){.kind = r->row_scale, .base = tansy_read_f32(&c), .codes = blob + 4};
  for (uint32_t i = 0; i < r->n_rows; i++) {
    if (!is_finite(tansy_row_scale_at(&linear->row_scale, i))) return TANSY_ERR_NONFINITE;
  }
  linear->w.form = TANSY_FORM_ANS;
  TANSY_TRY(tansy_coded_parse(head, head + r->shape.head_nbytes, tansy_record_tiles_nbytes(r), &r->shape, tensor->tables, &linear->w.coded));
  return tensor->form == TANSY_FORM_ANS ? TANSY_OK : promote(tensor, kernels, linear, temporary, temporary_nbytes);
}

enum tansy_status tansy_tensor_complete(struct tansy_tensor *tensor, const struct tansy_kernels *kernels, struct tansy_outer_weights *outer,
                                        struct tansy_layer_weights *layers, uint8_t *temporary, size_t temporary_nbytes) {
  const struct tansy_record *r = &tensor->record;
  struct tansy_layer_weights *layer = &layers[r->layer];
  if (r->kind == TANSY_KIND_CODED) {
    return complete_matrix(tensor, kernels, linear_of(r->role, outer, layer), temporary, temporary_nbytes);
  }
  float *values = (float *)tensor->region;
  TANSY_TRY(tansy_vector_expand(r->kind, tensor->region + tensor->region_nbytes - r->nbytes, r->n_cols, values));
  *vector_of(r->role, outer, layer) = values;
  return TANSY_OK;
}
