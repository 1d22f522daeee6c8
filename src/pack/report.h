/* report.h: what the compressor says: one JSON object on stdout, progress on stderr. */
#ifndef TANSY_PACK_REPORT_H
#define TANSY_PACK_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "pack/failure.h"

/* Writes JSON; the caller nests begin and end correctly. `key` is NULL inside arrays. Numbers that are not finite become null. */
struct tansy_out {
  FILE *file;
  int depth;
  bool has_value[16];
};
void tansy_out_begin(struct tansy_out *out, const char *key, char bracket /* '{' or '[' */);
void tansy_out_end(struct tansy_out *out, char bracket /* '}' or ']' */);
void tansy_out_number(struct tansy_out *out, const char *key, double value);
void tansy_out_uint(struct tansy_out *out, const char *key, uint64_t value);
void tansy_out_string(struct tansy_out *out, const char *key, const char *value);
void tansy_out_bool(struct tansy_out *out, const char *key, bool value);

enum tansy_progress_kind { TANSY_PROGRESS_NONE, TANSY_PROGRESS_TEXT, TANSY_PROGRESS_JSON };

/* Progress of one command: stages that start and advance; time left is projected over the whole from work done. */
struct tansy_progress {
  enum tansy_progress_kind kind;
  double started, reported; /* seconds */
  double total, done;       /* work units of the whole command; total 0: unknown */
  double base, since;       /* of them, done by an earlier run that this one goes on from; when it went on, 0: from `started` */
  const char *stage;
};
void tansy_progress_start(struct tansy_progress *p, enum tansy_progress_kind kind, double total);
/* `detail` may be NULL; reports when the stage changes, and at most five times a second otherwise */
void tansy_progress_at(struct tansy_progress *p, const char *stage, const char *detail, double done);
/* a line for the user that is no failure */
void tansy_progress_warn(struct tansy_progress *p, const char *text);
void tansy_progress_finish(struct tansy_progress *p);

double tansy_seconds(void); /* monotonic */

/* name of a status as errors carry it ("NOT_CHECKPOINT") */
const char *tansy_status_name(enum tansy_status status);

#endif
