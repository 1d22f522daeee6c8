/* math.h: our own elementary functions, so that every build computes the same bits. Vector forms: f32x4.h.
 *
 * Domains and errors (in units of the last place of the float result): */
#ifndef TANSY_BASE_MATH_H
#define TANSY_BASE_MATH_H

float tansy_expf(float x);          /* all x; 1.1 ulp, results below 2^-126 included */
float tansy_exp2f(float x);         /* all x; 1 ulp */
float tansy_logf(float x);          /* x > 0: 1 ulp. 0: -infinity; negative: NaN; infinity: itself */
float tansy_log2f(float x);         /* likewise */
float tansy_powf(float x, float y); /* x > 0 and finite, y finite: 1 ulp. y 0: 1; x 0: 0 for y > 0, infinity for y < 0; x < 0: NaN */
float tansy_sinf(float x);          /* |x| <= 2^22: 1 ulp; beyond that something in [-1, 1], the same everywhere; NaN, infinity: NaN */
float tansy_cosf(float x);
float tansy_tanhf(float x);         /* all x; 2 ulp */
float tansy_erff(float x);          /* all x; 2 ulp */

#endif
