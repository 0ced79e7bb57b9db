"""The runs in experiments/results/SCALE, by what identifies evidence: the pictures, the
configuration, the arithmetic.

Runs on other pictures or by other arithmetic are never counted together. Runs of another
configuration than claims.yaml now has do not count at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import identity
from pipeline.config.parameters import Parameters
from pipeline.studies import run_sets
from pipeline.studies.claims.ledger import Book
from pipeline.studies.run_sets import Run, RunSet

RESULTS = Path("experiments/results")
ARITHMETIC = "train.arithmetic"  # of a configuration
NATIVE = "native"  # of runs from before there was a choice


@dataclass(frozen=True, order=True)
class EvidenceKey:
    """The identity of evidence at a scale, besides its configuration.

    Attributes:
        pictures: trained on.
        total: of all splits, those that could not be decoded included.
        arithmetic: by which it was computed.
    """

    pictures: int
    total: int
    arithmetic: str

    def __str__(self) -> str:
        return f"{self.pictures:,} pictures, {self.arithmetic} arithmetic"


def key_of(run: Run, run_set: RunSet) -> EvidenceKey:
    """Return what identifies a stored run."""
    counts = run.metrics.get("resize", {})
    pictures = int(counts.get("train_images", 0))
    total = int(counts.get("images", pictures)) + int(counts.get("quarantined", 0))
    return EvidenceKey(pictures, total, _arithmetic(run_set.configuration))


def _arithmetic(configuration: Mapping[str, str]) -> str:
    """Return the arithmetic of a configuration; of an ensemble's, that of its members."""
    return next((value for name, value in configuration.items()
                 if name == ARITHMETIC or name.endswith(f".{ARITHMETIC}")), NATIVE)


@dataclass(frozen=True)
class StoredRun:
    """A run, its file and what identifies it."""

    run: Run
    run_set: RunSet
    key: EvidenceKey


class Results:
    """All runs that are stored at a scale."""

    def __init__(self, book: Book, scale: str, folder: Path = RESULTS) -> None:
        self.book, self.scale, self.folder = book, scale, folder / scale
        self._stored: dict[str, list[StoredRun]] = {}
        self._expected: dict[str, tuple[int | None, str]] = {}  # pictures are counted once

    def stored(self, name: str) -> list[StoredRun]:
        """Return the runs of a configuration, as claims.yaml now has it."""
        if name not in self._stored:
            run_sets_ = [run_sets.read(file)
                         for file in sorted((self.folder / name).glob("*.json"))]
            declared = self.book.declared(self.scale, name) if run_sets_ else {}
            self._stored[name] = [StoredRun(run, run_set, key_of(run, run_set))
                                  for run_set in run_sets_
                                  if _fits(run_set.configuration, declared)
                                  for run in run_set.runs]
        return self._stored[name]

    def evidence_keys(self) -> list[EvidenceKey]:
        """Return what the stored runs are identified by, the most pictures first."""
        return sorted({stored.key for name in self.book.configurations
                       for stored in self.stored(name)}, reverse=True)

    def at(self, key: EvidenceKey) -> Evidence:
        """Return the runs that this identifies."""
        return Evidence(self, lambda name, stored: stored.key == key)

    def wanted(self) -> Evidence:
        """Return the runs that a run made now, on the data of the book, would belong to."""
        return Evidence(self, lambda name, stored: (
            stored.key.total, stored.key.arithmetic) == self.expected(name))

    def expected(self, name: str) -> tuple[int | None, str]:
        """Return the number of pictures (None where it is not known yet) and the arithmetic of a
        run of the configuration that is made now."""
        if name not in self._expected:
            member = name
            while members := self.book.configurations[member].ensemble:
                member = next(iter(members))
            parameters = self.book.parameters(self.scale, member, seed=1)
            self._expected[name] = (self._pictures(parameters),
                                    _arithmetic(identity.configuration(parameters)))
        return self._expected[name]

    def add(self, name: str, run: Run, environment: dict[str, str], command: str) -> Path:
        """Keep a run beside those with the same pictures, configuration, arithmetic and
        environment; one of the same seed is replaced."""
        declared = self.book.declared(self.scale, name)
        new = RunSet(name, declared, identity.digest(declared), environment, [run])
        for key in ("", f"-{key_of(run, new).pictures}", f"-{new.configuration_digest[:8]}"):
            file = self.folder / name / f"{run_sets.environment_key(environment)}{key}.json"
            old = run_sets.read(file) if file.exists() else None
            if old is None or not old.runs or not _fits(old.configuration, declared):
                kept, history = [], []  # of a configuration that is no more: they give way
                break
            if key_of(old.runs[0], old) == key_of(run, new):
                kept = [other for other in old.runs if other.seed != run.seed]
                history = list(old.history)
                break
        if history and history[-1]["command"] == command:
            history[-1] = {"command": command, "seeds": sorted({*history[-1]["seeds"], run.seed})}
        else:
            history.append({"command": command, "seeds": [run.seed]})
        self._stored.pop(name, None)
        return run_sets.write(RunSet(name, declared, new.configuration_digest, environment,
                                     [*kept, run], history), self.folder, file.name)

    def _pictures(self, parameters: Parameters) -> int | None:
        dataset, scale = parameters.dataset, self.book.scales[self.scale]
        if dataset.source == "sample":
            return dataset.sample.train_images + dataset.sample.val_images
        if dataset.source != "folder":
            return sum(scale.images)
        folder = Path(dataset.location or "")
        if not folder.is_dir():
            return None
        return sum(1 for split in ("train", "val") for _ in (folder / split).glob("*/*"))


@dataclass(frozen=True)
class Evidence:
    """The runs of a scale that count together.

    Attributes:
        results: all that is stored at the scale.
        accepts: whether a stored run of a configuration is one of them.
    """

    results: Results
    accepts: Callable[[str, StoredRun], bool]

    @property
    def scale(self) -> str:
        """The name of the scale."""
        return self.results.scale

    @property
    def folder(self) -> Path:
        """The folder in which the runs of the scale are kept."""
        return self.results.folder

    def stored(self, name: str) -> dict[int, StoredRun]:
        """Return the runs of a configuration by seed; of a seed that ran in two environments, the
        first."""
        return {stored.run.seed: stored for stored in reversed(self.results.stored(name))
                if self.accepts(name, stored)}

    def runs(self, name: str) -> Mapping[int, Run]:
        """Return the runs of a configuration by seed, in order."""
        return {seed: stored.run for seed, stored in sorted(self.stored(name).items())}

    def set_aside(self, name: str) -> Iterator[StoredRun]:
        """Yield the stored runs of a configuration that do not count here."""
        return (stored for stored in self.results.stored(name) if not self.accepts(name, stored))


def _fits(stored: Mapping[str, str], declared: Mapping[str, str]) -> bool:
    """Return whether they are one configuration, whatever the arithmetic."""
    return identity.fits(*({name: value for name, value in configuration.items()
                            if name != ARITHMETIC and not name.endswith(f".{ARITHMETIC}")}
                           for configuration in (stored, declared)))
