/* test_hf_config.c: what the config.json files of real models say, older and newer, and what becomes of it: the same arithmetic
 * whatever the spelling, and a refusal by name of what would otherwise be computed wrongly. No weights are needed. */
#include <math.h>

#include "format/json.h"
#include "pack/checkpoint.h"
#include "test.h"

#define SIZES \
  "\"vocab_size\":96,\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"num_key_value_heads\":2," \
  "\"head_dim\":8,\"max_position_embeddings\":4096"
#define MODEL(type, rest) "{\"model_type\":\"" type "\"," SIZES rest "}"

static enum tansy_status read_config(const char *text, struct tansy_checkpoint *out, struct tansy_failure *failure) {
  struct tansy_json json;
  *out = (struct tansy_checkpoint){0};
  failure->text[0] = '\0';
  enum tansy_status status = tansy_json_parse(text, strlen(text), &json, NULL);
  CHECK_EQ(status, TANSY_OK);
  if (status == TANSY_OK) status = tansy_hf_read_config(&json, out, failure);
  tansy_json_free(&json);
  return status;
}

static int same_frequencies(const struct tansy_checkpoint *a, const struct tansy_checkpoint *b, int which) {
  if (!a->inv_freq[which] || !b->inv_freq[which]) return a->inv_freq[which] == b->inv_freq[which];
  return memcmp(a->inv_freq[which], b->inv_freq[which], a->config.rope_dim / 2 * sizeof(float)) == 0;
}

/* two spellings of one model */
static void test_same(void) {
  static const char *const pairs[][2] = {
      {MODEL("llama", ",\"rope_theta\":500000.0"), MODEL("llama", ",\"rope_parameters\":{\"rope_theta\":500000.0,\"rope_type\":\"default\"}")},
      {MODEL("llama", ",\"torch_dtype\":\"bfloat16\",\"rope_scaling\":null"), MODEL("llama", ",\"dtype\":\"bfloat16\"")},
      {MODEL("llama", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}"),
       MODEL("llama", ",\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":4.0,\"rope_theta\":10000}")},
      /* within the context "dynamic" is no scaling at all */
      {MODEL("llama", ",\"rope_scaling\":{\"type\":\"dynamic\",\"factor\":2.0}"), MODEL("llama", "")},
      {MODEL("mistral", ""), MODEL("mistral", ",\"sliding_window\":4096")},
      {MODEL("mistral", ",\"sliding_window\":null"), MODEL("mistral", ",\"sliding_window\":0")},
      {MODEL("qwen2", ",\"use_sliding_window\":false,\"sliding_window\":16,\"max_window_layers\":2"), MODEL("qwen2", "")},
      {MODEL("qwen2", ",\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":4"), MODEL("qwen2", "")},
      {MODEL("phi3", ",\"original_max_position_embeddings\":1024,\"rope_scaling\":{\"type\":\"yarn\",\"short_factor\":[1,1.5,2,3],\"long_factor\":[1,2,3,4]}"),
       MODEL("phi3", ",\"rope_parameters\":{\"rope_type\":\"longrope\",\"short_factor\":[1,1.5,2,3],\"long_factor\":[1,2,3,4],"
                     "\"original_max_position_embeddings\":1024,\"rope_theta\":10000.0}")},
      {MODEL("gemma3_text", ",\"sliding_window_pattern\":2,\"rope_scaling\":{\"rope_type\":\"linear\",\"factor\":8}"),
       MODEL("gemma3_text", ",\"layer_types\":[\"sliding_attention\",\"full_attention\",\"sliding_attention\",\"full_attention\"],\"rope_parameters\":{"
                            "\"full_attention\":{\"rope_theta\":1e6,\"rope_type\":\"linear\",\"factor\":8.0},\"sliding_attention\":{\"rope_theta\":1e4,"
                            "\"rope_type\":\"default\"}}")},
      /* a model that sees: the language model's config is a part, which leaves its defaults out */
      {"{\"model_type\":\"gemma3\",\"eos_token_id\":[1,106],\"vision_config\":{\"hidden_size\":9},\"text_config\":{\"model_type\":\"gemma3_text\","
       "\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":6,\"sliding_window\":1024,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"}}}",
       "{\"model_type\":\"gemma3_text\",\"eos_token_id\":[1,106],\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":6,\"vocab_size\":262208,"
       "\"num_attention_heads\":8,\"num_key_value_heads\":4,\"head_dim\":256,\"max_position_embeddings\":131072,\"rope_theta\":1e6,\"rope_local_base_freq\":1e4,"
       "\"sliding_window\":1024,\"sliding_window_pattern\":6,\"query_pre_attn_scalar\":256,\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"linear\"}}"},
  };
  for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
    struct tansy_checkpoint read[2];
    struct tansy_failure failure;
    for (int k = 0; k < 2; k++)
      if (!CHECK(read_config(pairs[i][k], &read[k], &failure) == TANSY_OK)) fprintf(stderr, "    pair %zu: %s\n", i, failure.text);
    if (!CHECK(memcmp(&read[0].config, &read[1].config, sizeof read[0].config) == 0)) fprintf(stderr, "    pair %zu\n", i);
    for (int which = 0; which < 2; which++)
      if (!CHECK(same_frequencies(&read[0], &read[1], which))) fprintf(stderr, "    pair %zu: frequencies %d\n", i, which);
    for (int k = 0; k < 2; k++) tansy_checkpoint_close(&read[k]);
  }
}

