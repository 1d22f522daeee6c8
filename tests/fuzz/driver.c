/* driver.c: runs a fuzz target without libFuzzer, as an ordinary test.
 *
 *   fuzz_x [-n ROUNDS] [PATH...]    each PATH is a seed file, or a directory of them
 *
 * Every seed is run as it is, then ROUNDS mutations spread over all of them and the empty input (bytes flipped, cut, repeated,
 * replaced by edge values). Deterministic. Inputs lie in blocks of exactly their size, so that sanitizers see every overrun. */
#include <dirent.h>
#include <sys/stat.h>

#include "test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

enum { MAX_NBYTES = 1 << 20 };

static void run(const uint8_t *data, size_t nbytes) {
  uint8_t *copy = test_alloc(nbytes);
  memcpy(copy, data, nbytes);
  LLVMFuzzerTestOneInput(copy, nbytes);
  free(copy);
}

static size_t mutate(struct test_rng *rng, uint8_t *data, size_t nbytes) {
  static const uint8_t edges[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
  for (uint32_t i = 0, n = 1 + test_rand_below(rng, 8); i < n; i++) {
    uint32_t at = test_rand_below(rng, (uint32_t)nbytes + 1);
    switch (test_rand_below(rng, 6)) {
      case 0:
        if (at < nbytes) data[at] ^= (uint8_t)(1u << test_rand_below(rng, 8));
        break;
      case 1:
        if (at < nbytes) data[at] = (uint8_t)test_rand(rng);
        break;
      case 2:
        if (at < nbytes) data[at] = edges[test_rand_below(rng, sizeof edges)];
        break;
      case 3: /* a 32-bit field at its edge */
        for (size_t k = at, fill = edges[test_rand_below(rng, sizeof edges)]; k < nbytes && k < at + 4u; k++) data[k] = (uint8_t)fill;
        break;
      case 4: nbytes = at; break;
      default: /* insert a few bytes */
        if (nbytes + 16 < MAX_NBYTES) {
          uint32_t len = 1 + test_rand_below(rng, 16);
          memmove(data + at + len, data + at, nbytes - at);
          for (uint32_t k = 0; k < len; k++) data[at + k] = (uint8_t)test_rand(rng);
          nbytes += len;
        }
    }
  }
  return nbytes;
}

static void run_seed(const uint8_t *seed, size_t nbytes, long n_rounds) {
  static uint8_t work[MAX_NBYTES];
  struct test_rng rng = {nbytes};
  run(seed, nbytes);
  for (long i = 0; i < n_rounds; i++) {
    memcpy(work, seed, nbytes);
    run(work, mutate(&rng, work, nbytes));
  }
}

/* files below `path`; each is run with n_rounds mutations, or with -1 only counted */
static int run_path(const char *path, long n_rounds) {
  struct stat st;
  if (stat(path, &st) != 0) {
    fprintf(stderr, "%s: no such file\n", path);
    return 0;
  }
  if (S_ISDIR(st.st_mode)) {
    int n_run = 0;
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
      char child[4096];
      if (entry->d_name[0] == '.') continue;
      snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
      n_run += run_path(child, n_rounds);
    }
    if (dir) closedir(dir);
    return n_run;
  }
  if (n_rounds < 0) return 1;
  FILE *file = fopen(path, "rb");
  if (!file) return 0;
  static uint8_t seed[MAX_NBYTES];
  size_t nbytes = fread(seed, 1, sizeof seed, file);
  fclose(file);
  run_seed(seed, nbytes, n_rounds);
  return 1;
}

int main(int argc, char **argv) {
  long n_rounds = 3000;
  int first = 1, n_seeds = 0, n_run = 0;
  if (argc > 2 && strcmp(argv[1], "-n") == 0) {
    n_rounds = strtol(argv[2], NULL, 10);
    first = 3;
  }
  for (int i = first; i < argc; i++) n_seeds += run_path(argv[i], -1);
  n_rounds = n_rounds / (n_seeds + 1) + 1;
  for (int i = first; i < argc; i++) n_run += run_path(argv[i], n_rounds);
  run_seed((const uint8_t *)"", 0, n_rounds);
  printf("%d seeds, %ld mutations of each\n", n_run, n_rounds);
  /* seeds were named but none was found: that is a broken test */
  return argc > first && n_run == 0;
}
