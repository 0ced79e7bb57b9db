/* Convolutions and fully connected layers, forward and backward (docs/arithmetic.md, sections 2 and
 * 3).
 *
 * Maps are [n, rows, columns, channels] in memory, weights as in the definition. */
#include <stdlib.h>

#include "operators.h"
#include "threads.h"
#include "tiles.h"

enum { BLOCK = 128 }; /* section 2: terms of a block */

static long least(long a, long b) { return a < b ? a : b; }
static long parts(long count, long size) { return (count + size - 1) / size; }
static int vectors_of(long lanes) { return lanes > LANES ? 2 : 1; }

/* Rows of a tile, as equal as can be: 27 are 14 + 13 and not 14 + 14 with one wasted. */
static long tile_rows(long count) { return parts(count, parts(count, MR)); }

/* --- convolution: chains over (rows, columns, channels) of a window --- */

typedef struct {
    const float *x; /* [n, h, w, c] */
    long h, w, c, before,
        spread; /* x with `before` zeros on each side, and its pixels `spread` apart */
    long wide;  /* columns of the padded map */
    long size, stride, rows, columns, outputs; /* of the kernels; of the result */
    const float *weights;                      /* [panels, size, size, c, WIDE] */
    const float *bias;                         /* [panels * WIDE] */
    float *y;                                  /* [n, rows, columns, outputs] */
    long bands;                                /* parts of an image */
} Convolution;

/* Rows first .. last - 1 of the padded map of an image. */
static const float *padded(const Convolution *v, long image, long first, long last) {
    long row = v->wide * v->c;
    const float *x = v->x + image * v->h * v->w * v->c;
    if (v->before == 0 && v->spread == 1 && v->wide == v->w && last <= v->h) return x + first * row;
    float *copy = scratch(0, sizeof(float) * row * (last - first));
    if (!copy) return NULL;
    memset(copy, 0, sizeof(float) * row * (last - first));
    for (long r = first; r < last; r++) {
        long from = r - v->before;
        if (from < 0 || from % v->spread || from / v->spread >= v->h) continue;
        float *to = copy + (r - first) * row + v->before * v->c;
        const float *source = x + from / v->spread * v->w * v->c;
        if (v->spread == 1) memcpy(to, source, sizeof(float) * v->w * v->c);
        else
            for (long q = 0; q < v->w; q++)
                memcpy(to + q * v->spread * v->c, source + q * v->c, sizeof(float) * v->c);
    }
    return copy;
}

/* The rows of kernels that meet more than padding at padded row `top`: first to last - 1. */
static void kernel_rows(const Convolution *v, long top, long *first, long *last) {
    long end = v->before + (v->h - 1) * v->spread + 1;
    *first = top < v->before ? least(v->before - top, v->size) : 0;
    *last = least(v->size, end - top);
    if (*last < *first) *last = *first;
}

static void convolve(void *context, long number) {
    const Convolution *v = context;
    long image = number / v->bands, band = number % v->bands;
    long p0 = v->rows * band / v->bands, p1 = v->rows * (band + 1) / v->bands, top = p0 * v->stride;
    if (p0 == p1) return;
    const float *x = padded(v, image, top, (p1 - 1) * v->stride + v->size);
    if (!x) return;
    long row = v->wide * v->c, depth = v->size * v->c, across = tile_rows(v->columns);
    float tile[MR * WIDE];
    for (long o = 0; o < v->outputs; o += WIDE) {
        long lanes = least(WIDE, v->outputs - o);
        const float *weights = v->weights + o * v->size * depth, *bias = v->bias + o;
        for (long p = p0; p < p1; p++) {
            long first, last;
            kernel_rows(v, p * v->stride, &first, &last);
            Walk walk = {last - first, depth, v->stride * v->c, 1, row, WIDE, depth * WIDE};
            for (long q = 0; q < v->columns; q += across) {
                int count = (int)least(across, v->columns - q);
                tile_chains(count, vectors_of(lanes), &walk,
                            x + (p * v->stride - top + first) * row + q * v->stride * v->c,
                            weights + first * depth * WIDE, tile);
                float *y = v->y + ((image * v->rows + p) * v->columns + q) * v->outputs + o;
                for (long m = 0; m < count; m++)
                    for (long lane = 0; lane < lanes; lane++)
                        y[m * v->outputs + lane] = tile[m * WIDE + lane] + bias[lane];
            }
        }
    }
}

