/* run.c: runs token ids through the engine natively; the yardstick the other builds are compared with.
 *
 *   tansy-run FILE [--ids 1,2,3] [-n N] [--logits OUT.f32] [--all] [--budget BYTES] [--residency auto|ans|packed|int8]
 *             [--kernels best|ref|simd128|relaxed] [--kv int8|f32] [--batch N] [--n-logits N] [--ctx N] [--shuffle SEED]
 *             [--threads N] [--temp T --top-k K --top-p P --min-p P --repeat R --seed S] [--stats]
 *
 * Prints the generated ids, comma-separated. --logits writes every prompt position's logits (with --all) or the last one's. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tansy.h"

#if defined(TANSY_HAVE_THREADS)
#include <pthread.h>

struct worker {
  pthread_t thread;
  struct tansy_engine *e;
  uint32_t number;
};
static void *help(void *arg) {
  struct worker *w = arg;
  tansy_engine_work(w->e, w->number);
  return NULL;
}
#endif

static void die(const char *what, int status) {
  fprintf(stderr, "tansy-run: %s (status %d)\n", what, status);
  exit(1);
}

struct file {
  uint8_t *bytes;
  size_t n;
};

static struct file read_file(const char *path) {
  FILE *f = fopen(path, "rb");
  if (!f) die("cannot open the file", 0);
  fseek(f, 0, SEEK_END);
  struct file file = {NULL, (size_t)ftell(f)};
  rewind(f);
  file.bytes = malloc(file.n ? file.n : 1);
  if (!file.bytes || fread(file.bytes, 1, file.n, f) != file.n) die("cannot read the file", 0);
  fclose(f);
  return file;
}

static size_t parse_ids(const char *text, int32_t **ids) {
  size_t n = 1;
  for (const char *p = text; *p; p++) n += *p == ',';
  *ids = malloc(n * sizeof **ids);
  n = 0;
  for (char *end; *text; text = *end ? end + 1 : end) {
    (*ids)[n++] = (int32_t)strtol(text, &end, 10);
    if (end == text) die("--ids: not a number", 0);
  }
  return n;
}

static uint32_t choice(const char *value, const char *const *names, const char *option) {
  for (uint32_t i = 0; names[i]; i++) {
    if (strcmp(value, names[i]) == 0) return i;
  }
  die(option, 0);
  return 0;
}

/* chunks in file order, or shuffled; as many in flight as there are slots */
static void load(struct tansy_engine *e, struct file file, uint32_t shuffle) {
  uint32_t n = tansy_engine_n_chunks(e), *order = malloc((n + 1) * sizeof *order);
  for (uint32_t i = 0; i < n; i++) order[i] = i;
  for (uint32_t i = n; shuffle && i > 1; i--) {
    shuffle = shuffle * 1664525u + 1013904223u;
    uint32_t j = (uint32_t)((uint64_t)shuffle * i >> 32), swapped = order[j];
    order[j] = order[i - 1];
    order[i - 1] = swapped;
  }
  for (uint32_t begin = 0, end = 0; begin < n; begin++) {
    for (void *slot; end < n && (slot = tansy_chunk_begin(e, order[end])); end++) {
      uint64_t at = tansy_chunk_offset(e, order[end]);
      if (at + tansy_chunk_nbytes(e, order[end]) > file.n) die("the file is shorter than its index says", TANSY_ERR_TRUNCATED);
      memcpy(slot, file.bytes + at, tansy_chunk_nbytes(e, order[end]));
    }
    int status = tansy_chunk_end(e, order[begin]);
    if (status) die("chunk", status);
  }
  free(order);
}

static void eval(struct tansy_engine *e, const int32_t *ids, size_t n, int all, FILE *out, uint32_t vocab) {
  int status = tansy_eval_begin(e, ids, n, all), left;
  if (status) die("eval", status);
  do {
    left = tansy_eval_step(e);
    if (left < 0) die("step", -left);
    if (out) fwrite(tansy_logits(e), sizeof(float) * vocab, tansy_logits_n(e), out);
  } while (left);
}

