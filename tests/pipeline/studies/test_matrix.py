"""The matrix's comparison, with a mutation for everything it compares; its axes, its verdicts, its
exit status."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import safetensors.numpy
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from rich.console import Console

from pipeline.commands.backwards import LastFirst
from pipeline.commands.main import main
from pipeline.commands.matrix import names
from pipeline.config.parameters import load
from pipeline.config.paths import (
    LEARNING,
    MEAN,
    MEAN_PICTURE,
    PCA,
    PREDICTIONS,
    STORE,
    TRACE,
    WEIGHTS,
    metrics_of,
)
from pipeline.config.stages import MEASURED
from pipeline.data.store import MOMENTS
from pipeline.data.tensors import read_tensors, write_tensors
from pipeline.report import matrix
from pipeline.studies.matrix.axes import ALL, AXES, WORKLOAD
from pipeline.studies.matrix.comparison import NothingToCompare, difference, of_arrays
from pipeline.studies.matrix.running import Cell, run
from pipeline.system.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def entry(step: int) -> dict[str, Any]:
    return {"step": step, "loss": (2.0 + step).hex()} | {
        kind: {"digest": f"{kind}{step}",
               "tensors": {"conv1.weight/0": f"{kind}a{step}", "fc8.bias/1": f"{kind}b"}}
        for kind in ("weights", "momentum", "gradients")}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder with everything the stages leave, and a copy of it."""
    a, b = tmp_path / "a", tmp_path / "b"
    for name in (STORE / "x", MEAN, WEIGHTS, LEARNING, metrics_of("resize")):
        (a / name).parent.mkdir(parents=True, exist_ok=True)
    pixels = numpy.arange(2 * 4 * 4 * 3, dtype=numpy.uint8).reshape(2, 4, 4, 3)
    numpy.save(a / STORE / "train-00000.npy", pixels)
    write_tensors(a / STORE / MOMENTS, {"sums": numpy.arange(6), "products": numpy.eye(3)})
    (a / STORE / "store.json").write_text('{\n  "format": 1\n}\n')
    numpy.save(a / MEAN, pixels[0].astype(numpy.float32))
    (a / MEAN_PICTURE).write_bytes(b"\x89PNG not really")
    (a / PCA).write_text('{\n  "pixels": 2\n}\n')
    (a / TRACE).write_text("".join(json.dumps(entry(step)) + "\n" for step in (1, 2, 3)))
    (a / LEARNING).write_text("step,loss\n1,2.5\n2,2.25\n")
    safetensors.numpy.save_file({"conv1.weight": numpy.ones(3, numpy.float32),
                                 "fc8.bias": numpy.zeros(2)}, a / WEIGHTS)
    write_tensors(a / PREDICTIONS, {"centre": numpy.ones((2, 3), numpy.float32),
                                    "labels": numpy.arange(2)})
    for stage in MEASURED:
        (a / metrics_of(stage)).write_text(json.dumps({"digest": stage}, indent=2))
    shutil.copytree(a, b)
    return a, b


@pytest.mark.parametrize("stage", MEASURED)
def test_equal_outputs_are_identical(folders: tuple[Path, Path], stage: str) -> None:
    assert difference(stage, *folders) is None


def flip_last_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def in_arrays(name: str, change: Callable[[Any], None]) -> Callable[[Path], None]:
    def mutate(file: Path) -> None:
        arrays = read_tensors(file, "")
        change(arrays[name])
        write_tensors(file, arrays)
    return mutate


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def mutate(file: Path) -> None:
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))
    return mutate


def last_up(values: Any) -> None:
    """One unit in the last place of the last element."""
    values.flat[-1] = (numpy.nextafter(values.flat[-1], numpy.inf) if values.dtype.kind == "f"
                       else values.flat[-1] + 1)


