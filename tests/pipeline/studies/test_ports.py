"""The waterfall from `source` to a port, the table and docs/ports.md, on simulated runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alexnet.ports import PORTS
from alexnet.recipe import Name, recipe
from pipeline.commands import ports as command
from pipeline.commands.main import main
from pipeline.config import identity
from pipeline.config.recipes import differences
from pipeline.report import waterfall_figure
from pipeline.studies.claims import evidence, ledger, running, verification
from pipeline.studies.claims.ledger import Book
from pipeline.studies.claims.results import RESULTS, Results
from pipeline.studies.ports import page, table, waterfall
from pipeline.studies.run_sets import Run
from pipeline.system.errors import UserError

PORTED: tuple[Name, ...] = ("caffe", "caffenet", "torchvision", "one-weird-trick")
ENVIRONMENT = {"cpu": "a processor", "torch": "2"}
ROOT = Path(__file__).parents[3]


@pytest.fixture
def book() -> Book:
    return ledger.load()


def of_sample(seed: int, error: float) -> Run:
    counts = {"train_images": 1200, "images": 1500, "quarantined": 0}
    return Run(seed, {"evaluate": {"top1_error": error}, "resize": counts})


def keep(results: Results, name: str, errors: list[float]) -> None:
    for seed, error in enumerate(errors, 1):
        results.add(name, of_sample(seed, error), ENVIRONMENT, "alexnet ports run")


@pytest.mark.parametrize("port", PORTED)
def test_the_steps_are_all_differences_once_and_end_at_the_port(port: Name, book: Book) -> None:
    steps = waterfall.steps(port)
    keys = [each.key for step in steps for each in step.differences]
    assert sorted(keys) == sorted(each.key for each in differences("source", port)
                                  if each.key not in waterfall.OF_THE_SCALE)
    assert len({step.name for step in steps}) == len(steps)
    extended = waterfall.book_with(book, port)
    for scale in waterfall.SCALES:
        last = extended.parameters(scale, waterfall.whole(port), seed=1)
        assert last.effective_recipe() == recipe(port)
        assert last.recipe.name == port
        assert last.architecture == PORTS[port].architecture
        before = extended.parameters(scale, waterfall.BASE, seed=1)
        assert before.effective_recipe() == recipe("source")
        for step in steps:
            claim = extended.claim(step.name)
            assert claim.configurations()[1:] or step is steps[0]
            now = extended.parameters(scale, claim.configurations()[0], seed=1)
            found = identity.differing(identity.configuration(before), identity.configuration(now))
            # conv1_biases only says what conv1_freezing does; the last step takes the port's name
            assert set(found) - {"recipe.conv1_biases", "recipe.name"} == {
                each.key for each in step.differences}, step.name
            before = now


def test_a_step_that_is_left_out_is_seen(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control of the test above: without one step the last would not be the port."""
    right = waterfall.steps("caffe")
    monkeypatch.setattr(waterfall, "steps", lambda port: right[1:])
    configurations = waterfall.book_with(book, "caffe").configurations
    assert configurations[right[-2].name].set.keys() != {
        each.key for step in right[:-1] for each in step.differences}


def test_claims_compare_each_step_with_the_one_before(book: Book) -> None:
    extended = waterfall.book_with(book, "one-weird-trick")
    names = [step.name for step in waterfall.steps("one-weird-trick")]
    compared = [extended.claim(name).configurations() for name in names]
    assert compared[0] == ["torchvision-01-architecture", "base"]  # whose first step is the same
    assert compared[1] == [names[1], "torchvision-01-architecture"]
    assert compared[-1] == ["port-one-weird-trick", names[-2]]
    assert extended.claim("port-one-weird-trick").configurations() == ["port-one-weird-trick",
                                                                       "base"]
    assert len(book.claims) + 1 + len(names) == len(extended.claims)  # the book stays as it was
    chosen = waterfall.chosen(waterfall.book_with(extended, "caffe"), ("one-weird-trick", "caffe"),
                              False)
    assert [claim.name for claim in chosen[:2]] == ["port-one-weird-trick", "port-caffe"]
    assert len(waterfall.chosen(extended, ("one-weird-trick",), True)) == 1


