"""Records that travel: a kept run as a folder, and such a folder as a run of this store."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict
from pathlib import Path

from pipeline.records.kept_runs import (
    FORMAT,
    RECORD,
    Facts,
    KeptRun,
    read_folder,
    record_digest,
)
from pipeline.records.mlflow_connection import attempt
from pipeline.records.mlflow_store import connect
from pipeline.records.record import IMPORTED, Record
from pipeline.records.record_files import (
    FILES,
    LARGE,
    TAGS,
    TEXTS,
    checkpoint_name,
    is_known,
    stored_name,
)
from pipeline.system.errors import UserError
from pipeline.system.files import copy_file, sha256_of, sync_folder, write_json


def export_record(kept: KeptRun, folder: Path, weights: bool = False) -> Path:
    """Write the record into a new folder, which appears when it is whole. Returns the folder."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: is there already; name a new folder")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        checkpoints = map(checkpoint_name, kept.kept_steps()) if weights else ()
        for name in (*FILES, *checkpoints):
            if (name not in LARGE or weights) and (file := kept.fetch(name)):
                copy_file(file, part / name)
        write_record(part, kept.facts)
        if folder.exists():
            folder.rmdir()
        os.rename(part, folder)
        sync_folder(folder.absolute().parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def write_record(folder: Path, facts: Facts) -> None:
    """Write record.json beside the files that it names with their digests."""
    here = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*"))]
    files = {name: sha256_of(folder / name) for name in here if is_known(name)}
    content = {"format": FORMAT, **asdict(facts), "files": files}
    write_json(folder / RECORD, content | {"digest": record_digest(content)})


def import_record(folder: Path) -> tuple[str, bool]:
    """Put a record that travelled into the store. Returns the run's id here, and whether it is new.

    A record that is here already, as the run itself or from an earlier import, is found and left as
    it is.
    """
    kept = read_folder(folder)
    facts = kept.facts
    store = connect()
    digest = sha256_of(folder / RECORD)
    here = [*store.find(f"attributes.run_id = '{facts.run_id}'"),
            *store.find(f"tags.imported_record = '{digest}'")]
    whole = [run for run in here if run.info.status == facts.status]
    if whole:
        return whole[0].info.run_id, False
    tags = {name: value for name, value in facts.tags.items() if name not in TAGS}
    tags |= {IMPORTED: facts.run_id, "imported_record": digest, "record": digest}
    record = Record(facts.stage, facts.started, facts.params, tags,
                    {name: kept.text(name) for name in TEXTS if kept.fetch(name)},
                    facts.metrics, facts.curve, status=facts.status, ended=facts.ended)
    for name in (*FILES, *map(checkpoint_name, kept.kept_steps())):
        if name not in TEXTS and kept.fetch(name):
            record.add_artifact(kept.file(name), stored_name(name))
    if not attempt("nothing is imported", lambda: store.send(record), record.size()):
        raise UserError(f"{folder}: not imported, for the reason above")
    assert record.run_id
    return record.run_id, True


