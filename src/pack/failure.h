/* failure.h: why a command of the compressor failed, in words for its user. */
#ifndef TANSY_PACK_FAILURE_H
#define TANSY_PACK_FAILURE_H

#include <stdarg.h>
#include <stdio.h>

#include "base/status.h"

struct tansy_failure {
  char text[640];
};

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline enum tansy_status tansy_fail(struct tansy_failure *failure, enum tansy_status status, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(failure->text, sizeof failure->text, format, args);
  va_end(args);
  return status;
}

static inline enum tansy_status tansy_fail_memory(struct tansy_failure *failure) {
  return tansy_fail(failure, TANSY_ERR_NO_MEMORY, "out of memory");
}

#endif
