/* fuzz_json.c: any text through the JSON reader and every question one can ask about a document; and as a config.json. */
#include "format/json.h"
#include "fuzz.h"
#include "pack/checkpoint.h"

static void ask(const struct tansy_json *json, tansy_json_ref at) {
  char text[24];
  double number;
  uint64_t integer;
  tansy_json_number(json, at, &number);
  if (tansy_json_uint(json, at, &integer)) PROMISE(integer <= (uint64_t)1 << 53);
  if (tansy_json_string(json, at, text, sizeof text)) PROMISE(strlen(text) < sizeof text && tansy_json_string_is(json, at, text));
  tansy_json_get(json, at, "a");
  uint32_t n = 0;
  for (tansy_json_ref child = tansy_json_first(json, at); child >= 0; child = tansy_json_next(json, at, child)) {
    PROMISE(child > at && child < json->values[at].next && json->values[child].next <= json->values[at].next);
    n++;
  }
  PROMISE(n == tansy_json_n_children(json, at) * (tansy_json_kind_of(json, at) == TANSY_JSON_OBJECT ? 2 : 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
  char *text = fuzz_copy(data, nbytes);
  struct tansy_json json;
  size_t error_at = 0;
  if (tansy_json_parse(text, nbytes, &json, &error_at) == TANSY_OK) {
    PROMISE(json.n_values > 0 && json.values[0].next == json.n_values);
    for (tansy_json_ref at = 0; at < json.n_values; at++) ask(&json, at);
    struct tansy_checkpoint checkpoint = {0};
    struct tansy_failure failure;
    if (tansy_hf_read_config(&json, &checkpoint, &failure) == TANSY_OK) {
      PROMISE(tansy_config_check(&checkpoint.config) == TANSY_OK);
      for (uint32_t i = 0; checkpoint.inv_freq[0] && i < checkpoint.config.rope_dim / 2; i++)
        PROMISE(checkpoint.inv_freq[0][i] - checkpoint.inv_freq[0][i] == 0);
    }
    tansy_checkpoint_close(&checkpoint);
  } else {
    PROMISE(error_at <= nbytes);
  }
  tansy_json_free(&json);
  free(text);
  return 0;
}
