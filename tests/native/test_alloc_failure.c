/* test_alloc_failure.c: every command of the compressor with each of its allocations failing in turn: it says NO_MEMORY, leaves no file
 * and gives back what it took (the leak sanitizer). Also what the commands do when nothing fails. Writes below build/test_alloc. */
#include <sys/stat.h>
#include <unistd.h>

#include "../fuzz/alloc_fault.h"
#include "base/buffer.h"
#include "pack/command.h"
#include "test.h"

#define DIR "build/test_alloc"

enum { VOCAB = 32, HIDDEN = 16, MLP = 32, HEADS = 2, HEAD_DIM = 8 };

static const char config[] =
    "{\"model_type\":\"llama\",\"vocab_size\":32,\"hidden_size\":16,\"intermediate_size\":32,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"hidden_act\":\"silu\",\"tie_word_embeddings\":true,\"eos_token_id\":2}";

static void write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
    perror(path);
    exit(2);
  }
}

/* the same weights as a checkpoint in safetensors and as the table of a GGUF file, whose q and k have their rows interleaved */
static void make_checkpoints(void) {
  static const struct {
    const char *name;
    uint32_t rows, cols;
    const char *more;
  } tensors[] = {{"model.embed_tokens.weight", VOCAB, HIDDEN, ""},
                 {"model.norm.weight", 0, HIDDEN, ""},
                 {"model.layers.0.input_layernorm.weight", 0, HIDDEN, ""},
                 {"model.layers.0.post_attention_layernorm.weight", 0, HIDDEN, ""},
                 {"model.layers.0.self_attn.q_proj.weight", HEADS * HEAD_DIM, HIDDEN, ",\"interleaved\":8"},
                 {"model.layers.0.self_attn.k_proj.weight", HEADS * HEAD_DIM, HIDDEN, ",\"interleaved\":8"},
                 {"model.layers.0.self_attn.v_proj.weight", HEADS * HEAD_DIM, HIDDEN, ""},
                 {"model.layers.0.self_attn.o_proj.weight", HIDDEN, HEADS * HEAD_DIM, ""},
                 {"model.layers.0.mlp.gate_proj.weight", MLP, HIDDEN, ""},
                 {"model.layers.0.mlp.up_proj.weight", MLP, HIDDEN, ""},
                 {"model.layers.0.mlp.down_proj.weight", HIDDEN, MLP, ""}};
  struct test_rng rng = {3};
  struct tansy_buffer header = {0}, table = {0}, data = {0}, file = {0};
  tansy_put_u8(&header, '{');
  tansy_put_bytes(&table, "{\"file\":\"" DIR "/weights\",\"tensors\":{", strlen("{\"file\":\"" DIR "/weights\",\"tensors\":{"));
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    uint32_t n_rows = tensors[i].rows, n = (n_rows ? n_rows : 1) * tensors[i].cols;
    char shape[40], line[300];
    size_t begin = data.nbytes;
    for (uint32_t k = 0; k < n; k++) tansy_put_f32(&data, (float)(n_rows ? 0.2 * test_rand_normal(&rng) : 1));
    snprintf(shape, sizeof shape, n_rows ? "%u,%u" : "%.0u%u", n_rows, tensors[i].cols);
    for (int gguf = 0; gguf < 2; gguf++) {
      int length = snprintf(line, sizeof line, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]%s}", i ? "," : "", tensors[i].name, shape,
                            begin, data.nbytes, gguf ? tensors[i].more : "");
      tansy_put_bytes(gguf ? &table : &header, line, (size_t)length);
    }
  }
  tansy_put_u8(&header, '}');
  tansy_put_bytes(&table, "}}", 2);
  tansy_put_u64(&file, header.nbytes);
  tansy_put_bytes(&file, header.bytes, header.nbytes);
  tansy_put_bytes(&file, data.bytes, data.nbytes);
  mkdir("build", 0777);
  mkdir(DIR, 0777);
  mkdir(DIR "/hf", 0777);
  mkdir(DIR "/gguf", 0777);
  write_file(DIR "/hf/config.json", config, sizeof config - 1);
  write_file(DIR "/gguf/config.json", config, sizeof config - 1);
  write_file(DIR "/hf/model.safetensors", file.bytes, file.nbytes);
  write_file(DIR "/gguf/model.gguf.json", table.bytes, table.nbytes);
  write_file(DIR "/weights", data.bytes, data.nbytes);
  int32_t ids[64];
  for (int i = 0; i < 64; i++) ids[i] = i * 7 % VOCAB;
  write_file(DIR "/ids.bin", ids, sizeof ids);
  tansy_buffer_free(&header);
  tansy_buffer_free(&table);
  tansy_buffer_free(&data);
  tansy_buffer_free(&file);
}

