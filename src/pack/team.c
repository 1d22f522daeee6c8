/* team.c: see team.h. The caller works too; the others sleep between runs. */
#define _POSIX_C_SOURCE 200809L
#include "pack/team.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 64 };

#if defined(__wasi__)

struct tansy_team {
  uint32_t n_threads;
};

struct tansy_team *tansy_team_new(uint32_t n_threads) {
  (void)n_threads;
  struct tansy_team *team = malloc(sizeof *team);
  if (team) team->n_threads = 1;
  return team;
}
void tansy_team_free(struct tansy_team *team) { free(team); }

void tansy_team_run(struct tansy_team *team, uint32_t n_items, tansy_team_body *body, void *ctx) {
  (void)team;
  for (uint32_t i = 0; i < n_items; i++) body(ctx, i, 0);
}

#else

#include <pthread.h>

struct member {
  struct tansy_team *team;
  pthread_t thread;
  uint32_t number;
};

struct tansy_team {
  uint32_t n_threads;
  struct member members[MAX_THREADS]; /* [1 .. n_threads) */
  pthread_mutex_t mutex;
  pthread_cond_t start, done;
  uint64_t run;      /* number of the current run */
  uint32_t n_active; /* members that have not finished it */
  bool quit;
  uint32_t n_items, next;
  tansy_team_body *body;
  void *ctx;
};

static void take_items(struct tansy_team *team, uint32_t thread) {
  for (;;) {
    pthread_mutex_lock(&team->mutex);
    uint32_t item = team->next < team->n_items ? team->next++ : UINT32_MAX;
    pthread_mutex_unlock(&team->mutex);
    if (item == UINT32_MAX) return;
    team->body(team->ctx, item, thread);
  }
}

static void *member_main(void *arg) {
  struct member *me = arg;
  struct tansy_team *team = me->team;
  uint64_t seen = 0;
  pthread_mutex_lock(&team->mutex);
  for (;;) {
    while (team->run == seen && !team->quit) pthread_cond_wait(&team->start, &team->mutex);
    if (team->quit) break;
    seen = team->run;
    pthread_mutex_unlock(&team->mutex);
    take_items(team, me->number);
    pthread_mutex_lock(&team->mutex);
    if (--team->n_active == 0) pthread_cond_signal(&team->done);
  }
  pthread_mutex_unlock(&team->mutex);
  return NULL;
}

struct tansy_team *tansy_team_new(uint32_t n_threads) {
  if (n_threads == 0) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    n_threads = n < 1 ? 1 : n > 16 ? 16 : (uint32_t)n;
  }
  if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
  struct tansy_team *team = calloc(1, sizeof *team);
  if (!team) return NULL;
  pthread_mutex_init(&team->mutex, NULL);
  pthread_cond_init(&team->start, NULL);
  pthread_cond_init(&team->done, NULL);
  for (team->n_threads = 1; team->n_threads < n_threads; team->n_threads++) {
    struct member *m = &team->members[team->n_threads];
    m->team = team;
    m->number = team->n_threads;
    if (pthread_create(&m->thread, NULL, member_main, m) != 0) break; /* fewer threads, same results */
  }
  return team;
}

void tansy_team_free(struct tansy_team *team) {
  if (!team) return;
  pthread_mutex_lock(&team->mutex);
  team->quit = true;
  pthread_cond_broadcast(&team->start);
  pthread_mutex_unlock(&team->mutex);
  for (uint32_t i = 1; i < team->n_threads; i++) pthread_join(team->members[i].thread, NULL);
  pthread_cond_destroy(&team->start);
  pthread_cond_destroy(&team->done);
  pthread_mutex_destroy(&team->mutex);
  free(team);
}

void tansy_team_run(struct tansy_team *team, uint32_t n_items, tansy_team_body *body, void *ctx) {
  pthread_mutex_lock(&team->mutex);
  team->n_items = n_items;
  team->next = 0;
  team->body = body;
  team->ctx = ctx;
  team->n_active = team->n_threads - 1;
  team->run++;
  pthread_cond_broadcast(&team->start);
  pthread_mutex_unlock(&team->mutex);
  take_items(team, 0);
  pthread_mutex_lock(&team->mutex);
  while (team->n_active > 0) pthread_cond_wait(&team->done, &team->mutex);
  pthread_mutex_unlock(&team->mutex);
}

#endif

uint32_t tansy_team_n_threads(const struct tansy_team *team) { return team->n_threads; }
