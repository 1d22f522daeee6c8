/* parts.h: a file beside the output that holds tensors that are done while others are not yet: of a large model they have no room in
 * memory. It is made when the first bytes are put into it. */
#ifndef TANSY_PACK_PARTS_H
#define TANSY_PACK_PARTS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "pack/failure.h"

/* of bytes, going on from h: tells damage, not malice */
#define TANSY_HASH_BEGIN 0xCBF29CE484222325ull
uint64_t tansy_hash(uint64_t h, const void *bytes, size_t n);

struct tansy_parts {
  char *path;
  FILE *file;      /* NULL: nothing is in it yet */
  uint64_t nbytes; /* that count */
  uint64_t hash;   /* of them */
};

/* OUT.parts */
enum tansy_status tansy_parts_init(struct tansy_parts *p, const char *out, struct tansy_failure *failure);
/* keep: the file stays for a run that goes on */
void tansy_parts_free(struct tansy_parts *p, bool keep);

/* behind what is there; *at: where */
enum tansy_status tansy_parts_put(struct tansy_parts *p, const uint8_t *bytes, size_t n, uint64_t *at, struct tansy_failure *failure);
bool tansy_parts_get(const struct tansy_parts *p, uint64_t at, uint8_t *bytes, size_t n);
/* what has been put is on the disk */
bool tansy_parts_sync(const struct tansy_parts *p);
/* the next bytes come first again */
void tansy_parts_clear(struct tansy_parts *p);
/* takes up the file of an earlier run, if it has the bytes that were put there then */
bool tansy_parts_take_up(struct tansy_parts *p, uint64_t nbytes, uint64_t hash);

#endif
