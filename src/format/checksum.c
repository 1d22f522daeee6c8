/* checksum.c: see checksum.h. t[0] is the byte table; t[k][b] is the CRC of byte b followed by k zero bytes, so that eight
 * look-ups advance the register by eight bytes ("slicing by 8"). */
#include "format/checksum.h"

#include "base/bytes.h"

static const uint32_t nibble_table[16] = {
    /* n: the register after shifting nibble n out four times */
    0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
    0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
};

static uint32_t step_byte(uint32_t crc, uint8_t byte) {
  crc ^= byte;
  crc = crc >> 4 ^ nibble_table[crc & 15];
  return crc >> 4 ^ nibble_table[crc & 15];
}

uint32_t tansy_crc32_small(const void *bytes, size_t nbytes) {
  const uint8_t *p = bytes;
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < nbytes; i++) crc = step_byte(crc, p[i]);
  return ~crc;
}

void tansy_crc32_init(struct tansy_crc32_tables *tables) {
  for (uint32_t b = 0; b < 256; b++) tables->t[0][b] = step_byte(0, (uint8_t)b);
  for (uint32_t k = 1; k < 8; k++) {
    for (uint32_t b = 0; b < 256; b++) {
      uint32_t crc = tables->t[k - 1][b];
      tables->t[k][b] = crc >> 8 ^ tables->t[0][crc & 255];
    }
  }
}

uint32_t tansy_crc32(const struct tansy_crc32_tables *tables, const void *bytes, size_t nbytes) {
  const uint32_t(*t)[256] = tables->t;
  struct tansy_cursor c = tansy_cursor_over(bytes, nbytes);
  uint32_t crc = 0xFFFFFFFFu;
  while (tansy_cursor_left(&c) >= 8) {
    uint32_t lo = tansy_read_u32(&c) ^ crc, hi = tansy_read_u32(&c);
    crc = t[7][lo & 255] ^ t[6][lo >> 8 & 255] ^ t[5][lo >> 16 & 255] ^ t[4][lo >> 24] ^
          t[3][hi & 255] ^ t[2][hi >> 8 & 255] ^ t[1][hi >> 16 & 255] ^ t[0][hi >> 24];
  }
  while (tansy_cursor_left(&c)) crc = crc >> 8 ^ t[0][(crc ^ tansy_read_u8(&c)) & 255];
  return ~crc;
}
