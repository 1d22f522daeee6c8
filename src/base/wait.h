/* wait.h: sleep until a word in memory changes, and wake who sleeps on it. Only what a thread team needs; in builds with threads. */
#ifndef TANSY_BASE_WAIT_H
#define TANSY_BASE_WAIT_H

#include <stdatomic.h>
#include <stdint.h>

#if defined(__wasm_atomics__)

/* returns at once when *word is not `expected` any more; may return early */
static inline void tansy_wait(_Atomic uint32_t *word, uint32_t expected) {
  __builtin_wasm_memory_atomic_wait32((int32_t *)word, (int32_t)expected, -1);
}
static inline void tansy_wake_all(_Atomic uint32_t *word) { __builtin_wasm_memory_atomic_notify((int32_t *)word, UINT32_MAX); }
static inline void tansy_pause(void) {}

#else /* native: for tests; yields instead of sleeping, so that it needs no system header of its own */

#include <threads.h>

static inline void tansy_wait(_Atomic uint32_t *word, uint32_t expected) {
  while (atomic_load_explicit(word, memory_order_acquire) == expected) thrd_yield();
}
static inline void tansy_wake_all(_Atomic uint32_t *word) { (void)word; }
static inline void tansy_pause(void) {}

#endif
#endif
