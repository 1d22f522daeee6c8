/* plan.c: where every byte goes. A pure function of header and options; the arena is laid out by the same code that counts it.
 *
 *   arena = engine, tables | io | tokens, activations, logits, scratch | staging | weights | KV
 *
 * What the budget leaves over is spent on faster forms, best gain per byte first. */
#include <string.h>

#include "model/engine.h"

/* ns a weight in a batch of one: typical of SIMD128 on a 2020s laptop. Replaced by figures measured on the device. */
static const float default_cost[3] = {[TANSY_FORM_ANS] = 0.45f, [TANSY_FORM_PACKED] = 0.06f, [TANSY_FORM_INT8] = 0.045f};

/* A model that is larger than a processor's cache streams its weights from memory: then, typically, no byte is faster than this, and
 * packed weights beat int8 */
static const double default_ns_per_byte = 0.1;
enum { CACHE_N_WEIGHTS = 32 << 20 };

/* ns of a layer beside its matrices, for each value of its activations */
static const float default_layer_cost = 3;

enum { DEFAULT_CONTEXT = 4096, MIN_CONTEXT = 128 };

static uint32_t min_u32(uint32_t a, uint32_t b) { return a < b ? a : b; }
static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* ---- layout ---- */

static void *take(struct tansy_arena *arena, uint64_t nbytes, double *kind) {
  *kind += (double)tansy_align16(nbytes);
  return tansy_arena_take(arena, nbytes);
}

static double *kind_of_form(struct tansy_plan *plan, uint32_t form) {
  switch (form) {
    case TANSY_FORM_ANS: return &plan->ans_nbytes;
    case TANSY_FORM_PACKED: return &plan->packed_nbytes;
    case TANSY_FORM_INT8: return &plan->int8_nbytes;
    default: return &plan->vectors_nbytes;
  }
}

/* the largest tile that look-ups decode whole */
static size_t look_up_tile_nbytes(const struct tansy_engine *e) {
  size_t most = 0;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    const struct tansy_tensor *t = &e->tensors[i];
    bool is_table = t->record.role == TANSY_ROLE_EMBED || t->record.role == TANSY_ROLE_POSITION_EMBED;
    if (!is_table || t->form != TANSY_FORM_ANS) continue;
    size_t nbytes = tansy_tile_nbytes(&t->record.shape);
    if (nbytes <= TANSY_MAX_TILE_NBYTES && nbytes > most) most = nbytes;
  }
  return most;
}

static enum tansy_kv_form kv_form(const struct tansy_engine *e) { return (enum tansy_kv_form)e->options.kv_form; }

