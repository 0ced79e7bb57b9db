"""Which configuration a run is of: all that decides its bits, except the seed.

Runs of one configuration are draws from one distribution; the gate and the claims compare by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.config.parameters import Parameters
from pipeline.records.record import flat
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of

# The seed tells runs of a configuration apart; where the pictures lie, whence they came and how
# many may be damaged decides no bit.
APART = ("train.seed", "dataset.location", "dataset.origin", "resize.max_quarantined")
# the sections that the stage `train` depends on, besides its data
TRAINING = ("network", "recipe", "train")


def configuration(parameters: Parameters, sections: Iterable[str] | None = None) -> dict[str, str]:
    """`section.key` to value, switches of the recipe as they take effect, weights to start from by
    their SHA-256.

    Of all sections but `execution`, or of these.
    """
    found = flat(parameters,
                 sections or [name for name in Parameters.model_fields if name != "execution"])
    if found.get("train.start_from", "null") != "null":
        found["train.start_from"] = start_digest(parameters) or ""
    return {name: value for name, value in sorted(found.items()) if name not in APART}


def digest(configured: Mapping[str, str]) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(json.dumps(dict(sorted(configured.items()))).encode()).hexdigest()


def fits(stored: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether they are one configuration, as far as both tell: a parameter that came into being
    after runs were stored stood, in effect, at what the code then did. Where it does not now, their
    metrics will part."""
    return all(wanted[name] == value for name, value in stored.items() if name in wanted)


def start_digest(parameters: Parameters) -> str | None:
    """The SHA-256 of the file whose weights are fine-tuned, if they are."""
    file = parameters.train.start_from
    try:
        return sha256_of(Path(file)) if file else None
    except OSError as error:
        raise UserError(f"train.start_from: {file}: {error.strerror}") from None
