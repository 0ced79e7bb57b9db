"""What an experiment is told to change arrives in DVC's copy of params.yaml as it was meant."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.utils.hydra import apply_overrides
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.config import parameters
from pipeline.studies.claims import ledger
from pipeline.studies.experiments import Experiment, changes, run_experiment, setting
from pipeline.system.errors import UserError
from tests.end_to_end.project import ROOT


@pytest.mark.parametrize(("scale", "name"),
                         [("cifar10", "figure-1-tanh-0.004"), ("imagenette", "no-normalization"),
                          ("sample", "no-colour-noise"), ("imagenet", "without-fc7")])
def test_a_configuration_arrives_through_dvc(scale: str, name: str, tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    file = tmp_path / "params.yaml"
    shutil.copy("params.yaml", file)
    before, wanted = parameters.load(file, []), ledger.load().parameters(scale, name, seed=3)
    for one in (wanted, before):  # and back: to null and true again
        apply_overrides(file, [setting(*change) for change in changes(one, file).items()])
        assert parameters.load(file, []) == one


@settings(max_examples=25)
@given(st.one_of(st.none(), st.booleans(), st.integers(),
                 st.floats(allow_nan=False, allow_infinity=False),
                 st.sampled_from(["false", "null", "1", "it's", "a b/c,d={e}[f]", "ü"])))
def test_a_value_keeps_its_type(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    file = tmp_path_factory.mktemp("one") / "params.yaml"
    file.write_text("a:\n  b: 7\n")
    apply_overrides(file, [setting("a.b", value)])
    found = YAML(typ="safe").load(file)["a"]["b"]
    assert (found, type(found)) == (value, type(value))


def test_what_dvc_does_not_take_is_refused() -> None:
    with pytest.raises(UserError, match="backslash"):
        setting("a.b", "c\\d")


def test_no_stage_depends_on_a_file_inside_a_folder_of_another() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"].values()
    folders = [out for stage in stages for out in stage.get("outs", ())]
    inside = [dep for stage in stages for dep in stage["deps"]
              for out in folders if dep.startswith(out + "/")]
    # or `dvc exp run --temp` fails where dvc.lock names a folder that DVC's cache does not have
    assert not inside


def test_what_git_does_not_tell_is_not_said_to_be_absent(tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"DVC needs git.*not a git repository.*git init"):
        run_experiment("one", parameters.load(ROOT / "params.yaml"))
    Path("kept.json").write_text("{}")
    subprocess.run(["git", "init", "-q"], check=True)
    with pytest.raises(UserError, match="need a commit"):
        run_experiment("one", parameters.load(ROOT / "params.yaml"))
    subprocess.run(["git", "add", "-A"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "1"],
                   check=True)
    experiment = Experiment("one", "HEAD", 1.0)
    assert experiment.read(Path("kept.json")) == b"{}"
    with pytest.raises(UserError, match=r"lost\.json: the experiment one has no such output"):
        experiment.read(Path("lost.json"))
    Path(".git/HEAD").unlink()
    with pytest.raises(UserError, match=r"the experiment one: lost\.json cannot be read from git"):
        experiment.read(Path("lost.json"))
