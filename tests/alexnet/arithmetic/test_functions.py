"""exp, log, sine, cosine and tanh against numbers of sixty digits: how far off they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import numpy as np
import pytest

from alexnet.arithmetic import library
from alexnet.arithmetic.operators import F64, Operators
from alexnet.arithmetic.table import integers, words

DIGITS = Context(prec=60)
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459230781640628620899")
COUNT = 1500


@pytest.fixture
def operators() -> Operators:
    return Operators(library.load(library.chosen()))


def uniform(key: int, low: float, high: float, count: int = COUNT) -> F64:
    return low + (high - low) * ((words(key, count) >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def exact_sin(x: Decimal) -> Decimal:
    term = result = x
    for k in range(1, 40):
        term = -term * x * x / ((2 * k) * (2 * k + 1))
        result += term
    return result


def exact_sine_of(x: float, shift: int) -> Decimal:
    """sin(x + shift * pi / 2)."""
    angle = Decimal(x) + shift * PI / 2
    turns = (angle / (2 * PI)).to_integral_value()
    return exact_sin(angle - turns * 2 * PI)


def exact_tanh(x: float) -> Decimal:
    e = (2 * Decimal(x)).exp()
    return (e - 1) / (e + 1)


def furthest(found: F64, arguments: F64, exact: Callable[[float], Decimal],
             spacing: Callable[[float], float]) -> float:
    """The greatest distance from the exact number, in units of the last place."""
    with localcontext(DIGITS):
        return max(
            float(abs(Decimal(float(y)) - wanted) / Decimal(spacing(float(wanted))))
            for y, wanted in ((y, exact(float(x))) for y, x in zip(found, arguments, strict=True)))


FUNCTIONS: dict[str, tuple[Callable[[float], Decimal], list[tuple[float, float]], float]] = {
    # exact, arguments, bound in ulps
    "exp": (lambda x: Decimal(x).exp(), [(-700, 700), (-1, 1), (-1e-3, 1e-3)], 0.9),
    "log": (lambda x: Decimal(x).ln(), [(1e-9, 1), (0.7, 1.5), (1, 1000), (1e-300, 1e300)], 0.9),
    "sin": (lambda x: exact_sine_of(x, 0), [(-0.8, 0.8), (-7, 7), (-1024, 1024)], 0.85),
    "cos": (lambda x: exact_sine_of(x, 1), [(-0.8, 0.8), (-7, 7), (-1024, 1024)], 0.85),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_an_ulp(name: str, operators: Operators) -> None:
    exact, ranges, bound = FUNCTIONS[name]
    worst = 0.0
    for key, (low, high) in enumerate(ranges):
        x = uniform(key + 1, low, high, COUNT // len(ranges))
        worst = max(worst, furthest(getattr(operators, name)(x), x, exact, math.ulp))
    print(f"{name}: {worst:.3f} ulp")
    assert worst <= bound


def test_tanh_is_rounded_once(operators: Operators) -> None:
    worst = 0.0
    for key, size in enumerate((2.0**-20, 2.0**-7, 0.02, 1.0, 9.5)):
        x = uniform(key + 20, -size, size, 400).astype(np.float32)
        worst = max(
            worst,
            furthest(
                operators.tanh(x).astype(np.float64), x.astype(np.float64), exact_tanh,
                lambda wanted: float(np.spacing(np.float32(abs(wanted))))))
    print(f"tanh: {worst:.6f} ulp of float32")
    assert worst <= 0.5001


def test_a_coefficient_that_is_off_is_seen() -> None:
    """The negative control: an exponential with a term less is further off than the bound."""
    x = uniform(1, -0.3, 0.3, 200)
    short = np.array([sum(Decimal(float(v))**k / math.factorial(k) for k in range(11))
                      for v in x]).astype(np.float64)
    assert furthest(short, x, FUNCTIONS["exp"][0], math.ulp) > 1


def test_gaussians_are_standard(operators: Operators) -> None:
    z = operators.gaussians(integers(5, 1 << 32, 20_000, 4)).ravel()
    assert abs(z.mean()) < 0.01
    assert abs(z.std() - 1) < 0.01
    assert abs((z**4).mean() - 3) < 0.1
