/* blocks.c: see blocks.h.
 *
 * In every block type a value is scale * integer, plus or less a minimum in the types with one. The K types ("super-blocks" of
 * 256 values) keep a half-precision scale for all and a small integer scale for each group of 32 or 16 values. */
#include "format/blocks.h"

#include <assert.h>
#include <string.h>

#include "base/half.h"

static const struct tansy_block_shape shapes[TANSY_DTYPE_OTHER] = {
    [TANSY_DTYPE_F32] = {"F32", 1, 4},      [TANSY_DTYPE_F16] = {"F16", 1, 2},      [TANSY_DTYPE_BF16] = {"BF16", 1, 2},
    [TANSY_DTYPE_Q8_0] = {"Q8_0", 32, 34},  [TANSY_DTYPE_Q4_0] = {"Q4_0", 32, 18},  [TANSY_DTYPE_Q4_K] = {"Q4_K", 256, 144},
    [TANSY_DTYPE_Q5_K] = {"Q5_K", 256, 176}, [TANSY_DTYPE_Q6_K] = {"Q6_K", 256, 210}, [TANSY_DTYPE_Q4_1] = {"Q4_1", 32, 20},
    [TANSY_DTYPE_Q5_0] = {"Q5_0", 32, 22},  [TANSY_DTYPE_Q5_1] = {"Q5_1", 32, 24},  [TANSY_DTYPE_Q2_K] = {"Q2_K", 256, 84},
    [TANSY_DTYPE_Q3_K] = {"Q3_K", 256, 110}, [TANSY_DTYPE_IQ4_NL] = {"IQ4_NL", 32, 18}, [TANSY_DTYPE_IQ4_XS] = {"IQ4_XS", 256, 136},
};

struct tansy_block_shape tansy_block_shape(enum tansy_dtype dtype) {
  assert(dtype < TANSY_DTYPE_OTHER);
  return shapes[dtype];
}

enum tansy_dtype tansy_dtype_of(const char *name) {
  for (int i = 0; i < TANSY_DTYPE_OTHER; i++)
    if (strcmp(shapes[i].name, name) == 0) return (enum tansy_dtype)i;
  return TANSY_DTYPE_OTHER;
}

static float read_f32(const uint8_t *p) {
  uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

static float read_f16(const uint8_t *p) { return tansy_half_to_float((uint16_t)(p[0] | p[1] << 8)); }

static float read_bf16(const uint8_t *p) {
  uint32_t bits = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
  float f;
  memcpy(&f, &bits, 4);
  return f;
}

/* scale, 32 signed bytes */
static void q8_0(const uint8_t *p, float *out) {
  float scale = read_f16(p);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)(int8_t)p[2 + i];
}

/* value i of 32 in 16 bytes: the low nibbles are values 0..15, the high ones 16..31 */
static int nibble(const uint8_t *bytes, int i) { return bytes[i & 15] >> (i & 16 ? 4 : 0) & 15; }

/* scale, nibbles; 8 stands for zero */
static void q4_0(const uint8_t *p, float *out) {
  float scale = read_f16(p);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)(nibble(p + 2, i) - 8);
}

/* scale, minimum, nibbles */
static void q4_1(const uint8_t *p, float *out) {
  float scale = read_f16(p), minimum = read_f16(p + 2);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)nibble(p + 4, i) + minimum;
}

/* scale, 32 fifth bits, nibbles; 16 stands for zero */
static void q5_0(const uint8_t *p, float *out) {
  float scale = read_f16(p);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)((nibble(p + 6, i) | (p[2 + i / 8] >> i % 8 & 1) << 4) - 16);
}

/* scale, minimum, 32 fifth bits, nibbles */
static void q5_1(const uint8_t *p, float *out) {
  float scale = read_f16(p), minimum = read_f16(p + 2);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)(nibble(p + 8, i) | (p[4 + i / 8] >> i % 8 & 1) << 4) + minimum;
}

/* what the nibbles of the IQ4 types stand for */
static const int8_t iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* scale, nibbles */
static void iq4_nl(const uint8_t *p, float *out) {
  float scale = read_f16(p);
  for (int i = 0; i < 32; i++) out[i] = scale * (float)iq4_values[nibble(p + 2, i)];
}

/* scale, 8 pairs of high bits of group scales, 8 nibbles of low ones, nibbles of 8 groups of 32; 32 stands for a group scale of zero */
static void iq4_xs(const uint8_t *p, float *out) {
  float scale = read_f16(p);
  for (int group = 0; group < 8; group++) {
    int low = p[4 + group / 2] >> 4 * (group & 1) & 15, high = p[2 + group / 4] >> 2 * (group & 3) & 3;
    float group_d = scale * (float)((low | high << 4) - 32);
    for (int i = 0; i < 32; i++) *out++ = group_d * (float)iq4_values[nibble(p + 8 + 16 * group, i)];
  }
}

/* 16 group scales (low nibbles) and minima (high ones), 64 bytes of pairs, scale, minimum. Of each half of 128 values run r of 32 has
 * pair r of 32 bytes */
static void q2_k(const uint8_t *p, float *out) {
  float scale = read_f16(p + 80), minimum = read_f16(p + 82);
  for (int i = 0; i < 256; i++) {
    int group = p[i / 16], value = p[16 + i / 128 * 32 + i % 32] >> 2 * (i / 32 % 4) & 3;
    out[i] = scale * (float)(group & 15) * (float)value - minimum * (float)(group >> 4);
  }
}

