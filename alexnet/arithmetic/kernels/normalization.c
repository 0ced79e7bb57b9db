/* The two normalisations, y = x * d^-0.75, d = k + a * window of squares (docs/arithmetic.md,
 * section 4). What a window has beyond the edge is a zero, which no bit shows: sums begin with +0.
 * The quotient q = 1 / d is kept for the way back. */
#include "operators.h"
#include "threads.h"
#include "vector.h"

typedef struct {
    const float *x, *q_in, *g;
    float *y, *q; /* on the way back y is dx */
    long c, h, w, size;
    float k, a, c_a; /* c_a = 1.5 a */
} Normalization;

enum { PIXELS = 64 }; /* of one task */

static Normalization described(const Arguments *arguments) {
    const double *scalars = arguments->scalars;
    Normalization v = {.c = SIZE(1),
                       .h = SIZE(2),
                       .w = SIZE(3),
                       .size = SIZE(4),
                       .k = (float)scalars[0],
                       .a = (float)scalars[1],
                       .c_a = (float)(1.5 * scalars[1])};
    return v;
}

INLINE vf three_quarters(vf q) { /* q^0.75 */
    vf t = vsqrt(q);
    return t * vsqrt(t);
}

/* --- across channels: a pixel's values are copied between zeros --- */

static long whole(long count) { return (count + LANES - 1) / LANES * LANES; }

static void across_channels(void *context, long number) {
    const Normalization *v = context;
    long pixels = v->h, half = v->size / 2, width = whole(v->c) + v->size; /* h: all pixels */
    float *row = scratch(0, sizeof(float) * (3 * width));
    if (!row) return;
    float *y = row + width, *q = y + width;
    memset(row, 0, sizeof(float) * width);
    for (long pixel = number * PIXELS; pixel < (number + 1) * PIXELS && pixel < pixels; pixel++) {
        memcpy(row + half, v->x + pixel * v->c, sizeof(float) * v->c);
        for (long c = 0; c < v->c; c += LANES) {
            vf sum = splat(0.0f);
            for (long j = 0; j < v->size; j++) {
                vf x = load(row + c + j);
                sum = vfma(x, x, sum);
            }
            vf one = splat(1.0f), quotient = one / vfma(splat(v->a), sum, splat(v->k));
            store(q + c, quotient);
            store(y + c, load(row + half + c) * three_quarters(quotient));
        }
        memcpy(v->y + pixel * v->c, y, sizeof(float) * v->c);
        memcpy(v->q + pixel * v->c, q, sizeof(float) * v->c);
    }
}

static void across_channels_gradient(void *context, long number) {
    const Normalization *v = context;
    long pixels = v->h, half = v->size / 2, width = whole(v->c) + v->size;
    float *u = scratch(0, sizeof(float) * (5 * width));
    if (!u) return;
    float *x = u + width, *q = x + width, *g = q + width, *e = g + width;
    memset(u, 0, sizeof(float) * 5 * width);
    for (long pixel = number * PIXELS; pixel < (number + 1) * PIXELS && pixel < pixels; pixel++) {
        memcpy(x, v->x + pixel * v->c, sizeof(float) * v->c);
        memcpy(q, v->q_in + pixel * v->c, sizeof(float) * v->c);
        memcpy(g, v->g + pixel * v->c, sizeof(float) * v->c);
        for (long c = 0; c < v->c; c += LANES) { /* beyond the channels x is 0, and so is u */
            vf quotient = load(q + c), direct = load(g + c) * three_quarters(quotient);
            store(e + c, direct);
            store(u + half + c, (direct * load(x + c)) * quotient);
        }
        for (long c = 0; c < v->c; c += LANES) {
            vf sum = splat(0.0f);
            for (long j = 0; j < v->size; j++) sum = sum + load(u + c + j);
            store(g + c, vfma(-(splat(v->c_a) * load(x + c)), sum, load(e + c)));
        }
        memcpy(v->y + pixel * v->c, g, sizeof(float) * v->c);
    }
}

/* sizes: pixels, c, pixels, 1, size; scalars: k, a. x -> y, q */
void lrn(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1), v.q = ARRAY(float, 2);
    share(across_channels, &v, (SIZE(0) + PIXELS - 1) / PIXELS, arguments->threads);
}

/* g, x, q -> dx */
void lrn_gradient(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.g = ARRAY(float, 0), v.x = ARRAY(float, 1), v.q_in = ARRAY(float, 2), v.y = ARRAY(float, 3);
    share(across_channels_gradient, &v, (SIZE(0) + PIXELS - 1) / PIXELS, arguments->threads);
}

