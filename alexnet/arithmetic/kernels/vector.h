/* Vectors of float32 and the fused multiply-add, for each instruction set (docs/arithmetic.md,
 * section 1).
 *
 * A lane is one output element, so the width of a vector cannot show in any bit. ISA_* comes from
 * the compiler's command line. MR is the number of rows in a tile of outputs whose accumulators fit
 * the registers, two vectors wide. */
#ifndef VECTOR_H
#define VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined ISA_AVX512
#include <immintrin.h>
#define LANES 16
#define MR 14
#elif defined ISA_AVX2
#include <immintrin.h>
#define LANES 8
#define MR 6
#elif defined ISA_NEON
#include <arm_neon.h>
#define LANES 4
#define MR 12
#elif defined ISA_BASELINE
#include <math.h>
#define LANES 4
#define MR 4
#else
#error "one of ISA_BASELINE, ISA_AVX2, ISA_AVX512, ISA_NEON must be defined"
#endif

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef float vfu
    __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* anywhere in memory */

typedef uint8_t vb __attribute__((vector_size(LANES)));
typedef uint8_t vbu __attribute__((vector_size(LANES), aligned(1), may_alias));

#define INLINE static inline __attribute__((always_inline))

INLINE vf load(const float *p) { return *(const vfu *)p; }
INLINE void store(float *p, vf v) { *(vfu *)p = v; }
INLINE vf chosen(vi mask, vf yes, vf no) { return (vf)(((vi)yes & mask) | ((vi)no & ~mask)); }

/* The software path: the product of two float32 is exact in float64; the sum is rounded to odd,
 * which the rounding to float32 that follows cannot tell from the exact sum. */
INLINE float software_fma(float a, float b, float c) {
    double product = (double)a * (double)b, sum = product + (double)c;
    double part = sum - product, error = (product - (sum - part)) + ((double)c - part);
    int64_t bits;
    memcpy(&bits, &sum, 8);
    int64_t inexact_and_even = -(int64_t)(error != 0.0) & ((bits & 1) - 1);
    int64_t outward = (error > 0.0) == (sum > 0.0) ? 1 : -1;
    bits += outward & inexact_and_even;
    memcpy(&sum, &bits, 8);
    return (float)sum;
}

#if defined ISA_AVX512
INLINE vf splat(float x) { return _mm512_set1_ps(x); }
INLINE vf vfma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vsqrt(vf a) { return _mm512_sqrt_ps(a); }
INLINE float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined ISA_AVX2
INLINE vf splat(float x) { return _mm256_set1_ps(x); }
INLINE vf vfma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vsqrt(vf a) { return _mm256_sqrt_ps(a); }
INLINE float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined ISA_NEON
INLINE vf splat(float x) { return vdupq_n_f32(x); }
INLINE vf vfma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf vsqrt(vf a) { return vsqrtq_f32(a); }
INLINE float fma1(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
typedef double vd __attribute__((vector_size(8 * LANES)));
typedef int64_t vl __attribute__((vector_size(8 * LANES)));
INLINE vf splat(float x) { return (vf){x, x, x, x}; }
INLINE vf vfma(vf a, vf b, vf c) { /* software_fma, lane by lane */
    vd wide = __builtin_convertvector(c, vd);
    vd product = __builtin_convertvector(a, vd) * __builtin_convertvector(b, vd),
       sum = product + wide;
    vd part = sum - product, error = (product - (sum - part)) + (wide - part);
    vl bits = (vl)sum, outward = 1 + 2 * ((error > 0.0) ^ (sum > 0.0));
    bits += outward & (error != 0.0) & ((bits & 1) - 1);
    return __builtin_convertvector((vd)bits, vf);
}
INLINE vf vsqrt(vf a) {
    return (vf){__builtin_sqrtf(a[0]), __builtin_sqrtf(a[1]), __builtin_sqrtf(a[2]),
                __builtin_sqrtf(a[3])};
}
INLINE float fma1(float a, float b, float c) { return software_fma(a, b, c); }
#endif

#endif
