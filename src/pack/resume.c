/* resume.c: see resume.h. The file is read by the program that wrote it, on the same machine: structures are stored as they lie in memory,
 * and pointers in them are set anew. */
#define _FILE_OFFSET_BITS 64
#define _POSIX_C_SOURCE 200809L
#include "pack/resume.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "pack/files.h"

/* Raised when the recipe comes to other values or another order of things: what an older one has saved does not go with it. */
enum { ALGORITHM = 2 };

struct head {
  char magic[8];
  uint64_t fingerprint, nbytes; /* of the whole file; its last 8 bytes are a hash of all before */
  uint64_t parts_nbytes, parts_hash; /* of the parts that count */
  uint32_t sizes[4];            /* of structures: another build does not take the file up */
};

static struct head head_of(const struct tansy_resume *r, uint64_t nbytes, uint64_t parts_nbytes, uint64_t parts_hash) {
  return (struct head){"TANSYRE", r->fingerprint, nbytes, parts_nbytes, parts_hash,
                       {sizeof(struct tansy_best), sizeof(struct tansy_unit), sizeof(struct tansy_blob), sizeof(struct tansy_matrix_result)}};
}

/* ---- of which compression ---- */

/* what the result depends on; for the weights' bytes stand the sizes and times of their files */
static uint64_t fingerprint(const struct tansy_job *job) {
  const struct tansy_checkpoint *c = job->checkpoint;
  uint32_t target[2] = {ALGORITHM, (uint32_t)job->target.kind};
  double allowed = tansy_job_allowed_nbytes(job);
  uint64_t h = tansy_hash(TANSY_HASH_BEGIN, target, sizeof target);
  h = tansy_hash(h, &job->target.value, sizeof job->target.value);
  h = tansy_hash(h, &allowed, sizeof allowed);
  for (uint64_t key = 1; key < 256; key++) {
    uint32_t value;
    if (tansy_config_get(&c->config, key, &value)) h = tansy_hash(h, &value, sizeof value);
  }
  for (uint32_t i = 0; i < c->n_sources; i++) {
    uint32_t shape[4] = {c->sources[i].role, c->sources[i].layer, c->sources[i].n_rows, c->sources[i].n_cols};
    h = tansy_hash(h, shape, sizeof shape);
  }
  for (uint32_t i = 0; i < c->n_files; i++) {
    struct stat info;
    if (fstat(c->files[i].fd, &info) != 0) continue;
    int64_t of_file[3] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec, (int64_t)info.st_mtim.tv_nsec};
    h = tansy_hash(h, of_file, sizeof of_file);
  }
  h = tansy_hash(h, &job->calibration.window, sizeof job->calibration.window);
  return tansy_hash(h, job->calibration.tokens, (size_t)job->calibration.n * job->calibration.window * sizeof *job->calibration.tokens);
}

enum tansy_status tansy_resume_open(struct tansy_job *job, const char *out, double interval, struct tansy_failure *failure) {
  size_t n = strlen(out) + sizeof ".resume";
  job->resume = (struct tansy_resume){.path = malloc(n), .fingerprint = fingerprint(job), .interval = interval, .last = tansy_seconds()};
  if (!job->resume.path) return tansy_fail_memory(failure);
  snprintf(job->resume.path, n, "%s.resume", out);
  return TANSY_OK;
}

void tansy_resume_close(struct tansy_job *job, bool done) {
  if (job->resume.path && done) remove(job->resume.path);
  free(job->resume.path);
  job->resume = (struct tansy_resume){0};
}

/* ---- one order of values, written or read ---- */

struct stream {
  FILE *file; /* NULL: sizes are added up */
  bool writing, failed;
  uint64_t nbytes, hash;
};

static void move(struct stream *s, void *bytes, size_t n) {
  s->nbytes += n;
  if (s->failed || !s->file || n == 0) return;
  if (s->writing) s->hash = tansy_hash(s->hash, bytes, n);
  if ((s->writing ? fwrite(bytes, 1, n, s->file) : fread(bytes, 1, n, s->file)) != n) s->failed = true;
}
#define MOVE(s, value) move(s, &(value), sizeof(value))

