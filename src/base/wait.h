/* wait.h: sleep until a word in memory changes, and wake who sleeps on it. Only what a thread team needs; in builds with threads. */
#ifndef TANSY_BASE_WAIT_H
#define TANSY_BASE_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* no end to a wait */
#define TANSY_FOR_EVER INT64_C(-1)

#if defined(__wasm_atomics__)

/* Returns at once when *word is not `expected` any more; may return early. False: nothing came in so many ns. */
static inline bool tansy_wait(_Atomic uint32_t *word, uint32_t expected, int64_t ns) {
  return __builtin_wasm_memory_atomic_wait32((int32_t *)word, (int32_t)expected, ns) != 2;
}
static inline void tansy_wake_all(_Atomic uint32_t *word) { __builtin_wasm_memory_atomic_notify((int32_t *)word, UINT32_MAX); }
static inline void tansy_pause(void) {}

#else /* native: for tests; yields instead of sleeping, so that it needs no system header of its own */

#include <threads.h>
#include <time.h>

static inline int64_t tansy_now_ns(void) {
  struct timespec now;
  timespec_get(&now, TIME_UTC);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static inline bool tansy_wait(_Atomic uint32_t *word, uint32_t expected, int64_t ns) {
  int64_t end = tansy_now_ns() + ns;
  while (atomic_load_explicit(word, memory_order_acquire) == expected) {
    if (ns >= 0 && tansy_now_ns() >= end) return false;
    thrd_yield();
  }
  return true;
}
static inline void tansy_wake_all(_Atomic uint32_t *word) { (void)word; }
static inline void tansy_pause(void) {}

#endif
#endif
