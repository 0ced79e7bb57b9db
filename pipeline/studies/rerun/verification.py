"""Is what is committed true? `verify()` makes every stage again and returns a `StageVerdict` each.

The committed code, parameters and dvc.lock are exported into work/verify, and the stages run there,
from the data set to the report. What each leaves is held against the hashes in dvc.lock, against
the files that are committed, and against those that lie here; each that differs is named.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.config import parameters as parameter_files
from pipeline.config.paths import ARCHIVES, PROVENANCE, REPORT, TRACE, VERIFIED, WORK, metrics_of
from pipeline.config.stages import STAGES, Stage
from pipeline.records.differences import compare_traces
from pipeline.studies.matrix.comparison import file_difference, lines_of_json
from pipeline.studies.rerun import recorded_data
from pipeline.studies.rerun.restoration import recomputed, train_to
from pipeline.system.errors import UserError
from pipeline.system.files import exclusive_lock, write_json
from pipeline.system.git import GitError, run_git
from pipeline.system.processes import run_child
from pipeline.system.project import environment, home_folder, python
from pipeline.system.terminal import say
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict

LOCK, VERIFICATION = Path("dvc.lock"), WORK / "verify"
# of models/provenance.json, what does not say where a training ran, or of which commit its code was
MADE = ("weights_digest", "trace_digest", "configuration_digest", "seed", "configuration", "data",
        "execution")
# what the page says of the training by MLflow's store, where one in another folder is not
OF_THE_STORE = re.compile(r"<dt>(?:Trained|Cost)</dt><dd>[^<]*</dd>\s*")
REPORT_METRICS = metrics_of("report")  # the digest of the page


@dataclass(frozen=True)
class StageVerdict:
    """What became of a stage: `detail` names each file that differs, or why none was compared."""

    stage: str
    verdict: Verdict
    detail: str


@dataclass
class _Copy:
    """The folder in which stages are made again.

    Attributes:
        folder: absolute.
        lock: the stages of dvc.lock; none where there is no such file.
        committed: the MD5 of committed files that stages make, by path.
        hashes: the MD5, as dvc.lock has them, of what is in the folder, by path.
        failed: the first stage that left nothing to go on from.
    """

    folder: Path
    lock: Mapping[str, Any]
    committed: dict[str, str]
    hashes: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    def named(self, stage: Stage, kind: str) -> dict[str, str]:
        """Return the MD5 that dvc.lock names for the `outs` or `deps` of a stage, by path."""
        return {str(row["path"]): str(row.get("md5")) for row in
                self.lock.get(stage.name, {}).get(kind, [])}

    def hash(self, path: str) -> str:
        """Return the MD5 of a file or folder here, read once."""
        if path not in self.hashes:
            self.hashes[path] = dvc_hash(self.folder / path)
        return self.hashes[path]


def verify(taken: Collection[str] = (), steps: int | None = None) -> list[StageVerdict]:
    """Make the stages again and compare.

    Args:
        taken: stages whose outputs are taken from here or from DVC's cache, by dvc.lock's hashes.
        steps: train only so far; what the stages after it read is then taken, too.

    Raises:
        UserError: nothing is committed here, or dvc.lock is damaged.
    """
    with exclusive_lock(home_folder() / VERIFICATION / "lock", "another `alexnet verify`"):
        copy = _exported((home_folder() / VERIFICATION / "project").resolve())
        verdicts = []
        for stage in STAGES:
            say(f"verify: {stage.name}")
            verdicts.append(_verified(copy, stage, stage.name in taken, steps))
        shutil.rmtree(copy.folder)
    return verdicts


def note(verdicts: Sequence[StageVerdict], command: str) -> None:
    """Write what a verification found into experiments/verified.json, for the report to show."""
    trained = metrics_of("train")
    write_json(VERIFIED, {
        "when": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), "command": command,
        "commit": run_git("rev-parse", "HEAD").decode().strip(),
        "weights_digest": json.loads(trained.read_text())["weights_digest"]
        if trained.exists() else None,
        "stages": [asdict(verdict) for verdict in verdicts]})


def _exported(folder: Path) -> _Copy:
    """Export what is committed, less what stages make."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(run_git("archive", "--format=tar", "HEAD"))) as opened:
            opened.extractall(folder, filter="data")
    except (GitError, tarfile.TarError) as error:
        raise UserError(f"nothing is committed here that could be verified ({error})") from None
    if not (folder / LOCK).exists():
        say("verify: dvc.lock is not committed" + "; the one that lies here is taken"
            * LOCK.exists())
    try:
        file = folder / LOCK if (folder / LOCK).exists() else LOCK
        lock = dict(yaml.safe_load(file.read_text())["stages"]) if file.exists() else {}
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"dvc.lock: damaged ({error}); `alexnet mend`") from None
    outputs = [path for stage in STAGES for path in _outputs(stage)]
    committed = {name: _md5(folder / name) for path in outputs for name in _names(folder, path)}
    for path in outputs:
        recorded_data.remove(folder / path)
    location = parameter_files.load(folder / "params.yaml").dataset.location or ARCHIVES
    if (home_folder() / location).exists() and not (folder / location).exists():
        (folder / location).parent.mkdir(parents=True, exist_ok=True)
        (folder / location).symlink_to(home_folder() / location)
    return _Copy(folder, lock, committed)


