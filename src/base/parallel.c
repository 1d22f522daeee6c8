/* parallel.c: see parallel.h. Without TANSY_HAVE_THREADS every loop runs in its caller. */
#include "base/parallel.h"

#if defined(TANSY_HAVE_THREADS)

#include <stdbool.h>

#include "base/wait.h"

enum {
  OPEN = 0x80000000u,
  /* Looks at a word before going to sleep on it, about 1 ns each: some 40 µs, about what waking up costs. Between two loops of a
   * token there is less, so workers of a busy engine stay awake; of an idle one they sleep. */
  N_SPINS = 40000,
  /* The leader waits awake for a worker's last item so many times as long as the item may take; a longer wait is no work. */
  N_ITEMS_AWAKE = 6,
  /* When a worker loses its core with an item in hand, the leader has to sleep until it is back: some ms, the time of many loops.
   * A loop like that counts LATE_COST, a loop without takes 1 off; beyond LATE_LIMIT the leader works alone for a while before it
   * tries again: MIN_ALONE loops, twice as many each time, half as many after GOOD_STREAK loops without trouble. */
  LATE_COST = 48,
  LATE_LIMIT = 96,
  MIN_ALONE = 256,
  MAX_ALONE = 16384,
  GOOD_STREAK = 4096,
  /* A worker silent for so many waits in a row is dead: 10 s, where an item takes some ms. Many short waits, since a machine that slept meanwhile
   * lets only the one under way run out. */
  SILENCE_NS = 250000000,
  MAX_SILENCE = 40,
};

void tansy_parallel_init(struct tansy_parallel *p, uint32_t n_threads) {
  *p = (struct tansy_parallel){.n_threads = n_threads, .patience = MIN_ALONE};
}

/* A thread takes many items in a row while there are many, so that it reads memory in long runs, and single ones in the end, so that
 * nobody waits long for the last. */
static void take_items(struct tansy_parallel *p, uint32_t thread) {
  uint32_t n_items = p->n_items, share = 2 * p->n_threads;
  uint32_t begin = atomic_load_explicit(&p->next, memory_order_relaxed);
  while (begin < n_items) {
    uint32_t end = begin + (n_items - begin + share - 1) / share;
    if (!atomic_compare_exchange_weak_explicit(&p->next, &begin, end, memory_order_relaxed, memory_order_relaxed)) continue;
    p->body(p->ctx, begin, end, thread);
    begin = atomic_load_explicit(&p->next, memory_order_relaxed);
  }
}

static bool spin_while(_Atomic uint32_t *word, uint32_t value, uint64_t n_spins) {
  for (uint64_t i = 0; i < n_spins; i++) {
    if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
    tansy_pause();
  }
  return false;
}

/* a worker's turn at the loop, if it is still open */
static void join(struct tansy_parallel *p, uint32_t thread) {
  uint32_t state = atomic_load_explicit(&p->state, memory_order_relaxed);
  do {
    if (!(state & OPEN)) return;
  } while (!atomic_compare_exchange_weak_explicit(&p->state, &state, state + 1, memory_order_acquire, memory_order_relaxed));
  take_items(p, thread);
  /* the last one to leave a closed loop wakes the leader */
  if (atomic_fetch_sub_explicit(&p->state, 1, memory_order_acq_rel) == 1) tansy_wake_all(&p->state);
}

void tansy_parallel_work(struct tansy_parallel *p, uint32_t thread) {
  uint32_t seen = 0;
  while (!atomic_load_explicit(&p->is_over, memory_order_acquire)) {
    uint32_t signal = atomic_load_explicit(&p->signal, memory_order_acquire);
    if (signal != seen) {
      seen = signal;
      join(p, thread);
    } else if (!spin_while(&p->signal, seen, N_SPINS)) {
      atomic_fetch_add_explicit(&p->n_sleeping, 1, memory_order_seq_cst);
      tansy_wait(&p->signal, seen, TANSY_FOR_EVER);
      atomic_fetch_sub_explicit(&p->n_sleeping, 1, memory_order_relaxed);
    }
  }
}

static void raise_signal(struct tansy_parallel *p) {
  atomic_fetch_add_explicit(&p->signal, 1, memory_order_seq_cst);
  if (atomic_load_explicit(&p->n_sleeping, memory_order_seq_cst)) tansy_wake_all(&p->signal);
}

/* nobody may join any more, and those inside have left */
static void close_loop(struct tansy_parallel *p, uint64_t item_ns) {
  uint32_t inside = atomic_fetch_and_explicit(&p->state, ~OPEN, memory_order_acq_rel) & ~OPEN;
  bool is_late = false;
  uint32_t silence = 0;
  while (inside) {
    if (!spin_while(&p->state, inside, N_SPINS + N_ITEMS_AWAKE * item_ns)) {
      is_late = true;
      silence = tansy_wait(&p->state, inside, SILENCE_NS) ? 0 : silence + 1;
      /* nobody but a dying worker ends the team within a loop */
      if (silence == MAX_SILENCE || atomic_load_explicit(&p->is_over, memory_order_acquire)) {
        p->is_lost = true;
        p->n_threads = 1;
        return;
      }
    }
    inside = atomic_load_explicit(&p->state, memory_order_acquire);
  }
  if (is_late) p->late += LATE_COST;
  else if (p->late) p->late--;
  if (p->late > LATE_LIMIT) {
    p->late = p->n_good = 0;
    p->n_alone = p->patience;
    if (p->patience < MAX_ALONE) p->patience *= 2;
  } else if (++p->n_good == GOOD_STREAK) {
    p->n_good = 0;
    if (p->patience > MIN_ALONE) p->patience /= 2;
  }
}

void tansy_parallel_for(struct tansy_parallel *p, uint32_t n_items, uint64_t item_ns, tansy_parallel_body *body, void *ctx) {
  if (!n_items) return;
  if (p->n_threads < 2 || n_items < 2 || p->n_alone) {
    if (p->n_alone) p->n_alone--;
    body(ctx, 0, n_items, 0);
    return;
  }
  p->body = body;
  p->ctx = ctx;
  p->n_items = n_items;
  atomic_store_explicit(&p->next, 0, memory_order_relaxed);
  atomic_store_explicit(&p->state, OPEN, memory_order_release);
  raise_signal(p);
  take_items(p, 0);
  close_loop(p, item_ns);
}

void tansy_parallel_end(struct tansy_parallel *p) {
  p->n_threads = 1;
  atomic_store_explicit(&p->is_over, 1, memory_order_release);
  raise_signal(p);
  tansy_wake_all(&p->state); /* the leader may wait for the worker that calls this */
}

#else

void tansy_parallel_init(struct tansy_parallel *p, uint32_t n_threads) {
  (void)n_threads;
  *p = (struct tansy_parallel){.n_threads = 1};
}

void tansy_parallel_for(struct tansy_parallel *p, uint32_t n_items, uint64_t item_ns, tansy_parallel_body *body, void *ctx) {
  (void)p;
  (void)item_ns;
  if (n_items) body(ctx, 0, n_items, 0);
}

void tansy_parallel_work(struct tansy_parallel *p, uint32_t thread) {
  (void)p;
  (void)thread;
}

void tansy_parallel_end(struct tansy_parallel *p) { (void)p; }

#endif
