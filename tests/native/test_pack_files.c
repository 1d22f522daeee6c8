/* test_pack_files.c: the compressor and files: safetensors good and hostile, checkpoints with every kind of fault, and whole
 * compressions of a small made-up model that the engine then loads. Writes below build/test_pack. */
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "format/container.h"
#include "pack/command.h"
#include "pack/evaluate.h"
#include "pack/files.h"
#include "test.h"

#define DIR "build/test_pack"

static void write_file(const char *path, const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) {
    perror(path);
    exit(2);
  }
}
static void write_text(const char *path, const char *text) { write_file(path, text, strlen(text)); }

/* header and nbytes of data (bytes 0, 1, 2, …) */
static void write_safetensors(const char *path, const char *header, size_t nbytes) {
  struct tansy_buffer b = {0};
  tansy_put_u64(&b, strlen(header));
  tansy_put_bytes(&b, header, strlen(header));
  for (size_t i = 0; i < nbytes; i++) tansy_put_u8(&b, (uint8_t)i);
  write_file(path, b.bytes, b.nbytes);
  tansy_buffer_free(&b);
}

static enum tansy_status open_status(const char *header, size_t nbytes) {
  struct tansy_safetensors st;
  char what[200];
  write_safetensors(DIR "/t.safetensors", header, nbytes);
  enum tansy_status status = tansy_safetensors_open(DIR "/t.safetensors", &st, what, sizeof what);
  if (status == TANSY_OK) tansy_safetensors_close(&st);
  else CHECK(what[0] != '\0' || status == TANSY_ERR_CORRUPT);
  return status;
}

static void test_safetensors(void) {
  struct tansy_safetensors st;
  char what[200];
  write_safetensors(DIR "/t.safetensors",
                    "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                    "\"b\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[12,14]},\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[16,24]},"
                    "\"d\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[24,24]}}",
                    24);
  REQUIRE(tansy_safetensors_open(DIR "/t.safetensors", &st, what, sizeof what) == TANSY_OK);
  CHECK_EQ(st.n_entries, 4);
  const struct tansy_safetensors_entry *a = tansy_safetensors_find(&st, "a"), *b = tansy_safetensors_find(&st, "b");
  REQUIRE(a && b && !tansy_safetensors_find(&st, "e"));
  float v[6];
  CHECK_EQ(tansy_safetensors_read(&st, a, 1, 5, v), TANSY_OK);
  CHECK(v[0] == 0x302 * 0x1p-24f); /* the half 0x0302 is subnormal */
  CHECK_EQ(tansy_safetensors_read(&st, b, 0, 1, v), TANSY_OK);
  uint32_t bits = 0x0d0c0000;
  CHECK_MEM(v, &bits, 4);
  CHECK_EQ(tansy_safetensors_read(&st, a, 2, 5, v), TANSY_ERR_ARGUMENT);
  CHECK_EQ(tansy_safetensors_read(&st, tansy_safetensors_find(&st, "c"), 0, 1, v), TANSY_ERR_ARGUMENT);
  tansy_safetensors_close(&st);

  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8), TANSY_OK);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7), TANSY_ERR_TRUNCATED);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":[]}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[18446744073709551615,18446744073709551615]}}", 8), TANSY_ERR_CORRUPT);
  CHECK_EQ(open_status("[]", 0), TANSY_ERR_NOT_CHECKPOINT);
  CHECK_EQ(open_status("not JSON at all", 0), TANSY_ERR_NOT_CHECKPOINT);
  write_file(DIR "/t.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
  CHECK_EQ(tansy_safetensors_open(DIR "/t.safetensors", &st, what, sizeof what), TANSY_ERR_NOT_CHECKPOINT);
  write_file(DIR "/t.safetensors", "\x40\0\0\0\0\0\0\0{}", 10);
  CHECK_EQ(tansy_safetensors_open(DIR "/t.safetensors", &st, what, sizeof what), TANSY_ERR_TRUNCATED);
  write_file(DIR "/t.safetensors", "abc", 3);
  CHECK_EQ(tansy_safetensors_open(DIR "/t.safetensors", &st, what, sizeof what), TANSY_ERR_NOT_CHECKPOINT);
  CHECK_EQ(tansy_safetensors_open(DIR "/absent", &st, what, sizeof what), TANSY_ERR_IO);
}

