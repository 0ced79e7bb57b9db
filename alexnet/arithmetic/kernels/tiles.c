#include "tiles.h"

INLINE void chains(const int rows, const int vectors, const int contiguous, const Walk *walk,
                   const float *restrict a, const float *restrict b, float *restrict tile) {
    vf c[MR][2];
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) c[m][v] = splat(0.0f);
    const long row = contiguous ? 1 : walk->row, a_inner = contiguous ? walk->a_inner : 1;
    const long b_inner = contiguous ? walk->b_inner : WIDE;
    for (long outer = 0; outer < walk->outer; outer++) {
        const float *bk = b + outer * walk->b_outer;
        const float
            *ak[5]; /* every third row: an address is a register plus 0, 1 or 2 times `row` */
#pragma GCC unroll 5
        for (int g = 0; g < (rows + 2) / 3; g++) ak[g] = a + outer * walk->a_outer + 3 * g * row;
        for (long inner = 0; inner < walk->inner; inner++) {
            vf bv[2];
#pragma GCC unroll 2
            for (int v = 0; v < vectors; v++) bv[v] = load(bk + v * LANES);
#pragma GCC unroll 16
            for (int m = 0; m < rows; m++) {
                vf av = splat(ak[m / 3][(m % 3) * row]);
#pragma GCC unroll 2
                for (int v = 0; v < vectors; v++) c[m][v] = vfma(av, bv[v], c[m][v]);
            }
#pragma GCC unroll 5
            for (int g = 0; g < (rows + 2) / 3; g++) ak[g] += a_inner;
            bk += b_inner;
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
#pragma GCC unroll 2
        for (int v = 0; v < vectors; v++) store(tile + m * WIDE + v * LANES, c[m][v]);
}

/* Two ways to walk: rows side by side in memory, or terms side by side in a and b packed. */
#define CASE(rows)                                                                                 \
    case rows:                                                                                     \
        if (walk->row == 1 && vectors == 2) chains(rows, 2, 1, walk, a, b, tile);                  \
        else if (walk->row == 1) chains(rows, 1, 1, walk, a, b, tile);                             \
        else if (vectors == 2) chains(rows, 2, 0, walk, a, b, tile);                               \
        else chains(rows, 1, 0, walk, a, b, tile);                                                 \
        return;

void tile_chains(int rows, int vectors, const Walk *walk, const float *a, const float *b,
                 float *tile) {
    switch (rows) {
        CASE(1)
        CASE(2)
        CASE(3)
        CASE(4)
#if MR > 4
            CASE(5) CASE(6)
#endif
#if MR > 6
                CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
#if MR > 12
                    CASE(13) CASE(14)
#endif
    }
}
