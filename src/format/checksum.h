/* checksum.h: CRC-32 as in zlib, gzip and PNG (reflected 0xEDB88320, all ones before and after). */
#ifndef TANSY_FORMAT_CHECKSUM_H
#define TANSY_FORMAT_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* half a byte a step, no memory: for the index */
uint32_t tansy_crc32_small(const void *bytes, size_t nbytes);

/* eight bytes a step; the tables live where the caller likes */
struct tansy_crc32_tables {
  uint32_t t[8][256];
};
void tansy_crc32_init(struct tansy_crc32_tables *tables);
uint32_t tansy_crc32(const struct tansy_crc32_tables *tables, const void *bytes, size_t nbytes);

#endif
