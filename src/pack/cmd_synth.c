/* cmd_synth.c: tansy-pack synth: a model of random integers with the geometry of a known one, for measuring speed and memory.
 * It says nothing sensible; what it costs to store and to run is what a real one costs.
 *
 * Integers are discrete Gaussians whose sigma has the entropy asked for. Only a few tiles of each shape are drawn and coded; a
 * matrix repeats them, and layers share matrices, so that time and memory do not grow with the model. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "codec/tile.h"
#include "pack/checkpoint.h"
#include "pack/command.h"
#include "pack/numeric.h"
#include "pack/writer.h"

enum {
  N_TILES = 4,            /* drawn for each shape */
  RANGE = 1024,           /* |z| below this */
  N_GUIDE = 4096,
  MAX_SHAPES = 8,
};

struct preset {
  const char *name;
  enum tansy_hf_family family;
  uint32_t vocab, hidden, intermediate, n_layers, n_heads, n_kv_heads, head_dim, context;
  uint32_t tied, qkv_bias;
  double rope_theta, norm_eps;
};

static const struct preset presets[] = {
    {"smollm2-135m", TANSY_HF_LLAMA, 49152, 576, 1536, 30, 9, 3, 64, 8192, 1, 0, 1e5, 1e-5},
    {"smollm2-360m", TANSY_HF_LLAMA, 49152, 960, 2560, 32, 15, 5, 64, 8192, 1, 0, 1e5, 1e-5},
    {"qwen2.5-0.5b", TANSY_HF_QWEN2, 151936, 896, 4864, 24, 14, 2, 64, 32768, 1, 1, 1e6, 1e-6},
    {"llama-3.2-1b", TANSY_HF_LLAMA, 128256, 2048, 8192, 16, 32, 8, 64, 131072, 1, 0, 5e5, 1e-5},
    {"llama-3-8b", TANSY_HF_LLAMA, 128256, 4096, 14336, 32, 32, 8, 128, 8192, 0, 0, 5e5, 1e-5},
};
static const char preset_names[] = "smollm2-135m, smollm2-360m, qwen2.5-0.5b, llama-3.2-1b, llama-3-8b";

/* ---- numbers ---- */

/* p(z) ~ exp(-z^2 / (2 sigma^2)) */
struct gaussian {
  double sigma, entropy;
  double p[2 * RANGE + 1]; /* [z + RANGE] */
  uint32_t below[2 * RANGE + 2]; /* probability of smaller z, in 2^-32 */
  uint16_t guide[N_GUIDE]; /* first z whose range reaches into this part of [0, 2^32) */
  uint64_t state;
};

static void set_sigma(struct gaussian *g, double sigma) {
  double sum = 0;
  g->sigma = sigma;
  for (int z = -RANGE; z <= RANGE; z++) sum += g->p[z + RANGE] = tansy_exp_f64(-(double)z * z / (2 * sigma * sigma));
  g->entropy = 0;
  for (int i = 0; i <= 2 * RANGE; i++) {
    g->p[i] /= sum;
    if (g->p[i] > 1e-300) g->entropy -= g->p[i] * tansy_log_f64(g->p[i]) / 0.6931471805599453;
  }
}

static void gaussian_of_entropy(struct gaussian *g, double bits, uint64_t seed) {
  double low = 0.05, high = 200;
  for (int i = 0; i < 60; i++) {
    set_sigma(g, (low + high) / 2);
    if (g->entropy < bits)
      low = g->sigma;
    else
      high = g->sigma;
  }
  double sum = 0;
  for (int i = 0; i <= 2 * RANGE; i++) {
    double at = sum * 4294967296.0;
    g->below[i] = at < 4294967295.0 ? (uint32_t)at : UINT32_MAX;
    sum += g->p[i];
  }
  g->below[2 * RANGE + 1] = UINT32_MAX;
  for (uint32_t k = 0, i = 0; k < N_GUIDE; k++) {
    uint32_t from = k * (UINT32_MAX / N_GUIDE + 1);
    while (i < 2 * RANGE && g->below[i + 1] <= from) i++;
    g->guide[k] = (uint16_t)i;
  }
  g->state = seed;
}

