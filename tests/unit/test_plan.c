/* test_plan.c: the planner as a table, and its promises over many budgets. */
#include "tansy.h"
#include "tiny_model.h"

struct planned {
  enum tansy_status status;
  struct tansy_plan plan;
  uint8_t forms[128];
};

static struct planned plan_of(const struct tiny_model *m, const struct tansy_options *options) {
  struct planned p = {0};
  size_t work_nbytes = tansy_plan_work_nbytes(m->file.bytes, m->header_nbytes);
  uint8_t *work = test_alloc(work_nbytes);
  p.status = tansy_plan_make(m->file.bytes, m->header_nbytes, options, work, work_nbytes, &p.plan);
  if (p.status == TANSY_OK) memcpy(p.forms, work, p.plan.n_tensors);
  free(work);
  return p;
}

/* a model whose weights matter beside the rest: about 1.5 MB */
static struct tiny_model medium(void) {
  struct tiny_options o = tiny_options();
  o.config.vocab = 2000;
  o.config.hidden = 256;
  o.config.intermediate = 512;
  o.config.n_heads = 8;
  o.config.head_dim = 32;
  o.config.rope_dim = 32;
  o.config.n_kv_heads = 4;
  o.config.context = 1000;
  o.chunk_log2 = 18;
  return tiny_make(&o);
}

static double sum_of_kinds(const struct tansy_plan *p) {
  return p->static_nbytes + p->tables_nbytes + p->ans_nbytes + p->packed_nbytes + p->int8_nbytes + p->vectors_nbytes + p->kv_nbytes +
         p->scratch_nbytes + p->staging_nbytes + p->io_nbytes;
}

static void check_promises(const struct planned *p, const struct tansy_options *o) {
  if (p->status != TANSY_OK) return;
  CHECK_NEAR(sum_of_kinds(&p->plan), p->plan.static_nbytes + p->plan.arena_nbytes, 0);
  CHECK(p->plan.total_nbytes >= sum_of_kinds(&p->plan) && p->plan.total_nbytes < sum_of_kinds(&p->plan) + TANSY_PAGE_NBYTES);
  CHECK(fmod(p->plan.total_nbytes, TANSY_PAGE_NBYTES) == 0);
  if (o->budget_nbytes > 0) CHECK(p->plan.total_nbytes <= o->budget_nbytes);
  CHECK(p->plan.needed_nbytes <= p->plan.total_nbytes);
  CHECK(p->plan.start_nbytes <= p->plan.total_nbytes && fmod(p->plan.start_nbytes, TANSY_PAGE_NBYTES) == 0);
  CHECK(p->plan.total_nbytes - p->plan.start_nbytes <= p->plan.kv_nbytes + TANSY_PAGE_NBYTES);
}

