/* alloc_fault.c: malloc, calloc, realloc and aligned_alloc of this program's own code, one of which fails when asked to. See alloc_fault.h. */
#include "alloc_fault.h"

#include <stdatomic.h>
#include <stddef.h>

enum { NEVER = -1 };
static atomic_int left = NEVER; /* allocations until the one that fails */
static atomic_bool happened;

void *__real_malloc(size_t nbytes);
void *__real_calloc(size_t n, size_t nbytes);
void *__real_realloc(void *old, size_t nbytes);
void *__real_aligned_alloc(size_t alignment, size_t nbytes);
void *__wrap_malloc(size_t nbytes);
void *__wrap_calloc(size_t n, size_t nbytes);
void *__wrap_realloc(void *old, size_t nbytes);
void *__wrap_aligned_alloc(size_t alignment, size_t nbytes);

void alloc_fault_arm(uint32_t nth) {
  happened = false;
  left = (int)nth;
}

bool alloc_fault_disarm(void) {
  left = NEVER;
  return happened;
}

static bool fails(void) {
  if (left < 0 || atomic_fetch_sub(&left, 1) != 0) return false;
  happened = true;
  return true;
}

void *__wrap_malloc(size_t nbytes) { return fails() ? NULL : __real_malloc(nbytes); }
void *__wrap_calloc(size_t n, size_t nbytes) { return fails() ? NULL : __real_calloc(n, nbytes); }
void *__wrap_realloc(void *old, size_t nbytes) { return fails() ? NULL : __real_realloc(old, nbytes); }
void *__wrap_aligned_alloc(size_t alignment, size_t nbytes) { return fails() ? NULL : __real_aligned_alloc(alignment, nbytes); }
