/* test_gradient.c: the compressor's way back through a layer against finite differences of the forward pass, for every
 * feature an architecture can have. */
#include "model/forward.h"
#include "pack/gradient.h"
#include "pack/linalg.h"
#include "test.h"

enum { T = 7, H = 24, HEADS = 4, KV_HEADS = 2, D = 8, MLP = 20 };

struct variant {
  const char *name;
  uint32_t norm_kind, activation, mlp_kind, qk_norm, post_norms, window, rope_dim;
  float softcap;
};
static const struct variant variants[] = {
    {"llama", TANSY_NORM_RMS, TANSY_ACT_SILU, TANSY_MLP_GATED, 0, 0, 0, D, 0},
    {"gemma", TANSY_NORM_RMS, TANSY_ACT_GELU_TANH, TANSY_MLP_GATED, 1, 1, 3, D, 4},
    {"partial rope", TANSY_NORM_RMS, TANSY_ACT_SILU, TANSY_MLP_GATED, 1, 0, 0, 4, 0},
    {"gpt2", TANSY_NORM_LAYER, TANSY_ACT_GELU_TANH, TANSY_MLP_PLAIN, 0, 0, 0, 0, 0},
    {"erf", TANSY_NORM_LAYER, TANSY_ACT_GELU_ERF, TANSY_MLP_GATED, 0, 0, 2, D, 0},
    {"opt", TANSY_NORM_LAYER, TANSY_ACT_RELU, TANSY_MLP_PLAIN, 0, 0, 0, 0, 0},
};

struct model {
  struct tansy_config config;
  struct tansy_kernels kernels;
  struct tansy_forward f;
  struct tansy_layer_weights w;
  struct tansy_layer_kv kv;
  float *bias[7];
  void *memory, *kv_memory;
  struct test_rng rng;
  float *owned[64];
  int n_owned;
};

static float *vector(struct model *m, size_t n, double spread, double mean) {
  float *v = test_alloc(n * sizeof *v);
  for (size_t i = 0; i < n; i++) v[i] = (float)(mean + spread * test_rand_normal(&m->rng));
  m->owned[m->n_owned++] = v;
  return v;
}

static struct tansy_linear linear(struct model *m, int number, uint32_t rows, uint32_t cols) {
  m->bias[number] = vector(m, rows, 0.1, 0);
  return tansy_linear_f32(vector(m, (size_t)rows * cols, 1.0 / 5, 0), rows, cols, m->bias[number]);
}

static void make(struct model *m, const struct variant *v) {
  *m = (struct model){.rng = {17}};
  struct tansy_config *c = &m->config;
  *c = tansy_config_default();
  c->vocab = 10, c->hidden = H, c->intermediate = MLP, c->n_layers = 1, c->n_heads = HEADS, c->n_kv_heads = KV_HEADS, c->head_dim = D;
  c->context = T, c->norm_eps = 1e-5f, c->norm_kind = v->norm_kind, c->activation = v->activation, c->mlp_kind = v->mlp_kind;
  c->rope_dim = v->rope_dim, c->attn_scale = 0.35f, c->window = v->window, c->attn_softcap = v->softcap, c->qk_norm = v->qk_norm;
  struct tansy_layer_weights *w = &m->w;
  int layer_norm = v->norm_kind == TANSY_NORM_LAYER;
  w->attn_norm = vector(m, H, 0.3, 1), w->mlp_norm = vector(m, H, 0.3, 1);
  if (layer_norm) w->attn_norm_bias = vector(m, H, 0.2, 0), w->mlp_norm_bias = vector(m, H, 0.2, 0);
  if (v->qk_norm) w->q_norm = vector(m, D, 0.3, 1), w->k_norm = vector(m, D, 0.3, 1);
  if (v->post_norms) w->post_attn_norm = vector(m, H, 0.3, 1), w->post_mlp_norm = vector(m, H, 0.3, 1);
  w->q = linear(m, 0, HEADS * D, H), w->k = linear(m, 1, KV_HEADS * D, H), w->v = linear(m, 2, KV_HEADS * D, H);
  w->o = linear(m, 3, H, HEADS * D);
  if (v->mlp_kind == TANSY_MLP_GATED) w->gate = linear(m, 4, MLP, H);
  w->up = linear(m, 5, MLP, H), w->down = linear(m, 6, H, MLP);
  m->kernels = tansy_kernels_ref;
  m->f = (struct tansy_forward){.config = c, .kernels = &m->kernels, .max_tokens = T};
  m->memory = aligned_alloc(64, (tansy_forward_nbytes(&m->f, 0) + 127) & ~(size_t)63);
  m->kv_memory = aligned_alloc(64, (tansy_layer_kv_nbytes(c, T, 1) + 127) & ~(size_t)63);
  if (!m->memory || !m->kv_memory) exit(2);
  tansy_forward_init(&m->f, 0, m->memory);
  m->kv = tansy_layer_kv_in(m->kv_memory, c, T, 1);
  struct tansy_outer_weights outer = {.inv_freq = vector(m, D, 0.3, 0.5)};
  tansy_rope_forward(&m->f, &outer, 0, T);
}

