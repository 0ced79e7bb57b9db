"""What a run and its metrics are called in MLflow: a run for what differs from others, a metric for
its chart.

MLflow draws a chart a metric, and groups charts by what stands before the slash: `train/loss`,
`val/top5_error_10crop`. Metrics files, records that travel and the code use other names, which are
flat: `metric()` and `flat_metric()` lead from one to the other. Curves stand at images seen, which
runs of any batch size have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from alexnet.recipe import NAMES, Name, recipe
from pipeline.config import datasets, presets
from pipeline.config.identity import as_text
from pipeline.config.parameters import architecture_of

# told by their value alone
BARE = ("network.architecture", "network.neuron", "train.arithmetic", "train.precision",
        "store.encoding")
UNTOLD = ("dataset.source", "dataset.location", "dataset.origin", "resize.max_quarantined",
          "recipe.name", "train.seed", "train.validate_every", "train.trace_every")
LONGEST = 100
TRAININGS = ("train", "rerun")
CURVES = {"training_loss": "train/loss", "training_error": "train/top1_error",
          "validation_loss": "val/loss", "validation_error": "val/top1_error",
          "epoch": "x-axis/epoch", "steps": "weights/steps"}
# Of the trained weights, on the validation images; the curves' own are those of the centre crop as
# the training goes.
EVALUATION = {"top1_error": "val/top1_error_1crop", "top5_error": "val/top5_error_1crop",
              "loss": "val/loss_1crop", "colour_0": "weights/colour_0",
              "colour_1": "weights/colour_1", "specialisation": "weights/specialisation"}
GROUPS = {"rerun": "train", "evaluate": "val"}  # else that of a stage has its name
ERROR = re.compile(r"(top[15])_error(_\d+crop)?")
ERRORS = "error"  # the group of those in percent; before `train` and `val` in the alphabet
FLAT = {shown: name for names in (CURVES, EVALUATION) for name, shown in names.items()}


def metric(stage: str, name: str) -> str:
    """Return the name in MLflow of a stage's metric; of a training that was imported, of its
    evaluation's as well."""
    if stage in TRAININGS and name not in CURVES and (name in EVALUATION or ERROR.fullmatch(name)):
        stage = "evaluate"
    known = CURVES if stage in TRAININGS else EVALUATION if stage == "evaluate" else {}
    return known.get(name) or f"{GROUPS.get(stage, stage)}/{name}"


def flat_metric(shown: str) -> str:
    """Return the name in metrics files of one in MLflow; runs from before there were groups have
    that already."""
    return FLAT.get(shown) or shown.partition("/")[2] or shown


def shown_errors(stage: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the errors of an evaluation, or of an imported training's, once more, in percent to
    two digits, under names that come first in MLflow's tables and charts: `error/top1_10crop`. They
    are for eyes; the record has the fractions, with all digits."""
    if stage not in ("evaluate", *TRAININGS):
        return {}
    errors = {name: ERROR.fullmatch(name) for name in metrics}
    shown = {f"{ERRORS}/{match[1]}{match[2] or '_1crop'}": round(100 * metrics[name], 2)
             for name, match in errors.items() if match}
    # those of several crops first, which are the paper's
    return dict(sorted(shown.items(), key=lambda item: item[0].endswith("_1crop")))


def is_for_eyes(shown: str) -> bool:
    """Return whether a metric of MLflow's is one of `shown_errors`, and not of the record."""
    return shown.startswith(f"{ERRORS}/")


def images_a_step(stage: str, params: Mapping[str, str]) -> int:
    """Return by how much an update's number is multiplied to become the step of its points in
    MLflow, which is images seen."""
    batch = params.get("train.batch", "")
    return int(batch) if stage in TRAININGS and batch.isdecimal() and int(batch) else 1


def run_name(stage: str, params: Mapping[str, str]) -> str:
    """Return a name as `sample seed 2 width 0.5`: data set, seed, and what is not as the data set's
    preset and the recipe have it.

    Args:
        stage: comes first in the name, unless it is `train`.
        params: a record's, `section.key` to value as JSON writes it; those that are missing are
            left out.
    """
    name = " ".join([*([] if stage == "train" else [stage]), *_main_parts(params)])
    others = list(differing(params))
    while others and len(name) + len(others[0]) < LONGEST:
        name += f" {others.pop(0)}"
    return name + (f" and {len(others)} more" if others else "")


def short_names(runs: Sequence[Mapping[str, str]]) -> list[str]:
    """Return, for runs that stand side by side, of each name the parts that not all of them have;
    the seed, where nothing else tells them apart.

    Args:
        runs: the parameters of each, as for `run_name`.
    """
    parts = [[*_main_parts(params), *differing(params)] for params in runs]
    common = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    own = [[part for part in each if part not in common] for each in parts]
    return [" ".join(each or [f"seed {params.get('train.seed', '?')}"])
            for each, params in zip(own, runs, strict=True)]


def _main_parts(params: Mapping[str, str]) -> list[str]:
    """Return data set, recipe and seed, as far as they are there; `source` goes without saying."""
    parts = [params["dataset.source"]] if "dataset.source" in params else []
    parts += [name] if (name := params.get("recipe.name", "source")) != "source" else []
    return parts + ([f"seed {params['train.seed']}"] if "train.seed" in params else [])


def differing(params: Mapping[str, str]) -> Iterator[str]:
    """Yield each parameter that is not as in the preset of the data set and in the named recipe, in
    a few words."""
    usual = _usual(params.get("dataset.source", presets.BASE), params.get("recipe.name", "source"))
    for key, value in params.items():
        if key in usual and plain(value) != plain(usual[key]) and key not in UNTOLD:
            yield _told(key, plain(value))


def by_recipe(params: Mapping[str, str]) -> set[str]:
    """Return the switches, and the architecture, that are as the named recipe has them: its name
    says all of them."""
    usual = _usual(params.get("dataset.source", presets.BASE), params.get("recipe.name", "source"))
    return {key for key, value in usual.items()
            if (key.startswith("recipe.") or key == "network.architecture")
            and key != "recipe.name" and plain(params.get(key, "")) == plain(value)}


def _told(key: str, value: str) -> str:
    name = key.rpartition(".")[2]
    if key in BARE:
        return value
    if key == "train.start_from":
        return "fine-tuned"
    if value in ("true", "false"):
        return name if value == "true" else f"no {name}"
    return f"{name} {value}"


def plain(value: str) -> str:
    """Return a number in its shortest form, so that 1e-2 and 0.01, 16 and 16.0 are the same."""
    try:
        return f"{float(value):.12g}"
    except ValueError:
        return value


def _usual(source: str, recipe_name: str) -> dict[str, str]:
    preset = presets.template_values() | presets.values_of(
        source if source in datasets.BY_NAME else presets.BASE)
    named: Name = next((name for name in NAMES if name == recipe_name), "source")
    switches = asdict(recipe(named))
    usual = {f"recipe.{name}": value for name, value in switches.items()} | {
        key: value for key, value in preset.items()
        if not key.startswith("execution.") and not (key.startswith("recipe.") and value is None)}
    usual["network.architecture"] = architecture_of(usual["network.architecture"], named)
    return {key: as_text(value) for key, value in usual.items()}
