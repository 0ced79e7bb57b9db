"""Each port's recipe through the whole pipeline, as a DVC experiment; torchvision's weights in and
out."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from alexnet.ports import PORTS
from benchmarks.torchvision_import import models
from tests.end_to_end.project import Project
from tests.loaded import LONG


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("ports") / "project")


# Caffe's net has the other crops and orders, torchvision's the other layers, weights and pictures.
@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.skipif(
        name not in ("caffe", "torchvision") and LONG not in os.environ, reason="--long"))
    for name in PORTS])
def test_a_ports_recipe_runs_to_its_report(project: Project, name: str) -> None:
    project.run("dvc", "exp", "run", "-S", f"recipe.name={name}")
    recorded = json.loads((project.folder / "models/provenance.json").read_text())["configuration"]
    assert recorded["recipe.name"] == name
    assert recorded["network.architecture"] == PORTS[name].architecture
    for switch, decided in PORTS[name].switches.items():
        text = decided.value if isinstance(decided.value, str) else json.dumps(decided.value)
        assert recorded.get(f"recipe.{switch}", text) == text
    assert recorded["recipe.crop_side" if "caffe" in name else "recipe.order"] == {
        "caffe": "227", "caffenet": "227", "torchvision": "epoch", "one-weird-trick": "file"}[name]
    metrics = project.metrics("evaluate")
    assert 0 <= metrics["top1_error"] <= 1
    page = (project.folder / "report/index.html").read_text()
    assert PORTS[name].title in page


def test_torchvisions_weights_in_and_out(project: Project, tmp_path: Path) -> None:
    """A file of torchvision's is tested, fine-tuned; and what was trained goes back into it."""
    full = ["--set", "recipe.name=torchvision", "--set", "network.width=1"]
    published = tmp_path / "alexnet-owt.pth"
    torch.manual_seed(1)
    torch.save(models.alexnet(weights=None, num_classes=10).state_dict(), published)
    errors = json.loads(project.run("alexnet", "evaluate", "--weights", str(published), *full
                                    ).rpartition("}")[0].partition("{")[2].join("{}"))
    assert errors["images"] == 20
    assert 0 <= errors["top1_error"] <= 1
    refused = project.run("alexnet", "evaluate", "--weights", str(published), "--set",
                          "recipe.name=caffe", status=1)
    assert "weights of another network" in refused

    project.run("alexnet", "train", *full, "--set", f"train.start_from={published}", "--set",
                "train.epochs=0.2")
    exported = tmp_path / "trained.pth"
    project.run("alexnet", "ports", "export", str(exported))
    theirs = models.alexnet(weights=None, num_classes=10)
    theirs.load_state_dict(torch.load(exported, weights_only=True))
    start = torch.load(published, weights_only=True)
    assert not torch.equal(theirs.features[0].weight, start["features.0.weight"])
    assert torch.allclose(theirs.features[0].weight, start["features.0.weight"], atol=0.1)
