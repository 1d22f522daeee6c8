/* cmd_compress.c: tansy-pack compress: options, attachments, the recipe, the file, the report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pack/command.h"
#include "pack/files.h"
#include "pack/job.h"
#include "pack/meet_kl.h"
#include "pack/resume.h"
#include "pack/text_check.h"

struct options {
  const char *out, *recipe, *calibration, *progress, *size;
  double bits, max_kl, save_every;
  bool bits_given, kl_given, calibration_given, tune_given, no_prune, dry_run, step_given;
  struct tansy_paper_options paper;
  uint32_t n_threads, window, calibration_tokens, tune_tokens, tensor_memory;
  struct tansy_strings attach;
};

/* NAME=FILE or NAME=FILE:gzip,RAW_NBYTES */
static enum tansy_status attach(struct tansy_writer *w, const char *spec, struct tansy_failure *failure) {
  const char *equals = strchr(spec, '=');
  struct tansy_attachment_file *a = &w->attachments[w->n_attachments];
  size_t n = equals ? (size_t)(equals - spec) : 0;
  for (size_t i = 0; i < n; i++) /* names are keys of the file's JSON */
    if ((unsigned char)spec[i] < 0x20) n = 0;
  if (n == 0 || n >= sizeof a->name) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--attach \"%s\" is not NAME=FILE", spec);
  memcpy(a->name, spec, n);
  a->name[n] = '\0';
  for (uint32_t i = 0; i < w->n_attachments; i++)
    if (strcmp(w->attachments[i].name, a->name) == 0) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--attach %s is there twice", a->name);
  char path[4096];
  if (strlen(equals + 1) >= sizeof path) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--attach %s: the path is too long", a->name);
  strcpy(path, equals + 1);
  char *gzip = strstr(path, ":gzip,");
  if (gzip) {
    char *end;
    a->encoding = 1;
    a->raw_nbytes = strtoull(gzip + 6, &end, 10);
    if (*end || end == gzip + 6 || a->raw_nbytes > UINT32_MAX) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--attach %s: :gzip, needs the size before compression", a->name);
    *gzip = '\0';
  }
  struct tansy_file_text file;
  TANSY_TRY(tansy_file_read(path, (size_t)1 << 30, &file, failure));
  a->bytes = file.bytes;
  a->nbytes = file.nbytes;
  if (!a->encoding) a->raw_nbytes = file.nbytes;
  w->n_attachments++;
  return TANSY_OK;
}

/* what was learned on the way, for the report */
struct findings {
  struct tansy_text_check text;
  struct tansy_kl_met met;
};