void tansy_engine_lay_out(struct tansy_engine *e, struct tansy_arena *arena) {
  struct tansy_plan *p = &e->plan;
  const struct tansy_config *c = &e->config;
  uint32_t n_tables = 0;
  for (uint32_t i = 0; i < p->n_tensors; i++) n_tables += e->tensors[i].record.shape.n_tables;

  p->tables_nbytes = p->io_nbytes = p->scratch_nbytes = p->staging_nbytes = p->kv_nbytes = 0;
  p->ans_nbytes = p->packed_nbytes = p->int8_nbytes = p->vectors_nbytes = 0;

  double *tables = &p->tables_nbytes, *scratch = &p->scratch_nbytes;
  take(arena, sizeof *e, tables);
  struct tansy_tensor *tensors = take(arena, (uint64_t)p->n_tensors * sizeof *tensors, tables);
  e->crc = take(arena, sizeof *e->crc, tables);
  e->chunk_state = take(arena, p->n_chunks, tables);
  e->n_missing = take(arena, (uint64_t)(c->n_layers + 2) * sizeof *e->n_missing, tables);
  e->layers = take(arena, (uint64_t)c->n_layers * sizeof *e->layers, tables);
  e->kv = take(arena, (uint64_t)c->n_layers * sizeof *e->kv, tables);
  e->tables = take(arena, (uint64_t)n_tables * sizeof *e->tables, tables);

  e->io = take(arena, TANSY_IO_NBYTES + (uint64_t)p->context * 4, &p->io_nbytes);

  e->tokens = take(arena, (uint64_t)p->context * 4, scratch);
  e->x = take(arena, (uint64_t)p->max_batch * c->hidden * 4, scratch);
  e->logits = take(arena, (uint64_t)p->n_logits * c->vocab * 4, scratch);
  e->parallel.n_threads = p->n_threads;
  e->forward = (struct tansy_forward){
      .config = c, .kernels = e->kernels, .parallel = &e->parallel, .max_tokens = p->max_batch, .max_tile_nbytes = look_up_tile_nbytes(e)};
  e->temporary_nbytes = tansy_sampler_nbytes(c->vocab, p->context);
  if (e->temporary_nbytes < e->promotion_nbytes) e->temporary_nbytes = e->promotion_nbytes;
  e->scratch = take(arena, tansy_forward_nbytes(&e->forward, e->temporary_nbytes), scratch);

  e->stacks = take(arena, (uint64_t)(p->n_threads - 1) * TANSY_STACK_NBYTES, scratch);

  e->slot_nbytes = tansy_align16(p->chunk_nbytes);
  e->staging = take(arena, p->n_staging * e->slot_nbytes, &p->staging_nbytes);

  p->n_matrices = p->n_packed = p->n_int8 = 0;
  uint64_t regions_at = arena->used;
  for (uint32_t i = 0; i < p->n_tensors; i++) {
    struct tansy_tensor *t = &e->tensors[i];
    t->region_nbytes = tansy_tensor_region_nbytes(&t->record, t->form);
    t->region = take(arena, t->region_nbytes, kind_of_form(p, t->form));
    p->n_matrices += t->form != TANSY_FORM_VECTOR;
    p->n_packed += t->form == TANSY_FORM_PACKED;
    p->n_int8 += t->form == TANSY_FORM_INT8;
  }
  e->regions = arena->base ? arena->base + regions_at : NULL;
  take(arena, TANSY_STREAM_SLACK, &p->ans_nbytes);

  e->kv_at = arena->used;
  e->kv_memory = take(arena, c->n_layers * tansy_layer_kv_nbytes(c, p->context, kv_form(e)), &p->kv_nbytes);

  p->arena_nbytes = (double)arena->used;
  p->total_nbytes = (double)round_up((uint64_t)p->static_nbytes + arena->used, TANSY_PAGE_NBYTES);
  p->start_nbytes = (double)round_up((uint64_t)p->static_nbytes + tansy_engine_arena_nbytes(e, 0), TANSY_PAGE_NBYTES);
}

static uint64_t measure(struct tansy_engine *e) {
  struct tansy_arena count = {0};
  tansy_engine_lay_out(e, &count);
  return (uint64_t)e->plan.static_nbytes + count.used;
}

/* ---- residency ---- */

/* weights a generated token multiplies with; tables that are only looked up cost nothing */
static double n_weights_used(const struct tansy_engine *e, const struct tansy_tensor *t) {
  uint32_t role = t->record.role;
  if (t->form == TANSY_FORM_VECTOR || role == TANSY_ROLE_POSITION_EMBED) return 0;
  if (role == TANSY_ROLE_EMBED && !e->config.tied) return 0;
  return (double)t->record.n_rows * t->record.n_cols;
}

/* ns of this matrix in a token */
static double cost_of(const struct tansy_engine *e, const struct tansy_tensor *t, uint32_t form) {
  const struct tansy_options *o = &e->options;
  float asked = form == TANSY_FORM_ANS ? o->cost_ans : form == TANSY_FORM_PACKED ? o->cost_packed : o->cost_int8;
  double n = n_weights_used(e, t), ns = n * (double)(asked > 0 ? asked : default_cost[form]);
  double streamed = (double)tansy_tensor_region_nbytes(&t->record, form) * default_ns_per_byte;
  return asked == 0 && e->n_weights > CACHE_N_WEIGHTS && n > 0 && ns < streamed ? streamed : ns;
}

