/* Local layers: like a convolution, with weights of its own at every position (docs/arithmetic.md,
 * section 3). One task is one position: its windows are gathered side by side, its weights packed,
 * and then it is a small product. */
#include "operators.h"
#include "threads.h"
#include "tiles.h"

enum { BLOCK = 128 };

typedef struct {
    const float *x, *weight, *bias, *g; /* [n, h, w, c], [rows, columns, o, c, size, size], [rows,
                                           columns, o], [n, rows, columns, o] */
    float *result;
    long n, c, h, w, o, size, before, rows, columns;
} Local;

static long least(long a, long b) { return a < b ? a : b; }

static Local described(const Arguments *arguments) {
    Local v = {.n = SIZE(0),
               .c = SIZE(1),
               .h = SIZE(2),
               .w = SIZE(3),
               .o = SIZE(4),
               .size = SIZE(5),
               .before = SIZE(7),
               .rows = SIZE(8),
               .columns = SIZE(9)};
    return v;
}

/* The window of image n at this position: [size, size, c], zeros outside of the map. */
static void window(const Local *v, long n, long p, long q, float *to) {
    for (long i = 0; i < v->size; i++)
        for (long j = 0; j < v->size; j++, to += v->c) {
            long r = p + i - v->before, s = q + j - v->before;
            if (r < 0 || r >= v->h || s < 0 || s >= v->w) memset(to, 0, sizeof(float) * v->c);
            else memcpy(to, v->x + ((n * v->h + r) * v->w + s) * v->c, sizeof(float) * v->c);
        }
}

static void forward(void *context, long position) {
    const Local *v = context;
    long k = v->size * v->size * v->c, p = position / v->columns, q = position % v->columns;
    float *a = scratch(0, sizeof(float) * v->n * k), *b = scratch(1, sizeof(float) * k * WIDE),
          tile[MR * WIDE];
    if (!a || !b) return;
    for (long n = 0; n < v->n; n++) window(v, n, p, q, a + n * k);
    Walk walk = {1, k, k, 1, 0, WIDE, 0};
    for (long o0 = 0; o0 < v->o; o0 += WIDE) {
        long lanes = least(WIDE, v->o - o0), area = v->size * v->size;
        memset(b, 0, sizeof(float) * k * WIDE);
        for (long lane = 0; lane < lanes; lane++)
            for (long c = 0; c < v->c; c++)
                for (long place = 0; place < area; place++)
                    b[(place * v->c + c) * WIDE + lane] =
                        v->weight[((position * v->o + o0 + lane) * v->c + c) * area + place];
        for (long n = 0; n < v->n; n += MR) {
            long count = least(MR, v->n - n);
            tile_chains((int)count, 2, &walk, a + n * k, b, tile);
            for (long m = 0; m < count; m++)
                for (long lane = 0; lane < lanes; lane++)
                    v->result[((n + m) * v->rows * v->columns + position) * v->o + o0 + lane] =
                        tile[m * WIDE + lane] +
                        (v->bias ? v->bias[position * v->o + o0 + lane] + 0.0f : 0.0f);
        }
    }
}

/* x, weight, bias or nothing -> y */
void local(const Arguments *arguments) {
    Local v = described(arguments);
    v.x = ARRAY(float, 0), v.weight = ARRAY(float, 1), v.bias = ARRAY(float, 2),
    v.result = ARRAY(float, 3);
    share(forward, &v, v.rows * v.columns, arguments->threads);
}