typedef struct {
    const float *weight; /* [o, c, size, size] */
    long o, c, size;
    int turned; /* for the input gradient: kernels turned by half a turn, c outputs of o inputs */
    float *packed;
} Packing;

static void pack_panel(void *context, long panel) {
    const Packing *v = context;
    long outputs = v->turned ? v->c : v->o, inputs = v->turned ? v->o : v->c,
         area = v->size * v->size;
    float *to = v->packed + panel * WIDE * area * inputs;
    for (long place = 0; place < area; place++) {
        long from = v->turned ? area - 1 - place : place;
        for (long i = 0; i < inputs; i++, to += WIDE)
            for (long lane = 0; lane < WIDE; lane++) {
                long output = panel * WIDE + lane;
                long o = v->turned ? i : output, c = v->turned ? output : i;
                to[lane] = output < outputs ? v->weight[(o * v->c + c) * area + from] : 0.0f;
            }
    }
}

/* sizes: n, c, h, w, o, size, stride, before, rows, columns. */
static void run_convolution(const Arguments *arguments, Convolution *v, const float *weight,
                            const float *bias, long o, long c, int turned) {
    long panels = parts(v->outputs, WIDE), n = SIZE(0);
    float *packed = scratch(1, sizeof(float) * panels * WIDE * v->size * v->size * v->c);
    float *added = scratch(2, sizeof(float) * panels * WIDE);
    if (!packed || !added) return;
    Packing packing = {weight, o, c, v->size, turned, packed};
    share(pack_panel, &packing, panels, arguments->threads);
    for (long i = 0; i < panels * WIDE; i++)
        added[i] = bias && i < v->outputs ? bias[i] + 0.0f : 0.0f; /* -0 is +0 */
    v->weights = packed, v->bias = added;
    v->bands =
        n < 2 * arguments->threads && n ? least(v->rows, parts(2 * arguments->threads, n)) : 1;
    share(convolve, v, n * v->bands, arguments->threads);
}

/* x, weight, bias or nothing -> y */
void convolution(const Arguments *arguments) {
    Convolution v = {.x = ARRAY(float, 0),
                     .c = SIZE(1),
                     .h = SIZE(2),
                     .w = SIZE(3),
                     .outputs = SIZE(4),
                     .size = SIZE(5),
                     .stride = SIZE(6),
                     .before = SIZE(7),
                     .spread = 1,
                     .rows = SIZE(8),
                     .columns = SIZE(9),
                     .y = ARRAY(float, 3)};
    v.wide = (v.columns - 1) * v.stride + v.size;
    if (v.wide < v.before + v.w) v.wide = v.before + v.w; /* columns that no window reaches */
    run_convolution(arguments, &v, ARRAY(float, 1), ARRAY(float, 2), v.outputs, v.c, 0);
}

/* g [n, rows, columns, o], weight -> dx: a convolution of g, its pixels a stride apart, with the
 * turned kernels */
void convolution_input_gradient(const Arguments *arguments) {
    Convolution v = {.x = ARRAY(float, 0),
                     .c = SIZE(4),
                     .h = SIZE(8),
                     .w = SIZE(9),
                     .outputs = SIZE(1),
                     .size = SIZE(5),
                     .stride = 1,
                     .before = SIZE(5) - 1 - SIZE(7),
                     .spread = SIZE(6),
                     .rows = SIZE(2),
                     .columns = SIZE(3),
                     .y = ARRAY(float, 2)};
    v.wide = v.columns + v.size - 1;
    long reach = v.before + (v.w - 1) * v.spread + 1;
    if (v.wide < reach) v.wide = reach;
    run_convolution(arguments, &v, ARRAY(float, 1), NULL, SIZE(4), SIZE(1), 1);
}

