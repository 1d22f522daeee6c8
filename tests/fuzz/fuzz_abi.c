/* fuzz_abi.c: every function of tansy.h in any order, with any arguments but pointers, over sound models. Input: a byte for the
 * model, wishes, then a list of calls.
 * What is promised: every answer is one that tansy.h allows; and whatever was done to it, an engine whose chunks have come
 * gives the logits that an untouched one gives. */
#include "fuzz.h"
#include "tansy.h"
#include "tiny_model.h"

enum { N_MODELS = 2, N_PROMPT = 5, MAX_STATUS = TANSY_ERR_CALIBRATION, MAX_ARENA_NBYTES = 16 << 20 };

struct subject {
  struct tiny_model model;
  uint32_t vocab;
  float *logits[2]; /* after `prompt`, by KV form */
};
static struct subject subjects[N_MODELS];
static const int32_t prompt[N_PROMPT] = {1, 7, 3, 11, 2};

struct run {
  const struct subject *s;
  struct tansy_engine *e;
  struct tansy_plan plan;
};

static void *aligned(size_t nbytes) {
  void *p = aligned_alloc(16, (nbytes + 15) & ~(size_t)15);
  if (!p) exit(2);
  return p;
}

static bool open_run(const struct subject *s, struct tansy_options options, struct run *r, void **arena) {
  const struct tiny_model *m = &s->model;
  size_t work_nbytes = tansy_plan_work_nbytes(m->file.bytes, m->header_nbytes);
  void *work = aligned(work_nbytes);
  *r = (struct run){.s = s};
  *arena = NULL;
  enum tansy_status status = tansy_plan_make(m->file.bytes, m->header_nbytes, &options, work, work_nbytes, &r->plan);
  free(work);
  if (status != TANSY_OK || r->plan.arena_nbytes > MAX_ARENA_NBYTES) return false;
  *arena = aligned((size_t)r->plan.arena_nbytes);
  const size_t whole = (size_t)r->plan.arena_nbytes;
  PROMISE(tansy_engine_create(m->file.bytes, m->header_nbytes, &options, *arena, whole, &r->e) == TANSY_OK);
  if (options.n_staging == 3) { /* the least that it can begin with, grown; and less than that */
    const size_t least = (size_t)tansy_engine_arena_nbytes(r->e, 0);
    PROMISE(least <= whole);
    PROMISE(tansy_engine_create(m->file.bytes, m->header_nbytes, &options, *arena, least - 16, &r->e) == TANSY_ERR_OVER_BUDGET);
    PROMISE(tansy_engine_create(m->file.bytes, m->header_nbytes, &options, *arena, least, &r->e) == TANSY_OK);
    PROMISE(tansy_engine_grow(r->e, whole) == TANSY_OK);
  }
  return true;
}

static void fill(struct run *r, uint32_t chunk) {
  uint8_t *slot = tansy_chunk_begin(r->e, chunk);
  if (!slot) return;
  memcpy(slot, r->s->model.file.bytes + tansy_chunk_offset(r->e, chunk), tansy_chunk_nbytes(r->e, chunk));
  PROMISE(tansy_chunk_end(r->e, chunk) == TANSY_OK);
}

static const float *logits_of_prompt(struct run *r) {
  const uint32_t n_chunks = tansy_engine_n_chunks(r->e);
  for (uint32_t i = 0; i < n_chunks; i++) tansy_chunk_abort(r->e, i);
  for (uint32_t i = 0; i < n_chunks; i++) fill(r, i);
  PROMISE(tansy_engine_layers_ready(r->e) == r->plan.n_layers + 1);
  tansy_eval_cancel(r->e);
  PROMISE(tansy_engine_rewind(r->e, 0) == TANSY_OK);
  PROMISE(tansy_eval_begin(r->e, prompt, N_PROMPT, 0) == TANSY_OK);
  int left;
  while ((left = tansy_eval_step(r->e)) > 0) {
  }
  PROMISE(left == 0 && tansy_logits_n(r->e) == 1 && tansy_logits_first(r->e) == N_PROMPT - 1);
  return tansy_logits(r->e);
}

