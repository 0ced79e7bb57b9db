/* Loss, update, draws and inputs (docs/arithmetic.md, sections 5 to 9). */
#include <stdlib.h>

#include "functions.h"
#include "operators.h"
#include "threads.h"
#include "vector.h"

enum { CHUNK = 1 << 14 };

static long least(long a, long b) { return a < b ? a : b; }

/* --- softmax and cross-entropy --- */

typedef struct {
    const float *logits; /* [n, classes] */
    const int64_t *labels;
    float *result; /* probabilities, or gradient */
    double *losses;
    int64_t *wrong;
    long classes;
    double batch;
} Loss;

/* e_c and their sum; the place of the first of the greatest logits. */
static double exponentials(const float *z, long classes, double *e, long *greatest) {
    long top = 0;
    for (long c = 1; c < classes; c++)
        if (z[c] > z[top]) top = c;
    double sum = 0.0, m = (double)z[top];
    for (long c = 0; c < classes; c++) e[c] = exp_64((double)z[c] - m);
    for (long c = 0; c < classes; c++) sum = sum + e[c];
    *greatest = top;
    return sum;
}

static void softmax_row(void *context, long n) {
    const Loss *v = context;
    double *e = scratch(0, sizeof(double) * v->classes);
    if (!e) return;
    long greatest;
    double sum = exponentials(v->logits + n * v->classes, v->classes, e, &greatest);
    for (long c = 0; c < v->classes; c++) v->result[n * v->classes + c] = (float)(e[c] / sum);
}

/* sizes: n, classes. logits -> probabilities */
void softmax(const Arguments *arguments) {
    Loss v = {.logits = ARRAY(float, 0), .result = ARRAY(float, 1), .classes = SIZE(1)};
    share(softmax_row, &v, SIZE(0), arguments->threads);
}

static void cross_entropy_row(void *context, long n) {
    const Loss *v = context;
    const float *z = v->logits + n * v->classes;
    double *e = scratch(0, sizeof(double) * v->classes);
    if (!e) return;
    long greatest, label = v->labels[n];
    double sum = exponentials(z, v->classes, e, &greatest);
    v->losses[n] = log_64(sum) - ((double)z[label] - (double)z[greatest]);
    v->wrong[n] = greatest != label;
    for (long c = 0; c < v->classes; c++)
        v->result[n * v->classes + c] = (float)((e[c] / sum - (c == label ? 1.0 : 0.0)) / v->batch);
}

/* sizes: n, classes; scalars: batch. logits, labels (int64) -> gradient, the losses' sum (float64
 * [1]), wrong images (int64 [1]) */
void cross_entropy(const Arguments *arguments) {
    long n = SIZE(0);
    Loss v = {.logits = ARRAY(float, 0),
              .labels = ARRAY(int64_t, 1),
              .result = ARRAY(float, 2),
              .classes = SIZE(1),
              .losses = scratch(1, sizeof(double) * n),
              .wrong = scratch(2, sizeof(int64_t) * n),
              .batch = arguments->scalars[0]};
    if (!v.losses || !v.wrong) return;
    share(cross_entropy_row, &v, n, arguments->threads);
    double sum = 0.0;
    int64_t wrong = 0;
    for (long i = 0; i < n; i++) sum = sum + v.losses[i], wrong += v.wrong[i];
    *ARRAY(double, 3) = sum;
    *ARRAY(int64_t, 4) = wrong;
}

/* sizes: count, values. p [count, values] -> [values] */
void average(const Arguments *arguments) {
    long count = SIZE(0), values = SIZE(1);
    const float *p = ARRAY(float, 0);
    for (long i = 0; i < values; i++) {
        double sum = 0.0;
        for (long n = 0; n < count; n++) sum = sum + (double)p[n * values + i];
        ARRAY(float, 1)[i] = (float)(sum / (double)count);
    }
}

/* --- update --- */

typedef struct {
    float *restrict weight, *restrict velocity;
    const float *restrict gradient;
    long count;
    float momentum, lr, decay; /* lr and decay with their signs */
} Update;

static void update_part(void *context, long number) {
    const Update *v = context;
    float *restrict w = v->weight, *restrict velocity = v->velocity;
    const float *restrict g = v->gradient;
    const float m = v->momentum, l = v->lr, e = v->decay;
    long first = number * CHUNK, last = least(v->count, first + CHUNK);
    if (e != 0.0f)
        for (long i = first; i < last; i++) {
            float next = fma1(e, w[i], fma1(l, g[i], m * velocity[i]));
            velocity[i] = next;
            w[i] = w[i] + next;
        }
    else
        for (long i = first; i < last; i++) {
            float next = fma1(l, g[i], m * velocity[i]);
            velocity[i] = next;
            w[i] = w[i] + next;
        }
}

/* sizes: count; scalars: momentum, lr, decay. weight, velocity (both changed), gradient */
void update(const Arguments *arguments) {
    const double *scalars = arguments->scalars;
    Update v = {ARRAY(float, 0),
                ARRAY(float, 1),
                ARRAY(float, 2),
                SIZE(0),
                (float)scalars[0],
                (float)-scalars[1],
                (float)-(scalars[2] * scalars[1])};
    if (v.lr != 0.0f) share(update_part, &v, (v.count + CHUNK - 1) / CHUNK, arguments->threads);
}

/* --- functions and draws --- */

typedef struct {
    const double *x;
    double *y;
    const int64_t *words;
    float *values;
    long count, which;
    double spread;
} Draws;