static double predict_ns(const struct tansy_engine *e) {
  const struct tansy_config *c = &e->config;
  double n_values = 3.0 * c->hidden + 2.0 * c->n_heads * c->head_dim + 2.0 * c->intermediate;
  double layer = e->options.cost_layer > 0 ? (double)e->options.cost_layer : n_values * (double)default_layer_cost;
  double ns = c->n_layers * layer;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    if (n_weights_used(e, &e->tensors[i]) > 0) ns += cost_of(e, &e->tensors[i], e->tensors[i].form);
  }
  return ns;
}

struct move {
  uint32_t form;
  double gain_ns, gain_per_byte;
  uint64_t extra_nbytes;
};

/* The tensor's move with most gain per byte that fits in `left`. */
static bool best_move(const struct tansy_engine *e, const struct tansy_tensor *t, uint64_t left, struct move *best) {
  best->gain_per_byte = 0;
  if (n_weights_used(e, t) == 0) return false;
  double cost = cost_of(e, t, t->form);
  uint64_t now = tansy_align16(tansy_tensor_region_nbytes(&t->record, t->form));
  for (uint32_t form = t->form + 1; form <= TANSY_FORM_INT8; form++) {
    if (!tansy_tensor_can_be(&t->record, form)) continue;
    double gain = cost - cost_of(e, t, form);
    uint64_t then = tansy_align16(tansy_tensor_region_nbytes(&t->record, form));
    uint64_t extra = then > now ? then - now : 0;
    double ratio = gain / ((double)extra + 1);
    if (extra <= left && ratio > best->gain_per_byte) *best = (struct move){form, gain, ratio, extra};
  }
  return best->gain_per_byte > 0;
}

/* ---- the tensors with moves as a heap, best gain first; ties go to the first tensor, so that a plan is a function ---- */

static bool is_before(const struct tansy_tensor *tensors, uint32_t a, uint32_t b) {
  double of_a = tensors[a].gain_per_byte, of_b = tensors[b].gain_per_byte;
  return of_a > of_b || (of_a == of_b && a < b);
}

static void sink(struct tansy_tensor *tensors, uint32_t n, uint32_t rank) {
  uint32_t tensor = tensors[rank].ranked;
  for (uint32_t child; (child = 2 * rank + 1) < n; rank = child) {
    if (child + 1 < n && is_before(tensors, tensors[child + 1].ranked, tensors[child].ranked)) child++;
    if (!is_before(tensors, tensors[child].ranked, tensor)) break;
    tensors[rank].ranked = tensors[child].ranked;
  }
  tensors[rank].ranked = tensor;
}

static uint32_t make_heap(struct tansy_engine *e, uint64_t left) {
  struct move m;
  uint32_t n = 0;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    if (best_move(e, &e->tensors[i], left, &m)) e->tensors[n++].ranked = i;
    e->tensors[i].gain_per_byte = m.gain_per_byte;
  }
  for (uint32_t rank = n / 2; rank-- > 0;) sink(e->tensors, n, rank);
  return n;
}

/* Moves until nothing fits or the target is met. What does not fit any more never fits again: what the heap has of a tensor is at most too high. */
static void spend(struct tansy_engine *e, uint64_t left, double target_ns) {
  struct tansy_tensor *tensors = e->tensors;
  double ns = predict_ns(e);
  uint32_t n = make_heap(e, left);
  while (n && (target_ns == 0 || ns > target_ns)) {
    struct tansy_tensor *t = &tensors[tensors[0].ranked];
    struct move m;
    bool has_move = best_move(e, t, left, &m);
    if (has_move && m.gain_per_byte == t->gain_per_byte) {
      t->form = m.form;
      left -= m.extra_nbytes;
      ns -= m.gain_ns;
      has_move = best_move(e, t, left, &m);
    }
    t->gain_per_byte = m.gain_per_byte;
    if (!has_move) tensors[0].ranked = tensors[--n].ranked;
    sink(tensors, n, 0);
  }
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) tensors[i].received = 0;
}

