"""What makes the run repeatable: every digest, the environment, the parameters; and how this stack
reproduces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet.recipe import recipe, switches
from pipeline.config.parameters import Parameters
from pipeline.report.inputs import Inputs

# Of models/provenance.json, with words for people.
CODE = {"code_digest": "code", "code_diff_digest": "changes that no commit has",
        "git_commit": "git commit"}
# What docs/deviations.md, which has the same words, has further down.
BELOW = re.compile(r"\[Below\]\(#[a-z0-9-]+\) are")


# --- digests ---

def digests(inputs: Inputs) -> list[tuple[str, str]]:
    """Return the digests that two runs compare to know whether they are the same, each with its
    name."""
    metrics = inputs.metrics
    return [("weights", metrics["train"]["weights_digest"]),
            ("trace", metrics["train"]["trace_digest"]),
            ("pixels and labels", metrics["resize"]["pixels_digest"]),
            ("mean image", metrics["mean"]["mean_digest"]),
            ("colour components", metrics["pca"]["pca_digest"])]


def more_digests(inputs: Inputs) -> list[tuple[str, str]]:
    """Return the digests of what they were made with: configuration, listing of the data, code,
    environment, lock file."""
    made = inputs.provenance
    if made is None:
        return []
    digests = [("configuration (parameters but the seed)", made["configuration_digest"])]
    digests += [("listing of the data set", made["data"]["download.listing_digest"])] \
        if "download.listing_digest" in made["data"] else []
    digests += [(words, made[name]) for name, words in CODE.items() if name in made]
    return [*digests, ("environment", made["environment_digest"]),
            ("lock file", made["environment"]["lock_digest"])]


def environment(inputs: Inputs) -> list[tuple[str, str]]:
    """Return machine and software of the training, and what of its execution can change a bit."""
    made = inputs.provenance
    if made is None:
        return []
    facts = {name: value for name, value in made["environment"].items() if name != "lock_digest"}
    return [*facts.items(),
            *((name, value) for name, value in made["execution"].items() if name not in facts)]


# --- the matrix ---

def other_stack(inputs: Inputs) -> list[str]:
    """Return the names of what differs between the matrix's stack and that of the training."""
    if inputs.matrix is None or inputs.provenance is None:
        return []
    here, there = inputs.provenance["environment"], inputs.matrix.stack
    return [name for name in there if name in here and name != "lock_followed"
            and here[name] != there[name]]


# --- parameters ---

@dataclass(frozen=True)
class Choice:
    """A switch of the recipe: its value here and as the recipe has it."""

    name: str
    value: Any
    recipe: Any
    meaning: str

    @property
    def changed(self) -> bool:
        """Whether it differs from the recipe."""
        return bool(self.value != self.recipe)


def choices(parameters: Parameters) -> list[Choice]:
    """Return every switch of the recipe, as it takes effect."""
    named = recipe(parameters.recipe.name)
    chosen = parameters.effective_recipe()
    return [Choice(switch.name, getattr(chosen, switch.name), getattr(named, switch.name),
                   BELOW.sub("`docs/deviations.md` has", switch.meaning))
            for switch in switches()]


def settings(parameters: Parameters) -> list[tuple[str, Any]]:
    """Return every parameter that decides the bits, by its full name, but the recipe's, which
    `choices` has. The location of the data and the section `execution` are left out: they decide no
    bit, and the page must be the same without them. Of a file of weights to start from, only the
    name is given."""
    dataset = parameters.dataset
    settings: list[tuple[str, Any]] = [("dataset.source", dataset.source)]
    if dataset.incomplete:
        settings.append(("dataset.incomplete", True))
    if dataset.source == "sample":
        settings += [(f"dataset.sample.{name}", value)
                  for name, value in dataset.sample.model_dump().items()]
    for section in ("resize", "store", "network", "train"):
        settings += [(f"{section}.{name}", value)
                  for name, value in getattr(parameters, section).model_dump().items()]
    return [(name, Path(value).name if name == "train.start_from" and value else value)
            for name, value in settings]