static void unmake(struct model *m) {
  for (int i = 0; i < m->n_owned; i++) free(m->owned[i]);
  free(m->memory);
  free(m->kv_memory);
}

/* sum of out * r for input x + step * d */
static double objective(struct model *m, uint32_t n_tokens, const float *x, const float *d, double step, const float *r) {
  float at[T * H];
  for (size_t i = 0; i < n_tokens * H; i++) at[i] = (float)(x[i] + step * d[i]);
  tansy_layer_forward(&m->f, 0, &m->w, &m->kv, 0, n_tokens, at);
  double sum = 0;
  for (size_t i = 0; i < n_tokens * H; i++) sum += (double)at[i] * r[i];
  return sum;
}

static void test_input_gradient(void) {
  for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
    struct model m;
    make(&m, &variants[v]);
    float *x = vector(&m, T * H, 1, 0), *r = vector(&m, T * H, 1, 0), *g = vector(&m, T * H, 0, 0);
    float *scratch = vector(&m, tansy_gradient_scratch_n(&m.config, T), 1, 0);
    memcpy(g, r, T * H * sizeof *g);
    struct tansy_output_fisher none = {0};
    tansy_layer_backward(&m.f, 0, &m.w, x, T, g, scratch, &none);
    for (int trial = 0; trial < 8; trial++) {
      float *d = vector(&m, T * H, 1, 0);
      /* ReLU has kinks: a step that crosses one measures neither side */
      double step = variants[v].activation == TANSY_ACT_RELU ? 1e-4 : 2e-3, expected = 0, size = 0;
      double found = (objective(&m, T, x, d, step, r) - objective(&m, T, x, d, -step, r)) / (2 * step);
      for (size_t i = 0; i < T * H; i++) expected += (double)g[i] * d[i], size += (double)g[i] * g[i];
      if (!CHECK_NEAR(expected, found, 4e-3 * sqrt(size))) fprintf(stderr, "    %s\n", variants[v].name);
    }
    unmake(&m);
  }
}