static void
backward(void *context,
         long pixel) { /* of the input: the positions that see it, in order, and their outputs */
    const Local *v = context;
    long h = pixel / v->w, w = pixel % v->w, area = v->size * v->size, k = 0;
    float *a = scratch(0, sizeof(float) * v->n * area * v->o),
          *b = scratch(1, sizeof(float) * area * v->o * WIDE), tile[MR * WIDE];
    long positions[1024], places[1024];
    if (!a || !b) return;
    for (long p = 0; p < v->rows; p++)
        for (long q = 0; q < v->columns; q++) {
            long i = h + v->before - p, j = w + v->before - q;
            if (i < 0 || i >= v->size || j < 0 || j >= v->size) continue;
            positions[k] = p * v->columns + q, places[k++] = i * v->size + j;
        }
    long depth = k * v->o;
    for (long n = 0; n < v->n; n++)
        for (long s = 0; s < k; s++)
            memcpy(a + n * depth + s * v->o,
                   v->g + (n * v->rows * v->columns + positions[s]) * v->o, sizeof(float) * v->o);
    Walk walk = {1, depth, depth, 1, 0, WIDE, 0};
    for (long c0 = 0; c0 < v->c; c0 += WIDE) {
        long lanes = least(WIDE, v->c - c0);
        memset(b, 0, sizeof(float) * depth * WIDE);
        for (long s = 0; s < k; s++)
            for (long o = 0; o < v->o; o++)
                for (long lane = 0; lane < lanes; lane++)
                    b[(s * v->o + o) * WIDE + lane] =
                        v->weight[((positions[s] * v->o + o) * v->c + c0 + lane) * area +
                                  places[s]];
        for (long n = 0; n < v->n; n += MR) {
            long count = least(MR, v->n - n);
            tile_chains((int)count, 2, &walk, a + n * depth, b, tile);
            for (long m = 0; m < count; m++)
                for (long lane = 0; lane < lanes; lane++)
                    v->result[((n + m) * v->h * v->w + pixel) * v->c + c0 + lane] =
                        tile[m * WIDE + lane] + 0.0f;
        }
    }
}

/* g, weight -> dx */
void local_input_gradient(const Arguments *arguments) {
    Local v = described(arguments);
    v.g = ARRAY(float, 0), v.weight = ARRAY(float, 1), v.result = ARRAY(float, 2);
    share(backward, &v, v.h * v.w, arguments->threads);
}

static void weights(void *context, long position) {
    const Local *v = context;
    long k = v->size * v->size * v->c, p = position / v->columns, q = position % v->columns,
         area = v->size * v->size;
    long width = (k + WIDE - 1) / WIDE * WIDE, apart = v->rows * v->columns * v->o;
    float *row = scratch(0, sizeof(float) * k), *b = scratch(1, sizeof(float) * v->n * width);
    float tile[MR * WIDE], total[MR * WIDE];
    if (!row || !b) return;
    memset(b, 0, sizeof(float) * v->n * width);
    for (long n = 0; n < v->n; n++) { /* [panels, n, WIDE] */
        window(v, n, p, q, row);
        for (long k0 = 0; k0 < k; k0 += WIDE)
            memcpy(b + k0 * v->n + n * WIDE, row + k0, sizeof(float) * least(WIDE, k - k0));
    }
    for (long k0 = 0; k0 < k; k0 += WIDE)
        for (long o = 0; o < v->o; o += MR) {
            long count = least(MR, v->o - o);
            memset(total, 0, sizeof total);
            for (long n = 0; n < v->n; n += BLOCK) {
                Walk walk = {1, least(BLOCK, v->n - n), 1, apart, 0, WIDE, 0};
                tile_chains((int)count, 2, &walk, v->g + n * apart + position * v->o + o,
                            b + k0 * v->n + n * WIDE, tile);
                for (long i = 0; i < count * WIDE; i++) total[i] += tile[i];
            }
            for (long m = 0; m < count; m++)
                for (long lane = 0; lane < least(WIDE, k - k0); lane++) {
                    long place = (k0 + lane) / v->c, c = (k0 + lane) % v->c;
                    v->result[((position * v->o + o + m) * v->c + c) * area + place] =
                        total[m * WIDE + lane];
                }
        }
}

/* g, x -> dw */
void local_weight_gradient(const Arguments *arguments) {
    Local v = described(arguments);
    v.g = ARRAY(float, 0), v.x = ARRAY(float, 1), v.result = ARRAY(float, 2);
    share(weights, &v, v.rows * v.columns, arguments->threads);
}
