/* command.c: see command.h. */
#include "pack/command.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pack/files.h"

static enum tansy_status set_option(const struct tansy_option *o, const char *value, struct tansy_failure *failure) {
  char *end;
  switch (o->kind) {
    case 's':
      *(const char **)o->out = value;
      return TANSY_OK;
    case 'a': {
      struct tansy_strings *list = o->out;
      if (list->n == sizeof list->value / sizeof *list->value) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "too many %s", o->name);
      list->value[list->n++] = value;
      return TANSY_OK;
    }
    case 'u': {
      unsigned long long v = strtoull(value, &end, 10);
      if (end == value || *end || value[0] == '-' || v > UINT32_MAX)
        return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s: \"%s\" is not a whole number", o->name, value);
      *(uint32_t *)o->out = (uint32_t)v;
      return TANSY_OK;
    }
    default: {
      double v = strtod(value, &end);
      if (end == value || *end || !(v - v == 0)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s: \"%s\" is not a number", o->name, value);
      *(double *)o->out = v;
      return TANSY_OK;
    }
  }
}

enum tansy_status tansy_options_parse(int argc, char **argv, const struct tansy_option *options, uint32_t n_options,
                                      const char **positional, uint32_t n_positional, struct tansy_failure *failure) {
  uint32_t n_found = 0;
  for (int i = 0; i < argc; i++) {
    if (argv[i][0] != '-' || argv[i][1] == '\0') {
      if (n_found == n_positional) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "unexpected argument \"%s\"", argv[i]);
      positional[n_found++] = argv[i];
      continue;
    }
    const char *equals = strchr(argv[i], '=');
    size_t n = equals ? (size_t)(equals - argv[i]) : strlen(argv[i]);
    const struct tansy_option *o = NULL;
    for (uint32_t k = 0; k < n_options && !o; k++)
      if (strlen(options[k].name) == n && memcmp(options[k].name, argv[i], n) == 0) o = &options[k];
    if (!o) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "unknown option \"%.*s\"", (int)n, argv[i]);
    if (o->given) *o->given = true;
    if (o->kind == 'f') {
      if (equals) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s takes no value", o->name);
      *(bool *)o->out = true;
      continue;
    }
    const char *value = equals ? equals + 1 : i + 1 < argc ? argv[++i] : NULL;
    if (!value) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s needs a value", o->name);
    TANSY_TRY(set_option(o, value, failure));
  }
  return TANSY_OK;
}

enum tansy_status tansy_progress_kind_parse(const char *name, enum tansy_progress_kind *out, struct tansy_failure *failure) {
  if (strcmp(name, "json") == 0)
    *out = TANSY_PROGRESS_JSON;
  else if (strcmp(name, "text") == 0)
    *out = TANSY_PROGRESS_TEXT;
  else if (strcmp(name, "none") == 0)
    *out = TANSY_PROGRESS_NONE;
  else
    return tansy_fail(failure, TANSY_ERR_ARGUMENT, "--progress is one of json, text, none");
  return TANSY_OK;
}

enum tansy_status tansy_ids_read(const char *path, uint32_t vocab, int32_t **ids, size_t *n, struct tansy_failure *failure) {
  struct tansy_file_text file;
  size_t width = vocab <= 65536 ? 2 : 4;
  TANSY_TRY(tansy_file_read(path, (size_t)1 << 30, &file, failure));
  *n = file.nbytes / width;
  *ids = malloc((*n + 1) * sizeof **ids);
  enum tansy_status status = TANSY_OK;
  if (!*ids) {
    status = tansy_fail_memory(failure);
  } else if (file.nbytes % width) {
    status = tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s: %zu bytes are no whole number of %zu-bit token ids", path, file.nbytes, width * 8);
  } else {
    struct tansy_cursor c = tansy_cursor_over(file.bytes, file.nbytes);
    for (size_t i = 0; i < *n; i++) {
      uint32_t id = width == 2 ? tansy_read_u16(&c) : tansy_read_u32(&c);
      if (id >= vocab) {
        status = tansy_fail(failure, TANSY_ERR_ARGUMENT, "%s: token %zu is %u; the vocabulary has %u", path, i, id, vocab);
        break;
      }
      (*ids)[i] = (int32_t)id;
    }
  }
  tansy_file_text_free(&file);
  if (status != TANSY_OK) {
    free(*ids);
    *ids = NULL;
  }
  return status;
}
