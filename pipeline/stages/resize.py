"""The `resize` stage: decodes every picture, brings its shorter side to 256 and keeps the central
256x256; yields the image store, data/store (pipeline.data.prepare)."""

from __future__ import annotations

from typing import Any

from pipeline.config.parameters import Parameters
from pipeline.config.paths import STORE
from pipeline.data.prepare import prepare
from pipeline.data.store import DOUBTFUL, QUARANTINE

ARTIFACTS = (STORE / QUARANTINE, STORE / DOUBTFUL)


def run(parameters: Parameters) -> dict[str, Any]:
    """Run the stage; returns and raises what `prepare` does."""
    return prepare(parameters)
