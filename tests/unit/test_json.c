/* test_json.c: the JSON reader on what it must take, what it must refuse, every truncation, and random damage. */
#include "format/json.h"
#include "test.h"

static int parses(const char *text) {
  struct tansy_json json;
  enum tansy_status status = tansy_json_parse(text, strlen(text), &json, NULL);
  if (status == TANSY_OK) tansy_json_free(&json);
  return status == TANSY_OK;
}

static void test_accepts(void) {
  static const char *const good[] = {"0", "-0.5e+10", " [ ] ", "{}", "null", "true", "\"\"", "[1,[2,[3]],{\"a\":{}}]", "\"\\u00e9\\n\\\\\"", "1E9",
                                     "{\"a\":1,\"a\":2}", "\t[\r\n1 , 2]"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++)
    if (!CHECK(parses(good[i]))) fprintf(stderr, "    %s\n", good[i]);
}

static void test_refuses(void) {
  static const char *const bad[] = {"",       " ",      "01",     "+1",      ".5",         "1.",       "1e",    "-",        "nul",   "[1,]",  "[,1]",    "{,}",
                                    "{\"a\"}", "{a:1}",  "{\"a\":}", "[1 2]",   "[1}",        "{\"a\":1]", "\"",    "\"\\x\"",   "\"\\u12g4\"", "\"\n\"", "1 2", "[",
                                    "{\"a\":1,}", "tru",   "'a'",    "[1]]",    "\"\\",       "{\"a\":1 \"b\":2}", "\"\\u123", "NaN"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    if (!CHECK(!parses(bad[i]))) fprintf(stderr, "    %s\n", bad[i]);
}

static void test_depth(void) {
  char text[2 * TANSY_JSON_MAX_DEPTH + 4];
  for (int extra = 0; extra < 2; extra++) {
    int n = TANSY_JSON_MAX_DEPTH + extra;
    memset(text, '[', (size_t)n);
    memset(text + n, ']', (size_t)n);
    text[2 * n] = '\0';
    CHECK_EQ(parses(text), !extra);
  }
  /* far deeper than any stack */
  char *deep = test_alloc(1 << 20);
  memset(deep, '{', (1 << 20) - 1);
  deep[(1 << 20) - 1] = '\0';
  CHECK(!parses(deep));
  free(deep);
}

static void test_values(void) {
  static const char text[] = "{\"n\": 32, \"f\": -1.5e2, \"big\": 1e300, \"s\": \"a\\u00e9\\ud83d\\ude00\\n\", \"list\": [1, \"two\", {\"k\": null}, [3]],"
                             " \"t\": true, \"key\\u0041\": 7, \"n\": 33}";
  struct tansy_json json;
  REQUIRE(tansy_json_parse(text, sizeof text - 1, &json, NULL) == TANSY_OK);
  uint64_t u = 0;
  double d = 0;
  char s[32];
  CHECK(tansy_json_uint(&json, tansy_json_get(&json, 0, "n"), &u));
  CHECK_EQ(u, 33); /* the last one wins */
  CHECK(tansy_json_number(&json, tansy_json_get(&json, 0, "f"), &d) && d == -150);
  CHECK(!tansy_json_uint(&json, tansy_json_get(&json, 0, "f"), &u));
  CHECK(!tansy_json_uint(&json, tansy_json_get(&json, 0, "big"), &u));
  CHECK(tansy_json_string(&json, tansy_json_get(&json, 0, "s"), s, sizeof s));
  CHECK_STR(s, "a\xc3\xa9\xf0\x9f\x98\x80\n");
  CHECK(!tansy_json_string(&json, tansy_json_get(&json, 0, "s"), s, 5));
  CHECK(tansy_json_uint(&json, tansy_json_get(&json, 0, "keyA"), &u) && u == 7);
  CHECK_EQ(tansy_json_get(&json, 0, "absent"), TANSY_JSON_NONE);
  CHECK_EQ(tansy_json_kind_of(&json, TANSY_JSON_NONE), TANSY_JSON_NULL);
  tansy_json_ref list = tansy_json_get(&json, 0, "list");
  CHECK_EQ(tansy_json_n_children(&json, list), 4);
  static const enum tansy_json_kind kinds[] = {TANSY_JSON_NUMBER, TANSY_JSON_STRING, TANSY_JSON_OBJECT, TANSY_JSON_ARRAY};
  uint32_t i = 0;
  for (tansy_json_ref at = tansy_json_first(&json, list); at >= 0; at = tansy_json_next(&json, list, at), i++)
    CHECK_EQ(tansy_json_kind_of(&json, at), kinds[i]);
  CHECK_EQ(i, 4);
  tansy_json_free(&json);
}

static void walk(const struct tansy_json *json, tansy_json_ref at, uint32_t *n_seen) {
  char s[64];
  double d;
  (*n_seen)++;
  tansy_json_string(json, at, s, sizeof s);
  tansy_json_number(json, at, &d);
  for (tansy_json_ref child = tansy_json_first(json, at); child >= 0; child = tansy_json_next(json, at, child)) walk(json, child, n_seen);
}

/* whatever the bytes: an answer, and a walk over what was accepted that ends */
static void test_damage(void) {
  static const char text[] = "{\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[192],\"data_offsets\":[0,768]},\"__metadata__\":{\"f\":\"p\\u0041t\"}}";
  struct test_rng rng = {5};
  uint32_t n_accepted = 0;
  for (size_t n = 0; n < sizeof text - 1; n++) {
    struct tansy_json json;
    CHECK_EQ(tansy_json_parse(text, n, &json, NULL), TANSY_ERR_CORRUPT);
  }
  for (int trial = 0; trial < 20000; trial++) {
    char *copy = test_alloc(sizeof text - 1); /* exact size: sanitizers see a read past the end */
    memcpy(copy, text, sizeof text - 1);
    for (uint32_t k = 1 + test_rand_below(&rng, 4); k > 0; k--)
      copy[test_rand_below(&rng, sizeof text - 1)] = "{}[]\",:\\u019eE+-. \n\x01z"[test_rand_below(&rng, 22)];
    struct tansy_json json;
    if (tansy_json_parse(copy, sizeof text - 1, &json, NULL) == TANSY_OK) {
      uint32_t n_seen = 0;
      walk(&json, 0, &n_seen);
      if (n_seen != json.n_values) CHECK_EQ(n_seen, json.n_values);
      n_accepted++;
      tansy_json_free(&json);
    }
    free(copy);
  }
  CHECK(n_accepted > 100);
}

int main(void) {
  RUN(test_accepts);
  RUN(test_refuses);
  RUN(test_depth);
  RUN(test_values);
  RUN(test_damage);
  return test_finish();
}
