"""Several recorded runs side by side, on a page of their own: `alexnet report RUN RUN ...`.

`compare()` writes index.html and figures/ into a folder; `recorded()` puts them into MLflow's
store, too. Everything is taken from the records of the runs; class names and pictures are taken
from the image store here, where it is the one that the runs were evaluated on.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import parameters
from pipeline.config.crops import SUFFIXES, suffix
from pipeline.config.paths import PREDICTIONS, REPORT, STORE
from pipeline.data.predictions import Predictions
from pipeline.data.store import DESCRIPTION, Store
from pipeline.records import differences, environment, kept_runs, mlflow_names, recording
from pipeline.records.kept_runs import KeptRun
from pipeline.records.mlflow_names import plain
from pipeline.records.record import Record, now, process_tags
from pipeline.report.figures import RUN_COLOURS, Exhibit, Line, array, chart, kernel_sheet, table
from pipeline.report.inputs import BROKEN_CURVE, BROKEN_WEIGHTS, Curve, curve_in, first_layer
from pipeline.report.intervals import interval
from pipeline.report.learning import learning_rates
from pipeline.report.predictions import GUESSES, SHOWN
from pipeline.report.templates import template
from pipeline.studies.ensemble import errors_of, same_images
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict

FOLDER = REPORT.parent / "comparison"
LISTED = 10  # classes, and rows of lists
PICTURES = 8  # on which the runs disagree most
DIGESTS = {"weights_digest": "weights", "trace_digest": "trace",
           "resize.pixels_digest": "pixels and labels", "mean.mean_digest": "mean image",
           "pca.pca_digest": "colour components", "configuration_digest": "configuration",
           "code_digest": "code", "environment_digest": "environment", "lock_digest": "lock file",
           "git_commit": "git commit"}


@dataclass(frozen=True)
class Side:
    """One of the runs: its letter, its record, and the parts of it; None for those it lacks.

    Attributes:
        settings: the sections of its parameters.
        kernels: float32 [k, 3, s, s].
        predictions: what it says of the validation images.
        name: what tells it from the others here.
    """

    letter: str
    kept: KeptRun
    settings: dict[str, Any]
    curve: Curve | None
    kernels: NDArray[np.float32] | None
    predictions: Predictions | None
    name: str = ""

    @property
    def colour(self) -> str:
        """The key of its colour, in the palettes and in the style sheet."""
        return f"run{ord(self.letter) - ord('A')}"

    @property
    def title(self) -> str:
        """The run's name: data set, seed, and what is not as usual."""
        return mlflow_names.run_name(self.kept.facts.stage, self.kept.facts.params) \
            or self.kept.name

    @property
    def began(self) -> str:
        """The time of its start, to the minute."""
        return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.kept.facts.started / 1000))

    @property
    def seed(self) -> Any:
        """The training's seed."""
        return self.settings.get("train", {}).get("seed", "unknown")

    @property
    def tested(self) -> Predictions:
        """Its predictions, of a run that has them."""
        assert self.predictions is not None
        return self.predictions

    def right(self) -> NDArray[np.bool_]:
        """Return bool [n]: whether the most probable class, ten crops, is the right one."""
        hits: NDArray[np.bool_] = self.tested.ten_crop.argmax(1) == self.tested.labels
        return hits


def compare(names: Sequence[str], folder: Path = FOLDER) -> Path:
    """Write the page and its figures, and return the page.

    Raises:
        UserError: a run cannot be found or is damaged, more than six are named, or one twice.
    """
    return _written(_sides(names), folder)


