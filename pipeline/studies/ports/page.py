"""Makes docs/ports.md: `python -m pipeline.studies.ports.page > docs/ports.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from alexnet.deviations import markdown_lines
from alexnet.ports import OTHERS, PORTS
from alexnet.recipe import Name, recipe, switches
from pipeline.config.recipes import as_yaml, differences, settings_of
from pipeline.studies.claims import ledger
from pipeline.studies.claims.results import RESULTS
from pipeline.studies.ports import table, waterfall
from pipeline.studies.ports.table import Ours, PortRow
from pipeline.system.files import atomic_write

PAGE = Path("docs/ports.md")

HEAD = """\
# Which AlexNet did you run?

Made from `alexnet/ports.py` and `experiments/` by `python -m pipeline.studies.ports.page`; a test
holds them together.

Half the world's "AlexNet" is another network than that of 2012. Here each is a recipe: a set of
values for the switches of [deviations.md](deviations.md), each with the file and line that decides
it. `source` and `paper` are the original; `caffe`, `caffenet`, `torchvision` and `one-weird-trick`
are what people mean.

## Which one a paper used

| what the paper says of its AlexNet | which it was |
| --- | --- |
| 37.5 and 17.0 % error (ILSVRC-2010), 40.7 and 18.2 % (ILSVRC-2012 validation, ten crops) \
| the original, `source` |
| 42.3 to 42.6 and 19.5 to 19.7 % error on one centre crop, by 2012's code \
| the original, too: ten crops are worth 1.7 points |
"""

RUNNING = """\

The number of parameters tells most of them apart: 60,965,224 is 2012's two columns and both of
Caffe's nets, 61,100,840 torchvision's and Krizhevsky's of 2014, 62,378,344 two columns written as
one without groups, 50.3 million tf-slim's. So does the input: 227 pixels are Caffe's. A difference
of a point or two between papers can be the port alone, or ten crops against one (1.7 points).

## Running one

    dvc exp run -S recipe.name=caffe

takes over all that is a switch, the layers included (`network.architecture: auto`). Batch, epochs
and the shape of the stored pictures belong to the port, too, and are written by

    alexnet configure imagenet2012 --recipe caffe

What differs between two recipes, with the place where each value stands:

<!-- run -->

    alexnet describe --recipe caffe --against source

A net of `torchvision` at width 1 is torchvision's own, and the tests hold it against the installed
package: the same logits, gradients and ten updates of its optimizer, to 1e-10 in float64. Its file
of weights, `.pth`, is read by PyTorch's restricted reader, which builds tensors and runs nothing:

    alexnet configure imagenet2012 --recipe torchvision
    alexnet evaluate --weights alexnet-owt-7be5be79.pth

It can be `train.start_from`, too. What was trained goes back with

    alexnet ports export trained.pth

and, there, with `torch.load("trained.pth", weights_only=True)`, which
`torchvision.models.alexnet(num_classes=N).load_state_dict` takes. Outputs are in the order of the
sorted keys of the classes there, and in the order of the labels here; both commands reorder them.
The other recipes are held against networks and updates that are written apart from them, after the
ports' files (`tests/alexnet/ports_reference.py`).
"""

TABLE = """\

## Side by side

`alexnet ports` prints this table, with `--json` for programs. Accuracy is in %, as published.
"""

COST = """\

## What a deviation costs

    alexnet ports run all --scale imagenette --yes

trains `source`, each port, and every step between the two, one difference after the other, on the
same seeds, and adds seeds until the verdict is final, by the rules of [claims.md](claims.md): a
difference of less than a point in top-1 error counts as none. It begins no run that is not expected
to end within three hours (`--hours`), and given again it goes on. The ports as a whole come first.
`--estimate` gives the cost beforehand. A port's own input (`resize.mode`) is a step like others;
batch and epochs are the scale's in all of its runs.

