"""The eigen-decomposition of a symmetric 3 x 3 matrix by Jacobi's rotations (docs/arithmetic.md,
section 8).

It runs in Python's own floats, with nothing but + - * / and the square root, which IEEE 754
rounds correctly: the same bits on every machine. The last bits of a LAPACK depend on its build,
and every training image would inherit them.
"""

from __future__ import annotations

import math

Matrix = list[list[float]]
ROUNDS = 20  # it converges quadratically: some six rounds
PAIRS = ((0, 1), (0, 2), (1, 2))


def components(matrix: Matrix) -> tuple[list[float], Matrix]:
    """Return eigenvalues, descending, and eigenvectors in columns.

    Eigenvalues below zero, which only rounding makes, are 0. An eigenvector's component of
    greatest magnitude (the first of equals) is positive.

    Args:
        matrix: [3][3], symmetric.
    """
    values, vectors = jacobi(matrix)
    order = sorted(range(3), key=lambda k: -values[k])
    columns = [_with_sign([vectors[i][k] for i in range(3)]) for k in order]
    return [max(values[k], 0.0) for k in order], [[column[i] for column in columns]
                                                  for i in range(3)]


def jacobi(matrix: Matrix) -> tuple[list[float], Matrix]:
    """Return eigenvalues and eigenvectors (columns), as the rotations leave them."""
    a = [list(row) for row in matrix]
    v = [[float(i == j) for j in range(3)] for i in range(3)]
    for _ in range(ROUNDS):
        for p, q in PAIRS:
            if a[p][q] == 0.0:
                continue
            theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q])
            t = math.copysign(1.0, theta) / (abs(theta) + math.sqrt(theta * theta + 1.0))
            cosine = 1.0 / math.sqrt(t * t + 1.0)
            sine = t * cosine
            for row in (*a, *v):  # columns p and q of both
                row[p], row[q] = cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]
            a[p], a[q] = ([cosine * x - sine * y for x, y in zip(a[p], a[q], strict=True)],
                          [sine * x + cosine * y for x, y in zip(a[p], a[q], strict=True)])
            a[p][q] = a[q][p] = 0.0
    return [a[k][k] for k in range(3)], v


def _with_sign(vector: list[float]) -> list[float]:
    greatest = max(vector, key=abs)
    return [math.copysign(1.0, greatest) * x + 0.0 for x in vector]  # + 0.0: no negative zeros