/* ---- a small Llama ---- */

enum { VOCAB = 96, HIDDEN = 32, MLP = 48, LAYERS = 2, HEADS = 4, KV = 2, HEAD_DIM = 8 };

struct fault {
  const char *drop;      /* leave this tensor out */
  const char *nan;       /* one value of this tensor is not a number */
  const char *zero;      /* all values of this tensor are 0 */
  const char *reshape;   /* this tensor has one row more */
  const char *extra;     /* a tensor nobody knows */
  bool two_files;
};

static const char config_text[] =
    "{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
    "\"num_key_value_heads\":2,\"head_dim\":8,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"hidden_act\":\"silu\","
    "\"tie_word_embeddings\":true,\"bos_token_id\":1,\"eos_token_id\":2}";

struct checkpoint_writer {
  struct tansy_buffer header[2], data[2];
  struct test_rng rng;
  const struct fault *fault;
  struct tansy_buffer map;
};

static void add_tensor(struct checkpoint_writer *c, const char *name, uint32_t rows, uint32_t cols, double spread, double mean) {
  const struct fault *f = c->fault;
  if (f->drop && strcmp(f->drop, name) == 0) return;
  int file = f->two_files && strstr(name, "layers.1.") ? 1 : 0;
  if (f->reshape && strcmp(f->reshape, name) == 0) rows++;
  char line[300];
  size_t n = (size_t)(rows ? rows : 1) * cols, begin = c->data[file].nbytes;
  if (rows)
    snprintf(line, sizeof line, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%u,%u],\"data_offsets\":[%zu,%zu]}", c->header[file].nbytes > 1 ? "," : "", name, rows, cols, begin,
             begin + n * 4);
  else
    snprintf(line, sizeof line, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%zu,%zu]}", c->header[file].nbytes > 1 ? "," : "", name, cols, begin, begin + n * 4);
  tansy_put_bytes(&c->header[file], line, strlen(line));
  snprintf(line, sizeof line, "%s\"%s\":\"part%d.safetensors\"", c->map.nbytes ? "," : "", name, file);
  tansy_put_bytes(&c->map, line, strlen(line));
  for (size_t i = 0; i < n; i++) {
    float v = (float)(mean + spread * test_rand_normal(&c->rng));
    if (f->zero && strcmp(f->zero, name) == 0) v = 0;
    if (f->nan && strcmp(f->nan, name) == 0 && i == n / 2) v = NAN;
    tansy_put_f32(&c->data[file], v);
  }
}

static void finish_file(struct checkpoint_writer *c, int file, const char *path) {
  struct tansy_buffer out = {0};
  tansy_put_u8(&c->header[file], '}');
  tansy_put_u64(&out, c->header[file].nbytes);
  tansy_put_bytes(&out, c->header[file].bytes, c->header[file].nbytes);
  tansy_put_bytes(&out, c->data[file].bytes, c->data[file].nbytes);
  write_file(path, out.bytes, out.nbytes);
  tansy_buffer_free(&out);
}

