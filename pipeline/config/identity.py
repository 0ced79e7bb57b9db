"""Which configuration a run is of: all that decides its bits, except the seed.

Runs of one configuration are draws from one distribution; the gate and the claims compare by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alexnet.recipe import switches
from pipeline.config.parameters import Parameters
from pipeline.config.safe_yaml import flatten
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of

# The seed tells runs of a configuration apart; where the pictures lie, from where they came and how
# many may be damaged decides no bit.
APART = ("train.seed", "dataset.location", "dataset.origin", "dataset.incomplete",
         "resize.max_quarantined")
# What the code did before configurations had these keys; they are left out where it is the same.
# The switches are those that came with the ports.
BEFORE = {"train.arithmetic": "native", "resize.filter": "bicubic", "resize.mode": "centre",
          "train.stop_below": "null", "recipe.conv1_biases": "never frozen", "recipe.lrn_k": "2",
          "recipe.layer2_order": "relu-norm-pool", "recipe.crop_side": "224",
          "recipe.fc67_init_std": "0.01", "recipe.init": "normal", "recipe.init_bias": "1.0",
          "recipe.fc8_init_bias": "0.0", "recipe.dropout_place": "after",
          "recipe.input": "mean image"}
SECTIONS = tuple(name for name in Parameters.model_fields if name != "execution")


def flat_parameters(parameters: Parameters, sections: Iterable[str]) -> dict[str, str]:
    """Return `section.key` to value as text, the recipe's switches as they take effect."""
    values = parameters.model_dump(mode="json", include=set(sections))
    if "network" in values:
        values["network"]["architecture"] = parameters.architecture
    if "recipe" in values:
        values["recipe"] |= asdict(parameters.effective_recipe())
    return {name: as_text(value) for name, value in flatten(values).items()}


def as_text(value: Any) -> str:
    """Return a parameter's value as text: a string itself, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def configuration(parameters: Parameters, sections: Iterable[str] = SECTIONS) -> dict[str, str]:
    """Return `section.key` to value of all that decides the bits of a run but its seed.

    Switches of the recipe stand as they take effect, weights to start from as their SHA-256.
    """
    values = flat_parameters(parameters, sections)
    if values.get("train.start_from", "null") != "null":
        values["train.start_from"] = start_digest(parameters) or ""
    if values.get("recipe.conv1_freezing") == "true":  # in earlier runs of the weights alone
        values["recipe.conv1_biases"] = "frozen"
    return {name: value for name, value in sorted(values.items())
            if name not in APART and BEFORE.get(name) != value}


def with_switches(configured: Mapping[str, str]) -> dict[str, str]:
    """Return a configuration with the switches that it leaves out, as the code did before it had
    them."""
    names = {f"recipe.{switch.name}" for switch in switches()}
    return {name: value for name, value in BEFORE.items() if name in names} | dict(configured)


def digest(configured: Mapping[str, str]) -> str:
    """Return the SHA-256 of a configuration, in hexadecimal."""
    return hashlib.sha256(json.dumps(dict(sorted(configured.items()))).encode()).hexdigest()


def fits(stored: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Return whether they are one configuration, as far as both say.

    A parameter that was added after runs were stored stood, in effect, at what the code then did:
    at what `BEFORE` has, or at what it has now.
    """
    return not differing(stored, wanted)


def is_portable(configured: Mapping[str, str]) -> bool:
    """Return whether a configuration computes by portable arithmetic, whose bits no machine
    decides; where it names none, it is native."""
    return value_of(configured, "train.arithmetic") == "portable"


def differing(stored: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """Return the names of the values that make two configurations differ, sorted; see `fits`."""
    values = ((name, value_of(stored, name), value_of(wanted, name))
              for name in sorted(stored.keys() | wanted.keys()))
    return [name for name, was, is_now in values
            if was is not None and is_now is not None and was != is_now]


def value_of(configured: Mapping[str, str], name: str) -> str | None:
    """Return a value of a configuration; where it has none, what the code did before it had one.

    Parts of a configuration that is put together have prefixes: `start_from.train.epochs`.
    """
    return configured.get(name, BEFORE.get(".".join(name.split(".")[-2:])))


def start_digest(parameters: Parameters) -> str | None:
    """Return the SHA-256 of the file whose weights are fine-tuned; None if there is none."""
    file = parameters.train.start_from
    if file and Path(file).exists() and not Path(file).is_file():  # a device may have no end
        raise UserError(f"train.start_from: {file}: not a file of weights")
    try:
        return sha256_of(Path(file)) if file else None
    except OSError as error:
        raise UserError(f"train.start_from: {file}: {error.strerror}") from None
