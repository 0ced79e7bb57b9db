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
from pipeline.studies.claims import cost, evidence, ledger, running
from pipeline.studies.claims.evidence import epochs_to, needed, row
from pipeline.studies.claims.ledger import Book, Epochs, Results
from pipeline.studies.run_sets import Run
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


def test_every_number_that_the_facts_list_is_there(book: Book) -> None:
    numbers = {(claim.name, claim.paper, claim.log) for claim in book.claims}
    for wanted in (("relu-against-tanh", 6, None), ("two-columns-top1", 1.7, 1.695),
                   ("normalization-top5", 1.2, 1.152), ("overlapping-pooling-top1", 0.4, 0.394),
                   ("ilsvrc2010-top1", 37.5, 37.473), ("one-net-top5", 18.2, 18.21),
                   ("five-nets-top5", 16.4, None), ("seven-nets-top5", 15.4, 15.315),
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
            read = book.parameters("sample", f"paper-{name}", 1).the_recipe()
            assert getattr(read, switch.name) == switch.paper


def test_figure_1_has_nothing_that_regularises(book: Book) -> None:
    measure = book.claim("relu-against-tanh").measure
    assert isinstance(measure, Epochs)
    for side, neuron in ((measure.slow, "tanh"), (measure.fast, "relu")):
        rates = []
        for name in side:
            read = book.parameters("cifar10", name, 1)
            recipe = read.the_recipe()
            rates.append(recipe.weight_lr)
            assert (read.network.neuron, read.network.architecture, read.network.normalization) == (
                neuron, "cifar", False)
            assert (recipe.weight_decay, recipe.bias_decay, recipe.colour_noise, recipe.crops,
                    recipe.schedule) == (0, 0, "none", "centre", "flat")
        assert sorted(rates) == {"tanh": [0.001, 0.002, 0.004, 0.008],
                                 "relu": [0.00025, 0.0005, 0.001, 0.002, 0.004]}[neuron]


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
    base, other = [0.10, 0.12, 0.09, 0.11], [0.13, 0.14, 0.13, 0.12]
    keep(results, "base", base)
    keep(results, "no-normalization", [*other, 0.9])  # a fifth seed that base has not
    found = row(book.claim("normalization-top1"), results)
    differences = 100 * (np.array(other) - np.array(base))
    low, high = stats.t.interval(0.95, 3, differences.mean(), stats.sem(differences))
    assert found.ours == pytest.approx(differences.mean())
    assert found.interval == pytest.approx((low, high))
    assert (found.verdict, len(found.numbers)) == ("agrees in direction", 4)
    told = found.as_json()
    assert list(told)[:8] == ["claim", "section", "paper", "ours", "interval", "seeds", "scale",
                              "verdict"]
    assert (told["paper"], told["seeds"], told["scale"]) == (1.4, 4, "sample")


@pytest.mark.parametrize(("others", "verdict"),
                         [([0.13, 0.14, 0.12], "agrees in direction"),
                          ([0.07, 0.06, 0.08], "disagrees"), ([0.05, 0.11, 0.16], "undecided"),
                          ([0.13, 0.14], "undecided"), ([0.13], "undecided"),
                          ([], "not yet run at this scale")])
def test_the_verdict_on_a_direction(book: Book, others: list[float], verdict: str) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.10, 0.10, 0.10])
    keep(results, "half", others)
    assert row(book.claim("two-columns-top1"), results).verdict == verdict


def test_on_the_papers_own_data_its_number_is_tested_too(book: Book) -> None:
    claim = book.claim("normalization-top1")
    for width, verdict in ((1.4, "agrees"), (5.0, "disagrees"), (-1.4, "disagrees")):
        results = Results(book, "imagenet", Path(f"results-{width}"))
        keep(results, "base", [0.40, 0.41, 0.42], resize__train_images=1281167)
        keep(results, "no-normalization",
             [0.40 + (width - 0.1) / 100, 0.41 + width / 100, 0.42 + (width + 0.1) / 100],
             resize__train_images=1281167)
        assert row(claim, results).verdict == verdict
    results = Results(book, "imagenet", Path("results-5.0"))
    # not the whole set: the direction alone
    keep(results, "base", [0.42], first=3, resize__train_images=1000)
    found = row(claim, results)
    assert found.verdict == "agrees in direction"
    assert "trained on 1,000 and 1,281,167 pictures" in found.note


