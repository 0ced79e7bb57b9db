"""The `alexnet` command: what it prints, its exit codes, and that asking for help costs nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.cli import STAGES, main

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "torchvision", "mlflow", "dvc", "numpy", "scipy", "PIL", "pyarrow", "matplotlib", "pydantic", "rich")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def alexnet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def process(*arguments: str, code: str = "from pipeline.cli import main; main()") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_help_names_every_stage_and_imports_nothing_heavy() -> None:
    code = ("import sys; from pipeline.cli import main\n"
            "try: main()\n"
            f"finally: print([name for name in {HEAVY} if name in sys.modules])")
    for arguments in (["--help"], ["resize", "--help"], ["train", "-h"]):
        done = process(*arguments, code=code)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "[]", arguments
    told = alexnet("--help").output
    for stage, summary in STAGES.items():
        assert stage in told
        assert summary.split(",")[0] in told


def test_every_stage_explains_its_options() -> None:
    for stage in STAGES:
        told = alexnet(stage, "--help")
        assert told.exit_code == 0
        assert "--set KEY=VALUE" in told.output
        assert "--params" in told.output
    assert "--placement" in alexnet("train", "--help").output
    assert "--workers" in alexnet("resize", "--help").output


@pytest.mark.parametrize(("arguments", "told"), [
    (("download", "--set", "train.sed=2"), "--set train.sed=2"),
    (("mean", "--set", "train.batch=0"), "params.yaml: train.batch"),
    (("train", "--threads", "0"), "params.yaml: execution.threads"),
    (("train", "--placement", "three"), "params.yaml: execution.placement"),
    (("pca", "--params", "other.yaml"), "other.yaml: no such file"),
    (("configure", "cifar"), "imagenet2012, imagenette, sample"),
    (("summary",), "dvc repro"),
])
def test_what_a_user_can_mend_is_one_message_and_exit_1(arguments: tuple[str, ...], told: str) -> None:
    done = alexnet(*arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_the_same_in_a_real_process(here: Path) -> None:
    (here / "params.yaml").write_text((here / "params.yaml").read_text().replace("epochs:", "epoch:"))
    done = process("train")
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: params.yaml: train.epochs: missing",
                                        "params.yaml: train.epoch: unknown key; remove it or mend its spelling"]


def test_ctrl_c_exits_130_and_says_that_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(name: str, parameters: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.stage.run", interrupted)
    done = alexnet("mean")
    assert done.exit_code == 130
    assert "goes on where it stopped" in done.stderr


def test_options_of_a_stage_override_params_yaml(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}
    monkeypatch.setattr("pipeline.stage.run", seen.__setitem__)
    assert alexnet("train", "--threads", "3", "--set", "train.seed=9", "--placement", "one").exit_code == 0
    assert (seen["train"].execution.threads, seen["train"].train.seed) == (3, 9)
    assert seen["train"].execution.placement == "one"


def test_configure_prints_what_it_changes() -> None:
    done = alexnet("configure", "imagenette", "--location", "pictures")
    assert done.exit_code == 0
    assert "dataset.source: sample -> imagenette\ndataset.location: null -> pictures\n" in done.stdout
    assert alexnet("configure", "sample").exit_code == 0
    assert "stands as sample has it" in alexnet("configure", "sample").stdout


def test_the_summary_of_what_the_stages_left(here: Path) -> None:
    (here / "metrics").mkdir()
    (here / "report").mkdir()
    (here / "report/index.html").touch()
    (here / "metrics/evaluate.json").write_text(json.dumps({"top1_error": 0.125, "top5_error_10crop": 0.0123}))
    (here / "metrics/resize.json").write_text(json.dumps({"images": 1500, "pixels_digest": "0123456789abcdef" * 4}))
    done = alexnet("summary")
    assert done.exit_code == 0
    assert "12.50 %" in done.stdout
    assert "1.23 %" in done.stdout
    assert "1,500" in done.stdout
    assert "0123456789abcdef..." in done.stdout
    assert done.stdout.index("resize") < done.stdout.index("evaluate")
    assert done.stdout.splitlines()[-2:] == [f"report: {here / 'report/index.html'}",
                                             f"MLflow: sqlite:///{here / 'mlflow.db'}"]
    assert "\x1b" not in done.stdout
    (here / "metrics/resize.json").write_text("{")
    assert "metrics/resize.json: broken" in alexnet("summary").stderr