static double now(void) {
  struct timespec t;
  timespec_get(&t, TIME_UTC);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
  static const char *const residencies[] = {"auto", "ans", "packed", "int8", NULL};
  static const char *const kernels[] = {"best", "ref", "simd128", "relaxed", NULL};
  static const char *const kvs[] = {"int8", "f32", "f16", NULL};
  struct tansy_options options = {0};
  struct tansy_sampler sampler = {0};
  const char *path = NULL, *logits_path = NULL;
  int32_t *ids = NULL;
  size_t n_ids = 0;
  uint32_t n_generate = 0, shuffle = 0;
  uint64_t seed = 0;
  int all = 0, show_stats = 0;
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
    if (a[0] != '-') { path = a; continue; }
    if (strcmp(a, "--all") == 0) { all = 1; continue; }
    if (strcmp(a, "--stats") == 0) { show_stats = 1; continue; }
    i++;
    if (strcmp(a, "--ids") == 0) n_ids = parse_ids(v, &ids);
    else if (strcmp(a, "-n") == 0) n_generate = (uint32_t)atoi(v);
    else if (strcmp(a, "--logits") == 0) logits_path = v;
    else if (strcmp(a, "--budget") == 0) options.budget_nbytes = atof(v);
    else if (strcmp(a, "--residency") == 0) options.residency = choice(v, residencies, "--residency: auto, ans, packed or int8");
    else if (strcmp(a, "--kernels") == 0) options.kernels = choice(v, kernels, "--kernels: best, ref, simd128 or relaxed");
    else if (strcmp(a, "--kv") == 0) options.kv_form = choice(v, kvs, "--kv: int8, f32 or f16");
    else if (strcmp(a, "--batch") == 0) options.max_batch = (uint32_t)atoi(v);
    else if (strcmp(a, "--n-logits") == 0) options.n_logits = (uint32_t)atoi(v);
    else if (strcmp(a, "--ctx") == 0) options.context = (uint32_t)atoi(v);
    else if (strcmp(a, "--threads") == 0) options.n_threads = (uint32_t)atoi(v);
    else if (strcmp(a, "--shuffle") == 0) shuffle = (uint32_t)atoi(v);
    else if (strcmp(a, "--temp") == 0) sampler.temperature = (float)atof(v);
    else if (strcmp(a, "--top-k") == 0) sampler.top_k = (uint32_t)atoi(v);
    else if (strcmp(a, "--top-p") == 0) sampler.top_p = (float)atof(v);
    else if (strcmp(a, "--min-p") == 0) sampler.min_p = (float)atof(v);
    else if (strcmp(a, "--repeat") == 0) { sampler.repeat_penalty = (float)atof(v); sampler.repeat_last_n = 64; }
    else if (strcmp(a, "--seed") == 0) seed = strtoull(v, NULL, 10);
    else die(a, 0);
  }
  if (!path) die("which file?", 0);

  struct file file = read_file(path);
  uint64_t header_nbytes = 0;
  int status = tansy_header_size(file.bytes, file.n, &header_nbytes);
  if (status) die("header", status);
  size_t work_nbytes = tansy_plan_work_nbytes(file.bytes, (size_t)header_nbytes);
  void *work = malloc(work_nbytes + 1);
  struct tansy_plan plan;
  status = tansy_plan_make(file.bytes, (size_t)header_nbytes, &options, work, work_nbytes, &plan);
  if (status) {
    const struct tansy_detail *d = &plan.detail;
    fprintf(stderr, "plan: tensor %u role %u layer %u: %u x %u, expected %u x %u; needs %.0f bytes\n", d->tensor, d->role, d->layer,
            d->n_rows, d->n_cols, d->expected_n_rows, d->expected_n_cols, d->needed_nbytes);
    die("plan", status);
  }
  free(work);

  size_t arena_nbytes = (size_t)plan.arena_nbytes;
  void *arena = aligned_alloc(16, arena_nbytes);
  if (!arena) die("no memory for the arena", TANSY_ERR_NO_MEMORY);
  memset(arena, 0xA5, arena_nbytes); /* nothing may count on zeros */
  struct tansy_engine *e;
  status = tansy_engine_create(file.bytes, (size_t)header_nbytes, &options, arena, arena_nbytes, &e);
  if (status) die("create", status);
#if defined(TANSY_HAVE_THREADS)
  static struct worker workers[64];
  for (uint32_t i = 1; i < plan.n_threads; i++) {
    workers[i] = (struct worker){.e = e, .number = i};
    if (pthread_create(&workers[i].thread, NULL, help, &workers[i])) die("cannot start a thread", 0);
  }
#endif
  double t0 = now();
  load(e, file, shuffle);
  double t1 = now(), t2 = t1, t3 = t1;

  FILE *out = logits_path ? fopen(logits_path, "wb") : NULL;
  if (logits_path && !out) die("cannot write the logits", 0);
  tansy_engine_seed(e, seed);
  if (n_ids) {
    eval(e, ids, n_ids, all, out, plan.vocab);
    t2 = now();
    for (uint32_t i = 0; i < n_generate; i++) {
      int32_t id = tansy_engine_sample(e, &sampler);
      if (id < 0) die("sample", -id);
      printf("%s%d", i ? "," : "", id);
      if (i + 1 == n_generate || tansy_engine_position(e) == plan.context) break;
      eval(e, &id, 1, 0, NULL, plan.vocab);
    }
    t3 = now();
    if (n_generate) printf("\n");
  }
  if (out && fclose(out)) die("cannot write the logits", 0);
  if (show_stats) {
    struct tansy_stats s;
    tansy_engine_stats(e, &s);
    fprintf(stderr,
            "kernels %s total %.0f needed %.0f tables %.0f ans %.0f packed %.0f (%u) int8 %.0f (%u) vectors %.0f kv %.0f scratch %.0f staging %.0f "
            "io %.0f file %.0f context %u batch %u\n",
            tansy_engine_kernels(e), s.total_nbytes, plan.needed_nbytes, s.tables_nbytes, s.ans_nbytes, s.packed_nbytes, s.n_packed,
            s.int8_nbytes, s.n_int8, s.vectors_nbytes, s.kv_nbytes, s.scratch_nbytes, s.staging_nbytes, s.io_nbytes, plan.file_nbytes, s.context,
            plan.max_batch);
    fprintf(stderr, "load %.3f s, prompt %.1f tok/s, generation %.1f tok/s\n", t1 - t0, (double)n_ids / (t2 - t1),
            (double)(n_generate > 1 ? n_generate - 1 : 0) / (t3 - t2));
  }
#if defined(TANSY_HAVE_THREADS)
  tansy_engine_end_workers(e);
  for (uint32_t i = 1; i < plan.n_threads; i++) pthread_join(workers[i].thread, NULL);
#endif
  free(arena);
  free(ids);
  free(file.bytes);
  return 0;
}
