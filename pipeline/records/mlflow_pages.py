"""What MLflow's pages show besides numbers: the experiment's default view, descriptions, data sets.

Columns, order and filter of the list of runs belong to the address that is opened: the view is kept
with the experiment, as those are that are saved in the page itself, and `addresses()` name it.
Opened in any other way, the list has MLflow's own columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.crops import SUFFIXES, suffix_of
from pipeline.records import mlflow_names
from pipeline.records.mlflow_names import differing, plain

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

VIEW = "alexnet-trainings"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
TRAINING = "workflowType=machine_learning"  # without it MLflow shows a run among its GenAI pages
COLUMNS = {
    "metrics": ("error/top1_10crop", "error/top5_10crop"),
    "params": ("dataset.source", "recipe.name", "network.width", "train.seed", "train.epochs"),
    "attributes": ("Duration",)}
SECTION = "alexnet-errors"  # of charts: the first
CHARTS = (("LINE", "val/top1_error"), ("BAR", "error/top1_10crop"))
CHART = {"runsCountToCompare": 10, "metricSectionId": SECTION, "deleted": False,
         "isGenerated": False, "lineSmoothness": 0, "useGlobalLineSmoothing": True,
         "useGlobalXaxisKey": True}
ABOUT = """Trainings of AlexNet, and the stages that prepared their data.

- A run is named for its data set and seed, and for what differs from that data set's preset and
  the recipe *source*.
- `error/` is in percent, on the validation images, of the finished weights. Curves (`train/`,
  `val/`) stand at **images seen**; `val/..._1crop` and `_10crop` are fractions with all digits.
- Evaluation and report are part of the training whose weights they saw. `prepared_by.*` among its
  tags are the runs that made its data.
- The view *Trainings* (above the list) has the columns that matter; `alexnet ui` opens it.
- Where a click on a run leads to the *GenAI* pages (not with `alexnet ui`), choose *Model training*
  at the top left once: MLflow keeps it.
- To compare: tick two runs, then **Compare**. To prove that a run can be repeated:
  `alexnet rerun RUN`.
"""
ERRORS = "Errors, "  # the beginning of a description's line of them
# of a data set's digest, for which MLflow has 36; the whole is in the profile and the tags
DIGITS = 32


def experiment_tags() -> dict[str, str]:
    """Return the tags of an experiment: set where it does not have them, since a user may have
    changed them, but for the view, which is ours."""
    return {"mlflow.note.content": ABOUT, "mlflow.experimentKind": "custom_model_development",
            VIEW_TAG: json.dumps({"name": "Trainings", "createdAt": 0, "updatedAt": 0,
                                  "state": json.dumps(_view())})}


def is_view(tag: str) -> bool:
    """Return whether an experiment's tag is the view, which follows this version of it."""
    return tag == VIEW_TAG


def _view() -> dict[str, Any]:
    columns = [f"{kind}.`{name}`" for kind, names in COLUMNS.items() for name in names]
    return {"searchFilter": "tags.stage = 'train'", "orderByKey": "attributes.start_time",
            "orderByAsc": False, "selectedColumns": columns, "hideEmptyCharts": True,
            "isAccordionReordered": True,  # else the sections stand in the order of the alphabet
            "compareRunSections": [{"uuid": SECTION, "name": mlflow_names.ERRORS, "display": True,
                                    "isReordered": True}],
            "compareRunCharts": [
                {**CHART, "uuid": f"{SECTION}-{number}", "type": kind, "metricKey": metric}
                for number, (kind, metric) in enumerate(CHARTS)]}


def addresses(server: str, experiment: str) -> str:
    """Return where to look on the server at this address: at the list of trainings, and at their
    curves."""
    trainings = (f"{server.rstrip('/')}/#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"
                 f"&{TRAINING}")
    return f"The runs: {trainings}\nTheir curves: {trainings}&compareRunsMode=CHART"