/* --- gradient of a convolution's weights: chains over an image's pixels, images added in order.
 * Lanes are outputs and rows are places of the kernel, or the other way round where that fills the
 * vectors better: 6 outputs of 33 places are 18 vectors of 16, and not 33. --- */

typedef struct {
    Convolution map;
    const float *g; /* [n, rows, columns, outputs] */
    long n;         /* of images */
    int swapped;    /* lanes are places */
    long rows, lanes, tiles, panels; /* in all; tiles of rows and panels of lanes of a kernel row */
    long width;                      /* panels * WIDE */
    float *total;                    /* [size, rows, width] */
    long tasks;
} WeightGradient;

/* `images` images of x, padded, one after the other, and zeros for a vector that begins in them. */
static float *padded_images(const Convolution *map, long start, long images, long padded_image) {
    float *x = scratch(3, sizeof(float) * (images * padded_image + WIDE));
    if (!x) return NULL;
    for (long image = 0; image < images; image++) {
        const float *from = padded(map, start + image, 0, padded_image / (map->wide * map->c));
        if (!from) return NULL;
        memcpy(x + image * padded_image, from, sizeof(float) * padded_image);
    }
    memset(x + images * padded_image, 0, sizeof(float) * WIDE);
    return x;
}

/* Some pixels of g, each followed by zeros up to `wide` values. */
static const float *widened_pixels(const float *g, long pixels, long outputs, long wide) {
    if (wide == outputs) return g;
    float *copy = scratch(4, sizeof(float) * pixels * wide);
    if (!copy) return NULL;
    memset(copy, 0, sizeof(float) * pixels * wide);
    for (long pixel = 0; pixel < pixels; pixel++)
        memcpy(copy + pixel * wide, g + pixel * outputs, sizeof(float) * outputs);
    return copy;
}

static void gradient_of_weights(void *context, long number) {
    WeightGradient *v = context;
    Convolution map = v->map;
    long units = map.size * v->tiles * v->panels, across = tile_rows(v->rows);
    long u0 = units * number / v->tasks, u1 = units * (number + 1) / v->tasks;
    long row = map.wide * map.c, pixels = map.rows * map.columns;
    long padded_image = ((map.rows - 1) * map.stride + map.size) * row;
    long wide_g = v->swapped ? map.outputs : parts(map.outputs, LANES) * LANES;
    long block =
        1 + (1 << 17) / (padded_image + pixels * wide_g); /* images that stay in the cache */
    float tile[MR * WIDE];
    for (long start = 0; start < v->n; start += block) {
        long images = least(block, v->n - start);
        const float *x = padded_images(&map, start, images, padded_image);
        const float *g = widened_pixels(v->g + start * pixels * map.outputs, images * pixels,
                                       map.outputs, wide_g);
        if (!x || !g) return;
        for (long u = u0; u < u1; u++) {
            long i = u / v->tiles / v->panels, lane0 = u % v->panels * WIDE;
            long row0 = u / v->panels % v->tiles * across, count = least(across, v->rows - row0);
            int vectors = vectors_of(v->lanes - lane0);
            long p0 = 0, p1 = map.rows; /* rows whose windows meet more than padding */
            while (p0 < p1 && p0 * map.stride + i < map.before) p0++;
            while (p1 > p0 && (p1 - 1) * map.stride + i >= map.before + map.h) p1--;
            long x_inner = map.stride * map.c, x_outer = map.stride * row;
            long g_inner = wide_g, g_outer = map.columns * wide_g;
            Walk walk =
                v->swapped
                    ? (Walk){p1 - p0, map.columns, 1, g_inner, g_outer, x_inner, x_outer}
                    : (Walk){p1 - p0, map.columns, 1, x_inner, x_outer, g_inner, g_outer};
            float *total = v->total + (i * v->rows + row0) * v->width + lane0;
            for (long image = 0; image < images; image++) {
                const float *xs = x + image * padded_image + (p0 * map.stride + i) * row,
                            *gs = g + (image * pixels + p0 * map.columns) * wide_g;
                if (v->swapped) tile_chains((int)count, vectors, &walk, gs + row0, xs + lane0, tile);
                else tile_chains((int)count, vectors, &walk, xs + row0, gs + lane0, tile);
                for (long m = 0; m < count; m++)
                    for (long lane = 0; lane < vectors * LANES; lane++)
                        total[m * v->width + lane] += tile[m * WIDE + lane];
            }
        }
    }
}

