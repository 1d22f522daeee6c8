/* json.c: see json.h. One loop over the text with an explicit stack of open containers. */
#include "format/json.h"

#include <stdlib.h>
#include <string.h>

struct parser {
  const char *text;
  size_t nbytes, at;
  struct tansy_json_value *values;
  uint32_t n_values, capacity;
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char peek(const struct parser *p) { return p->at < p->nbytes ? p->text[p->at] : '\0'; }

static void skip_space(struct parser *p) {
  while (p->at < p->nbytes) {
    char c = p->text[p->at];
    if (c != ' ' && c != '\t' && c != '\n' && c != '\r') break;
    p->at++;
  }
}

static int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

static bool skip_string(struct parser *p, size_t *begin, size_t *nbytes) {
  if (peek(p) != '"') return false;
  *begin = ++p->at;
  while (p->at < p->nbytes) {
    unsigned char c = (unsigned char)p->text[p->at];
    if (c == '"') {
      *nbytes = p->at++ - *begin;
      return true;
    }
    if (c < 0x20) return false;
    p->at++;
    if (c != '\\') continue;
    char e = peek(p);
    if (e == 'u') {
      for (int i = 1; i <= 4; i++)
        if (p->at + (size_t)i >= p->nbytes || hex_digit(p->text[p->at + (size_t)i]) < 0) return false;
      p->at += 5;
    } else if (e != '\0' && strchr("\"\\/bfnrt", e)) {
      p->at++;
    } else {
      return false;
    }
  }
  return false;
}

static bool skip_digits(struct parser *p) {
  if (!is_digit(peek(p))) return false;
  while (is_digit(peek(p))) p->at++;
  return true;
}

static bool skip_number(struct parser *p) {
  if (peek(p) == '-') p->at++;
  if (peek(p) == '0')
    p->at++;
  else if (!skip_digits(p))
    return false;
  if (peek(p) == '.') {
    p->at++;
    if (!skip_digits(p)) return false;
  }
  if (peek(p) == 'e' || peek(p) == 'E') {
    p->at++;
    if (peek(p) == '+' || peek(p) == '-') p->at++;
    if (!skip_digits(p)) return false;
  }
  return true;
}

static bool skip_word(struct parser *p, const char *word) {
  size_t n = strlen(word);
  if (p->nbytes - p->at < n || memcmp(p->text + p->at, word, n) != 0) return false;
  p->at += n;
  return true;
}

static enum tansy_status push(struct parser *p, enum tansy_json_kind kind, size_t begin, size_t nbytes) {
  if (p->n_values == p->capacity) {
    if (p->capacity > UINT32_MAX / 4) return TANSY_ERR_CORRUPT;
    uint32_t capacity = p->capacity ? p->capacity * 2 : 64;
    struct tansy_json_value *values = realloc(p->values, capacity * sizeof *values);
    if (!values) return TANSY_ERR_NO_MEMORY;
    p->values = values;
    p->capacity = capacity;
  }
  p->values[p->n_values] = (struct tansy_json_value){(uint8_t)kind, 0, p->n_values + 1, begin, nbytes};
  p->n_values++;
  return TANSY_OK;
}

/* a string, number or word; containers are opened by the caller */
static enum tansy_status parse_scalar(struct parser *p) {
  size_t begin = p->at, nbytes = 0;
  enum tansy_json_kind kind;
  switch (peek(p)) {
    case '"':
      if (!skip_string(p, &begin, &nbytes)) return TANSY_ERR_CORRUPT;
      return push(p, TANSY_JSON_STRING, begin, nbytes);
    case 't':
      if (!skip_word(p, "true")) return TANSY_ERR_CORRUPT;
      kind = TANSY_JSON_TRUE;
      break;
    case 'f':
      if (!skip_word(p, "false")) return TANSY_ERR_CORRUPT;
      kind = TANSY_JSON_FALSE;
      break;
    case 'n':
      if (!skip_word(p, "null")) return TANSY_ERR_CORRUPT;
      kind = TANSY_JSON_NULL;
      break;
    default:
      if (!skip_number(p)) return TANSY_ERR_CORRUPT;
      kind = TANSY_JSON_NUMBER;
  }
  return push(p, kind, begin, p->at - begin);
}

static enum tansy_status parse_key(struct parser *p) {
  size_t begin, nbytes;
  skip_space(p);
  if (!skip_string(p, &begin, &nbytes)) return TANSY_ERR_CORRUPT;
  TANSY_TRY(push(p, TANSY_JSON_STRING, begin, nbytes));
  skip_space(p);
  if (peek(p) != ':') return TANSY_ERR_CORRUPT;
  p->at++;
  return TANSY_OK;
}

static enum tansy_status parse_document(struct parser *p) {
  uint32_t open[TANSY_JSON_MAX_DEPTH];
  uint32_t depth = 0;
  for (;;) {
    skip_space(p);
    char c = peek(p);
    bool opened = c == '{' || c == '[';
    if (opened) {
      if (depth == TANSY_JSON_MAX_DEPTH) return TANSY_ERR_CORRUPT;
      open[depth++] = p->n_values;
      TANSY_TRY(push(p, c == '{' ? TANSY_JSON_OBJECT : TANSY_JSON_ARRAY, p->at, 0));
      p->at++;
      skip_space(p);
      char close = c == '{' ? '}' : ']';
      if (peek(p) != close) {
        p->values[open[depth - 1]].n_children = 1;
        if (c == '{') TANSY_TRY(parse_key(p));
        continue;
      }
    } else {
      TANSY_TRY(parse_scalar(p));
    }
    /* a value is complete: close the containers that end here, then go on to the next child */
    for (;;) {
      if (depth == 0) {
        skip_space(p);
        return p->at == p->nbytes ? TANSY_OK : TANSY_ERR_CORRUPT;
      }
      struct tansy_json_value *parent = &p->values[open[depth - 1]];
      bool object = parent->kind == TANSY_JSON_OBJECT;
      skip_space(p);
      char d = peek(p);
      p->at++;
      if (d == (object ? '}' : ']')) {
        parent->next = p->n_values;
        parent->nbytes = p->at - parent->begin;
        depth--;
        continue;
      }
      if (d != ',') {
        p->at--;
        return TANSY_ERR_CORRUPT;
      }
      parent->n_children++;
      if (object) TANSY_TRY(parse_key(p));
      break;
    }
  }
}

enum tansy_status tansy_json_parse(const char *text, size_t nbytes, struct tansy_json *out, size_t *error_at) {
  struct parser p = {.text = text, .nbytes = nbytes};
  enum tansy_status status = parse_document(&p);
  if (error_at) *error_at = p.at < nbytes ? p.at : nbytes;
  if (status != TANSY_OK) {
    free(p.values);
    *out = (struct tansy_json){0};
    return status;
  }
  *out = (struct tansy_json){text, nbytes, p.values, p.n_values};
  return TANSY_OK;
}

void tansy_json_free(struct tansy_json *json) {
  free(json->values);
  *json = (struct tansy_json){0};
}

enum tansy_json_kind tansy_json_kind_of(const struct tansy_json *json, tansy_json_ref at) {
  return at < 0 || at >= json->n_values ? TANSY_JSON_NULL : (enum tansy_json_kind)json->values[at].kind;
}

tansy_json_ref tansy_json_first(const struct tansy_json *json, tansy_json_ref parent) {
  return tansy_json_n_children(json, parent) ? parent + 1 : TANSY_JSON_NONE;
}

tansy_json_ref tansy_json_next(const struct tansy_json *json, tansy_json_ref parent, tansy_json_ref at) {
  if (at < 0) return TANSY_JSON_NONE;
  uint32_t next = json->values[at].next;
  return next < json->values[parent].next ? (tansy_json_ref)next : TANSY_JSON_NONE;
}

uint32_t tansy_json_n_children(const struct tansy_json *json, tansy_json_ref at) {
  enum tansy_json_kind kind = tansy_json_kind_of(json, at);
  return kind == TANSY_JSON_ARRAY || kind == TANSY_JSON_OBJECT ? json->values[at].n_children : 0;
}

tansy_json_ref tansy_json_get(const struct tansy_json *json, tansy_json_ref object, const char *key) {
  tansy_json_ref found = TANSY_JSON_NONE;
  if (tansy_json_kind_of(json, object) != TANSY_JSON_OBJECT) return found;
  for (tansy_json_ref k = tansy_json_first(json, object); k >= 0;) {
    tansy_json_ref v = json->values[k].next;
    if (tansy_json_string_is(json, k, key)) found = v;
    k = tansy_json_next(json, object, v);
  }
  return found;
}

bool tansy_json_number(const struct tansy_json *json, tansy_json_ref at, double *out) {
  if (tansy_json_kind_of(json, at) != TANSY_JSON_NUMBER) return false;
  const struct tansy_json_value *v = &json->values[at];
  char digits[64];
  if (v->nbytes >= sizeof digits) return false;
  memcpy(digits, json->text + v->begin, v->nbytes);
  digits[v->nbytes] = '\0';
  *out = strtod(digits, NULL);
  return true;
}

bool tansy_json_uint(const struct tansy_json *json, tansy_json_ref at, uint64_t *out) {
  double d;
  if (!tansy_json_number(json, at, &d) || !(d >= 0 && d <= 9007199254740992.0)) return false;
  *out = (uint64_t)d;
  return (double)*out == d;
}

static uint32_t hex4(const char *s) {
  uint32_t v = 0;
  for (int i = 0; i < 4; i++) v = v << 4 | (uint32_t)hex_digit(s[i]);
  return v;
}

bool tansy_json_string(const struct tansy_json *json, tansy_json_ref at, char *out, size_t capacity) {
  if (tansy_json_kind_of(json, at) != TANSY_JSON_STRING || capacity == 0) return false;
  const char *s = json->text + json->values[at].begin, *end = s + json->values[at].nbytes;
  size_t n = 0;
  while (s < end) {
    char utf8[4];
    size_t len = 1;
    if (*s != '\\') {
      utf8[0] = *s++;
    } else if (s[1] != 'u') {
      static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
      const char *f = strchr(from, s[1]);
      utf8[0] = f ? to[f - from] : s[1];
      s += 2;
    } else {
      uint32_t c = hex4(s + 2);
      s += 6;
      if (c >= 0xD800 && c < 0xDC00 && end - s >= 6 && s[0] == '\\' && s[1] == 'u') {
        uint32_t low = hex4(s + 2);
        if (low >= 0xDC00 && low < 0xE000) {
          c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
          s += 6;
        }
      }
      if (c < 0x80) {
        utf8[0] = (char)c;
      } else if (c < 0x800) {
        utf8[0] = (char)(0xC0 | c >> 6), utf8[1] = (char)(0x80 | (c & 63)), len = 2;
      } else if (c < 0x10000) {
        utf8[0] = (char)(0xE0 | c >> 12), utf8[1] = (char)(0x80 | (c >> 6 & 63)), utf8[2] = (char)(0x80 | (c & 63)), len = 3;
      } else {
        utf8[0] = (char)(0xF0 | c >> 18), utf8[1] = (char)(0x80 | (c >> 12 & 63));
        utf8[2] = (char)(0x80 | (c >> 6 & 63)), utf8[3] = (char)(0x80 | (c & 63)), len = 4;
      }
    }
    if (utf8[0] == '\0' || n + len >= capacity) return false;
    memcpy(out + n, utf8, len);
    n += len;
  }
  out[n] = '\0';
  return true;
}

bool tansy_json_string_is(const struct tansy_json *json, tansy_json_ref at, const char *expected) {
  if (tansy_json_kind_of(json, at) != TANSY_JSON_STRING) return false;
  const struct tansy_json_value *v = &json->values[at];
  if (!memchr(json->text + v->begin, '\\', v->nbytes))
    return strlen(expected) == v->nbytes && memcmp(json->text + v->begin, expected, v->nbytes) == 0;
  char text[256];
  return tansy_json_string(json, at, text, sizeof text) && strcmp(text, expected) == 0;
}
