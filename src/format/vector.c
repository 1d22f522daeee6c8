/* vector.c: see vector.h */
#include "format/vector.h"

#include "base/bytes.h"
#include "base/half.h"

/* nearest floats of 2^(i/16), i = 0..15 */
const float tansy_log8_mantissa[16] = {
    0x1p+0f, 0x1.0b5586p+0f, 0x1.172b84p+0f, 0x1.2387a6p+0f, 0x1.306fe0p+0f, 0x1.3dea64p+0f, 0x1.4bfdaep+0f, 0x1.5ab07ep+0f,
    0x1.6a09e6p+0f, 0x1.7a1148p+0f, 0x1.8ace54p+0f, 0x1.9c4918p+0f, 0x1.ae89fap+0f, 0x1.c199bep+0f, 0x1.d5818ep+0f, 0x1.ea4afap+0f,
};

uint64_t tansy_vector_nbytes(uint32_t kind, uint32_t n) {
  switch (kind) {
    case TANSY_KIND_F32: return (uint64_t)n * 4;
    case TANSY_KIND_F16: return (uint64_t)n * 2;
    case TANSY_KIND_LOG8: return 4 + (uint64_t)n;
    default: return 0;
  }
}

uint64_t tansy_vector_region_nbytes(uint32_t kind, uint32_t n) {
  uint64_t expanded = (uint64_t)n * 4, stored = tansy_vector_nbytes(kind, n);
  return stored > expanded ? stored : expanded;
}

static int is_finite(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return (u & 0x7f800000) != 0x7f800000;
}

enum tansy_status tansy_vector_expand(uint32_t kind, const uint8_t *bytes, uint32_t n, float *out) {
  struct tansy_cursor c = tansy_cursor_over(bytes, (size_t)tansy_vector_nbytes(kind, n));
  float base = kind == TANSY_KIND_LOG8 ? tansy_read_f32(&c) : 1.0f;
  int finite = is_finite(base);
  for (uint32_t i = 0; i < n; i++) {
    float value;
    switch (kind) {
      case TANSY_KIND_F32: value = tansy_read_f32(&c); break;
      case TANSY_KIND_F16: value = tansy_half_to_float(tansy_read_u16(&c)); break;
      case TANSY_KIND_LOG8: value = tansy_log8_value(base, tansy_read_u8(&c)); break;
      default: return TANSY_ERR_CORRUPT;
    }
    finite &= is_finite(value);
    memcpy((uint8_t *)out + (size_t)i * 4, &value, 4);
  }
  return finite ? TANSY_OK : TANSY_ERR_NONFINITE;
}