static void report(const struct options *o, const struct tansy_job *job, const char *recipe, const struct findings *found,
                   const struct tansy_file_sizes *sizes) {
  struct tansy_out out = {.file = stdout};
  double n = (double)job->checkpoint->n_params;
  tansy_out_begin(&out, NULL, '{');
  tansy_out_string(&out, "recipe", recipe);
  if (!o->dry_run) tansy_out_string(&out, "file", o->out);
  tansy_out_string(&out, "family", job->checkpoint->family);
  tansy_out_uint(&out, "n_params", job->checkpoint->n_params);
  tansy_out_uint(&out, "n_matrix_params", job->checkpoint->n_matrix_params);
  tansy_out_uint(&out, "calibration_tokens", (uint64_t)job->calibration.n * job->calibration.window);
  if (found->text.n_tokens) {
    tansy_out_number(&out, "calibration_nll", found->text.nll);
    tansy_out_number(&out, "calibration_expected_nll", found->text.entropy);
  }
  if (job->tuned.outcome != TANSY_TUNING_OFF) {
    static const char *const outcomes[] = {"off", "done", "no gain", "model too large", "text too short"};
    tansy_out_string(&out, "tuning", outcomes[job->tuned.outcome]);
  }
  if (job->tuned.n_tokens) {
    tansy_out_uint(&out, "tuning_tokens", job->tuned.n_tokens);
    tansy_out_number(&out, "tuning_kl_before", job->tuned.kl_before);
    tansy_out_number(&out, "tuning_kl_after", job->tuned.kl_after);
  }
  if (found->met.n_tries) {
    tansy_out_number(&out, "kl", found->met.kl);
    tansy_out_uint(&out, "kl_predictions", found->met.n_predictions);
    tansy_out_uint(&out, "tries", found->met.n_tries);
  }
  tansy_out_uint(&out, "file_bytes", sizes->file_nbytes);
  tansy_out_uint(&out, "attachment_bytes", sizes->attachment_nbytes);
  tansy_out_uint(&out, "tensor_bytes", sizes->tensor_nbytes);
  tansy_out_uint(&out, "index_bytes", sizes->index_nbytes);
  tansy_out_number(&out, "bits_per_weight", (double)(sizes->file_nbytes - sizes->attachment_nbytes) * 8 / n);
  tansy_out_number(&out, "bits_per_weight_with_attachments", (double)sizes->file_nbytes * 8 / n);
  tansy_out_number(&out, "seconds", tansy_seconds() - job->progress.started);
  tansy_out_begin(&out, "tensors", '[');
  for (uint32_t i = 0; i < job->n_results; i++) {
    const struct tansy_matrix_result *r = &job->results[i];
    double count = (double)r->n_rows * r->n_cols;
    char name[96];
    tansy_role_name(r->role, r->layer, name, sizeof name);
    tansy_out_begin(&out, NULL, '{');
    tansy_out_string(&out, "name", name);
    tansy_out_begin(&out, "shape", '[');
    tansy_out_uint(&out, NULL, r->n_rows);
    tansy_out_uint(&out, NULL, r->n_cols);
    tansy_out_end(&out, ']');
    tansy_out_number(&out, "entropy", r->stats.entropy_bits);
    tansy_out_number(&out, "bits_per_weight", (double)r->stats.nbytes * 8 / count);
    tansy_out_number(&out, "zeros", (double)r->stats.n_zero / count);
    if (r->loss > 0) tansy_out_number(&out, "expected_kl", r->loss);
    tansy_out_uint(&out, "escapes", r->n_escapes);
    tansy_out_uint(&out, "n_tables", r->n_tables);
    tansy_out_uint(&out, "raw_bits", r->raw_bits);
    tansy_out_end(&out, '}');
  }
  tansy_out_end(&out, ']');
  tansy_out_end(&out, '}');
}

static enum tansy_status read_calibration(const struct options *o, struct tansy_job *job, struct tansy_failure *failure) {
  const struct tansy_config *c = &job->checkpoint->config;
  uint32_t window = o->window ? o->window : c->context < 512 ? c->context : 512;
  if (window < 2 || window > c->context) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--window is 2 to the model's context of %u tokens", c->context);
  int32_t *ids;
  size_t n;
  TANSY_TRY(tansy_ids_read(o->calibration, c->vocab, &ids, &n, failure));
  enum tansy_status status = TANSY_OK;
  if (n < window)
    status = tansy_fail(failure, TANSY_ERR_CALIBRATION, "the calibration text has %zu tokens; it must fill at least one window of %u", n, window);
  if (status == TANSY_OK) status = tansy_windows_cut(ids, n, window, o->calibration_tokens, &job->calibration, failure);
  /* more of the text, unless somebody has said how much. A divergence to be met is measured on some of the calibration windows: tuning
   * must not see these */
  if (status == TANSY_OK && job->target.kind != TANSY_TARGET_KL && o->tune_tokens && (o->tune_given || !o->calibration_given))
    status = tansy_windows_cut(ids, n, window, o->tune_tokens, &job->tuning, failure);
  free(ids);
  if (status == TANSY_OK && (uint64_t)job->calibration.n * window < 8192) {
    char text[160];
    snprintf(text, sizeof text, "only %u tokens of calibration text: expect a clearly worse model; 32768 or more are right", job->calibration.n * window);
    tansy_progress_warn(&job->progress, text);
  }
  return status;
}