/* temporary memory for promoting any tensor to any of the forms [from, to] */
static uint64_t promotion_nbytes(const struct tansy_engine *e, uint32_t from, uint32_t to) {
  uint64_t most = 0;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    const struct tansy_record *r = &e->tensors[i].record;
    if (n_weights_used(e, &e->tensors[i]) == 0) continue;
    for (uint32_t form = from; form <= to; form++) {
      uint64_t nbytes = tansy_tensor_can_be(r, form) ? tansy_tensor_promotion_nbytes(r, form) : 0;
      if (nbytes > most) most = nbytes;
    }
  }
  return most;
}

/* residency PACKED or INT8: whatever it takes */
static void order_forms(struct tansy_engine *e) {
  uint32_t residency = e->options.residency;
  if (residency != TANSY_RESIDENCY_PACKED && residency != TANSY_RESIDENCY_INT8) return;
  for (uint32_t i = 0; i < e->plan.n_tensors; i++) {
    struct tansy_tensor *t = &e->tensors[i];
    if (n_weights_used(e, t) == 0) continue;
    /* four raw bits: packed is int8 */
    bool packs = residency == TANSY_RESIDENCY_PACKED && t->record.shape.raw_bits < TANSY_MAX_RAW_BITS;
    uint32_t form = packs ? TANSY_FORM_PACKED : TANSY_FORM_INT8;
    if (tansy_tensor_can_be(&t->record, form)) t->form = form;
  }
  e->promotion_nbytes = promotion_nbytes(e, TANSY_FORM_PACKED, TANSY_FORM_INT8);
}

/* residency AUTO: spends what the budget leaves, until nothing fits or the target is met */
static void choose_forms(struct tansy_engine *e, uint64_t limit) {
  const struct tansy_options *o = &e->options;
  double target = (double)o->target_ns_per_token;
  if (o->residency != TANSY_RESIDENCY_AUTO || (o->budget_nbytes == 0 && target == 0)) return;

  e->promotion_nbytes = promotion_nbytes(e, TANSY_FORM_PACKED, TANSY_FORM_INT8);
  uint64_t used = measure(e);
  if (used > limit) {
    e->promotion_nbytes = 0;
    return;
  }
  spend(e, limit - used, target);
}

/* ---- sizes ---- */

static uint64_t measure_with(struct tansy_engine *e, uint32_t n_staging, uint32_t max_batch, uint32_t context) {
  struct tansy_plan *p = &e->plan;
  p->n_staging = min_u32(e->options.n_staging ? e->options.n_staging : n_staging, p->n_chunks);
  p->max_batch = e->options.max_batch ? e->options.max_batch : max_batch;
  p->context = context;
  return measure(e);
}

/* Staging slots and batch where the caller left them open: at most a 16th and an 8th of the budget, so that a larger budget
 * never buys them at the cost of much else. Large batches share the work of decoding among more tokens, which makes compressed weights nearly
 * as fast as resident ones; they get a 32nd, and only where a layer's step stays short. Then the longest context that fits. */
static enum tansy_status fit(struct tansy_engine *e, uint64_t limit) {
  enum { MIN_STAGING = 1, MAX_STAGING = 4, MIN_BATCH = 8, COMMON_BATCH = 32, LARGE_BATCH = 128 };
  const double max_step_n_products = 0x1p33; /* some 150 ms */
  const struct tansy_options *o = &e->options;
  uint32_t model_context = e->config.context;
  uint32_t most = o->context ? o->context : min_u32(model_context, DEFAULT_CONTEXT);
  uint32_t least = o->context ? o->context : min_u32(model_context, MIN_CONTEXT);

