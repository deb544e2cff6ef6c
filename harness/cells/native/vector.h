/* Vectors of REAL, and exp, tanh and sigmoid on them. For one instruction set and one precision. */

#ifndef HARNESS_VECTOR_H
#define HARNESS_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(LEVEL_AVX512)
#define VECTOR_BYTES 64
#elif defined(LEVEL_AVX2)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#if defined(LEVEL_AVX512)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES ((int64_t)(VECTOR_BYTES / sizeof(REAL)))

typedef REAL vec __attribute__((vector_size(VECTOR_BYTES)));

#ifdef DTYPE_F64
typedef int64_t ivec __attribute__((vector_size(VECTOR_BYTES)));
#define MANTISSA_BITS 52
#define EXPONENT_BIAS 1023
#define ROUND_TO_INTEGER 6755399441055744.0 /* 1.5 * 2^52: adding it leaves a whole number */
#define LN2_HIGH 0x1.62e42fee00000p-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define TANH_IS_ONE 44.0  /* of twice the argument */
#define LARGEST_EXP 708.0 /* exp(-708) is still a normal number */
static const REAL EXPM1[] = {2.0918212752506956e-9, 2.5105313423078523e-8, 2.7557263076005474e-7,
                             2.7557255168123061e-6, 2.4801587336632320e-5, 1.9841269875003974e-4,
                             1.3888888888879002e-3, 8.3333333333260826e-3, 4.1666666666666677e-2,
                             1.6666666666666671e-1, 0.5};
#else
typedef int32_t ivec __attribute__((vector_size(VECTOR_BYTES)));
#define MANTISSA_BITS 23
#define EXPONENT_BIAS 127
#define ROUND_TO_INTEGER 12582912.0f /* 1.5 * 2^23 */
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define TANH_IS_ONE 20.0f
#define LARGEST_EXP 87.0f
static const REAL EXPM1[] = {1.3933733216281663e-3f, 8.3632353846281699e-3f, 4.1666464167313114e-2f,
                             1.6666576643547151e-1f, 0.5f};
#endif
/* (expm1(r) - r) / r^2 for |r| <= ln(2) / 2, highest power first: least squares on Chebyshev nodes.
   Relative error of expm1: 2.2e-8 (float), 4.8e-19 (double). */
#define N_EXPM1 ((int)(sizeof(EXPM1) / sizeof(EXPM1[0])))

INLINE vec splat(REAL value) { return value - (vec){0}; }

INLINE vec load(const REAL *from) { return *(const vec *)from; }

INLINE void store(REAL *to, vec value) { *(vec *)to = value; }

INLINE vec select_vec(ivec where, vec yes, vec no)
{
    return (vec)((where & (ivec)yes) | (~where & (ivec)no));
}

INLINE ivec sign_bits(void)
{
    return (ivec)splat((REAL)-0.0);
}

/* The lesser of a and limit; NaN stays. */
INLINE vec at_most(vec a, REAL limit)
{
#if defined(LEVEL_AVX512) && defined(DTYPE_F64)
    return (vec)_mm512_min_pd((__m512d)splat(limit), (__m512d)a);
#elif defined(LEVEL_AVX512)
    return (vec)_mm512_min_ps((__m512)splat(limit), (__m512)a);
#else
    return select_vec(a > limit, splat(limit), a);
#endif
}

/* exp(x) - 1 and 2^n for x = n ln(2) + r, as scale * (expm1(r) + 1) - 1. */
INLINE vec reduced_expm1(vec x, vec *scale)
{
    vec shifted = x * (REAL)1.4426950408889634 + ROUND_TO_INTEGER;
    vec n = shifted - ROUND_TO_INTEGER;
    vec r = x - n * LN2_HIGH - n * LN2_LOW;
    vec sum = splat(EXPM1[0]);
#pragma GCC unroll 16
    for (int i = 1; i < N_EXPM1; i++)
        sum = sum * r + EXPM1[i];
    *scale = (vec)(((ivec)shifted + EXPONENT_BIAS) << MANTISSA_BITS);
    return r * r * sum + r;
}

/* numerator / denominator, for denominators from 1 to 1e38. */
INLINE vec divide(vec numerator, vec denominator)
{
#if defined(LEVEL_AVX512) && !defined(DTYPE_F64)
    /* 14 bits of the reciprocal, then one correction of the quotient: 28 bits, in a third of the
       time of a division. */
    vec reciprocal = (vec)_mm512_rcp14_ps((__m512)denominator);
    vec quotient = numerator * reciprocal;
    return quotient + reciprocal * (numerator - denominator * quotient);
#else
    return numerator / denominator;
#endif
}

/* Within 2.5 units in the last place. */
INLINE vec vec_tanh(vec x)
{
    vec scale, twice = at_most((vec)((ivec)(x + x) & ~sign_bits()), TANH_IS_ONE);
    vec small = reduced_expm1(twice, &scale);
    vec expm1 = scale * small + (scale - 1);
    vec result = divide(expm1, expm1 + 2);
    return (vec)((ivec)result | ((ivec)x & sign_bits()));
}

/* Within 2.5 units in the last place; between exp(-LARGEST_EXP) and 1. */
INLINE vec vec_sigmoid(vec x)
{
    vec scale, small = reduced_expm1(at_most(-at_most(x, LARGEST_EXP), LARGEST_EXP), &scale);
    return divide(splat(1), scale * small + (scale + 1));
}

#endif
