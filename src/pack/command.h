/* command.h: what the subcommands of tansy-pack share. */
#ifndef TANSY_PACK_COMMAND_H
#define TANSY_PACK_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "pack/failure.h"
#include "pack/report.h"

/* One option of a subcommand: "--bits" with a value or, for flags, without. */
struct tansy_option {
  const char *name; /* with dashes */
  char kind;        /* 'f' flag (bool), 'u' uint32_t, 'd' double, 's' const char *, 'a' repeatable: struct tansy_strings */
  void *out;
  bool *given;      /* or NULL */
};
struct tansy_strings {
  const char *value[64];
  uint32_t n;
};

/* Fills options and `positional` (at most n_positional). ARGUMENT names what is wrong. */
enum tansy_status tansy_options_parse(int argc, char **argv, const struct tansy_option *options, uint32_t n_options,
                                      const char **positional, uint32_t n_positional, struct tansy_failure *failure);

struct tansy_common {
  const char *progress_name;
  enum tansy_progress_kind progress;
  uint32_t n_threads;
};

typedef enum tansy_status tansy_command(int argc, char **argv, struct tansy_failure *failure);
tansy_command tansy_command_compress, tansy_command_eval, tansy_command_inspect, tansy_command_synth;

enum tansy_status tansy_progress_kind_parse(const char *name, enum tansy_progress_kind *out, struct tansy_failure *failure);

/* token ids from a file of u16 (vocab <= 65536) or u32, little-endian; every id checked against the vocabulary */
enum tansy_status tansy_ids_read(const char *path, uint32_t vocab, int32_t **ids, size_t *n, struct tansy_failure *failure);

#endif
