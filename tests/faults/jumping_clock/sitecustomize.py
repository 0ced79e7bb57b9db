"""In every Python that has this folder on its path, the clock of the day jumps by up to ten years,
at every look."""

import random
import time

_real, _draw = time.time, random.Random(1)


def _jumping() -> float:
    return _real() + _draw.uniform(-3e8, 3e8)


time.time = _jumping
time.time_ns = lambda: int(_jumping() * 1e9)
