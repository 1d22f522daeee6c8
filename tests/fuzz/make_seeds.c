/* make_seeds.c: what fuzzers begin with: fuzz-seeds FOLDER writes FOLDER/TARGET/NAME. Made by hand once; not a test.
 * The committed seeds are these and what `npm run fuzz -- --merge` found to reach other code. */
#include <sys/stat.h>

#include "fuzz.h"
#include "tiny_model.h"

static const char *folder;

static void write_seed(const char *target, const char *name, const void *front, size_t front_nbytes, const void *bytes, size_t nbytes) {
  char path[1024];
  snprintf(path, sizeof path, "%s/%s", folder, target);
  mkdir(path, 0777);
  snprintf(path, sizeof path, "%s/%s/%s", folder, target, name);
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(front, 1, front_nbytes, file) != front_nbytes || fwrite(bytes, 1, nbytes, file) != nbytes || fclose(file)) exit(2);
}

static void write_container(const char *name, const struct tiny_options *o) {
  static const uint8_t wishes[2][8] = {{0}, {1, 4, 2, 2, 1, 0x40, 0, 16}};
  struct tiny_model m = tiny_make(o);
  write_seed("fuzz_container", name, wishes[o->with_optional], 8, m.file.bytes, m.header_nbytes);
  tiny_free(&m);
}

static void write_tile(const char *name, uint32_t n_rows, uint32_t n_cols, double sigma, int raw_bits, uint32_t tile_n_rows, int wild) {
  struct test_rng rng = {n_rows * 131 + n_cols};
  int32_t *z = test_alloc(sizeof *z * n_rows * n_cols);
  for (size_t i = 0; i < (size_t)n_rows * n_cols; i++) {
    double spread = i / n_cols % 3 == 0 ? 3 * sigma : sigma;
    z[i] = wild && test_rand_below(&rng, 40) == 0 ? (int32_t)test_rand(&rng) : (int32_t)lrint(spread * test_rand_normal(&rng));
  }
  struct tansy_buffer stream = {0}, front = {0};
  struct tansy_coded_shape s;
  struct tansy_encode_options options = {.raw_bits = raw_bits, .tile_n_rows = tile_n_rows};
  if (tansy_encode(z, n_rows, n_cols, &options, &stream, &s, NULL) != TANSY_OK) exit(2);
  tansy_put_u16(&front, (uint16_t)n_rows);
  tansy_put_u16(&front, (uint16_t)n_cols);
  tansy_put_u8(&front, (uint8_t)s.raw_bits);
  tansy_put_u8(&front, (uint8_t)s.n_tables);
  tansy_put_u8(&front, (uint8_t)(s.tile_n_rows / 4));
  tansy_put_u16(&front, (uint16_t)s.n_escapes);
  tansy_put_u16(&front, (uint16_t)s.head_nbytes);
  tansy_put_u8(&front, 3);
  write_seed("fuzz_tile", name, front.bytes, front.nbytes, stream.bytes, stream.nbytes);
  tansy_buffer_free(&front);
  tansy_buffer_free(&stream);
  free(z);
}

/* Two tiles of four sets, which the encoder only makes of tiles too long for a fuzzer: a head by hand, codes as they come. Frequencies below
 * 128, and tiles of as many groups, are what the relaxed decoder takes two at a time. */
static void write_two_tiles(const char *name, uint32_t n_groups, uint32_t n_cols, uint32_t raw_bits) {
  struct tansy_buffer front = {0}, head = {0}, tiles = {0};
  const uint32_t n_steps = (n_cols + 15) / 16, tile_nbytes = 128 + n_groups * (n_steps * 8 * raw_bits + 16) + 40 * n_groups;
  tansy_put_u8(&head, 1);
  tansy_put_varint(&head, 2 * tile_nbytes);
  const uint8_t table[] = {3, 0x87, 9, 100, 100};
  tansy_put_bytes(&head, table, sizeof table);
  tansy_put_u32(&head, tile_nbytes);
  for (uint32_t i = 0; i < 2 * tile_nbytes; i++) tansy_put_u8(&tiles, (uint8_t)(i % 32 < 16 ? i * 37 : 1));
  tansy_put_u16(&front, (uint16_t)(8 * n_groups));
  tansy_put_u16(&front, (uint16_t)n_cols);
  tansy_put_u8(&front, (uint8_t)raw_bits);
  tansy_put_u8(&front, 1);
  tansy_put_u8(&front, (uint8_t)n_groups);
  tansy_put_u16(&front, 0);
  tansy_put_u16(&front, (uint16_t)head.nbytes);
  tansy_put_u8(&front, 5);
  tansy_put_bytes(&front, head.bytes, head.nbytes);
  write_seed("fuzz_tile", name, front.bytes, front.nbytes, tiles.bytes, tiles.nbytes);
  tansy_buffer_free(&front);
  tansy_buffer_free(&head);
  tansy_buffer_free(&tiles);
}