def test_ports_share_the_runs_of_what_they_have_in_common(book: Book) -> None:
    """One configuration has one name, whatever port comes to it, and two have two."""
    book = waterfall.with_all(book)
    caffe, caffenet = ([book.claim(step.name).configurations()[0] for step in waterfall.steps(port)]
                       for port in ("caffe", "caffenet"))
    shared = ["caffe-01-lrn-k", "caffe-02-lrn-window"]
    assert caffe[:2] == caffenet[:2] == shared
    assert caffenet[2] == "caffenet-03-layer1-order"  # the two differ from here on
    assert book.claim(waterfall.steps("one-weird-trick")[0].name).configurations() == [
        "torchvision-01-architecture", "base"]
    made = {name for port in PORTED for step in waterfall.steps(port)
            for name in book.claim(step.name).configurations()}
    digests = [identity.digest(book.declared("imagenette", name)) for name in made]
    assert len(set(digests)) == len(made)


def test_the_table_has_pairs_of_seeds_and_the_ledgers_verdict(book: Book, tmp_path: Path) -> None:
    assert all(row.ours == [] for row in table.rows(book, tmp_path))
    extended = waterfall.book_with(book, "caffe")
    results = Results(extended, "sample", tmp_path)
    source = [0.30, 0.34, 0.32, 0.36]
    keep(results, "base", source)
    keep(results, "port-caffe", [error + more for error, more in zip(
        source, (0.050, 0.051, 0.049, 0.050), strict=True)])
    rows = {row.recipe: row for row in table.rows(book, tmp_path)}
    (ours,) = rows["caffe"].ours
    printed = ours.as_json()
    assert (printed["scale"], printed["seeds"]) == ("sample", 4)
    assert printed["top1_error"] == pytest.approx(0.38)
    assert printed["difference"] == pytest.approx(5.0)
    assert printed["interval"][0] < 5.0 < printed["interval"][1]
    assert printed["verdict"] == "contradicted"  # that there is less than a point between them
    assert rows["source"].ours[0].as_json()["verdict"] is None
    assert rows["torchvision"].ours == []
    keep(results, "port-caffe", [error + more for error, more in zip(
        source, (0.000, 0.001, -0.001, 0.0005), strict=True)])
    (ours,) = {row.recipe: row for row in table.rows(book, tmp_path)}["caffe"].ours
    assert ours.as_json()["verdict"] == "size reproduced"


def test_a_waterfalls_cost_is_of_the_steps_that_were_run(book: Book, tmp_path: Path) -> None:
    assert table.cost(book, "caffe", tmp_path) == []
    extended = waterfall.book_with(book, "caffe")
    results = Results(extended, "sample", tmp_path)
    first, second = (step.name for step in waterfall.steps("caffe")[:2])
    keep(results, "base", [0.30, 0.31, 0.32])
    keep(results, first, [0.33, 0.34, 0.35])
    keep(results, second, [0.33, 0.34, 0.35])
    rows = {row.claim.name: row for row in table.cost(book, "caffe", tmp_path)}
    assert rows.keys() == {first, second}
    assert rows[first].ours == pytest.approx(3.0)
    assert rows[second].ours == pytest.approx(0.0)


