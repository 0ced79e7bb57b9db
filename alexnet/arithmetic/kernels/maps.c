/* Element by element, and pooling (docs/arithmetic.md, section 4). Loops are plain; the compiler
 * makes vectors of them. */
#include "functions.h"
#include "operators.h"
#include "threads.h"
#include "vector.h"

enum { CHUNK = 1 << 14 }; /* values of one task */

typedef struct {
    const float *a, *b;
    const uint8_t *kept;
    float *result;
    long count;
    float factor;
} Elements;

static void each(Task task, Elements *v, int threads) {
    share(task, v, (v->count + CHUNK - 1) / CHUNK, threads);
}

#define RANGE                                                                                      \
    const Elements *v = context;                                                                   \
    const float *restrict a = v->a, *restrict b = v->b;                                            \
    float *result = v->result;                                                                     \
    long first = number * CHUNK, last = first + CHUNK < v->count ? first + CHUNK : v->count;       \
    (void)a, (void)b;

static void relu_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = a[i] <= 0.0f ? 0.0f : a[i];
}

static void relu_gradient_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = b[i] <= 0.0f ? 0.0f : a[i];
}

static void tanh_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = tanh_32(a[i]);
}

static void tanh_gradient_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = a[i] * fma1(-b[i], b[i], 1.0f);
}

static void add_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = a[i] + b[i];
}

static void dropout_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = v->kept[i] ? a[i] * v->factor : 0.0f;
}

static void scale_part(void *context, long number) {
    RANGE
    for (long i = first; i < last; i++) result[i] = a[i] * v->factor;
}

/* sizes: count. x -> y */
void relu(const Arguments *arguments) {
    Elements v = {.a = ARRAY(float, 0), .result = ARRAY(float, 1), .count = SIZE(0)};
    each(relu_part, &v, arguments->threads);
}

/* g, y -> dx */
void relu_gradient(const Arguments *arguments) {
    Elements v = {
        .a = ARRAY(float, 0), .b = ARRAY(float, 1), .result = ARRAY(float, 2), .count = SIZE(0)};
    each(relu_gradient_part, &v, arguments->threads);
}

/* x -> y */
void tanh_(const Arguments *arguments) {
    Elements v = {.a = ARRAY(float, 0), .result = ARRAY(float, 1), .count = SIZE(0)};
    each(tanh_part, &v, arguments->threads);
}

/* g, y -> dx */
void tanh_gradient(const Arguments *arguments) {
    Elements v = {
        .a = ARRAY(float, 0), .b = ARRAY(float, 1), .result = ARRAY(float, 2), .count = SIZE(0)};
    each(tanh_gradient_part, &v, arguments->threads);
}

/* a, b -> a + b */
void add(const Arguments *arguments) {
    Elements v = {
        .a = ARRAY(float, 0), .b = ARRAY(float, 1), .result = ARRAY(float, 2), .count = SIZE(0)};
    each(add_part, &v, arguments->threads);
}

/* x, kept (uint8) -> y; scalars: factor */
void dropout(const Arguments *arguments) {
    Elements v = {.a = ARRAY(float, 0),
                  .kept = ARRAY(uint8_t, 1),
                  .result = ARRAY(float, 2),
                  .count = SIZE(0),
                  .factor = (float)arguments->scalars[0]};
    each(dropout_part, &v, arguments->threads);
}

/* x -> y = x * factor; may be x itself. scalars: factor */
void scale(const Arguments *arguments) {
    Elements v = {.a = ARRAY(float, 0),
                  .result = ARRAY(float, 1),
                  .count = SIZE(0),
                  .factor = (float)arguments->scalars[0]};
    each(scale_part, &v, arguments->threads);
}

/* --- max pooling; a place is row * size + column within the window --- */

typedef struct {
    const float *x;  /* [n, h, w, c], or g [n, rows, columns, c] */
    float *y;        /* [n, rows, columns, c], or dx [n, h, w, c] */
    uint8_t *places; /* [n, rows, columns, c] */
    long c, h, w, size, stride, rows, columns;
} Pool;

/* One window: the greatest value of each channel and its place. The last vector may read the next
 * pixel's channels, up to `end`, and stores no more than its own. */
INLINE void greatest(const Pool *v, const float *x, const float *end, long height, long width,
                     float *y, uint8_t *places) {
    const float *last = x + ((height - 1) * v->w + width - 1) * v->c;
    long c = 0;
    for (; c < v->c && last + c + LANES <= end; c += LANES) {
        vf best = load(x + c);
        vi where = {0};
        for (long i = 0; i < height; i++)
            for (long j = i == 0; j < width; j++) {
                vf next = load(x + (i * v->w + j) * v->c + c);
                vi taken = (next > best) | (next != next);
                best = chosen(taken, next, best);
                where = (((vi){0} + (int32_t)(i * v->size + j)) & taken) | (where & ~taken);
            }
        vb bytes = __builtin_convertvector(where, vb);
        if (c + LANES <= v->c) {
            store(y + c, best);
            *(vbu *)(places + c) = bytes;
        } else {
            memcpy(y + c, &best, sizeof(float) * (v->c - c));
            memcpy(places + c, &bytes, v->c - c);
        }
    }
    for (; c < v->c; c++) {
        float best = x[c];
        uint8_t where = 0;
        for (long i = 0; i < height; i++)
            for (long j = i == 0; j < width; j++) {
                float next = x[(i * v->w + j) * v->c + c];
                if (next > best || next != next) best = next, where = (uint8_t)(i * v->size + j);
            }
        y[c] = best, places[c] = where;
    }
}