def description(stage: str, params: Mapping[str, str], tags: Mapping[str, str], experiment: str,
                run_id: str, texts: Sequence[str] = ()) -> str:
    """Markdown: what the run is, and where its record is; `texts` are the files that it has from
    the start.

    The page shows three lines of it, and more when asked to: they hold what is looked for most.
    """
    def link(text: str, file: str) -> str:
        return f"[{text}](#/experiments/{experiment}/runs/{run_id}/artifacts/{file}?{TRAINING})"

    if stage == "comparison":
        runs = ", ".join(f"[{name[9:]}](#/experiments/{experiment}/runs/{run}?{TRAINING})"
                         for name, run in tags.items() if name.startswith("compared."))
        return f"{link('The page', 'comparison/index.html')} of the runs {runs}, side by side."
    if stage not in ("train", "rerun"):
        return f"The stage `{stage}`. Record: {', '.join(link(name, name) for name in texts)}."
    what = "Training" if stage == "train" else f"Rerun of `{tags.get('rerun_of', '?')[:12]}`"
    shown = {name: params.get(name, "?")
            for name in ("network.architecture", "network.width", "dataset.source", "recipe.name",
                         "train.epochs", "train.batch")}
    files = [*texts, "code.tar.gz", "models/trace.jsonl", "plots/learning.csv"]
    lines = [f"Record: {', '.join(link(name.rpartition('/')[2], name) for name in files)}.",
             "**{}** of the {} network, width {}, on {}, recipe {}: {} epochs, batches of "
             "{}.".format(what, *map(plain, shown.values()))]
    others = list(differing(params))
    if others:
        lines.append(f"Not as in the preset: {', '.join(others)}.")
    made = [f"[{stage}](#/experiments/{experiment}/runs/{run}?{TRAINING})"
            for name, run in tags.items() if (stage := name.removeprefix("prepared_by.")) != name]
    if made:
        lines.append(f"Data prepared by: {', '.join(made)}.")
    lines.append(f"The same again, with proof: `alexnet rerun {run_id[:12]}`.")
    return "\n\n".join(lines)


def addition(stage: str, metrics: Mapping[str, float], experiment: str, run_id: str) -> str:
    """Return what the description of a training gains when a stage joins its run."""
    if stage == "report":
        return (f"[Report](#/experiments/{experiment}/runs/{run_id}/artifacts/report/index.html"
                f"?{TRAINING})")
    end = suffix_of(metrics)
    errors = [f"{name.replace(f'_error{end}', '').replace('top', 'top-')} {100 * value:.2f} %"
              for name, value in metrics.items() if name.endswith(f"_error{end}")]
    return f"{ERRORS}{SUFFIXES[end]}: {', '.join(errors)}." if errors else ""


def with_line(description: str, line: str) -> str:
    """Return the description with this line among the first: the errors, of which it has one line,
    before the report."""
    lines = [line, *(each for each in description.split("\n\n")
                     if each != line and not (line and each.startswith(ERRORS)
                                              and line.startswith(ERRORS)))]
    return "\n\n".join(sorted(filter(None, lines), key=lambda each: not each.startswith(ERRORS)))


def data_sets(stage: str, params: Mapping[str, str], tags: Mapping[str, str]) -> list[DatasetInput]:
    """Return what a stage reads as MLflow's inputs: name, digest, the size where it is known."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    pixels, listing = tags.get("resize.pixels_digest"), tags.get("download.listing_digest")
    source = tags.get("images.source") or params.get("dataset.source", "images")
    if stage == "resize":
        rows = [(f"{source} files", listing, "preparation", "data/download", "")]
    elif stage in ("mean", "pca"):
        rows = [("stored images", pixels, "preparation", "data/store", "train")]
    else:
        rows = [(f"{source} {split}", pixels, context, "data/store", split)
                 for split, context in (("train", "training"), ("val", "validation"))]
    return [DatasetInput(Dataset(name, digest[:DIGITS], "local", json.dumps({"uri": place}),
                                 profile=json.dumps({"digest": digest, **_size(tags, split)})),
                         [InputTag("mlflow.data.context", context)])
            for name, digest, context, place, split in rows if digest]


def _size(tags: Mapping[str, str], split: str) -> dict[str, int]:
    return {"num_rows": int(tags[f"images.{split}"])} if f"images.{split}" in tags else {}