static uint64_t next_random(struct gaussian *g) {
  uint64_t x = g->state += 0x9E3779B97F4A7C15u;
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

static int32_t integer_at(const struct gaussian *g, uint32_t u) {
  uint32_t i = g->guide[u / (UINT32_MAX / N_GUIDE + 1)];
  while (i < 2 * RANGE && g->below[i + 1] <= u) i++;
  return (int32_t)i - RANGE;
}

static void draw(struct gaussian *g, int32_t *z, size_t n) {
  for (size_t i = 0; i < n; i += 2) {
    uint64_t x = next_random(g);
    z[i] = integer_at(g, (uint32_t)x);
    if (i + 1 < n) z[i + 1] = integer_at(g, (uint32_t)(x >> 32));
  }
}

/* ---- a large matrix out of a few tiles ---- */

static uint32_t nibble_of(const uint8_t *nibbles, uint32_t i) { return tansy_nibble(nibbles, i); }

/* which tile of the source a tile repeats: the last one is the short one */
static uint32_t source_of(uint32_t t, uint32_t n_tiles, const struct tansy_coded *from) {
  return t + 1 == n_tiles ? from->n_tiles - 1 : t % (from->n_tiles - 1);
}

static const uint8_t *piece(const uint8_t *bytes, const uint8_t *offsets, uint32_t t, uint32_t n, size_t end, size_t *nbytes) {
  size_t from = t ? tansy_load_u32(offsets + 4 * (size_t)(t - 1)) : 0;
  *nbytes = (t + 1 < n ? tansy_load_u32(offsets + 4 * (size_t)t) : end) - from;
  return bytes + from;
}

/* tiles or escape lists, with the offsets of all but the first */
static void repeat_pieces(const struct tansy_coded *from, uint32_t n_tiles, const uint8_t *bytes, const uint8_t *offsets, size_t end,
                          struct tansy_buffer *out_offsets, struct tansy_buffer *out) {
  for (uint32_t t = 0; t < n_tiles; t++) {
    size_t nbytes;
    const uint8_t *at = piece(bytes, offsets, source_of(t, n_tiles, from), from->n_tiles, end, &nbytes);
    if (t) tansy_put_u32(out_offsets, (uint32_t)out->nbytes);
    tansy_put_bytes(out, at, nbytes);
  }
}

/* CODEC.md, "Head": `from` stretched to n_rows */
static enum tansy_status stretch(const struct tansy_coded *from, uint32_t n_rows, struct tansy_coded_shape *shape, struct tansy_buffer *out) {
  uint32_t tile_n_rows = from->shape.tile_n_rows, n_tiles = (n_rows + tile_n_rows - 1) / tile_n_rows;
  struct tansy_buffer head = {0}, tiles = {0}, tile_offsets = {0}, escapes = {0}, escape_offsets = {0};
  repeat_pieces(from, n_tiles, from->tiles, from->tile_offsets, from->tiles_nbytes, &tile_offsets, &tiles);

  const uint8_t *tables = from->head + 1;
  while (*tables++ & 0x80) {
  }
  const uint8_t *tables_end = from->row_class ? from->row_class : from->step_class ? from->step_class : from->tile_offsets;
  tansy_put_u8(&head, from->head[0]);
  tansy_put_varint(&head, tiles.nbytes);
  tansy_put_bytes(&head, tables, (size_t)(tables_end - tables));
  if (from->row_class) {
    uint32_t n_groups = tansy_pad_rows(n_rows) / TANSY_GROUP_N_ROWS, tile_n_groups = tile_n_rows / TANSY_GROUP_N_ROWS;
    uint32_t pair[2] = {0, 0};
    for (uint32_t g = 0; g < n_groups; g++) {
      pair[g & 1] = nibble_of(from->row_class, source_of(g / tile_n_groups, n_tiles, from) * tile_n_groups + g % tile_n_groups);
      if (g & 1 || g + 1 == n_groups) tansy_put_u8(&head, (uint8_t)(pair[0] | (g & 1 ? pair[1] : 0) << 4));
    }
  }
  if (from->step_class) tansy_put_bytes(&head, from->step_class, (tansy_coded_n_steps(from) + 1) / 2);
  tansy_put_bytes(&head, tile_offsets.bytes, tile_offsets.nbytes);
  uint32_t n_escapes = 0;
  if (from->shape.n_escapes) {
    repeat_pieces(from, n_tiles, from->escape_bits, from->escape_offsets, from->escape_bits_nbytes, &escape_offsets, &escapes);
    tansy_put_u8(&head, from->escape_gap_bits);
    tansy_put_u8(&head, from->escape_magnitude_bits);
    tansy_put_varint(&head, from->escape_base[0]);
    tansy_put_varint(&head, from->escape_base[1]);
    tansy_put_bytes(&head, escape_offsets.bytes, escape_offsets.nbytes);
    tansy_put_bytes(&head, escapes.bytes, escapes.nbytes);
    for (uint32_t t = 0; t < n_tiles && !escapes.failed; t++) {
      size_t nbytes;
      const uint8_t *at = piece(from->escape_bits, from->escape_offsets, source_of(t, n_tiles, from), from->n_tiles, from->escape_bits_nbytes, &nbytes);
      uint32_t n = (uint32_t)at[0] | (uint32_t)at[1] << 8;
      n_escapes += n & 0x8000 ? (n & 0x7fff) | ((uint32_t)at[2] | (uint32_t)at[3] << 8) << 15 : n;
    }
  }
  *shape = from->shape;
  shape->n_rows = n_rows;
  shape->n_escapes = n_escapes;
  shape->head_nbytes = (uint32_t)head.nbytes;
  tansy_put_bytes(out, head.bytes, head.nbytes);
  tansy_put_bytes(out, tiles.bytes, tiles.nbytes);
  bool failed = head.failed || tiles.failed || tile_offsets.failed || escapes.failed || escape_offsets.failed || out->failed;
  tansy_buffer_free(&head);
  tansy_buffer_free(&tiles);
  tansy_buffer_free(&tile_offsets);
  tansy_buffer_free(&escapes);
  tansy_buffer_free(&escape_offsets);
  return failed ? TANSY_ERR_NO_MEMORY : TANSY_OK;
}

static enum tansy_status code_matrix(struct gaussian *g, uint32_t n_rows, uint32_t n_cols, struct tansy_coded_shape *shape,
                                     struct tansy_buffer *out, struct tansy_failure *failure) {
  uint32_t tile_n_rows = tansy_tile_n_rows(n_rows, n_cols);
  uint32_t n_last = n_rows % tile_n_rows ? n_rows % tile_n_rows : tile_n_rows;
  bool is_small = n_rows <= (N_TILES + 1) * tile_n_rows;
  uint32_t n_drawn = is_small ? n_rows : N_TILES * tile_n_rows + n_last;
  const struct tansy_encode_options options = {.raw_bits = -1, .tile_n_rows = tile_n_rows};
  struct tansy_encode_stats stats;
  struct tansy_buffer stream = {0};
  struct tansy_freq_table *tables = aligned_alloc(16, TANSY_MAX_TABLES * sizeof *tables);
  int32_t *z = malloc((size_t)n_drawn * n_cols * sizeof *z);
  enum tansy_status status = z && tables ? TANSY_OK : TANSY_ERR_NO_MEMORY;
  if (status == TANSY_OK) {
    draw(g, z, (size_t)n_drawn * n_cols);
    status = tansy_encode(z, n_drawn, n_cols, &options, is_small ? out : &stream, shape, &stats);
  }
  if (status == TANSY_OK && !is_small) {
    struct tansy_coded from;
    size_t n = stream.nbytes;
    tansy_buffer_grow(&stream, TANSY_STREAM_SLACK);
    status = stream.failed ? TANSY_ERR_NO_MEMORY
                           : tansy_coded_parse(stream.bytes, stream.bytes + shape->head_nbytes, n - shape->head_nbytes, shape, tables, &from);
    if (status == TANSY_OK) status = stretch(&from, n_rows, shape, out);
  }
  tansy_buffer_free(&stream);
  free(z);
  free(tables);
  return status == TANSY_OK ? TANSY_OK : tansy_fail(failure, status, "random integers [%u, %u] cannot be coded", n_rows, n_cols);
}

/* ---- the model ---- */

/* what layers share */
struct shared_matrix {
  uint32_t n_rows, n_cols;
  struct tansy_coded_shape shape;
  struct tansy_buffer stored;
};

struct synth {
  struct tansy_writer writer;
  struct tansy_progress progress;
  struct gaussian gaussian;
  const struct preset *preset;
  uint32_t n_shared;
  struct shared_matrix shared[MAX_SHAPES];
  uint64_t n_params;
};

static struct tansy_config config_of(const struct preset *p, uint32_t n_layers) {
  struct tansy_config c = tansy_config_default();
  c.family = p->family;
  c.vocab = p->vocab, c.hidden = p->hidden, c.intermediate = p->intermediate, c.n_layers = n_layers;
  c.n_heads = p->n_heads, c.n_kv_heads = p->n_kv_heads, c.head_dim = p->head_dim, c.context = p->context;
  c.norm_eps = (float)p->norm_eps;
  c.tied = p->tied;
  c.rope_dim = p->head_dim;
  c.attn_scale = 1 / (p->head_dim == 64 ? 8.0f : 11.3137085f);
  return c;
}

/* roles a model may do without, and that compressed models of this family have */
static bool is_wanted(const struct synth *s, uint32_t role) {
  switch (role) {
    case TANSY_ROLE_EMBED_SCALE:
    case TANSY_ROLE_HEAD_SCALE:
    case TANSY_ROLE_ATTN_IN_SCALE:
    case TANSY_ROLE_ATTN_OUT_SCALE:
    case TANSY_ROLE_MLP_IN_SCALE:
    case TANSY_ROLE_MLP_MID_SCALE: return true;
    case TANSY_ROLE_Q_BIAS:
    case TANSY_ROLE_K_BIAS:
    case TANSY_ROLE_V_BIAS: return s->preset->qkv_bias;
    default: return false;
  }
}

static enum tansy_status add_matrix(struct synth *s, uint32_t role, uint32_t layer, struct tansy_role_spec spec, struct tansy_failure *failure) {
  struct shared_matrix *m = s->shared;
  while (m < s->shared + s->n_shared && (m->n_rows != spec.n_rows || m->n_cols != spec.n_cols)) m++;
  if (m == s->shared + s->n_shared) {
    if (s->n_shared++ == MAX_SHAPES) return tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "too many shapes of matrices");
    *m = (struct shared_matrix){.n_rows = spec.n_rows, .n_cols = spec.n_cols};
    /* outputs of the size of the inputs: sigma * sqrt(n_cols) * base = 1. Row scales as compressed files have them, all equal. */
    float base = (float)(1 / (s->gaussian.sigma * tansy_exp_f64(0.5 * tansy_log_f64(spec.n_cols))));
    tansy_put_f32(&m->stored, base);
    uint8_t *codes = tansy_buffer_grow(&m->stored, (spec.n_rows + 1) / 2);
    if (codes) memset(codes, 0, (spec.n_rows + 1) / 2);
    TANSY_TRY(code_matrix(&s->gaussian, spec.n_rows, spec.n_cols, &m->shape, &m->stored, failure));
  }
  struct tansy_blob *b = tansy_writer_add(&s->writer, role, layer, TANSY_KIND_CODED, spec.n_rows, spec.n_cols);
  if (!b) return tansy_fail_memory(failure);
  b->row_scale = TANSY_ROW_SCALE_HALF_OCTAVE;
  b->shape = m->shape;
  b->stored = m->stored;
  s->n_params += (uint64_t)spec.n_rows * spec.n_cols;
  return TANSY_OK;
}