@pytest.mark.parametrize(("shift", "verdict"),
                         [(0.001, "agrees"), (0.05, "disagrees"), (0.01, "undecided")])
def test_no_effect_is_shown_by_a_narrow_interval_not_by_a_wide_one(book: Book, shift: float,
                                                                   verdict: str) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.10, 0.10, 0.10])
    keep(results, "paper-order", [0.10 + shift, 0.101 + shift, 0.099 + shift])
    assert row(book.claim("switch-order"), results).verdict == verdict


def curve(seed: int, *errors: float) -> Run:
    lines = [f"{epoch} 1 {error} 1 {error}" for epoch, error in enumerate(errors, 1)]
    return Run(seed, {"resize": {"train_images": 50000}}, curve=lines)


def test_epochs_to_a_level_lie_between_points() -> None:
    measure = Epochs(slow=["a"], fast=["b"], curve="training_error", below=0.25)
    assert epochs_to(curve(1, 0.9, 0.3, 0.2), measure) == pytest.approx(2.5)
    assert epochs_to(curve(1, 0.2, 0.1), measure) == 1
    assert epochs_to(curve(1, 0.9, 0.25), measure) == 2
    assert epochs_to(curve(1, 0.9, 0.4), measure) == math.inf


def test_figure_1_is_a_ratio_of_the_best_of_each_side(book: Book) -> None:
    claim = book.claim("relu-against-tanh")
    results = Results(book, "cifar10")
    measure = claim.measure
    assert isinstance(measure, Epochs)
    seeds = (1, 2, 3)
    assert needed(claim, results, seeds,
                  book.configurations) == [(name, 1) for name in claim.configurations()]
    for name in measure.fast:
        results.add(name, curve(1, 0.9, 0.5, 0.2 if name.endswith("0.002") else 0.4, 0.2), HERE, "")
    for name in sorted(measure.slow):
        results.add(name, curve(1, *[0.9] * 11, 0.2 if name.endswith("-0.001") else 0.8), HERE, "")
        if name == "figure-1-tanh-0.001":
            assert ("; not run: figure-1-tanh-0.004, figure-1-tanh-0.008, figure-1-tanh-0.002;"
                    in row(claim, results).note)
    assert "not run" not in row(claim, results).note
    assert needed(claim, results, seeds,
                  book.configurations) == [("figure-1-tanh-0.001", 2), ("figure-1-tanh-0.001", 3),
                                           ("figure-1-relu-0.002", 2), ("figure-1-relu-0.002", 3)]
    assert row(claim, results).verdict == "undecided"
    for seed in (2, 3):
        results.add("figure-1-tanh-0.001", curve(seed, *[0.9] * (10 + seed), 0.2), HERE, "")
        results.add("figure-1-relu-0.002", curve(seed, 0.9, 0.2), HERE, "")
    assert needed(claim, results, seeds, book.configurations) == []
    found = row(claim, results)
    part = 0.65 / 0.7  # of the epoch in which the error falls from 0.9 to 0.2
    ratios = [(11 + part) / (2 + 0.25 / 0.3), (12 + part) / (1 + part), (13 + part) / (1 + part)]
    logs = np.log(ratios)
    assert found.ours == pytest.approx(np.exp(logs.mean()))
    assert (found.interval
            == pytest.approx(np.exp(stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs)))))
    assert "best: figure-1-tanh-0.001 against figure-1-relu-0.002" in found.note
    [drawn] = figure_1.write(claim, results)
    assert drawn.read_text().count("<svg") == 1
    assert figure_1.write(book.claim("dropout-error"), results) == []


def test_a_result_of_another_configuration_does_not_count(book: Book) -> None:
    results = Results(book, "sample")
    keep(results, "base", [0.1, 0.1, 0.1])
    file = Path("experiments/claims.yaml")
    changed = yaml.safe_load(file.read_text())
    changed["scales"]["sample"]["set"] = {"train.epochs": 3}
    file.write_text(yaml.safe_dump(changed))
    other = Results(ledger.load(), "sample")
    assert other.runs("base") == {}
    keep(other, "base", [0.2])
    assert Results(ledger.load(), "sample").runs("base").keys() == {1}  # the old ones gave way