/* g, x -> dw */
void convolution_weight_gradient(const Arguments *arguments) {
    WeightGradient v = {.map = {.x = ARRAY(float, 1),
                                .c = SIZE(1),
                                .h = SIZE(2),
                                .w = SIZE(3),
                                .outputs = SIZE(4),
                                .size = SIZE(5),
                                .stride = SIZE(6),
                                .before = SIZE(7),
                                .spread = 1,
                                .rows = SIZE(8),
                                .columns = SIZE(9)},
                        .g = ARRAY(float, 0),
                        .n = SIZE(0)};
    Convolution *map = &v.map;
    map->wide = (map->columns - 1) * map->stride + map->size;
    if (map->wide < map->before + map->w) map->wide = map->before + map->w;
    long places = map->size * map->c, outputs = map->outputs;
    v.swapped = outputs * parts(places, LANES) < places * parts(outputs, LANES);
    v.rows = v.swapped ? outputs : places, v.lanes = v.swapped ? places : outputs;
    v.tiles = parts(v.rows, tile_rows(v.rows)), v.panels = parts(v.lanes, WIDE);
    v.width = v.panels * WIDE;
    long values = map->size * v.rows * v.width;
    v.total = scratch(1, sizeof(float) * values);
    if (!v.total) return;
    memset(v.total, 0, sizeof(float) * values);
    v.tasks = arguments->threads;
    share(gradient_of_weights, &v, v.tasks, arguments->threads);
    float *dw = ARRAY(float, 2);
    for (long o = 0; o < outputs; o++)
        for (long c = 0; c < map->c; c++)
            for (long place = 0; place < map->size * map->size; place++) {
                long m = place % map->size * map->c + c, r = v.swapped ? o : m,
                     lane = v.swapped ? m : o;
                *dw++ = v.total[(place / map->size * v.rows + r) * v.width + lane];
            }
}

/* --- products of matrices: blocks of k, added in order --- */

enum {
    DEPTH = 4 * BLOCK,
    PANELS = 4,
    ROWS = 4 * MR
}; /* of k, of columns and of rows that are handled together */

typedef struct {
    long m, n, k;
    const float *a; /* [m, k]: a_m and a_k apart, one of them 1 */
    long a_m, a_k;
    const float *b; /* [k, n] */
    long b_k, b_n;
    float *c; /* [m, n] */
    long c_m, c_n;
    const float *bias; /* [m], or none */
    float *packed;     /* all of b, [panels, k, WIDE], if it is the smaller one */
} Product;

/* b's rows k0 .. k1 - 1 of one panel, as [k1 - k0, WIDE], zeros beyond its columns. */
static void pack(const Product *v, long panel, long k0, long k1, float *to) {
    long n0 = panel * WIDE, lanes = least(WIDE, v->n - n0);
    if (v->b_n == 1) {
        for (long k = k0; k < k1; k++, to += WIDE) {
            memcpy(to, v->b + k * v->b_k + n0, sizeof(float) * lanes);
            memset(to + lanes, 0, sizeof(float) * (WIDE - lanes));
        }
        return;
    }
    for (long lane = 0; lane < WIDE; lane++) {
        const float *from = v->b + (n0 + lane) * v->b_n;
        for (long k = k0; k < k1; k++)
            to[(k - k0) * WIDE + lane] = lane < lanes ? from[k * v->b_k] : 0.0f;
    }
}

