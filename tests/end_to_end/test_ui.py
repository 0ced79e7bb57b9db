"""`alexnet ui` on a real PostgreSQL (or, where there is none, on a file), looked at in headless
Chromium.

Screenshots are left in work/screenshots.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from pipeline.config import parameters
from pipeline.config.paths import LEARNING, REPORT, metrics_of
from pipeline.records import kept_runs, mlflow_connection, recording
from pipeline.system.files import write_json
from pipeline.training.run_folder import learning_table
from tests.end_to_end import postgresql

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "work" / "screenshots"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--no-first-run"]
# the command without its door, which wants a project around it
ALEXNET = "from pipeline.commands.main import main; main(prog_name='alexnet')"
NO_POSTGRESQL = postgresql.missing()
pytestmark = pytest.mark.xdist_group("ui")  # one server for all of them


@dataclass
class Pages:
    """The running command: its store, its port, and the runs that were finished before it was
    started."""

    folder: Path
    store: str
    port: int
    process: subprocess.Popen[str]
    address: str
    runs: list[str]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    folder = tmp_path_factory.mktemp("ui")
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DVC_EXP_NAME", raising=False)
        patch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
        if NO_POSTGRESQL:
            patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        else:
            patch.setenv("MLFLOW_TRACKING_URI", stack.enter_context(postgresql.running()))
        runs = [trained(1, 0.9), trained(2, 0.8)]
        port = postgresql.free_port()
        process = command("ui", "--port", str(port))
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said.startswith("The runs: http://127.0.0.1:"), said
            wait_for(port)
            yield Pages(folder, mlflow_connection.tracking_uri(), port, process, said.split()[-1],
                        runs)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=60)


def command(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", ALEXNET, *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables)


def wait_for(port: int) -> None:
    """Return when the server answers."""
    for _ in range(1200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("MLflow's server does not start")


def trained(seed: int, falling: float) -> str:
    """The id of a new run: what a training, its evaluation and its report leave, with made-up
    numbers."""
    read = parameters.load(ROOT / "params.yaml", [f"train.seed={seed}", "train.epochs=4"])
    lines = [{"step": 38 * k, "epoch": float(k), "training_loss": 2.3 * falling**k,
              "training_error": 0.9 * falling**k, "validation_loss": 2.2 * falling**k,
              "validation_error": 0.8 * falling**k} for k in range(1, 5)]
    for path, content in ((LEARNING, learning_table(lines)), (REPORT, b"<h1>The report</h1>")):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with recording.recorded("train", read) as record:
        record.log_curve(lines)
        record.log_curve({"step": step, "batch_loss": 2.3 * falling**(step / 38)}
                         for step in range(1, 152, 10))
        record.finish({"steps": 152, "weights_digest": str(seed) * 64})
        record.add_artifact(LEARNING)
    write_json(metrics_of("train"), {"weights_digest": str(seed) * 64})
    for stage, metrics in (("evaluate",
                            {"top1_error": 0.5 * falling, "top1_error_10crop": 0.4 * falling,
                             "top5_error_10crop": 0.1 * falling}), ("report", {})):
        with recording.recorded(stage, read) as joined:
            joined.finish(metrics)
            if stage == "report":
                joined.add_artifact(REPORT)
    assert record.run_id
    return record.run_id


@pytest.mark.skipif(NO_POSTGRESQL is not None, reason=str(NO_POSTGRESQL))
def test_the_runs_are_in_postgresql_and_their_files_in_the_project(pages: Pages) -> None:
    import psycopg

    with psycopg.connect(pages.store) as connection, connection.cursor() as cursor:
        cursor.execute("select run_uuid, status from runs")
        assert dict(cursor.fetchall()) == dict.fromkeys(pages.runs, "FINISHED")
        cursor.execute("select count(*) from metrics where key = 'val/top1_error' and run_uuid = "
                       "%s", (pages.runs[0],))
        assert cursor.fetchone() == (4,)
    assert len(list((pages.folder / "mlartifacts").rglob("report/index.html"))) == 2
    assert kept_runs.find(pages.runs[0]).facts.curve[-1]["step"] == 152


def test_a_server_is_a_store_too_and_ui_says_where_its_pages_are(
        pages: Pages, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    server = f"http://127.0.0.1:{pages.port}"
    kept = kept_runs.find(pages.runs[1])
    with monkeypatch.context() as remote:
        remote.setenv("MLFLOW_TRACKING_URI", server)
        assert kept_runs.find(pages.runs[1]).facts == kept.facts
        remote.setenv("MLFLOW_EXPERIMENT_NAME", "through the server")
        capsys.readouterr()
        run_id = trained(3, 0.7)
        assert capsys.readouterr().out == ""  # MLflow says nothing where results go
        assert kept_runs.find(run_id).facts.curve[-1]["step"] == 152
        assert kept_runs.find(run_id).file("learning.csv").read_bytes() == LEARNING.read_bytes()
        told, _ = command("ui").communicate(timeout=240)
    assert re.match(rf"The runs: {server}/#/experiments/\d+/runs\?viewStateShareKey=\S+\n", told)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "through the server")
    assert kept_runs.find(run_id).facts.status == "FINISHED"  # in the same database


def test_a_port_that_is_taken_is_told(pages: Pages) -> None:
    refused = command("ui", "--port", str(pages.port))
    _, said = refused.communicate(timeout=240)
    assert refused.returncode == 1
    assert f"--port {pages.port}: Address already in use" in said
    assert f"`alexnet ui --port {pages.port + 1}`" in said
    assert "Traceback" not in said


@contextmanager
def browser(width: int) -> Iterator[Any]:
    """A page of headless Chromium, of this width."""
    playwright = pytest.importorskip("playwright.sync_api",
                                     reason="pip install --no-deps -r tests/requirements.txt")
    program = (shutil.which("chromium") or shutil.which("chromium-browser")
               or shutil.which("google-chrome"))
    if program is None:
        pytest.skip("no Chromium here; install the package chromium")
    with playwright.sync_playwright() as started, tempfile.TemporaryDirectory() as folder:
        context = started.chromium.launch_persistent_context(
            folder, executable_path=program, args=FLAGS, viewport={"width": width, "height": 900})
        try:
            page = context.pages[0]
            # of a busy machine; as a rule they are there in seconds
            page.set_default_timeout(120_000)
            yield page
        finally:
            context.close()


def test_the_pages_show_runs_their_difference_and_both_curves(pages: Pages) -> None:
    names = [f"sample seed {seed} epochs 4" for seed in (1, 2)]
    with browser(1280) as page:
        page.goto(pages.address)
        for name in names:
            page.get_by_text(name, exact=True).first.wait_for()
        page.get_by_role("columnheader", name="error/top1_10crop", exact=True).first.wait_for()
        shot(page, "trainings")
        assert {"Duration", "error/top5_10crop"} <= set(
            page.get_by_role("columnheader").all_inner_texts())

        for box in page.get_by_label("Press Space to toggle row selection").all():
            box.check()
        page.get_by_role("button", name="Compare").first.click()
        page.get_by_text("Comparing 2 Runs from 1 Experiment").wait_for()
        same = page.get_by_text("dataset.source", exact=True).first
        same.wait_for()
        page.get_by_label("Parameters - Show diff only").click()
        same.wait_for(state="detached")
        assert page.locator("table").nth(1).inner_text().split() == ["train.seed", "2", "1"]
        shot(page, "comparison")

        page.get_by_role("link", name="val/top1_error", exact=True).click()
        for name in names:
            page.get_by_text(f"{name} (val/top1_error)").first.wait_for()
        curves = page.locator(".scatterlayer .js-line")
        curves.first.wait_for()
        assert len({curve.get_attribute("d") for curve in curves.all()} - {None}) == 2
        shot(page, "curves")

        page.goto(pages.address)
        page.get_by_role("link", name=names[0], exact=True).first.click()
        page.get_by_text("About this run").wait_for()
        assert page.url.endswith(pages.runs[0])
        page.get_by_role("link", name="Models", exact=True).wait_for()  # of the training's pages
        assert page.get_by_text("Judges", exact=True).count() == 0  # of those of GenAI
        page.get_by_text("error/top1_10crop", exact=True).first.wait_for()
        shown = page.locator("body").inner_text()
        assert shown.index("error/top1_10crop") < shown.index("train/loss")
        assert re.search(r"error/top1_10crop\s+36\s", shown)
        assert "weights_digest" in shown
        assert "process.id" not in shown
        report = page.get_by_role("link", name="Report", exact=True).get_attribute("href")
        shot(page, "run")
        page.goto(pages.address.partition("#")[0] + report)
        page.frame_locator("iframe").get_by_role("heading", name="The report").wait_for()


def shot(page: Any, name: str) -> None:
    """The page at two widths."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for width in (800, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}.png")