static enum tansy_status add_vector(struct synth *s, uint32_t role, uint32_t layer, uint32_t n, struct tansy_failure *failure) {
  float *values = malloc(n * sizeof *values);
  if (!values) return tansy_fail_memory(failure);
  enum tansy_status status;
  for (uint32_t i = 0; i < n; i++) values[i] = 1;
  switch (role) {
    case TANSY_ROLE_EMBED_SCALE:
    case TANSY_ROLE_HEAD_SCALE:
    case TANSY_ROLE_ATTN_IN_SCALE:
    case TANSY_ROLE_ATTN_OUT_SCALE:
    case TANSY_ROLE_MLP_IN_SCALE:
    case TANSY_ROLE_MLP_MID_SCALE: status = tansy_writer_add_log8(&s->writer, role, layer, values, n, NULL, failure); break;
    case TANSY_ROLE_ROPE_INV_FREQ:
      for (uint32_t i = 0; i < n; i++) values[i] = (float)tansy_pow_f64(s->preset->rope_theta, -(double)i / n);
      /* fall through */
    default: status = tansy_writer_add_vector(&s->writer, role, layer, values, n, NULL, failure);
  }
  free(values);
  s->n_params += n;
  return status;
}

static enum tansy_status add_section(struct synth *s, int section, uint32_t layer, struct tansy_failure *failure) {
  for (uint32_t role = 0; role <= TANSY_ROLE_POST_MLP_NORM; role++) {
    struct tansy_role_spec spec = tansy_config_role(&s->writer.config, role);
    if (tansy_role_section(role) != section || spec.need == TANSY_NEED_NEVER) continue;
    if (spec.need == TANSY_NEED_MAY && !is_wanted(s, role)) continue;
    TANSY_TRY(spec.is_matrix ? add_matrix(s, role, layer, spec, failure) : add_vector(s, role, layer, spec.n_cols, failure));
  }
  return TANSY_OK;
}

