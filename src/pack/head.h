/* head.h: the float model's head, whose rows are read from the checkpoint block by block: whole, it may be larger than all else. Tokens
 * are taken in groups, as many as their logits have room for. */
#ifndef TANSY_PACK_HEAD_H
#define TANSY_PACK_HEAD_H

#include "pack/runner.h"

/* tokens of a group */
uint32_t tansy_head_group(const struct tansy_config *config);

/* logits [n_tokens, vocab] of hidden states x [n_tokens, H] behind the last layer; at most a group */
enum tansy_status tansy_head_logits(struct tansy_runner *r, const float *x, uint32_t n_tokens, float *logits, struct tansy_failure *failure);
/* gx [n_tokens, H] += backwards through the head's linear: g [n_tokens, vocab] at its output */
enum tansy_status tansy_head_back(struct tansy_runner *r, const float *g, uint32_t n_tokens, float *gx, struct tansy_failure *failure);

/* Calls `see` with logits [n_tokens, vocab] of blocks of tokens, in any order, from any thread. */
typedef void tansy_logits_body(void *ctx, uint32_t first_token, uint32_t n_tokens, float *logits, uint32_t thread);
enum tansy_status tansy_head_each(struct tansy_runner *r, const float *x, uint32_t n_tokens, tansy_logits_body *see, void *ctx,
                                  struct tansy_failure *failure);

#endif