/* a text of another kind than the model's own calibrates it for what it does not do */
static enum tansy_status check_calibration(struct tansy_job *job, struct tansy_text_check *check, struct tansy_failure *failure) {
  tansy_progress_at(&job->progress, "text", NULL, 0);
  TANSY_TRY(tansy_text_check(job->checkpoint, job->team, &job->calibration, check, failure));
  if (!isfinite(check->nll) || !isfinite(check->entropy))
    return tansy_fail(failure, TANSY_ERR_NONFINITE, "the checkpoint's own predictions are not finite: some weight is far too large");
  if (check->nll - check->entropy > TANSY_TEXT_STRANGE) {
    char text[240];
    snprintf(text, sizeof text,
             "the model does not know this kind of calibration text (another language, or noise?): it is surprised by %.1f nats a token and "
             "expects %.1f; the result will be worse than with text of its own kind",
             check->nll, check->entropy);
    tansy_progress_warn(&job->progress, text);
  }
  return TANSY_OK;
}

/* "123", "40MB", "1.5GB", "800KB" (powers of ten), "40MiB" */
static enum tansy_status parse_size(const char *text, double *out, struct tansy_failure *failure) {
  static const struct {
    const char *unit;
    double factor;
  } units[] = {{"", 1}, {"B", 1}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}};
  char *end;
  double v = strtod(text, &end);
  while (*end == ' ') end++;
  for (size_t i = 0; end != text && v > 0 && i < sizeof units / sizeof *units; i++) {
    if (strcmp(units[i].unit, end) != 0) continue;
    *out = v * units[i].factor;
    return TANSY_OK;
  }
  return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--size \"%s\" is not a size (40MB, 1.5GB, 800KiB)", text);
}

