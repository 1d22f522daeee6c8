/* cmd_eval.c: tansy-pack eval: perplexity, top-1 and divergence from the checkpoint, with the real size beside them. */
#include <math.h>
#include <stdlib.h>

#include "format/container.h"
#include "pack/command.h"
#include "pack/evaluate.h"

struct options {
  const char *tokens, *reference, *progress;
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

static void report(const struct tansy_model_file *file, const struct sizes *sizes, const struct tansy_windows *windows,
                   const struct tansy_score *s, bool has_reference, double seconds) {
  struct tansy_out out = {.file = stdout};
  double n = (double)sizes->n_params, count = (double)s->n;
  tansy_out_begin(&out, NULL, '{');
  tansy_out_string(&out, "file", file->path);
  tansy_out_uint(&out, "file_bytes", file->file_nbytes);
  tansy_out_uint(&out, "attachment_bytes", sizes->attachment_nbytes);
  tansy_out_uint(&out, "tensor_bytes", sizes->tensor_nbytes);
  tansy_out_uint(&out, "n_params", sizes->n_params);
  tansy_out_uint(&out, "n_matrix_params", sizes->n_matrix_params);
  tansy_out_number(&out, "bits_per_weight", (double)(file->file_nbytes - sizes->attachment_nbytes) * 8 / n);
  tansy_out_number(&out, "bits_per_weight_with_attachments", (double)file->file_nbytes * 8 / n);
  tansy_out_uint(&out, "window", windows->window);
  tansy_out_uint(&out, "windows", windows->n);
  tansy_out_uint(&out, "predictions", s->n);
  tansy_out_number(&out, "perplexity", exp(s->nll / count));
  tansy_out_number(&out, "top1", (double)s->n_right / count);
  if (has_reference) {
    tansy_out_number(&out, "reference_perplexity", exp(s->reference_nll / count));
    tansy_out_number(&out, "reference_top1", (double)s->n_reference_right / count);
    tansy_out_number(&out, "kl", s->kl / count);
    tansy_out_number(&out, "same_top1", (double)s->n_agree / count);
  }
  tansy_out_number(&out, "seconds", seconds);
  tansy_out_end(&out, '}');
}

static enum tansy_status evaluate(const struct options *o, const char *path, struct tansy_team *team, struct tansy_failure *failure) {
  struct tansy_progress progress = {0};
  struct tansy_checkpoint checkpoint = {0};
  struct tansy_reference reference = {0};
  struct tansy_model_file file;
  struct tansy_windows windows = {0};
  struct tansy_config config;
  struct tansy_score score;
  struct sizes sizes;
  int32_t *ids = NULL;
  size_t n_ids;
  TANSY_TRY(tansy_progress_kind_parse(o->progress, &progress.kind, failure));
  TANSY_TRY(tansy_model_file_open(path, &file, failure));
  enum tansy_status status = read_sizes(&file, &config, &sizes, failure);
  if (status == TANSY_OK) status = tansy_ids_read(o->tokens, config.vocab, &ids, &n_ids, failure);
  uint32_t window = o->window ? o->window : config.context < 512 ? config.context : 512;
  if (status == TANSY_OK && (window < 2 || window > config.context))
    status = tansy_fail(failure, TANSY_ERR_ARGUMENT, "--window is 2 to the model's context of %u tokens", config.context);
  if (status == TANSY_OK) status = tansy_windows_cut(ids, n_ids, window, o->max_tokens, &windows, failure);
  free(ids);
  tansy_progress_start(&progress, progress.kind, (double)windows.n + (o->reference ? config.n_layers : 0));
  if (status == TANSY_OK && o->reference) {
    status = tansy_checkpoint_open(o->reference, &checkpoint, failure);
    if (status == TANSY_OK) status = tansy_reference_init(&reference, &checkpoint, team, &windows, &progress, failure);
  }
  if (status == TANSY_OK) status = tansy_evaluate(&file, o->reference ? &reference : NULL, team, &windows, &progress, &score, failure);
  tansy_progress_finish(&progress);
  if (status == TANSY_OK) report(&file, &sizes, &windows, &score, o->reference != NULL, tansy_seconds() - progress.started);
  tansy_reference_free(&reference);
  tansy_checkpoint_close(&checkpoint);
  free(windows.tokens);
  tansy_model_file_close(&file);
  return status;
}

enum tansy_status tansy_command_eval(int argc, char **argv, struct tansy_failure *failure) {
  struct options o = {.progress = "none", .max_tokens = 32768};
  const struct tansy_option options[] = {
      {"--tokens", 's', &o.tokens, NULL},     {"--reference", 's', &o.reference, NULL}, {"--window", 'u', &o.window, NULL},
      {"--max-tokens", 'u', &o.max_tokens, NULL}, {"--threads", 'u', &o.n_threads, NULL},   {"--progress", 's', &o.progress, NULL},
  };
  const char *path = NULL;
  TANSY_TRY(tansy_options_parse(argc, argv, options, sizeof options / sizeof *options, &path, 1, failure));
  if (!path || !o.tokens) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "eval needs MODEL.tansy and --tokens IDS");
  struct tansy_team *team = tansy_team_new(o.n_threads);
  if (!team) return tansy_fail_memory(failure);
  enum tansy_status status = evaluate(&o, path, team, failure);
  tansy_team_free(team);
  return status;
}