def _verified(copy: _Copy, stage: Stage, taken: bool, steps: int | None) -> StageVerdict:
    if copy.failed:
        return StageVerdict(stage.name, NOT_COMPARED, f"{copy.failed} has left nothing to go on "
                                                      "from")
    differing = [*_stale(copy, stage)]
    beginning = stage.name == "train" and steps is not None and not taken
    if beginning:
        assert steps
        differing += _beginning_differs(copy, steps)
    if beginning or taken:
        done = _take(copy, stage)
        return StageVerdict(
            stage.name, DIFFERS if differing else IDENTICAL if beginning else NOT_COMPARED,
            "; ".join([*(differing or [f"the first {steps} steps are equal"] * beginning), done]))
    status = run_child(python(stage.name), _variables(copy.folder), copy.folder, output=2)
    if status:
        copy.failed = stage.name
        return StageVerdict(stage.name, NOT_COMPARED, f"it ended with status {status}, for the "
                                                      "reason above")
    unknown = _take_over(copy, stage)
    apart = {path for path, depends in ((PROVENANCE, PROVENANCE), (REPORT, REPORT),
                                        (REPORT_METRICS, REPORT)) if not depends.exists()}
    compared = [path.as_posix() for path in _outputs(stage) if path not in apart]
    known = [path for path in compared if Path(path).exists() or path in copy.committed
             or path in copy.named(stage, "outs")]
    differing += [line for path in known for line in _differences(copy, stage, path)]
    if not known:
        unknown = "neither dvc.lock nor this folder has what it makes"
    verdict = DIFFERS if differing else NOT_COMPARED if unknown else IDENTICAL
    return StageVerdict(stage.name, verdict, "; ".join(differing) or unknown or ", ".join(known))


def _stale(copy: _Copy, stage: Stage) -> Iterator[str]:
    """Yield what dvc.lock says of the stage's code, data and parameters, and is not so."""
    for path, md5 in copy.named(stage, "deps").items():
        if (copy.folder / path).exists() and copy.hash(path) != md5:
            yield f"{path}: as a dependency dvc.lock names {md5}, and it has {copy.hash(path)}"
    values = yaml.safe_load((copy.folder / "params.yaml").read_text())
    for key, recorded in copy.lock.get(stage.name, {}).get("params", {}).get(
            "params.yaml", {}).items():
        section, _, name = key.partition(".")
        value = values.get(section, {}).get(name) if name else values.get(section)
        if value != recorded:
            yield f"params.yaml: {key} is not as in dvc.lock"


def _differences(copy: _Copy, stage: Stage, path: str) -> Iterator[str]:
    """Yield each file of an output that is not as it lies here or is committed, and the output
    where dvc.lock names another hash."""
    for name in sorted({*_names(copy.folder, Path(path)), *_names(Path(), Path(path))}):
        made, here = copy.folder / name, Path(name)
        if here.exists() != made.exists() and Path(path).exists():
            yield f"{name}: only {'here' if here.exists() else 'where it was made again'}"
        elif here.exists() and made.exists() and (first := file_difference(here, made)):
            yield f"{name}: the file here is not what the stage makes ({first})"
        if made.exists() and copy.committed.get(name, _md5(made)) not in (
                _md5(made), _md5(here) if here.exists() else ""):
            yield f"{name}: the committed file is not what the stage makes"
    md5 = copy.named(stage, "outs").get(path)
    if md5 and md5 != copy.hash(path):
        yield f"{path}: dvc.lock names {md5}, and made again it has {copy.hash(path)}"