/* with one token, the gradient at a linear's output is the derivative by its bias; times its input, by its weights */
static void test_output_fisher(void) {
  for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
    struct model m;
    make(&m, &variants[v]);
    float *x = vector(&m, H, 1, 0), *r = vector(&m, H, 1, 0), *zero = vector(&m, H, 0, 0), *g = vector(&m, H, 0, 0);
    float *scratch = vector(&m, tansy_gradient_scratch_n(&m.config, 1), 1, 0);
    float felt[7][HEADS * D] = {{0}}, read[7][HEADS * D] = {{0}};
    memcpy(g, r, H * sizeof *g);
    struct tansy_output_fisher fisher = {0};
    struct tansy_felt *parts[7] = {&fisher.q, &fisher.k, &fisher.v, &fisher.o, &fisher.gate, &fisher.up, &fisher.down};
    for (int l = 0; l < 7; l++) *parts[l] = (struct tansy_felt){.g = felt[l], .x = read[l]};
    tansy_layer_backward(&m.f, 0, &m.w, x, 1, g, scratch, &fisher);
    static const uint32_t n_rows[7] = {HEADS * D, KV_HEADS * D, KV_HEADS * D, H, MLP, MLP, H};
    for (int l = 0; l < 7; l++) {
      if (!m.bias[l]) continue;
      for (uint32_t i = 0; i < n_rows[l]; i += 3) {
        float kept = m.bias[l][i];
        const float step = 4e-3f;
        m.bias[l][i] = kept + step;
        double up = objective(&m, 1, x, zero, 0, r);
        m.bias[l][i] = kept - step;
        double slope = (up - objective(&m, 1, x, zero, 0, r)) / (2 * (double)step);
        m.bias[l][i] = kept;
        if (!CHECK_NEAR(felt[l][i], slope, 5e-3 + 1e-2 * fabs(slope))) fprintf(stderr, "    %s, linear %d\n", variants[v].name, l);
        /* and by a weight: times what the linear reads */
        struct tansy_linear *linears[7] = {&m.w.q, &m.w.k, &m.w.v, &m.w.o, &m.w.gate, &m.w.up, &m.w.down};
        uint32_t n_cols = linears[l]->w.coded.shape.n_cols, j = i % n_cols;
        float *weight = (float *)(uintptr_t)linears[l]->w.f32 + i * n_cols + j;
        kept = *weight;
        *weight = kept + step;
        up = objective(&m, 1, x, zero, 0, r);
        *weight = kept - step;
        slope = (up - objective(&m, 1, x, zero, 0, r)) / (2 * (double)step);
        *weight = kept;
        if (!CHECK_NEAR(felt[l][i] * read[l][j], slope, 5e-3 + 1e-2 * fabs(slope))) fprintf(stderr, "    %s, weight of linear %d\n", variants[v].name, l);
      }
    }
    unmake(&m);
  }
}

/* the fast products against plain loops, at sizes that are no multiple of anything */
static void test_products(void) {
  struct test_rng rng = {3};
  static const uint32_t sizes[][3] = {{1, 1, 1}, {5, 37, 300}, {33, 64, 256}, {7, 100, 513}};
  for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
    uint32_t tokens = sizes[k][0], rows = sizes[k][1], cols = sizes[k][2];
    float *w = test_alloc(rows * cols * 4), *x = test_alloc(tokens * cols * 4), *y = test_alloc(tokens * rows * 4), *gx = test_alloc(tokens * cols * 4);
    for (uint32_t i = 0; i < rows * cols; i++) w[i] = (float)test_rand_normal(&rng);
    for (uint32_t i = 0; i < tokens * cols; i++) x[i] = (float)test_rand_normal(&rng), gx[i] = 0;
    tansy_matmul_f32_blocked(w, x, tokens, rows, cols, 0, rows, y);
    tansy_matmul_back(w, y, rows, tokens, rows, cols, gx);
    for (uint32_t t = 0; t < tokens; t++) {
      for (uint32_t i = 0; i < rows; i++) {
        float sum = 0;
        for (uint32_t j = 0; j < cols; j++) sum += x[t * cols + j] * w[i * cols + j];
        CHECK(sum == y[t * rows + i]);
      }
      for (uint32_t j = 0; j < cols; j++) {
        float sum = 0;
        for (uint32_t i = 0; i < rows; i++) sum += y[t * rows + i] * w[i * cols + j];
        CHECK(sum == gx[t * cols + j]);
      }
    }
    /* on several threads; and y^T x, of which sums of 64 tokens are added up */
    struct tansy_team *team = tansy_team_new(3);
    float *again = test_alloc(tokens * rows * 4), *cross = calloc((size_t)rows * cols, 4);
    tansy_matmul_tokens(team, w, x, tokens, rows, cols, again);
    CHECK_MEM(again, y, tokens * rows * 4);
    tansy_cross_add(team, cross, y, rows, x, cols, tokens);
    for (uint32_t i = 0; i < rows; i++)
      for (uint32_t j = 0; j < cols; j++) {
        float sum = 0;
        for (uint32_t t = 0; t < tokens; t++) sum += y[t * rows + i] * x[t * cols + j];
        CHECK(sum == cross[i * cols + j]);
      }
    tansy_team_free(team);
    free(w), free(x), free(y), free(gx), free(again), free(cross);
  }
}

int main(void) {
  RUN(test_products);
  RUN(test_input_gradient);
  RUN(test_output_fisher);
  return test_finish();
}