/* --- across pixels: sums of rows between zeros, then of those --- */

/* to[w * c] = for each pixel of a row the sum over `size` neighbours; `from` has size / 2 pixels of
 * zeros on both sides. */
INLINE void along_row(const Normalization *v, const int squares, const float *from, float *to) {
    long values = v->w * v->c;
    for (long i = 0; i < values; i += LANES) {
        vf sum = splat(0.0f);
        for (long j = 0; j < v->size; j++) {
            vf x = load(from + i + j * v->c);
            sum = squares ? vfma(x, x, sum) : sum + x;
        }
        store(to + i, sum);
    }
}

INLINE vf down_rows(const Normalization *v, const float *rows, long width, long h, long i) {
    vf sum = splat(0.0f);
    for (long r = h - v->size / 2; r <= h + v->size / 2; r++)
        if (r >= 0 && r < v->h) sum = sum + load(rows + r * width + i);
    return sum;
}

static void across_pixels(void *context, long image) {
    const Normalization *v = context;
    long values = v->w * v->c, width = whole(values), half = v->size / 2 * v->c;
    const float *x = v->x + image * v->h * values;
    float *between = scratch(0, sizeof(float) * (width + 2 * half + v->h * width + 3 * width));
    if (!between) return;
    float *rows = between + width + 2 * half, *here = rows + v->h * width, *y = here + width,
          *q = y + width;
    memset(between, 0, sizeof(float) * (width + 2 * half));
    for (long h = 0; h < v->h; h++) {
        memcpy(between + half, x + h * values, sizeof(float) * values);
        along_row(v, 1, between, rows + h * width);
    }
    memset(here, 0, sizeof(float) * width);
    for (long h = 0; h < v->h; h++) {
        memcpy(here, x + h * values, sizeof(float) * values);
        for (long i = 0; i < values; i += LANES) {
            vf one = splat(1.0f),
               quotient = one / vfma(splat(v->a), down_rows(v, rows, width, h, i), splat(v->k));
            store(q + i, quotient);
            store(y + i, load(here + i) * three_quarters(quotient));
        }
        memcpy(v->y + (image * v->h + h) * values, y, sizeof(float) * values);
        memcpy(v->q + (image * v->h + h) * values, q, sizeof(float) * values);
    }
}

static void across_pixels_gradient(void *context, long image) {
    const Normalization *v = context;
    long values = v->w * v->c, width = whole(values), half = v->size / 2 * v->c,
         all = v->h * values;
    const float *x = v->x + image * all, *q = v->q_in + image * all, *g = v->g + image * all;
    float *between = scratch(0, sizeof(float) * (width + 2 * half + 2 * v->h * width + 3 * width));
    if (!between) return;
    float *rows = between + width + 2 * half, *e = rows + v->h * width, *xs = e + v->h * width,
          *qs = xs + width, *gs = qs + width;
    memset(between, 0, sizeof(float) * (width + 2 * half));
    memset(xs, 0, sizeof(float) * 3 * width);
    for (long h = 0; h < v->h; h++) {
        memcpy(xs, x + h * values, sizeof(float) * values);
        memcpy(qs, q + h * values, sizeof(float) * values);
        memcpy(gs, g + h * values, sizeof(float) * values);
        for (long i = 0; i < values; i += LANES) {
            vf quotient = load(qs + i), direct = load(gs + i) * three_quarters(quotient);
            store(e + h * width + i, direct);
            store(between + half + i, (direct * load(xs + i)) * quotient);
        }
        memset(between + half + values, 0, sizeof(float) * (width - values + half));
        along_row(v, 0, between, rows + h * width);
    }
    for (long h = 0; h < v->h; h++) {
        memcpy(xs, x + h * values, sizeof(float) * values);
        for (long i = 0; i < values; i += LANES)
            store(gs + i, vfma(-(splat(v->c_a) * load(xs + i)), down_rows(v, rows, width, h, i),
                               load(e + h * width + i)));
        memcpy(v->y + image * all + h * values, gs, sizeof(float) * values);
    }
}

/* sizes: n, c, h, w, size; scalars: k, a. x -> y, q */
void spatial(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1), v.q = ARRAY(float, 2);
    share(across_pixels, &v, SIZE(0), arguments->threads);
}

/* g, x, q -> dx */
void spatial_gradient(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.g = ARRAY(float, 0), v.x = ARRAY(float, 1), v.q_in = ARRAY(float, 2), v.y = ARRAY(float, 3);
    share(across_pixels_gradient, &v, SIZE(0), arguments->threads);
}
