"""A recorded training, ready to be computed again elsewhere: what reruns and audits have in common.

`restored()` puts code, parameters and data into work/reruns, never into the user's own files;
`Restored.train()` trains there, in processes of its own, as this project executes trainings.

A record from elsewhere is a stranger's word. Its code is not run unless the user trusts it: where
it has the digest of the code here, the code here runs. `recorded_parameters` says what else of it
is obeyed.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.paths import WORK
from pipeline.records import code_archive, environment
from pipeline.records.differences import Pairs, deciding_differences
from pipeline.records.kept_runs import KeptRun
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.recorded_parameters import (
    is_portable,
    processes_of,
    recorded_parameters,
    variables,
)
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock, write_json
from pipeline.system.journal import read_finished
from pipeline.system.project import CODE, home_folder
from pipeline.system.terminal import say
from pipeline.training import launcher
from pipeline.training.run_folder import learning_table

RERUNS = WORK / "reruns"


class NotComparable(Exception):
    """The run cannot be computed again here.

    Attributes:
        reasons: why.
        environment: what can change bits and differs: recorded, here.
    """

    def __init__(self, *reasons: str, environment: Pairs | None = None) -> None:
        super().__init__("; ".join(reasons))
        self.reasons, self.environment = reasons, environment or {}


@dataclass(frozen=True)
class Restored:
    """A recorded training that can be computed again.

    Attributes:
        kept: the record.
        code: that computes.
        parameters: by section, the execution that of this project.
        folder: of its own, for what is computed.
        data: the folder with the store, the mean and the colours.
        variables: of the processes.
        fingerprint: of this machine.
        differing: what in it can change bits and is not as it was recorded.
    """

    kept: KeptRun
    code: RestoredCode
    parameters: dict[str, Any]
    folder: Path
    data: Path
    variables: dict[str, str]
    fingerprint: dict[str, str]
    differing: Pairs

    @property
    def training(self) -> Path:
        """Return the folder of a training from the start by this code on this machine."""
        facts = self.fingerprint | {"code": self.kept.tag("code_digest")}
        return self.folder / f"training-{_short(facts)}"

    def train(self, training: Path, until: int) -> None:
        """Train in this folder to the step `until`, from the newest checkpoint there.

        Raises:
            UserError: a training process failed.
        """
        train_to(self.parameters, training, until, self.data, self.variables, self.code.train())


def train_to(parameters: Mapping[str, Any], training: Path, until: int, data: Path,
             environ: Mapping[str, str], command: Sequence[str]) -> None:
    """Train in the folder `training` to the step `until`, from the newest checkpoint there, on the
    data in the folder `data`.

    Raises:
        UserError: a training process failed.
    """
    execution = parameters["execution"]
    processes = processes_of(execution)
    write_json(training / "parameters.json", parameters)
    say(f"rerun: to step {until}, on {execution['device']}, {processes} "
        f"process{'es' * (processes > 1)}")
    more = {"OMP_NUM_THREADS": str(execution["threads"])} if processes > 1 else {}
    status = launcher.launch(training, processes, {**environ, **more}, until, data, command)
    if status:
        raise UserError(f"rerun: {launcher.describe_exit(status)}. The same command goes on from "
                        "the last checkpoint")


@contextmanager
def restored(kept: KeptRun, anyway: bool, trusted: bool) -> Iterator[Restored]:
    """Restore what a recorded training was made from, and remove it when the block ends well.

    Args:
        kept: the record.
        anyway: even where the environment differs in what can change bits.
        trusted: whether the user trusts whoever made the record.

    Raises:
        UserError: the record lacks something or is damaged, or its code is a stranger's.
        NotComparable: the environment is another, or the data cannot be had.
    """
    digests = recorded_data.recorded_digests(kept.facts.tags)
    made_on = kept.environment()
    own_code = kept.foreign and not trusted
    if own_code and kept.tag("code_digest") != environment.code_digest():
        raise UserError(f"run {kept.name} was made elsewhere, by code that is not the code here. "
                        "To rerun it is to run that code, which may do all that you may. "
                        "`alexnet diff latest RUN` names the files that differ; they are in "
                        f"{kept.file(code_archive.ARCHIVE)}. If you trust it, give the command "
                        "again with --trust")
    kept.check_files()
    with exclusive_lock(home_folder() / RERUNS / "lock", "another `alexnet rerun` or `audit`"):
        folder = (home_folder() / RERUNS / kept.name).resolve()
        code = RestoredCode(CODE) if own_code else _restored_code(kept, folder / "code")
        portable = is_portable(kept)  # then no variable and no machine decides a bit
        child_variables = code.environment(variables({} if portable else made_on))
        here = code.fingerprint(child_variables)
        differing = ({} if portable else
                     deciding_differences(made_on, here, kept.facts.tags.get("device", "cpu")))
        reasons = [f"{field}: {was} when it was recorded, {now} here"
                   for field, (was, now) in differing.items()]
        if "code_changed" in kept.facts.tags:
            reasons.append("its source files changed while it ran, so its record does not say "
                           "which code it was")
        if reasons and not anyway:
            raise NotComparable(*reasons, environment=differing)
        data = folder.with_name(f"data-{_short(digests)}")
        try:
            parameters = recorded_parameters(kept, trusted=not own_code)
            linked = recorded_data.restore(digests, data, code, parameters, child_variables,
                                           from_source=not own_code)
        except UserError as error:
            raise NotComparable(str(error)) from None
        yield Restored(kept, code, parameters, folder, data, child_variables, here, differing)
        shutil.rmtree(folder, ignore_errors=True)
        if linked:
            shutil.rmtree(data)
        elif data.exists():
            say(f"rerun: the data are left in {data}, for the next rerun; delete them as you like")


def recomputed(training: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the learning curve and the trace as a training wrote them: what has rotted since would
    count as a difference.

    Raises:
        UserError: it has.
    """
    try:
        learned, trace = read_finished(training, "learning.jsonl", "trace.jsonl")
    except (OSError, ValueError) as error:
        raise UserError(f"{training}: what the rerun has written there is damaged ({error}); "
                        "remove it, and the same command trains again") from None
    return _parsed(learned), _parsed(trace)


def as_text(points: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return the points of a learning curve as learning.csv has them."""
    return list(csv.DictReader(learning_table(points).decode().splitlines())) if points else []


def _restored_code(kept: KeptRun, folder: Path) -> RestoredCode:
    code_archive.unpack_code(kept.file(code_archive.ARCHIVE), folder, kept.tag("code_digest"))
    return RestoredCode(folder, kept.facts.tags.get("interface"))


def _parsed(lines: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.decode().splitlines()]


def _short(facts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode()).hexdigest()[:12]
