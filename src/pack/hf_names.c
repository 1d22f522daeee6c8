/* hf_names.c: which stored tensor is which role, per family; shapes checked against the config, nothing left over. */
#include <stdlib.h>
#include <string.h>

#include "pack/checkpoint.h"

/* Where a role is stored. `name` follows the family's prefix ("model."); # is the layer number. */
struct rule {
  uint8_t role;
  uint8_t part;    /* of a fused tensor: q,k,v 1,2,3; gate,up 4,5; 0: the whole */
  const char *name;
};

static const struct rule llama_rules[] = {
    {TANSY_ROLE_EMBED, 0, "embed_tokens.weight"},
    {TANSY_ROLE_FINAL_NORM, 0, "norm.weight"},
    {TANSY_ROLE_ATTN_NORM, 0, "layers.#.input_layernorm.weight"},
    {TANSY_ROLE_Q, 0, "layers.#.self_attn.q_proj.weight"},
    {TANSY_ROLE_K, 0, "layers.#.self_attn.k_proj.weight"},
    {TANSY_ROLE_V, 0, "layers.#.self_attn.v_proj.weight"},
    {TANSY_ROLE_Q_BIAS, 0, "layers.#.self_attn.q_proj.bias"},
    {TANSY_ROLE_K_BIAS, 0, "layers.#.self_attn.k_proj.bias"},
    {TANSY_ROLE_V_BIAS, 0, "layers.#.self_attn.v_proj.bias"},
    {TANSY_ROLE_Q_NORM, 0, "layers.#.self_attn.q_norm.weight"},
    {TANSY_ROLE_K_NORM, 0, "layers.#.self_attn.k_norm.weight"},
    {TANSY_ROLE_O, 0, "layers.#.self_attn.o_proj.weight"},
    {TANSY_ROLE_O_BIAS, 0, "layers.#.self_attn.o_proj.bias"},
    {TANSY_ROLE_MLP_NORM, 0, "layers.#.post_attention_layernorm.weight"},
    {TANSY_ROLE_GATE, 0, "layers.#.mlp.gate_proj.weight"},
    {TANSY_ROLE_UP, 0, "layers.#.mlp.up_proj.weight"},
    {TANSY_ROLE_UP_BIAS, 0, "layers.#.mlp.up_proj.bias"},
    {TANSY_ROLE_DOWN, 0, "layers.#.mlp.down_proj.weight"},
    {TANSY_ROLE_DOWN_BIAS, 0, "layers.#.mlp.down_proj.bias"},
    {0, 0, NULL}};

/* before the Llama rules: the norms around attention and MLP (Gemma 2 and 3) */
static const struct rule gemma_rules[] = {
    {TANSY_ROLE_POST_ATTN_NORM, 0, "layers.#.post_attention_layernorm.weight"},
    {TANSY_ROLE_MLP_NORM, 0, "layers.#.pre_feedforward_layernorm.weight"},
    {TANSY_ROLE_POST_MLP_NORM, 0, "layers.#.post_feedforward_layernorm.weight"},
    {0, 0, NULL}};

static const struct rule phi3_rules[] = {
    {TANSY_ROLE_Q, 1, "layers.#.self_attn.qkv_proj.weight"},
    {TANSY_ROLE_K, 2, "layers.#.self_attn.qkv_proj.weight"},
    {TANSY_ROLE_V, 3, "layers.#.self_attn.qkv_proj.weight"},
    {TANSY_ROLE_GATE, 4, "layers.#.mlp.gate_up_proj.weight"},
    {TANSY_ROLE_UP, 5, "layers.#.mlp.gate_up_proj.weight"},
    {0, 0, NULL}};