static void pack_all(void *context, long panel) {
    const Product *v = context;
    pack(v, panel, 0, v->k, v->packed + panel * v->k * WIDE);
}

/* total[rows, WIDE] (width apart) += the blocks of k0 .. k1 - 1, one by one; b is packed from k0
 * on. */
static void add_blocks(const Product *v, long m, long rows, long lanes, long k0, long k1,
                       const float *b, float *total, long width) {
    float tile[MR * WIDE];
    for (long k = k0; k < k1; k += BLOCK) {
        Walk walk = {1, least(BLOCK, k1 - k), v->a_m, v->a_k, 0, WIDE, 0};
        tile_chains((int)rows, vectors_of(lanes), &walk, v->a + m * v->a_m + k * v->a_k,
                    b + (k - k0) * WIDE, tile);
        for (long r = 0; r < rows; r++)
            for (long lane = 0; lane < lanes; lane++)
                total[r * width + lane] += tile[r * WIDE + lane];
    }
}

static void some_rows(void *context, long number) { /* few columns: a is passed through once */
    const Product *v = context;
    long m0 = number * ROWS, m1 = least(v->m, m0 + ROWS), panels = parts(v->n, WIDE),
         width = panels * WIDE;
    float *total = scratch(0, sizeof(float) * ROWS * width);
    if (!total) return;
    memset(total, 0, sizeof(float) * ROWS * width);
    for (long k = 0; k < v->k; k += DEPTH)
        for (long m = m0; m < m1; m += MR)
            for (long panel = 0; panel < panels; panel++)
                add_blocks(v, m, least(MR, m1 - m), least(WIDE, v->n - panel * WIDE), k,
                           least(v->k, k + DEPTH), v->packed + (panel * v->k + k) * WIDE,
                           total + (m - m0) * width + panel * WIDE, width);
    for (long n = 0; n < v->n; n++)
        for (long m = m0; m < m1; m++)
            v->c[m * v->c_m + n * v->c_n] =
                total[(m - m0) * width + n] + (v->bias ? v->bias[m] + 0.0f : 0.0f);
}

static void some_columns(void *context, long number) { /* many columns: b is passed through once */
    const Product *v = context;
    long first = number * PANELS, last = least(first + PANELS, parts(v->n, WIDE));
    float *packed = scratch(0, sizeof(float) * DEPTH * WIDE * PANELS);
    if (!packed) return;
    for (long k = 0; k < v->k; k += DEPTH) {
        long depth = least(DEPTH, v->k - k);
        for (long panel = first; panel < last; panel++)
            pack(v, panel, k, k + depth, packed + (panel - first) * DEPTH * WIDE);
        for (long m = 0; m < v->m; m += MR)
            for (long panel = first; panel < last; panel++) {
                long rows = least(MR, v->m - m), lanes = least(WIDE, v->n - panel * WIDE);
                float total[MR * WIDE] = {0}, *c = v->c + m * v->c_m + panel * WIDE;
                if (k)
                    for (long r = 0; r < rows; r++)
                        memcpy(total + r * WIDE, c + r * v->c_m, sizeof(float) * lanes);
                add_blocks(v, m, rows, lanes, k, k + depth, packed + (panel - first) * DEPTH * WIDE,
                           total, WIDE);
                for (long r = 0; r < rows; r++)
                    memcpy(c + r * v->c_m, total + r * WIDE, sizeof(float) * lanes);
            }
    }
}

static void product(Product *v, int threads) {
    if (v->k == 0) return;
    if (v->n > v->m && v->c_n == 1 && !v->bias) {
        share(some_columns, v, parts(parts(v->n, WIDE), PANELS), threads);
        return;
    }
    v->packed = scratch(1, sizeof(float) * parts(v->n, WIDE) * WIDE * v->k);
    if (!v->packed) return;
    share(pack_all, v, parts(v->n, WIDE), threads);
    share(some_rows, v, parts(v->m, ROWS), threads);
}

