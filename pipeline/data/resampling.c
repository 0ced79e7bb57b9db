/* Resampling of 8-bit RGB by Pillow's bicubic filter in the fixed-point arithmetic of pillow-simd, in plain C: the same
   bits on every processor. resampling.py calls it. First along the rows, then along the columns, rounded to 8 bits after
   each. Sums of products are whole numbers, so their order does not matter; weights are double, without contraction. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

enum { CHANNELS = 3, ROWS = 16, MAX_SHIFT = 22, WEIGHT_BITS = 15, OUT_OF_MEMORY = 1 };
#define SUPPORT 2.0  /* of the filter, in pixels of the result; at least as many of the source */

/* Of an axis: pixel k of the result is the sum of count[k] pixels from first[k] on, by the weights from k * taps on, in
   units of 2^-shift. */
typedef struct {
    int taps, shift;
    int *first, *count;
    int16_t *weights;
} Axis;

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

static void release(Axis *axis) {
    free(axis->first);
    free(axis->count);
    free(axis->weights);
}

/* As many bits for a fraction as the largest weight leaves of 15. */
static int shift_for(const double *weights, int count) {
    double largest = weights[0];
    for (int k = 1; k < count; k++)
        if (largest < weights[k]) largest = weights[k];
    int shift = 0;
    while (shift < MAX_SHIFT && (int)(0.5 + largest * (1 << (shift + 1))) < 1 << WEIGHT_BITS) shift++;
    return shift;
}

/* The weights of `side` pixels that cover `start` to `stop` of `length` pixels; in single precision, as Pillow has them. */
static int weigh(Axis *axis, int length, float start, float stop, int side) {
    double scale = (double)(stop - start) / side, stretch = scale < 1.0 ? 1.0 : scale;
    double support = SUPPORT * stretch, per_pixel = 1.0 / stretch;
    int taps = axis->taps = (int)ceil(support) * 2 + 1;
    double *exact = calloc((size_t)side * taps, sizeof *exact);
    axis->first = malloc(side * sizeof *axis->first);
    axis->count = malloc(side * sizeof *axis->count);
    axis->weights = malloc((size_t)side * taps * sizeof *axis->weights);
    if (!exact || !axis->first || !axis->count || !axis->weights) {
        free(exact);
        return OUT_OF_MEMORY;
    }
    for (int k = 0; k < side; k++) {
        double centre = start + (k + 0.5) * scale, sum = 0.0, *row = exact + (size_t)k * taps;
        int first = (int)(centre - support + 0.5), end = (int)(centre + support + 0.5);
        if (first < 0) first = 0;
        if (end > length) end = length;
        for (int x = first; x < end; x++) sum += row[x - first] = bicubic((x - centre + 0.5) * per_pixel);
        for (int x = first; x < end; x++)
            if (sum != 0.0) row[x - first] /= sum;
        axis->first[k] = first;
        axis->count[k] = end - first;
    }
    axis->shift = shift_for(exact, side * taps);
    for (int k = 0; k < side * taps; k++)
        axis->weights[k] = (int16_t)(int)((exact[k] < 0 ? -0.5 : 0.5) + exact[k] * (1 << axis->shift));
    free(exact);
    return 0;
}

static inline uint8_t rounded(int32_t sum, int shift) {
    sum >>= shift;  /* arithmetic: gcc and clang shift the sign in */
    return sum < 0 ? 0 : sum > 255 ? 255 : sum;
}

/* ROWS rows of `width` pixels into rows of `side`; `tile` has room for ROWS rows of the source, turned on their side so that
   sixteen sums are made at once. */
static void along_rows(const uint8_t *in, int width, int rows, const Axis *axis, int side, int16_t *tile, uint8_t *out) {
    for (int r = 0; r < rows; r++)
        for (int x = 0; x < width * CHANNELS; x++) tile[x * ROWS + r] = in[(size_t)r * width * CHANNELS + x];
    for (int k = 0; k < side; k++) {
        int32_t sums[CHANNELS * ROWS];
        const int16_t *weights = axis->weights + (size_t)k * axis->taps;
        const int16_t *pixels = tile + (size_t)axis->first[k] * CHANNELS * ROWS;
        for (int j = 0; j < CHANNELS * ROWS; j++) sums[j] = 1 << (axis->shift - 1);
        for (int x = 0; x < axis->count[k]; x++)
            for (int j = 0; j < CHANNELS * ROWS; j++) sums[j] += weights[x] * pixels[x * CHANNELS * ROWS + j];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < CHANNELS; c++)
                out[((size_t)r * side + k) * CHANNELS + c] = rounded(sums[c * ROWS + r], axis->shift);
    }
}

static void along_columns(const uint8_t *in, const Axis *axis, int top, int side, int32_t *sums, uint8_t *out) {
    int line = side * CHANNELS;
    for (int k = 0; k < side; k++) {
        const int16_t *weights = axis->weights + (size_t)k * axis->taps;
        for (int j = 0; j < line; j++) sums[j] = 1 << (axis->shift - 1);
        for (int y = 0; y < axis->count[k]; y++) {
            const uint8_t *row = in + (size_t)(axis->first[k] - top + y) * line;
            for (int j = 0; j < line; j++) sums[j] += weights[y] * row[j];
        }
        for (int j = 0; j < line; j++) out[(size_t)k * line + j] = rounded(sums[j], axis->shift);
    }
}

/* in: uint8 [height, width, 3]; box: left, top, right, bottom of what is kept, in its pixels; out: uint8 [side, side, 3].
   Returns 0, or OUT_OF_MEMORY. */
int alexnet_resample(const uint8_t *in, int height, int width, const float *box, int side, uint8_t *out) {
    Axis across = {0}, down = {0};
    int16_t *tile = calloc((size_t)width * CHANNELS * ROWS, sizeof *tile);
    int32_t *sums = malloc((size_t)side * CHANNELS * sizeof *sums);
    uint8_t *between = NULL;
    int failed = !tile || !sums || weigh(&across, width, box[0], box[2], side)
        || weigh(&down, height, box[1], box[3], side);
    if (!failed) {
        int top = down.first[0], bottom = down.first[side - 1] + down.count[side - 1];
        between = malloc((size_t)(bottom - top) * side * CHANNELS);
        failed = !between;
        for (int y = top; !failed && y < bottom; y += ROWS)
            along_rows(in + (size_t)y * width * CHANNELS, width, bottom - y < ROWS ? bottom - y : ROWS, &across, side,
                       tile, between + (size_t)(y - top) * side * CHANNELS);
        if (!failed) along_columns(between, &down, top, side, sums, out);
    }
    free(between);
    free(sums);
    free(tile);
    release(&across);
    release(&down);
    return failed ? OUT_OF_MEMORY : 0;
}
