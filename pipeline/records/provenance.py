"""What made the weights, in a file beside them: models/provenance.json.

The record in MLflow has this and more. This file goes with the weights wherever DVC takes them, and
the report shows it without a server. It names no place and no time: the same training leaves the
same file.

    weights_digest  trace_digest  configuration_digest  seed    the run
    configuration                                               the parameters that decide it
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

from pipeline.config.identity import configuration, with_switches
from pipeline.config.parameters import Parameters
from pipeline.config.paths import PROVENANCE, WEIGHTS
from pipeline.config.stages import stage_of
from pipeline.records.differences import DATA
from pipeline.system.errors import UserError
from pipeline.system.files import BROKEN_JSON, write_json

RUN = ("weights_digest", "trace_digest", "configuration_digest", "seed")
CODE = ("code_digest", "git_commit")
EXECUTION = ("device", "threads", "deterministic")
TRAINING = stage_of("train").sections
# of the section train, what says nothing of the weights, or how an evaluation computes
FREE = ("train.validate_every", "train.trace_every", "train.precision")


def write(tags: Mapping[str, str], texts: Mapping[str, str], metrics: Mapping[str, Any],
          parameters: Parameters) -> None:
    """Write the file from a training's record, the metrics of the stage and its parameters."""
    diff = texts.get("code.diff")
    write_json(PROVENANCE, {**{name: metrics[name] for name in RUN},
                            "configuration": configuration(parameters, TRAINING),
                            "data": {name: tags[name] for name in DATA if name in tags},
                            **{name: tags[name] for name in CODE},
                            "git_dirty": {"true": True, "false": False}.get(tags["git_dirty"]),
                            **({"code_diff_digest": hashlib.sha256(diff.encode()).hexdigest()}
                               if diff is not None else {}),
                            "environment_digest": tags["environment_digest"],
                            "environment": json.loads(texts["environment.json"]),
                            "execution": {name: tags[name] for name in EXECUTION if name in tags}})


def check_made_with(parameters: Parameters, weights_digest: str) -> None:
    """Refuse weights that were trained with other parameters than these, where the file beside them
    is about them and says so.

    Raises:
        UserError: they were; the message names the first parameter.
    """
    try:
        made = json.loads(PROVENANCE.read_text(encoding="utf-8"))
        if made["weights_digest"] != weights_digest:
            return
        stored = with_switches(made.get("configuration", {})) | {
            "train.seed": str(made["seed"])}
    except (FileNotFoundError, KeyError):
        return
    except (OSError, TypeError, AttributeError, *BROKEN_JSON) as error:
        raise UserError(f"{PROVENANCE}: damaged ({error}); train again") from None
    wanted = with_switches(configuration(parameters, TRAINING)) | {
        "train.seed": str(parameters.train.seed)}
    for name, value in stored.items():
        if name not in FREE and wanted.get(name, value) != value:
            raise UserError(f"{WEIGHTS}: trained with {name} {value}, and now it is "
                            f"{wanted[name]}; train again with `dvc repro train`, or set {name} "
                            "back")
