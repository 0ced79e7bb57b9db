"""Runs one training that the evidence of a claim rests on again, and compares the digests, for
`alexnet claims verify`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.studies import experiments, run_sets
from pipeline.studies.claims.ledger import Claim
from pipeline.studies.claims.results import Results, StoredRun
from pipeline.studies.claims.running import run_configuration
from pipeline.studies.run_sets import DECODER, Run
from pipeline.system.errors import UserError
from pipeline.system.verdicts import DIFFERS, IDENTICAL, NOT_COMPARED, Verdict

NUMBERS = ("steps", "weights_digest", "training_loss", "validation_loss", "validation_error")


@dataclass(frozen=True)
class Verification:
    """The verdict on one run of the evidence.

    Attributes:
        claim, configuration, seed, scale: which run.
        verdict: on its digests and errors, against those of the run made now.
        pixels_digest: of the pictures that the evidence was made from.
        encoding: how they were stored, and by which decoder.
        detail: what was compared, the first difference, or why nothing was compared.
    """

    claim: str
    configuration: str
    seed: int
    scale: str
    verdict: Verdict
    pixels_digest: str
    encoding: str
    detail: str

    def as_json(self) -> dict[str, Any]:
        """Return what `alexnet claims verify --json` prints."""
        return asdict(self)


def stored_run(claim: Claim, results: Results, seed: int, configuration: str | None) -> StoredRun:
    """Return the run of the evidence that is to be verified.

    Args:
        claim: whose evidence.
        results: of a scale, with the data of the book.
        seed: of the run.
        configuration: one of the claim's; None for the first that is a training and has the seed.

    Raises:
        UserError: there is no such run, or it is an ensemble.
    """
    names = claim.configurations()
    if configuration is not None and configuration not in names:
        raise UserError(f"{claim.name}: compares {', '.join(names)}, not {configuration}")
    for name in [configuration] if configuration else names:
        if results.book.configurations[name].ensemble:
            continue
        for stored in results.stored(name):
            if stored.run.seed == seed and stored.key.total == results.expected(name)[0]:
                return stored
        for stored in results.stored(name):  # on other pictures: it will say so
            if stored.run.seed == seed:
                return stored
    raise UserError(f"{claim.name}: no training with seed {seed} is kept at the scale "
                    f"{results.scale}; `alexnet claims --json` has what is")


def verify(claim: Claim, results: Results, stored: StoredRun) -> Verification:
    """Run the training again, every stage of it, by the arithmetic of the evidence, and compare.

    Raises:
        UserError: a stage failed.
    """
    name, seed = stored.run_set.name, stored.run.seed
    results = Results(results.book.by(stored.key.arithmetic), results.scale, results.folder.parent)
    expected = results.expected(name)[0]
    if expected != stored.key.total:
        reason = (f"it was made of {stored.key.total:,} pictures in all; here are "
                  f"{expected or 0:,}")
        return _verification(claim, results, stored, NOT_COMPARED, reason)
    with experiments.one_at_a_time():
        new, where = run_configuration(results, name, seed, True,
                                       f"{results.scale}-{name}-seed-{seed}-verify")
    verdict, detail = compare(stored, new, where)
    return _verification(claim, results, stored, verdict, detail)


def compare(stored: StoredRun, new: Run, where: dict[str, str]) -> tuple[Verdict, str]:
    """Return the verdict on a run made in the environment `where`, and its reason."""
    old = stored.run
    pixels = [run.metrics["resize"]["pixels_digest"] for run in (old, new)]
    if pixels[0] != pixels[1]:
        return NOT_COMPARED, (f"other pixels: the evidence has pixels_digest {pixels[0][:16]}, "
                              f"{_encoding(stored)}; here is {pixels[1][:16]}, by "
                              f"{_decoder(where)}")
    first = _first_difference(old, new)
    if first is None:
        return IDENTICAL, ("weights, losses and errors, after "
                           f"{old.metrics['train']['steps']} updates")
    there, here = run_sets.deciding(stored.run_set.environment), run_sets.deciding(where)
    other = [f"{field} {there[field]}, here {here.get(field)}" for field in there
             if there[field] != here.get(field)]
    if other and stored.key.arithmetic == "native":
        return NOT_COMPARED, (f"native arithmetic, in another environment: {'; '.join(other)} "
                              f"({first})")
    return DIFFERS, (f"{first}; the evidence was made by the code "
                     f"{str(old.record.get('code_digest'))[:16]} of commit "
                     f"{str(old.record.get('git_commit'))[:12]}")


def _first_difference(old: Run, new: Run) -> str | None:
    for stage, names in (("train", NUMBERS), ("evaluate", tuple(old.metrics["evaluate"]))):
        for name in names:
            was, now = (run.metrics[stage].get(name) for run in (old, new))
            if None not in (was, now) and was != now:
                return f"{stage}.{name} {was}, here {now}"
    return None


def _encoding(stored: StoredRun) -> str:
    encoding = stored.run_set.configuration.get("store.encoding", "raw")
    return f"stored {encoding}, decoded by {_decoder(stored.run_set.environment)}"


def _decoder(environment: dict[str, str]) -> str:
    return ", ".join(f"{name} {environment.get(name, 'unknown')}" for name in DECODER)


def _verification(claim: Claim, results: Results, stored: StoredRun, verdict: Verdict,
                  detail: str) -> Verification:
    return Verification(claim.name, stored.run_set.name, stored.run.seed, results.scale, verdict,
                        stored.run.metrics["resize"]["pixels_digest"], _encoding(stored), detail)
