"""The factors by which learning rates fall: exact numbers, each rounded once to float64
(docs/arithmetic.md, section 9).

A library's `pow` may be an ulp off, and then every weight would differ.
"""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction

_EXACT = Context(prec=60)


def by_hand(drops: int) -> float:
    """Return 10 ** -drops (P §5)."""
    return float(Fraction(1, 10**drops))


def automatic(total: int, steps: int, step: int) -> float:
    """Return total ** -(step / (steps - 1)): equal steps in the exponent, the last one 1 / total.

    Args:
        total: by what the rate falls in all, at least 1.
        steps: of the run, at least 2.
        step: 0 .. steps - 1.
    """
    # 60 digits decide the rounding to float64's 16, unless the power is a float64; then it is exact
    root = _EXACT.power(Decimal(total), _EXACT.divide(Decimal(-step), Decimal(steps - 1)))
    return float(root)