def _take_over(copy: _Copy, stage: Stage) -> str:
    """Have the copy take what depends on where a stage ran from here, if all else is equal; return
    why that cannot be said of the page, "" where it can. Of the provenance the metrics say it."""
    if stage.name == "train" and PROVENANCE.exists():
        here, made = (json.loads((folder / PROVENANCE).read_text()) for folder in
                      (Path(), copy.folder))
        if all(here.get(name) == made.get(name) for name in MADE):
            shutil.copy(PROVENANCE, copy.folder / PROVENANCE)
    if stage.name != "report":
        return ""
    if not REPORT.exists():
        return f"{REPORT} is not here, and its hash covers the time of the training"
    page = REPORT.read_text()
    if same_page(page, (copy.folder / REPORT).read_text()):
        shutil.copy(REPORT, copy.folder / REPORT)
        write_json(copy.folder / REPORT_METRICS,
                   {"report_digest": hashlib.sha256(page.encode()).hexdigest()})
    return ""


def same_page(here: str, made: str) -> bool:
    """Return whether two pages of the report are equal but for the time and cost of the training,
    which MLflow's store alone has."""
    return OF_THE_STORE.sub("", here) == OF_THE_STORE.sub("", made)


def _take(copy: _Copy, stage: Stage) -> str:
    """Put the stage's outputs, as dvc.lock names them, into the copy; return what became of it."""
    for path, md5 in copy.named(stage, "outs").items():
        if Path(path).exists() and dvc_hash(Path(path)) == md5:
            recorded_data.link(home_folder() / path, copy.folder / path)
        elif not recorded_data.link_cached(md5, copy.folder / path):
            copy.failed = stage.name
            return f"{path}: neither here nor in DVC's cache is what dvc.lock names"
    if not copy.named(stage, "outs"):
        copy.failed = stage.name
    return "taken from here or from DVC's cache, as dvc.lock names it"


def _beginning_differs(copy: _Copy, steps: int) -> Iterator[str]:
    """Train the first steps; yield the first difference from the trace that lies here."""
    from pipeline.training.execution import resolve

    training = copy.folder / WORK / "beginning"
    trace = lines_of_json(TRACE)
    until = max((entry["step"] for entry in trace if entry["step"] <= steps), default=1)
    parameters = resolve(parameter_files.load(copy.folder / "params.yaml"))
    train_to(parameters.model_dump(mode="json"), training, until, copy.folder,
             _variables(copy.folder), python("train"))
    first = compare_traces(trace, recomputed(training)[1], until).first
    if first:
        yield f"{TRACE}: {first}"


def _outputs(stage: Stage) -> list[Path]:
    return [*stage.outputs, *stage.about, metrics_of(stage.name)]


def _names(folder: Path, path: Path) -> list[str]:
    """Return the files of an output, by their paths in the folder."""
    files = [folder / path] if (folder / path).is_file() else (folder / path).rglob("*")
    return sorted(file.relative_to(folder).as_posix() for file in files
                  if file.is_file() and "__pycache__" not in file.parts)


def _variables(folder: Path) -> dict[str, str]:
    """Return the variables of a stage there, whose record stays there, too."""
    return environment(folder, {name: value for name, value in os.environ.items()
                                if not name.startswith(("MLFLOW_", "DVC_"))})


def dvc_hash(path: Path) -> str:
    """Return the MD5 of a file, or of a folder's listing, as dvc.lock has it; "" of nothing."""
    if not path.is_dir():
        return _md5(path) if path.exists() else ""
    listing = json.dumps([{"md5": _md5(path / name), "relpath": name}
                          for name in _names(path, Path())])
    return f"{hashlib.md5(listing.encode(), usedforsecurity=False).hexdigest()}.dir"


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
