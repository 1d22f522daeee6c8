/* report.c: see report.h. */
#define _POSIX_C_SOURCE 200809L
#include "pack/report.h"

#include <string.h>
#include <time.h>

static void write_string(FILE *f, const char *s) {
  fputc('"', f);
  for (; *s; s++) {
    unsigned char c = (unsigned char)*s;
    if (c == '"' || c == '\\')
      fprintf(f, "\\%c", c);
    else if (c < 0x20)
      fprintf(f, "\\u%04x", c);
    else
      fputc(c, f);
  }
  fputc('"', f);
}

static void before_value(struct tansy_out *out, const char *key) {
  if (out->has_value[out->depth]) fputc(',', out->file);
  if (out->depth) {
    fputc('\n', out->file);
    for (int i = 0; i < out->depth; i++) fputc(' ', out->file);
  }
  out->has_value[out->depth] = true;
  if (!key) return;
  write_string(out->file, key);
  fputs(": ", out->file);
}

void tansy_out_begin(struct tansy_out *out, const char *key, char bracket) {
  before_value(out, key);
  fputc(bracket, out->file);
  out->has_value[++out->depth] = false;
}

void tansy_out_end(struct tansy_out *out, char bracket) {
  out->depth--;
  fputc(bracket, out->file);
  if (out->depth == 0) fputc('\n', out->file);
}

void tansy_out_number(struct tansy_out *out, const char *key, double value) {
  before_value(out, key);
  if (value - value == 0)
    fprintf(out->file, "%.9g", value);
  else
    fputs("null", out->file);
}

void tansy_out_uint(struct tansy_out *out, const char *key, uint64_t value) {
  before_value(out, key);
  fprintf(out->file, "%llu", (unsigned long long)value);
}

void tansy_out_string(struct tansy_out *out, const char *key, const char *value) {
  before_value(out, key);
  write_string(out->file, value);
}

void tansy_out_bool(struct tansy_out *out, const char *key, bool value) {
  before_value(out, key);
  fputs(value ? "true" : "false", out->file);
}

double tansy_seconds(void) {
  struct timespec t;
  if (clock_gettime(CLOCK_MONOTONIC, &t) != 0) return 0;
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void tansy_progress_start(struct tansy_progress *p, enum tansy_progress_kind kind, double total) {
  *p = (struct tansy_progress){.kind = kind, .started = tansy_seconds(), .reported = -1, .total = total, .stage = ""};
}

void tansy_progress_at(struct tansy_progress *p, const char *stage, const char *detail, double done) {
  double now = tansy_seconds();
  bool new_stage = !p->stage || strcmp(stage, p->stage) != 0;
  p->done = done;
  p->stage = stage;
  if (p->kind == TANSY_PROGRESS_NONE || (!new_stage && now - p->reported < 0.2)) return;
  p->reported = now;
  double elapsed = now - p->started, fraction = p->total > 0 ? done / p->total : 0;
  /* a guess from a hundredth of the work, or from what there is after some seconds */
  double spent = now - (p->since > 0 ? p->since : p->started);
  bool known = p->total > 0 && done > p->base && (done - p->base > 0.01 * p->total || spent > 10);
  double left = known ? spent * (p->total - done) / (done - p->base) : -1;
  if (p->kind == TANSY_PROGRESS_JSON) {
    fputs("{\"stage\": ", stderr);
    write_string(stderr, stage);
    if (detail) fputs(", \"detail\": ", stderr), write_string(stderr, detail);
    fprintf(stderr, ", \"fraction\": %.4f, \"elapsed\": %.2f", fraction, elapsed);
    if (left >= 0) fprintf(stderr, ", \"left\": %.1f", left);
    fputs("}\n", stderr);
  } else {
    fprintf(stderr, "\r\x1b[K%3.0f%% %s%s%s", 100 * fraction, stage, detail ? " " : "", detail ? detail : "");
    if (left >= 0) fprintf(stderr, " (%.0f s left)", left);
  }
  fflush(stderr);
}

void tansy_progress_warn(struct tansy_progress *p, const char *text) {
  if (p->kind == TANSY_PROGRESS_JSON) {
    fputs("{\"warning\": ", stderr);
    write_string(stderr, text);
    fputs("}\n", stderr);
  } else {
    fprintf(stderr, "%swarning: %s\n", p->kind == TANSY_PROGRESS_TEXT && p->reported >= 0 ? "\r\x1b[K" : "", text);
  }
}

void tansy_progress_finish(struct tansy_progress *p) {
  if (p->kind == TANSY_PROGRESS_TEXT && p->reported >= 0) fputs("\r\x1b[K", stderr);
  fflush(stderr);
}

const char *tansy_status_name(enum tansy_status status) {
  static const char *const names[] = {
      "OK",       "ARGUMENT",    "TRUNCATED", "CORRUPT",   "CHECKSUM", "NOT_TANSY", "VERSION",        "UNSUPPORTED", "SHAPE",
      "OVER_BUDGET", "CONTEXT", "NOT_READY", "CANCELLED", "NO_MEMORY", "IO",       "NOT_CHECKPOINT", "NONFINITE",   "CALIBRATION"};
  return (size_t)status < sizeof names / sizeof *names ? names[status] : "UNKNOWN";
}
