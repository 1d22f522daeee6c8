/* inspect.h: the report of `inspect`, of files and of bare matrices. */
#ifndef TANSY_PACK_INSPECT_H
#define TANSY_PACK_INSPECT_H

#include "codec/codec.h"
#include "pack/report.h"

/* "shape": [n_rows, n_cols] */
void tansy_out_shape(struct tansy_out *out, uint64_t n_rows, uint64_t n_cols);
/* what a coded matrix takes; coded_bits and entropy per weight, zeros as a share */
void tansy_out_coded(struct tansy_out *out, const struct tansy_coded_shape *shape, uint64_t nbytes, double coded_bits, double entropy, double zeros);

/* Every matrix of a safetensors file as integers of one step, with an entropy of `bits` in one table: what the codec makes of it. */
enum tansy_status tansy_inspect_bare(const char *path, double bits, struct tansy_out *out, struct tansy_failure *failure);

#endif
