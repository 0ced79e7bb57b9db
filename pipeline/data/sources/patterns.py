"""The pictures of the built-in sample: ten kinds of pattern, drawn from a seed. `picture` yields
one, uint8 RGB.

What tells the classes apart is texture and shape, with a leaning in colour: two classes share each
hue, and one picture in five has any hue. Scale, place, angle, wobble, light, clutter, noise and the
cast of the light vary within a class. Every angle is as likely as its mirror image, so a flipped
picture is still one of its class.

The arithmetic is + - * / and square roots alone, which every processor rounds alike: no library's
sine or exponential, no sum over an array, no resampling by an image library. So the same seed gives
the same pixels everywhere.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

# float32; the stubs of NumPy take float32 by a Python number for float64
Plane = NDArray[np.floating[Any]]
Random = np.random.Generator


def picture(seed: int, split: int, index: int, label: int) -> NDArray[np.uint8]:
    """Return picture `index` of a split, of class `label` (0..9): uint8 [height, width, 3], RGB,
    shorter side 120 to 400.

    A pure function of its arguments, by a counter-based generator: no picture depends on another.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, (split << 32) + index]))
    height, width = _size(random)
    short = min(height, width)
    y = (np.arange(height, dtype=np.float32)[:, None] - height / 2) / short  # [height, 1]
    x = (np.arange(width, dtype=np.float32)[None, :] - width / 2) / short    # [1, width]
    u, v = _rotated(x, y, random.uniform(-0.3, 0.3) + random.integers(0, 2) * math.pi / 2)
    wobble = random.uniform(0, 0.035)
    u = u + wobble * _clouds(random, x, y, 3)
    v = v + wobble * _clouds(random, x, y, 3)
    mask = PATTERNS[label](random, u, v)  # [height, width], 0..1

    front, back = _colours(random, label)
    pixels = back + (front - back) * mask[:, :, None]  # [height, width, 3], 0..1
    _clutter(random, pixels, x, y)
    light = 1 + random.uniform(0, 0.2) * _clouds(random, x, y, 1)
    pixels *= light[:, :, None]
    pixels *= _cast(random)
    grain = np.frombuffer(random.bytes(height * width),
                          np.uint8).reshape(height, width, 1).astype(np.float32)
    pixels *= 255
    pixels += (grain - 127.5) * random.uniform(0, 0.1)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _size(random: Random) -> tuple[int, int]:
    """Return height and width: most up to 3:2, one in six up to 3:1; three in ten upright; half
    have a side under 190."""
    part = random.random()
    short = 120 + 280 * part * part
    long = short * (random.uniform(1.5, 3) if random.random() < 1 / 6 else random.uniform(1, 1.5))
    return (int(long), int(short)) if random.random() < 0.3 else (int(short), int(long))


def _colours(random: Random, label: int) -> tuple[Plane, Plane]:
    """Return front and back, float32 [3] in 0..1: hues apart, one of them light and the other
    dark."""
    hue = label % 5 / 5 + random.uniform(-0.05, 0.05) if random.random() < 0.8 else random.random()
    other = hue + random.uniform(0.3, 0.7)
    light, dark = random.uniform(0.8, 1), random.uniform(0.1, 0.35)
    if random.random() < 0.5:
        light, dark = dark, light
    front = colorsys.hsv_to_rgb(hue % 1, random.uniform(0.3, 0.85), light)
    back = colorsys.hsv_to_rgb(other % 1, random.uniform(0.1, 0.6), dark)
    return np.array(front, np.float32), np.array(back, np.float32)


def _cast(random: Random) -> Plane:
    """Return gains of R, G and B: brightness, and warm against cold, as the light of photographs
    varies."""
    brightness, warmth, green = (random.uniform(0.75, 1.2), random.uniform(-0.18, 0.18),
                                 random.uniform(-0.05, 0.05))
    return np.array([brightness * (1 + warmth), brightness * (1 + green),
                     brightness * (1 - warmth)], np.float32)


def _clutter(random: Random, pixels: Plane, x: Plane, y: Plane) -> None:
    """Cover a little of the picture with up to three discs or bars of any colour."""
    for _ in range(random.integers(0, 4)):
        across, down, radius = (random.uniform(-0.6, 0.6), random.uniform(-0.6, 0.6),
                                random.uniform(0.03, 0.09))
        colour = random.uniform(0.1, 0.9, 3).astype(np.float32)
        rows = np.flatnonzero(abs(y[:, 0] - down) < radius)
        columns = np.flatnonzero(abs(x[0] - across) < radius)
        p, q = x[:, columns] - across, y[rows] - down
        inside = (p * p + q * q < radius * radius if random.random() < 0.5
                  else (abs(p) < radius / 3) & (abs(q) < radius))
        covered = rows[:, None], columns[None, :]
        pixels[covered] = np.where(inside[:, :, None], colour, pixels[covered])


def _clouds(random: Random, x: Plane, y: Plane, cells: int) -> Plane:
    """Return smooth noise in -1..1, [height, width], with about `cells` bumps over the shorter
    side."""
    def between(t: Plane) -> tuple[NDArray[np.intp], Plane, int]:
        t = (t - t[0]) * cells
        low = np.floor(t)
        part = t - low
        return low.astype(np.intp), part * part * (3 - 2 * part), int(low[-1]) + 2

    (row, down, rows), (column, across, columns) = between(y[:, 0]), between(x[0])
    grid = random.uniform(-1, 1, (rows, columns)).astype(np.float32)
    lines = grid[row] + (grid[row + 1] - grid[row]) * down[:, None]  # [height, columns]
    return lines[:, column] + (lines[:, column + 1] - lines[:, column]) * across


