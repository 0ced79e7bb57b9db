"""torchvision's files of weights: read without obeying them, with the outputs in the order of our
labels."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from alexnet.torchvision_weights import from_torchvision, to_torchvision
from benchmarks.torchvision_import import models
from pipeline.system.errors import UserError
from pipeline.training.loading import from_sorted, read_weights, reordered

KEYS = ["n03", "n01", "n02"]  # of labels 0, 1, 2


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "alexnet-owt.pth"
    torch.save(models.alexnet(weights=None, num_classes=3).state_dict(), path)
    return path


def read(file: Path, classes: list[str] = KEYS) -> dict[str, torch.Tensor]:
    return read_weights(file, "look elsewhere", False, classes)


def test_outputs_are_in_the_order_of_the_labels(file: Path) -> None:
    state = torch.load(file, weights_only=True)
    weights = read(file)
    assert torch.equal(weights["conv2.weight"], state["features.3.weight"])
    # torchvision's outputs are n01, n02, n03
    for label, place in enumerate((2, 0, 1)):
        assert torch.equal(weights["fc8.weight"][label], state["classifier.6.weight"][place])
        assert torch.equal(weights["fc8.bias"][label], state["classifier.6.bias"][place])
    assert from_sorted(KEYS) == [2, 0, 1]
    assert not torch.equal(weights["fc8.bias"], state["classifier.6.bias"])
    back = reordered(weights, [from_sorted(KEYS).index(place) for place in range(3)])
    assert all(torch.equal(tensor, state[name]) for name, tensor in to_torchvision(back).items())


def test_of_another_number_of_classes_the_outputs_stay(file: Path) -> None:
    assert torch.equal(read(file, ["b", "a"])["fc8.bias"],
                       from_torchvision(torch.load(file, weights_only=True))["fc8.bias"])


def test_half_precision_becomes_float32(file: Path, tmp_path: Path) -> None:
    state = {name: tensor.half() for name, tensor in torch.load(file, weights_only=True).items()}
    torch.save(state, tmp_path / "half.pt")
    assert {tensor.dtype for tensor in read(tmp_path / "half.pt").values()} == {torch.float32}


class Obeyed:
    """A pickle that would run a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("content", ["command", "pickled", "text", "empty", "list", "module"])
def test_what_is_no_state_dict_is_refused_and_not_obeyed(content: str, tmp_path: Path) -> None:
    mark, file = tmp_path / "obeyed", tmp_path / "bad.pth"
    if content == "command":
        torch.save({"features.0.weight": Obeyed(f"touch {mark}")}, file)
    elif content == "pickled":
        file.write_bytes(pickle.dumps(Obeyed(f"touch {mark}")))
    elif content == "module":
        torch.save(models.alexnet(weights=None, num_classes=2), file)
    elif content == "list":
        torch.save([1, 2], file)
    else:
        file.write_bytes(b"" if content == "empty" else b"weights")
    with pytest.raises(UserError, match=r"bad\.pth: damaged, or no weights of torchvision"):
        read(file)
    assert not mark.exists()
    if content == "pickled":  # the control: whoever unpickles it obeys
        pickle.loads(file.read_bytes())  # noqa: S301
        assert mark.exists()


def test_a_file_that_is_not_there_and_one_where_a_digest_is_wanted(file: Path,
                                                                   tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file; look elsewhere"):
        read(tmp_path / "none.pth")
    with pytest.raises(UserError, match="damaged"):
        read_weights(file, "train again")