def recorded(names: Sequence[str], folder: Path = FOLDER) -> Path:
    """Do as `compare`, and record the page and its figures as a run of MLflow's store, of the stage
    `comparison`, which names the runs.

    Raises:
        UserError: as `compare`; then nothing is recorded.
    """
    sides = _sides(names)
    page = _written(sides, folder)
    compared = {f"compared.{side.letter}": side.kept.facts.run_id for side in sides}
    git = environment.git_state()
    tags = {"stage": "comparison",
            "mlflow.runName": f"comparison of {', '.join(side.kept.name for side in sides)}",
            "code_digest": environment.code_digest(), **git.tags(), **compared, **process_tags()}
    with recording.recorded_as(Record("comparison", now(), {}, tags, {})) as record:
        for file in [page, *sorted((folder / "figures").iterdir())]:
            record.add_artifact(file, f"comparison/{file.relative_to(folder)}")
    return page


def _sides(names: Sequence[str]) -> list[Side]:
    if len(names) > RUN_COLOURS:
        raise UserError(f"{len(names)} runs; no more than {RUN_COLOURS} fit side by side")
    sides = [_side(chr(ord("A") + number), name) for number, name in enumerate(names)]
    ids = [side.kept.facts.run_id for side in sides]
    for name, run_id in zip(names, ids, strict=True):
        if ids.count(run_id) > 1:
            raise UserError(f"{name}: the same run is named twice")
    own = mlflow_names.short_names([side.kept.facts.params for side in sides])
    return [replace(side, name=name) for side, name in zip(sides, own, strict=True)]


def _written(sides: Sequence[Side], folder: Path) -> Path:
    exhibits = [*_curves(sides), *_kernels(sides)]
    page = template("comparison.html.j2").render(**_context(sides, exhibits)).encode()
    for name, content in {name: content for exhibit in exhibits
                          for name, content in exhibit.files().items()}.items():
        with atomic_write(folder / "figures" / name) as stream:
            stream.write(content)
    with atomic_write(folder / "index.html") as stream:
        stream.write(page)
    return folder / "index.html"


def _side(letter: str, name: str) -> Side:
    kept = kept_runs.find(name)
    curve = predictions = kernels = None
    if file := kept.fetch("learning.csv"):
        try:
            curve = curve_in(file)
        except BROKEN_CURVE as error:
            raise UserError(f"run {kept.name}: {file}: damaged ({error})") from None
    if file := kept.fetch(PREDICTIONS.name):
        predictions = Predictions.load(file, f"take the record of run {kept.name} anew")
    if file := kept.fetch("model.safetensors"):
        try:
            kernels = first_layer(file)[1]
        except BROKEN_WEIGHTS as error:
            raise UserError(f"run {kept.name}: {file}: damaged ({error})") from None
    return Side(letter, kept, kept.json("parameters.json"), curve, kernels, predictions)


# --- figures ---

def _curves(sides: Sequence[Side]) -> list[Exhibit]:
    """Return loss and error of all runs, training dashed, where the record has a curve."""
    charts = []
    for what, title in (("loss", "Loss (nats per image)"), ("error", "Top-1 error, centre crop")):
        lines, rows = [], []
        for number, side in enumerate(sides):
            curve = side.curve or {}
            for kind in ("training", "validation") if curve else ():
                epochs, values = curve["epoch"], curve[f"{kind}_{what}"]
                lines.append(Line(f"{side.letter} {kind}", f"run{number}", epochs, values,
                                  dashed=kind == "training"))
                rows += [[side.letter, kind, epoch, value] for epoch, value in
                         zip(epochs.tolist(), values.tolist(), strict=True)]
        if lines:
            ends = "; ".join(f"{line.name} ends at {line.values[-1]:.3g}" for line in lines)
            figure = chart(title, lines, _common_rates(sides), f"{title} over epochs: {ends}",
                           percent=what == "error")
            charts.append(Exhibit(f"learning-{what}", figure, ".csv",
                                 table(["run", "images", "epoch", what], rows)))
    return charts


def _common_rates(sides: Sequence[Side]) -> list[tuple[float, float]]:
    """Return the learning rates that all runs had at the same epochs; none where they differ or are
    not known."""
    try:
        file = Path("parameters.json")
        every = [learning_rates(parameters.check(side.settings, file), side.curve)
                 for side in sides if side.curve]
    except UserError:  # parameters of another version
        return []
    return every[0] if all(rates == every[0] for rates in every) else []


