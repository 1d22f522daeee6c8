/* runner.h: runs windows of tokens through float layers, on all threads, and hands out what the linears read.
 *
 * Calibration text is cut into windows of equal length that do not see each other. Hidden states of all windows lie in one
 * array x [n_windows * window, H], which each call moves half a layer on. A window is run by one thread, so results do not
 * depend on their number. */
#ifndef TANSY_PACK_RUNNER_H
#define TANSY_PACK_RUNNER_H

#include "model/forward.h"
#include "pack/checkpoint.h"
#include "pack/team.h"

struct tansy_runner {
  const struct tansy_checkpoint *checkpoint;
  const struct tansy_config *config; /* of the checkpoint */
  const struct tansy_outer_weights *outer;
  struct tansy_team *team;
  struct tansy_kernels kernels;
  uint32_t window;           /* tokens */
  uint32_t n_threads;
  struct tansy_forward *forward; /* [n_threads] */
  uint8_t **memory;              /* [n_threads] */
  float **copy;                  /* [n_threads] one window's hidden states */
  struct tansy_layer_kv *kv;     /* [n_threads] */
  int32_t *numbers;              /* [window] 0, 1, .. */
};
enum tansy_status tansy_runner_init(struct tansy_runner *r, const struct tansy_checkpoint *checkpoint, const struct tansy_outer_weights *outer,
                                    struct tansy_team *team, uint32_t window, struct tansy_failure *failure);
void tansy_runner_free(struct tansy_runner *r);

/* x [n_windows * window, H] = embeddings; rows of the table are read from the checkpoint */
enum tansy_status tansy_runner_embed(struct tansy_runner *r, const int32_t *tokens, uint32_t n_windows, float *x, struct tansy_failure *failure);
/* the same where x holds the tokens' rows of the table (or of one that has been rounded) */
void tansy_runner_embed_rows(struct tansy_runner *r, uint32_t n_windows, float *x);

/* Which part of a layer to run. */
enum tansy_part { TANSY_PART_ATTENTION, TANSY_PART_MLP };
struct tansy_capture {
  float *site[TANSY_N_SITES]; /* [n_windows * window, n_cols of the site] or NULL */
};
/* Windows [0, n_windows) of x through one half of a layer. `capture`, if any, gets the inputs of that half's sites. keep_x: x stays as
 * it is. Linears with n_rows 0 are left out (what follows them is then meaningless). */
void tansy_runner_part(struct tansy_runner *r, uint32_t layer, const struct tansy_layer_weights *weights, enum tansy_part part,
                       float *x, uint32_t n_windows, int keep_x, const struct tansy_capture *capture);

/* columns of a site's input */
uint32_t tansy_site_n_cols(const struct tansy_config *config, enum tansy_site site);
uint32_t tansy_widest_site(const struct tansy_config *config);

/* norm of the model's kind, token by token */
void tansy_runner_norm(const struct tansy_runner *r, const float *x, const float *weight, const float *bias, uint32_t n_tokens, float *out);

#endif
