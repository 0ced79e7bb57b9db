"""The data that a recorded training was made from, put together again in a folder of its own.

`restored()` takes what it can from the project (hard links), then from DVC's cache, and makes the
rest again from the named source, with the recorded code and parameters. Whatever way it came, each
part has the recorded digest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.paths import ARCHIVES, STORE
from pipeline.config.stages import BY_NAME, STAGES
from pipeline.data.moments import Moments
from pipeline.data.store import MOMENTS, Store
from pipeline.records.record import data_digests
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.dvc import cache_folder, run_dvc
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.system.processes import run_child
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

# what a training reads, by the stage that makes it
PARTS = {stage.name: stage.outputs[0] for stage in STAGES
         if stage.outputs[0] in BY_NAME["train"].inputs}


def wanted(tags: Mapping[str, str]) -> dict[str, str]:
    """The digest of each part, by the stage that makes it, from the tags of a training's record.

    Raises:
        UserError: the record names no such digest.
    """
    found = {stage: tags.get(f"{stage}.{stage if stage != 'resize' else 'pixels'}_digest")
             for stage in PARTS}
    if not all(found.values()):
        raise UserError("the record does not name the digests of its data, so nothing can be "
                        "proved from it")
    return {stage: str(digest) for stage, digest in found.items()}


def restored(digests: Mapping[str, str], folder: Path, code: RestoredCode,
             parameters: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Put the data into `folder`, where data/store, data/mean.npy and data/pca.json will be.

    Args:
        digests: as `wanted` yields them.
        folder: may hold some of it from an earlier time.
        code: the restored code, which makes what is missing; `environment` is that of its
            processes.
        parameters: the recorded ones.

    Returns:
        Whether all of it was there in the project, so that the folder holds nothing but links.

    Raises:
        UserError: it cannot be had: for each part, what was tried.
    """
    def missing() -> list[str]:
        return [stage for stage in PARTS if _digest(stage, folder) != digests[stage]]

    for stage in missing():
        if _digest(stage, home_folder()) == digests[stage]:
            _link(home_folder() / PARTS[stage], folder / PARTS[stage])
            if stage == "resize" and code.interface is None:
                _add_old_moments(folder / STORE)
    if not missing():
        return not (folder / "params.yaml").exists()
    _write_parameters(folder, parameters)
    _from_cache(folder, code.folder, missing())
    from_source = {"resize": ("download", "resize")}
    for stage in missing():
        for one in from_source.get(stage, (stage,)):
            say("rerun: the recorded data are neither here nor in DVC's cache; making them again: "
                f"{one}")
            if run_child(code.stage(one), environment, folder, output=2):
                raise UserError("the data of the run cannot be had: "
                                f"{_told(missing(), digests, home_folder())}; DVC's cache has them "
                                f"not; and the stage {one} failed to make them again from "
                                f"{_source(parameters)}, as told above")
    if missing():
        raise UserError("the data of the run cannot be had: made again from "
                        f"{_source(parameters)}, {_told(missing(), digests, folder)}")
    return False


def _told(stages: list[str], digests: Mapping[str, str], folder: Path) -> str:
    return ", ".join(f"{PARTS[stage]} has the digest {(_digest(stage, folder) or 'none')[:16]}, "
                     f"and the record names {digests[stage][:16]}"
                     for stage in stages) or "nothing is missing"


def _source(parameters: Mapping[str, Any]) -> str:
    dataset = parameters["dataset"]
    return f"the source {dataset['source']}" + (f" in {dataset['location']}"
                                                if dataset.get("location") else "")


def _digest(stage: str, folder: Path) -> str | None:
    """None where it is missing or only a part of it is there."""
    if stage == "resize":
        try:
            Store(folder / STORE)
        except UserError:
            return None
    return next(iter(data_digests(stage, folder).values()), None)


def _link(source: Path, target: Path) -> None:
    """So that the user may go on with the project meanwhile; symbolic where the disk is another."""
    for link in (os.link, os.symlink):
        _remove(target)
        with contextlib.suppress(OSError, shutil.Error):
            if source.is_dir():
                shutil.copytree(source.resolve(), target, copy_function=link)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                link(source.resolve(), target)
            return


def _add_old_moments(store: Path) -> None:
    """Give a store's links the file in which code that names no interface looks for the sums."""
    with contextlib.suppress(UserError):  # of old code itself, which has that file
        Moments.load(store / MOMENTS).save_for_old_code(store / "moments.npz")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_parameters(folder: Path, parameters: Mapping[str, Any]) -> None:
    """As params.yaml; the data set's folder is meant relative to the project."""
    dataset = dict(parameters["dataset"])
    if dataset["source"] != "sample":
        dataset["location"] = str(home_folder() / Path(dataset.get("location")
                                                   or ARCHIVES).expanduser())
    with atomic_write(folder / "params.yaml") as stream:
        stream.write(yaml.safe_dump(dict(parameters) | {"dataset": dataset},
                                    sort_keys=False).encode())


def _from_cache(folder: Path, code: Path, stages: list[str]) -> None:
    """`dvc checkout` by the dvc.lock of the record, in a DVC repository that shares the project's
    cache."""
    if not (code / "dvc.lock").exists():
        return
    try:
        cache = cache_folder(home_folder())
    except UserError:
        return
    if not cache.is_dir():
        return
    for name in ("dvc.yaml", "dvc.lock"):
        shutil.copyfile(code / name, folder / name)
    with atomic_write(folder / ".dvc/config") as stream:
        stream.write('[core]\n    no_scm = true\n    analytics = false\n    check_update = '
                     'false\n[cache]\n'
                     f'    dir = {cache}\n    type = "hardlink,symlink"\n'.encode())
    for stage in stages:
        _remove(folder / PARTS[stage])
        # where it fails, the digest of what is there will show it
        run_dvc("checkout", "--quiet", str(PARTS[stage]), folder=folder)