A run takes 3 to 6 minutes of one core (an AMD EPYC of family 26, AVX-512), evaluation included; the
four ports and the 51 configurations between them and `source` are 165 runs on three seeds. Two
clones, each bound to a core, do some 1.4 times as much in an hour as one that has both
([claims.md](claims.md#on-several-cores)). `alexnet claims verify port-caffe --seed 1` runs one of
them again and compares weights, losses and errors.
"""


def page() -> str:
    """Return the whole page, in Markdown."""
    book = ledger.load()
    rows = table.rows(book)
    ports: tuple[Name, ...] = tuple(row.recipe for row in rows if row.recipe in PORTS)
    parts = [HEAD.rstrip("\n"), *_known_by(), RUNNING, TABLE, *_side_by_side(rows), "",
             markdown_lines(f"Images a second are in training, on: {table.speed().machine}. "
                     "`python -m benchmarks.ports` measures them."), "",
             *_accuracy(rows), *_against_source(ports)]
    parts += ["\n## What no switch is for\n"]
    parts += [markdown_lines(f"- `{port}` {what}")
              for port in ports for what in PORTS[port].remains]
    parts += ["\n## Ports without a recipe\n", *_markdown(
        ("port", "what would have to be switched", "published"),
        ((f"{other.title} ({other.files})", other.missing, other.published)
         for other in OTHERS)), COST]
    for port in ports:
        parts += [f"### {port}\n", *_figure(port), *_waterfall(book, port), ""]
    return "\n".join(parts)


def _known_by() -> list[str]:
    known = [(port.known_by, f"{port.title}, `{name}`") for name, port in PORTS.items()]
    known += [("58 % top-1 (TensorFlow)", "tensorpack's"),
              ("62.4 million parameters, Adam", "dansuh17/alexnet-pytorch, or a net like it"),
              ("\"alexnet_v2\", 50.3 million parameters", "tf-slim's")]
    return [f"| {what} | {which} |" for what, which in known]


def _side_by_side(rows: Sequence[PortRow]) -> list[str]:
    return _markdown(
        ("recipe", "what it is", "parameters", "multiply-adds", "images/s", "top-1", "top-5", "of",
         "here"),
        ((f"`{row.recipe}`", row.title, f"{row.parameters:,}", f"{row.macs:,}",
          f"{row.images_per_second:.1f}" if row.images_per_second else "not measured",
          str(row.published[0]), str(row.published[1]), row.published[2],
          "; ".join(map(_ours, row.ours)) or "not yet run") for row in rows))


def _ours(ours: Ours) -> str:
    accuracy = f"{ours.scale}: {100 * (1 - ours.top1_error):.1f} %, {ours.seeds} seeds"
    row = ours.against_source
    if row is None or row.ours is None:
        return accuracy
    low_high = f" ({row.interval[0]:+.1f} to {row.interval[1]:+.1f})" if row.interval else ""
    return f"{accuracy}, {row.ours:+.1f} points of error{low_high}: {row.words}"


def _accuracy(rows: Sequence[PortRow]) -> list[str]:
    return ["The accuracies stand in:", "",
            *(markdown_lines(f"- `{row.recipe}`: {row.published[3]}") for row in rows)]


def _against_source(ports: Sequence[Name]) -> list[str]:
    """Return the table of all switches on which a port is not as `source`, and of batch, epochs and
    input."""
    columns: list[Name] = ["source", "paper", *ports]
    differing = {each.key for port in ports for each in differences("source", port)}
    lines = []
    for switch in switches():
        if f"recipe.{switch.name}" in differing:
            values = [as_yaml(getattr(recipe(name), switch.name)) for name in columns]
            lines.append((f"[`{switch.name}`](deviations.md#{switch.name})", *_marked(values)))
    for key in settings_of("source"):
        if key in differing:
            lines.append((f"`{key}`", *_marked([as_yaml(settings_of(name)[key].value)
                                                for name in columns])))
    return ["\n## In what they differ from 2012\n",
            "Values that are not those of `source` are bold. The file and line of each:",
            "`alexnet describe --recipe PORT --against source`.", "",
            *_markdown(("", *(f"`{name}`" for name in columns)), lines)]


def _marked(values: Sequence[str]) -> list[str]:
    return [value if value == values[0] else f"**{value}**" for value in values]


def _figure(port: Name) -> list[str]:
    """Return the figure of the waterfall, if `pipeline.report.waterfall_figure` has drawn one."""
    files = [waterfall.figure_of(port, RESULTS / scale) for scale in waterfall.SCALES]
    return [f"![{port}, step by step]({Path('..') / file})\n"
            for file in files if file.exists()]


def _waterfall(book: ledger.Book, port: Name) -> list[str]:
    """Return the table of a port's steps, with what was measured of each."""
    measured: dict[str, list[str]] = {}
    for row in table.cost(book, port):
        interval = row.interval and f" ({row.interval[0]:+.1f} to {row.interval[1]:+.1f})"
        measured.setdefault(row.claim.name, []).append(
            f"{row.scale}: {row.ours:+.1f} points{interval or ''}, {row.seeds} seeds, {row.words}")
    lines = [("all of it", "; ".join(measured.get(waterfall.whole(port), ["not yet run"])))]
    lines += [(step.says, "; ".join(measured.get(step.name, ["not yet run"])))
              for step in waterfall.steps(port)]
    return _markdown(("difference", "top-1 error, against the step before"), lines)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    with atomic_write(PAGE) as stream:
        stream.write(page().encode())