static const struct rule gpt2_rules[] = {
    {TANSY_ROLE_EMBED, 0, "wte.weight"},
    {TANSY_ROLE_POSITION_EMBED, 0, "wpe.weight"},
    {TANSY_ROLE_FINAL_NORM, 0, "ln_f.weight"},
    {TANSY_ROLE_FINAL_NORM_BIAS, 0, "ln_f.bias"},
    {TANSY_ROLE_ATTN_NORM, 0, "h.#.ln_1.weight"},
    {TANSY_ROLE_ATTN_NORM_BIAS, 0, "h.#.ln_1.bias"},
    {TANSY_ROLE_Q, 1, "h.#.attn.c_attn.weight"},
    {TANSY_ROLE_K, 2, "h.#.attn.c_attn.weight"},
    {TANSY_ROLE_V, 3, "h.#.attn.c_attn.weight"},
    {TANSY_ROLE_Q_BIAS, 1, "h.#.attn.c_attn.bias"},
    {TANSY_ROLE_K_BIAS, 2, "h.#.attn.c_attn.bias"},
    {TANSY_ROLE_V_BIAS, 3, "h.#.attn.c_attn.bias"},
    {TANSY_ROLE_O, 0, "h.#.attn.c_proj.weight"},
    {TANSY_ROLE_O_BIAS, 0, "h.#.attn.c_proj.bias"},
    {TANSY_ROLE_MLP_NORM, 0, "h.#.ln_2.weight"},
    {TANSY_ROLE_MLP_NORM_BIAS, 0, "h.#.ln_2.bias"},
    {TANSY_ROLE_UP, 0, "h.#.mlp.c_fc.weight"},
    {TANSY_ROLE_UP_BIAS, 0, "h.#.mlp.c_fc.bias"},
    {TANSY_ROLE_DOWN, 0, "h.#.mlp.c_proj.weight"},
    {TANSY_ROLE_DOWN_BIAS, 0, "h.#.mlp.c_proj.bias"},
    {0, 0, NULL}};

static const struct rule opt_rules[] = {
    {TANSY_ROLE_EMBED, 0, "embed_tokens.weight"},
    {TANSY_ROLE_POSITION_EMBED, 0, "embed_positions.weight"},
    {TANSY_ROLE_FINAL_NORM, 0, "final_layer_norm.weight"},
    {TANSY_ROLE_FINAL_NORM_BIAS, 0, "final_layer_norm.bias"},
    {TANSY_ROLE_ATTN_NORM, 0, "layers.#.self_attn_layer_norm.weight"},
    {TANSY_ROLE_ATTN_NORM_BIAS, 0, "layers.#.self_attn_layer_norm.bias"},
    {TANSY_ROLE_Q, 0, "layers.#.self_attn.q_proj.weight"},
    {TANSY_ROLE_K, 0, "layers.#.self_attn.k_proj.weight"},
    {TANSY_ROLE_V, 0, "layers.#.self_attn.v_proj.weight"},
    {TANSY_ROLE_Q_BIAS, 0, "layers.#.self_attn.q_proj.bias"},
    {TANSY_ROLE_K_BIAS, 0, "layers.#.self_attn.k_proj.bias"},
    {TANSY_ROLE_V_BIAS, 0, "layers.#.self_attn.v_proj.bias"},
    {TANSY_ROLE_O, 0, "layers.#.self_attn.out_proj.weight"},
    {TANSY_ROLE_O_BIAS, 0, "layers.#.self_attn.out_proj.bias"},
    {TANSY_ROLE_MLP_NORM, 0, "layers.#.final_layer_norm.weight"},
    {TANSY_ROLE_MLP_NORM_BIAS, 0, "layers.#.final_layer_norm.bias"},
    {TANSY_ROLE_UP, 0, "layers.#.fc1.weight"},
    {TANSY_ROLE_UP_BIAS, 0, "layers.#.fc1.bias"},
    {TANSY_ROLE_DOWN, 0, "layers.#.fc2.weight"},
    {TANSY_ROLE_DOWN_BIAS, 0, "layers.#.fc2.bias"},
    {0, 0, NULL}};

static const struct family_rules {
  const struct rule *first, *then; /* `then` for roles `first` lacks */
  const char *prefixes[3];
  const char *embed;
} family_rules[] = {
    [TANSY_HF_LLAMA] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_MISTRAL] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_QWEN2] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_QWEN3] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_GEMMA] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_GEMMA2] = {gemma_rules, llama_rules, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_GEMMA3] = {gemma_rules, llama_rules, {"model.", "language_model.model.", "model.language_model."}, "embed_tokens.weight"},
    [TANSY_HF_PHI3] = {phi3_rules, llama_rules, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_SMOLLM3] = {llama_rules, NULL, {"model.", ""}, "embed_tokens.weight"},
    [TANSY_HF_GPT2] = {gpt2_rules, NULL, {"transformer.", ""}, "wte.weight"},
    [TANSY_HF_OPT] = {opt_rules, NULL, {"model.decoder.", "decoder."}, "embed_tokens.weight"},
};

