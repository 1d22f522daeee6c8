/* cmd_eval.c: tansy-pack eval: perplexity, top-1, divergence from the checkpoint and share of words guessed, with the real size
 * beside them. What is evaluated is a .tansy file through the engine, or a checkpoint (a directory) in floats. */
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "format/container.h"
#include "pack/command.h"
#include "pack/evaluate.h"
#include "pack/files.h"

struct options {
  const char *tokens, *cloze, *reference, *progress;
  uint32_t window, max_tokens, n_threads;
};

/* sizes by kind, from the index */
struct sizes {
  uint64_t n_params, n_matrix_params, tensor_nbytes, attachment_nbytes;
};

static enum tansy_status read_sizes(const struct tansy_model_file *file, struct tansy_config *config, struct sizes *out, struct tansy_failure *failure) {
  struct tansy_index index;
  uint32_t failed;
  enum tansy_status status = tansy_index_open(file->header, file->header_nbytes, &index, &failed);
  if (status != TANSY_OK) return tansy_fail(failure, status, "%s: the index is damaged", file->path);
  *out = (struct sizes){0};
  *config = tansy_config_default();
  struct tansy_index_walk walk = tansy_index_config_walk(&index);
  for (uint32_t i = 0; i < index.n_config; i++) {
    uint64_t key;
    uint32_t value;
    tansy_index_next_config(&walk, &key, &value);
    if (tansy_config_set(config, key, value) != TANSY_OK) return tansy_fail(failure, TANSY_ERR_UNSUPPORTED, "%s: unknown config key", file->path);
  }
  walk = tansy_index_attachment_walk(&index);
  for (uint32_t i = 0; i < index.n_attachments; i++) {
    struct tansy_record_attachment a;
    tansy_index_next_attachment(&walk, &a);
    out->attachment_nbytes += a.nbytes;
  }
  walk = tansy_index_tensor_walk(&index);
  for (uint32_t i = 0; i < index.n_tensors; i++) {
    struct tansy_record r;
    tansy_index_next_tensor(&walk, &r);
    out->tensor_nbytes += r.nbytes;
    uint64_t n = (uint64_t)r.n_rows * r.n_cols;
    bool is_scale = r.role == TANSY_ROLE_EMBED_SCALE || r.role == TANSY_ROLE_HEAD_SCALE || r.role == TANSY_ROLE_POSITION_EMBED_SCALE ||
                    r.role == TANSY_ROLE_ATTN_IN_SCALE || r.role == TANSY_ROLE_ATTN_OUT_SCALE || r.role == TANSY_ROLE_MLP_IN_SCALE ||
                    r.role == TANSY_ROLE_MLP_MID_SCALE || r.role == TANSY_ROLE_ROPE_INV_FREQ || r.role == TANSY_ROLE_ROPE_INV_FREQ_LOCAL;
    if (!is_scale) out->n_params += n; /* scales and frequencies are the format's, not the model's */
    if (r.kind == TANSY_KIND_CODED) out->n_matrix_params += n;
  }
  return TANSY_OK;
}

static void report_file(struct tansy_out *out, const struct tansy_model_file *file, const struct sizes *sizes) {
  double n = (double)sizes->n_params;
  tansy_out_string(out, "file", file->path);
  tansy_out_uint(out, "file_bytes", file->file_nbytes);
  tansy_out_uint(out, "attachment_bytes", sizes->attachment_nbytes);
  tansy_out_uint(out, "tensor_bytes", sizes->tensor_nbytes);
  tansy_out_uint(out, "n_params", sizes->n_params);
  tansy_out_uint(out, "n_matrix_params", sizes->n_matrix_params);
  tansy_out_number(out, "bits_per_weight", (double)(file->file_nbytes - sizes->attachment_nbytes) * 8 / n);
  tansy_out_number(out, "bits_per_weight_with_attachments", (double)file->file_nbytes * 8 / n);
}