static enum tansy_status read_target(const struct options *o, struct tansy_job *job, struct tansy_failure *failure) {
  if (o->bits_given + o->kl_given + (o->size != NULL) > 1) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--bits, --size and --max-kl exclude each other");
  job->target = (struct tansy_target){.kind = TANSY_TARGET_BITS, .is_default = !o->bits_given && !o->size && !o->kl_given, .value = o->bits};
  if (o->kl_given) job->target = (struct tansy_target){.kind = TANSY_TARGET_KL, .value = o->max_kl};
  if (o->size) {
    job->target.kind = TANSY_TARGET_SIZE;
    TANSY_TRY(parse_size(o->size, &job->target.value, failure));
  }
  if (!(job->target.value > 0)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--bits, --size and --max-kl are greater than 0");
  return TANSY_OK;
}

static enum tansy_status run_recipe(const struct options *o, const char *recipe, struct tansy_job *job, struct tansy_failure *failure) {
  if (strcmp(recipe, "plain") == 0) {
    if (o->size || o->kl_given) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "the plain recipe takes --bits, not --size or --max-kl");
    double bits = o->bits_given ? o->bits : 8;
    if (!(bits >= 2 && bits <= 8 && bits == (double)(uint32_t)bits))
      return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--bits of the plain recipe is a whole number from 2 to 8");
    return tansy_recipe_plain(job, (uint32_t)bits, failure);
  }
  if (strcmp(recipe, "paper") == 0) {
    struct tansy_paper_options paper = o->paper;
    if (o->no_prune) paper.prune = 0;
    if (!(paper.alpha >= 0 && paper.alpha <= 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--alpha is 0 to 1");
    if (!(paper.prune >= 0 && paper.prune < 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--prune is 0 to 1");
    if (o->step_given && !(paper.step >= 0.005)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--step is 0.005 or more");
    if (!(paper.table_step > 0 && paper.table_step <= 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--table-step is greater than 0, at most 1");
    if (!(paper.allocate >= 0 && paper.allocate <= 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--allocate is 0 to 1");
    if (!(paper.token_scale >= 0 && paper.token_scale <= 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--token-scale is 0 to 1");
    if (!(paper.row_scale >= 0 && paper.row_scale <= 1)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--row-scale is 0 to 1");
    return tansy_recipe_paper(job, &paper, failure);
  }
  if (strcmp(recipe, "best") == 0) return tansy_recipe_best(job, failure);
  return tansy_fail(failure, TANSY_ERR_ARGUMENT, "unknown recipe \"%s\" (plain, paper, best)", recipe);
}

/* A matrix of zeros is a wreck, or a file that was not downloaded whole, more often than it is meant. */
static void warn_of_zeros(struct tansy_job *job) {
  uint32_t n = 0;
  char first[96] = "", text[240];
  for (uint32_t i = 0; i < job->n_results; i++) {
    const struct tansy_matrix_result *r = &job->results[i];
    if (r->stats.n_zero == (uint64_t)r->n_rows * r->n_cols && n++ == 0) tansy_role_name(r->role, r->layer, first, sizeof first);
  }
  if (n == 0) return;
  if (n == job->n_results)
    snprintf(text, sizeof text, "every matrix is all zeros: is this checkpoint complete?");
  else
    snprintf(text, sizeof text, "%u of %u matrices are all zeros in the file, the first of them %s", n, job->n_results, first);
  tansy_progress_warn(&job->progress, text);
}

struct recipe_call {
  const struct options *options;
  const char *name;
};

static enum tansy_status call_recipe(void *ctx, struct tansy_job *job, struct tansy_failure *failure) {
  const struct recipe_call *call = ctx;
  return run_recipe(call->options, call->name, job, failure);
}

/* the recipe once, or until the divergence asked for is met */
static enum tansy_status make_model(const struct options *o, const char *recipe, struct tansy_job *job, struct tansy_kl_met *met,
                                    struct tansy_failure *failure) {
  if (job->target.kind != TANSY_TARGET_KL || strcmp(recipe, "plain") == 0) {
    if (!o->dry_run) TANSY_TRY(tansy_resume_open(job, o->out, o->save_every, failure));
    return run_recipe(o, recipe, job, failure);
  }
  if (!job->calibration.n) return tansy_fail(failure, TANSY_ERR_CALIBRATION, "--max-kl needs a calibration text to measure it on");
  if (!o->out) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--max-kl with --dry-run needs -o too: tries are written beside it, and removed");
  char trial[4096];
  if (snprintf(trial, sizeof trial, "%s.trial", o->out) >= (int)sizeof trial) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "-o: the path is too long");
  return tansy_meet_kl(job, job->target.value, trial, call_recipe, &(struct recipe_call){o, recipe}, met, failure);
}

static enum tansy_status compress(const struct options *o, const char *in_dir, struct tansy_failure *failure) {
  struct tansy_checkpoint checkpoint;
  struct tansy_job job = {0};
  struct tansy_file_sizes sizes = {0};
  struct findings found = {0};
  /* plain integers are what "8 bits, nothing pruned" means */
  const char *recipe = o->recipe ? o->recipe : o->no_prune ? "plain" : "best";
  TANSY_TRY(tansy_progress_kind_parse(o->progress, &job.progress.kind, failure));
  TANSY_TRY(tansy_checkpoint_open(in_dir, &checkpoint, failure));
  job.checkpoint = &checkpoint;
  job.writer.config = checkpoint.config;
  job.tune_tokens = o->tune_tokens;
  job.is_tune_given = o->tune_given;
  job.results = calloc(checkpoint.n_sources + 1u, sizeof *job.results);
  job.writer.attachments = calloc(o->attach.n + 1u, sizeof *job.writer.attachments);
  job.team = tansy_team_new(o->n_threads);
  enum tansy_status status = job.results && job.writer.attachments && job.team ? TANSY_OK : tansy_fail_memory(failure);
  if (status == TANSY_OK && o->out) {
    status = tansy_parts_init(&job.parts, o->out, failure);
    job.writer.parts = &job.parts;
    job.writer.max_memory_nbytes = o->tensor_memory;
  }
  for (uint32_t i = 0; i < o->attach.n && status == TANSY_OK; i++) status = attach(&job.writer, o->attach.value[i], failure);
  if (status == TANSY_OK) status = read_target(o, &job, failure);
  if (status == TANSY_OK && o->calibration && strcmp(recipe, "plain") != 0) status = read_calibration(o, &job, failure);
  tansy_progress_start(&job.progress, job.progress.kind, 0);
  double started = job.progress.started;
  if (status == TANSY_OK && job.calibration.n) status = check_calibration(&job, &found.text, failure);
  if (status == TANSY_OK) status = make_model(o, recipe, &job, &found.met, failure);
  if (status == TANSY_OK)
    status = o->dry_run ? tansy_writer_sizes(&job.writer, &sizes, failure) : tansy_writer_write(&job.writer, o->out, &sizes, failure);
  tansy_progress_finish(&job.progress);
  if (status == TANSY_OK) warn_of_zeros(&job);
  job.progress.started = started;
  tansy_parts_free(&job.parts, status != TANSY_OK && job.resume.path);
  tansy_resume_close(&job, status == TANSY_OK);
  if (status == TANSY_OK) report(o, &job, recipe, &found, &sizes);
  tansy_writer_free(&job.writer);
  tansy_team_free(job.team);
  free(job.calibration.tokens);
  free(job.tuning.tokens);
  free(job.results);
  tansy_checkpoint_close(&checkpoint);
  return status;
}

enum tansy_status tansy_command_compress(int argc, char **argv, struct tansy_failure *failure) {
  struct options o = {.progress = "none", .bits = 3.2, .calibration_tokens = 32768, .tune_tokens = 491520, .save_every = 30, .tensor_memory = 64 << 20, .paper = {.alpha = 0.35, .prune = 0.05, .table_step = 0.45, .allocate = 0.6, .token_scale = 0.4}};
  const struct tansy_option options[] = {
      {"-o", 's', &o.out, NULL},
      {"--recipe", 's', &o.recipe, NULL},
      {"--bits", 'd', &o.bits, &o.bits_given},
      {"--size", 's', &o.size, NULL},
      {"--max-kl", 'd', &o.max_kl, &o.kl_given},
      {"--step", 'd', &o.paper.step, &o.step_given},
      {"--alpha", 'd', &o.paper.alpha, NULL},
      {"--prune", 'd', &o.paper.prune, NULL},
      {"--table-step", 'd', &o.paper.table_step, NULL},
      {"--allocate", 'd', &o.paper.allocate, NULL},
      {"--token-scale", 'd', &o.paper.token_scale, NULL},
      {"--row-scale", 'd', &o.paper.row_scale, NULL},
      {"--no-prune", 'f', &o.no_prune, NULL},
      {"--calibration", 's', &o.calibration, NULL},
      {"--calibration-tokens", 'u', &o.calibration_tokens, &o.calibration_given},
      {"--tune-tokens", 'u', &o.tune_tokens, &o.tune_given},
      {"--window", 'u', &o.window, NULL},
      {"--attach", 'a', &o.attach, NULL},
      {"--threads", 'u', &o.n_threads, NULL},
      {"--progress", 's', &o.progress, NULL},
      {"--dry-run", 'f', &o.dry_run, NULL},
      {"--save-every", 'd', &o.save_every, NULL},
      {"--tensor-memory", 'u', &o.tensor_memory, NULL},
  };
  const char *in_dir = NULL;
  TANSY_TRY(tansy_options_parse(argc, argv, options, sizeof options / sizeof *options, &in_dir, 1, failure));
  if (!in_dir) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "compress needs the directory of a checkpoint");
  if (!o.out && !o.dry_run) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "compress needs -o OUT.tansy");
  return compress(&o, in_dir, failure);
}
