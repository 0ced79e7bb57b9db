"""The table of the ports: size, speed, what was published, what each scores here.

Speeds are those of one machine, measured by `python -m benchmarks.ports`; errors are from
experiments/results, by pairs of seeds and the verdicts of the ledger.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.architectures import architecture
from alexnet.ports import PORTS
from alexnet.recipe import NAMES, Name, recipe
from pipeline.config.parameters import architecture_of
from pipeline.studies.claims import evidence, ledger
from pipeline.studies.claims.evidence import LedgerRow
from pipeline.studies.claims.ledger import Book
from pipeline.studies.claims.results import Results
from pipeline.studies.claims.verdicts import NOT_RUN
from pipeline.studies.ports import waterfall
from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON

SPEED = Path("experiments/ports-speed.json")
CLASSES = 1000
# Of the recipes that are no ports: top-1 and top-5 accuracy in %, on which crops, and where from.
PUBLISHED: dict[str, tuple[float | None, float | None, str, str]] = {
    "source": (59.34, 81.79, "ten crops", "S layer-params-145.cfg: errors 40.664 and 18.210"),
    "paper": (59.3, 81.8, "ten crops", "P Table 2: errors 40.7 and 18.2"),
}


@dataclass(frozen=True)
class Ours:
    """What a recipe scores at a scale.

    Attributes:
        scale: its name.
        seeds: runs of the recipe.
        top1_error: of the centre crop, a fraction, the mean over these.
        against_source: the row of the ledger for the difference from `source` on the same seeds;
            None for `source` itself.
    """

    scale: str
    seeds: int
    top1_error: float
    against_source: LedgerRow | None

    def as_json(self) -> dict[str, Any]:
        """Return it as `alexnet ports --json` prints it."""
        row = self.against_source
        return {"scale": self.scale, "seeds": self.seeds, "top1_error": self.top1_error,
                "difference": row.ours if row else None,
                "interval": list(row.interval) if row and row.interval else None,
                "verdict": row.words if row else None}


@dataclass(frozen=True)
class PortRow:
    """A row of the table.

    Attributes:
        recipe: its name.
        title: what people call it.
        parameters, macs: with 1000 classes at full width; multiply-adds of an image, forward.
        images_per_second: in training, on the machine of the figures; None where not measured.
        published: top-1 and top-5 accuracy in %, on which crops, and where that stands.
        ours: by scale, where it was run.
    """

    recipe: Name
    title: str
    parameters: int
    macs: int
    images_per_second: float | None
    published: tuple[float | None, float | None, str, str]
    ours: list[Ours]

    def as_json(self) -> dict[str, Any]:
        """Return it as `alexnet ports --json` prints it."""
        top1, top5, views, source = self.published
        return {"recipe": self.recipe, "title": self.title, "parameters": self.parameters,
                "macs": self.macs, "images_per_second": self.images_per_second,
                "published": {"top1": top1, "top5": top5, "views": views, "source": source},
                "ours": [each.as_json() for each in self.ours]}


@dataclass(frozen=True)
class Speed:
    """Images a second in training, by recipe, and what it ran on."""

    images: Mapping[str, float]
    machine: str


def speed(file: Path = SPEED) -> Speed:
    """Return the kept figures; none where nobody has measured yet.

    Raises:
        UserError: the file is damaged.
    """
    if not file.exists():
        return Speed({}, "not measured yet")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        machine = content["machine"]
        where = machine["cpu"] if machine.get("gpu", "none") == "none" else machine["gpu"]
        first = content["rows"][0]
        return Speed({row["recipe"]: float(row["images/s"]) for row in content["rows"]},
                     f"{where}, {machine['benchmark_threads']} threads, PyTorch "
                     f"{machine['torch']}, {first['arithmetic']} arithmetic, batches of "
                     f"{first['batch']}")
    except (KeyError, TypeError, IndexError, *BROKEN_JSON) as error:
        raise UserError(f"{file}: damaged ({error!r}); measure again with `python -m "
                        "benchmarks.ports --json`") from None


def rows(book: Book | None = None, folder: Path | None = None) -> list[PortRow]:
    """Return a row for each recipe: the paper's two, then the ports.

    Args:
        book: the claims and configurations; None is experiments/claims.yaml.
        folder: of the evidence; None is experiments/results.
    """
    book, measured = book or ledger.load(), speed().images
    listed = []
    for name in NAMES:
        net = architecture(architecture_of("auto", name), recipe(name), CLASSES)
        port = PORTS.get(name)
        published = PUBLISHED[name] if port is None else (
            port.published.top1, port.published.top5, port.published.views, port.published.source)
        title = port.title if port else {"source": "Krizhevsky 2012, configuration 145",
                                         "paper": "the text of 2012 to the letter"}[name]
        listed.append(PortRow(name, title, net.parameters, net.macs, measured.get(name), published,
                              _ours(book, name, folder)))
    return listed


def _ours(book: Book, name: Name, folder: Path | None) -> list[Ours]:
    """Return what a recipe scores at each scale that has runs of it, on the most pictures."""
    if name == "paper":
        return []  # of its switches one by one there are claims
    configuration = waterfall.BASE if name == "source" else waterfall.whole(name)
    extended = book if name == "source" else waterfall.book_with(book, name)
    ours = []
    for scale in waterfall.SCALES:
        results = (Results(extended, scale) if folder is None
                   else Results(extended, scale, folder))
        kept = [(key, runs) for key in results.evidence_keys()
                if (runs := results.at(key).runs(configuration))]
        if not kept:
            continue
        key, runs = kept[0]
        row = None if name == "source" else evidence.row(extended.claim(configuration),
                                                         results.at(key))
        error = statistics.fmean(run.number(waterfall.METRIC) for run in runs.values())
        ours.append(Ours(scale, len(runs), error, row))
    return ours


def cost(book: Book, port: Name, folder: Path | None = None) -> list[LedgerRow]:
    """Return the rows of a port's waterfall that have evidence: the whole first, then each step."""
    extended = waterfall.book_with(book, port)
    measured = []
    for name in waterfall.names(port):
        for scale in waterfall.SCALES:
            results = (Results(extended, scale) if folder is None
                       else Results(extended, scale, folder))
            measured += [row for row in evidence.rows(extended.claim(name), results)
                         if row.verdict != NOT_RUN]
    return measured