/* what is known of words to be guessed */
static void report_cloze(struct tansy_out *out, const struct tansy_score *s, bool has_reference) {
  double n = (double)s->n_windows;
  tansy_out_uint(out, "texts", s->n_windows);
  tansy_out_number(out, "accuracy", (double)s->n_whole / n);
  tansy_out_number(out, "word_perplexity", exp(s->nll / n));
  if (!has_reference) return;
  tansy_out_number(out, "reference_accuracy", (double)s->n_reference_whole / n);
  tansy_out_number(out, "reference_word_perplexity", exp(s->reference_nll / n));
}

static void report_text(struct tansy_out *out, const struct tansy_windows *windows, const struct tansy_score *s, bool has_reference) {
  double count = (double)s->n;
  tansy_out_uint(out, "window", windows->window);
  tansy_out_uint(out, "windows", windows->n);
  tansy_out_uint(out, "predictions", s->n);
  tansy_out_number(out, "perplexity", exp(s->nll / count));
  tansy_out_number(out, "top1", (double)s->n_right / count);
  if (!has_reference) return;
  tansy_out_number(out, "reference_perplexity", exp(s->reference_nll / count));
  tansy_out_number(out, "reference_top1", (double)s->n_reference_right / count);
  tansy_out_number(out, "kl", s->kl / count);
  tansy_out_number(out, "same_top1", (double)s->n_agree / count);
}

static enum tansy_status read_cloze(const struct options *o, const struct tansy_config *config, struct tansy_windows *out, struct tansy_failure *failure) {
  struct tansy_file_text file;
  TANSY_TRY(tansy_file_read(o->cloze, (size_t)1 << 30, &file, failure));
  size_t n = file.nbytes / 4;
  uint32_t *numbers = malloc(n * sizeof *numbers + 1);
  enum tansy_status status = numbers ? TANSY_OK : tansy_fail_memory(failure);
  for (size_t i = 0; i < n && numbers; i++) {
    const uint8_t *b = (const uint8_t *)file.bytes + 4 * i;
    numbers[i] = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
  }
  if (status == TANSY_OK) status = tansy_windows_cloze(numbers, n, config->vocab, o->window ? o->window : config->context, out, failure);
  free(numbers);
  tansy_file_text_free(&file);
  return status;
}

static enum tansy_status read_windows(const struct options *o, const struct tansy_config *config, struct tansy_windows *out,
                                      struct tansy_failure *failure) {
  uint32_t window = o->window ? o->window : config->context < 512 ? config->context : 512;
  if (window < 2 || window > config->context)
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--window is 2 to the model's context of %u tokens", config->context);
  if (o->cloze) return read_cloze(o, config, out, failure);
  int32_t *ids;
  size_t n_ids;
  TANSY_TRY(tansy_ids_read(o->tokens, config->vocab, &ids, &n_ids, failure));
  if (!o->window && n_ids >= 2 && n_ids < window) window = (uint32_t)n_ids; /* a short text is one window */
  uint32_t most = o->max_tokens;
  if (most && most < window) {
    if (most < 2 || o->window) {
      free(ids);
      return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--max-tokens %u is less than a window of %u tokens", most, window);
    }
    window = most;
  }
  enum tansy_status status = tansy_windows_cut(ids, n_ids, window, most - most % window, out, failure);
  free(ids);
  return status;
}

