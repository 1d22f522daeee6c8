/* test_paper_stream.c: what the halves of a layer make of a residual stream, and what errors in their linears do to it. */
#include "format/roles.h"
#include "pack/paper_stream.h"
#include "test.h"

enum { H = 2, LAYERS = 2, T = 3 };

/* two blocks of tokens, as calibration has them: both halves of one, then both of the other */
static void move_on(struct tansy_paper_stream *s, float *x, uint32_t layer, const float *attention, const float *mlp) {
  static const uint32_t first[] = {0, 2, T};
  for (int block = 0; block < 2; block++)
    for (int half = 0; half < 2; half++) {
      for (uint32_t i = first[block] * H; i < first[block + 1] * H; i++) x[i] += (half ? mlp : attention)[i % H];
      tansy_paper_stream_see(s, layer, half, first[block + 1] - first[block]);
    }
}

static void test_share(void) {
  struct tansy_failure failure;
  struct tansy_paper_stream s;
  float x[T * H] = {1, 0, 1, 0, 1, 0};
  REQUIRE(tansy_paper_stream_init(&s, LAYERS, H, x, T, &failure) == TANSY_OK);
  move_on(&s, x, 0, (const float[]){1, 3}, (const float[]){2, 0});
  move_on(&s, x, 1, (const float[]){0, 0}, (const float[]){-4, -3});
  static const float expected[] = {0.25f, 1, 0.25f, 0, 0, 0, 0, 0}; /* the last half leaves nothing of the stream */
  for (int i = 0; i < LAYERS * 2 * H; i++) CHECK_NEAR(s.share[i], expected[i], 1e-6);

  /* the last linear of a half by channel, those before it by their mean error */
  static const float step[H] = {0.1f, 0.2f};
  static const double energy[H] = {4, 8};
  struct tansy_source o = {.role = TANSY_ROLE_O, .n_rows = H}, q = {.role = TANSY_ROLE_Q, .n_rows = H}, down = {.role = TANSY_ROLE_DOWN, .layer = 1, .n_rows = H};
  CHECK_NEAR(tansy_paper_stream_damage(&s, &o, step, energy, 10), 10 * (0.01 / 4 * 0.25 + 0.04 / 8) / 2, 1e-7);
  CHECK_NEAR(tansy_paper_stream_damage(&s, &q, step, energy, 10), 10 * 0.05 / 12 * 0.625, 1e-7);
  /* nothing known: no such output, no such part of the stream */
  CHECK(tansy_paper_stream_damage(&s, &q, step, (const double[H]){0, 0}, 10) == 0);
  CHECK(tansy_paper_stream_damage(&s, &o, step, (const double[H]){0, 0}, 10) == 0);
  CHECK(tansy_paper_stream_damage(&s, &down, step, energy, 10) == 0);
  tansy_paper_stream_free(&s);
}

int main(void) {
  RUN(test_share);
  return test_finish();
}