/* third bits (bit r of byte i belongs to value i of run r of 32), 64 bytes of pairs as in q2_k, 16 group scales, scale. A group scale
 * has its 4 low bits in the nibbles of bytes 0..7 (scales 0..7 the low ones), its 2 high ones in pair g / 4 of byte 8 + g % 4; 32 stands
 * for zero, as does 4 of the values */
static void q3_k(const uint8_t *p, float *out) {
  float scale = read_f16(p + 108);
  const uint8_t *scales = p + 96;
  for (int i = 0; i < 256; i++) {
    int g = i / 16, run = i / 32;
    int group = (scales[g % 8] >> 4 * (g / 8) & 15) | (scales[8 + g % 4] >> 2 * (g / 4) & 3) << 4;
    int value = (p[32 + run / 4 * 32 + i % 32] >> 2 * (run % 4) & 3) | (p[i % 32] >> run & 1) << 2;
    out[i] = scale * (float)(group - 32) * (float)(value - 4);
  }
}

/* 8 scales and 8 minima of 6 bits in 12 bytes: groups 0..3 have their 6 low bits in bytes 0..3 and 4..7, groups 4..7 their
 * 4 low bits in the nibbles of bytes 8..11 and their 2 high bits on top of bytes 0..3 and 4..7 */
static void group_scale(const uint8_t *packed, int group, float *scale, float *minimum) {
  int s, m;
  if (group < 4) {
    s = packed[group] & 63;
    m = packed[group + 4] & 63;
  } else {
    s = (packed[group + 4] & 15) | (packed[group - 4] >> 6) << 4;
    m = (packed[group + 4] >> 4) | (packed[group] >> 6) << 4;
  }
  *scale = (float)s;
  *minimum = (float)m;
}

/* scale, minimum, group scales, [fifth bits: bit g of byte i belongs to value i of group g,] nibbles: 32 bytes hold group 2k
 * in their low and group 2k + 1 in their high halves */
static void q45_k(const uint8_t *p, const uint8_t *fifth, const uint8_t *nibbles, float *out) {
  float scale = read_f16(p), minimum = read_f16(p + 2);
  for (int group = 0; group < 8; group++) {
    float s, m;
    group_scale(p + 4, group, &s, &m);
    float group_d = scale * s, group_m = minimum * m;
    const uint8_t *q = nibbles + 32 * (group / 2);
    for (int i = 0; i < 32; i++) {
      int value = q[i] >> 4 * (group & 1) & 15;
      if (fifth) value |= (fifth[i] >> group & 1) << 4;
      out[32 * group + i] = group_d * (float)value - group_m;
    }
  }
}

/* 128 bytes of low nibbles, 64 bytes of high pairs, 16 signed group scales (16 values each), scale; 32 stands for zero.
 * Each half of 128 values is four runs of 32: nibbles (low, low, high, high) of bytes 0..31, 32..63, 0..31, 32..63; run r
 * has its high bits in pair r of 32 bytes */
static void q6_k(const uint8_t *p, float *out) {
  float scale = read_f16(p + 208);
  for (int half = 0; half < 2; half++) {
    const uint8_t *low = p + 64 * half, *high = p + 128 + 32 * half, *scales = p + 192 + 8 * half;
    for (int run = 0; run < 4; run++) {
      for (int i = 0; i < 32; i++) {
        int four = low[i + 32 * (run & 1)] >> 4 * (run / 2) & 15;
        int value = (four | (high[i] >> 2 * run & 3) << 4) - 32;
        *out++ = scale * (float)(int8_t)scales[2 * run + i / 16] * (float)value;
      }
    }
  }
}

void tansy_blocks_to_f32(enum tansy_dtype dtype, const uint8_t *bytes, size_t n_blocks, float *out) {
  struct tansy_block_shape shape = tansy_block_shape(dtype);
  for (size_t b = 0; b < n_blocks; b++, bytes += shape.nbytes, out += shape.n_values) {
    switch (dtype) {
      case TANSY_DTYPE_F32: *out = read_f32(bytes); break;
      case TANSY_DTYPE_F16: *out = read_f16(bytes); break;
      case TANSY_DTYPE_BF16: *out = read_bf16(bytes); break;
      case TANSY_DTYPE_Q8_0: q8_0(bytes, out); break;
      case TANSY_DTYPE_Q4_0: q4_0(bytes, out); break;
      case TANSY_DTYPE_Q4_K: q45_k(bytes, NULL, bytes + 16, out); break;
      case TANSY_DTYPE_Q5_K: q45_k(bytes, bytes + 16, bytes + 48, out); break;
      case TANSY_DTYPE_Q6_K: q6_k(bytes, out); break;
      case TANSY_DTYPE_Q4_1: q4_1(bytes, out); break;
      case TANSY_DTYPE_Q5_0: q5_0(bytes, out); break;
      case TANSY_DTYPE_Q5_1: q5_1(bytes, out); break;
      case TANSY_DTYPE_Q2_K: q2_k(bytes, out); break;
      case TANSY_DTYPE_Q3_K: q3_k(bytes, out); break;
      case TANSY_DTYPE_IQ4_NL: iq4_nl(bytes, out); break;
      case TANSY_DTYPE_IQ4_XS: iq4_xs(bytes, out); break;
      case TANSY_DTYPE_OTHER: break;
    }
  }
}
