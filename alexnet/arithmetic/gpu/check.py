"""Whether a device computes every operator as docs/arithmetic.md defines it.

The cases and their digests are those of `alexnet/arithmetic/table.py`, which every processor is
held against. Where an operator differs, the first element that does is named, with both values: the
other one is of the kernels for the CPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from alexnet.arithmetic import library, table
from alexnet.arithmetic.operators import Operators

if TYPE_CHECKING:
    from alexnet.arithmetic.gpu.operators_triton import GpuOperators

# of the table; the others are computed on the CPU, wherever a training runs
CASES = ("convolution", "convolution_input_gradient", "convolution_weight_gradient", "linear",
         "linear_input_gradient", "linear_weight_gradient", "local", "local_input_gradient",
         "local_weight_gradient", "bias_gradient", "relu", "relu_gradient", "tanh",
         "tanh_gradient", "add", "dropout", "max_pool", "max_pool_gradient", "average_pool",
         "average_pool_gradient", "lrn", "lrn_gradient", "spatial", "spatial_gradient",
         "cross_entropy", "update", "centred")


@dataclass(frozen=True)
class Difference:
    """The first element in which an operator differs.

    Attributes:
        operator: of the table.
        shape: of the result.
        element: its index.
        here, defined: the value on the device, and the one by the definition, as hexadecimal
            floats.
        count: elements that differ, in all results of the operator.
    """

    operator: str
    shape: tuple[int, ...]
    element: tuple[int, ...]
    here: str
    defined: str
    count: int

    def __str__(self) -> str:
        return (f"{self.operator}: {self.count} elements differ, the first at "
                f"{list(self.element)} of {list(self.shape)}: {self.here} here, {self.defined} by "
                "the definition")


def differing(device: torch.device, operators: GpuOperators | None = None) -> list[str]:
    """Return the operators, of CASES, that a device does not compute as they are defined."""
    adapter = cast(Operators, OnArrays(device, operators))
    stored = table.stored()
    return [name for name in CASES if table.digest(table.CASES[name](adapter)) != stored[name]]


def difference(name: str, device: torch.device,
               operators: GpuOperators | None = None) -> Difference | None:
    """Return the first element in which this operator differs from the CPU's; None if none does."""
    adapter = cast(Operators, OnArrays(device, operators))
    cpu = Operators(library.load(library.chosen()))
    first, count = None, 0
    for here, defined in zip(table.CASES[name](adapter), table.CASES[name](cpu), strict=True):
        places = np.argwhere(_bits(here) != _bits(defined))
        count += len(places)
        if len(places) and first is None:
            element = tuple(int(part) for part in places[0])
            first = (here.shape, element, _text(here[element]), _text(defined[element]))
    return None if first is None else Difference(name, *first, count)


def _bits(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def _text(value: Any) -> str:
    return float(value).hex()


def main() -> int:
    """Hold the GPU's operators against the table, and say where one differs.

    Returns:
        0 where all agree, 1 where one differs, 2 where there is nothing to compare.
    """
    device = torch.device("cuda")
    if not torch.cuda.is_available():
        print("not compared: no GPU that PyTorch can use", file=sys.stderr)
        return 2
    try:
        wrong = differing(device)
    except ImportError as error:
        print(f"not compared: {error}; PyTorch's builds for CUDA bring Triton", file=sys.stderr)
        return 2
    for name in wrong:
        print(difference(name, device))
    print(f"{torch.cuda.get_device_name(device)}: {len(CASES) - len(wrong)} of {len(CASES)} "
          "operators agree")
    return 1 if wrong else 0


class OnArrays:
    """Operators of a device as functions of NumPy's arrays, as the table's cases call them.

    Args:
        device: where they compute.
        operators: of tensors, if not `GpuOperators`.

    Raises:
        ImportError: there is no Triton.
    """

    def __init__(self, device: torch.device, operators: GpuOperators | None = None) -> None:
        from alexnet.arithmetic.gpu.operators_triton import GpuOperators

        self._operators, self._device = operators or GpuOperators(), device

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the operator of this name, of arrays."""
        operator = getattr(self._operators, name)

        def call(*arguments: Any) -> Any:
            given = [self._moved(argument) for argument in arguments]
            result = operator(*given)
            for array, tensor in zip(arguments, given, strict=True):
                if result is None and isinstance(array, np.ndarray):  # changed in place
                    np.copyto(array, tensor.cpu().numpy())
            return _array(result)
        return call

    def cross_entropy(self, *arguments: Any) -> tuple[float, int, NDArray[np.float32]]:
        """Return loss, wrong images and gradient, as the CPU's operator does."""
        loss, wrong, gradient = self._operators.cross_entropy(
            *(self._moved(argument) for argument in arguments))
        return float(loss), int(wrong), gradient.cpu().numpy()

    def _moved(self, argument: Any) -> Any:
        if isinstance(argument, np.ndarray):
            return torch.from_numpy(argument.copy()).to(self._device)
        return argument


def _array(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_array(part) for part in result)
    return result.cpu().numpy() if isinstance(result, torch.Tensor) else result


if __name__ == "__main__":
    sys.exit(main())