static bool is_directory(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* a checkpoint's floats: what others are compared with, or what is itself evaluated */
struct floats {
  struct tansy_checkpoint checkpoint;
  struct tansy_reference states;
};
static void floats_free(struct floats *f) {
  tansy_reference_free(&f->states);
  tansy_checkpoint_close(&f->checkpoint);
}

static enum tansy_status evaluate(const struct options *o, const char *path, struct tansy_team *team, struct tansy_failure *failure) {
  struct tansy_progress progress = {0};
  struct floats reference = {0}, model = {0};
  struct tansy_model_file file = {.fd = -1};
  struct tansy_windows windows = {0};
  struct tansy_config config;
  struct tansy_score score;
  struct sizes sizes;
  bool is_checkpoint = is_directory(path);
  TANSY_TRY(tansy_progress_kind_parse(o->progress, &progress.kind, failure));
  enum tansy_status status;
  if (is_checkpoint) {
    status = tansy_checkpoint_open(path, &model.checkpoint, failure);
    config = model.checkpoint.config;
  } else {
    TANSY_TRY(tansy_model_file_open(path, &file, failure));
    status = read_sizes(&file, &config, &sizes, failure);
  }
  if (status == TANSY_OK) status = read_windows(o, &config, &windows, failure);
  tansy_progress_start(&progress, progress.kind, (double)windows.n + (o->reference ? config.n_layers : 0) + (is_checkpoint ? config.n_layers : 0));
  if (status == TANSY_OK && o->reference) {
    status = tansy_checkpoint_open(o->reference, &reference.checkpoint, failure);
    if (status == TANSY_OK && reference.checkpoint.config.vocab != config.vocab)
      status = tansy_fail(failure, TANSY_ERR_ARGUMENT, "the reference has a vocabulary of %u tokens and the model one of %u: it was made of another checkpoint",
                          reference.checkpoint.config.vocab, config.vocab);
    if (status == TANSY_OK) status = tansy_reference_init(&reference.states, &reference.checkpoint, team, &windows, &progress, failure);
  }
  if (status == TANSY_OK && is_checkpoint) status = tansy_reference_init(&model.states, &model.checkpoint, team, &windows, &progress, failure);
  struct tansy_reference *ref = o->reference ? &reference.states : NULL;
  if (status == TANSY_OK)
    status = is_checkpoint ? tansy_evaluate_floats(&model.states, ref, team, &windows, &progress, &score, failure)
                           : tansy_evaluate(&file, ref, team, &windows, &progress, &score, failure);
  tansy_progress_finish(&progress);
  if (status == TANSY_OK) {
    struct tansy_out out = {.file = stdout};
    tansy_out_begin(&out, NULL, '{');
    if (is_checkpoint)
      tansy_out_string(&out, "checkpoint", path);
    else
      report_file(&out, &file, &sizes);
    if (o->cloze)
      report_cloze(&out, &score, ref != NULL);
    else
      report_text(&out, &windows, &score, ref != NULL);
    tansy_out_number(&out, "seconds", tansy_seconds() - progress.started);
    tansy_out_end(&out, '}');
  }
  floats_free(&reference);
  if (is_checkpoint)
    floats_free(&model);
  else
    tansy_model_file_close(&file);
  tansy_windows_free(&windows);
  return status;
}

enum tansy_status tansy_command_eval(int argc, char **argv, struct tansy_failure *failure) {
  struct options o = {.progress = "none", .max_tokens = 32768};
  const struct tansy_option options[] = {
      {"--tokens", 's', &o.tokens, NULL},         {"--cloze", 's', &o.cloze, NULL},       {"--reference", 's', &o.reference, NULL},
      {"--window", 'u', &o.window, NULL},         {"--max-tokens", 'u', &o.max_tokens, NULL}, {"--threads", 'u', &o.n_threads, NULL},
      {"--progress", 's', &o.progress, NULL},
  };
  const char *path = NULL;
  TANSY_TRY(tansy_options_parse(argc, argv, options, sizeof options / sizeof *options, &path, 1, failure));
  if (!path || !o.tokens == !o.cloze) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "eval needs MODEL.tansy or CHECKPOINT_DIR, and either --tokens IDS or --cloze TEXTS");
  struct tansy_team *team = tansy_team_new(o.n_threads);
  if (!team) return tansy_fail_memory(failure);
  enum tansy_status status = evaluate(&o, path, team, failure);
  tansy_team_free(team);
  return status;
}
