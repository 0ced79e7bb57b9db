"""The ledger: every claim well formed, numbers and intervals those of slow arithmetic, verdicts
honest both ways."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from scipy import stats

from alexnet.recipe import switches
from pipeline.commands import claims
from pipeline.commands.main import main
from pipeline.report import figure_1
from pipeline.studies.claims import cost, evidence, ledger, running, verification
from pipeline.studies.claims.evidence import LedgerRow, epochs_to, needed, next_needed, rows
from pipeline.studies.claims.ledger import Book, Claim, Epochs
from pipeline.studies.claims.results import Results
from pipeline.studies.run_sets import Run, environment_key, given_command
from pipeline.system import dvc
from pipeline.system.errors import UserError
from tests.pipeline.studies.runs_of_seeds import HERE
from tests.pipeline.studies.runs_of_seeds import run as run_of_seed

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments",
                    ignore=shutil.ignore_patterns("results"))
    return tmp_path


@pytest.fixture
def book() -> Book:
    return ledger.load()


def keep(results: Results, name: str, errors: list[float], first: int = 1, **more: Any) -> None:
    for seed, error in enumerate(errors, first):
        results.add(name, run_of_seed(seed, evaluate__top1_error_10crop=error, **more), HERE,
                    "alexnet claims run")


def row(claim: Claim, results: Results) -> LedgerRow:
    """The only one."""
    [only] = rows(claim, results)
    return only


def test_every_number_that_the_facts_list_is_there(book: Book) -> None:
    numbers = {(claim.name, claim.paper, claim.log) for claim in book.claims}
    for wanted in (("relu-against-tanh", 6, None), ("two-columns-top1", 1.7, 1.695),
                   ("normalization-top5", 1.2, 1.152), ("overlapping-pooling-top1", 0.4, 0.394),
                   ("ilsvrc2010-top1", 37.5, 37.473), ("one-net-top5", 18.2, 18.21),
                   ("five-nets-top5", 16.4, None), ("seven-nets-top5", 15.4, None),
                   ("five-nets-top1", 38.1, None), ("seven-nets-top1", 36.7, None),
                   ("pretrained-top1", 39.0, 38.99), ("pretrained-top5", 16.6, 16.622),
                   ("cifar-error-without", 13, None), ("cifar-error-with", 11, None),
                   ("parameters", 60, None), ("largest-convolution", 1, None),
                   ("depth-fc6", None, None), ("depth-fc7", None, None),
                   ("no-augmentation", None, None), ("biases-of-one", None, None),
                   ("two-columns-time", None, None),
                   ("pretraining-top1", 1.7, 1.674), ("ten-crops-top1", 1.5, 1.552),
                   ("fall2009-top1", 67.4, None)):
        assert wanted in numbers
    assert len({claim.name for claim in book.claims}) == len(book.claims)


def test_every_claim_can_be_configured_at_every_scale_that_it_names(book: Book) -> None:
    for claim in book.claims:
        for scale in claim.scales if claim.measure else ():
            for name in claim.configurations():
                for part, seed in evidence.with_parts(name, 1, book.configurations):
                    if not book.configurations[part].ensemble:
                        assert book.parameters(scale, part, seed).train.seed == seed


def test_every_switch_that_differs_between_the_recipes_is_a_claim(book: Book) -> None:
    for switch in switches():
        if switch.source != switch.paper:
            name = switch.name.replace("_", "-")
            assert book.claim(f"switch-{name}").configurations() == [f"paper-{name}", "base"]
            read = book.parameters("sample", f"paper-{name}", 1).effective_recipe()
            assert getattr(read, switch.name) == switch.paper


@pytest.mark.parametrize(("claim", "architecture", "pixels", "batch"), [
    ("relu-against-tanh", "cifar-18pct", "whole", 128),
    ("relu-against-tanh-local", "cifar", "whole", 128),
    ("relu-against-tanh-part", "cifar", "centre", 32)])
def test_figure_1_has_nothing_that_regularises(book: Book, claim: str, architecture: str,
                                               pixels: str, batch: int) -> None:
    measure = book.claim(claim).measure
    assert isinstance(measure, Epochs)
    for side, neuron in ((measure.slow, "tanh"), (measure.fast, "relu")):
        rates = []
        for name in side:
            read = book.parameters("cifar10", name, 1)
            recipe = read.effective_recipe()
            rates.append(recipe.weight_lr)
            assert recipe.bias_lr == 2 * recipe.weight_lr
            assert (read.network.neuron, read.network.architecture, read.network.normalization) == (
                neuron, architecture, False)
            assert (recipe.weight_decay, recipe.bias_decay, recipe.colour_noise, recipe.crops,
                    recipe.schedule) == (0, 0, "none", pixels, "flat")
            assert (read.train.batch, read.network.dropout) == (batch, False)
        if claim == "relu-against-tanh-part":
            assert sorted(rates) == {"tanh": [0.001, 0.002, 0.004, 0.008],
                                     "relu": [0.00025, 0.0005, 0.001, 0.002, 0.004]}[neuron]
        else:
            assert rates == [0.0005, 0.001, 0.002, 0.004, 0.008, 0.016]


def test_a_screened_configuration_is_the_beginning_of_the_one_that_goes_on(book: Book) -> None:
    for claim in ("relu-against-tanh", "relu-against-tanh-local"):
        measure = book.claim(claim).measure
        assert isinstance(measure, Epochs)
        for tanh, relu in zip(measure.slow, measure.fast, strict=True):
            long, short, partner = (book.parameters("cifar10", name, 1).model_dump()
                                    for name in (relu, measure.short(relu), tanh))
            assert (short["train"].pop("epochs"), short["train"].pop("stop_below")) == (3, None)
            assert (long["train"].pop("epochs"), long["train"].pop("stop_below")) == (60, 0.25)
            assert short == long
            assert (partner["train"].pop("epochs"), partner["train"].pop("stop_below")) == (60,
                                                                                            0.25)
            assert (partner["network"].pop("neuron"), long["network"].pop("neuron")) == ("tanh",
                                                                                         "relu")
            assert partner == long


def test_the_pictures_of_a_scale_may_lie_anywhere(book: Book, tmp_path: Path) -> None:
    for folders, source in (((), "cifar10"), (("train", "val"), "folder")):
        for folder in folders:
            (tmp_path / "pictures" / folder).mkdir(parents=True)
        moved = book.at("cifar10", tmp_path / "pictures")
        dataset = moved.parameters("cifar10", "base", 1).dataset
        assert (dataset.source, dataset.location) == (source, tmp_path / "pictures")
        assert moved.declared("cifar10", "base") == book.declared("cifar10", "base")
    assert book.at("cifar10", None) is book


def test_what_params_yaml_was_set_to_does_not_move_a_claim(book: Book) -> None:
    before = book.declared("sample", "base")
    text = Path("params.yaml").read_text()
    for old, new in (("width: 0.25", "width: 0.5"), ("lrn_divisor: null", "lrn_divisor: none"),
                     ("epochs: 16", "epochs: 3"), ("neuron: relu", "neuron: tanh"),
                     ("train_images: 1200", "train_images: 77")):
        assert old in text
        text = text.replace(old, new)
    Path("params.yaml").write_text(text)
    assert ledger.load().declared("sample", "base") == before


def test_a_paired_difference_and_its_interval_are_those_of_the_textbook(book: Book) -> None:
    results = Results(book, "sample")
    base, other = [0.10, 0.12, 0.09, 0.11], [0.15, 0.17, 0.145, 0.16]
    keep(results, "base", base)
    keep(results, "no-normalization", [*other, 0.9])  # a fifth seed that base has not
    found = row(book.claim("normalization-top1"), results)
    differences = 100 * (np.array(other) - np.array(base))
    low, high = stats.t.interval(0.99, 3, differences.mean(), stats.sem(differences))
    assert found.ours == pytest.approx(differences.mean())
    assert found.interval == pytest.approx((low, high))
    assert found.sd == pytest.approx(differences.std(ddof=1))
    assert (found.verdict, found.seeds) == ("direction only", 4)
    told = found.as_json()
    assert list(told)[:8] == ["claim", "section", "paper", "ours", "interval", "seeds", "scale",
                              "verdict"]
    assert (told["paper"], told["seeds"], told["scale"]) == (1.4, 4, "sample")
    assert (told["data"], told["test"], told["margin"]) == ("ILSVRC-2012 validation", "positive",
                                                            0.7)
    assert (told["pictures"], told["arithmetic"]) == (1200, "portable")
    assert told["power"].endswith("seeds, at the spread seen")


@pytest.mark.parametrize(("others", "verdict"),
                         [([0.130, 0.131, 0.129], "direction only"),
                          ([0.070, 0.071, 0.069], "contradicted"),
                          ([0.05, 0.11, 0.16], "undecided at this scale (needs 126 seeds)"),
                          ([0.13, 0.14], "undecided at this scale (needs 4 seeds)"),
                          ([0.13], "undecided at this scale (needs 3 seeds)"), ([], "not yet run")])
def test_the_verdict_on_a_direction(book: Book, others: list[float], verdict: str) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.10, 0.10, 0.10])
    keep(results, "half", others)
    assert row(book.claim("two-columns-top1"), results).words == verdict


WHOLE = {"resize__train_images": 1281167, "resize__images": 1331167, "resize__quarantined": 0}


def of_width(book: Book, width: float, folder: str, **counts: int) -> Results:
    """Normalisation worth so many points on three seeds, which hardly differ."""
    results = Results(book, "imagenet", Path(folder))
    keep(results, "base", [0.40, 0.41, 0.42], **counts)
    keep(results, "no-normalization",
         [0.40 + (width - 0.05) / 100, 0.41 + width / 100, 0.42 + (width + 0.05) / 100], **counts)
    return results


@pytest.mark.parametrize(("width", "verdict"), [
    (1.4, "size reproduced"), (1.7, "size reproduced"), (5.0, "direction only"),
    (0.8, "direction only"), (-1.4, "contradicted")])
def test_on_the_papers_own_data_its_number_is_tested_too(book: Book, width: float,
                                                         verdict: str) -> None:
    claim = book.claim("normalization-top1")
    assert row(claim, of_width(book, width, "whole", **WHOLE)).verdict == verdict
    part = row(claim, of_width(book, width, "part", **{**WHOLE, "resize__images": 51_000}))
    assert part.verdict == (verdict if width < 0 else "direction only")  # never the size
    assert "of 1,331,167 pictures, 51,000" in part.note


def test_a_number_of_other_data_is_not_tested_where_they_are_not(book: Book) -> None:
    """Two columns were compared on the test images of 2010, which no scale has."""
    results = Results(book, "imagenet")
    keep(results, "base", [0.400, 0.410, 0.420], **WHOLE)
    keep(results, "half", [0.417, 0.427, 0.437], **WHOLE)
    found = row(book.claim("two-columns-top1"), results)
    assert found.ours == pytest.approx(1.7)
    assert found.verdict == "direction only"


@pytest.mark.parametrize(("shift", "verdict"), [
    (0.001, "size reproduced"), (0.05, "contradicted"),
    (0.01, "undecided at this scale (needs 4 seeds)")])
def test_no_effect_is_shown_by_a_narrow_interval_not_by_a_wide_one(book: Book, shift: float,
                                                                   verdict: str) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.10, 0.10, 0.10])
    keep(results, "paper-order", [0.10 + shift, 0.1002 + shift, 0.0998 + shift])
    assert row(book.claim("switch-order"), results).words == verdict


def test_claims_on_the_net_itself_are_computed(book: Book) -> None:
    [parameters] = rows(book.claim("parameters"), None)
    assert (parameters.ours, parameters.verdict) == (60.965224, "size reproduced")
    [share] = rows(book.claim("largest-convolution"), None)
    assert share.ours == pytest.approx(100 * 885_120 / 60_965_224)
    assert share.verdict == "contradicted"


def test_runs_on_other_pictures_or_by_other_arithmetic_are_never_counted_together(
        book: Book) -> None:
    results = Results(book, "imagenette")
    few = {"resize__train_images": 3000, "resize__images": 4000, "resize__quarantined": 0}
    every = {"resize__train_images": 9469, "resize__images": 13394, "resize__quarantined": 0}
    keep(results, "base", [0.60, 0.61, 0.62], evaluate__top1_error=0.7, **few)
    keep(results, "base", [0.30], evaluate__top1_error=0.5, **every)
    assert len(list((results.folder / "base").glob("*.json"))) == 2  # neither gave way
    whole, part = rows(book.claim("ten-crops-top1"), results)
    assert (whole.key and whole.key.pictures, whole.seeds) == (9469, 1)
    assert (part.key and part.key.pictures, part.seeds) == (3000, 3)
    wanted = results.wanted()
    assert set(wanted.runs("base")) == {1}
    assert [stored.run.seed for stored in wanted.set_aside("base")] == [1, 2, 3]
    text = next((results.folder / "base").glob("*-9469.json"))
    text.write_text(text.read_text().replace('"train.arithmetic": "portable"',
                                             '"train.arithmetic": "native"', 1))
    other = Results(book, "imagenette")
    assert other.wanted().runs("base") == {}
    assert [str(key) for key in other.evidence_keys()] == [
        "9,469 pictures, native arithmetic", "3,000 pictures, portable arithmetic"]
    keep(other, "base", [0.31, 0.32], **every)  # by portable arithmetic: again, nothing gives way
    assert [(str(key), sorted(other.at(key).runs("base"))) for key in other.evidence_keys()] == [
        ("9,469 pictures, portable arithmetic", [1, 2]), ("9,469 pictures, native arithmetic", [1]),
        ("3,000 pictures, portable arithmetic", [1, 2, 3])]


def test_a_folder_is_known_by_the_number_of_its_pictures(book: Book, tmp_path: Path) -> None:
    for name in ("train/a/1", "train/a/2", "train/b/1", "val/a/1"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
    assert Results(book, "imagenette").expected("base") == (13394, "portable")
    moved = Results(book.at("imagenette", tmp_path / "pictures"), "imagenette")
    assert moved.expected("base") == (4, "portable")
    assert Results(book, "imagenette").expected("pretraining") == (None, "portable")


def curve(seed: int, *errors: float) -> Run:
    lines = [f"{epoch} 1 {error} 1 {error}" for epoch, error in enumerate(errors, 1)]
    return Run(seed, {"resize": {"train_images": 50000, "images": 60000}}, curve=lines)


def test_epochs_to_a_level_lie_between_points() -> None:
    measure = Epochs(slow=["a"], fast=["b"], curve="training_error", below=0.25)
    assert epochs_to(curve(1, 0.9, 0.3, 0.2), measure) == pytest.approx(2.5)
    assert epochs_to(curve(1, 0.2, 0.1), measure) == 1
    assert epochs_to(curve(1, 0.9, 0.25), measure) == 2
    assert epochs_to(curve(1, 0.9, 0.4), measure) == math.inf


def test_a_row_names_the_pixels_and_says_when_there_are_several(book: Book) -> None:
    results, claim = Results(book, "sample"), book.claim("ten-crops-top1")
    keep(results, "base", [0.1, 0.1, 0.1], evaluate__top1_error=0.12)
    one = row(claim, results)
    assert (one.pixels, one.as_json()["pixels"]) == (("pixels",), ["pixels"])
    assert "decoded" not in one.note
    keep(results, "base", [0.1], 4, evaluate__top1_error=0.12, resize__pixels_digest="other")
    two = row(claim, results)
    assert (two.pixels, two.seeds) == (("other", "pixels"), 4)
    assert "pictures decoded in 2 ways" in two.note


def test_figure_1_is_a_ratio_of_the_best_of_each_side(book: Book) -> None:
    claim = book.claim("relu-against-tanh-part")
    results = Results(book, "cifar10")
    measure = claim.measure
    assert isinstance(measure, Epochs)
    seeds, runs = (1, 2, 3), results.wanted()
    assert needed(claim, runs, seeds,
                  book.configurations) == [(name, 1) for name in claim.configurations()]
    for name in measure.fast:
        results.add(name, curve(1, 0.9, 0.5, 0.2 if name.endswith("0.002") else 0.4, 0.2), HERE, "")
    for name in sorted(measure.slow):
        results.add(name, curve(1, *[0.9] * 11, 0.2 if name.endswith("-0.001") else 0.8), HERE, "")
        if name == "figure-1-tanh-0.001":
            assert ("; not run: figure-1-tanh-0.004, figure-1-tanh-0.008, figure-1-tanh-0.002;"
                    in row(claim, results).note)
    assert "not run" not in row(claim, results).note
    assert needed(claim, runs, seeds,
                  book.configurations) == [("figure-1-tanh-0.001", 2), ("figure-1-tanh-0.001", 3),
                                           ("figure-1-relu-0.002", 2), ("figure-1-relu-0.002", 3)]
    assert row(claim, results).verdict == "undecided at this scale"
    for seed in (2, 3):
        results.add("figure-1-tanh-0.001", curve(seed, *[0.9] * (10 + seed), 0.2), HERE, "")
        results.add("figure-1-relu-0.002", curve(seed, 0.9, 0.2), HERE, "")
    assert needed(claim, runs, seeds, book.configurations) == []
    found = row(claim, results)
    part = 0.65 / 0.7  # of the epoch in which the error falls from 0.9 to 0.2
    ratios = [(11 + part) / (2 + 0.25 / 0.3), (12 + part) / (1 + part), (13 + part) / (1 + part)]
    logs = np.log(ratios)
    assert found.ours == pytest.approx(np.exp(logs.mean()))
    assert (found.interval
            == pytest.approx(np.exp(stats.t.interval(0.99, 2, logs.mean(), stats.sem(logs)))))
    assert "best: figure-1-tanh-0.001 against figure-1-relu-0.002" in found.note
    [drawn] = figure_1.write(claim, runs)
    assert drawn.read_text().count("<svg") == 1
    assert figure_1.write(book.claim("dropout-error"), runs) == []


def test_figure_1_goes_from_short_runs_to_the_finalists_and_to_one_rate(book: Book) -> None:
    claim, results, seeds = book.claim("relu-against-tanh"), Results(book, "cifar10"), (1, 2, 3)
    measure, runs = claim.measure, results.wanted()
    assert isinstance(measure, Epochs)

    def wanted() -> list[tuple[str, int]]:
        return next_needed(claim, runs, seeds, book.configurations)

    every = [*measure.slow, *measure.fast]
    assert wanted() == [(f"{name}-3-epochs", 1) for name in every]
    most = evidence.at_most(claim, runs, seeds, book.configurations)
    assert len(most) == len(every) + 2 * 2 * 3  # finalists of both sides, seeds
    ends = {"tanh-0.004": 0.5, "tanh-0.008": 0.55, "relu-0.001": 0.35, "relu-0.002": 0.4}
    for name in every:
        results.add(f"{name}-3-epochs", curve(1, 0.9, 0.8, ends.get(name[11:], 0.7)), HERE, "")
    tanh, relu = (["figure-1-b-tanh-0.004", "figure-1-b-tanh-0.008"],
                  ["figure-1-b-relu-0.001", "figure-1-b-relu-0.002"])
    last = [(name, seed) for seed in seeds for name in (*tanh, *relu)]
    assert wanted() == last
    # on the first seed the second of them is faster, over all seeds the first
    there = {tanh[0]: (21, 20, 20), tanh[1]: (20, 30, 30), relu[0]: (6, 5, 5), relu[1]: (5, 9, 9)}
    for name, seed in last:
        assert (name, seed) in wanted()
        epochs = there[name][seed - 1]
        results.add(name, curve(seed, *[0.6] * (epochs - 1), 0.25), HERE, "")
    partner = ("figure-1-b-tanh-0.001", 1)
    assert wanted() == [partner]
    results.add(partner[0], curve(1, *[0.6] * 29, 0.25), HERE, "")
    assert wanted() == []
    found = row(claim, results)
    assert found.numbers == {1: pytest.approx(21 / 6), 2: pytest.approx(4), 3: pytest.approx(4)}
    assert "best: figure-1-b-tanh-0.004 against figure-1-b-relu-0.001" in found.note
    parts = [(0.6 - level) / 0.35 for level in (0.5, 0.45, 0.4, 0.35, 0.3, 0.25)]  # of an epoch
    told = ", ".join(f"{(29 + part) / (5 + part):.2f}" for part in parts)
    assert f"; figure-1-b-tanh-0.001 against figure-1-b-relu-0.001: {told};" in found.note
    assert (found.verdict, found.question) == ("direction only", claim.question(own=True))


def test_what_does_not_get_there_has_no_ratio_and_says_so(book: Book) -> None:
    claim, results = book.claim("relu-against-tanh"), Results(book, "cifar10")
    measure = claim.measure
    assert isinstance(measure, Epochs)
    for name in (*measure.slow, *measure.fast):
        results.add(f"{name}-3-epochs", curve(1, 0.9, 0.8, 0.7), HERE, "")
    for seed in (1, 2, 3):
        for name in (*measure.fast[:2], *measure.slow[:2]):
            results.add(name, curve(seed, 0.9, 0.3, 0.2 if "relu" in name else 0.28), HERE, "")
    found = row(claim, results)
    assert (found.verdict, found.ours) == ("not yet run", None)
    assert "no configuration of one side got there" in found.note
    # the partner is run already, nothing is left to do
    assert next_needed(claim, results.wanted(), (1, 2, 3), book.configurations) == []


def test_a_result_of_another_configuration_does_not_count(book: Book) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.1, 0.1, 0.1])
    file = Path("experiments/claims.yaml")
    changed = yaml.safe_load(file.read_text())
    changed["scales"]["sample"]["set"] = {"train.epochs": 3}
    file.write_text(yaml.safe_dump(changed))
    other = Results(ledger.load(), "sample")
    assert other.wanted().runs("base") == {}
    keep(other, "base", [0.2])
    # the old ones gave way
    assert Results(ledger.load(), "sample").wanted().runs("base").keys() == {1}


def test_an_ensemble_needs_its_members_and_they_their_pretraining_first(book: Book) -> None:
    wanted = needed(book.claim("seven-nets-gain-top1"), Results(book, "sample").wanted(), (2,),
                    book.configurations)
    assert wanted[0] == ("base", 2)
    assert wanted[-1] == ("seven-nets", 2)
    members = evidence.members(book.configurations["seven-nets"], 2)
    assert members == [("base", n) for n in range(6, 11)] + [("fine-tuned", 3), ("fine-tuned", 4)]
    for net in (3, 4):
        assert (wanted.index(("pretraining", net)) < wanted.index(("fine-tuned", net))
                < wanted.index(("seven-nets", 2)))


def test_kept_members_whose_outputs_are_not_here_are_made_again_and_stay_as_they_are(
        book: Book, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "cache_folder", lambda: tmp_path / "cache")
    results = Results(book, "sample")
    for seed in range(1, 6):
        left = {"model.safetensors": f"{seed}a" * 16, "predictions.safetensors": f"{seed}b" * 16}
        results.add("base", replace(run_of_seed(seed), record=left), HERE, "")
    work = running.Work(results, [book.claim("five-nets-gain-top1")], (1,))

    def leave(seed: int) -> None:
        for digest in work.evidence.runs("base")[seed].record.values():
            file = dvc.file_in(tmp_path / "cache", digest)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()

    leave(2)
    assert work.missing() == [*(("base", seed) for seed in (1, 3, 4, 5)), ("five-nets", 1)]
    assert work.at_most() == work.missing()
    before = {file: file.read_bytes() for file in results.folder.rglob("*.json")}

    def make(work: running.Work, name: str, seed: int) -> running.NewRun:
        if seed < 4 and name == "base":
            leave(seed)
        return run_of_seed(seed), HERE

    with pytest.raises(UserError, match="base, seed 4: made again, it has other bits"):
        list(running.run_missing(work, make))
    assert {file: file.read_bytes() for file in results.folder.rglob("*.json")} == before
    leave(4)
    leave(5)
    assert list(running.run_missing(work, make)) == [("five-nets", 1)]
    assert work.missing() == []


def test_a_history_names_no_folder_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["alexnet", "claims", "run", "a", "--location", "/home/me/b c",
                                     "--seeds", "1-3", "archives/d"])
    assert given_command() == "alexnet claims run a --location 'b c' --seeds 1-3 archives/d"


def test_the_command_prints_json_with_the_names_that_others_rely_on(book: Book) -> None:
    keep(Results(book, "sample"), "base", [0.1, 0.1, 0.1001], evaluate__top1_error=0.12)
    done = CliRunner().invoke(main, ["claims", "--json"])
    assert done.exit_code == 0, done.exception
    told = json.loads(done.output)
    assert {"claim", "section", "paper", "ours", "interval", "seeds", "scale",
            "verdict"} <= told[0].keys()
    [crops] = [one for one in told if (one["claim"], one["scale"]) == ("ten-crops-top1", "sample")]
    assert (crops["ours"], crops["verdict"], crops["seeds"]) == (
        pytest.approx(2.0, abs=0.01), "direction only", 3)
    assert told[-1]["verdict"] == "not yet run"
    for row_ in told:  # every row has the paper's place, data set, test, margin and power
        assert all(row_[name] for name in ("section", "data", "test", "margin", "power"))
    assert told[-1]["power"] == "80 % with 19 seeds, if seeds spread by an sd of the margin"
    table = CliRunner().invoke(main, ["claims"]).output
    assert all(claim.name in table for claim in book.claims)


def test_no_name_reaches_the_terminal_as_a_command(
        book: Book, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    keep(Results(book, "sample"), "base", [0.1, 0.1, 0.1], evaluate__top1_error=0.12)
    found = row(book.claim("ten-crops-top1"), Results(book, "sample"))
    claim = found.claim.model_copy(update={"name": "\x1b[2J[red]a"})
    claims._show([replace(found, claim=claim, note="\x07[bold]b", scale="\u202ec")])
    shown = capsys.readouterr().out
    assert all(text in shown for text in (r"\x1b[2J[red]a", r"\x07[bold]b", r"\u202ec"))
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_80_columns_have_what_is_needed_most_and_say_what_is_not_there(
        book: Book, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    keep(Results(book, "sample"), "base", [0.1, 0.1, 0.1], evaluate__top1_error=0.12)
    keep(Results(book, "sample"), "half", [0.2, 0.1, 0.1])  # undecided: the longest verdict
    rows = [row(book.claim(name), Results(book, "sample"))
            for name in ("ten-crops-top1", "overlapping-pooling-top1", "two-columns-top1")]
    for columns in ("80", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        claims._show(rows)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= int(columns)
        heading = next(line for line in lines if "claim" in line)
        assert all(name in heading for name in ("paper", "ours", "verdict"))
        assert "…" not in "".join(lines)
        assert "0.4" in next(line for line in lines if "overlapping-pooling-top1" in line).split()
        left_out = [line for line in lines if line.startswith("Not shown")]
        assert ("data" in heading) == (columns == "200") == (not left_out)


@pytest.mark.parametrize(("arguments", "told"), [
    (["relu-versus-tanh", "--scale", "sample"],
     "no claim is called relu-versus-tanh; did you mean relu-against-tanh"),
    (["ilsvrc2010-top1", "--scale", "imagenet"], "takes ILSVRC-2010"),
    (["depth-conv3", "--scale", "cifar10"],
     "at the scales sample, imagenette, imagenet, not at cifar10"),
    (["depth-conv3", "--scale", "sample", "--seeds", "3-1"], "neither a number nor a range"),
    (["depth-conv3", "--scale", "sample", "--seeds", "1,1"], "named twice"),
])
def test_what_cannot_be_run_is_told(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(main, ["claims", "run", *arguments])
    assert done.exit_code != 0
    assert told in done.output


@pytest.mark.parametrize(("change", "told"), [
    (lambda book: book["claims"][5].pop("measure"),
     "two-columns-top1: give a measure, or say what it takes"),
    (lambda book: book["claims"][5]["measure"].update(of="third"),
     "no configuration is called third"),
    (lambda book: book["claims"][5].pop("margin"), "claims.5.margin"),
    (lambda book: book["claims"][5].update(margin=1.7), "lies an effect of nothing"),
    (lambda book: book["claims"][2].update(margin=1), "a factor above 1"),
    (lambda book: book["claims"][5].update(papr=3), "claims.5.papr"),
    (lambda book: book["claims"][2]["measure"]["slow"].pop(), "has no partner of the other"),
    (lambda book: book["grids"]["figure-1-a"]["axes"].pop(),
     "no configuration is called figure-1-b-tanh-0.0005-3-epochs"),
    (lambda book: book["grids"].update({"base": {"axes": [{"": {}}]}}),
     "two configurations are called base"),
    (lambda book: book["plans"]["imagenette"].append("retreival"),
     "the plan imagenette: no claim is called retreival"),
    (lambda book: book["configurations"]["seven-nets"]["ensemble"].update(other=2),
     "no configuration is called other"),
])
def test_a_broken_file_is_refused_by_name(change: Any, told: str) -> None:
    file = Path("experiments/claims.yaml")
    broken = yaml.safe_load(file.read_text())
    change(broken)
    file.write_text(yaml.safe_dump(broken, sort_keys=False))
    with pytest.raises(UserError, match=told):
        ledger.load()


def test_the_cost_is_measured_once_for_each_net_and_told_by_stored_runs_where_there_are_some(
        book: Book) -> None:
    results = Results(book, "cifar10")
    relu = [f"figure-1-relu-{rate}" for rate in ("0.001", "0.002")]
    wanted = [book.parameters("cifar10", name, 1) for name in relu]
    wanted = [read.model_copy(update={"train": read.train.model_copy(update={"batch": 4})})
              for read in wanted]
    first, second = (cost.seconds(results, name, read, HERE)
                     for name, read in zip(relu, wanted, strict=True))
    # nothing trains 100,000 images a second
    assert first == second > cost.OVERHEAD + 20 * 50000 / 100_000
    for seed, taken in ((1, 1234.0), (2, 9999.0), (3, 1230.0)):  # one beside other work
        results.add(relu[0], Run(seed, curve(1, 0.5).metrics, record={"seconds": taken}), HERE, "")
    assert cost.seconds(results, relu[0], wanted[0], HERE) == 1234.0


def test_runs_are_kept_one_by_one_and_not_made_again(book: Book) -> None:
    """The loop alone: a run that fails leaves those before it kept, and the next time only what is
    missing is made."""
    claim = book.claim("dropout-error")

    def until_the_power_fails(work: running.Work, name: str, seed: int) -> running.NewRun:
        if name == "base":
            raise UserError("the power failed")
        return run_of_seed(seed), HERE

    with pytest.raises(UserError, match="the power failed"):
        list(running.run_missing(running.Work(Results(book, "sample"), [claim], (1, 2)),
                                 until_the_power_fails))
    again = running.Work(Results(ledger.load(), "sample"), [claim], (1, 2))
    assert again.missing() == [("base", 1), ("base", 2)]
    where = environment_key(HERE)
    assert list(again.kept()) == ["no-dropout: seeds 1, 2 on 1,200 pictures, portable arithmetic, "
                                  f"made in {where}: kept, not run again"]
    made = list(running.run_missing(again, lambda work, name, seed: (run_of_seed(seed), HERE)))
    assert made == [("base", 1), ("base", 2)]
    assert running.Work(Results(book, "sample"), [claim], (1, 2)).missing() == []
    [history] = json.loads(next(Path("experiments/results/sample/base").glob("*.json"))
                           .read_text())["history"]
    assert history["seeds"] == [1, 2]
    anew = running.Work(Results(book, "sample"), [claim], (1, 2), again=True)
    assert f"no-dropout: seeds 1, 2 on 1,200 pictures, portable arithmetic, made in {where}: run " \
           "anew" in anew.kept()
    made = list(running.run_missing(anew, lambda work, name, seed: (
        run_of_seed(seed, evaluate__top1_error_10crop=0.5), HERE)))
    assert len(made) == 4
    assert {run.number("evaluate.top1_error_10crop")
            for run in Results(book, "sample").wanted().runs("base").values()} == {0.5}


def test_seeds_are_added_until_the_verdict_is_final_or_they_are_used_up(book: Book) -> None:
    claim, seeds = book.claim("ten-crops-top1"), tuple(range(1, 7))

    def made(spread: float, folder: str) -> int:
        results = Results(book, "sample", Path(folder))
        work = running.Work(results, [claim], seeds)
        return len(list(running.run_missing(work, lambda work, name, seed: (run_of_seed(
            seed, evaluate__top1_error=0.12 + spread * (-1) ** seed,
            evaluate__top1_error_10crop=0.1), HERE))))

    assert made(0.0001, "clear") == 3
    assert made(0.5, "noise") == 6
    results = Results(book, "sample", Path("clear"))
    assert next_needed(claim, results.wanted(), seeds, book.configurations) == []


def test_all_claims_come_to_three_seeds_then_the_one_that_fewest_more_decide(book: Book) -> None:
    claims_ = [book.claim(name) for name in ("dropout-error", "no-augmentation")]
    work = running.Work(Results(book, "sample"), claims_, tuple(range(1, 7)))
    # the first spreads so much that 14 seeds would not decide it, the second needs a few
    of_seed = {"no-dropout": lambda seed: 0.5 + 0.05 * (-1) ** seed,
               "no-augmentation": lambda seed: 0.5 + 0.007 * (seed % 3)}

    def made(work: running.Work, name: str, seed: int) -> running.NewRun:
        error = of_seed.get(name, lambda seed: 0.5)(seed)
        return run_of_seed(seed, evaluate__top1_error=error,
                           evaluate__top1_error_10crop=error), HERE

    order = list(running.run_missing(work, made))
    assert order[:6] == [(name, seed) for name in ("no-dropout", "base") for seed in (1, 2, 3)]
    assert order[6:9] == [("no-augmentation", seed) for seed in (1, 2, 3)]
    assert [evidence.seeds_to_go(claim, work.evidence) > 0 for claim in claims_] == [True, True]
    assert order[9][0] == "no-augmentation"  # its fourth, though it was named last


def test_no_run_is_begun_that_would_not_end_in_time(book: Book, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(running.cost, "seconds", lambda *_: 1000.0)
    monkeypatch.setattr(running, "environment_here", lambda _: HERE)

    def made(work: running.Work, name: str, seed: int) -> running.NewRun:
        clock[0] += 1100.0
        return run_of_seed(seed), HERE

    claim, results = book.claim("dropout-error"), Results(book, "sample")
    work = running.Work(results, [claim], (1, 2, 3), hours=1.0)
    assert len(list(running.run_missing(work, made))) == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "of 1 hours, and base, seed 1, would take 17 min" in told
    assert "goes on with it and 2 more" in told
    assert len(list(running.run_missing(running.Work(results, [claim], (1, 2, 3)), made))) == 3


def test_a_plan_stands_for_its_claims_and_every_plan_can_be_run(book: Book) -> None:
    for plan, scale in (("figure-1", "cifar10"), ("imagenette", "imagenette")):
        claims_ = book.named([plan, plan], scale)
        assert [claim.name for claim in claims_] == book.plans[plan]
        running.check_runnable(claims_, scale)
    wanted = {"base", "half", "no-normalization", "separate-pooling", "no-dropout",
              "no-colour-noise", "no-augmentation", "without-conv3", "without-conv4",
              "without-conv5"}
    assert wanted <= {name for claim in book.named(["imagenette"], "imagenette")
                      for name in claim.configurations()}
    with pytest.raises(UserError, match="did you mean dropout-error"):
        book.named(["dropout-eror"], "sample")


def test_runs_on_other_pictures_than_expected_end_the_command(book: Book) -> None:
    work = running.Work(Results(book, "imagenette"), [book.claim("ten-crops-top1")], (1, 2, 3))
    with pytest.raises(UserError, match=r"base, seed 1: .*other pictures.* it is kept"):
        list(running.run_missing(work, lambda work, name, seed: (run_of_seed(seed), HERE)))
    assert [line for line in work.kept() if "not counted" in line] == [
        "base: seeds 1 on 1,200 pictures, portable arithmetic: not counted with these runs, which "
        "have 13,394 pictures in all and portable arithmetic"]


def test_the_test_and_its_power_are_stated_before_a_run(book: Book) -> None:
    results = Results(book, "sample")
    claim = book.claim("normalization-top1")
    unknown = evidence.plan(claim, results.wanted(), 10)
    assert "normalization-top1: tests the direction, of an effect of 1.4 points; power" in unknown
    assert "the spread is not known yet" in unknown
    keep(results, "base", [0.1, 0.1, 0.1])
    keep(results, "no-normalization", [0.1, 0.14, 0.12])
    known = evidence.plan(claim, results.wanted(), 10)
    assert "at the spread of the 3 seeds kept" in known
    whole = evidence.plan(claim, Results(book, "imagenet").wanted(), 5)
    assert "tests whether the size is the claimed one within 0.7 points" in whole


# --- verify ---

@pytest.mark.parametrize(("changed", "where", "verdict", "detail"), [
    ({}, HERE, "identical", "weights, losses and errors, after 600 updates"),
    ({"train__weights_digest": "other"}, HERE, "differs", "train.weights_digest weights 3, here"),
    ({"evaluate__top1_error": 0.5}, HERE, "differs", "evaluate.top1_error"),
    ({"resize__pixels_digest": "other"}, HERE, "not compared", "other pixels: the evidence has"),
    ({"train__weights_digest": "other"}, HERE | {"torch": "3"}, "differs", "weights"),
    ({}, HERE | {"torch": "3"}, "identical", "weights")])
def test_a_run_of_the_evidence_is_compared(book: Book, changed: dict[str, Any],
                                           where: dict[str, str], verdict: str,
                                           detail: str) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.1, 0.1, 0.1])
    stored = verification.stored_run(book.claim("normalization-top1"), results, 3, "base")
    new = run_of_seed(3, evaluate__top1_error_10crop=0.1, **changed)
    found = verification.compare(stored, new, where)
    assert found[0] == verdict
    assert detail in found[1]


def test_native_evidence_of_another_environment_is_not_compared(book: Book) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.1, 0.1, 0.1])
    stored = verification.stored_run(book.claim("normalization-top1"), results, 3, "base")
    native = replace(stored, key=replace(stored.key, arithmetic="native"))
    new = run_of_seed(3, train__weights_digest="other")
    verdict, detail = verification.compare(native, new, HERE | {"torch": "3"})
    assert (verdict, detail.startswith("native arithmetic, in another environment: ")) == (
        "not compared", True)


@pytest.mark.parametrize("arithmetic", ["native", "portable"])
def test_evidence_is_verified_by_its_own_arithmetic(book: Book, arithmetic: str,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever params.yaml has; a run by the other arithmetic would be a difference."""
    keep(Results(book.by(arithmetic), "sample"), "base", [0.1, 0.1, 0.1])

    def made(results: Results, name: str, seed: int, *_: Any) -> running.NewRun:
        used = results.book.parameters("sample", name, seed).train.arithmetic
        return run_of_seed(seed, evaluate__top1_error_10crop=0.1, train__weights_digest=f"weights "
                           f"{seed}{'' if used == arithmetic else ' by another'}"), HERE

    monkeypatch.setattr(verification, "run_configuration", made)
    claim = book.claim("ten-crops-top1")
    for here in ("native", "portable"):
        results = Results(book.by(here), "sample")
        found = verification.verify(claim, results, verification.stored_run(claim, results, 3,
                                                                            None))
        assert found.verdict == "identical"


def test_what_cannot_be_verified_is_said(book: Book, tmp_path: Path) -> None:
    results = Results(book, "imagenette")
    keep(results, "base", [0.1, 0.1, 0.1])
    claim = book.claim("normalization-top1")
    with pytest.raises(UserError, match="no training with seed 7 is kept at the scale imagenette"):
        verification.stored_run(claim, results, 7, None)
    with pytest.raises(UserError, match="compares no-normalization, base, not half"):
        verification.stored_run(claim, results, 1, "half")
    stored = verification.stored_run(claim, results, 1, None)
    found = verification.verify(claim, results, stored)  # other pictures: nothing is run
    assert (found.verdict, found.configuration, found.pixels_digest) == ("not compared", "base",
                                                                         "pixels")
    assert "1,500 pictures in all" in found.detail
    assert "stored raw, decoded by pillow pillow-simd 12" in found.encoding