def test_the_server_refuses_other_names_for_this_machine(pages: Pages) -> None:
    address = (f"http://127.0.0.1:{pages.port}/ajax-api/2.0/mlflow/experiments/search"
               "?max_results=1")
    assert [requests.get(address, headers={"Host": host}, timeout=60).status_code
            for host in ("localhost", "example.org")] == [200, 403]


def test_the_server_ends_with_the_shell_that_it_was_started_in(pages: Pages) -> None:
    port = postgresql.free_port()
    script = f'{sys.executable} -c "{ALEXNET}" ui --port {port}; true'
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          env=os.environ | {"PYTHONPATH": str(ROOT)}) as shell:
        wait_for(port)
        everyone = psutil.Process(shell.pid).children(recursive=True)
        assert len(everyone) >= 2
        shell.kill()
    gone, still_there = psutil.wait_procs(everyone, timeout=60)
    assert len(gone) >= 2
    assert not still_there


@pytest.mark.parametrize("killed", ["alexnet", "mlflow"])
def test_nothing_stays_of_a_server_that_is_killed_outright(pages: Pages, killed: str) -> None:
    port = postgresql.free_port()
    with command("ui", "--port", str(port)) as process:
        wait_for(port)
        everyone = psutil.Process(process.pid).children(recursive=True)
        assert len(everyone) >= 2
        if killed == "alexnet":
            process.kill()
        else:
            everyone[0].kill()
            assert process.wait(60) == 1
        assert process.stderr is not None
        if killed == "mlflow":
            assert "MLflow's server ended with status -9" in process.stderr.read()
    gone, still_there = psutil.wait_procs(everyone, timeout=60)
    assert len(gone) >= 2
    assert not still_there


def test_an_interrupt_ends_the_server_and_all_that_it_started(pages: Pages) -> None:
    """The last one here: it ends what the others look at."""
    everyone = psutil.Process(pages.process.pid).children(recursive=True)
    assert everyone
    pages.process.send_signal(signal.SIGINT)
    _, said = pages.process.communicate(timeout=60)
    assert pages.process.returncode == 0
    assert "Traceback" not in said
    assert postgresql.PASSWORD not in said
    assert not [one for one in everyone if one.is_running()
                and one.status() != psutil.STATUS_ZOMBIE]
