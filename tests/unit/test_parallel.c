/* test_parallel.c: every item of every loop runs exactly once, whoever comes and goes. */
#include "base/parallel.h"
#include "test.h"

#if defined(TANSY_HAVE_THREADS)
#include <pthread.h>

#include "base/wait.h"
#endif

enum { N_THREADS = 4, MAX_ITEMS = 300 };

struct loop {
  uint32_t count[MAX_ITEMS];
  uint32_t by_thread[N_THREADS];
  uint32_t weight;
};

static void body(void *ctx, uint32_t begin, uint32_t end, uint32_t thread) {
  struct loop *l = ctx;
  for (uint32_t i = begin; i < end; i++) {
    volatile uint32_t busy = 0;
    for (uint32_t k = 0; k < l->weight * (i % 7); k++) busy += k;
    l->count[i]++;
    l->by_thread[thread]++;
  }
}

static void check_loops(struct tansy_parallel *p, uint32_t n_loops) {
  struct test_rng rng = {6};
  static struct loop l;
  uint32_t n_helped = 0;
  for (uint32_t k = 0; k < n_loops; k++) {
    memset(&l, 0, sizeof l);
    uint32_t n = test_rand_below(&rng, MAX_ITEMS);
    l.weight = k % 10 ? 0 : 1000;
    tansy_parallel_for(p, n, 1000, body, &l);
    uint32_t wrong = 0, total = 0;
    for (uint32_t i = 0; i < MAX_ITEMS; i++) wrong += l.count[i] != (i < n);
    for (uint32_t t = 0; t < N_THREADS; t++) total += l.by_thread[t];
    CHECK_EQ(wrong, 0);
    CHECK_EQ(total, n);
    n_helped += total - l.by_thread[0] > 0;
  }
  printf("workers helped in %u of %u loops\n", n_helped, n_loops);
#if defined(TANSY_HAVE_THREADS)
  if (p->n_threads > 1) CHECK(n_helped > 0);
#endif
}

static void test_alone(void) {
  struct tansy_parallel p;
  tansy_parallel_init(&p, 1);
  check_loops(&p, 200);
}

#if defined(TANSY_HAVE_THREADS)
static void check_alone_items(struct tansy_parallel *p) {
  static struct loop l;
  memset(&l, 0, sizeof l);
  tansy_parallel_for(p, MAX_ITEMS, 1000, body, &l);
  CHECK_EQ(l.by_thread[0], MAX_ITEMS);
}

static struct tansy_parallel team;
static void *work(void *arg) {
  tansy_parallel_work(&team, (uint32_t)(uintptr_t)arg);
  return NULL;
}

static void test_team(void) {
  for (int round = 0; round < 5; round++) {
    tansy_parallel_init(&team, N_THREADS);
    pthread_t threads[N_THREADS];
    check_alone_items(&team); /* nobody has come yet: the leader does it all */
    for (uintptr_t t = 1; t < N_THREADS; t++) CHECK_EQ(pthread_create(&threads[t], NULL, work, (void *)t), 0);
    check_loops(&team, 2000);
    tansy_parallel_end(&team);
    for (int t = 1; t < N_THREADS; t++) CHECK_EQ(pthread_join(threads[t], NULL), 0);
    check_alone_items(&team);
  }
}

/* The worker's first item never ends; with `how` it says so, else it is silent. */
enum { SILENTLY, ALOUD };
struct death {
  _Atomic uint32_t is_dying, is_released;
  int how;
};

static void dying_body(void *ctx, uint32_t begin, uint32_t end, uint32_t thread) {
  struct death *d = ctx;
  (void)begin;
  (void)end;
  if (thread == 0) {
    while (!d->is_dying) thrd_yield(); /* the leader leaves an item to the worker */
    return;
  }
  d->is_dying = 1;
  if (d->how == ALOUD) tansy_parallel_end(&team);
  while (!d->is_released) thrd_yield();
}

static void check_death(int how) {
  struct death d = {.how = how};
  pthread_t thread;
  tansy_parallel_init(&team, 2);
  CHECK_EQ(pthread_create(&thread, NULL, work, (void *)(uintptr_t)1), 0);
  int64_t start = tansy_now_ns();
  tansy_parallel_for(&team, 64, 1000, dying_body, &d);
  double s = (double)(tansy_now_ns() - start) / 1e9;
  printf("given up after %.2f s\n", s);
  CHECK(team.is_lost);
  CHECK(how == ALOUD || s > 9);
  check_alone_items(&team);
  d.is_released = 1;
  tansy_parallel_end(&team);
  CHECK_EQ(pthread_join(thread, NULL), 0);
}

static void test_death_of_a_worker(void) {
  check_death(ALOUD);
  check_death(SILENTLY);
}
#endif

int main(void) {
  RUN(test_alone);
#if defined(TANSY_HAVE_THREADS)
  RUN(test_team);
  RUN(test_death_of_a_worker);
#endif
  return test_finish();
}