static void test_table(void) {
  struct tiny_model m = medium();
  struct planned ans = plan_of(&m, &(struct tansy_options){.residency = TANSY_RESIDENCY_ANS});
  CHECK_EQ(ans.status, TANSY_OK);
  CHECK_EQ(ans.plan.context, 1000);
  CHECK_EQ(ans.plan.n_packed + ans.plan.n_int8, 0);
  CHECK_EQ(ans.plan.max_batch, 128);
  struct planned packed = plan_of(&m, &(struct tansy_options){.residency = TANSY_RESIDENCY_PACKED});
  CHECK_EQ(packed.status, TANSY_OK);
  CHECK_EQ(packed.plan.n_packed, packed.plan.n_matrices);
  struct planned int8 = plan_of(&m, &(struct tansy_options){.residency = TANSY_RESIDENCY_INT8});
  CHECK_EQ(int8.plan.n_int8, int8.plan.n_matrices);
  CHECK(ans.plan.total_nbytes < packed.plan.total_nbytes && packed.plan.total_nbytes < int8.plan.total_nbytes);
  CHECK(ans.plan.predicted_ns > packed.plan.predicted_ns && packed.plan.predicted_ns > int8.plan.predicted_ns);
  /* a weight takes a byte in int8, and escape lists and scales beside it */
  double n_weights = 2000 * 256 + 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256);
  CHECK(int8.plan.int8_nbytes > n_weights && int8.plan.int8_nbytes < n_weights * 1.03);
  /* no budget: as small as it gets */
  struct planned open = plan_of(&m, &(struct tansy_options){0});
  CHECK_NEAR(open.plan.total_nbytes, ans.plan.total_nbytes, 0);
  /* f32 KV is four times as large, but for the scales of int8 */
  struct planned f32 = plan_of(&m, &(struct tansy_options){.kv_form = TANSY_KV_F32});
  CHECK_NEAR(f32.plan.kv_nbytes, 2.0 * 2 * 4 * 1000 * 32 * 4, 0);
  struct planned f16 = plan_of(&m, &(struct tansy_options){.kv_form = TANSY_KV_F16});
  CHECK_NEAR(f16.plan.kv_nbytes * 2, f32.plan.kv_nbytes, 0);
  CHECK_NEAR(ans.plan.kv_nbytes, 2.0 * 2 * 4 * 1000 * (32 + 4), 0);
  /* a longer context than the model's */
  struct planned longer = plan_of(&m, &(struct tansy_options){.context = 1001});
  CHECK_EQ(longer.status, TANSY_ERR_CONTEXT);
  CHECK_NEAR(longer.plan.detail.needed_nbytes, 1000, 0);
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.context = 1000}).plan.context, 1000);
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.context = 5}).plan.context, 5);
  /* nonsense */
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.budget_nbytes = -1}).status, TANSY_ERR_ARGUMENT);
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.budget_nbytes = NAN}).status, TANSY_ERR_ARGUMENT);
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.max_batch = 1000}).status, TANSY_ERR_ARGUMENT);
  CHECK_EQ(plan_of(&m, &(struct tansy_options){.residency = 9}).status, TANSY_ERR_ARGUMENT);
  tiny_free(&m);
}

static void test_budgets(void) {
  struct tiny_model m = medium();
  struct tansy_options o = {.static_nbytes = 70000};
  struct planned open = plan_of(&m, &o);
  double needed = open.plan.needed_nbytes;
  /* exactly enough is enough, a page less is not, and the answer is the same number */
  o.budget_nbytes = needed;
  CHECK_EQ(plan_of(&m, &o).status, TANSY_OK);
  o.budget_nbytes = needed - 1;
  struct planned less = plan_of(&m, &o);
  CHECK_EQ(less.status, TANSY_ERR_OVER_BUDGET);
  CHECK_NEAR(less.plan.detail.needed_nbytes, needed, 0);
  CHECK_NEAR(plan_of(&m, &(struct tansy_options){.static_nbytes = 70000, .budget_nbytes = 1}).plan.detail.needed_nbytes, needed, 0);

  double last_ns = INFINITY;
  uint32_t last_context = 0;
  for (double budget = needed; budget < needed * 4; budget += 30000) {
    o.budget_nbytes = budget;
    struct planned p = plan_of(&m, &o);
    CHECK_EQ(p.status, TANSY_OK);
    check_promises(&p, &o);
    /* More memory buys a longer context, then faster forms: but for the staging slots and the batch bought with it (at most a
     16th and an 8th of the budget) and the odd kilobytes at the end of a greedy choice. */
    CHECK(p.plan.context >= last_context || p.plan.context > 700);
    if (p.plan.context == last_context && p.plan.context == 1000) CHECK(p.plan.predicted_ns <= last_ns * 1.1);
    last_context = p.plan.context;
    last_ns = p.plan.predicted_ns;
  }
  CHECK_EQ(last_context, 1000);
  o.budget_nbytes = 1e9;
  struct planned all = plan_of(&m, &o);
  CHECK_EQ(all.plan.n_int8, all.plan.n_matrices);

  /* room first for what generates faster: large batches take a 32nd of a budget, others an 8th */
  CHECK_EQ(all.plan.max_batch, 128);
  uint32_t last_batch = 0;
  for (double budget = needed; budget < 1e8; budget *= 1.3) {
    o.budget_nbytes = budget;
    struct planned p = plan_of(&m, &o);
    CHECK(p.plan.max_batch >= last_batch);
    CHECK(p.plan.max_batch <= 8 || p.plan.scratch_nbytes <= budget / (p.plan.max_batch > 32 ? 32 : 8));
    last_batch = p.plan.max_batch;
  }

  /* orders that do not fit are refused, with what they take */
  o.residency = TANSY_RESIDENCY_INT8;
  o.budget_nbytes = needed;
  struct planned ordered = plan_of(&m, &o);
  CHECK_EQ(ordered.status, TANSY_ERR_OVER_BUDGET);
  o.budget_nbytes = ordered.plan.detail.needed_nbytes;
  CHECK_EQ(plan_of(&m, &o).status, TANSY_OK);
  tiny_free(&m);
}

