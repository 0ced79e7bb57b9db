"""Finds the data that a recorded training was made from, by their digests, and puts them together
in a folder of its own.

`restore()` links what the project has, then a store from DVC's cache, and makes the rest: the mean
and the colours from the store, the store itself from its source. Nothing of the record is obeyed
but the digests, and, where it may be, the source. Whatever way it came, each part has the recorded
digest; of copies every byte is read to prove it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pipeline.config.paths import ARCHIVES, STORE
from pipeline.config.stages import BY_NAME, STAGES
from pipeline.data.moments import Moments
from pipeline.data.store import DESCRIPTION, MOMENTS, Store
from pipeline.records.record import data_digests
from pipeline.studies.rerun.restored_code import RestoredCode
from pipeline.system.dvc import cache_folder
from pipeline.system.errors import UserError
from pipeline.system.files import atomic_write
from pipeline.system.processes import run_child
from pipeline.system.project import home_folder
from pipeline.system.terminal import say

# what a training reads, by the stage that makes it
PARTS = {stage.name: stage.outputs[0] for stage in STAGES
         if stage.outputs[0] in BY_NAME["train"].inputs}
MD5 = re.compile(r"[0-9a-f]{32}")
LARGEST_LISTING = 64 << 20  # bytes of a folder's listing in DVC's cache


def recorded_digests(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the digest of each part, by the stage that makes it, from the tags of a record.

    Raises:
        UserError: the record names no such digest.
    """
    digests = {stage: tags.get(f"{stage}.{'pixels' if stage == 'resize' else stage}_digest", "")
               for stage in PARTS}
    if not all(digests.values()):
        raise UserError("the record does not name the digests of its data, so nothing can be "
                        "proved from it")
    return digests


def restore(digests: Mapping[str, str], folder: Path, code: RestoredCode,
            parameters: Mapping[str, Any], environment: Mapping[str, str],
            from_source: bool) -> bool:
    """Put the data into `folder`, where data/store, data/mean.npy and data/pca.json will be.

    Args:
        digests: by stage, as `recorded_digests` returns them.
        folder: may hold some of them from an earlier rerun.
        code: makes what is missing, with these variables as its `environment`.
        parameters: of the rerun.
        from_source: whether the named source may be read, or else only what lies here.

    Returns:
        Whether all of them lie in the project, so that the folder holds nothing but links.

    Raises:
        UserError: they cannot be had; it says what was tried.
    """
    def missing() -> list[str]:
        return [stage for stage in PARTS if _digest(stage, folder) != digests[stage]]

    _remove_damaged(folder)
    _link_what_is_here(missing(), digests, folder)
    if code.interface is None and "resize" not in missing():
        _add_old_moments(folder / STORE)
    if not missing():
        return _is_linked(folder)
    _write_parameters(folder, parameters)
    for stage in missing():
        if stage == "resize":
            _check_source(parameters, from_source, digests)
            say("rerun: the recorded pictures are neither here nor in DVC's cache; making them "
                "again: download, resize")
        else:
            say(f"rerun: the recorded {PARTS[stage]} is not here; computing it from the store")
        for step in ("download", "resize") if stage == "resize" else (stage,):
            if run_child(code.stage(step), environment, folder, output=2):
                raise _unavailable(
                    f"{_account(missing(), digests, home_folder())}; DVC's cache does not have "
                    f"them; and the stage {step} failed to make them again from "
                    f"{_source(parameters)}, for the reason above")
    if missing():
        raise _unavailable(f"made again from {_source(parameters)}, "
                           f"{_account(missing(), digests, folder)}")
    return False


def _link_what_is_here(missing: list[str], digests: Mapping[str, str], folder: Path) -> None:
    """Link what the project has, and a store that its DVC cache has."""
    for stage in missing:
        if _digest(stage, home_folder()) == digests[stage]:
            link(home_folder() / PARTS[stage], folder / PARTS[stage])
    if _digest("resize", folder) != digests["resize"]:
        _from_cache(digests["resize"], folder)


def _unavailable(reason: str) -> UserError:
    return UserError(f"the data of the run cannot be had: {reason}")


def damage(folder: Path) -> str | None:
    """Read every pixel in `folder`; return what is damaged, None if nothing is.

    What is a link is damaged in the project itself, and is named there. A damaged copy is removed,
    so that the next rerun makes it anew.
    """
    linked = _is_linked(folder)
    try:
        Store((home_folder() if linked else folder) / STORE).verify()
    except UserError as error:
        if linked:
            return str(error)
        shutil.rmtree(folder)
        return f"{error} It was a copy, which is now removed; the same command makes it anew"
    return None