static void make_checkpoint(const struct fault *fault) {
  struct checkpoint_writer c = {.rng = {99}, .fault = fault};
  for (int file = 0; file < 2; file++) tansy_put_u8(&c.header[file], '{');
  remove(DIR "/model/model.safetensors");
  remove(DIR "/model/model.safetensors.index.json");
  write_text(DIR "/model/config.json", config_text);
  add_tensor(&c, "model.embed_tokens.weight", VOCAB, HIDDEN, 0.6, 0);
  for (int layer = 0; layer < LAYERS; layer++) {
    static const struct {
      const char *name;
      uint32_t rows, cols;
      double spread, mean;
    } parts[] = {{"input_layernorm.weight", 0, HIDDEN, 0.1, 1},
                 {"self_attn.q_proj.weight", HEADS * HEAD_DIM, HIDDEN, 0.2, 0},
                 {"self_attn.k_proj.weight", KV * HEAD_DIM, HIDDEN, 0.2, 0},
                 {"self_attn.v_proj.weight", KV * HEAD_DIM, HIDDEN, 0.2, 0},
                 {"self_attn.o_proj.weight", HIDDEN, HEADS * HEAD_DIM, 0.2, 0},
                 {"post_attention_layernorm.weight", 0, HIDDEN, 0.1, 1},
                 {"mlp.gate_proj.weight", MLP, HIDDEN, 0.2, 0},
                 {"mlp.up_proj.weight", MLP, HIDDEN, 0.2, 0},
                 {"mlp.down_proj.weight", HIDDEN, MLP, 0.2, 0}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
      char name[100];
      snprintf(name, sizeof name, "model.layers.%d.%s", layer, parts[i].name);
      add_tensor(&c, name, parts[i].rows, parts[i].cols, parts[i].spread, parts[i].mean);
    }
  }
  add_tensor(&c, "model.norm.weight", 0, HIDDEN, 0.1, 1);
  if (fault->extra) add_tensor(&c, fault->extra, 0, 4, 1, 0);
  if (fault->two_files) {
    finish_file(&c, 0, DIR "/model/part0.safetensors");
    finish_file(&c, 1, DIR "/model/part1.safetensors");
    struct tansy_buffer index = {0};
    tansy_put_bytes(&index, "{\"weight_map\":{", 15);
    tansy_put_bytes(&index, c.map.bytes, c.map.nbytes);
    tansy_put_bytes(&index, "}}", 2);
    write_file(DIR "/model/model.safetensors.index.json", index.bytes, index.nbytes);
    tansy_buffer_free(&index);
  } else {
    finish_file(&c, 0, DIR "/model/model.safetensors");
  }
  for (int file = 0; file < 2; file++) tansy_buffer_free(&c.header[file]), tansy_buffer_free(&c.data[file]);
  tansy_buffer_free(&c.map);
}

/* runs a subcommand with stdout thrown away */
static enum tansy_status command(tansy_command *run, struct tansy_failure *failure, const char *const *args, int n) {
  char *argv[24];
  for (int i = 0; i < n; i++) argv[i] = (char *)(uintptr_t)args[i];
  failure->text[0] = '\0';
  fflush(stdout);
  int kept = dup(1);
  if (!freopen("/dev/null", "w", stdout)) exit(2);
  enum tansy_status status = run(n, argv, failure);
  fflush(stdout);
  dup2(kept, 1);
  close(kept);
  clearerr(stdout);
  return status;
}
#define COMMAND(run, failure, ...) \
  command(run, failure, (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *)))

static void expect(const struct fault *fault, enum tansy_status status, const char *word) {
  struct tansy_failure failure;
  make_checkpoint(fault);
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/out.tansy", "--recipe", "plain"), status);
  if (word && !CHECK(strstr(failure.text, word) != NULL)) fprintf(stderr, "    \"%s\" does not say %s\n", failure.text, word);
}

static void test_faults(void) {
  remove(DIR "/out.tansy");
  expect(&(struct fault){.drop = "model.layers.1.mlp.up_proj.weight"}, TANSY_ERR_NOT_CHECKPOINT, "model.layers.1.mlp.up_proj.weight");
  expect(&(struct fault){.drop = "model.embed_tokens.weight"}, TANSY_ERR_NOT_CHECKPOINT, "embed_tokens");
  expect(&(struct fault){.nan = "model.layers.0.mlp.down_proj.weight"}, TANSY_ERR_NONFINITE, "model.layers.0.mlp.down_proj.weight");
  expect(&(struct fault){.nan = "model.norm.weight"}, TANSY_ERR_NONFINITE, "model.norm.weight");
  expect(&(struct fault){.reshape = "model.layers.0.self_attn.k_proj.weight"}, TANSY_ERR_SHAPE, "[17, 32]");
  expect(&(struct fault){.extra = "model.layers.0.self_attn.q_proj.qbias"}, TANSY_ERR_UNSUPPORTED, "qbias");
  struct stat info;
  CHECK(stat(DIR "/out.tansy", &info) != 0); /* nothing is left of a failure */
  CHECK(stat(DIR "/out.tansy.partial", &info) != 0);
  expect(&(struct fault){0}, TANSY_OK, NULL);
  CHECK(stat(DIR "/out.tansy", &info) == 0);
}