def _kernels(sides: Sequence[Side]) -> list[Exhibit]:
    """Return a sheet for each run whose record has weights."""
    sheets = []
    for side in sides:
        if side.kernels is not None:
            columns = (2 if side.settings.get("network", {}).get("architecture")
                       in ("two-column", "conv6") else 1)
            figure = kernel_sheet(side.kernels, columns,
                                  f"The first layer's kernels of run {side.letter}")
            sheets.append(Exhibit(f"kernels-{side.letter}", figure, ".npy", array(side.kernels)))
    return sheets


# --- what they say of the same images ---

def tested_alike(sides: Sequence[Side]) -> list[Side]:
    """Return the runs that were tested on the same images as the first that was tested, by name, in
    the order of its images."""
    every = [side for side in sides if side.predictions]
    alike = []
    for side in every:
        with contextlib.suppress(UserError):  # of other images
            alike.append(replace(side, predictions=same_images(
                side.tested, every[0].tested, side.letter, every[0].letter)))
    return alike


def errors(side: Side) -> dict[str, tuple[float, tuple[float, float]]] | None:
    """Return each error with its 95 % interval over images; None for a run without predictions."""
    if side.predictions is None:
        return None
    labels, end = side.predictions.labels, suffix(len(side.predictions.each_crop))
    return {name: (value, interval(value, len(labels)))
            for name, value in errors_of(vars(side.predictions), labels, end).items()}


@dataclass(frozen=True)
class Agreement:
    """Two runs on the same images, ten crops.

    Attributes:
        same: the share of images for which both predict the same class.
        only_first, only_second: how many images only one of them has right.
        chance: how often as unequal a division would come by chance, if both were equally good
            (exact two-sided McNemar test).
    """

    first: Side
    second: Side
    same: float
    only_first: int
    only_second: int
    chance: float


def agreement(first: Side, second: Side) -> Agreement:
    """Return how far two runs agree that were tested on the same images."""
    from scipy.stats import binomtest

    best = [side.tested.ten_crop.argmax(1) for side in (first, second)]
    a, b = first.right(), second.right()
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    either = only_first + only_second
    return Agreement(first, second, float((best[0] == best[1]).mean()), only_first, only_second,
                     float(binomtest(only_first, either).pvalue) if either else 1.0)


def class_errors(alike: Sequence[Side]) -> list[tuple[int, list[float]]]:
    """Return the label of each class with images and the runs' top-1 errors on it, ten crops; the
    classes on which they are furthest apart come first."""
    if not alike:
        return []
    labels, classes = alike[0].tested.labels, alike[0].tested.ten_crop.shape[1]
    images = np.bincount(labels, minlength=classes)
    wrong = [np.bincount(labels[~side.right()], minlength=classes) for side in alike]
    shares = np.stack(wrong, axis=1) / np.maximum(images, 1)[:, None]
    order = np.argsort(-np.ptp(shares, axis=1), kind="stable")
    return [(int(label), shares[label].tolist()) for label in order if images[label]]


def contested(alike: Sequence[Side]) -> list[int]:
    """Return the images on which the runs are furthest apart in the probability of the right class,
    ten crops."""
    if len(alike) < 2:
        return []
    labels = alike[0].tested.labels
    own = np.stack([side.tested.ten_crop[np.arange(len(labels)), labels] for side in alike])
    images: list[int] = np.argsort(-np.ptp(own, axis=0), kind="stable")[:PICTURES].tolist()
    return images


def guesses(side: Side, index: int) -> list[tuple[int, float, bool]]:
    """Return the five most probable classes: label, probability, whether it is the right one."""
    values = side.tested.ten_crop[index]
    return [(int(label), float(values[label]), bool(label == side.tested.labels[index]))
            for label in np.argsort(-values, kind="stable")[:GUESSES]]


