/* test_malformed.c: every file of tests/malformed gives the code of the table, whatever the residency; those that load run. */
#include "tansy.h"
#include "test.h"

enum { MAX_FILE_NBYTES = 1 << 16 };

static const char *const codes[] = {"TANSY_OK", "TANSY_ARGUMENT", "TANSY_TRUNCATED", "TANSY_CORRUPT", "TANSY_CHECKSUM", "TANSY_NOT_TANSY", "TANSY_VERSION",
                                    "TANSY_UNSUPPORTED", "TANSY_SHAPE", "TANSY_OVER_BUDGET", "TANSY_CONTEXT", "TANSY_NOT_READY", "TANSY_CANCELLED",
                                    "TANSY_NO_MEMORY", "TANSY_IO", "TANSY_NOT_CHECKPOINT", "TANSY_NONFINITE"};

static enum tansy_status run(struct tansy_engine *e) {
  static const int32_t ids[] = {1, 2, 3};
  TANSY_TRY(tansy_eval_begin(e, ids, 3, 1));
  int left;
  while ((left = tansy_eval_step(e)) > 0) {
  }
  return (enum tansy_status)-left;
}

/* what a host does: the header, the plan, the file's size, the chunks */
static enum tansy_status load(const uint8_t *file, size_t nbytes, uint32_t residency) {
  uint64_t header_nbytes;
  if (nbytes > 0 && nbytes < TANSY_HEADER_MIN_NBYTES) return TANSY_ERR_NOT_TANSY;
  TANSY_TRY(tansy_header_size(file, nbytes, &header_nbytes));
  uint8_t *header = test_alloc((size_t)header_nbytes);
  memcpy(header, file, (size_t)header_nbytes);
  struct tansy_options options = {.residency = residency};
  struct tansy_plan plan;
  size_t work_nbytes = tansy_plan_work_nbytes(header, (size_t)header_nbytes);
  void *work = test_alloc(work_nbytes), *arena = NULL;
  enum tansy_status status = tansy_plan_make(header, (size_t)header_nbytes, &options, work, work_nbytes, &plan);
  if (status == TANSY_OK && plan.file_nbytes != (double)nbytes) status = plan.file_nbytes > (double)nbytes ? TANSY_ERR_TRUNCATED : TANSY_ERR_CORRUPT;
  struct tansy_engine *e = NULL;
  if (status == TANSY_OK) {
    arena = aligned_alloc(16, (size_t)plan.arena_nbytes);
    status = tansy_engine_create(header, (size_t)header_nbytes, &options, arena, (size_t)plan.arena_nbytes, &e);
  }
  for (uint32_t i = 0; status == TANSY_OK && i < tansy_engine_n_chunks(e); i++) {
    memcpy(tansy_chunk_begin(e, i), file + tansy_chunk_offset(e, i), tansy_chunk_nbytes(e, i));
    status = tansy_chunk_end(e, i);
  }
  if (status == TANSY_OK) {
    enum tansy_status ran = run(e);
    CHECK(ran == TANSY_OK);
  }
  free(arena);
  free(work);
  free(header);
  return status;
}

static void test_table(void) {
  FILE *table = fopen("tests/malformed/table.txt", "r");
  REQUIRE(table != NULL);
  char line[256], name[128], code[64], path[256];
  int n_files = 0;
  while (fgets(line, sizeof line, table)) {
    if (line[0] == '#' || sscanf(line, "%127s %63s", name, code) != 2) continue;
    snprintf(path, sizeof path, "tests/malformed/%s.tansy", name);
    FILE *file = fopen(path, "rb");
    REQUIRE(file != NULL);
    uint8_t *bytes = test_alloc(MAX_FILE_NBYTES);
    size_t nbytes = fread(bytes, 1, MAX_FILE_NBYTES, file);
    fclose(file);
    uint8_t *exact = test_alloc(nbytes);
    memcpy(exact, bytes, nbytes);
    for (uint32_t residency = TANSY_RESIDENCY_ANS; residency <= TANSY_RESIDENCY_INT8; residency++) {
      enum tansy_status status = load(exact, nbytes, residency);
      if (!CHECK_STR(codes[status], code)) fprintf(stderr, "    %s gives %s, not %s\n", name, codes[status], code);
    }
    free(exact);
    free(bytes);
    n_files++;
  }
  fclose(table);
  CHECK(n_files > 150);
}

int main(void) {
  RUN(test_table);
  return test_finish();
}
