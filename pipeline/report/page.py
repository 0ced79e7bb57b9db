"""The page: the parts put into page.html.j2, with its style sheet, into one file that needs nothing
else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from alexnet.ports import PORTS
from pipeline.config.crops import SUFFIXES, suffix_of
from pipeline.config.recipes import as_yaml, differences
from pipeline.report import confusion, learning, pictures, predictions, record, results, training
from pipeline.report.choosing import LONGEST_LIST
from pipeline.report.confusion import Confusion
from pipeline.report.evidence import TABLE_1, TABLE_2
from pipeline.report.figures import Exhibit, document
from pipeline.report.inputs import Inputs
from pipeline.report.intervals import interval
from pipeline.report.matrix import matrix_table
from pipeline.report.predictions import Prediction, Query
from pipeline.report.templates import template


@dataclass(frozen=True)
class Parts:
    """What is drawn, and what the page and the figures' files are made of alike."""

    exhibits: dict[str, Exhibit]
    components: list[pictures.Component]
    crops: pictures.TenCrops
    predictions: list[tuple[str, list[Prediction]]]
    queries: list[Query]
    confusion: Confusion


def draw(inputs: Inputs) -> Parts:
    """Draw everything; each exhibit has its name."""
    components, crops = pictures.components(inputs), pictures.ten_crops(inputs)
    kinds, queries = predictions.predictions(inputs), predictions.neighbours(inputs)
    counted = confusion.confusion(inputs)
    exhibits = [*learning.exhibits(inputs), pictures.kernels(inputs),
                predictions.predictions_sheet(kinds),
                *([predictions.neighbours_sheet(queries)] if queries else []),
                pictures.crops_sheet(inputs, crops), pictures.mean(inputs),
                pictures.colour_axes(inputs, components), *confusion.exhibits(inputs, counted),
                *inputs.evidence.figures]
    return Parts({exhibit.name: exhibit for exhibit in exhibits}, components, crops, kinds, queries,
                 counted)


def files(inputs: Inputs, parts: Parts) -> dict[str, bytes]:
    """Return the files beside the page, by name: each figure and its numbers, and the ledger of
    claims."""
    return {name: content for exhibit in parts.exhibits.values()
            for name, content in exhibit.files().items()} | {
                "claims.json": document(inputs.evidence.as_json())}


def render(inputs: Inputs, parts: Parts) -> str:
    """Return the HTML."""
    return str(template("page.html.j2").render(**_context(inputs, parts)))


def _context(inputs: Inputs, parts: Parts) -> dict[str, Any]:
    parameters, store = inputs.parameters, inputs.store
    errors, images = results.errors(inputs), inputs.metrics["evaluate"]["images"]
    rows = inputs.evidence.rows
    end = suffix_of(errors)
    yardstick = results.yardstick(inputs)
    return {"parameters": parameters, "recipe": parameters.effective_recipe(),
            "metrics": inputs.metrics, "network": inputs.network, "store": store,
            "data": results.data_name(parameters),
            "images": images, "train_images": len(store.split("train")),
            "words": [each.words for each in store.classes], "errors": errors,
            "several": end, "crops": SUFFIXES[end],
            "others": results.to_compare(len(store.classes), yardstick), "yardstick": yardstick,
            "about": [results.good_here(inputs, len(store.classes)),
                      *training.about(parameters, inputs.provenance, inputs.training),
                      training.verified(inputs.verification,
                                        inputs.metrics["train"]["weights_digest"])],
            "intervals": {name: interval(error, images) for name, error in errors.items()},
            "unlike": results.unlike_the_paper(parameters, len(store.classes)),
            "table": parameters.dataset.data_set.paper_table or 2,
            "table_1": TABLE_1, "table_2": TABLE_2, "evidence": inputs.evidence,
            "claims": [row for row in rows if row.claim.section != "ours"],
            "port": PORTS.get(parameters.recipe.name),
            "differences": differences("source", parameters.recipe.name),
            "as_yaml": as_yaml,
            "own_claims": [row for row in rows if row.claim.section == "ours"],
            "epochs": inputs.curve["epoch"][-1], "curve": learning.curve_rows(inputs),
            "points": len(inputs.curve["step"]), "ends":
            {name: (float(values[0]), float(values[-1])) for name, values in inputs.curve.items()},
            "rates": learning.learning_rates(parameters, inputs.curve),
            "parts": parts, "exhibits": parts.exhibits,
            "sigmas": [pictures.deviations(sigma) for sigma in pictures.SIGMAS],
            "outlined": pictures.outlined(parts.crops),
            "searched": inputs.predictions.each_crop.shape[1],
            "sides": {"shifted": pictures.SHIFTED, "crop": pictures.CROP_SHOWN,
                      "prediction": predictions.SHOWN, "neighbour": predictions.NEIGHBOUR_SHOWN},
            "quarantined": inputs.quarantined, "doubtful": inputs.doubtful,
            "account": inputs.account, "longest": LONGEST_LIST,
            "digests": record.digests(inputs), "more_digests": record.more_digests(inputs),
            "environment": record.environment(inputs), "provenance": inputs.provenance,
            "matrix": matrix_table(inputs.matrix.rows) if inputs.matrix else None,
            "other_stack": record.other_stack(inputs),
            "workload": inputs.matrix.workload if inputs.matrix else [],
            "choices": record.choices(parameters), "settings": record.settings(parameters),
    }
