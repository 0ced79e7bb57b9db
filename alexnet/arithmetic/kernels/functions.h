/* exp, log, sine and cosine in float64 (docs/arithmetic.md, section 6): + - * / alone, never
 * contracted. */
#ifndef FUNCTIONS_H
#define FUNCTIONS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline double power_of_two(int64_t k) { /* -1022 <= k <= 1023 */
    int64_t bits = (k + 1023) << 52;
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

static inline double nearest(double x) { /* |x| < 2^51; ties to even */
    const double shift = 0x1.8p52;
    return (x + shift) - shift;
}

static inline double exp_64(double x) {
    const double P1 = 0x1.555555555553ep-3, P2 = -0x1.6c16c16bebd93p-9, P3 = 0x1.1566aaf25de2cp-14,
                 P4 = -0x1.bbd41c5d26bf1p-20, P5 = 0x1.6376972bea4d0p-25;
    if (x < -708.0) return 0.0;
    if (x > 709.0) return INFINITY;
    double k = nearest(x * 0x1.71547652b82fep+0);
    double h = x - k * 0x1.62e42feep-1, l = k * 0x1.a39ef35793c76p-33, r = h - l, t = r * r;
    double c = r - t * (P1 + t * (P2 + t * (P3 + t * (P4 + t * P5))));
    double y = 1.0 - ((l - (r * c) / (2.0 - c)) - h);
    if (k > 1022.0) return y * 2.0 * power_of_two((int64_t)k - 1);
    return y * power_of_two((int64_t)k);
}

static inline double log_64(double x) {
    const double L1 = 0x1.5555555555593p-1, L2 = 0x1.999999997fa04p-2, L3 = 0x1.2492494229359p-2,
                 L4 = 0x1.c71c51d8e78afp-3, L5 = 0x1.7466496cb03dep-3, L6 = 0x1.39a09d078c69fp-3,
                 L7 = 0x1.2f112df3e5244p-3;
    if (!(x < INFINITY)) return x;
    int64_t bits;
    memcpy(&bits, &x, 8);
    int64_t k = ((bits >> 32) - 0x3fe6a09e) >> 20;
    bits -= (int64_t)((uint64_t)k << 52);
    double m;
    memcpy(&m, &bits, 8);
    double f = m - 1.0, s = f / (2.0 + f), z = s * s, w = z * z;
    double a = w * (L2 + w * (L4 + w * L6)), b = z * (L1 + w * (L3 + w * (L5 + w * L7))), R = b + a,
           q = (0.5 * f) * f;
    double dk = (double)k;
    return dk * 0x1.62e42feep-1 - ((q - (s * (q + R) + dk * 0x1.a39ef35793c76p-33)) - f);
}

static inline void sin_cos_64(double x, double *sine, double *cosine) {
    const double S1 = -0x1.5555555555549p-3, S2 = 0x1.111111110f8a6p-7, S3 = -0x1.a01a019c161d5p-13,
                 S4 = 0x1.71de357b1fe7dp-19, S5 = -0x1.ae5e68a2b9cebp-26,
                 S6 = 0x1.5d93a5acfd57cp-33;
    const double C1 = 0x1.555555555554cp-5, C2 = -0x1.6c16c16c15177p-10, C3 = 0x1.a01a019cb1590p-16,
                 C4 = -0x1.27e4f809c52adp-22, C5 = 0x1.1ee9ebdb4b1c4p-29,
                 C6 = -0x1.8fae9be8838d4p-37;
    double k = nearest(x * 0x1.45f306dc9c883p-1);
    double a = x - k * 0x1.921fb544p+0, first = k * 0x1.0b4611a6p-34, r = a - first;
    double v = k * 0x1.3198a2e037073p-69 - ((a - r) - first), y = r - v, d = (r - y) - v;
    double z = y * y, w = z * z;
    double T = S2 + z * (S3 + z * S4) + (z * w) * (S5 + z * S6);
    double S = y - ((z * (0.5 * d - (z * y) * T) - d) - (z * y) * S1);
    double c = z * (C1 + z * (C2 + z * C3)) + (w * w) * (C4 + z * (C5 + z * C6)), p = 0.5 * z,
           o = 1.0 - p;
    double C = o + (((1.0 - o) - p) + (z * c - y * d));
    int64_t quarter = (int64_t)k & 3;
    double of_sine = quarter & 1 ? C : S, of_cosine = quarter & 1 ? S : C;
    *sine = quarter & 2 ? -of_sine : of_sine;
    *cosine = quarter == 1 || quarter == 2 ? -of_cosine : of_cosine;
}

static inline float tanh_32(float x) {
    double a = (double)(x < 0.0f ? -x : x), t;
    if (x != x) return x;
    if (a < 0x1p-7) {
        double z = a * a;
        t = a + (a * z) * (-1.0 / 3.0 + z * (2.0 / 15.0 + z * (-17.0 / 315.0)));
    } else if (a >= 10.0) {
        t = 1.0;
    } else {
        t = 1.0 - 2.0 / (exp_64(2.0 * a) + 1.0);
    }
    return __builtin_copysignf((float)t, x);
}

#endif
