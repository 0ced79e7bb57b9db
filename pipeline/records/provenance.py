"""What made the weights, in a file beside them: models/provenance.json.

The record in MLflow has this and more. This file goes with the weights wherever DVC takes them, and
the report shows it without a server. It names no place and no time: the same training leaves the
same file.

    weights_digest  trace_digest  configuration_digest  seed    the run
    data                                                        digests of what the preparation
                                                                stages left
    code_digest  code_diff_digest  git_commit  git_dirty        the code that ran, and what of it no
                 commit has
    environment_digest  environment                             the machine and its software
    execution                                                   what of `execution` can change a bit
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config.paths import PROVENANCE
from pipeline.records.differences import DATA
from pipeline.system.files import write_json

RUN = ("weights_digest", "trace_digest", "configuration_digest", "seed")
CODE = ("code_digest", "git_commit")
EXECUTION = ("device", "threads", "deterministic")


def write(tags: Mapping[str, str], texts: Mapping[str, str], metrics: Mapping[str, Any]) -> None:
    """From the tags and texts of a training's record and the metrics of the stage."""
    diff = texts.get("code.diff")
    write_json(PROVENANCE, {**{name: metrics[name] for name in RUN},
                            "data": {name: tags[name] for name in DATA if name in tags},
                            **{name: tags[name] for name in CODE},
                            "git_dirty": {"true": True, "false": False}.get(tags["git_dirty"]),
                            **({"code_diff_digest": hashlib.sha256(diff.encode()).hexdigest()}
                               if diff is not None else {}),
                            "environment_digest": tags["environment_digest"],
                            "environment": json.loads(texts["environment.json"]),
                            "execution": {name: tags[name] for name in EXECUTION if name in tags}})
