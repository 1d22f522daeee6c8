/* test_golden_float.c: every golden checkpoint read, mapped and run in floats, against logits of two independent
 * implementations; and the newer config spelling gives the same model. Skips, saying so, without ../shared. */
#include <math.h>
#include <sys/stat.h>

#include "format/json.h"
#include "pack/evaluate.h"
#include "pack/head.h"
#include "pack/files.h"
#include "test.h"

static const char *const cases[] = {"gemma2-A", "gemma3-A", "gemma3-C", "gpt2-A",  "llama-A", "llama3rope-A", "mistral-A",
                                    "opt-A",    "phi3-A",   "phi3-C",   "qwen2-A", "qwen3-A", "smollm3-A"};

static int digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : 63;
}

/* f32 [n] from base64 text */
static float *decode_floats(const char *text, size_t nbytes, size_t n) {
  uint8_t *bytes = test_alloc(n * 4 + 4);
  size_t at = 0;
  for (size_t i = 0; i + 4 <= nbytes; i += 4) {
    uint32_t v = (uint32_t)digit(text[i]) << 18 | (uint32_t)digit(text[i + 1]) << 12 | (uint32_t)(digit(text[i + 2]) & 63) << 6 |
                 (uint32_t)(digit(text[i + 3]) & 63);
    for (int k = 0; k < 3 && at < n * 4; k++) bytes[at++] = (uint8_t)(v >> (16 - 8 * k));
  }
  return (float *)(void *)bytes;
}

struct difference {
  const float *expected;
  uint32_t vocab;
  double largest;
};

static void compare_rows(void *ctx, uint32_t first, uint32_t n, float *logits, uint32_t thread) {
  (void)thread;
  struct difference *d = ctx;
  for (size_t i = 0; i < (size_t)n * d->vocab; i++) {
    double difference = fabs((double)logits[i] - d->expected[(size_t)first * d->vocab + i]);
    if (!(difference <= d->largest)) d->largest = difference; /* NaN counts as worse */
  }
}

static void check_case(const char *name) {
  char dir[256], path[300];
  snprintf(dir, sizeof dir, "../shared/golden/%s", name);
  snprintf(path, sizeof path, "%s/golden.json", dir);
  struct tansy_failure failure = {""};
  struct tansy_file_text text;
  struct tansy_json json;
  REQUIRE(tansy_file_read(path, 64 << 20, &text, &failure) == TANSY_OK);
  REQUIRE(tansy_json_parse((const char *)text.bytes, text.nbytes, &json, NULL) == TANSY_OK);
  int32_t ids[64];
  uint32_t n = 0;
  tansy_json_ref list = tansy_json_get(&json, 0, "ids");
  for (tansy_json_ref at = tansy_json_first(&json, list); at >= 0 && n < 64; at = tansy_json_next(&json, list, at)) {
    uint64_t id;
    REQUIRE(tansy_json_uint(&json, at, &id));
    ids[n++] = (int32_t)id;
  }
  REQUIRE(n == 48);
  struct tansy_checkpoint checkpoint;
  enum tansy_status status = tansy_checkpoint_open(dir, &checkpoint, &failure);
  if (status != TANSY_OK) fprintf(stderr, "%s: %s\n", name, failure.text);
  REQUIRE(status == TANSY_OK);

  struct tansy_team *team = tansy_team_new(1);
  struct tansy_windows windows = {.window = n, .n = 1, .tokens = ids};
  struct tansy_progress progress = {0};
  struct tansy_reference reference;
  REQUIRE(tansy_reference_init(&reference, &checkpoint, team, &windows, &progress, &failure) == TANSY_OK);
  struct difference d = {.vocab = checkpoint.config.vocab};
  tansy_json_ref b64 = tansy_json_get(&json, 0, "logits_b64");
  REQUIRE(tansy_json_kind_of(&json, b64) == TANSY_JSON_STRING);
  float *expected = decode_floats(json.text + json.values[b64].begin, json.values[b64].nbytes, (size_t)n * d.vocab);
  d.expected = expected;
  CHECK_EQ(tansy_head_each(&reference.runner, reference.x, n, compare_rows, &d, &failure), TANSY_OK);
  if (!CHECK(d.largest <= 5e-4)) fprintf(stderr, "    %s: largest difference %g\n", name, d.largest);
  printf("%-14s largest difference %.2g\n", name, d.largest);
  tansy_reference_free(&reference);
  tansy_checkpoint_close(&checkpoint);
  tansy_team_free(team);
  tansy_json_free(&json);
  tansy_file_text_free(&text);
  free(expected);
}

/* the same checkpoint described by newer keys: every config value and frequency agrees */
static void check_newer_spelling(const char *name) {
  char path[300];
  struct tansy_failure failure = {""};
  struct tansy_checkpoint read[2] = {{0}, {0}};
  static const char *const files[2] = {"config.json", "config.v5.json"};
  struct stat info;
  snprintf(path, sizeof path, "../shared/golden/%s/%s", name, files[1]);
  if (stat(path, &info) != 0) return;
  for (int i = 0; i < 2; i++) {
    struct tansy_file_text text;
    struct tansy_json json;
    snprintf(path, sizeof path, "../shared/golden/%s/%s", name, files[i]);
    REQUIRE(tansy_file_read(path, 1 << 20, &text, &failure) == TANSY_OK);
    REQUIRE(tansy_json_parse((const char *)text.bytes, text.nbytes, &json, NULL) == TANSY_OK);
    CHECK_EQ(tansy_hf_read_config(&json, &read[i], &failure), TANSY_OK);
    tansy_json_free(&json);
    tansy_file_text_free(&text);
  }
  CHECK_MEM(&read[0].config, &read[1].config, sizeof read[0].config);
  for (int k = 0; k < 2; k++) {
    CHECK_EQ(!read[0].inv_freq[k], !read[1].inv_freq[k]);
    if (read[0].inv_freq[k] && read[1].inv_freq[k])
      CHECK_MEM(read[0].inv_freq[k], read[1].inv_freq[k], read[0].config.rope_dim / 2 * sizeof(float));
  }
  tansy_checkpoint_close(&read[0]);
  tansy_checkpoint_close(&read[1]);
}

static void test_golden(void) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    check_case(cases[i]);
    check_newer_spelling(cases[i]);
  }
}

int main(void) {
  struct stat info;
  if (stat("../shared/golden/llama-A/golden.json", &info) != 0) {
    puts("SKIPPED: ../shared/golden is not here");
    return 0;
  }
  RUN(test_golden);
  return test_finish();
}
