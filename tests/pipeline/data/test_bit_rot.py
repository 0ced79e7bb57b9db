"""One flipped bit of the mean image, the colour components, the sums or the weights: named, or
without effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alexnet.digest import digest_of
from pipeline.config.parameters import load
from pipeline.config.paths import MEAN, PCA, STORE, TRACE
from pipeline.data.moments import Accumulator, Moments
from pipeline.data.statistics import load_mean, load_pca
from pipeline.data.store import DESCRIPTION, MOMENTS
from pipeline.stages import mean, pca
from pipeline.studies.rerun import restoration
from pipeline.system.errors import UserError
from pipeline.system.files import write_json
from pipeline.system.journal import MARKS, Journal
from pipeline.training.loading import read_weights
from pipeline.training.run_folder import publish

ROOT = Path(__file__).resolve().parents[3]

WEIGHTS = Path("model.safetensors")
SIDE = 8


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with small ones of all four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("here"))
        random, sums = np.random.default_rng(1), Accumulator(SIDE)
        for _ in range(5):
            sums.add(random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
        sums.moments().save(STORE / MOMENTS)
        (STORE / DESCRIPTION).write_text("{}")  # a store that says no parameters
        for stage in (mean, pca):
            stage.run(load(ROOT / "params.yaml"))
        tensors = {"conv1.weight": torch.arange(24.0).reshape(2, 3, 2, 2),
                   "conv1.bias": torch.zeros(2)}
        WEIGHTS.write_bytes(safetensors.torch.save(tensors, {"digest": digest_of(tensors)}))
        yield Path.cwd()


def moments() -> list[Any]:
    found = Moments.load(STORE / MOMENTS)
    return [found.count, found.sums.tolist(), found.products.tolist()]


READERS: dict[Path, Callable[[], Any]] = {
    MEAN: lambda: load_mean().tobytes(), PCA: load_pca, STORE / MOMENTS: moments,
    WEIGHTS: lambda: digest_of(read_weights(WEIGHTS, "train again"))}


@pytest.mark.parametrize("file", READERS, ids=lambda file: file.name)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("here")
def test_a_flipped_bit_is_named_or_has_no_effect(file: Path, where: float, bit: int) -> None:
    whole = file.read_bytes()
    right = READERS[file]()
    changed = bytearray(whole)
    changed[int(where * len(whole))] ^= 1 << bit
    file.write_bytes(bytes(changed))
    try:
        found, said = READERS[file](), ""
    except UserError as error:
        found, said = None, str(error)
    finally:
        file.write_bytes(whole)
    assert found == right if not said else str(file) in said


@pytest.mark.usefixtures("here")
def test_any_flipped_bit_of_what_counts_is_named() -> None:
    """Not one of them is let through: in the last tensor, the last pixel, a digit."""
    for file, where in ((MEAN, -1), (MEAN, 200), (PCA, 60), (WEIGHTS, -1), (STORE / MOMENTS, 300)):
        whole = file.read_bytes()
        changed = bytearray(whole)
        changed[where] ^= 1
        file.write_bytes(bytes(changed))
        with pytest.raises(UserError, match=str(file)):
            READERS[file]()
        file.write_bytes(whole)


@pytest.mark.usefixtures("here")
def test_a_mean_and_colours_of_other_pictures_are_refused() -> None:
    whole = (STORE / MOMENTS).read_bytes()
    found = Moments.load(STORE / MOMENTS)
    (found + found + Moments(1, np.ones_like(found.sums),
                             np.ones_like(found.products))).save(STORE / MOMENTS)
    (STORE / DESCRIPTION).write_text("{}")  # a store that says no parameters
    for reader, file in ((load_mean, MEAN), (load_pca, PCA)):
        with pytest.raises(UserError, match=f"{file}: damaged, or not that of {STORE}"):
            reader()
    (STORE / MOMENTS).write_bytes(whole)


@pytest.mark.usefixtures("here")
def test_weights_of_other_programs_have_no_digest() -> None:
    file = Path("foreign.safetensors")
    file.write_bytes(safetensors.torch.save({"a": torch.ones(2)}, {"format": "pt"}))
    with pytest.raises(UserError, match="it names no digest"):
        read_weights(file, "train again")
    assert read_weights(file, "mend it", digest_required=False)["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["trace.jsonl", "learning.jsonl"])
def test_lines_that_rot_before_they_are_published_are_named(tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch,
                                                            name: str) -> None:
    """Those after the last checkpoint, too: no checkpoint would find them."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    marks = {}
    for one in ("trace.jsonl", "learning.jsonl"):
        lines = Journal(folder / one)
        lines.append({"step": 7, "training_loss": 1.5, "validation_loss": 2.5,
                      "validation_error": 0.5})
        marks[one] = lines.mark()
    write_json(folder / MARKS, marks)
    tensors = {"a": torch.ones(2)}
    (folder / "model.safetensors").write_bytes(
        safetensors.torch.save(tensors, {"digest": digest_of(tensors)}))
    published = publish(folder)
    assert (published["steps"], published["weights_digest"]) == (7, digest_of(tensors))
    assert TRACE.read_bytes() == (folder / "trace.jsonl").read_bytes()
    assert [[entry["step"] for entry in entries]
            for entries in restoration.recomputed(folder)] == [[7], [7]]
    content = bytearray((folder / name).read_bytes())
    content[-4] ^= 1  # a digit
    (folder / name).write_bytes(bytes(content))
    TRACE.unlink()
    with pytest.raises(UserError, match=f"{folder}: .*damaged .{name} is not as it was.*remove "
                                        ".*model.safetensors"):
        publish(folder)
    assert not TRACE.exists()
    with pytest.raises(UserError, match=f"{folder}: .*damaged .{name} is not as it was.*remove it"):
        restoration.recomputed(folder)