static void test_configs(void) {
  static const struct {
    const char *text;
    enum tansy_status status;
    const char *word;
  } cases[] = {{"{\"model_type\":\"mamba\"}", TANSY_ERR_UNSUPPORTED, "mamba"},
               {"{}", TANSY_ERR_NOT_CHECKPOINT, "model_type"},
               {"{\"model_type\":\"llama\"}", TANSY_ERR_NOT_CHECKPOINT, "vocab_size"},
               {"{\"model_type\":\"llama\",", TANSY_ERR_NOT_CHECKPOINT, "JSON"},
               {"{\"model_type\":\"llama\",\"vocab_size\":-3}", TANSY_ERR_NOT_CHECKPOINT, "vocab_size"},
               {"{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":5,\"num_key_value_heads\":2,"
                "\"intermediate_size\":48,\"head_dim\":8}",
                TANSY_ERR_SHAPE, "5 attention heads"},
               {"{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
                "\"intermediate_size\":48,\"head_dim\":8,\"rope_scaling\":{\"type\":\"fancy\",\"factor\":2}}",
                TANSY_ERR_UNSUPPORTED, "fancy"},
               {"{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"num_hidden_layers\":2,\"num_attention_heads\":4,\"num_key_value_heads\":2,"
                "\"intermediate_size\":48,\"head_dim\":8,\"hidden_act\":\"laughter\"}",
                TANSY_ERR_UNSUPPORTED, "laughter"}};
  struct tansy_failure failure;
  make_checkpoint(&(struct fault){0});
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_text(DIR "/model/config.json", cases[i].text);
    CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/x.tansy", "--recipe", "plain"), cases[i].status);
    if (!CHECK(strstr(failure.text, cases[i].word) != NULL)) fprintf(stderr, "    \"%s\" does not say %s\n", failure.text, cases[i].word);
  }
  remove(DIR "/model/config.json");
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/x.tansy"), TANSY_ERR_NOT_CHECKPOINT);
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/nowhere", "-o", DIR "/x.tansy"), TANSY_ERR_IO);
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/x.tansy", "--frobnicate"), TANSY_ERR_ARGUMENT);
  CHECK(strstr(failure.text, "--frobnicate") != NULL);
}

static uint64_t size_of(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
}

/* divergence of a compressed file from the checkpoint */
static double divergence(const char *path, const int32_t *ids, size_t n) {
  struct tansy_failure failure;
  struct tansy_checkpoint checkpoint;
  struct tansy_windows windows;
  struct tansy_reference reference;
  struct tansy_model_file file;
  struct tansy_progress progress = {0};
  struct tansy_score score = {0};
  struct tansy_team *team = tansy_team_new(2);
  if (!CHECK(tansy_checkpoint_open(DIR "/model", &checkpoint, &failure) == TANSY_OK)) return 1e9;
  CHECK_EQ(tansy_windows_cut(ids, n, 32, 0, &windows, &failure), TANSY_OK);
  CHECK_EQ(tansy_reference_init(&reference, &checkpoint, team, &windows, &progress, &failure), TANSY_OK);
  enum tansy_status status = tansy_model_file_open(path, &file, &failure);
  if (status == TANSY_OK) status = tansy_evaluate(&file, &reference, team, &windows, &progress, &score, &failure);
  if (!CHECK(status == TANSY_OK)) fprintf(stderr, "    %s: %s\n", path, failure.text);
  CHECK_EQ(score.n, windows.n * 31);
  tansy_reference_free(&reference);
  tansy_checkpoint_close(&checkpoint);
  tansy_model_file_close(&file);
  tansy_team_free(team);
  free(windows.tokens);
  return score.kl / (double)score.n;
}

static int same_bytes(const char *a, const char *b) {
  struct tansy_file_text x, y;
  struct tansy_failure failure;
  if (tansy_file_read(a, 1 << 24, &x, &failure) != TANSY_OK || tansy_file_read(b, 1 << 24, &y, &failure) != TANSY_OK) return 0;
  int same = x.nbytes == y.nbytes && memcmp(x.bytes, y.bytes, x.nbytes) == 0;
  tansy_file_text_free(&x);
  tansy_file_text_free(&y);
  return same;
}

