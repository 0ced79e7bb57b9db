"""The tables of stages and of data sets: each fact about one stands there, and nowhere else."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.config import datasets, stages
from pipeline.config.parameters import Parameters

ROOT = Path(__file__).resolve().parents[3]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TABLES = ("pipeline/config/stages.py", "pipeline/config/datasets.py")
# (file, why it lists such names)
EXCEPTIONS = {"pipeline/studies/claims/ledger.py": "sizes of experiments, one of them `imagenet`",
              "pipeline/commands/claims.py": "sizes of experiments, as in the ledger"}


def paths(entries: list[object]) -> set[str]:
    """Of a list in dvc.yaml, whose entries may carry options."""
    return {next(iter(entry)) if isinstance(entry, dict) else str(entry) for entry in entries}


@pytest.mark.parametrize("stage", stages.STAGES, ids=lambda stage: stage.name)
def test_dvc_has_the_files_of_the_table(stage: stages.Stage) -> None:
    there = PIPELINE[stage.name]
    metrics = {f"metrics/{name}.json" for name in stages.MEASURED if stage.name == "report"}
    assert there["cmd"] == f"alexnet {stage.name}"
    assert paths(there["deps"]) == {*stage.code_dependencies, *map(str, stage.inputs), *metrics}
    outputs = paths(there["outs"]) | paths(there.get("plots", []))
    assert outputs == set(map(str, (*stage.outputs, *stage.about)))
    assert paths(there["metrics"]) == {f"metrics/{stage.name}.json"}


def test_every_stage_reads_what_others_before_it_have_made() -> None:
    made = {Path("experiments"), Path("golden")}
    for stage in stages.STAGES:
        assert set(stage.inputs) <= made, stage.name
        assert set(stage.recorded) <= {other.name for other in stages.STAGES
                                       if set(other.outputs) & made}
        made |= {*stage.outputs, *stage.about}
        for key in stage.sections:
            assert key.partition(".")[0] in Parameters.model_fields
        importlib.import_module(f"pipeline.stages.{stage.name}")


def test_every_data_set_has_a_module_and_stands_in_the_comment() -> None:
    for name in datasets.NAMES:
        module = importlib.import_module(f"pipeline.data.sources.{name}")
        assert callable(module.fetch)
        assert callable(module.plan)
    text = (ROOT / "params.yaml").read_text()
    line = re.search(r"^  source: sample +# (.*)$", text, re.MULTILINE)
    assert line
    assert tuple(re.findall(r"(\w+)(?: \([^)]*\))?(?:, |$)", line[1])) == datasets.NAMES


def lists_of_names(code: str) -> Iterator[list[str]]:
    """Three or more names of stages, or of data sets, in one tuple, list, set, dictionary or
    type."""
    for node in ast.walk(ast.parse(code)):
        items = (node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else
                 node.keys if isinstance(node, ast.Dict) else [])
        texts = [item.value for item in items
                 if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        for names in (stages.NAMES, datasets.NAMES):
            if len(set(texts) & set(names)) >= 3:
                yield texts


def test_no_other_file_lists_stages_or_data_sets() -> None:
    found = {f"{file.relative_to(ROOT)}": lists for folder in ("alexnet", "pipeline", "benchmarks")
             for file in sorted((ROOT / folder).rglob("*.py"))
             if (lists := list(lists_of_names(file.read_text())))}
    for file in (*TABLES, *EXCEPTIONS):
        found.pop(file, None)
    assert found == {}


@pytest.mark.parametrize("code", [
    'STAGES = ("resize", "mean", "pca")', 'x = {"train": 1, "mean": 2, "report": 3}',
    'Name = Literal["sample", "folder", "cifar10"]', 'if source in ["a", "imagenette", "sample", '
    '"cifar10"]: pass', 'f({"download", "resize", "evaluate"})'])
def test_such_a_list_is_seen(code: str) -> None:
    assert list(lists_of_names(code))


@pytest.mark.parametrize("code", ['("train", "val", "mean")', '{"train": 1, "evaluate": 2}'])
def test_fewer_names_are_no_list_of_them(code: str) -> None:
    assert not list(lists_of_names(code))