def test_an_ensemble_needs_its_members_and_they_their_pretraining_first(book: Book) -> None:
    wanted = needed(book.claim("seven-nets-gain-top1"), Results(book, "sample"), (2,),
                    book.configurations)
    assert wanted[0] == ("base", 2)
    assert wanted[-1] == ("seven-nets", 2)
    members = evidence.members(book.configurations["seven-nets"], 2)
    assert members == [("base", n) for n in range(6, 11)] + [("fine-tuned", 3), ("fine-tuned", 4)]
    for net in (3, 4):
        assert (wanted.index(("pretraining", net)) < wanted.index(("fine-tuned", net))
                < wanted.index(("seven-nets", 2)))


def test_the_command_prints_json_with_the_names_that_others_rely_on(book: Book) -> None:
    keep(Results(book, "sample"), "base", [0.1, 0.1, 0.1], evaluate__top1_error=0.12)
    done = CliRunner().invoke(main, ["claims", "--json"])
    assert done.exit_code == 0, done.exception
    told = json.loads(done.output)
    assert {"claim", "section", "paper", "ours", "interval", "seeds", "scale",
            "verdict"} <= told[0].keys()
    [crops] = [one for one in told if (one["claim"], one["scale"]) == ("ten-crops-top1", "sample")]
    assert (crops["ours"], crops["verdict"], crops["seeds"]) == (pytest.approx(2.0),
                                                                 "agrees in direction", 3)
    assert told[-1]["verdict"] == "not yet run at this scale"
    table = CliRunner().invoke(main, ["claims"]).output
    assert all(claim.name in table for claim in book.claims)


def test_no_name_reaches_the_terminal_as_a_command(book: Book,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    keep(Results(book, "sample"), "base", [0.1, 0.1, 0.1], evaluate__top1_error=0.12)
    found = row(book.claim("ten-crops-top1"), Results(book, "sample"))
    claim = found.claim.model_copy(update={"name": "\x1b[2J[red]a"})
    claims._show([replace(found, claim=claim, note="\x07[bold]b", scale="\u202ec")])
    shown = capsys.readouterr().out
    assert all(text in shown for text in (r"\x1b[2J[red]a", r"\x07[bold]b", r"\u202ec"))
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


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
    (lambda book: book["claims"][1].pop("measure"),
     "two-columns-top1: give a measure, or say what it takes"),
    (lambda book: book["claims"][1]["measure"].update(of="third"),
     "no configuration is called third"),
    (lambda book: book["claims"][1].update(test="none"), "needs a margin"),
    (lambda book: book["claims"][1].update(papr=3), "claims.1.papr"),
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
    results.add(relu[0], Run(1, curve(1, 0.5).metrics, record={"seconds": 1234.0}), HERE, "")
    assert cost.seconds(results, relu[0], wanted[0], HERE) == 1234.0


def test_runs_are_kept_one_by_one_and_not_made_again(book: Book) -> None:
    """The loop alone: a run that fails leaves those before it kept, and the next time only what is
    missing is made."""
    claim = book.claim("dropout-error")

    def until_the_power_fails(book: Book, results: Results, name: str, seed: int) -> running.Made:
        if name == "base":
            raise UserError("the power failed")
        return run_of_seed(seed), HERE

    with pytest.raises(UserError, match="the power failed"):
        list(running.made(book, Results(book, "sample"), [claim], (1, 2), until_the_power_fails))
    again = Results(ledger.load(), "sample")
    assert running.missing(book, again, [claim], (1, 2)) == [("base", 1), ("base", 2)]
    made = list(running.made(book, again, [claim], (1, 2),
                             lambda *told: (run_of_seed(told[-1]), HERE)))
    assert made == [("base", 1), ("base", 2)]
    assert running.missing(book, Results(book, "sample"), [claim], (1, 2)) == []
    [history] = json.loads(next(Path("experiments/results/sample/base").glob("*.json"))
                           .read_text())["history"]
    assert history["seeds"] == [1, 2]
