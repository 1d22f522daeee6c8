/* attend_ref.c: attention over int8 K and V, portable. */
#include "kernels/attend_integer.h"

#define score_run score_run_portable
#define weigh_run weigh_run_portable
#define NAME tansy_attend_i8_ref
#include "kernels/attend_body.h"