  uint64_t needed = measure_with(e, MIN_STAGING, MIN_BATCH, least);
  e->plan.needed_nbytes = e->plan.total_nbytes;
  if (needed > limit) return TANSY_ERR_OVER_BUDGET;

  uint32_t n_staging = MAX_STAGING, max_batch = LARGE_BATCH;
  while (n_staging > MIN_STAGING && n_staging * e->slot_nbytes > limit / 16) n_staging--;
  const double layer_n_weights = e->n_weights / e->config.n_layers;
  while (max_batch > COMMON_BATCH && (measure_with(e, n_staging, max_batch, least) > limit || e->plan.scratch_nbytes > (double)(limit / 32) ||
                                      max_batch * layer_n_weights > max_step_n_products))
    max_batch /= 2;
  while (max_batch > MIN_BATCH && (measure_with(e, n_staging, max_batch, least) > limit || e->plan.scratch_nbytes > (double)(limit / 8))) max_batch /= 2;
  if (measure_with(e, n_staging, max_batch, least) > limit) n_staging = MIN_STAGING;

  uint32_t fits = least, beyond = most + 1; /* bytes grow with the context: bisection */
  while (beyond - fits > 1) {
    uint32_t middle = fits + (beyond - fits) / 2;
    if (measure_with(e, n_staging, max_batch, middle) <= limit) fits = middle;
    else beyond = middle;
  }
  measure_with(e, n_staging, max_batch, fits);
  return TANSY_OK;
}

static enum tansy_status check_options(const struct tansy_options *o) {
  /* written so that NaN fails */
  if (!(o->budget_nbytes >= 0 && o->budget_nbytes <= 0x1p53) || o->kv_form > TANSY_KV_F16 || o->residency > TANSY_RESIDENCY_INT8) return TANSY_ERR_ARGUMENT;
  if (o->max_batch > TANSY_MAX_BATCH || o->n_logits > TANSY_MAX_LOGITS || o->n_staging > TANSY_MAX_STAGING || o->n_threads > 64) return TANSY_ERR_ARGUMENT;
  if (!(o->cost_ans >= 0) || !(o->cost_packed >= 0) || !(o->cost_int8 >= 0) || !(o->cost_layer >= 0) || !(o->target_ns_per_token >= 0)) return TANSY_ERR_ARGUMENT;
  return TANSY_OK;
}

static enum tansy_status choose_kernels(struct tansy_engine *e) {
  switch (e->options.kernels) {
    case TANSY_KERNELS_BEST: e->kernels = tansy_kernels_best(); return TANSY_OK;
    case TANSY_KERNELS_REF: e->kernels = &tansy_kernels_ref; return TANSY_OK;
#if defined(TANSY_HAVE_SIMD128)
    case TANSY_KERNELS_SIMD128: e->kernels = &tansy_kernels_simd128; return TANSY_OK;
#endif
#if defined(TANSY_HAVE_RELAXED)
    case TANSY_KERNELS_RELAXED: e->kernels = tansy_kernels_best_relaxed(); return TANSY_OK;
#endif
    default: return TANSY_ERR_UNSUPPORTED;
  }
}

static enum tansy_status read_config(const struct tansy_index *index, struct tansy_config *config) {
  *config = tansy_config_default();
  struct tansy_index_walk walk = tansy_index_config_walk(index);
  for (uint32_t i = 0; i < index->n_config; i++) {
    uint64_t key;
    uint32_t value;
    tansy_index_next_config(&walk, &key, &value);
    TANSY_TRY(tansy_config_set(config, key, value));
  }
  return tansy_config_check(config);
}