static void make_subjects(void) {
  for (int i = 0; i < N_MODELS; i++) {
    struct tiny_options o = tiny_options();
    o.config.vocab = 24;
    o.config.hidden = 16;
    o.config.intermediate = 20;
    o.config.n_layers = 1 + (uint32_t)i;
    o.config.n_heads = 2;
    o.config.n_kv_heads = 1 + (uint32_t)i;
    o.config.head_dim = 8;
    o.config.context = 24;
    o.config.rope_dim = i ? 0 : 8;
    if (i) {
      o.config.norm_kind = TANSY_NORM_LAYER;
      o.config.mlp_kind = TANSY_MLP_PLAIN;
      o.config.window = 8;
      o.config.tied = 0;
      o.config.logit_softcap = 20;
    }
    o.with_optional = i;
    o.row_scale = (uint32_t)i;
    o.vector_kind = i ? TANSY_KIND_LOG8 : TANSY_KIND_F32;
    o.n_attachments = i;
    subjects[i].model = tiny_make(&o);
    subjects[i].vocab = o.config.vocab;
    for (uint32_t kv = 0; kv < 2; kv++) {
      struct run r;
      void *arena;
      PROMISE(open_run(&subjects[i], (struct tansy_options){.kv_form = kv, .kernels = TANSY_KERNELS_REF}, &r, &arena));
      subjects[i].logits[kv] = fuzz_copy(logits_of_prompt(&r), subjects[i].vocab * sizeof(float));
      free(arena);
    }
  }
}

/* mostly small, sometimes anything */
static uint32_t number(struct fuzz_input *in) {
  uint32_t n = fuzz_u8(in);
  return n < 0xF0 ? n % 48 : fuzz_u32(in);
}

