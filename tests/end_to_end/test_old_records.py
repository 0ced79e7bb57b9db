"""A record made before records named an interface: its code is started by the old modules' names.

`tests/pipeline/studies/rerun/record_before_interface` is the record of a tiny training by two
processes, exported by the version of the project from before `python -m pipeline` was its one door.
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.records.differences import deciding_differences
from pipeline.records.environment import fingerprint
from tests.end_to_end.project import ROOT, Project
from tests.end_to_end.test_rerun import last_json

RECORD = ROOT / "tests/pipeline/studies/rerun/record_before_interface"


def test_a_record_from_before_there_was_an_interface_is_rerun(tmp_path: Path) -> None:
    tags = json.loads((RECORD / "record.json").read_text())["tags"]
    assert "interface" not in tags
    project = Project(tmp_path / "project")
    recorded = json.loads((RECORD / "environment.json").read_text())
    same_machine = not deciding_differences(recorded, fingerprint(), "cpu")
    command = ("alexnet", "rerun", str(RECORD), "--trust", "--anyway", "--json")
    said = project.run(*command, status=0 if same_machine else None)
    outcome = last_json(said)
    assert outcome["steps_compared"] > 0, said
    if same_machine:
        assert outcome["verdict"] == "identical"
        return
    # Another processor has other bits: then the old code must at least agree with itself.
    again = last_json(project.run(*command, status=None))
    assert again["first_difference"] == outcome["first_difference"]
