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
    const int32_t *masks, *masks_end;
} Normalization;

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

/* --- across channels: values as they lie in memory. A vector may hold parts of several pixels, so
 * masks make zeros of what a window would take from another one. --- */

enum { RUN = 2048 }; /* values of one task, about */

static long whole(long count) { return (count + LANES - 1) / LANES * LANES; }

/* Vectors after which one begins with the same channel again; they hold as many whole pixels. */
static long period(const Normalization *v) {
    long common = v->c & -v->c; /* the power of two in it */
    return v->c / (common < LANES ? common : LANES);
}

static long values_of_task(const Normalization *v) {
    return (1 + RUN / (period(v) * LANES)) * period(v) * LANES;
}

/* [period, size, LANES]: ones where the window's value is of the same pixel, else zeros. */
static int32_t *windows(const Normalization *v) {
    int32_t *masks = scratch(1, sizeof(int32_t) * period(v) * v->size * LANES), *to = masks;
    if (!masks) return NULL;
    for (long first = 0; first < period(v) * LANES; first += LANES)
        for (long j = 0; j < v->size; j++)
            for (long lane = 0; lane < LANES; lane++) {
                long c = (first + lane) % v->c + j - v->size / 2;
                *to++ = c >= 0 && c < v->c ? -1 : 0;
            }
    return masks;
}

/* A task's part of the arrays. The last may not fill its vectors, and at both ends windows reach
 * beyond the arrays: such tasks work on copies. */
typedef struct {
    long first, count, width; /* values; width fills vectors */
    int copies;
} Part;

static Part part(const Normalization *v, long number) {
    long all = v->h * v->c, most = values_of_task(v), first = number * most; /* h: all pixels */
    long count = all - first < most ? all - first : most;
    return (Part){first, count, whole(count), first < v->size || all - first < most + v->size};
}

/* The task's values of an array, as they are or copied to `copy`, zeros beyond. */
static const float *values(const Part *t, const float *array, float *copy) {
    if (!t->copies) return array + t->first;
    memcpy(copy, array + t->first, sizeof(float) * t->count);
    memset(copy + t->count, 0, sizeof(float) * (t->width - t->count));
    return copy;
}

static void copy_back(const Part *t, const float *copy, float *array) {
    if (t->copies) memcpy(array + t->first, copy, sizeof(float) * t->count);
}

INLINE vf masked(const float *p, const int32_t *mask) {
    return (vf)((vi)load(p) & (vi)load((const float *)mask));
}

static void across_channels(void *context, long number) {
    const Normalization *v = context;
    Part t = part(v, number);
    long half = v->size / 2;
    float *copy = scratch(0, sizeof(float) * (3 * t.width + 2 * half));
    if (!copy) return;
    float *y = t.copies ? copy + t.width + 2 * half : v->y + t.first,
          *q = t.copies ? y + t.width : v->q + t.first;
    if (t.copies) {
        memset(copy, 0, sizeof(float) * half);
        memset(copy + half + t.width, 0, sizeof(float) * half);
    }
    const float *x = values(&t, v->x, copy + half);
    const int32_t *mask = v->masks;
    for (long i = 0; i < t.width; i += LANES) {
        vf sum = splat(0.0f);
        for (long j = -half; j <= half; j++, mask += LANES) {
            vf near = masked(x + i + j, mask);
            sum = vfma(near, near, sum);
        }
        if (mask == v->masks_end) mask = v->masks;
        vf one = splat(1.0f), quotient = one / vfma(splat(v->a), sum, splat(v->k));
        store(q + i, quotient);
        store(y + i, load(x + i) * three_quarters(quotient));
    }
    copy_back(&t, y, v->y);
    copy_back(&t, q, v->q);
}

static void across_channels_gradient(void *context, long number) {
    const Normalization *v = context;
    Part t = part(v, number);
    long half = v->size / 2;
    float *u = scratch(0, sizeof(float) * (6 * t.width + 2 * half));
    if (!u) return;
    float *e = u + t.width + 2 * half, *copy = e + t.width,
          *dx = t.copies ? copy + 3 * t.width : v->y + t.first;
    const float *x = values(&t, v->x, copy), *q = values(&t, v->q_in, copy + t.width),
                *g = values(&t, v->g, copy + 2 * t.width);
    memset(u, 0, sizeof(float) * half);
    memset(u + half + t.width, 0, sizeof(float) * half);
    for (long i = 0; i < t.width; i += LANES) {
        vf quotient = load(q + i), direct = load(g + i) * three_quarters(quotient);
        store(e + i, direct);
        store(u + half + i, (direct * load(x + i)) * quotient);
    }
    const int32_t *mask = v->masks;
    for (long i = 0; i < t.width; i += LANES) {
        vf sum = splat(0.0f);
        for (long j = 0; j < v->size; j++, mask += LANES) sum = sum + masked(u + i + j, mask);
        if (mask == v->masks_end) mask = v->masks;
        store(dx + i, vfma(-(splat(v->c_a) * load(x + i)), sum, load(e + i)));
    }
    copy_back(&t, dx, v->y);
}

static void share_values(Task task, Normalization *v, int threads) {
    if (!(v->masks = windows(v))) return;
    v->masks_end = v->masks + period(v) * v->size * LANES;
    long most = values_of_task(v);
    share(task, v, (v->h * v->c + most - 1) / most, threads);
}

/* sizes: pixels, c, pixels, 1, size; scalars: k, a. x -> y, q */
void lrn(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1), v.q = ARRAY(float, 2);
    share_values(across_channels, &v, arguments->threads);
}

/* g, x, q -> dx */
void lrn_gradient(const Arguments *arguments) {
    Normalization v = described(arguments);
    v.g = ARRAY(float, 0), v.x = ARRAY(float, 1), v.q_in = ARRAY(float, 2), v.y = ARRAY(float, 3);
    share_values(across_channels_gradient, &v, arguments->threads);
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