struct mapper {
  struct tansy_checkpoint *checkpoint;
  struct tansy_failure *failure;
  const struct family_rules *rules;
  const char *prefix;
  struct index { /* every stored tensor, by name */
    const struct tansy_safetensors *file;
    const struct tansy_safetensors_entry *entry;
    bool used;
  } *index;
  uint32_t n_index, capacity;
};

static int compare_index(const void *a, const void *b) {
  return strcmp(((const struct index *)a)->entry->name, ((const struct index *)b)->entry->name);
}

static enum tansy_status build_index(struct mapper *m) {
  uint32_t n = 0;
  for (uint32_t f = 0; f < m->checkpoint->n_files; f++) n += m->checkpoint->files[f].n_entries;
  m->index = calloc(n + 1u, sizeof *m->index);
  if (!m->index) return tansy_fail_memory(m->failure);
  for (uint32_t f = 0; f < m->checkpoint->n_files; f++)
    for (uint32_t e = 0; e < m->checkpoint->files[f].n_entries; e++)
      m->index[m->n_index++] = (struct index){&m->checkpoint->files[f], &m->checkpoint->files[f].entries[e], false};
  qsort(m->index, n, sizeof *m->index, compare_index);
  for (uint32_t i = 1; i < n; i++)
    if (compare_index(&m->index[i - 1], &m->index[i]) == 0)
      return tansy_fail(m->failure, TANSY_ERR_CORRUPT, "tensor %s is stored twice", m->index[i].entry->name);
  return TANSY_OK;
}

