/* json.h: a strict JSON reader for small documents (checkpoint configs, safetensors headers). Compressor only.
 *
 * The text is parsed once into a flat array of values in document order; an object's children are key, value, key, value.
 * Nothing is copied: strings stay in the text, which must outlive the document. Nesting is limited, so that a hostile
 * document cannot exhaust the stack; numbers, escapes and structure are checked completely while parsing. */
#ifndef TANSY_FORMAT_JSON_H
#define TANSY_FORMAT_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TANSY_JSON_MAX_DEPTH = 64 };

enum tansy_json_kind {
  TANSY_JSON_NULL,
  TANSY_JSON_FALSE,
  TANSY_JSON_TRUE,
  TANSY_JSON_NUMBER,
  TANSY_JSON_STRING, /* begin, nbytes: between the quotes, escapes unresolved */
  TANSY_JSON_ARRAY,
  TANSY_JSON_OBJECT,
};

struct tansy_json_value {
  uint8_t kind;
  uint32_t n_children; /* array: values; object: pairs */
  uint32_t next;       /* index of the value after this one and all it holds */
  size_t begin, nbytes;
};

struct tansy_json {
  const char *text;
  size_t nbytes;
  struct tansy_json_value *values; /* [n_values]; 0 is the root */
  uint32_t n_values;
};

/* CORRUPT: not JSON (error_at = byte offset). NO_MEMORY. UTF-8 is not validated. */
enum tansy_status tansy_json_parse(const char *text, size_t nbytes, struct tansy_json *out, size_t *error_at);
void tansy_json_free(struct tansy_json *json);

enum { TANSY_JSON_NONE = -1 }; /* "no such value": every function below takes it and answers "absent" */
typedef int64_t tansy_json_ref;

enum tansy_json_kind tansy_json_kind_of(const struct tansy_json *json, tansy_json_ref at); /* NONE counts as null */
tansy_json_ref tansy_json_get(const struct tansy_json *json, tansy_json_ref object, const char *key); /* last one wins */
/* iteration: first child (of an object: its first key), then next after a value; NONE at the end of `parent` */
tansy_json_ref tansy_json_first(const struct tansy_json *json, tansy_json_ref parent);
tansy_json_ref tansy_json_next(const struct tansy_json *json, tansy_json_ref parent, tansy_json_ref at);
uint32_t tansy_json_n_children(const struct tansy_json *json, tansy_json_ref at);

bool tansy_json_number(const struct tansy_json *json, tansy_json_ref at, double *out);
/* a number that is an integer in 0..2^53 */
bool tansy_json_uint(const struct tansy_json *json, tansy_json_ref at, uint64_t *out);
/* resolves escapes into out (NUL-terminated, UTF-8); false when not a string, too long, or it holds a NUL */
bool tansy_json_string(const struct tansy_json *json, tansy_json_ref at, char *out, size_t capacity);
bool tansy_json_string_is(const struct tansy_json *json, tansy_json_ref at, const char *expected);

#endif
