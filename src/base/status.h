/* status.h: the one result type of the core, and the macro that passes it up. */
#ifndef TANSY_BASE_STATUS_H
#define TANSY_BASE_STATUS_H

/* Stable across releases: numbers are only ever appended. js/errors.js holds the same table and a
 * test compares the two. A function that returns anything but TANSY_OK leaves its outputs unspecified. */
enum tansy_status {
  TANSY_OK = 0,
  TANSY_ERR_ARGUMENT = 1,     /* the caller passed a value outside its documented range */
  TANSY_ERR_TRUNCATED = 2,    /* bytes end before the structure they promise */
  TANSY_ERR_CORRUPT = 3,      /* bytes contradict the format */
  TANSY_ERR_CHECKSUM = 4,     /* a chunk's CRC-32 differs from the index */
  TANSY_ERR_NOT_TANSY = 5,    /* not a .tansy file */
  TANSY_ERR_VERSION = 6,      /* written by a newer format version */
  TANSY_ERR_UNSUPPORTED = 7,  /* valid, but an architecture, dtype or size this build lacks */
  TANSY_ERR_SHAPE = 8,        /* a tensor's shape contradicts the model config */
  TANSY_ERR_OVER_BUDGET = 9,  /* the plan needs more bytes than the budget */
  TANSY_ERR_CONTEXT = 10,     /* more tokens than the context holds */
  TANSY_ERR_NOT_READY = 11,   /* weights this call needs have not arrived */
  TANSY_ERR_CANCELLED = 12,   /* the caller asked to stop */
  TANSY_ERR_NO_MEMORY = 13,   /* an allocation failed */
  TANSY_ERR_IO = 14,          /* reading or writing a file failed (compressor only) */
  TANSY_ERR_NOT_CHECKPOINT = 15, /* the input is not a model checkpoint (compressor only) */
  TANSY_ERR_NONFINITE = 16,   /* NaN or infinity where a number must be */
  TANSY_ERR_CALIBRATION = 17, /* calibration text unusable (compressor only) */
  TANSY_ERR_WORKER = 18,      /* a thread died at work; the engine is of no use any more */
};

#define TANSY_TRY(call)                                     \
  do {                                                      \
    enum tansy_status tansy_try_status_ = (call);           \
    if (tansy_try_status_ != TANSY_OK) return tansy_try_status_; \
  } while (0)

#endif
