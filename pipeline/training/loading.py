"""What a training or an evaluation starts from: network, weights, pictures, statistics."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy
import safetensors
import torch
from torch import Tensor

from alexnet.arithmetic.library import LibraryError
from alexnet.arithmetic.native import NATIVE, Arithmetic, Name
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Statistics, Views
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.placement import placement_here
from alexnet.torchvision_weights import from_torchvision
from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.data.split import Split
from pipeline.data.statistics import load_mean, load_pca
from pipeline.data.store import Store
from pipeline.system.errors import UserError

CPU = torch.device("cpu")
TORCHVISION = (".pth", ".pt")  # ends of its files of weights


def build_network(parameters: Parameters, store: Store, split: bool,
                  device: torch.device) -> Network:
    """Return the configured network with its initial weights: one column of it when `split`, else
    the whole.

    Raises:
        UserError: the store's images are not of the size that the network takes; or the kernels of
            portable arithmetic cannot be compiled here.
    """
    table = parameters.layer_table(len(store.classes))
    if store.side != table.stored:
        raise UserError(f"network.architecture: {parameters.architecture} takes images of "
                        f"{table.stored} x {table.stored} pixels, and {STORE} has {store.side} x "
                        f"{store.side}; set resize.side to {table.stored}")
    return Network(table, parameters.effective_recipe(), parameters.train.seed,
                   placement_here(table.columns, split, device), parameters.train.precision,
                   arithmetic(parameters.train.arithmetic, device))


def arithmetic(name: Name, device: torch.device = CPU) -> Arithmetic:
    """Return the arithmetic of this name. Before `portable` computes on a GPU, every operator is
    held against its digest there.

    Raises:
        UserError: the kernels of `portable` cannot be compiled or loaded on this machine, or the
            GPU does not compute as docs/arithmetic.md defines it.
    """
    if name == "native":
        return NATIVE
    try:
        if device.type == "cpu":
            return Portable()
        portable = Portable(gpu=True)
    except LibraryError as error:
        raise UserError(f"train.arithmetic: portable: {error}") from None
    except ImportError as error:
        raise UserError("train.arithmetic: portable needs Triton on a GPU, which PyTorch's builds "
                        f"for CUDA bring ({error}); set train.arithmetic to native, or "
                        "execution.device to cpu") from None
    _check_gpu(device)
    return portable


@functools.cache
def _check_gpu(device: torch.device) -> None:
    from alexnet.arithmetic.gpu import check

    try:
        wrong = check.differing(device)
    except Exception as error:  # of the compiler, or of the driver
        raise UserError("train.arithmetic: portable: the kernels do not run on this GPU "
                        f"({type(error).__name__}: {error}); set train.arithmetic to native, or "
                        "execution.device to cpu") from error
    if wrong:
        raise UserError(f"train.arithmetic: portable: on this GPU {', '.join(wrong)} "
                        f"{'does' if len(wrong) == 1 else 'do'} not have the bits that "
                        "docs/arithmetic.md defines; set train.arithmetic to native, or "
                        "execution.device to cpu. `python -m benchmarks.gpu` says where they "
                        "differ")


def load_statistics() -> Statistics:
    """Return the mean image and the colour components that the stages `mean` and `pca` left."""
    components = load_pca()
    return Statistics(load_mean_image(),
                      torch.tensor(components["eigenvalues"], dtype=torch.float64),
                      torch.tensor(components["eigenvectors"], dtype=torch.float64))


def load_mean_image() -> Tensor:
    """Return the mean image, float32 [256, 256, 3], that the stage `mean` left."""
    return torch.from_numpy(load_mean())


def read_weights(file: Path, fix: str, digest_required: bool = True,
                 classes: Sequence[str] = ()) -> dict[str, Tensor]:
    """Return the canonical weights of a safetensors file, which have the digest its header names.

    Files of other programs name no digest; without `digest_required` they are read, too, and so are
    torchvision's, which end in .pth or .pt.

    Args:
        classes: the keys of the data set's classes, in the order of its labels: torchvision's
            outputs are in the order of the keys, and come out in this one.

    Raises:
        UserError: the file is missing or damaged; `fix` says what helps.
    """
    if file.suffix in TORCHVISION and not digest_required:
        return _read_torchvision(file, fix, classes)
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            digest = (opened.metadata() or {}).get("digest")
            weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if digest is None and digest_required:
            raise ValueError("it names no digest")
        if digest is not None and digest != digest_of(weights):
            raise ValueError("its tensors do not have the digest it names")
        return weights
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {fix}") from None
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{file}: damaged ({error}); {fix}") from None


def _read_torchvision(file: Path, fix: str, classes: Sequence[str]) -> dict[str, Tensor]:
    """Return the canonical weights of a file of torchvision's alexnet, float32.

    Its pickle is read by PyTorch's restricted reader, which builds tensors and calls nothing else.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise ValueError(f"not torchvision's alexnet: it holds a {type(state).__name__}")
        weights = {name: tensor.float() for name, tensor in from_torchvision(state).items()}
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {fix}") from None
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError, EOFError, KeyError,
            pickle.UnpicklingError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{file}: damaged, or no weights of torchvision's alexnet ({first}); "
                        f"{fix}") from None
    return reordered(weights, from_sorted(classes))


def from_sorted(classes: Sequence[str]) -> list[int]:
    """Return, for each label, the place of its class among the sorted keys."""
    places = {key: place for place, key in enumerate(sorted(classes))}
    return [places[key] for key in classes]


def reordered(weights: dict[str, Tensor], order: Sequence[int]) -> dict[str, Tensor]:
    """Return weights with the outputs in another order, where there are as many as it has."""
    if len(weights["fc8.bias"]) != len(order):
        return weights
    index = torch.tensor(order)
    return weights | {name: weights[name][index] for name in ("fc8.weight", "fc8.bias")}


def image_reader(split: Split) -> Callable[[slice], Tensor]:
    """Return a function that reads whole images, uint8 [n, 256, 256, 3], by slice."""
    def read(part: slice) -> Tensor:
        indices = numpy.arange(part.start, part.stop)
        zeros = numpy.zeros(len(indices), dtype=numpy.int64)
        return torch.from_numpy(split.gather_crops(indices, zeros, zeros, zeros.astype(bool),
                                                   size=split.side))
    return read


def crop_reader(split: Split, size: int) -> Callable[[Views], Tensor]:
    """Return a function that reads crops, uint8 [n, size, size, 3]."""
    return lambda views: torch.from_numpy(
        split.gather_crops(views.images.numpy(), views.tops.numpy(), views.lefts.numpy(),
                           views.flips.numpy().astype(bool), size))