static enum tansy_status fill(struct synth *s, struct tansy_failure *failure) {
  uint32_t n_layers = s->writer.config.n_layers;
  TANSY_TRY(add_section(s, 0, 0, failure));
  for (uint32_t i = 0; i < n_layers; i++) {
    tansy_progress_at(&s->progress, "drawing", NULL, i);
    TANSY_TRY(add_section(s, 1, i, failure));
  }
  return add_section(s, 2, 0, failure);
}

static void synth_free(struct synth *s) {
  /* coded tensors only borrow their bytes */
  for (uint32_t i = 0; i < s->writer.n_blobs; i++)
    if (s->writer.blobs[i].kind == TANSY_KIND_CODED) s->writer.blobs[i].stored = (struct tansy_buffer){0};
  tansy_writer_free(&s->writer);
  for (uint32_t i = 0; i < s->n_shared; i++) tansy_buffer_free(&s->shared[i].stored);
  free(s);
}

enum tansy_status tansy_command_synth(int argc, char **argv, struct tansy_failure *failure) {
  const char *name = NULL, *out_path = NULL, *progress = "text", *positional[1];
  uint32_t n_layers = 0, seed = 1;
  double bits = 3.2;
  const struct tansy_option options[] = {{"--preset", 's', &name, NULL},     {"--bits", 'd', &bits, NULL},        {"-o", 's', &out_path, NULL},
                                         {"--layers", 'u', &n_layers, NULL}, {"--seed", 'u', &seed, NULL}, {"--progress", 's', &progress, NULL}};
  TANSY_TRY(tansy_options_parse(argc, argv, options, sizeof options / sizeof *options, positional, 0, failure));
  const struct preset *preset = NULL;
  for (size_t i = 0; i < sizeof presets / sizeof *presets && name; i++)
    if (strcmp(presets[i].name, name) == 0) preset = &presets[i];
  if (!preset) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--preset is one of %s", preset_names);
  if (!out_path) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "-o FILE is missing");
  if (!(bits >= 1 && bits <= 7)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--bits is 1 to 7");
  if (n_layers > 1024) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--layers is at most 1024");
  if (!n_layers) n_layers = preset->n_layers;
  enum tansy_progress_kind kind;
  TANSY_TRY(tansy_progress_kind_parse(progress, &kind, failure));

  struct synth *s = calloc(1, sizeof *s);
  if (!s) return tansy_fail_memory(failure);
  s->preset = preset;
  s->writer.config = config_of(preset, n_layers);
  gaussian_of_entropy(&s->gaussian, bits, seed);
  tansy_progress_start(&s->progress, kind, n_layers);
  struct tansy_file_sizes sizes;
  enum tansy_status status = tansy_config_check(&s->writer.config);
  if (status == TANSY_OK) status = fill(s, failure);
  if (status == TANSY_OK) {
    tansy_progress_at(&s->progress, "writing", NULL, n_layers);
    status = tansy_writer_write(&s->writer, out_path, &sizes, failure);
  }
  tansy_progress_finish(&s->progress);
  if (status == TANSY_OK) {
    struct tansy_out out = {.file = stdout};
    tansy_out_begin(&out, NULL, '{');
    tansy_out_string(&out, "file", out_path);
    tansy_out_string(&out, "preset", preset->name);
    tansy_out_uint(&out, "file_bytes", sizes.file_nbytes);
    tansy_out_uint(&out, "parameters", s->n_params);
    tansy_out_number(&out, "entropy", s->gaussian.entropy);
    tansy_out_number(&out, "sigma", s->gaussian.sigma);
    tansy_out_number(&out, "bits_per_weight", 8 * (double)sizes.file_nbytes / (double)s->n_params);
    tansy_out_end(&out, '}');
  }
  synth_free(s);
  return status;
}
