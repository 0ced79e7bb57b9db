"""docs/deviations.md, made from the switches: `python -m alexnet.deviations > docs/deviations.md`."""

from __future__ import annotations

from alexnet.recipe import switches

HEAD = """\
# Where the paper and its own source disagree

Made from `alexnet/recipe.py` by `python -m alexnet.deviations`; a test holds the two together.

There are two recipes. `source` follows the original 2012 code, configuration 145, whose logged errors are the paper's
numbers; `paper` follows the text to the letter. Each row is one key of the `recipe` section in `params.yaml`: set it to
change that choice alone, whatever the recipe. `S` cites the original source as released by the Computer History Museum,
`C2` its successor cuda-convnet2, `P §n` a section of the paper. Some keys are the same in both recipes; they are here
because today's habit is another.

Expect `paper` to start hard: with 0.01 in every layer the image hardly reaches the logits (a spread of 0.0035 against
0.05), and colour noise by eigenvalues of raw pixel values, as printed, is of a thousand grey levels and drowns the
picture. Setting `recipe.colour_noise` to `stdev` or `eigenvalue-unit` and `recipe.conv345_init_std` to 0.03 makes the
rest of its letter trainable. A run that stays at the loss of guessing says so.
"""


def page() -> str:
    """The whole page, Markdown."""
    parts = [HEAD, "| switch | what it is | source | paper |", "|---|---|---|---|"]
    parts += [f"| [`{s.name}`](#{s.name}) | {s.meaning.split(':')[0]} | `{_shown(s.source)}` | `{_shown(s.paper)}` |"
              for s in switches()]
    for s in switches():
        allowed = ", ".join(f"`{_shown(choice)}`" for choice in s.choices) if s.choices else \
            f"any number from {s.bounds[0]:g} to {s.bounds[1]:g}" if s.bounds else "any number"
        parts += [f"\n## {s.name}\n", f"{s.meaning[0].upper()}{s.meaning[1:]}.\n",
                  f"- `source`: `{_shown(s.source)}` ({s.source_evidence})",
                  f"- `paper`: `{_shown(s.paper)}` ({s.paper_evidence})",
                  f"- expected to change: {s.effect}",
                  f"- values: {allowed}"]
    return "\n".join(parts) + "\n"


def _shown(value: object) -> str:
    """As one writes it in params.yaml."""
    return str(value).lower() if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    print(page(), end="")
