"""What is good on a data set: the goldens of its preset. `python -m pipeline.studies.yardsticks`
writes the table of README.md anew from golden/.

A golden counts when it is of the preset as it is now, and has FEWEST runs or more. `alexnet golden
record --seeds` makes one of whatever params.yaml says.
"""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import identity, parameters, presets
from pipeline.config.crops import suffix_of
from pipeline.config.datasets import NAMES
from pipeline.config.safe_yaml import read_sections
from pipeline.studies.gate import golden
from pipeline.studies.run_sets import RunSet, in_folder
from pipeline.system.generated import GeneratedPart
from pipeline.system.terminal import duration

PART = GeneratedPart(Path("README.md"), "<!-- made by python -m pipeline.studies.yardsticks -->\n",
                     "<!-- end of it -->\n")
FEWEST = 3  # runs of a set that says what is good


@dataclass(frozen=True)
class Yardstick:
    """What the runs of one set have come to.

    Attributes:
        name: of the set.
        pictures: trained on.
        runs: how many.
        errors: the mean of each error over the runs, as fractions: top1_error, top5_error, and the
            same with the suffix.
        suffix: of the errors with several crops.
        lowest, highest: top-1 error with several crops of single runs.
        seconds: of one run, all its stages, the median; None where it is not known.
        curve: (epoch, validation error), the mean over the runs; empty where none was kept.
    """

    name: str
    pictures: int
    runs: int
    errors: dict[str, float]
    suffix: str
    lowest: float
    highest: float
    seconds: float | None
    curve: list[tuple[float, float]]

    def top1(self) -> float:
        """Return the mean top-1 error with several crops, by which sets are compared."""
        return self.errors[f"top1_error{self.suffix}"]


def of(run_set: RunSet) -> Yardstick | None:
    """Return what a set of runs has come to; None where there are fewer than FEWEST, or they were
    not tested."""
    runs = run_set.runs
    tested = [run.metrics.get("evaluate", {}) for run in runs]
    end = suffix_of(tested[0]) if tested else "_10crop"
    names = [f"{name}{suffix}" for suffix in ("", end) for name in ("top1_error", "top5_error")]
    if len(runs) < FEWEST or any(name not in metrics for metrics in tested for name in names):
        return None
    several = [metrics[names[2]] for metrics in tested]
    seconds = [run.record["seconds"] for run in runs if "seconds" in run.record]
    curves = [run.points("validation_error") for run in runs if run.curve]
    return Yardstick(
        run_set.name, int(runs[0].metrics.get("resize", {}).get("train_images", 0)), len(runs),
        {name: statistics.fmean(metrics[name] for metrics in tested) for name in names}, end,
        min(several), max(several), statistics.median(seconds) if seconds else None,
        [(points[0][0], statistics.fmean(error for _, error in points))
         for points in zip(*curves, strict=False)])


def of_preset(name: str, folder: Path = golden.FOLDER) -> Yardstick | None:
    """Return the best of the goldens of this preset as it is now, by the mean top-1 error with
    several crops; None where there is none."""
    wanted = _apart_from_data(identity.configuration(_preset(name)))
    yardsticks = [yardstick for run_set in in_folder(folder)
                  if identity.fits(_apart_from_data(run_set.configuration), wanted)
                  and (yardstick := of(run_set))]
    return min(yardsticks, key=Yardstick.top1, default=None)


def _apart_from_data(configuration: dict[str, str]) -> dict[str, str]:
    """Return it without the data of another preset: those of the sample say nothing elsewhere."""
    other = configuration.get("dataset.source") != presets.BASE
    return {key: value for key, value in configuration.items()
            if not (other and key.startswith("dataset.sample."))}


def _preset(name: str) -> parameters.Parameters:
    """Return the parameters that a preset gives, whatever params.yaml has."""
    values: dict[str, Any] = copy.deepcopy(read_sections(presets.TEMPLATE))
    for key, value in presets.values_of(name).items():
        section, _, last = key.partition(".")
        values[section][last] = value
    if name == "folder":
        values["dataset"]["location"] = "."
    return parameters.check(values, presets.TEMPLATE)


def table() -> str:
    """Return the table as Markdown, by the goldens that there are."""
    lines = []
    for name in NAMES:
        if yardstick := of_preset(name):
            time = "" if yardstick.seconds is None else duration(yardstick.seconds)
            lines.append(
                f"| `{name}`, {yardstick.pictures:,} pictures | {yardstick.runs} | "
                f"{100 * yardstick.top1():.1f} % ({100 * yardstick.lowest:.1f} to "
                f"{100 * yardstick.highest:.1f}) | "
                f"{100 * yardstick.errors[f'top5_error{yardstick.suffix}']:.1f} % | "
                f"{100 * yardstick.errors['top1_error']:.1f} % | {time} |")
    if not lines:
        return "No runs of the presets as they are now are kept in `golden/`.\n"
    return "\n".join(["| preset | runs | top-1, several crops | top-5, several crops "
                      "| top-1, centre | a run |", "|---|---|---|---|---|---|", *lines, ""])


if __name__ == "__main__":
    PART.write(table())