def _is_linked(folder: Path) -> bool:
    return not (folder / "params.yaml").exists()


def _remove_damaged(folder: Path) -> None:
    """Prove what an earlier rerun has left, by every byte, and remove it if it has rotted."""
    if folder.exists() and not _is_linked(folder) and (folder / STORE).exists():
        try:
            Store(folder / STORE).verify()
        except UserError as error:
            say(f"rerun: {error} It is removed and made anew")
            shutil.rmtree(folder)


def _check_source(parameters: Mapping[str, Any], from_source: bool,
                  digests: Mapping[str, str]) -> None:
    source = parameters["dataset"]["source"]
    if source != "sample" and not from_source:
        raise _unavailable(f"{_account(['resize'], digests, home_folder())}; DVC's cache does not "
                           "have them; and a record from elsewhere does not decide where "
                           f"{source} is read from. Prepare that data set here, or give --trust")


def _account(stages: list[str], digests: Mapping[str, str], folder: Path) -> str:
    return ", ".join(f"{PARTS[stage]} has the digest {(_digest(stage, folder) or 'none')[:16]}, "
                     f"and the record names {digests[stage][:16]}"
                     for stage in stages) or "nothing is missing"


def _source(parameters: Mapping[str, Any]) -> str:
    dataset = parameters["dataset"]
    return f"the source {dataset['source']}" + (f" in {dataset['location']}"
                                                if dataset.get("location") else "")


def _digest(stage: str, folder: Path) -> str | None:
    """Return the digest of a part in `folder`; None where it is missing or not whole."""
    if stage == "resize":
        try:
            Store(folder / STORE)
        except UserError:
            return None
    return next(iter(data_digests(stage, folder).values()), None)


def link(source: Path, target: Path) -> None:
    """Link a part, so that the user may go on with the project; symbolically to another disk."""
    for link in (os.link, os.symlink):
        remove(target)
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


def remove(path: Path) -> None:
    """Remove a file or a folder, or a link to one, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _write_parameters(folder: Path, parameters: Mapping[str, Any]) -> None:
    """Write params.yaml; the data set's folder is meant relative to the project."""
    dataset = dict(parameters["dataset"])
    if dataset["source"] != "sample":
        dataset["location"] = str(home_folder() / Path(dataset.get("location")
                                                   or ARCHIVES).expanduser())
    with atomic_write(folder / "params.yaml") as stream:
        stream.write(yaml.safe_dump(dict(parameters) | {"dataset": dataset},
                                    sort_keys=False).encode())


def link_cached(md5: str, target: Path) -> bool:
    """Link what has this MD5 in this project's DVC cache; return whether it is there, whole."""
    files = cache_folder(home_folder()) / "files/md5"
    names = dict(_listed(_cached(files, md5))) if md5.endswith(".dir") else {"": md5}
    if not names or not all(_cached(files, each).is_file() for each in names.values()):
        return False
    remove(target)
    for name, each in names.items():
        link(_cached(files, each), target / name)
    return True


def _from_cache(pixels_digest: str, folder: Path) -> None:
    """Put the store with this digest into `folder`, if this project's DVC cache has one, whole."""
    try:
        files = cache_folder(home_folder()) / "files/md5"
    except UserError:
        return
    for listing in sorted(files.glob("*/*.dir")):
        names = dict(_listed(listing))
        if DESCRIPTION not in names or _described(files, names[DESCRIPTION]) != pixels_digest:
            continue
        remove(folder / STORE)
        try:
            for name, md5 in names.items():
                link(_cached(files, md5), folder / STORE / name)
            Store(folder / STORE).verify()
        except (UserError, OSError) as error:
            say(f"rerun: a store in DVC's cache is damaged and not used ({error})")
            remove(folder / STORE)
            continue
        return


def _listed(listing: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the MD5 of each file of a folder in DVC's cache; nothing where the listing
    is damaged or one of its names leads out of the folder."""
    try:
        if listing.stat().st_size > LARGEST_LISTING:
            return
        rows = [(str(row["relpath"]), str(row["md5"])) for row in json.loads(listing.read_bytes())]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if all(MD5.fullmatch(md5) and name.isprintable() and name == PurePosixPath(name).as_posix()
           and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts
           for name, md5 in rows):
        yield from rows


def _described(files: Path, md5: str) -> object:
    """Return the pixels_digest that a cached store.json names, None if it is none."""
    try:
        description = json.loads(_cached(files, md5).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return description.get("pixels_digest") if isinstance(description, dict) else None


def _cached(files: Path, md5: str) -> Path:
    return files / md5[:2] / md5[2:]
