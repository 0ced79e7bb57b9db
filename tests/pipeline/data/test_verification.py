"""`--verify` accepts what the fast way made, for both encodings, and sees one changed bit of
anything."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pipeline.commands.main import main
from pipeline.config.parameters import Parameters
from pipeline.config.paths import MEAN, PCA, STORE
from pipeline.data.moments import Accumulator
from pipeline.data.pixels import decoder
from pipeline.data.shards import Encoding, shard_file, shard_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.store import MOMENTS, StoredImage, StoredShard, publish_description
from pipeline.data.tensors import read_tensors, write_tensors
from pipeline.stages import mean, pca

SIDE = 32  # CIFAR-10's: quick
IMAGES = np.random.default_rng(3).integers(0, 256, (7, SIDE, SIDE, 3), dtype=np.uint8) // [1, 2, 4]


def prepare(encoding: Encoding) -> None:
    shards, accumulator = [], Accumulator(SIDE)
    for number, images in enumerate((IMAGES[:4], IMAGES[4:])):
        rows = []
        with shard_writer(STORE / shard_file("train", number, encoding), SIDE, encoding) as writer:
            for k, image in enumerate(images.astype(np.uint8)):
                accumulator.add(writer.add(image, 0))
                rows.append(StoredImage(f"{number}-{k}", "00", 0, writer.place))
        shards.append(StoredShard("train", number, writer.digest.hexdigest(), rows))
    publish_description(STORE, [Class("n0", "zero")], shards, accumulator.moments(), [],
                        {"decoder": decoder(), "order_seed": 1}, encoding)
    mean.run(Parameters.model_construct())
    pca.run(Parameters.model_construct())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def verify(stage: str) -> Result:
    return CliRunner().invoke(main, [stage, "--verify"])


def refused(stage: str, *words: str) -> None:
    result = verify(stage)
    assert result.exit_code == 1, result.output
    assert "verified" not in result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_what_the_fast_way_made_is_verified_and_left_alone(encoding: Encoding) -> None:
    prepare(encoding)
    before = {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()}
    for stage, file in (("mean", MEAN), ("pca", PCA)):
        result = verify(stage)
        assert result.exit_code == 0, result.output
        assert f"{file}: verified" in result.output
    assert {file: file.read_bytes() for file in Path().rglob("*") if file.is_file()} == before


@pytest.mark.usefixtures("here")
def test_one_changed_bit_of_a_stored_pixel_is_seen() -> None:
    prepare("raw")
    shard = STORE / shard_file("train", 1)
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    refused("mean", f"{shard}: damaged: its pixels", "make it with `alexnet resize`")
    refused("pca", f"{shard}: damaged: its pixels")


@pytest.mark.usefixtures("here")
def test_moments_that_are_off_by_one_are_seen() -> None:
    """As if the fast way had been wrong."""
    prepare("raw")
    arrays = read_tensors(STORE / MOMENTS, "")
    arrays["sums"][2, 3, 1] += 1
    arrays["products"][0, 2] += 1
    arrays["products"][2, 0] += 1
    write_tensors(STORE / MOMENTS, arrays)
    mean.run(Parameters.model_construct())
    pca.run(Parameters.model_construct())
    refused("mean", "row 2, column 3, G is ")
    refused("pca", "covariance R")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("place", [(0, 0, 0), (17, 5, 2)])
def test_one_changed_bit_of_the_mean_image_is_seen(place: tuple[int, int, int]) -> None:
    prepare("raw")
    image = np.load(MEAN)
    image.view(np.uint32)[place] ^= 1
    np.save(MEAN, image)
    refused("mean", "row {}, column {}, {} is ".format(*place[:2], "RGB"[place[2]]))


def changed(key: str, *place: int,
            by: Callable[[float], float] = lambda x: float(np.nextafter(x, 1e9))) -> Any:
    def change(values: dict[str, Any]) -> None:
        inner: Any = values
        for step in (key, *place)[:-1]:
            inner = inner[step]
        last = (key, *place)[-1]
        inner[last] = by(inner[last])
    return change


def negate(values: dict[str, Any]) -> None:
    for row in values["eigenvectors"]:
        row[1] = -row[1]


def swap(values: dict[str, Any]) -> None:
    for row in [values["eigenvalues"], values["stdevs"], *values["eigenvectors"]]:
        row[0], row[1] = row[1], row[0]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("change", "told"), [
    *((changed("covariance", i, j), f"covariance {'RGB'[i]}{'RGB'[j]} is ") for i in range(3)
      for j in range(3)),
    (changed("pixels", by=lambda n: n + 1), "7169 pixels, and the store has 7168"),
    (changed("stdevs", 2), "stdev 3 is "),
    (changed("eigenvalues", 1, by=lambda x: x * (1 + 1e-9)), "eigenvalue 2 is "),
    (changed("eigenvectors", 1, 0, by=lambda x: x + 1e-9), "column 1 of the eigenvectors"),
    (negate, "eigenvector 2 has the wrong sign"),
    (swap, "eigenvalue 1 is "),
    (lambda values: values.pop("stdevs"), "not the components of colour (KeyError"),
    (changed("eigenvalues", by=lambda values: values[:2]), "not the components of colour"),
    (changed("stdevs", 0, by=lambda _: float("nan")), "not the components of colour"),
])
def test_one_changed_number_of_the_components_is_seen(change: Callable[[dict[str, Any]], None],
                                                      told: str) -> None:
    prepare("raw")
    values = json.loads(PCA.read_text())
    change(values)
    PCA.write_text(json.dumps(values))
    refused("pca", told)


@pytest.mark.usefixtures("here")
def test_what_is_not_there_is_named_with_its_stage() -> None:
    refused("mean", "make it with `alexnet mean`")
    refused("pca", "make it with `alexnet pca`")
    prepare("raw")
    np.save(MEAN, np.load(MEAN).astype(np.float64))
    refused("mean", "float64 [32, 32, 3], not float32")
    (STORE / "store.json").unlink()
    refused("pca", "store.json: no such file; make it with `alexnet resize`")
