"""Makes docs/deviations.md of the switches: `python -m alexnet.deviations > docs/deviations.md`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from alexnet.recipe import Switch, switches
from alexnet.schedule import LOGS

HEAD = """\
# Where the paper and its own source disagree

Made from `alexnet/recipe.py` by `python -m alexnet.deviations`; a test holds the two together.

Two recipes are of 2012. `source` follows the original code, configuration 145, whose logged errors
are the paper's numbers; `paper` follows the text to the letter. The others are ports, and
[ports.md](ports.md) has their values. Each row is one key of the `recipe` section in `params.yaml`:
set it to change that choice alone, whatever the recipe. `S` cites the original source as released
by the Computer History Museum, `C2` its successor cuda-convnet2, `P §n` a section of the paper.
Some keys are the same in both recipes; they are here because today's habit, or a port, has another.

Expect `paper` to start hard: with 0.01 in every layer the image hardly reaches the logits (a spread
of 0.0035 against 0.05), and colour noise by eigenvalues of raw pixel values, as printed, is of a
thousand grey levels and drowns the picture. Setting `recipe.colour_noise` to `stdev` or
`eigenvalue-unit` and `recipe.conv345_init_std` to 0.03 makes the rest of its letter trainable. A
run that stays at the loss of guessing says so.
"""

SCHEDULES = """\

## The schedules of 2012

Krizhevsky stopped each run by hand and changed its numbers: the comments at the end of its file in
`S layers/` say at which epochs. `recipe.schedule` has one row; a run of other length goes through
it faster or slower. Weights begin at 0.01, in fine-tuning at 0.001.
"""

SCHEDULES_DIFFER = """\

The runs that the paper compares differ in more than what it names:

- Biases end at 0.02 in #145 and #148, and at 0.002 in #145-2010 (Table 1 and the baseline of §3.2),
  #147, 131, 135 and 137; since when is not logged. `recipe.bias_schedule: one drop` drops them at
  half of the run. 145-half has 0.002 in conv1 and conv2 and 0.02 elsewhere.
- #147, the net of §3.4 without overlap, logs no end of the colour noise, and conv1 was not slowed
  before it was frozen. So §3.4's gain of 0.4 and 0.3 is confounded with the schedule. #145 itself
  gained as much, 40.66 to 40.25, by going on from 0.001 for 44 epochs.
- #148, of §3.3, has the biases of #145 and other epochs; so has 145-half, of §3.2 (20, 48; conv1 66
  and 72; 96), whose last drop is not logged and whose file ends with conv1 at 1e-5, not at 0 as its
  comments say. It has no row.
- 131 and 135, of the five nets of Table 2, freeze conv2's biases, too.

`alexnet claims` trains both sides of a comparison by one schedule. `imagenet2012` follows #145,
`imagenet2010` #145-2010 with `one drop`.

`fine-tuning` is the net of Table 2 that had been trained on Fall 2011. conv1 begins at 1e-4; fc8 is
at 1e-2 from the 300th file of 1,024 images until epoch 9. Its file has 0.022 for conv6's biases
where all others have 0.02, which is taken for a slip. It goes with `train.start_from` and
`train.epochs: 54`.