/* what would be another model if it were passed over */
static void test_refused(void) {
  static const struct {
    const char *text;
    enum tansy_status status;
    const char *word;
  } cases[] = {
      {MODEL("llama", ",\"quantization_config\":{\"quant_method\":\"awq\",\"bits\":4}"), TANSY_ERR_UNSUPPORTED, "\"awq\""},
      {MODEL("llama", ",\"quantization_config\":{}"), TANSY_ERR_UNSUPPORTED, "quantization_config"},
      {MODEL("llama", ",\"is_causal\":false"), TANSY_ERR_UNSUPPORTED, "is_causal"},
      {MODEL("gemma3_text", ",\"use_bidirectional_attention\":true"), TANSY_ERR_UNSUPPORTED, "use_bidirectional_attention"},
      {MODEL("gemma3_text", ",\"use_bidirectional_attention\":\"all\""), TANSY_ERR_UNSUPPORTED, "use_bidirectional_attention"},
      {MODEL("qwen2", ",\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":2"), TANSY_ERR_UNSUPPORTED, "max_window_layers"},
      {MODEL("smollm3", ",\"use_sliding_window\":true,\"sliding_window\":16,\"max_window_layers\":0"), TANSY_ERR_UNSUPPORTED, "use_sliding_window"},
      {MODEL("smollm3", ",\"no_rope_layers\":[1,1,0,1]"), TANSY_ERR_UNSUPPORTED, "no_rope_layers[2]"},
      {MODEL("smollm3", ",\"no_rope_layers\":[1,1,1]"), TANSY_ERR_SHAPE, "no_rope_layers"},
      {MODEL("qwen3", ",\"layer_types\":[\"full_attention\"]"), TANSY_ERR_SHAPE, "layer_types"},
      {MODEL("qwen3", ",\"layer_types\":[\"full_attention\",\"linear_attention\",\"full_attention\",\"full_attention\"]"), TANSY_ERR_UNSUPPORTED, "layer_types[1]"},
      {MODEL("llama", ",\"rope_scaling\":{\"type\":\"mrope\",\"mrope_section\":[1,1,2]}"), TANSY_ERR_UNSUPPORTED, "mrope"},
      {MODEL("phi3", ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}"), TANSY_ERR_SHAPE, "short_factor"},
      {MODEL("gemma3_text", ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"yarn\",\"factor\":8,\"rope_theta\":1e6},"
                            "\"sliding_attention\":{\"rope_type\":\"default\",\"rope_theta\":1e4}}"),
       TANSY_ERR_UNSUPPORTED, "attention factor"},
      {MODEL("llama", ",\"rope_theta\":1e-300"), TANSY_ERR_UNSUPPORTED, "rotary frequency 1"},
      {MODEL("llama", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":1e-300}"), TANSY_ERR_UNSUPPORTED, "rotary frequency 0"},
      {MODEL("phi3", ",\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1e-300]}"), TANSY_ERR_UNSUPPORTED, "rotary frequency 3"},
      {MODEL("llama", ",\"hidden_act\":\"relu2\""), TANSY_ERR_UNSUPPORTED, "relu2"},
      {MODEL("opt", ",\"ffn_dim\":48,\"do_layer_norm_before\":false"), TANSY_ERR_UNSUPPORTED, "do_layer_norm_before"},
      {MODEL("opt", ",\"ffn_dim\":48,\"word_embed_proj_dim\":16"), TANSY_ERR_UNSUPPORTED, "word_embed_proj_dim"},
      {MODEL("gemma3", ""), TANSY_ERR_NOT_CHECKPOINT, "text_config"},
      {MODEL("llama4", ",\"text_config\":{}"), TANSY_ERR_UNSUPPORTED, "llama4"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct tansy_checkpoint read;
    struct tansy_failure failure;
    CHECK_EQ(read_config(cases[i].text, &read, &failure), cases[i].status);
    if (!CHECK(strstr(failure.text, cases[i].word) != NULL)) fprintf(stderr, "    \"%s\" does not say %s\n", failure.text, cases[i].word);
    tansy_checkpoint_close(&read);
  }
}

/* YaRN by the formulas of its paper: 4 frequencies of a head of 8, trained on 1024 positions, 4 times as many now. Of the ramp's ends
 * (dimension 0.71 turns 32 times there, 2.21 once) whole numbers are made unless "truncate" says no. */
static void test_yarn(void) {
  static const struct {
    const char *text;
    double low, high;
  } cases[] = {
      {MODEL("llama", ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":1024}"), 0, 3},
      {MODEL("llama", ",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4,\"original_max_position_embeddings\":1024,\"truncate\":false}"), -1, -1},
  };
  for (int k = 0; k < 2; k++) {
    struct tansy_checkpoint read;
    struct tansy_failure failure;
    REQUIRE(read_config(cases[k].text, &read, &failure) == TANSY_OK);
    double low = cases[k].low, high = cases[k].high;
    if (low < 0) {
      low = 8 * log(1024 / (32 * 2 * 3.14159265358979)) / (2 * log(1e4));
      high = 8 * log(1024 / (2 * 3.14159265358979)) / (2 * log(1e4));
    }
    for (int i = 0; i < 4; i++) {
      double plain = pow(1e4, -i / 4.0), ramp = fmin(1, fmax(0, (i - low) / (high - low)));
      double expected = plain * (1 - ramp) + plain / 4 * ramp;
      if (!CHECK(fabs(read.inv_freq[0][i] / expected - 1) < 1e-6)) fprintf(stderr, "    %g, not %g\n", (double)read.inv_freq[0][i], expected);
    }
    CHECK(fabs(read.config.rope_attn_factor - (0.1 * log(4) + 1)) < 1e-6);
    tansy_checkpoint_close(&read);
  }
}

int main(void) {
  RUN(test_same);
  RUN(test_refused);
  RUN(test_yarn);
  return test_finish();
}
