"""How far an error can be trusted: its interval over images."""

from __future__ import annotations

import math

Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


def interval(fraction: float, count: int) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a fraction of `count` images."""
    middle = (fraction + Z * Z / (2 * count)) / (1 + Z * Z / count)
    reach = Z / (1 + Z * Z / count) * math.sqrt(fraction * (1 - fraction) / count
                                                + Z * Z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)