static void test_recipes(void) {
  struct tansy_failure failure;
  struct test_rng rng = {8};
  enum { N_IDS = 4096 };
  static int32_t ids[N_IDS];
  uint8_t text[2 * N_IDS];
  for (int i = 0; i < N_IDS; i++) {
    ids[i] = (int32_t)(test_rand_below(&rng, VOCAB) * test_rand_below(&rng, VOCAB) / VOCAB);
    text[2 * i] = (uint8_t)ids[i], text[2 * i + 1] = 0;
  }
  write_file(DIR "/ids.bin", text, sizeof text);
  make_checkpoint(&(struct fault){.two_files = true});
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/sharded.tansy", "--recipe", "plain"), TANSY_OK);
  make_checkpoint(&(struct fault){0});
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/plain.tansy", "--bits", "8", "--no-prune"), TANSY_OK);
  CHECK(same_bytes(DIR "/sharded.tansy", DIR "/plain.tansy"));
  double plain = divergence(DIR "/plain.tansy", ids, N_IDS);
  CHECK(plain < 0.01);

  /* sizes are met, twice the same bytes, threads make no difference */
  enum { N_PARAMS = VOCAB * HIDDEN + LAYERS * (2 * HIDDEN + HEADS * HEAD_DIM * HIDDEN * 2 + KV * HEAD_DIM * HIDDEN * 2 + MLP * HIDDEN * 3) + HIDDEN };
  static const char *const recipes[] = {"paper", "best"};
  double kl[2];
  for (int r = 0; r < 2; r++) {
    CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/a.tansy", "--recipe", recipes[r], "--bits", "6", "--calibration", DIR "/ids.bin",
                     "--threads", "1"),
             TANSY_OK);
    CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/b.tansy", "--recipe", recipes[r], "--bits", "6", "--calibration", DIR "/ids.bin",
                     "--threads", "3"),
             TANSY_OK);
    CHECK(same_bytes(DIR "/a.tansy", DIR "/b.tansy"));
    double allowed = 6.0 * N_PARAMS / 8;
    if (!CHECK_NEAR((double)size_of(DIR "/a.tansy"), allowed, allowed * 0.01)) fprintf(stderr, "    %s\n", recipes[r]);
    kl[r] = divergence(DIR "/a.tansy", ids, N_IDS);
    CHECK(kl[r] < 0.3);
  }
  /* the better recipe is better at the same size, also where tables and states are a good part of the file */
  if (!CHECK(kl[1] < 0.8 * kl[0])) fprintf(stderr, "    best %g, paper %g\n", kl[1], kl[0]);
  static const char *const bits[] = {"2.5", "4"};
  for (int i = 0; i < 2; i++) {
    CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/a.tansy", "--bits", bits[i], "--calibration", DIR "/ids.bin"), TANSY_OK);
    double allowed = strtod(bits[i], NULL) * N_PARAMS / 8;
    CHECK_NEAR((double)size_of(DIR "/a.tansy"), allowed, allowed * 0.01);
  }
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/a.tansy", "--bits", "0.4", "--calibration", DIR "/ids.bin"), TANSY_ERR_ARGUMENT);
  CHECK(strstr(failure.text, "is the least") != NULL);
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/c.tansy", "--size", "9KB", "--attach", "note=" DIR "/ids.bin", "--calibration", DIR "/ids.bin"),
           TANSY_ERR_ARGUMENT); /* the attachment alone is 8 KB */
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/c.tansy", "--size", "19000", "--attach", "note=" DIR "/ids.bin", "--calibration", DIR "/ids.bin"),
           TANSY_OK);
  CHECK_NEAR((double)size_of(DIR "/c.tansy"), 19000, 190);
  /* the paper's recipe with one step for all, rows by their largest weight; and strengths that are none */
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/d.tansy", "--recipe", "paper", "--bits", "6", "--calibration", DIR "/ids.bin",
                   "--allocate", "0", "--row-scale", "1"),
           TANSY_OK);
  CHECK_NEAR((double)size_of(DIR "/d.tansy"), 6.0 * N_PARAMS / 8, 0.06 * N_PARAMS / 8);
  CHECK(!same_bytes(DIR "/d.tansy", DIR "/b.tansy"));
  static const char *const strengths[] = {"--alpha", "--prune", "--table-step", "--allocate", "--token-scale", "--row-scale"};
  for (size_t i = 0; i < sizeof strengths / sizeof *strengths; i++)
    CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/d.tansy", "--recipe", "paper", strengths[i], "1.5"), TANSY_ERR_ARGUMENT);
  /* without any text */
  CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/d.tansy", "--bits", "6", "--progress", "none"), TANSY_OK);
  CHECK(divergence(DIR "/d.tansy", ids, N_IDS) < 0.2);
}

