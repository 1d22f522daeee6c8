/* parallel.h: the one parallel-for. Everything on the per-token path that takes time goes through it.
 *
 * Bodies write disjoint outputs, so the result does not depend on the number of threads or on who takes which item.
 *
 * A team is one leader, who calls tansy_parallel_for, and workers, each a thread inside tansy_parallel_work. Items are taken one
 * by one from a counter. Workers join a loop when they wake up in time; the leader never waits for one that did not, only for
 * those that are at work on an item. So a worker whose core is busy elsewhere costs nothing but its help.
 *
 * A worker that dies with an item in hand leaves a hole in the results. Where it can, its host calls tansy_parallel_end at once; else the leader
 * gives up after some seconds. Either way the loop returns, and is_lost says that its results are good for nothing. */
#ifndef TANSY_BASE_PARALLEL_H
#define TANSY_BASE_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

/* items [begin, end); thread < n_threads picks per-thread scratch */
typedef void tansy_parallel_body(void *ctx, uint32_t begin, uint32_t end, uint32_t thread);

struct tansy_parallel {
  uint32_t n_threads; /* leader included; 1: bodies run in the caller */

  /* the loop under way; written by the leader while it is closed */
  tansy_parallel_body *body;
  void *ctx;
  uint32_t n_items;
  /* leader's own: score of loops that had to wait long, loops since, loops to run alone from now on, and how many next time */
  uint32_t late, n_good, n_alone, patience;
  bool is_lost; /* a worker did not come back: for good */

#if defined(TANSY_HAVE_THREADS)
  /* words that one thread changes while another looks at its neighbour lie in cache lines of their own */
  uint8_t apart0[64];
  _Atomic uint32_t next;       /* first item nobody has taken */
  uint8_t apart1[64];
  _Atomic uint32_t state;      /* bit 31: open to workers; bits 0…: workers inside */
  uint8_t apart2[64];
  _Atomic uint32_t signal;     /* changes when a loop opens or the team ends: what workers sleep on */
  uint8_t apart3[64];
  _Atomic uint32_t n_sleeping;
  _Atomic uint32_t is_over;
#endif
};

void tansy_parallel_init(struct tansy_parallel *p, uint32_t n_threads);
/* item_ns: about what one item takes, at most; the leader tells by it a worker at work from one that lost its core */
void tansy_parallel_for(struct tansy_parallel *p, uint32_t n_items, uint64_t item_ns, tansy_parallel_body *body, void *ctx);

/* The life of worker number `thread` (1 … n_threads − 1): returns after tansy_parallel_end. In builds without threads: at once. */
void tansy_parallel_work(struct tansy_parallel *p, uint32_t thread);
/* Sends the workers home; loops then run in the caller alone. A worker that must die calls it too. */
void tansy_parallel_end(struct tansy_parallel *p);

#endif