/* an array behind a pointer; NULL stays NULL */
static void move_array(struct stream *s, void **array, size_t nbytes) {
  bool present = *array != NULL;
  MOVE(s, present);
  if (!s->writing) {
    *array = present && !s->failed ? malloc(nbytes + 1) : NULL;
    if (present && !*array) s->failed = true;
  }
  if (present && *array) move(s, *array, nbytes);
}
#define MOVE_ARRAY(s, pointer, n)          \
  do {                                     \
    void *array_ = (pointer);              \
    move_array(s, &array_, (n) * sizeof *(pointer)); \
    (pointer) = array_;                    \
  } while (0)

static void move_fisher(struct stream *s, const struct tansy_config *c, struct tansy_fisher *f) {
  size_t hidden = c->hidden, n_token = (size_t)c->n_layers * TANSY_N_LAYER_LINEARS + 1;
  float **token = f->token, **factor = f->factor;
  MOVE(s, *f);
  f->factor = factor;
  f->token = token;
  MOVE_ARRAY(s, f->embed_moment, hidden * hidden);
  MOVE_ARRAY(s, f->head_moment, hidden * hidden);
  MOVE_ARRAY(s, f->vocab, c->vocab);
  if (!s->writing) {
    f->factor = calloc(n_token, sizeof *f->factor);
    f->token = calloc(n_token, sizeof *f->token);
    if (!f->token || !f->factor) s->failed = true;
  }
  for (size_t i = 0; i < n_token && f->token; i++) MOVE_ARRAY(s, f->token[i], f->n_tokens);
}

static void move_units(struct stream *s, struct tansy_best *b) {
  MOVE(s, b->n_units);
  if (!s->writing) {
    b->units = b->n_units <= b->checkpoint->n_sources ? calloc(b->checkpoint->n_sources, sizeof *b->units) : NULL;
    if (!b->units) s->failed = true, b->n_units = 0;
  }
  for (uint32_t i = 0; i < b->n_units && !s->failed; i++) {
    struct tansy_unit *u = &b->units[i];
    uint32_t number = s->writing ? (uint32_t)(u->source - b->checkpoint->sources) : 0;
    MOVE(s, number);
    struct tansy_unit stored = *u;
    MOVE(s, stored);
    if (!s->writing) {
      *u = stored;
      u->weight = NULL;
      u->code = NULL;
      u->factor = NULL;
      if (number >= b->checkpoint->n_sources) s->failed = true;
      u->source = &b->checkpoint->sources[s->failed ? 0 : number];
    }
    MOVE_ARRAY(s, u->weight, u->source->n_rows);
    MOVE_ARRAY(s, u->code, u->source->n_rows);
    int linear = tansy_linear_number(u->source->role);
    if (linear < 0 || s->failed) continue;
    float **factor = &b->fisher.factor[u->source->layer * TANSY_N_LAYER_LINEARS + (uint32_t)linear];
    MOVE_ARRAY(s, *factor, tansy_fisher_factor_n(&b->fisher, u->source->n_rows));
    u->factor = *factor;
  }
}

static void move_writer(struct stream *s, struct tansy_job *job) {
  uint32_t n = job->writer.n_blobs;
  MOVE(s, n);
  for (uint32_t i = 0; i < n && !s->failed; i++) {
    struct tansy_blob *b = s->writing ? &job->writer.blobs[i] : tansy_writer_add(&job->writer, 0, 0, 0, 0, 0);
    if (!b) {
      s->failed = true;
      return;
    }
    struct tansy_blob stored = *b;
    MOVE(s, stored);
    if (!s->writing) {
      *b = stored;
      b->stored = (struct tansy_buffer){0};
      if (s->failed || !tansy_buffer_grow(&b->stored, stored.stored.nbytes)) s->failed = true;
    }
    if (!s->failed) move(s, b->stored.bytes, stored.stored.nbytes);
  }
  MOVE(s, job->n_results);
  if (job->n_results > job->checkpoint->n_sources) s->failed = true, job->n_results = 0;
  move(s, job->results, job->n_results * sizeof *job->results);
}