static enum tansy_status plan_with(struct tansy_engine *e, const void *header, size_t header_nbytes, struct tansy_tensor *tensors,
                                   size_t n_tensors_max) {
  struct tansy_plan *p = &e->plan;
  TANSY_TRY(check_options(&e->options));
  TANSY_TRY(choose_kernels(e));
  uint32_t failed_tensor;
  enum tansy_status status = tansy_index_open(header, header_nbytes, &e->index, &failed_tensor);
  e->detail.tensor = failed_tensor;
  TANSY_TRY(status);
  TANSY_TRY(read_config(&e->index, &e->config));
  if (e->index.n_tensors > n_tensors_max) return TANSY_ERR_ARGUMENT;
  e->tensors = tensors;
  TANSY_TRY(tansy_tensors_open(&e->index, &e->config, tensors, &e->detail));
  tansy_detail_set(&e->detail, TANSY_OK, TANSY_NO_TENSOR, NULL);

  p->static_nbytes = e->options.static_nbytes;
  p->file_nbytes = (double)tansy_index_file_nbytes(&e->index);
  p->model_context = e->config.context;
  p->n_tensors = e->index.n_tensors;
  p->n_chunks = e->index.n_chunks;
  p->chunk_nbytes = p->n_chunks ? tansy_index_chunk_nbytes(&e->index, 0) : 0;
#if defined(TANSY_HAVE_THREADS)
  p->n_threads = e->options.n_threads ? e->options.n_threads : 1;
#else
  p->n_threads = 1;
#endif
  p->n_logits = e->options.n_logits ? e->options.n_logits : 1;
  p->vocab = e->config.vocab;
  p->n_layers = e->config.n_layers;

  if (e->options.context > e->config.context) {
    e->detail.needed_nbytes = e->config.context;
    return TANSY_ERR_CONTEXT;
  }
  uint64_t limit = UINTPTR_MAX / TANSY_PAGE_NBYTES * TANSY_PAGE_NBYTES; /* a wasm32 memory ends below 4 GiB */
  if (e->options.budget_nbytes && e->options.budget_nbytes < (double)limit) {
    limit = (uint64_t)e->options.budget_nbytes / TANSY_PAGE_NBYTES * TANSY_PAGE_NBYTES;
  }
  for (uint32_t i = 0; i < p->n_tensors; i++) e->n_weights += n_weights_used(e, &e->tensors[i]);
  order_forms(e);
  status = fit(e, limit);
  e->detail.needed_nbytes = p->needed_nbytes;
  TANSY_TRY(status);
  choose_forms(e, limit);
  measure(e);
  p->predicted_ns = predict_ns(e);
  return TANSY_OK;
}

enum tansy_status tansy_engine_plan(struct tansy_engine *e, const void *header, size_t header_nbytes, const struct tansy_options *options,
                                    struct tansy_tensor *tensors, size_t n_tensors_max) {
  struct tansy_options wishes = *options; /* may lie inside *e */
  memset(e, 0, sizeof *e);
  e->options = wishes;
  tansy_detail_set(&e->detail, TANSY_OK, TANSY_NO_TENSOR, NULL);
  enum tansy_status status = plan_with(e, header, header_nbytes, tensors, n_tensors_max);
  e->detail.status = status;
  e->plan.detail = e->detail;
  return status;
}

/* ---- public ---- */

size_t tansy_plan_work_nbytes(const void *header, size_t header_nbytes) {
  struct tansy_index index;
  uint32_t failed_tensor;
  if (tansy_index_open(header, header_nbytes, &index, &failed_tensor) != TANSY_OK) return 0;
  return (size_t)index.n_tensors * sizeof(struct tansy_tensor);
}

enum tansy_status tansy_plan_make(const void *header, size_t header_nbytes, const struct tansy_options *options, void *work,
                                  size_t work_nbytes, struct tansy_plan *plan) {
  struct tansy_engine e;
  enum tansy_status status = tansy_engine_plan(&e, header, header_nbytes, options, work, work_nbytes / sizeof(struct tansy_tensor));
  *plan = e.plan;
  /* squeezed to a byte each: byte i lies before tensor i ends */
  for (uint32_t i = 0; status == TANSY_OK && i < plan->n_tensors; i++) ((uint8_t *)work)[i] = (uint8_t)e.tensors[i].form;
  return status;
}
