"""Makes docs/deviations.md of the switches: `python -m alexnet.deviations > docs/deviations.md`."""

from __future__ import annotations

from alexnet.recipe import Switch, switches

HEAD = """\
# Where the paper and its own source disagree

Made from `alexnet/recipe.py` by `python -m alexnet.deviations`; a test holds the two together.

There are two recipes. `source` follows the original 2012 code, configuration 145, whose logged
errors are the paper's numbers; `paper` follows the text to the letter. Each row is one key of the
`recipe` section in `params.yaml`: set it to change that choice alone, whatever the recipe. `S`
cites the original source as released by the Computer History Museum, `C2` its successor
cuda-convnet2, `P §n` a section of the paper. Some keys are the same in both recipes; they are here
because today's habit is another.

Expect `paper` to start hard: with 0.01 in every layer the image hardly reaches the logits (a spread
of 0.0035 against 0.05), and colour noise by eigenvalues of raw pixel values, as printed, is of a
thousand grey levels and drowns the picture. Setting `recipe.colour_noise` to `stdev` or
`eigenvalue-unit` and `recipe.conv345_init_std` to 0.03 makes the rest of its letter trainable. A
run that stays at the loss of guessing says so.
"""


def page() -> str:
    """Return the whole page, in Markdown."""
    parts = [HEAD, "| switch | what it is | source | paper |", "|---|---|---|---|"]
    parts += [f"| [`{s.name}`](#{s.name}) | {s.meaning.split(':')[0]} | `{_as_yaml(s.source)}` "
              f"| `{_as_yaml(s.paper)}` |" for s in switches()]
    for s in switches():
        parts += [f"\n## {s.name}\n", f"{s.meaning[0].upper()}{s.meaning[1:]}.\n",
                  f"- `source`: `{_as_yaml(s.source)}` ({s.source_evidence})",
                  f"- `paper`: `{_as_yaml(s.paper)}` ({s.paper_evidence})",
                  f"- expected to change: {s.effect}",
                  f"- values: {_values(s)}"]
    return "\n".join(parts) + "\n"


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