static void move_state(struct stream *s, struct tansy_best *b) {
  MOVE(s, b->stage);
  MOVE(s, b->log_c);
  MOVE(s, b->spent);
  MOVE(s, b->allowed);
  MOVE(s, b->job->progress.done);
  move_fisher(s, b->config, &b->fisher);
  move_units(s, b);
  if (b->stage.n_layers == 0) return;
  size_t n_x = (size_t)b->job->calibration.n * b->runner.window * b->config->hidden;
  MOVE_ARRAY(s, b->x, n_x);
  MOVE_ARRAY(s, b->rounded_x, n_x);
  move_writer(s, b->job);
}

static enum tansy_status save(struct tansy_best *b, struct tansy_failure *failure) {
  const struct tansy_resume *r = &b->job->resume;
  struct tansy_new_file file;
  struct stream sizes = {.writing = true}, s = {.writing = true};
  move_state(&sizes, b);
  const struct tansy_parts *parts = &b->job->parts;
  bool refers = b->stage.n_layers > 0; /* else no tensors are saved */
  struct head head = head_of(r, sizeof head + sizes.nbytes + sizeof s.hash, refers ? parts->nbytes : 0, refers ? parts->hash : 0);
  if (!tansy_parts_sync(&b->job->parts)) return tansy_fail(failure, TANSY_ERR_IO, "%s: writing failed (no space left?)", b->job->parts.path);
  TANSY_TRY(tansy_new_file_open(r->path, &file, failure));
  s.file = file.file;
  MOVE(&s, head);
  move_state(&s, b);
  uint64_t end = s.hash;
  MOVE(&s, end);
  if (!s.failed) return tansy_new_file_commit(&file, failure);
  tansy_new_file_abandon(&file);
  return tansy_fail(failure, TANSY_ERR_IO, "%s: writing failed (no space left?)", r->path);
}

void tansy_best_save(struct tansy_best *b, bool now) {
  struct tansy_resume *r = &b->job->resume;
  struct tansy_failure failure;
  double started = tansy_seconds();
  if (!r->path || (!now && started - r->last < r->interval)) return;
  if (save(b, &failure) != TANSY_OK) {
    char text[800];
    snprintf(text, sizeof text, "an interruption would lose what is done so far: %s", failure.text);
    tansy_progress_warn(&b->job->progress, text);
  }
  r->last = tansy_seconds();
  /* what is written can be large: no more than a twentieth of the time goes into it */
  if (r->interval < 20 * (r->last - started)) r->interval = 20 * (r->last - started);
}

/* Whether the file has the bytes that were written: numbers in it are believed. Leaves the file at its beginning. */
static bool is_whole(FILE *file, uint64_t nbytes) {
  uint8_t bytes[1 << 12];
  uint64_t sum = 0, stored = 0, left = nbytes - sizeof sum;
  if (nbytes < sizeof sum || fseek(file, 0, SEEK_SET) != 0) return false;
  for (size_t n; left > 0; left -= n) {
    n = left < sizeof bytes ? (size_t)left : sizeof bytes;
    if (fread(bytes, 1, n, file) != n) return false;
    sum = tansy_hash(sum, bytes, n);
  }
  return fread(&stored, sizeof stored, 1, file) == 1 && stored == sum && fseek(file, 0, SEEK_SET) == 0;
}

enum tansy_status tansy_best_restore(struct tansy_best *b, bool *found, struct tansy_failure *failure) {
  const struct tansy_resume *r = &b->job->resume;
  struct stream s = {.file = r->path ? fopen(r->path, "rb") : NULL};
  struct stat info;
  struct head head, expected;
  *found = false;
  if (!s.file) return TANSY_OK;
  MOVE(&s, head);
  if (!s.failed && fstat(fileno(s.file), &info) == 0) {
    expected = head_of(r, (uint64_t)info.st_size, head.parts_nbytes, head.parts_hash);
    *found = memcmp(&head, &expected, sizeof head) == 0 && is_whole(s.file, (uint64_t)info.st_size) &&
             tansy_parts_take_up(&b->job->parts, head.parts_nbytes, head.parts_hash);
  }
  if (*found) {
    MOVE(&s, head);
    move_state(&s, b);
  }
  if (*found) b->job->progress.base = b->job->progress.done, b->job->progress.since = tansy_seconds();
  fclose(s.file);
  return *found && s.failed ? tansy_fail(failure, TANSY_ERR_IO, "%s cannot be read; remove it to begin anew", r->path) : TANSY_OK;
}