static void functions_part(void *context, long number) {
    const Draws *v = context;
    double other;
    for (long i = number * CHUNK; i < least(v->count, (number + 1) * CHUNK); i++)
        switch (v->which) {
        case 0: v->y[i] = exp_64(v->x[i]); break;
        case 1: v->y[i] = log_64(v->x[i]); break;
        case 2: sin_cos_64(v->x[i], &v->y[i], &other); break;
        default: sin_cos_64(v->x[i], &other, &v->y[i]);
        }
}

/* sizes: count, which (exp, log, sin, cos). x (float64) -> y */
void functions(const Arguments *arguments) {
    Draws v = {.x = ARRAY(double, 0), .y = ARRAY(double, 1), .count = SIZE(0), .which = SIZE(1)};
    share(functions_part, &v, (v.count + CHUNK - 1) / CHUNK, arguments->threads);
}

static void four_gaussians(const int64_t *words, double *z) {
    for (int pair = 0; pair < 2; pair++) {
        double u = ((double)words[2 * pair] + 0.5) / 0x1p32,
               around = ((double)words[2 * pair + 1] + 0.5) / 0x1p32, sine, cosine;
        double radius = sqrt(-2.0 * log_64(u));
        sin_cos_64(0x1.921fb54442d18p+2 * around, &sine, &cosine);
        z[pair] = radius * cosine;
        z[2 + pair] = radius * sine;
    }
}

static void gaussians_part(void *context, long number) {
    const Draws *v = context;
    for (long i = number * CHUNK; i < least(v->count, (number + 1) * CHUNK); i++)
        four_gaussians(v->words + 4 * i, v->y + 4 * i);
}

/* sizes: count. words (int64 [count, 4]) -> float64 [count, 4] */
void gaussians(const Arguments *arguments) {
    Draws v = {.words = ARRAY(int64_t, 0), .y = ARRAY(double, 1), .count = SIZE(0)};
    share(gaussians_part, &v, (v.count + CHUNK - 1) / CHUNK, arguments->threads);
}

static void initial_part(void *context, long number) {
    const Draws *v = context;
    double z[4];
    for (long i = number * CHUNK; i < least(v->count, (number + 1) * CHUNK); i += 4) {
        four_gaussians(v->words + i, z);
        for (long j = 0; j < 4 && i + j < v->count; j++)
            v->values[i + j] = (float)(z[j] * v->spread);
    }
}

/* sizes: count; scalars: spread. words (int64 [count / 4 rounded up, 4]) -> float32 [count] */
void initial_weights(const Arguments *arguments) {
    Draws v = {.words = ARRAY(int64_t, 0),
               .values = ARRAY(float, 1),
               .count = SIZE(0),
               .spread = arguments->scalars[0]};
    share(initial_part, &v, (v.count + CHUNK - 1) / CHUNK, arguments->threads);
}

/* --- inputs --- */

/* sizes: n. gaussians (float64 [n, 4]), sizes of the components (float64 [3]), vectors (float64 [3,
 * 3]) -> float32 [n, 3] */
void colour_offsets(const Arguments *arguments) {
    const double *z = ARRAY(double, 0), *size = ARRAY(double, 1), *vectors = ARRAY(double, 2);
    for (long n = 0; n < SIZE(0); n++) {
        double b[3];
        for (int k = 0; k < 3; k++) b[k] = (z[4 * n + k] * 0.1) * size[k];
        for (int c = 0; c < 3; c++) ARRAY(float, 3)
        [3 * n + c] = (float)((b[0] * vectors[3 * c] + b[1] * vectors[3 * c + 1]) +
                              b[2] * vectors[3 * c + 2]);
    }
}

typedef struct {
    const uint8_t *crops;
    const float *mean, *offsets;
    const int64_t *tops, *lefts, *flips;
    float *x;
    long side, stored;
    float factor;
} Centred;

static void centre_row(void *context, long number) {
    const Centred *v = context;
    long n = number / v->side, row = number % v->side;
    const float *mean = v->mean + ((v->tops[n] + row) * v->stored + v->lefts[n]) * 3;
    const uint8_t *crop = v->crops + number * v->side * 3;
    float *x = v->x + number * v->side * 3, window[3 * 1024];
    if (v->flips[n]) {
        for (long column = 0; column < v->side; column++)
            for (long c = 0; c < 3; c++)
                window[column * 3 + c] = mean[(v->side - 1 - column) * 3 + c];
        mean = window;
    }
    if (!v->offsets) {
        for (long i = 0; i < 3 * v->side; i++) x[i] = (float)crop[i] - mean[i];
        return;
    }
    float added[3];
    for (long c = 0; c < 3; c++) added[c] = v->offsets[3 * n + c] * v->factor;
    for (long column = 0; column < v->side; column++)
        for (long c = 0; c < 3; c++) {
            long i = column * 3 + c;
            x[i] = fma1(v->factor, (float)crop[i] - mean[i], added[c]);
        }
}

/* sizes: n, side, stored side; scalars: factor. crops (uint8 [n, side, side, 3], mirrored where
 * flips says so), mean [stored, stored, 3], tops, lefts, flips (int64 [n], of the mean's window),
 * offsets [n, 3] or nothing -> x [n, side, side, 3] */
void centred(const Arguments *arguments) {
    Centred v = {.crops = ARRAY(uint8_t, 0),
                 .mean = ARRAY(float, 1),
                 .tops = ARRAY(int64_t, 2),
                 .lefts = ARRAY(int64_t, 3),
                 .flips = ARRAY(int64_t, 4),
                 .offsets = ARRAY(float, 5),
                 .x = ARRAY(float, 6),
                 .side = SIZE(1),
                 .stored = SIZE(2),
                 .factor = (float)arguments->scalars[0]};
    share(centre_row, &v, SIZE(0) * v.side, arguments->threads);
}