2012's dexp comes to its next step between files of 1,024 images (convnet.py:107), here between
updates.
"""

# What differs from the source and is no switch of the recipe: what, there, here, how much.
OTHERS = (
    ("resizing",
     "not in the release. C2 pyext.cpp:103-110: OpenCV's `INTER_AREA` where pictures are reduced, "
     "`INTER_CUBIC` where they are enlarged, the longer side rounded to the nearest, then JPEG of "
     "quality 95",
     "`resize.filter: bicubic`, torchvision's geometry, pixels kept as they are. `resize.filter: "
     "area` is C2's, in exact arithmetic: it differs from OpenCV 5.0's in 0.01 % of the values, by "
     "one level. `store.encoding: jpeg` has the JPEG",
     "on 227 ImageNet originals that are reduced: bicubic is 2.8 grey levels of 255 from area on "
     "average (4.1 with the JPEG), and its horizontal gradients are 8 % larger. On 23 that are "
     "enlarged, 1.8 levels from `INTER_CUBIC`"),
    ("batches",
     "S convdata_jpeg.py: chunks of 32 that share a crop, and minibatches, begin anew at each file "
     "of 1,024 images; an epoch of ILSVRC-2012 ends with a minibatch of 15",
     "one stream of images over all epochs; every batch is full",
     "none that we know of"),
    ("testing on CIFAR-10",
     "S convdata_cifar.py: nine views, three by three, none of them mirrored",
     "the same; metrics of these nine end in `_9crop`, where those of ten crops end in `_10crop`",
     "none"),
    ("11 % on CIFAR-10 (§3.3)",
     "C2 layers-cifar10-11pct.cfg: besides the normalisation, local3 has 64 filters and not 32, "
     "and fc10's decay is 0.01 and not 0.004; some 520 epochs",
     "`network.architecture: cifar-11pct` is that net; `cifar` with and without "
     "`network.normalization` is the net of 13 %, with nothing else changed",
     "§3.3's two points are not of the normalisation alone"),
    ("CIFAR-10 without augmentation",
     "S convdata_cifar.py, CIFARDataProvider: inputs of 32 x 32",
     "`recipe.crops: whole`; `centre` is the central 24 x 24",
     "1.8 times the work, and other shapes of the local layers"),
    ("the four-layer net of Fig. 1",
     "S layers-18pct.cfg has four learned layers, and two normalisations across pixels (size 3, "
     "scale 0.00005); S layers-conv-local-13pct.cfg, of §3.3, has five. No file has tanh",
     "`network.architecture: cifar-18pct` is the first without its normalisations, `cifar` the "
     "second",
     "which of them Fig. 1 shows is not published"),
    ("the schedule of 145-half (§3.2)",
     "S layer-params-145-half.cfg: drops at 20 and 48, the last not logged; conv1 at 66 and 72; "
     "stopped at 96",
     "no switch; `half` follows the schedule of the recipe, as the net that it is compared with",
     "not known"),
    ("ties in max-pooling",
     "S kLocalMaxUndo: every value that equals the maximum gets the gradient",
     "the first of them gets it",
     "none: on real pictures no window had a tie"),
)


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [HEAD, *_table(("switch", "what it is", "source", "paper"), (
        (f"[`{s.name}`](#{s.name})", s.meaning.split(":")[0], f"`{_as_yaml(s.source)}`",
         f"`{_as_yaml(s.paper)}`") for s in switches()))]
    for s in switches():
        meaning = f"{s.meaning[0].upper()}{s.meaning[1:]}."
        parts += [f"\n## {s.name}\n", markdown_lines(meaning) + "\n",
                  markdown_lines(f"- `source`: `{_as_yaml(s.source)}` ({s.source_evidence})"),
                  markdown_lines(f"- `paper`: `{_as_yaml(s.paper)}` ({s.paper_evidence})"),
                  markdown_lines(f"- expected to change: {s.effect}"),
                  markdown_lines(f"- values: {_values(s)}")]
    parts += [SCHEDULES, *_table(
        ("`recipe.schedule`", "file in S layers/", "drops by 10", "conv1 to 1e-5", "conv1 frozen",
         "colour noise off", "end"),
        ((f"`{name}`", f"`{log.file}`", ", ".join(map(str, log.drops)),
          *(str(epoch or "not logged") for epoch in (log.conv1_slowed, log.conv1_frozen,
                                                     log.noise_off)), str(log.epochs))
         for name, log in LOGS.items())), SCHEDULES_DIFFER,
        "## What has no switch in the recipe\n",
        *_table(("what", "2012", "here", "how much"), OTHERS)]
    return "\n".join(parts) + "\n"


def markdown_lines(text: str) -> str:
    """Return a paragraph, or an item of a list, in lines of at most 100 columns."""
    return textwrap.fill(text, 100, subsequent_indent="  " if text.startswith("- ") else "",
                         break_long_words=False, break_on_hyphens=False)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _values(switch: Switch) -> str:
    """Return the values that a switch can have, in words."""
    if switch.choices:
        return ", ".join(f"`{_as_yaml(choice)}`" for choice in switch.choices)
    if switch.bounds:
        return f"any number from {switch.bounds[0]:g} to {switch.bounds[1]:g}"
    return "any number"


def _as_yaml(value: object) -> str:
    """Return a value as it is written in params.yaml."""
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    print(page(), end="")