static struct index *find(const struct mapper *m, const char *name) {
  uint32_t low = 0, high = m->n_index;
  while (low < high) {
    uint32_t mid = (low + high) / 2;
    int order = strcmp(m->index[mid].entry->name, name);
    if (order == 0) return &m->index[mid];
    if (order < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return NULL;
}

static void full_name(const struct mapper *m, const char *pattern, uint32_t layer, char *out, size_t capacity) {
  const char *hash = strchr(pattern, '#');
  if (hash)
    snprintf(out, capacity, "%s%.*s%u%s", m->prefix, (int)(hash - pattern), pattern, layer, hash + 1);
  else
    snprintf(out, capacity, "%s%s", m->prefix, pattern);
}

static const struct rule *rule_for(const struct family_rules *rules, uint32_t role) {
  for (const struct rule *r = rules->first; r->name; r++)
    if (r->role == role) return r;
  for (const struct rule *r = rules->then; r && r->name; r++)
    if (r->role == role) return r;
  return NULL;
}

/* first row and all rows of the stored tensor that a part lies in */
static void fused_rows(const struct tansy_config *c, uint32_t part, uint32_t n_rows, uint32_t *begin, uint32_t *total) {
  uint32_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
  *begin = part == 2 ? q : part == 3 ? q + kv : part == 5 ? c->intermediate : 0;
  *total = part == 0 ? n_rows : part <= 3 ? q + 2 * kv : 2 * c->intermediate;
}

static enum tansy_status check_shape(const struct mapper *m, struct tansy_source *s) {
  const struct tansy_safetensors_entry *e = s->entry;
  if (e->dtype == TANSY_DTYPE_OTHER)
    return tansy_fail(m->failure, TANSY_ERR_UNSUPPORTED, "tensor %s has dtype %s; supported are %s", e->name, e->dtype_name,
                      m->checkpoint->gguf ? "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS" : "F32, F16 and BF16");
  uint64_t rows = s->matrix ? s->stored_rows : 1, cols = s->matrix ? s->n_cols : s->stored_rows;
  uint64_t want[2] = {s->transposed ? cols : rows, s->transposed ? rows : cols};
  uint64_t have[2] = {e->n_dims == 2 ? e->shape[0] : 1, e->n_dims == 2 ? e->shape[1] : e->n_dims == 1 ? e->shape[0] : 0};
  bool right_dims = e->n_dims == (s->matrix ? 2u : 1u);
  if (right_dims && have[0] == want[0] && have[1] == want[1]) return TANSY_OK;
  char shape[96] = "", expected[64];
  for (uint32_t d = 0; d < e->n_dims && d < TANSY_SAFETENSORS_MAX_DIMS; d++)
    snprintf(shape + strlen(shape), sizeof shape - strlen(shape), "%s%llu", d ? ", " : "", (unsigned long long)e->shape[d]);
  if (s->matrix)
    snprintf(expected, sizeof expected, "%llu, %llu", (unsigned long long)want[0], (unsigned long long)want[1]);
  else
    snprintf(expected, sizeof expected, "%llu", (unsigned long long)want[1]);
  return tansy_fail(m->failure, TANSY_ERR_SHAPE, "tensor %s has shape [%s]; config.json asks for [%s]", e->name, shape, expected);
}

static struct tansy_source *add_source(struct mapper *m) {
  struct tansy_checkpoint *c = m->checkpoint;
  if (c->n_sources == m->capacity) {
    uint32_t capacity = m->capacity ? m->capacity * 2 : 64;
    struct tansy_source *sources = realloc(c->sources, capacity * sizeof *sources);
    if (!sources) return NULL;
    c->sources = sources;
    m->capacity = capacity;
  }
  struct tansy_source *s = &c->sources[c->n_sources++];
  memset(s, 0, sizeof *s);
  return s;
}

static bool is_norm(uint32_t role) {
  return role == TANSY_ROLE_FINAL_NORM || role == TANSY_ROLE_ATTN_NORM || role == TANSY_ROLE_MLP_NORM || role == TANSY_ROLE_Q_NORM ||
         role == TANSY_ROLE_K_NORM || role == TANSY_ROLE_POST_ATTN_NORM || role == TANSY_ROLE_POST_MLP_NORM;
}

static enum tansy_status map_frequencies(struct mapper *m, uint32_t role) {
  const float *values = m->checkpoint->inv_freq[role == TANSY_ROLE_ROPE_INV_FREQ_LOCAL];
  if (!values) return TANSY_OK;
  struct tansy_source *s = add_source(m);
  if (!s) return tansy_fail_memory(m->failure);
  s->role = (uint8_t)role;
  s->n_rows = 1;
  s->n_cols = m->checkpoint->config.rope_dim / 2;
  s->stored_rows = s->n_cols;
  s->values = values;
  return TANSY_OK;
}

/* biases that the family has, or that config.json says there are: without one the model would be another */
static bool needs_bias(const struct tansy_checkpoint *c, uint32_t role) {
  bool all = c->family_number == TANSY_HF_GPT2 || c->family_number == TANSY_HF_OPT;
  if (role == TANSY_ROLE_Q_BIAS || role == TANSY_ROLE_K_BIAS || role == TANSY_ROLE_V_BIAS) return all || c->biased_attention;
  return all && (role == TANSY_ROLE_O_BIAS || role == TANSY_ROLE_UP_BIAS || role == TANSY_ROLE_DOWN_BIAS);
}

static enum tansy_status map_role(struct mapper *m, uint32_t role, uint32_t layer) {
  struct tansy_checkpoint *c = m->checkpoint;
  if (role == TANSY_ROLE_ROPE_INV_FREQ || role == TANSY_ROLE_ROPE_INV_FREQ_LOCAL) return map_frequencies(m, role);
  struct tansy_role_spec spec = tansy_config_role(&c->config, role);
  if (spec.need == TANSY_NEED_NEVER) return TANSY_OK;
  char name[256];
  uint32_t part = 0;
  if (role == TANSY_ROLE_HEAD || role == TANSY_ROLE_HEAD_BIAS) {
    snprintf(name, sizeof name, "lm_head.%s", role == TANSY_ROLE_HEAD ? "weight" : "bias");
  } else {
    const struct rule *rule = rule_for(m->rules, role);
    if (!rule && spec.need == TANSY_NEED_MAY) return TANSY_OK;
    if (!rule)
      return tansy_fail(m->failure, TANSY_ERR_UNSUPPORTED, "architecture %s has no tensor for role %u", c->family, role);
    full_name(m, rule->name, layer, name, sizeof name);
    part = rule->part;
  }
  struct index *found = find(m, name);
  if (!found) {
    if (spec.need == TANSY_NEED_MAY && !needs_bias(c, role)) return TANSY_OK;
    return tansy_fail(m->failure, TANSY_ERR_NOT_CHECKPOINT, "tensor %s is missing", name);
  }
  found->used = true;
  struct tansy_source *s = add_source(m);
  if (!s) return tansy_fail_memory(m->failure);
  s->role = (uint8_t)role;
  s->layer = (uint16_t)layer;
  s->matrix = spec.is_matrix;
  s->file = found->file;
  s->entry = found->entry;
  s->n_rows = spec.n_rows;
  s->n_cols = spec.n_cols;
  if (spec.is_matrix && spec.n_rows == 0) { /* learned positions: as many as stored */
    uint64_t rows = found->entry->n_dims == 2 ? found->entry->shape[0] : 0;
    if (rows < 1 || rows > 1 << 20) return tansy_fail(m->failure, TANSY_ERR_SHAPE, "tensor %s has no usable shape", name);
    s->n_rows = (uint32_t)rows;
    uint64_t room = rows > c->config.position_offset ? rows - c->config.position_offset : 0;
    if (room < c->config.context)
      return tansy_fail(m->failure, TANSY_ERR_SHAPE, "tensor %s has %llu rows; config.json asks for %u positions", name,
                        (unsigned long long)rows, c->config.context);
  }
  fused_rows(&c->config, part, spec.is_matrix ? s->n_rows : s->n_cols, &s->row_begin, &s->stored_rows);
  s->transposed = !c->gguf && c->family_number == TANSY_HF_GPT2 && spec.in_layer && spec.is_matrix;
  s->add_one = !c->gguf && is_norm(role) && c->family_number >= TANSY_HF_GEMMA && c->family_number <= TANSY_HF_GEMMA3;
  return check_shape(m, s);
}

static bool begins_with(const char *text, const char *beginning) { return strncmp(text, beginning, strlen(beginning)) == 0; }

/* tensors that may be there without being part of the arithmetic: causal masks, stored frequencies, a tied head's copy, and what
 * a model that sees has beside its language model */
static bool is_harmless(const struct mapper *m, const char *name) {
  static const char *const endings[] = {".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias"};
  static const char *const parts[] = {"vision_tower.", "multi_modal_projector."};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    size_t n = strlen(name), k = strlen(endings[i]);
    if (n >= k && strcmp(name + n - k, endings[i]) == 0) return true;
  }
  bool sees = strstr(m->prefix, "language_model.") != NULL;
  for (size_t i = 0; sees && i < sizeof parts / sizeof *parts; i++)
    if (begins_with(name, parts[i]) || (begins_with(name, "model.") && begins_with(name + 6, parts[i]))) return true;
  return m->checkpoint->config.tied && (strcmp(name, "lm_head.weight") == 0 || (sees && strcmp(name, "language_model.lm_head.weight") == 0));
}

static enum tansy_status map_all(struct mapper *m) {
  struct tansy_checkpoint *c = m->checkpoint;
  TANSY_TRY(build_index(m));
  m->rules = &family_rules[c->family_number];
  char name[256];
  for (int i = 0; i < 3 && m->rules->prefixes[i]; i++) {
    m->prefix = m->rules->prefixes[i];
    full_name(m, m->rules->embed, 0, name, sizeof name);
    if (find(m, name)) break;
  }
  if (!find(m, name)) {
    m->prefix = m->rules->prefixes[0];
    return tansy_fail(m->failure, TANSY_ERR_NOT_CHECKPOINT, "tensor %s%s is missing", m->prefix, m->rules->embed);
  }
  if (c->head_may_lack && !find(m, "lm_head.weight")) c->config.tied = 1; /* saved from a tied model without saying so */