def test_the_waterfalls_that_are_committed_are_those_of_the_evidence(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shutil.copytree(RESULTS, tmp_path, dirs_exist_ok=True,
                    ignore=lambda _, names: [name for name in names if name.endswith(".svg")])
    drawn = waterfall_figure.every(waterfall.with_all(ledger.load()), tmp_path)
    assert drawn
    committed = sorted(file.relative_to(RESULTS) for file in RESULTS.glob("*/port-*.svg"))
    assert sorted(file.relative_to(tmp_path) for file in drawn) == committed
    for file in drawn:
        assert (RESULTS / file.relative_to(tmp_path)).read_bytes() == file.read_bytes(), \
            "draw it anew with: python -m pipeline.report.waterfall_figure"


def test_a_waterfall_is_drawn_where_a_step_has_been_run(book: Book, tmp_path: Path) -> None:
    """On the seeds that all have, joined where nothing is left out."""
    results = Results(waterfall.with_all(book), "sample", tmp_path)
    evidence = results.wanted()
    keep(results, "base", [0.30, 0.31, 0.32, 0.50])
    keep(results, "port-caffe", [0.40, 0.41, 0.42])
    assert waterfall_figure.write(evidence) == []
    keep(results, "caffe-01-lrn-k", [0.33, 0.34])  # a seed is lacking
    assert waterfall_figure.write(evidence) == []
    keep(results, "caffe-01-lrn-k", [0.33, 0.34, 0.35])
    source, step, port = waterfall_figure.after_each_step("caffe", evidence)
    assert (source.number, source.words, source.errors) == (0, "source",
                                                            {1: 0.30, 2: 0.31, 3: 0.32})
    assert (step.number, step.words, step.errors) == (1, "lrn_k: 1", {1: 0.33, 2: 0.34, 3: 0.35})
    assert (port.number, port.words) == (len(waterfall.steps("caffe")), "... = caffe")
    assert waterfall_figure.write(evidence) == [tmp_path / "sample/port-caffe.svg"]
    text = (tmp_path / "sample/port-caffe.svg").read_text(encoding="utf-8")
    assert "<!-- lrn_k: 1 -->" in text
    assert "<!-- ... = caffe -->" in text
    keep(results, "caffe-01-lrn-k", [0.33, 0.34, 0.36])  # one number, and the figure is another
    waterfall_figure.write(evidence)
    assert (tmp_path / "sample/port-caffe.svg").read_text(encoding="utf-8") != text
    for name in (step.name for step in waterfall.steps("caffe")[1:-1]):
        keep(results, name, [0.33, 0.34, 0.35])
    words = [row.words for row in waterfall_figure.after_each_step("caffe", evidence)]
    assert words[-1] == "mode: squash = caffe"
    assert "crop_side: 227, conv1_padding: none" in words
    assert len(words) == 1 + len(waterfall.steps("caffe"))


def test_runs_are_made_in_order_within_the_hours_and_gone_on_with(
        book: Book, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(running.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(running, "estimate", lambda work, parts: {parts[0][0]: (1, 1800.0)})
    extended = waterfall.book_with(book, "one-weird-trick")
    claims = waterfall.chosen(extended, ("one-weird-trick",), False)
    made: list[tuple[str, int]] = []

    def make(work: running.Work, name: str, seed: int) -> running.NewRun:
        made.append((name, seed))
        clock[0] += 1800.0
        return of_sample(seed, 0.3 + 0.001 * seed), ENVIRONMENT

    def work(hours: float) -> running.Work:
        return running.Work(Results(extended, "sample", tmp_path), claims, (1, 2, 3), hours=hours)

    done = list(running.run_missing(work(1.2), make))
    assert made == done
    assert len(made) == 2  # the third would end after an hour and a half
    assert made[0] == ("port-one-weird-trick", 1)
    list(running.run_missing(work(1000), make))
    assert len(set(made)) == len(made)  # what is kept is not made again
    # base, the port and the steps between: the last step is the port
    assert len(made) == 3 * (1 + len(waterfall.steps("one-weird-trick")))
    rows = [evidence.row(claim, work(1).evidence) for claim in claims]
    assert {row.words for row in rows} == {"size reproduced"}


def test_the_command_gives_its_plan_and_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "estimate", lambda work, parts: {"port-caffe": (3, 60.0)})
    done = CliRunner().invoke(main, ["ports", "run", "caffe", "--scale", "sample", "--estimate",
                                     "--whole"])
    assert done.exit_code == 0, done.output
    assert "at most 3 runs" in done.output
    asked = CliRunner().invoke(main, ["ports", "run", "caffe", "--scale", "sample", "--whole"])
    assert asked.exit_code == 1
    assert "give --yes" in asked.output
    unknown = CliRunner().invoke(main, ["ports", "run", "theano"])
    assert unknown.exit_code == 1
    assert "no port is called theano" in unknown.output


def test_the_evidence_on_ports_can_be_verified(book: Book, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """A port as a whole, and a step whose run has another port's name."""
    book = waterfall.with_all(book)
    results = Results(book, "sample", tmp_path)
    keep(results, "port-caffe", [0.3])
    keep(results, "caffe-01-lrn-k", [0.31, 0.32])
    for name, seed, configuration in (("port-caffe", 1, "port-caffe"),
                                      ("caffenet-01-lrn-k", 2, "caffe-01-lrn-k")):
        stored = verification.stored_run(book.claim(name), results, seed, None)
        assert (stored.run_set.name, stored.run.seed) == (configuration, seed)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "experiments", "experiments", ignore=lambda *_: ["results"])
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    keep(Results(book, "sample"), "base", [0.3])  # of which nobody asks
    for name in ("port-caffe", "caffenet-01-lrn-k"):
        refused = CliRunner().invoke(main, ["claims", "verify", name, "--seed", "1"])
        assert refused.exit_code == 1
        assert f"{name}: no run with seed 1 is kept" in refused.output


def test_the_command_prints_the_table() -> None:
    assert tuple(PORTS) == command.PORTS
    assert tuple(waterfall.SCALES) == command.SCALES
    printed: list[dict[str, Any]] = json.loads(CliRunner().invoke(main, ["ports", "--json"]).stdout)
    assert {row["recipe"]: row["parameters"] for row in printed} == {
        "source": 60_965_224, "paper": 60_965_224, "caffe": 60_965_224, "caffenet": 60_965_224,
        "torchvision": 61_100_840, "one-weird-trick": 61_100_840}
    assert {row["published"]["top1"] for row in printed} == {59.34, 59.3, 57.1, 57.4, 56.522, 57.45}
    text = CliRunner().invoke(main, ["ports"]).stdout
    assert "57.1 " in text
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "torchvision/models/alexnet.py:66-67" in text


def test_speeds_name_their_machine(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    assert table.speed(file) == table.Speed({}, "not measured yet")
    content = {"machine": {"cpu": "EPYC", "gpu": "none", "torch": "2.13", "benchmark_threads": "2"},
               "rows": [{"recipe": "caffe", "s": 1, "images/s": 128.0, "batch": 128,
                         "arithmetic": "native"}], "ratios": {}}
    file.write_text(json.dumps(content))
    assert table.speed(file).images == {"caffe": 128.0}
    assert table.speed(file).machine == ("EPYC, 2 threads, PyTorch 2.13, native arithmetic, "
                                         "batches of 128")
    for broken in ("{", "[]", json.dumps(content | {"rows": []})):
        file.write_text(broken)
        with pytest.raises(UserError, match=r"speed\.json: damaged"):
            table.speed(file)


def test_the_page_is_what_is_committed() -> None:
    assert (ROOT / "docs/ports.md").read_text(encoding="utf-8") == page.page()


def test_a_reader_finds_the_net_by_what_a_paper_says() -> None:
    text = page.page()
    identified = text.partition("## Running one")[0]
    for said, port in (("56.5 %", "`torchvision`"), ("57.1 %", "`caffe`"), ("57.4 %", "`caffenet`"),
                       ("64 kernels", "`one-weird-trick`"), ("40.7 and 18.2 %", "`source`")):
        (line,) = [line for line in identified.splitlines()
                   if said in line and line.startswith("|")]
        assert port in line