static void test_degenerate_weights(void) {
  struct tansy_failure failure;
  struct test_rng rng = {8};
  static int32_t ids[1024];
  for (int i = 0; i < 1024; i++) ids[i] = (int32_t)test_rand_below(&rng, VOCAB);
  static const char *const tensors[] = {"model.layers.0.mlp.gate_proj.weight", "model.layers.1.input_layernorm.weight", "model.layers.1.self_attn.o_proj.weight"};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    make_checkpoint(&(struct fault){.zero = tensors[i]});
    for (int r = 0; r < 2; r++) {
      CHECK_EQ(COMMAND(tansy_command_compress, &failure, DIR "/model", "-o", DIR "/z.tansy", "--recipe", r ? "best" : "paper", "--bits", "6", "--calibration", DIR "/ids.bin"), TANSY_OK);
      double kl = divergence(DIR "/z.tansy", ids, 1024);
      if (!CHECK(kl < 0.5)) fprintf(stderr, "    %s of zeros: %g\n", tensors[i], kl);
    }
  }
}

static void test_commands(void) {
  struct tansy_failure failure;
  CHECK_EQ(COMMAND(tansy_command_inspect, &failure, DIR "/plain.tansy"), TANSY_OK);
  CHECK_EQ(COMMAND(tansy_command_inspect, &failure, DIR "/model/model.safetensors", "--bits", "4"), TANSY_OK);
  CHECK_EQ(COMMAND(tansy_command_inspect, &failure, DIR "/ids.bin"), TANSY_ERR_NOT_TANSY);
  CHECK_EQ(COMMAND(tansy_command_inspect, &failure, DIR "/absent.tansy"), TANSY_ERR_IO);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/plain.tansy", "--tokens", DIR "/ids.bin", "--window", "65"), TANSY_ERR_ARGUMENT);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/plain.tansy"), TANSY_ERR_ARGUMENT);
  static const uint8_t cloze[] = {3, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0};
  write_file(DIR "/cloze.bin", cloze, sizeof cloze);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/plain.tansy", "--cloze", DIR "/cloze.bin", "--reference", DIR "/model"), TANSY_OK);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/model", "--cloze", DIR "/cloze.bin"), TANSY_OK);
  write_file(DIR "/cloze.bin", cloze, sizeof cloze - 4);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/plain.tansy", "--cloze", DIR "/cloze.bin"), TANSY_ERR_ARGUMENT);
  write_file(DIR "/odd.bin", "\x60\x00", 2); /* token 96 of a vocabulary of 96 */
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/plain.tansy", "--tokens", DIR "/odd.bin"), TANSY_ERR_ARGUMENT);
  CHECK(strstr(failure.text, "96") != NULL);
  /* a damaged byte anywhere in the payload is found */
  struct tansy_file_text text;
  REQUIRE(tansy_file_read(DIR "/plain.tansy", 1 << 24, &text, &failure) == TANSY_OK);
  text.bytes[text.nbytes - 100] ^= 4;
  write_file(DIR "/damaged.tansy", text.bytes, text.nbytes);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/damaged.tansy", "--tokens", DIR "/ids.bin", "--window", "32"), TANSY_ERR_CHECKSUM);
  write_file(DIR "/damaged.tansy", text.bytes, text.nbytes / 2);
  CHECK_EQ(COMMAND(tansy_command_eval, &failure, DIR "/damaged.tansy", "--tokens", DIR "/ids.bin", "--window", "32"), TANSY_ERR_TRUNCATED);
  tansy_file_text_free(&text);
}

int main(void) {
  mkdir("build", 0777);
  mkdir(DIR, 0777);
  mkdir(DIR "/model", 0777);
  RUN(test_safetensors);
  RUN(test_faults);
  RUN(test_configs);
  RUN(test_recipes);
  RUN(test_degenerate_weights);
  RUN(test_commands);
  return test_finish();
}
