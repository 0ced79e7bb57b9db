"""Records that MLflow's store did not take: folders in work/unsent, sent later.

A folder holds record.json and copies of the files that it names, whole or not at all.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import asdict
from pathlib import Path

from pipeline.config.paths import WORK
from pipeline.records.mlflow_connection import attempt
from pipeline.records.mlflow_store import MlflowStore
from pipeline.records.record import Record
from pipeline.system.errors import UserError
from pipeline.system.files import copy_file, read_json, sha256_of, sync_folder, write_json
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

UNSENT = WORK / "unsent"


def keep(record: Record) -> None:
    """Write the record and copies of its files, which the next run replaces, to work/unsent."""
    moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime(record.started / 1000))
    folder = (home_folder() / UNSENT / f"{moment}.{record.started % 1000:03}-{record.stage}-"
                                       f"{record.tags['record'][:8]}")
    part = folder.with_name(f".{folder.name}.part")
    for artifact in record.artifacts:
        target = part / artifact["name"]
        copy_file(Path(artifact["path"]), target)
    write_json(part / "record.json", asdict(record))
    os.rename(part, folder)
    sync_folder(folder.parent)
    say(f"the record of {record.stage} is kept in {folder}; `alexnet sync` sends it")


def send_unsent() -> tuple[list[Path], list[Path]]:
    """Send the records in work/unsent, the oldest first, and delete each that has arrived.

    A record that was sent in part before is completed, never sent twice.

    Returns:
        The folders sent, and those kept.
    """
    sent: list[Path] = []
    folders = [folder for folder in sorted((home_folder() / UNSENT).glob("*/"))
               if not folder.name.startswith(".")]
    for folder in folders:
        try:
            record = _read(folder)
        except (UserError, TypeError, KeyError, OSError) as error:
            say(f"{folder}: damaged, left as it is ({error})")
            continue
        if not _send(record):
            break  # the others would wait for the same store
        shutil.rmtree(folder)
        sent.append(folder)
    return sent, [folder for folder in folders if folder not in sent]


def _read(folder: Path) -> Record:
    record = Record(**read_json(folder / "record.json", "sync"))
    for artifact in record.artifacts:
        artifact["path"] = (folder / artifact["name"]).as_posix()
        if sha256_of(Path(artifact["path"])) != artifact["sha256"]:
            raise UserError(f"{artifact['name']} has changed")
    return record


def _send(record: Record) -> bool:
    return attempt(f"the record of {record.stage} is kept",
                   lambda: MlflowStore().send(record), record.size())
