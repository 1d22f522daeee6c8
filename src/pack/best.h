/* best.h: the state of the best recipe, shared by its parts: best_measure.c (sensitivities and rates), best_layer.c (rounding
 * a site and a layer), recipe_best.c (the order of things and the size); tune.c comes last. */
#ifndef TANSY_PACK_BEST_H
#define TANSY_PACK_BEST_H

#include "pack/calibrate.h"
#include "pack/fisher.h"
#include "pack/job.h"
#include "pack/rate.h"

#define TANSY_BEST_DAMPING 0.08 /* of the mean diagonal of H. Single runs on books-3m at 2.67 bits a weight: 0.04 to 0.12 are as good, 0.01 is 2 % more divergence */
#define TANSY_BEST_TARGET 0.6   /* share of the drift that targets make up for. Of the same runs: 0.5 to 0.7 are as good, 1 is 2 % more divergence */

struct tansy_best {
  struct tansy_job *job;
  const struct tansy_checkpoint *checkpoint;
  const struct tansy_config *config;
  struct tansy_float_outer outer;
  struct tansy_runner runner;
  struct tansy_fisher fisher;
  uint32_t n_units;
  struct tansy_unit *units; /* matrices in file order; learned positions are none */
  /* the site at hand: [n, n] A = E[x_q x_q^T], C - A with C = E[x_f x_q^T]; or instead of that [n_rows, n] w (C - A) of its only linear,
   * where that is much smaller */
  float *a, *c, *wc;
  float *behind;            /* [H, n] E[(r_f - r_q) x_q^T], r the residual stream that the site's output is added to; wc has it already; or NULL */
  float *effective;         /* [widest site] column scales of the site at hand */
  /* how far things have come: units have their rates, the quick pass has been made, and layers of the passes that count; n_layers 0: the
   * next one begins */
  struct tansy_best_stage {
    bool is_measured, is_quick_done;
    uint32_t round, n_layers;
    double overhead, aim, nearest; /* bytes */
  } stage;
  /* one pass */
  uint32_t n_windows;
  float *x, *rounded_x;     /* [n_windows * window, H] hidden states of the float model and of the rounded one */
  double log_c;
  bool adapt;               /* steer c after every site, so that the size is met */
  double spent;             /* bytes of coded matrices so far */
  double allowed;           /* bytes for all coded matrices */
  double work;              /* of progress, for all layers of the pass */
  bool is_large;            /* a matrix tells those of the same role in later layers how well it codes */
  struct {
    double order, sensitivity, measure, quick, pass, tune; /* work of the steps; of passes, that of their layers */
    double table;                                    /* of rounding the embedding or the head */
  } work_of;
};

/* number, in the calibration text, of the pass' window i: evenly spread */
static inline uint32_t tansy_best_window(const struct tansy_best *b, uint32_t i) {
  return (uint32_t)((uint64_t)i * b->job->calibration.n / b->n_windows);
}

struct tansy_unit *tansy_best_unit(struct tansy_best *b, uint32_t role, uint32_t layer);

/* lower triangle of what the embedding's rows cost: as look-up table, as head, or both */
void tansy_best_embed_moment(const struct tansy_best *b, bool as_head, bool as_table, float *out);

/* best_measure.c. feel: fills fisher and units. measure: rates of the units */
enum tansy_status tansy_best_feel(struct tansy_best *b, struct tansy_failure *failure);
enum tansy_status tansy_best_measure(struct tansy_best *b, struct tansy_failure *failure);

/* best_layer.c. embed: the embedding (tied: the head too), and x and rounded_x of the windows. layer: x and rounded_x move on one layer.
 * final: an untied head. Each writes what belongs to it into the job's writer, in file order. */
enum tansy_status tansy_best_embed(struct tansy_best *b, struct tansy_failure *failure);
enum tansy_status tansy_best_layer(struct tansy_best *b, uint32_t layer, struct tansy_failure *failure);
enum tansy_status tansy_best_final(struct tansy_best *b, struct tansy_failure *failure);

#endif