  for (uint32_t role = 0; role < TANSY_ROLE_ATTN_NORM; role++)
    if (tansy_role_section(role) == 0) TANSY_TRY(map_role(m, role, 0));
  for (uint32_t layer = 0; layer < c->config.n_layers; layer++)
    for (uint32_t role = TANSY_ROLE_ATTN_NORM; role <= TANSY_ROLE_POST_MLP_NORM; role++) TANSY_TRY(map_role(m, role, layer));
  for (uint32_t role = 0; role < TANSY_ROLE_ATTN_NORM; role++)
    if (tansy_role_section(role) == 2) TANSY_TRY(map_role(m, role, 0));

  for (uint32_t i = 0; i < m->n_index; i++) {
    if (m->index[i].used || is_harmless(m, m->index[i].entry->name)) continue;
    return tansy_fail(m->failure, TANSY_ERR_UNSUPPORTED, "tensor %s is not part of the %s architecture as supported here",
                      m->index[i].entry->name, c->family);
  }
  for (uint32_t i = 0; i < c->n_sources; i++) {
    if (!c->sources[i].entry) continue;
    uint64_t n = (uint64_t)c->sources[i].n_rows * c->sources[i].n_cols;
    c->n_params += n;
    if (c->sources[i].matrix) c->n_matrix_params += n;
  }
  return TANSY_OK;
}

enum tansy_status tansy_hf_map_tensors(struct tansy_checkpoint *checkpoint, struct tansy_failure *failure) {
  struct mapper m = {.checkpoint = checkpoint, .failure = failure};
  enum tansy_status status = map_all(&m);
  free(m.index);
  return status;
}

int tansy_role_section(uint32_t role) {
  if (role >= TANSY_ROLE_ATTN_NORM) return 1;
  return role == TANSY_ROLE_FINAL_NORM || role == TANSY_ROLE_FINAL_NORM_BIAS || role == TANSY_ROLE_HEAD || role == TANSY_ROLE_HEAD_SCALE ||
                 role == TANSY_ROLE_HEAD_BIAS
             ? 2
             : 0;
}

void tansy_role_name(uint32_t role, uint32_t layer, char *out, size_t capacity) {
  static const struct rule extra[] = {
      {TANSY_ROLE_EMBED_SCALE, 0, "embed_tokens.col_scale"},
      {TANSY_ROLE_POSITION_EMBED, 0, "embed_positions.weight"},
      {TANSY_ROLE_POSITION_EMBED_SCALE, 0, "embed_positions.col_scale"},
      {TANSY_ROLE_FINAL_NORM_BIAS, 0, "norm.bias"},
      {TANSY_ROLE_ROPE_INV_FREQ, 0, "rotary_emb.inv_freq"},
      {TANSY_ROLE_ROPE_INV_FREQ_LOCAL, 0, "rotary_emb_local.inv_freq"},
      {TANSY_ROLE_ATTN_NORM_BIAS, 0, "layers.#.input_layernorm.bias"},
      {TANSY_ROLE_ATTN_IN_SCALE, 0, "layers.#.self_attn.in_col_scale"},
      {TANSY_ROLE_ATTN_OUT_SCALE, 0, "layers.#.self_attn.o_proj.col_scale"},
      {TANSY_ROLE_POST_ATTN_NORM, 0, "layers.#.post_self_attn_layernorm.weight"},
      {TANSY_ROLE_MLP_NORM_BIAS, 0, "layers.#.post_attention_layernorm.bias"},
      {TANSY_ROLE_MLP_IN_SCALE, 0, "layers.#.mlp.in_col_scale"},
      {TANSY_ROLE_MLP_MID_SCALE, 0, "layers.#.mlp.down_proj.col_scale"},
      {TANSY_ROLE_POST_MLP_NORM, 0, "layers.#.post_mlp_layernorm.weight"},
      {0, 0, NULL}};
  static const struct family_rules names = {llama_rules, extra, {NULL}, NULL};
  if (role == TANSY_ROLE_HEAD || role == TANSY_ROLE_HEAD_BIAS || role == TANSY_ROLE_HEAD_SCALE) {
    snprintf(out, capacity, "lm_head.%s", role == TANSY_ROLE_HEAD ? "weight" : role == TANSY_ROLE_HEAD_BIAS ? "bias" : "col_scale");
    return;
  }
  const struct rule *rule = rule_for(&names, role);
  struct mapper m = {.prefix = "model."};
  if (rule)
    full_name(&m, rule->name, layer, out, capacity);
  else
    snprintf(out, capacity, "role.%u", role);
}