@pytest.mark.parametrize(("stage", "name", "mutate", "told"), [
    ("resize", STORE / "train-00000.npy", flip_last_bit,
     "data/store/train-00000.npy: element [1, 3, 3, 2]"),
    ("resize", STORE / MOMENTS, in_arrays("sums", last_up),
     "data/store/moments.safetensors: sums, element [5]"),
    ("resize", STORE / "store.json", replaced("1", "2"), "data/store/store.json: line 2"),
    ("resize", STORE / "store.json", Path.unlink, "data/store/store.json: only in a"),
    ("resize", STORE / "more.npy", lambda file: numpy.save(file, 1),
     "data/store/more.npy: only in b"),
    ("resize", metrics_of("resize"), replaced("resize", "other"), "metrics/resize.json: line 2"),
    ("mean", MEAN, flip_last_bit, "data/mean.npy: element [3, 3, 2]"),
    ("mean", MEAN_PICTURE, flip_last_bit, "data/mean.png: byte 14"),
    ("mean", metrics_of("mean"), replaced("mean", "other"), "metrics/mean.json"),
    ("pca", PCA, replaced("2", "3"), "data/pca.json: line 2"),
    ("pca", metrics_of("pca"), Path.unlink, "metrics/pca.json: only in a"),
    ("train", TRACE, replaced("gradientsa2", "other"),
     "step 2: gradients of conv1.weight, column 0"),
    ("train", TRACE, replaced((2.0 + 3).hex(), (2.5 + 3).hex()), "step 3: loss"),
    ("train", TRACE, replaced('{"step": 2', '{"more": 1, "step": 2'), "something beside the steps"),
    ("train", TRACE, flip_last_bit, "something beside the steps"),
    ("train", LEARNING, replaced("2.25", "2.5"), "plots/learning.csv: line 3"),
    ("train", WEIGHTS, flip_last_bit, "models/model.safetensors: "),
    ("train", metrics_of("train"), replaced("train", "other"), "metrics/train.json"),
    ("evaluate", PREDICTIONS, in_arrays("centre", last_up),
     "models/predictions.safetensors: centre, element [1, 2]"),
    ("evaluate", metrics_of("evaluate"), replaced("evaluate", "other"), "metrics/evaluate.json"),
])
def test_every_change_is_found_and_named(folders: tuple[Path, Path], stage: str, name: Path,
                                         mutate: Callable[[Path], object], told: str) -> None:
    mutate(folders[1] / name)
    found = difference(stage, *folders)
    assert found is not None
    assert found.startswith(told), found
    for other in MEASURED:
        assert other == stage or difference(other, *folders) is None