/* a command with stdout thrown away */
static enum tansy_status run(tansy_command *command, const char *const *args, int n, struct tansy_failure *failure) {
  char *argv[24];
  for (int i = 0; i < n; i++) argv[i] = (char *)(uintptr_t)args[i];
  failure->text[0] = '\0';
  fflush(stdout);
  int kept = dup(1);
  if (!freopen("/dev/null", "w", stdout)) exit(2);
  enum tansy_status status = command(n, argv, failure);
  fflush(stdout);
  dup2(kept, 1);
  close(kept);
  clearerr(stdout);
  return status;
}

/* out: a file the command makes, or NULL */
static void fail_everywhere(tansy_command *command, const char *out, const char *const *args, int n) {
  struct tansy_failure failure;
  CHECK_EQ(run(command, args, n, &failure), TANSY_OK);
  uint32_t n_failed = 0;
  for (uint32_t nth = 0;; nth += 1 + nth / 24) {
    if (out) remove(out);
    alloc_fault_arm(nth);
    enum tansy_status status = run(command, args, n, &failure);
    if (!alloc_fault_disarm()) {
      CHECK_EQ(status, TANSY_OK);
      break;
    }
    n_failed++;
    struct stat info;
    if (!CHECK_EQ(status, TANSY_ERR_NO_MEMORY)) fprintf(stderr, "    allocation %u: \"%s\"\n", nth, failure.text);
    if (out) CHECK(stat(out, &info) != 0);
    if (out) {
      char partial[200];
      snprintf(partial, sizeof partial, "%s.partial", out);
      CHECK(stat(partial, &info) != 0);
    }
  }
  CHECK(n_failed > 5);
}
#define FAIL_EVERYWHERE(command, out, ...) \
  fail_everywhere(command, out, (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

static void test_compress(void) {
  FAIL_EVERYWHERE(tansy_command_compress, DIR "/a.tansy", DIR "/hf", "-o", DIR "/a.tansy", "--recipe", "plain", "--bits", "4", "--attach", "ids=" DIR "/ids.bin");
  FAIL_EVERYWHERE(tansy_command_compress, DIR "/b.tansy", DIR "/gguf", "-o", DIR "/b.tansy", "--recipe", "plain", "--bits", "4", "--threads", "2");
}

/* the recipes that run the model: fewer of their many points */
static void test_recipes(void) {
  FAIL_EVERYWHERE(tansy_command_compress, DIR "/c.tansy", DIR "/hf", "-o", DIR "/c.tansy", "--recipe", "paper", "--bits", "4", "--calibration", DIR "/ids.bin", "--window", "32",
                  "--threads", "2", "--progress", "none");
  FAIL_EVERYWHERE(tansy_command_compress, DIR "/d.tansy", DIR "/hf", "-o", DIR "/d.tansy", "--recipe", "best", "--bits", "7", "--calibration", DIR "/ids.bin", "--window", "32",
                  "--threads", "2", "--progress", "none");
}

/* interleaved rows are only stored in another order: the first and last of 8 are where they were, so models differ, sizes do not */
static void test_gguf_reads_all(void) {
  struct stat a, b;
  REQUIRE(stat(DIR "/a.tansy", &a) == 0 && stat(DIR "/b.tansy", &b) == 0);
  CHECK(a.st_size > 1000 && b.st_size > 1000);
}

static void test_eval_and_inspect(void) {
  FAIL_EVERYWHERE(tansy_command_eval, NULL, DIR "/a.tansy", "--tokens", DIR "/ids.bin", "--window", "32", "--threads", "1");
  FAIL_EVERYWHERE(tansy_command_eval, NULL, DIR "/a.tansy", "--tokens", DIR "/ids.bin", "--window", "32", "--reference", DIR "/hf", "--threads", "1");
  FAIL_EVERYWHERE(tansy_command_inspect, NULL, DIR "/a.tansy");
  FAIL_EVERYWHERE(tansy_command_inspect, NULL, DIR "/hf/model.safetensors");
}

static void test_synth(void) {
  static const char *const args[] = {"--preset", "smollm2-135m", "--layers", "1", "--bits", "2", "-o", DIR "/synth.tansy"};
  struct tansy_failure failure;
  CHECK_EQ(run(tansy_command_synth, args, 8, &failure), TANSY_OK);
  static const char *const inspect[] = {DIR "/synth.tansy"};
  CHECK_EQ(run(tansy_command_inspect, inspect, 1, &failure), TANSY_OK);
  for (uint32_t nth = 0; nth < 12; nth++) {
    alloc_fault_arm(nth);
    enum tansy_status status = run(tansy_command_synth, args, 8, &failure);
    CHECK_EQ(status, alloc_fault_disarm() ? TANSY_ERR_NO_MEMORY : TANSY_OK);
  }
  remove(DIR "/synth.tansy");
  static const char *const unknown[] = {"--preset", "gpt-9", "-o", DIR "/synth.tansy"};
  CHECK_EQ(run(tansy_command_synth, unknown, 4, &failure), TANSY_ERR_ARGUMENT);
}

int main(void) {
  make_checkpoints();
  RUN(test_compress);
  RUN(test_gguf_reads_all);
  RUN(test_recipes);
  RUN(test_eval_and_inspect);
  RUN(test_synth);
  return test_finish();
}