/* sizes: n, inputs, outputs. x [n, inputs], weight [outputs, inputs], bias [outputs] or nothing ->
 * y [n, outputs] */
void linear(const Arguments *arguments) {
    long n = SIZE(0), i = SIZE(1), o = SIZE(2);
    Product v = {.m = o,
                 .n = n,
                 .k = i,
                 .a = ARRAY(float, 1),
                 .a_m = i,
                 .a_k = 1,
                 .b = ARRAY(float, 0),
                 .b_k = 1,
                 .b_n = i,
                 .c = ARRAY(float, 3),
                 .c_m = 1,
                 .c_n = o,
                 .bias = ARRAY(float, 2)};
    product(&v, arguments->threads);
}

/* g [n, outputs], weight -> dx [n, inputs] */
void linear_input_gradient(const Arguments *arguments) {
    long n = SIZE(0), i = SIZE(1), o = SIZE(2);
    Product v = {.m = n,
                 .n = i,
                 .k = o,
                 .a = ARRAY(float, 0),
                 .a_m = o,
                 .a_k = 1,
                 .b = ARRAY(float, 1),
                 .b_k = i,
                 .b_n = 1,
                 .c = ARRAY(float, 2),
                 .c_m = i,
                 .c_n = 1};
    product(&v, arguments->threads);
}

/* g, x -> dw [outputs, inputs] */
void linear_weight_gradient(const Arguments *arguments) {
    long n = SIZE(0), i = SIZE(1), o = SIZE(2);
    Product v = {.m = o,
                 .n = i,
                 .k = n,
                 .a = ARRAY(float, 0),
                 .a_m = 1,
                 .a_k = o,
                 .b = ARRAY(float, 1),
                 .b_k = i,
                 .b_n = 1,
                 .c = ARRAY(float, 2),
                 .c_m = i,
                 .c_n = 1};
    product(&v, arguments->threads);
}

/* --- sums --- */

typedef struct {
    const float *x; /* [n, k] */
    long k;
    float *sums;
} Squares;

static void squares_of_row(void *context, long row) {
    const Squares *v = context;
    const float *x = v->x + row * v->k;
    float total = 0.0f;
    for (long first = 0; first < v->k; first += BLOCK) {
        float chain = 0.0f;
        for (long k = first; k < least(v->k, first + BLOCK); k++) chain = fma1(x[k], x[k], chain);
        total += chain;
    }
    v->sums[row] = total;
}

/* sizes: n, k. x -> the sums of the squares of its rows, [n] */
void squares(const Arguments *arguments) {
    Squares v = {ARRAY(float, 0), SIZE(1), ARRAY(float, 1)};
    share(squares_of_row, &v, SIZE(0), arguments->threads);
}

typedef struct {
    const float *g; /* [n, pixels, outputs] */
    long n, pixels, outputs;
    float *db;
} BiasGradient;

enum { CHANNELS = 64 };

static void gradient_of_biases(void *context, long number) {
    const BiasGradient *v = context;
    long first = number * CHANNELS, count = least(CHANNELS, v->outputs - first);
    float total[CHANNELS] = {0};
    for (long image = 0; image < v->n; image++) {
        float own[CHANNELS] = {0};
        for (long pixel = 0; pixel < v->pixels; pixel++) {
            const float *g = v->g + (image * v->pixels + pixel) * v->outputs + first;
            for (long o = 0; o < count; o++) own[o] += g[o];
        }
        for (long o = 0; o < count; o++) total[o] += own[o];
    }
    memcpy(v->db + first, total, sizeof(float) * count);
}

/* sizes: n, pixels, outputs. g -> db: sum over the images of the sums over their pixels */
void bias_gradient(const Arguments *arguments) {
    BiasGradient v = {ARRAY(float, 0), SIZE(0), SIZE(1), SIZE(2), ARRAY(float, 1)};
    share(gradient_of_biases, &v, parts(v.outputs, CHANNELS), arguments->threads);
}
