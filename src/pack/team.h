/* team.h: the compressor's threads. Items are taken in any order by any thread; bodies write disjoint outputs, so results do
 * not depend on the number of threads. WASI has one thread. */
#ifndef TANSY_PACK_TEAM_H
#define TANSY_PACK_TEAM_H

#include <stdint.h>

struct tansy_team;
typedef void tansy_team_body(void *ctx, uint32_t item, uint32_t thread /* < n_threads */);

/* NULL when memory or threads cannot be had. n_threads 0: as many as the machine has, at most 16 */
struct tansy_team *tansy_team_new(uint32_t n_threads);
void tansy_team_free(struct tansy_team *team);
uint32_t tansy_team_n_threads(const struct tansy_team *team);
/* returns when all items are done; not from inside a body */
void tansy_team_run(struct tansy_team *team, uint32_t n_items, tansy_team_body *body, void *ctx);

#endif