/* a speed instead of a budget: the prediction reaches it, with less memory than everything in int8 */
static void test_target(void) {
  struct tiny_model m = medium();
  double slow = plan_of(&m, &(struct tansy_options){0}).plan.predicted_ns;
  struct planned fastest = plan_of(&m, &(struct tansy_options){.residency = TANSY_RESIDENCY_INT8});
  double last_nbytes = 0;
  for (double share = 1; share > 0.15; share -= 0.1) {
    struct planned p = plan_of(&m, &(struct tansy_options){.target_ns_per_token = (float)(slow * share)});
    CHECK_EQ(p.status, TANSY_OK);
    CHECK(p.plan.predicted_ns <= slow * share * 1.000001);
    CHECK(p.plan.total_nbytes >= last_nbytes);
    CHECK(p.plan.total_nbytes < fastest.plan.total_nbytes);
    last_nbytes = p.plan.total_nbytes;
  }
  /* measured costs decide: where packed costs as much as ANS, nothing is packed */
  struct planned p = plan_of(&m, &(struct tansy_options){.budget_nbytes = 1e9, .cost_ans = 1, .cost_packed = 1, .cost_int8 = 0.5f});
  CHECK_EQ(p.plan.n_packed, 0);
  CHECK_EQ(p.plan.n_int8, p.plan.n_matrices);
  tiny_free(&m);
}

static void test_random_draws(void) {
  struct test_rng rng = {77};
  for (int round = 0; round < 40; round++) {
    struct tiny_options o = tiny_options();
    o.config.n_layers = 1 + test_rand_below(&rng, 3);
    o.config.hidden = 8 + test_rand_below(&rng, 100);
    o.config.intermediate = 8 + test_rand_below(&rng, 150);
    o.config.vocab = 8 + test_rand_below(&rng, 300);
    o.config.n_kv_heads = 1 + test_rand_below(&rng, 3);
    o.config.n_heads = o.config.n_kv_heads * (1 + test_rand_below(&rng, 3));
    o.config.tied = test_rand_below(&rng, 2);
    o.config.context = 10 + test_rand_below(&rng, 3000);
    o.sigma = 1 + 20 * test_rand_unit(&rng);
    o.with_optional = (int)test_rand_below(&rng, 2);
    o.seed = test_rand(&rng);
    struct tiny_model m = tiny_make(&o);
    for (int k = 0; k < 10; k++) {
      struct tansy_options options = {
          .budget_nbytes = test_rand_below(&rng, 3) ? 2e5 + 3e6 * test_rand_unit(&rng) : 0,
          .context = test_rand_below(&rng, 2) ? 1 + test_rand_below(&rng, o.config.context) : 0,
          .n_threads = test_rand_below(&rng, 5),
          .kv_form = test_rand_below(&rng, 3),
          .residency = test_rand_below(&rng, 4),
          .static_nbytes = test_rand_below(&rng, 200000),
      };
      struct planned p = plan_of(&m, &options);
      CHECK(p.status == TANSY_OK || p.status == TANSY_ERR_OVER_BUDGET);
      check_promises(&p, &options);
      if (p.status == TANSY_ERR_OVER_BUDGET) CHECK(p.plan.detail.needed_nbytes > options.budget_nbytes);
    }
    tiny_free(&m);
  }
}

int main(void) {
  RUN(test_table);
  RUN(test_budgets);
  RUN(test_target);
  RUN(test_random_draws);
  return test_finish();
}
