/* ans_relaxed.c: products straight from the codes, with relaxed SIMD. All operands stay where engines agree. */
#include "kernels/simd.h"

#define ANS_SWIZZLE(a, i) wasm_i8x16_relaxed_swizzle(a, i)
#define ANS_DOT(a, b) wasm_i16x8_relaxed_dot_i8x16_i7x16(a, b)
#define ANS_HAS_DOT 1
#define SUFFIX relaxed

#include "kernels/ans_body.h"