static long within(long first, long size, long side) {
    return first + size < side ? size : side - first;
}

static void pool_image(void *context, long image) {
    const Pool *v = context;
    const float *end = v->x + (image + 1) * v->h * v->w * v->c;
    for (long p = 0; p < v->rows; p++)
        for (long q = 0; q < v->columns; q++) {
            long h = p * v->stride, w = q * v->stride;
            long out = ((image * v->rows + p) * v->columns + q) * v->c;
            greatest(v, v->x + ((image * v->h + h) * v->w + w) * v->c, end,
                     within(h, v->size, v->h), within(w, v->size, v->w), v->y + out,
                     v->places + out);
        }
}

/* Windows in order, so that each input adds them in order. */
static void pool_image_gradient(void *context, long image) {
    const Pool *v = context;
    memset(v->y + image * v->h * v->w * v->c, 0, sizeof(float) * v->h * v->w * v->c);
    for (long p = 0; p < v->rows; p++)
        for (long q = 0; q < v->columns; q++) {
            long h = p * v->stride, w = q * v->stride;
            long out = ((image * v->rows + p) * v->columns + q) * v->c, c = 0;
            const float *g = v->x + out;
            const uint8_t *places = v->places + out;
            float *dx = v->y + ((image * v->h + h) * v->w + w) * v->c;
            long height = within(h, v->size, v->h), width = within(w, v->size, v->w);
            for (; c + LANES <= v->c; c += LANES) {
                vf here = load(g + c);
                vi where = __builtin_convertvector(*(const vbu *)(places + c), vi);
                for (long i = 0; i < height; i++)
                    for (long j = 0; j < width; j++) {
                        float *to = dx + (i * v->w + j) * v->c + c;
                        vi own = where == (vi){0} + (int32_t)(i * v->size + j);
                        store(to, load(to) + chosen(own, here, (vf){0}));
                    }
            }
            for (; c < v->c; c++)
                dx[(places[c] / v->size * v->w + places[c] % v->size) * v->c + c] += g[c];
        }
}

static Pool pool(const Arguments *arguments) {
    Pool v = {.c = SIZE(1),
              .h = SIZE(2),
              .w = SIZE(3),
              .size = SIZE(4),
              .stride = SIZE(5),
              .rows = SIZE(6),
              .columns = SIZE(7)};
    return v;
}

/* sizes: n, c, h, w, size, stride, rows, columns. x -> y, places (uint8) */
void max_pool(const Arguments *arguments) {
    Pool v = pool(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1), v.places = ARRAY(uint8_t, 2);
    share(pool_image, &v, SIZE(0), arguments->threads);
}

/* g, places -> dx */
void max_pool_gradient(const Arguments *arguments) {
    Pool v = pool(arguments);
    v.x = ARRAY(float, 0), v.places = ARRAY(uint8_t, 1), v.y = ARRAY(float, 2);
    share(pool_image_gradient, &v, SIZE(0), arguments->threads);
}

/* --- average pooling: of the values that a window has within the map --- */

static void average_image(void *context, long image) {
    const Pool *v = context;
    for (long p = 0; p < v->rows; p++)
        for (long q = 0; q < v->columns; q++) {
            long h = p * v->stride, w = q * v->stride;
            long height = within(h, v->size, v->h), width = within(w, v->size, v->w);
            const float *x = v->x + ((image * v->h + h) * v->w + w) * v->c;
            float *restrict y = v->y + ((image * v->rows + p) * v->columns + q) * v->c;
            float values = (float)(height * width);
            memset(y, 0, sizeof(float) * v->c);
            for (long i = 0; i < height; i++)
                for (long j = 0; j < width; j++) {
                    const float *restrict from = x + (i * v->w + j) * v->c;
                    for (long c = 0; c < v->c; c++) y[c] = y[c] + from[c];
                }
            for (long c = 0; c < v->c; c++) y[c] = y[c] / values;
        }
}

/* Windows in order, so that each input adds them in order. */
static void average_image_gradient(void *context, long image) {
    const Pool *v = context;
    memset(v->y + image * v->h * v->w * v->c, 0, sizeof(float) * v->h * v->w * v->c);
    for (long p = 0; p < v->rows; p++)
        for (long q = 0; q < v->columns; q++) {
            long h = p * v->stride, w = q * v->stride;
            long height = within(h, v->size, v->h), width = within(w, v->size, v->w);
            const float *restrict g = v->x + ((image * v->rows + p) * v->columns + q) * v->c;
            float *dx = v->y + ((image * v->h + h) * v->w + w) * v->c;
            float values = (float)(height * width);
            for (long i = 0; i < height; i++)
                for (long j = 0; j < width; j++) {
                    float *restrict to = dx + (i * v->w + j) * v->c;
                    for (long c = 0; c < v->c; c++) to[c] = to[c] + g[c] / values;
                }
        }
}

/* sizes: n, c, h, w, size, stride, rows, columns. x -> y */
void average_pool(const Arguments *arguments) {
    Pool v = pool(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1);
    share(average_image, &v, SIZE(0), arguments->threads);
}

/* g -> dx */
void average_pool_gradient(const Arguments *arguments) {
    Pool v = pool(arguments);
    v.x = ARRAY(float, 0), v.y = ARRAY(float, 1);
    share(average_image_gradient, &v, SIZE(0), arguments->threads);
}