def _rotated(x: Plane, y: Plane, angle: float) -> tuple[Plane, Plane]:
    cos, sin = _turn(float(angle))  # of Python: NumPy's would make float64 of the planes
    return x * cos + y * sin, y * cos - x * sin


def _turn(angle: float) -> tuple[float, float]:
    """Return cosine and sine, to about 1e-16, by Taylor's series within an eighth of a turn."""
    quarters = round(angle / (math.pi / 2))
    rest = angle - quarters * (math.pi / 2)
    square, cos, sin = rest * rest, 1.0, 1.0
    for n in range(18, 0, -2):
        cos = 1 - square / (n * (n - 1)) * cos
        sin = 1 - square / (n * (n + 1)) * sin
    sin *= rest
    return ((cos, sin), (-sin, cos), (-cos, -sin), (sin, -cos))[quarters % 4]


def _wave(t: Plane) -> Plane:
    """Return a triangle wave of period 1, from 0 to 1 and back."""
    return abs(t - np.floor(t) - 0.5) * 2


def _soft(distance: Plane, width: float) -> Plane:
    """Return 0 outside (below 0), 1 inside, with an edge of this width."""
    inside: Plane = np.clip(distance / width + 0.5, 0, 1)
    return inside


def _cells(random: Random, u: Plane, v: Plane, period: float, jitter: float) -> tuple[Plane, Plane]:
    """Return a place within its cell (-0.5..0.5 both ways) of a square lattice, each cell shifted
    and turned its own way."""
    u, v = u / period, v / period
    i, j = np.floor(u), np.floor(v)
    cell = ((i.astype(np.int32) * 7 + j.astype(np.int32) * 13) & 31)
    shift = random.uniform(-jitter, jitter, (2, 32)).astype(np.float32)
    p = u - i - 0.5 - shift[0][cell]
    q = v - j - 0.5 - shift[1][cell]
    if not jitter:
        return p, q
    turn = [_turn(angle) for angle in random.uniform(0, 2 * math.pi, 32)]
    cos, sin = np.array(turn, np.float32).T
    return p * cos[cell] + q * sin[cell], q * cos[cell] - p * sin[cell]


def _stripes(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.1, 0.2)
    return _soft(_wave(u / period) - random.uniform(0.35, 0.65), 0.02 / period)


def _checks(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.24, 0.4)
    across, down = (_soft(_wave(t / period) - 0.5, 0.02 / period) for t in (u, v))
    return across + down - 2 * across * down


def _dots(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.18, 0.27)
    p, q = _cells(random, u, v, period, 0)
    return _soft(random.uniform(0.24, 0.36) - np.sqrt(p * p + q * q), 0.012 / period)


def _rings(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.1, 0.18)
    u, v = u - random.uniform(-0.2, 0.2), v - random.uniform(-0.2, 0.2)
    return _soft(_wave(np.sqrt(u * u + v * v) / period) - 0.5, 0.02 / period)


def _rays(random: Random, u: Plane, v: Plane) -> Plane:
    u, v = u - random.uniform(-0.15, 0.15), v - random.uniform(-0.15, 0.15)
    lines = random.integers(5, 9)
    side = np.ones_like(u)
    for line in range(lines):  # each line through the centre turns front into back
        across, _ = _rotated(u, v, math.pi * line / lines)
        side = side * np.clip(across * 100, -1, 1)
    return side / 2 + 0.5


def _triangles(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.34, 0.46)
    p, q = _cells(random, u, v, period, 0.08)
    half = math.sqrt(3) / 2
    inside = np.minimum(np.minimum(q, half * p - q / 2),
                        -half * p - q / 2) + random.uniform(0.18, 0.23)
    return _soft(inside, 0.012 / period)


def _crosses(random: Random, u: Plane, v: Plane) -> Plane:
    period = random.uniform(0.22, 0.32)
    p, q = (abs(t) for t in _cells(random, u, v, period, 0.06))
    thick, long = random.uniform(0.07, 0.11), random.uniform(0.34, 0.42)
    inside = np.maximum(np.minimum(thick - p, long - q), np.minimum(long - p, thick - q))
    return _soft(inside, 0.012 / period)


def _smoke(random: Random, u: Plane, v: Plane) -> Plane:
    """Return three octaves of smooth noise: no edge and no order."""
    height, width = u.shape
    short = min(height, width)
    y, x = (np.arange(height, dtype=np.float32)[:, None] / short,
            np.arange(width, dtype=np.float32)[None, :] / short)
    cells = int(random.integers(5, 9))
    coarse, middle, fine = (_clouds(random, x, y, cells << octave) for octave in range(3))
    return _soft((coarse + middle / 2 + fine / 4) * 0.8, 1)


def _bricks(random: Random, u: Plane, v: Plane) -> Plane:
    course = random.uniform(0.13, 0.2)
    v = v / course
    row = np.floor(v)
    u = u / (course * random.uniform(2, 2.6)) + row / 2  # every second course is half a brick along
    joint = np.minimum(1 - _wave(v), (1 - _wave(u)) * 2.3)
    return _soft(random.uniform(0.16, 0.24) - joint, 0.02 / course)


def _balls(random: Random, u: Plane, v: Plane) -> Plane:
    """Draw three to five large balls, lit in the middle and dark at the rim."""
    best = np.zeros_like(u)
    for _ in range(random.integers(3, 6)):
        across, down, radius = (random.uniform(-0.4, 0.4), random.uniform(-0.4, 0.4),
                                random.uniform(0.14, 0.26))
        p, q = (u - across) / radius, (v - down) / radius
        best = np.maximum(best, 1 - (p * p + q * q))
    return best


PATTERNS: list[Callable[[Random, Plane, Plane], Plane]] = [
    _stripes, _checks, _dots, _rings, _rays, _triangles, _smoke, _balls, _bricks, _crosses]
