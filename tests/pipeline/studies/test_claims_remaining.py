"""What the undecided claims would take: as the evidence in the repository has it, and by runs that
are counted by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipeline.studies.claims import ledger, remaining
from pipeline.studies.claims.ledger import Book
from pipeline.studies.claims.remaining import Remaining
from pipeline.studies.claims.results import Results
from tests.pipeline.studies.runs_of_seeds import HERE
from tests.pipeline.studies.runs_of_seeds import run as run_of_seed

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_has_what_the_evidence_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    assert remaining.PART.updated(page, remaining.table()) == page, \
        "fix it with: python -m pipeline.studies.claims.remaining"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments",
                    ignore=shutil.ignore_patterns("results"))
    return ledger.load()


def keep(book: Book, name: str, errors: list[float], seconds: float, train: int = 9469) -> None:
    """On all of Imagenette, or on a part."""
    val = book.scales["imagenette"].images[1]
    for seed, error in enumerate(errors, 1):
        made = run_of_seed(seed, evaluate__top1_error_10crop=error, resize__train_images=train,
                           resize__images=train + val, resize__quarantined=0)
        made.record["seconds"] = seconds
        Results(book, "imagenette").add(name, made, HERE, "alexnet claims run")


def by_name(book: Book) -> dict[str, Remaining]:
    return {each.claim.name: each for each in remaining.remaining(book)}


def test_what_has_not_been_run_takes_the_fewest_seeds_at_the_cheapest_scale(book: Book) -> None:
    found = by_name(book)
    columns = found["two-columns-top1"]
    assert (columns.scale, columns.seeds) == ("imagenette", 3)
    assert (len(columns.runs), columns.hours) == (6, None)
    assert found["cifar-error-with"].scale == "cifar10"
    assert found["one-net-top1"].scale == "imagenet"
    # computed, or of data that no scale has
    assert not {"parameters", "ilsvrc2010-top1", "fall2009-top1"} & found.keys()


def test_hours_are_those_of_the_runs_that_are_missing(book: Book) -> None:
    keep(book, "base", [0.40, 0.42, 0.41, 0.43], 3600.0)
    found = by_name(book)
    assert found["two-columns-top1"].runs == [("half", seed) for seed in (1, 2, 3)]
    assert found["two-columns-top1"].hours == pytest.approx(3.0)  # as `base`
    keep(book, "half", [0.45, 0.44, 0.43], 900.0)
    undecided = by_name(book)["two-columns-top1"]
    assert undecided.seeds is not None
    assert undecided.seeds > 4
    more = undecided.seeds
    assert set(undecided.runs) == ({("half", seed) for seed in range(4, more + 1)}
                                   | {("base", seed) for seed in range(5, more + 1)})
    assert undecided.hours == pytest.approx((more - 3) / 4 + (more - 4))


def test_what_is_decided_is_not_listed(book: Book) -> None:
    before = remaining.table()
    assert "| two-columns-top1 |" in before
    keep(book, "base", [0.40, 0.42, 0.41], 60.0)
    keep(book, "half", [0.50, 0.521, 0.51], 60.0)
    assert "| two-columns-top1 |" not in remaining.table() != before
    found = by_name(book)
    assert "two-columns-top1" not in found
    assert "normalization-top1" in found


def test_runs_on_a_part_decide_but_are_none_of_those_that_would_be_made(book: Book) -> None:
    keep(book, "base", [0.40, 0.42, 0.41, 0.43], 60.0, train=4000)
    found = by_name(book)["two-columns-top1"]
    assert (len(found.runs), found.hours) == (6, None)
    keep(book, "half", [0.50, 0.521, 0.51], 60.0, train=4000)
    assert "two-columns-top1" not in by_name(book)


def test_runs_on_other_pictures_have_no_hours_of_base(book: Book) -> None:
    keep(book, "base", [0.40, 0.42, 0.41], 60.0)
    found = by_name(book)
    assert found["pretraining-top1"].hours is None
    assert found["five-nets-gain-top1"].hours == pytest.approx(12 / 60)  # 12 trainings of a minute


def test_claims_on_epochs_count_the_seeds_that_follow(book: Book) -> None:
    found = by_name(book)
    assert len(found["biases-of-one"].runs) == 6
    assert len(found["dropout-iterations"].runs) == 6


def test_a_run_of_which_nothing_is_known_has_no_hours(book: Book) -> None:
    keep(book, "half", [0.50, 0.521, 0.51], 10.0)  # too short to have been the whole pipeline
    assert by_name(book)["two-columns-top1"].hours is None