def store_of(alike: Sequence[Side]) -> Store | None:
    """Return the image store here, if these runs were tested on its images."""
    if not alike or not (STORE / DESCRIPTION).exists():
        return None
    store = Store(STORE)
    fits = store.pixels_digest == alike[0].kept.facts.tags.get("resize.pixels_digest") and \
        store.split("val").names() == alike[0].tested.names
    return store if fits else None


# --- what their records say ---

def traces(first: Side, second: Side) -> tuple[Verdict, str]:
    """Return whether two trainings were the same, and where they part or why nobody knows."""
    if not all(side.kept.fetch("trace.jsonl") for side in (first, second)):
        return NOT_COMPARED, "one of the records has no trace"
    result = differences.compare_traces(*differences.common_steps(first.kept.trace(),
                                                            second.kept.trace()))
    if not result.steps:
        return NOT_COMPARED, "the traces have no step in common"
    if result.first:
        return DIFFERS, f"they part at {result.first}"
    return IDENTICAL, f"in all {result.steps} traced steps, to step {result.last}"


def digest_rows(sides: Sequence[Side]) -> list[tuple[str, Verdict, list[tuple[str | None, int]]]]:
    """Return a row for each digest: what it is of, whether all are equal, and of each run the
    digest with the number of its group; equal digests have the same number, the first has 0."""
    rows: list[tuple[str, Verdict, list[tuple[str | None, int]]]] = []
    for name, words in DIGESTS.items():
        values = [side.kept.facts.tags.get(name) for side in sides]
        if not any(values):
            continue
        distinct = list(dict.fromkeys(value for value in values if value is not None))
        verdict = (NOT_COMPARED if None in values or len(values) < 2 else
                   IDENTICAL if len(distinct) == 1 else DIFFERS)
        rows.append((words, verdict, [(value, distinct.index(value) if value is not None else 0)
                                      for value in values]))
    return rows


def differing(sides: Sequence[Side]) -> dict[str, dict[str, list[Any]]]:
    """Return {topic: {name: the value of each run}} where they are not all the same."""
    first, others = sides[0], sides[1:]
    pairs = [differences.record_differences(first.kept, other.kept) for other in others]
    topics: dict[str, dict[str, list[Any]]] = {}
    for topic in ("parameters", "data", "environment", "execution", "code"):
        for name in dict.fromkeys(name for pair in pairs for name in pair[topic]):
            own = next(pair[topic][name][0] for pair in pairs if name in pair[topic])
            values = [own,
                      *(pair[topic][name][1] if name in pair[topic] else own for pair in pairs)]
            topics.setdefault(topic, {})[name] = [plain(value)
                                                 if topic == "parameters" and isinstance(value, str)
                                                 else value for value in values]
    return topics


def _context(sides: Sequence[Side], exhibits: Sequence[Exhibit]) -> dict[str, Any]:
    alike = tested_alike(sides)
    store = store_of(alike)
    count = alike[0].tested.ten_crop.shape[1] if alike else 0
    words = ([entry.words for entry in store.classes] if store
             else [f"class {label}" for label in range(count)])
    ends = {suffix(len(side.predictions.each_crop)) for side in sides if side.predictions}
    return {"crops": " or ".join(SUFFIXES[end] for end in sorted(ends)) or "ten crops",
            "sides": sides, "exhibits": {entry.name: entry for entry in exhibits}, "alike": alike,
            "errors": [(side, errors(side)) for side in sides], "words": words, "store": store,
            "agreements": [agreement(*pair) for pair in itertools.combinations(alike, 2)],
            "traces": [(*pair, *traces(*pair)) for pair in itertools.combinations(sides, 2)],
            "digest_rows": digest_rows(sides),
            "differing": differing(sides),
            "classes": class_errors(alike)[:LISTED],
            "pictures": [(index, [(side, guesses(side, index)) for side in alike])
                         for index in contested(alike)] if store else [], "shown": SHOWN}
