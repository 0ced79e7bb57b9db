/* The one kernel of every product: a tile of outputs, rows x two vectors, each lane its own chain
 * over k. */
#ifndef TILES_H
#define TILES_H

#include "vector.h"

enum { WIDE = 2 * LANES }; /* outputs in a row of a tile */

/* How a tile walks over k: `outer` runs of `inner` terms. Rows are `row` values apart in a; a term
 * moves a by a_inner and b by b_inner, a run by a_outer and b_outer. */
typedef struct {
    long outer, inner, row, a_inner, a_outer, b_inner, b_outer;
} Walk;

/* tile[rows][WIDE] = chains over a[row][k] * b[k][lane]. `rows` is 1 .. MR; `vectors` (1 or 2) says
 * how much of the width is wanted; what lies beyond is not written. */
void tile_chains(int rows, int vectors, const Walk *walk, const float *a, const float *b,
                 float *tile);

#endif