def test_outputs_that_neither_has_are_no_agreement(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        (folder / PCA).unlink()
    with pytest.raises(NothingToCompare):
        difference("pca", *folders)


@given(arrays(numpy.float32, array_shapes(max_dims=3, max_side=4), elements=st.floats(width=32)),
       st.data())
def test_one_flipped_bit_is_found_where_it_is(values: numpy.ndarray, data: st.DataObject) -> None:
    assert of_arrays(values, values.copy()) is None  # NaN too
    where = data.draw(st.integers(0, values.size - 1))
    other = values.copy()
    other.reshape(-1).view(numpy.uint32)[where] ^= 1 << data.draw(st.integers(0, 31))
    found = of_arrays(values, other)
    assert found is not None
    assert found.startswith("element "
                            f"{[int(k) for k in numpy.unravel_index(where, values.shape)]}: ")
    assert f"(1 of {values.size} differ)" in found


def test_type_and_shape_count() -> None:
    assert of_arrays(numpy.zeros(2), numpy.zeros(2, numpy.float32)) == "float64[2], then float32[2]"
    assert of_arrays(numpy.zeros(2), numpy.zeros((2, 1))) == "float64[2], then float64[2, 1]"
    assert of_arrays(numpy.zeros(1), -numpy.zeros(1)) is not None


def test_every_axis_has_stages() -> None:
    assert len(set(ALL)) == len(AXES)
    for arithmetic, not_required in (("native", {"isa", "threads", "cores", "device", "mode-off"}),
                                     ("portable", {"device", "mode-off"})):
        workload = load(ROOT / "params.yaml", [*WORKLOAD, f"train.arithmetic={arithmetic}"])
        assert {axis.name for axis in AXES
                if axis.must_be_identical(workload)} == set(ALL) - not_required
        assert [axis.name for axis in AXES
                if not axis.reached(workload)] == ["isa"] * (arithmetic == "native")
    assert all(axis.stages and set(axis.stages) <= set(MEASURED) for axis in AXES)


def test_each_axis_of_the_execution_changes_the_workload() -> None:
    section = load(ROOT / "params.yaml", WORKLOAD).execution
    for name in ("workers", "placement", "replicas", "replicas-two", "threads", "device",
                 "mode-off"):
        [axis] = [axis for axis in AXES if axis.name == name]
        changed = dict(axis.execution(section))
        assert changed
        assert all(getattr(section, key) != value for key, value in changed.items())


ROWS = [Cell("process", "train", "identical", True, "again"),
        Cell("threads", "train", "differs", False, "step <3>"),
        Cell("device", "train", "not compared", False, "no GPU [here]"),
        Cell("workers", "resize", "not compared", True, "exit status 1")]


def shown(rows: list[Cell], columns: int = 160) -> str:
    stream = io.StringIO()
    matrix.show(rows, {"torch": "2.0"}, Console(file=stream, width=columns))
    return stream.getvalue()


def test_the_table_and_the_page_tell_everything() -> None:
    table, html = shown(ROWS), matrix.html(ROWS, {"torch": "2.0 & more"}, ["train.epochs=1"])
    for text in ("threads, train: differs: step <3>", "device, train: not compared: no GPU [here]",
                 "torch 2.0", "1 of 2 required results are identical", "1 of 2 others differ",
                 "2 not compared"):
        assert text in table
    for text in ("step &lt;3&gt;", "no GPU [here]", "2.0 &amp; more", "1 of 2 required results"):
        assert text in html
    assert "src=" not in html
    assert set(re.findall(r'href="(.)', html)) == {"#"}


def test_every_cell_fits_80_columns() -> None:
    every = [Cell(axis.name, stage, "not compared", True, "because " * 20)
             for axis in AXES for stage in axis.stages]
    text = shown(every, 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(re.search(rf"{stage}\b", text.splitlines()[1]) for stage in MEASURED)


def test_only_a_required_difference_fails() -> None:
    assert not any(row.fails for row in ROWS)
    failing = Cell("process", "train", "differs", True, "step 1")
    assert failing.fails
    assert "0 of 1 required results" in shown([failing])
    assert 'class="required differs"' in matrix.html([failing], {}, [])


def test_what_is_required_can_be_chosen() -> None:
    assert names(None, ("process",), "--require") == ("process",)
    assert names("threads, device", ALL, "--require") == ("threads", "device")
    assert names("none", ALL, "--require") == ()


@pytest.mark.parametrize("option", ["--axes", "--require"])
def test_an_unknown_axis_is_refused(option: str) -> None:
    result = CliRunner().invoke(main, ["matrix", "--params", str(ROOT / "params.yaml"), option,
                                       "process,speed"])
    assert result.exit_code == 1
    assert f"{option}: no axis is called speed; there are process, resume" in result.output


def test_an_axis_that_reaches_nothing_is_refused(tmp_path: Path) -> None:
    [axis] = [axis for axis in AXES if axis.name == "isa"]
    with pytest.raises(UserError, match=r"isa: reaches no stage by train\.arithmetic native"):
        run(load(ROOT / "params.yaml", [*WORKLOAD, "train.arithmetic=native"]), [axis], (),
            tmp_path / "matrix")


def test_a_reference_run_that_fails_is_told(tmp_path: Path) -> None:
    parameters = load(ROOT / "params.yaml", [*WORKLOAD, "resize.max_quarantined=0"])
    [axis] = [axis for axis in AXES if axis.name == "workers"]
    with pytest.raises(UserError,
                       match=r"reference run's resize failed: exit status 1: .*output\.txt"):
        run(parameters, [axis], (), tmp_path / "matrix")


def test_last_first_does_the_last_task_first_and_passes_errors_on() -> None:
    done: list[int] = []
    with LastFirst() as executor:
        futures = [executor.submit(done.append, k) for k in range(3)]
        failing = executor.submit(int, "x")
        for future in futures:
            future.result(10)
        with pytest.raises(ValueError, match="invalid literal"):
            failing.result(10)
    assert done == [2, 1, 0]