static void write_text(const char *target, const char *name, const char *front, size_t front_nbytes, const char *text) {
  write_seed(target, name, front, front_nbytes, text, strlen(text));
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  folder = argv[1];
  struct tiny_options o = tiny_options();
  write_container("plain", &o);
  o.with_optional = 1;
  o.n_attachments = 3;
  o.row_scale = 2;
  o.vector_kind = TANSY_KIND_LOG8;
  write_container("optional", &o);

  write_tile("small", 4, 16, 2, 0, 0, 0);
  write_tile("raw1", 9, 33, 4, 1, 4, 0);
  write_tile("raw2", 12, 20, 9, 2, 8, 1);
  write_tile("raw3", 5, 40, 20, 3, 0, 1);
  write_tile("raw4", 6, 18, 40, 4, 0, 0);
  write_tile("four-sets", 64, 256, 1, 0, 32, 1);
  write_tile("tables", 60, 64, 1.5, -1, 0, 1);
  write_two_tiles("two-tiles", 1, 40, 0);
  write_two_tiles("two-tiles-raw3", 3, 48, 3);

  static const char config[] =
      "{\"model_type\":\"llama\",\"vocab_size\":96,\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":2,\"num_attention_heads\":4,"
      "\"num_key_value_heads\":2,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-5,\"rope_theta\":10000,\"hidden_act\":\"silu\","
      "\"tie_word_embeddings\":true,\"bos_token_id\":1,\"eos_token_id\":[2,3],\"rope_scaling\":{\"rope_type\":\"llama3\",\"factor\":8.0,"
      "\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,\"original_max_position_embeddings\":32}}";
  static const char gemma[] =
      "{\"model_type\":\"gemma3_text\",\"vocab_size\":64,\"hidden_size\":32,\"intermediate_size\":48,\"num_hidden_layers\":6,\"num_attention_heads\":2,"
      "\"num_key_value_heads\":1,\"head_dim\":16,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6,\"rope_theta\":1e6,\"rope_local_base_freq\":1e4,"
      "\"hidden_activation\":\"gelu_pytorch_tanh\",\"sliding_window\":16,\"sliding_window_pattern\":6,\"query_pre_attn_scalar\":16}";
  static const char phi[] =
      "{\"model_type\":\"phi3\",\"vocab_size\":64,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
      "\"max_position_embeddings\":64,\"original_max_position_embeddings\":32,\"rms_norm_eps\":1e-6,\"rope_theta\":1e4,\"hidden_act\":\"silu\","
      "\"rope_scaling\":{\"type\":\"longrope\",\"short_factor\":[1,1,1,1],\"long_factor\":[2,2,2,2]}}";
  static const char qwen[] =
      "{\"model_type\":\"qwen3\",\"vocab_size\":64,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
      "\"head_dim\":8,\"max_position_embeddings\":64,\"rms_norm_eps\":1e-6,\"hidden_act\":\"silu\",\"layer_types\":[\"full_attention\"],"
      "\"rope_parameters\":{\"rope_type\":\"yarn\",\"rope_theta\":10000,\"factor\":4.0,\"original_max_position_embeddings\":16}}";
  static const char gpt2[] =
      "{\"model_type\":\"gpt2\",\"vocab_size\":64,\"n_embd\":16,\"n_layer\":1,\"n_head\":2,\"n_positions\":32,\"layer_norm_epsilon\":1e-5,"
      "\"activation_function\":\"gelu_new\"}";
  static const char all[] = "{\"a\":[1,-2.5e+3,true,false,null,\"\\u00e9\\n\\ud83d\\ude00\",{}],\"\\u0061\":{\"b\":[[],[[]]]},\"a\":0}";
  write_text("fuzz_json", "llama", "", 0, config);
  write_text("fuzz_json", "gemma3", "", 0, gemma);
  write_text("fuzz_json", "phi3", "", 0, phi);
  write_text("fuzz_json", "qwen3", "", 0, qwen);
  write_text("fuzz_json", "gpt2", "", 0, gpt2);
  write_text("fuzz_json", "all", "", 0, all);
  write_text("fuzz_alloc", "config", "\0\3", 2, config);
  write_text("fuzz_alloc", "yarn", "\0\1", 2, qwen);
  write_text("fuzz_alloc", "integers", "\2\5", 2, "\1\2\3\4\5\6\7\10 many more integers than fit in one step of sixteen columns ...............");

  static const char st[] =
      "\0........{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F16\",\"shape\":[2,3],\"data_offsets\":[0,12]},\"b\":{\"dtype\":\"BF16\","
      "\"shape\":[],\"data_offsets\":[12,14]},\"c\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[16,24]},\"d\":{\"dtype\":\"F32\",\"shape\":[0,7],"
      "\"data_offsets\":[24,24]}}\n.......................................";
  static const char table[] =
      "\1{\"q\":{\"dtype\":\"Q4_K\",\"shape\":[2,256],\"data_offsets\":[32,320],\"interleaved\":2},\"k\":{\"dtype\":\"Q6_K\",\"shape\":[256],"
      "\"data_offsets\":[320,530]},\"v\":{\"dtype\":\"Q8_0\",\"shape\":[1,32],\"data_offsets\":[544,578]},\"n\":{\"dtype\":\"F32\",\"shape\":[3],"
      "\"data_offsets\":[608,620]}}";
  write_seed("fuzz_safetensors", "file", st, sizeof st - 1, "", 0);
  write_seed("fuzz_safetensors", "table", table, sizeof table - 1, "", 0);
  write_seed("fuzz_alloc", "safetensors", "\1\4", 2, st + 1, sizeof st - 2);

  uint8_t blocks[1 + 256];
  for (int dtype = 0; dtype < 8; dtype++) {
    char name[16];
    snprintf(name, sizeof name, "type%d", dtype);
    for (int i = 0; i < 257; i++) blocks[i] = (uint8_t)(i ? i * 29 : dtype);
    write_seed("fuzz_blocks", name, blocks, sizeof blocks, "", 0);
  }
  uint8_t ints[600];
  for (int kind = 0; kind < 4; kind++) {
    char name[16];
    snprintf(name, sizeof name, "width%d", kind);
    for (int i = 0; i < 600; i++) ints[i] = (uint8_t)(i * i * 7 >> (kind ? 0 : 3));
    const uint8_t front[5] = {(uint8_t)(16 + 7 * kind), 8, (uint8_t)(kind | 16), (uint8_t)kind, (uint8_t)kind};
    write_seed("fuzz_codec", name, front, 5, ints, sizeof ints);
  }
  /* load, run, sample, rewind; a session; wrong chunks */
  static const uint8_t life[] = {0, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 5, 3, 1, 2, 3, 1, 7, 31, 8, 31,
                                 13, 0, 0, 128, 63, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5, 0, 0, 0, 14, 1, 12, 1, 6, 2, 4, 5, 0, 9, 9};
  static const uint8_t wild[] = {1, 0x25, 3, 2, 3, 20, 0, 0, 0, 1, 2, 1, 1, 0, 5, 4, 1, 1, 1, 1, 0, 7, 4, 11, 2, 10, 3, 2, 0, 3, 17, 1, 2, 0x11,
                                 18, 2, 16, 1, 2, 22, 9, 23, 7, 15, 1, 2, 3, 4, 5, 6, 7, 8, 19, 0, 20, 3, 21, 1};
  write_seed("fuzz_abi", "life", life, sizeof life, "", 0);
  write_seed("fuzz_abi", "wild", wild, sizeof wild, "", 0);
  return 0;
}
