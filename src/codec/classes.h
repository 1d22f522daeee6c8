/* classes.h: which table each block of 4 rows x 16 columns uses. Compressor only. */
#ifndef TANSY_CODEC_CLASSES_H
#define TANSY_CODEC_CLASSES_H

#include "codec/plan.h"

/* Searches row and step classes and their tables for plan->raw_bits, and puts them into the plan, with plan->bits, if they cost
 * less than one table. escape_bits: of an entry of the side list; far_bits: what a weight outside the coded range costs beyond
 * that, on average. */
enum tansy_status tansy_classes_choose(struct tansy_integers z, uint32_t max_tables, double escape_bits, double far_bits,
                                       struct tansy_coding_plan *plan);

#endif
