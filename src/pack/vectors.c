/* vectors.c: norms, biases and scales as the file stores them (writer.h). */
#include "base/half.h"
#include "pack/numeric.h"
#include "pack/writer.h"

static float magnitude_of(float x) { return x < 0 ? -x : x; }

enum tansy_status tansy_writer_add_vector(struct tansy_writer *w, uint32_t role, uint32_t layer, const float *values, uint32_t n,
                                          float *stored, struct tansy_failure *failure) {
  float largest = 0;
  for (uint32_t i = 0; i < n; i++)
    if (magnitude_of(values[i]) > largest) largest = magnitude_of(values[i]);
  bool half = true;
  for (uint32_t i = 0; i < n && half; i++) {
    float allowed = magnitude_of(values[i]) > largest * 0x1p-10f ? magnitude_of(values[i]) : largest * 0x1p-10f;
    half = magnitude_of(tansy_half_to_float(tansy_half_nearest(values[i])) - values[i]) <= allowed * 0x1p-11f;
  }
  struct tansy_blob *b = tansy_writer_add(w, role, layer, half ? TANSY_KIND_F16 : TANSY_KIND_F32, 1, n);
  if (!b) return tansy_fail_memory(failure);
  for (uint32_t i = 0; i < n; i++) {
    uint16_t h = tansy_half_nearest(values[i]);
    if (half)
      tansy_put_u16(&b->stored, h);
    else
      tansy_put_f32(&b->stored, values[i]);
    if (stored) stored[i] = half ? tansy_half_to_float(h) : values[i];
  }
  return b->stored.failed ? tansy_fail_memory(failure) : TANSY_OK;
}

enum tansy_status tansy_writer_add_log8(struct tansy_writer *w, uint32_t role, uint32_t layer, const float *values, uint32_t n,
                                        float *stored, struct tansy_failure *failure) {
  float largest = 0, smallest = 0;
  for (uint32_t i = 0; i < n; i++)
    if (values[i] > largest) largest = values[i];
  if (!(largest > 0)) return tansy_fail(failure, TANSY_ERR_ARGUMENT, "scales are not positive");
  for (uint32_t i = 0; i < n; i++)
    if (values[i] >= largest * 0x1p-15f && (smallest == 0 || values[i] < smallest)) smallest = values[i];
  struct tansy_blob *b = tansy_writer_add(w, role, layer, TANSY_KIND_LOG8, 1, n);
  if (!b) return tansy_fail_memory(failure);
  tansy_put_f32(&b->stored, smallest);
  for (uint32_t i = 0; i < n; i++) {
    double ratio = values[i] > smallest ? (double)values[i] / smallest : 1;
    double e = tansy_round_f64(tansy_log_f64(ratio) * (16 / 0.6931471805599453));
    uint8_t code = e > 255 ? 255 : (uint8_t)e;
    tansy_put_u8(&b->stored, code);
    if (stored) stored[i] = tansy_log8_value(smallest, code);
  }
  return b->stored.failed ? tansy_fail_memory(failure) : TANSY_OK;
}
