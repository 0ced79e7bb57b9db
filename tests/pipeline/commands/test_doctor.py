"""`alexnet doctor`: each check is made to fail for real, and names the fix."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch as pytorch

from alexnet.arithmetic import NUMBER, library, table
from pipeline.commands import doctor
from pipeline.commands.doctor import machine, project, software, two_processes
from pipeline.commands.doctor.agreement import Pair, agreement
from pipeline.commands.doctor.arithmetic import arithmetic, has_bf16
from pipeline.commands.doctor.data import data as doctor_data
from pipeline.commands.doctor.finding import Finding
from pipeline.config import parameters
from pipeline.config.parameters import Parameters
from pipeline.data import pixels
from pipeline.records import environment, mlflow_store
from pipeline.system.errors import UserError
from tests.pipeline.data.test_store import write_store

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "CUBLAS_WORKSPACE_CONFIG",
                 *environment.BIT_CHANGING_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path


def with_(*overrides: str) -> Parameters:
    return parameters.load(overrides=overrides)


def fails(found: Finding, told: str, fix: str, verdict: str = "fails") -> None:
    assert found.verdict == verdict, found
    assert told in found.detail
    assert fix in found.fix


def in_a_process(*checks: str, status: int = 1, **variables: str) -> dict[str, dict[str, str]]:
    """What the command finds in a process of its own, with these variables set."""
    done = subprocess.run([sys.executable, "-c", "from pipeline.commands.main import main; main()",
                           "doctor", "--json", *checks],
                          capture_output=True, text=True, check=False, env=os.environ | variables)
    assert done.returncode == status, done.stderr
    return {one["check"]: one for one in json.loads(done.stdout)}


def test_a_broken_params_yaml_is_what_is_told_of(here: Path) -> None:
    (here / "params.yaml").write_text("train: {}")
    found = doctor.examine(Path("params.yaml"), [], doctor.NAMES)
    fails(found.pop("parameters"), "dataset: missing", "params.yaml")
    assert {one.verdict for one in found.values()} == {"skipped"}
    with pytest.raises(UserError, match="no check is called torhc; did you mean torch"):
        doctor.command(Path("params.yaml"), [], ["torhc"], as_json=False)


def test_packages(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a warning where plain pip chose the versions
    assert software.packages(with_()).verdict in ("ok", "warning")
    monkeypatch.setattr(environment, "LOCK", here / "lock")
    (here / "lock").write_text("numpy==1.0\n")
    fails(software.packages(with_()), "numpy", "make setup", "warning")
    (here / "alexnet_harness-0.1.0.dist-info").mkdir()
    (here / "alexnet_harness-0.1.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: alexnet-harness\nVersion: 0.1.0\nRequires-Dist: numpy>=2\n"
        "Requires-Dist: no-such-package>=1\nRequires-Dist: not-needed; extra == 'test'\n")
    monkeypatch.syspath_prepend(here)
    fails(software.packages(with_()), "not installed: no-such-package", "make setup")


def test_another_pillow_and_a_broken_torch_on_the_python_path(here: Path) -> None:
    (here / "other/PIL").mkdir(parents=True)
    (here / "other/PIL/__init__.py").write_text("__version__ = '9.0.0'\n")
    (here / "other/torch.py").write_text("raise ImportError('libcudart.so.12: cannot open shared "
                                         "object file')\n")
    found = in_a_process("pillow", "pictures", "torch", "gpus", PYTHONPATH=f"{here}/other:{ROOT}")
    assert found["pillow"]["detail"].startswith(f"PIL is taken from {here}/other")
    assert found["pillow"]["mend"] == "unset PYTHONPATH"
    assert "libcudart" in found["torch"]["detail"]
    assert [found[name]["verdict"] for name in ("pillow", "pictures", "torch", "gpus")] == [
        "fails", "skipped", "fails", "skipped"]


def test_a_gpu_that_pytorch_cannot_use(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if pytorch.cuda.is_available():
        pytest.skip("it can")
    fails(software.torch(with_("execution.device=cuda")), "there is no GPU", "auto or cpu")
    (here / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: NVIDIA GeForce GTX 580'\n")
    (here / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    fails(software.torch(with_()), "1 NVIDIA GPU here, but", "pip install torch", "warning")
    fails(software.torch(with_("execution.device=cuda")), "1 NVIDIA GPU here, but",
          "pip install torch")


def test_pictures(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.pictures(with_()).verdict == "ok"
    write_store(here / "data/store")
    assert "as those of data/store" in software.pictures(with_()).detail
    description = json.loads((here / "data/store/store.json").read_text())
    description["decoder"]["fingerprint"] = "0" * 16
    del description["digest"]
    (here / "data/store/store.json").write_text(json.dumps(description))
    fails(software.pictures(with_()), "0000000000000000", "dvc repro", "warning")
    (here / "data/store/store.json").write_text("{")
    fails(software.pictures(with_()), "data/store/store.json", "dvc repro resize")
    cut = {name: content[:-40] for name, content in pixels.reference_pictures().items()}
    monkeypatch.setattr(pixels, "reference_pictures", lambda: cut)
    fails(software.pictures(with_()), "cannot be decoded: truncated", "make setup")
    monkeypatch.undo()


def test_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found although the project's folder is on no path, as for the command `alexnet`."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [place for place in sys.path
                                      if not (Path(place) / "benchmarks").is_dir()])
    assert software.torchvision(with_()).verdict == "ok"
    monkeypatch.setitem(sys.modules, "torchvision", None)
    fails(software.torchvision(with_()), "torchvision", "make setup")


def test_determinism(monkeypatch: pytest.MonkeyPatch) -> None:
    assert software.determinism(with_()).verdict == "ok"
    native = "train.arithmetic=native"
    assert software.determinism(with_(native)).verdict == "ok"
    fails(software.determinism(with_(native, "execution.deterministic=false")),
          "two runs may differ", "true", "warning")
    fails(software.determinism(with_("execution.threads=1000")), "1000", "execution.threads",
          "warning")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    fails(software.determinism(with_(native)), "MKL_CBWR=COMPATIBLE", "unset", "warning")
    assert software.determinism(with_()).verdict == "ok"  # nothing changes portable bits
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
    fails(software.determinism(with_(native, "execution.device=cuda")), ":0:0",
          "CUBLAS_WORKSPACE_CONFIG=:4096:8")


def test_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    found = arithmetic(with_())
    assert found.verdict == "ok"
    assert found.facts == {"number": NUMBER, "isa": library.chosen(), "agree": True,
                           "operators": len(table.CASES)}
    with monkeypatch.context() as patch:
        patch.setattr(table, "stored", lambda: dict.fromkeys(table.CASES, "other"))
        fails(arithmetic(with_()), "not what others compute", "native")
        assert arithmetic(with_()).facts == {**found.facts, "agree": False}
    monkeypatch.setenv("ALEXNET_ISA", "mmx")
    fails(arithmetic(with_("train.arithmetic=native")), "ALEXNET_ISA=mmx", "native", "warning")
    fails(arithmetic(with_()), "ALEXNET_ISA=mmx", "native")


def test_what_the_processor_says_of_bfloat16(tmp_path: Path) -> None:
    for flags, has in (("fma avx512_bf16 avx512f", True), ("Features : fp asimd bf16", True),
                       ("fma avx512f avx512_vnni", False)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        assert has_bf16(tmp_path / "cpuinfo") == has
    assert not has_bf16(tmp_path / "none")


def test_arithmetic_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.command(Path("params.yaml"), [], ("arithmetic",), as_json=True) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["arithmetic"]["agree"] is True
    assert entry["check"] == "arithmetic"


def test_data(here: Path) -> None:
    assert doctor_data(with_()).verdict == "skipped"
    location = here / "pictures"
    for name in ("train/airplane/1.png", "train/cat/1.png", "val/cat/2.png"):
        (location / name).parent.mkdir(parents=True)
        (location / name).write_bytes(b"x")
    where = f"dataset.location={location}"
    found = doctor_data(with_("dataset.source=folder", where))
    assert (found.verdict, "2 of 50,000 training pictures in 2 classes" in found.detail) == (
        "ok", True)
    fails(doctor_data(with_("dataset.source=cifar10", where)), "1 of 10,000 validation pictures",
          "dataset.incomplete")
    assert doctor_data(with_("dataset.source=cifar10", where,
                             "dataset.incomplete=true")).verdict == "ok"
    fails(doctor_data(with_("dataset.source=imagenet2010", where)), "ILSVRC2010_images_train.tar",
          "dataset.origin")
    (location / "val").rename(location / "held-out")
    fails(doctor_data(with_("dataset.source=folder", where)), "no folder of validation pictures",
          "docs/data.md")
    assert "imagenette2-320.tgz" in doctor_data(with_("dataset.source=imagenette")).detail


def test_disk(here: Path) -> None:
    assert machine.disk(with_()).verdict == "ok"
    fails(machine.disk(with_("dataset.source=folder", "dataset.location=nowhere")), "nowhere",
          "dataset.location")
    machine.STORE.mkdir(parents=True)
    for images, needed in (({"train": 1200, "val": 300}, "160.0 MB"),
                           ({"train": 40, "val": 20}, "455")):
        # of these data, and of others
        (machine.STORE / "store.json").write_text(json.dumps({"images": images}))
        assert f"about {needed}" in machine.disk(with_()).detail
    free = shutil.disk_usage(here).free
    assert machine.short_of({here / "a": free / 4, here / "b": 0}) == []
    told, = machine.short_of({here / "a": free * 0.7, here / "b/c": free * 0.7, Path("/proc"): 0})
    assert told.startswith(f"{here}/a and {here}/b/c: ")  # needs of one disk add up


def test_memory() -> None:
    assert machine.memory(with_()).verdict == "ok"
    fails(machine.memory(with_("network.width=1", "train.batch=65536")), "GB, ",
          "train.micro_batches")


def test_shared_memory(here: Path) -> None:
    assert machine.shared_memory(with_()).verdict in ("ok", "skipped")
    if sys.platform == "linux":
        fails(machine.shared_memory(with_(), here / "none"), "not there", "--shm-size=1g")


def test_commands(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fails(project.commands(with_()), "`alexnet` is not on the PATH", "activate")
    (here / "alexnet").touch(0o755)
    monkeypatch.setenv("PATH", str(here))
    fails(project.commands(with_()), "of another environment", "activate", "warning")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    assert project.commands(with_()).verdict == "ok"


def test_git_and_dvc(here: Path) -> None:
    fails(project.git(with_()), "not in a git repository", "git init")
    fails(project.dvc(with_()), "no .dvc", "clone of the project")
    subprocess.run(["git", "init", "-q"], check=True)
    fails(project.git(with_()), "no commit yet", "git commit", "warning")
    (here / ".dvc").mkdir()
    (here / ".dvc/config").touch()
    (here / "dvc.yaml").write_text("stages:\n  download: {cmd: alexnet download}\n")
    (here / "dvc.lock").write_text("schema: '2.0'\nstages: [")
    fails(project.dvc(with_()), "dvc.lock: cut off", "alexnet mend")
    (here / "dvc.lock").unlink()
    fails(project.dvc(with_()), "no stage resize, mean", "git diff dvc.yaml")
    shutil.rmtree(here / ".git")
    fails(project.dvc(with_()), "is not a git repository", "git init")


def test_a_clone_without_its_history(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = ("git init -q source", "git -C source -c user.name=a -c user.email=a@b commit -q "
                "--allow-empty -m 1", "git -C source -c user.name=a -c user.email=a@b commit -q "
                "--allow-empty -m 2", f"git clone -q --depth 1 file://{here}/source shallow",
                f"git clone -q file://{here}/source whole")
    for command in commands:
        subprocess.run(command.split(), check=True)
    parameters = with_()
    monkeypatch.chdir(here / "shallow")
    fails(project.git(parameters), "a shallow clone", "git fetch --unshallow", "warning")
    monkeypatch.chdir(here / "whole")
    assert project.git(parameters).verdict == "ok"


def test_mlflow(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "made by the first stage" in project.mlflow(with_()).detail
    assert not (here / "mlflow.db").exists()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for uri, told in (("http://me:secret@127.0.0.1:9", "http://127.0.0.1:9: "),
                      ("nonsense://x", "nonsense://x: "),
                      (f"sqlite:///{here}/no/folder.db", "its folder is missing")):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        found = project.mlflow(with_())
        fails(found, told, "MLFLOW_TRACKING_URI")
        assert "secret" not in str(found)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (here / "mlflow.db").write_bytes(b"no database" * 100)
    fails(project.mlflow(with_()), "mlflow.db: ", "MLFLOW_TRACKING_URI")


def test_a_store_is_believed_when_it_has_given_back_a_run_and_a_file(
        here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = mlflow_store.connect()  # which makes it
    assert "takes runs and files" in project.mlflow(with_()).detail
    with closing(sqlite3.connect(here / "mlflow.db")) as database:
        assert database.execute("SELECT COUNT(*) FROM runs").fetchone() == (0,)
    assert not list((here / "mlartifacts").iterdir())
    with monkeypatch.context() as broken:  # whose files come back as others
        broken.setattr("mlflow.tracking.MlflowClient.log_text",
                       lambda self, run, text, name: self.log_artifact(run, __file__, "doctor"))
        fails(project.mlflow(with_()), "mlflow.db: ",
              "MLFLOW_TRACKING_URI")
    with monkeypatch.context() as broken:
        broken.setattr("mlflow.tracking.MlflowClient.log_text", no_library)
        fails(project.mlflow(with_()), "No module named 'boto3'", "pip install boto3")
    store.client.delete_experiment(store.experiment)
    fails(project.mlflow(with_()), "mlflow.db: ", "MLflow's trash: mlflow experiments restore")
    (here / "mlflow.db").chmod(0o444)
    monkeypatch.setattr(os, "access", lambda file, mode: False)  # as for anybody but root
    fails(project.mlflow(with_()), "you may not write to it", "chmod u+w")


def no_library(*_: object) -> None:
    raise ModuleNotFoundError("No module named 'boto3'", name="boto3")


def test_records_that_wait(here: Path) -> None:
    assert project.unsent(with_()).verdict == "ok"
    (here / "work/unsent/x").mkdir(parents=True)
    (here / "work/unsent/x/record.json").write_text('{"stage": "train"}')
    fails(project.unsent(with_()), "1 records wait for MLflow's store (train)", "alexnet sync",
          "warning")


def test_two_processes_that_cannot_reach_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nosuch0")
    with Pair(with_()) as pair:
        fails(pair.exchange(with_()), "do not reach each other", "GLOO_SOCKET_IFNAME")
    assert all(process.poll() is not None for process in pair._started)


def test_steps_that_are_not_repeated_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def traced() -> list[dict[str, Any]]:
        return two_processes.trace(with_(), pytorch.device("cpu"), split=False)

    first = traced()
    assert agreement({"one process": first, "the same again": traced()}).verdict == "ok"
    flipped = copy.deepcopy(first)
    digest = flipped[1]["weights"]["tensors"]["fc7.bias/1"]
    flipped[1]["weights"]["tensors"]["fc7.bias/1"] = f"{int(digest, 16) ^ 1:016x}"
    fails(agreement({"one process": first, "two processes": flipped}),
          "two processes and one process part at step 2: weights of fc7.bias, column 1",
          "alexnet matrix")
    monkeypatch.setattr(two_processes, "noise",
                        lambda shape: pytorch.randint(0, 256, shape, dtype=pytorch.uint8))
    fails(agreement({"one process": first, "the same again": traced()}),
          "part at step 1: the images of its batch", "matrix")


def test_what_a_check_does_not_expect_is_a_finding_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(parameters: Parameters) -> Finding:
        raise KeyError("x")

    monkeypatch.setitem(doctor.CHECKS, "git", broken)
    found = doctor.examine(Path("params.yaml"), [], ("git", "records"))
    fails(found["git"], "unexpected KeyError", "--debug")
    assert found["records"].verdict == "ok"