static void call(struct run *r, struct fuzz_input *in) {
  struct tansy_engine *e = r->e;
  uint32_t n_chunks = tansy_engine_n_chunks(e);
  switch (fuzz_u8(in) % 24) {
    case 0: fill(r, number(in)); break;
    case 1: { /* wrong bytes */
      uint32_t i = number(in);
      uint8_t *slot = tansy_chunk_begin(e, i);
      PROMISE(!slot || i < n_chunks);
      if (!slot) break;
      memset(slot, (int)fuzz_u8(in), tansy_chunk_nbytes(e, i));
      PROMISE(tansy_chunk_end(e, i) == TANSY_ERR_CHECKSUM && tansy_chunk_state(e, i) == 2);
      break;
    }
    case 2: tansy_chunk_begin(e, number(in)); break;
    case 3: tansy_chunk_abort(e, number(in)); break;
    case 4: { /* commits what was never begun, or what an earlier begin left */
      uint32_t i = number(in);
      bool begun = i < n_chunks && tansy_chunk_state(e, i) == 1;
      enum tansy_status status = begun ? TANSY_ERR_ARGUMENT : tansy_chunk_end(e, i);
      PROMISE(status == TANSY_ERR_ARGUMENT);
      break;
    }
    case 5:
    case 6: {
      int32_t tokens[64];
      uint32_t n = fuzz_u8(in) % 64;
      for (uint32_t i = 0; i < n; i++) tokens[i] = (int32_t)(number(in));
      uint32_t before = tansy_engine_position(e);
      enum tansy_status status = tansy_eval_begin(e, tokens, n, (int)(fuzz_u8(in) & 1));
      PROMISE(status == TANSY_OK || status == TANSY_ERR_ARGUMENT || status == TANSY_ERR_CONTEXT);
      PROMISE(tansy_engine_position(e) == before);
      break;
    }
    case 7:
    case 8:
    case 9:
      for (uint32_t n = fuzz_u8(in) % 32; n-- > 0;) {
        int left = tansy_eval_step(e);
        PROMISE(left == 1 || left == 0 || left == -TANSY_ERR_ARGUMENT || left == -TANSY_ERR_NOT_READY);
        if (left != 1) break;
      }
      break;
    case 10: tansy_eval_cancel(e); break;
    case 11: tansy_eval_keep(e, number(in)); break;
    case 12: {
      uint32_t before = tansy_engine_position(e), to = number(in);
      enum tansy_status status = tansy_engine_rewind(e, to);
      PROMISE(tansy_engine_position(e) == (status == TANSY_OK ? to : before));
      break;
    }
    case 13: {
      struct tansy_sampler sampler = {.temperature = fuzz_f32(in), .top_k = number(in), .top_p = fuzz_f32(in), .min_p = fuzz_f32(in)};
      if (fuzz_u8(in) & 1) sampler = (struct tansy_sampler){.temperature = 1, .top_k = number(in), .top_p = 0.9f};
      sampler.repeat_last_n = number(in);
      sampler.repeat_penalty = fuzz_u8(in) & 1 ? fuzz_f32(in) : 1.1f;
      sampler.presence_penalty = fuzz_u8(in) & 1 ? fuzz_f32(in) : 0;
      int32_t id = tansy_engine_sample(e, &sampler);
      PROMISE(id < (int32_t)r->s->vocab);
      PROMISE(id >= 0 || id == -TANSY_ERR_ARGUMENT || id == -TANSY_ERR_NOT_READY || id == -TANSY_ERR_NONFINITE);
      break;
    }
    case 14: {
      float p = tansy_engine_logprob(e, (int32_t)number(in));
      PROMISE(p <= 1e-3f);
      break;
    }
    case 15: tansy_engine_seed(e, (uint64_t)fuzz_u32(in) << 32 | fuzz_u32(in)); break;
    case 16: {
      uint32_t form = fuzz_u8(in) % 5;
      tansy_engine_probe(e, form, fuzz_u8(in) % 3);
      break;
    }
    case 17: { /* anything into a piece of a session */
      size_t n;
      uint8_t *piece = tansy_session_piece(e, number(in), number(in), &n);
      PROMISE(piece || n == 0);
      uint8_t byte = (uint8_t)fuzz_u8(in);
      for (size_t i = 0; i < n; i++) piece[i] = (uint8_t)(byte + i * (byte >> 4));
      break;
    }
    case 18: {
      uint32_t n = number(in);
      enum tansy_status status = tansy_session_restore(e, n);
      PROMISE(status != TANSY_OK || (n <= r->plan.context && tansy_engine_position(e) == n));
      break;
    }
    case 19: {
      struct tansy_attachment a;
      uint32_t i = number(in);
      PROMISE((tansy_engine_attachment(e, i, &a) == TANSY_OK) == (i < tansy_engine_n_attachments(e)));
      break;
    }
    case 20: tansy_engine_config(e, number(in)); break;
    case 21: {
      uint8_t *stack = tansy_engine_stack(e, number(in));
      if (stack) stack[-1] = 1;
      break;
    }
    case 22: {
      struct tansy_stats stats;
      tansy_engine_stats(e, &stats);
      PROMISE(stats.loaded_nbytes <= stats.payload_nbytes && stats.position <= stats.context);
      memset(tansy_engine_io(e), (int)fuzz_u8(in), (size_t)r->plan.io_nbytes);
      break;
    }
    default: {
      uint32_t i = number(in);
      PROMISE(i < n_chunks || (tansy_chunk_nbytes(e, i) == 0 && tansy_chunk_offset(e, i) == 0));
      PROMISE(tansy_chunk_state(e, i) <= 2);
    }
  }
  PROMISE(tansy_engine_position(e) <= r->plan.context && tansy_logits_n(e) <= r->plan.n_logits);
  PROMISE(tansy_engine_layers_ready(e) <= r->plan.n_layers + 1);
  PROMISE(tansy_engine_detail(e)->status <= MAX_STATUS);
  const float *logits = tansy_logits(e);
  float last = tansy_logits_n(e) ? logits[(size_t)tansy_logits_n(e) * r->s->vocab - 1] : 0;
  (void)last;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  if (!subjects[0].vocab) make_subjects();
  struct fuzz_input in = {data, nbytes};
  const struct subject *s = &subjects[fuzz_u8(&in) % N_MODELS];
  uint32_t forms = fuzz_u8(&in);
  struct tansy_options options = {.kv_form = forms & 1, .residency = forms >> 1 & 3, .kernels = forms >> 3 & 3, .n_threads = forms >> 5 & 3};
  options.max_batch = fuzz_u8(&in) % 8;
  options.n_logits = fuzz_u8(&in) % 5;
  options.n_staging = fuzz_u8(&in) % 4;
  options.context = fuzz_u8(&in) % 30;
  options.budget_nbytes = (forms & 0x80) ? 1 << 20 : 0;
  struct run r;
  void *arena;
  if (open_run(s, options, &r, &arena)) {
    while (in.left > 0) call(&r, &in);
    if (r.plan.context >= N_PROMPT) {
      PROMISE(memcmp(logits_of_prompt(&r), s->logits[options.kv_form], s->vocab * sizeof(float)) == 0);
    }
  }
  free(arena);
  return 0;
}
