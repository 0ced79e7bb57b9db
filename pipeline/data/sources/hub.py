"""ImageNet 2012 as the Hugging Face hub has it, ILSVRC/imagenet-1k: Parquet files of bytes, name
and label.

    data/train-00000-of-00294.parquet ...    data/validation-00000-of-00014.parquet ...

To get one picture out of such a file, the hundred around it must be decoded: read in the store's
order, the data set would be read a hundred times over. So each Parquet file is repacked, once, as a
plain tar beside it. What was fetched is removed after that; files that the user has put there stay.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pipeline.data.sources import counting, labels, layouts
from pipeline.data.sources.catalogue import Class, Contents
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.planning import Plan, RemoteFile, check_room
from pipeline.data.sources.recognition import Survey
from pipeline.data.sources.repack import write_tar
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of
from pipeline.system.terminal import progress, say

REPOSITORY = "ILSVRC/imagenet-1k"
ADDRESS = f"https://huggingface.co/datasets/{REPOSITORY}"
BYTES = 154_000_000_000  # of the Parquet files of train and validation, about
# some versions of the hub's library append a hash
PART = re.compile(r"((train|val|validation)-(\d{5})-of-(\d{5}))(-[0-9a-f]{8,64})?"
                  r"( \(\d+\))?\.(parquet|tar)$")
ROWS = 64  # decoded at a time


def parts(folder: Path) -> dict[str, Path]:
    """Return what is there of the data set: "train-00000-of-00294" to its tar, or else its Parquet
    file.

    Raises:
        UserError: a part is there twice.
    """
    by_kind: dict[str, dict[str, Path]] = {"parquet": {}, "tar": {}}
    for place in (folder / "data", folder):
        for file in sorted(place.iterdir()) if place.is_dir() else ():
            if match := PART.match(file.name):
                kind = by_kind[match[7]]
                if match[1] in kind:
                    raise UserError(f"dataset.location: {folder} has {match[1]} twice, as "
                                    f"{kind[match[1]]} and {file}; keep one of them elsewhere")
                kind[match[1]] = file
    return by_kind["parquet"] | by_kind["tar"]


def plan(folder: Path, download: bool, images: int, classes: list[Class]) -> Plan:
    """Return what would be downloaded and repacked."""
    there = parts(folder)
    wanted = ([RemoteFile("*.parquet", f"{ADDRESS}/tree/main/data", BYTES)] if download
              and _lacking(there) else [])
    packed = [file for file in there.values() if file.suffix == ".parquet"]
    return Plan(folder, wanted, sum(file.stat().st_size for file in packed), images,
                count=partial(_counted, folder, there, classes) if there and not wanted else None,
                slow=len(packed) < len(there))


def _counted(folder: Path, there: dict[str, Path], classes: list[Class]) -> Survey:
    files = chain.from_iterable(_listed(folder, file, classes) for _, file in sorted(there.items()))
    return counting.survey(folder, files, ["in the same files"])


def _listed(folder: Path, file: Path, classes: list[Class]) -> Iterator[tuple[str, str]]:
    """Yield a name and a path that tells split and class for each picture; of a Parquet file only
    the labels are read."""
    name = file.relative_to(folder).as_posix()
    if file.suffix == ".tar":
        yield from counting.of_places(layouts.in_tar(folder, name))
        return
    from pipeline.data.arrow import pyarrow

    wnids = sorted(one.wnid for one in classes)
    split = "train" if file.name.startswith("train") else "val"
    try:
        for label in pyarrow.parquet.read_table(file, columns=["label"])["label"].to_pylist():
            yield name, f"{split}/{wnids[label]}/picture.JPEG"
    except (pyarrow.ArrowException, OSError, IndexError, TypeError) as error:
        raise UserError(f"{file}: damaged, or no Parquet file of pictures ({error}); fetch it "
                        "again") from None


def fetch(folder: Path, download: bool, classes: list[Class]) -> Contents:
    """Read what is in the folder; first fetch what it lacks, if `download` is set.

    Raises:
        UserError: something is missing or damaged, or the hub's client is missing or refused.
    """
    if download and _lacking(parts(folder)):
        _download(folder, classes)
    val_labels = labels.find(labels.places(folder, folder / "val"), classes)  # another key
    there = parts(folder)
    if lacking := _lacking(there):
        raise UserError(f"dataset.location: {folder} lacks {lacking[0]} ({len(lacking)} such); put "
                        "it there, or set dataset.origin to huggingface to fetch it")
    unpacked = {stem: file for stem, file in there.items() if file.suffix == ".parquet"}
    check_room(folder, sum(file.stat().st_size for file in unpacked.values()))
    for stem, file in sorted(unpacked.items()):
        there[stem] = _repack(file, folder / f"{stem}.tar", classes)
    names = sorted(file.relative_to(folder).as_posix() for file in there.values())
    places = chain.from_iterable(layouts.in_tar(folder, name) for name in names)
    return layouts.assemble(folder, places, Assembly(classes, val_labels), names)


def _lacking(there: dict[str, Path]) -> list[str]:
    """Return the files that are missing, by the names: each says how many its split has."""
    matches = [match for file in there.values() if (match := PART.match(file.name))]
    lacking = [] if any(match[2] == "train" for match in matches) else ["train-*.parquet"]
    lacking += [] if any(match[2] != "train" for match in matches) else ["validation-*.parquet"]
    for split, count in sorted({(match[2], match[4]) for match in matches}):
        stems = {f"{split}-{number:05}-of-{count}" for number in range(int(count))}
        lacking += [f"{stem}.parquet" for stem in sorted(stems - there.keys())]
    return lacking


def _repack(file: Path, target: Path, classes: list[Class]) -> Path:
    from pipeline.data.arrow import pyarrow

    try:
        with (pyarrow.parquet.ParquetFile(file) as table,
              progress(f"repacking {file.name}", table.metadata.num_rows, "pictures") as advance):
            write_tar(target, _pictures(table, file, classes, advance))
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{file}: damaged, or no Parquet file of pictures ({error}); fetch it "
                        "again") from None
    return target


def _pictures(table: Any, file: Path, classes: list[Class],
              advance: Any) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each row. The hub's label is the place of the class in the order of
    the wnids, which the names confirm: they end in the wnid, n01440764_10026_n01440764.JPEG. Where
    a name has none, the user is told."""
    wnids, unconfirmed = sorted(one.wnid for one in classes), 0
    split = "train" if file.name.startswith("train") else "val"
    for batch in table.iter_batches(ROWS, columns=["image", "label"], use_threads=False):
        for row in batch.to_pylist():
            name = os.path.basename((row["image"] or {}).get("path") or "")
            content, label = (row["image"] or {}).get("bytes"), row["label"]
            if (not name or content is None or not isinstance(label, int)
                    or not 0 <= label < len(wnids)):
                raise UserError(f"{file}: a row without name, bytes or a label of "
                                f"0..{len(wnids) - 1} ({name!r}, {label!r}); fetch it again")
            named = set(re.findall(r"n\d{8}", name))
            unconfirmed += not named
            if named and named != {wnids[label]}:
                raise UserError(f"{file}: {name} has the label {label}, which is {wnids[label]}: "
                                "the labels are not in the order of the wnids; fetch the file "
                                "again")
            yield f"{split}/{wnids[label]}/{layouts.without_class(name)}", content
            advance(1)
    if unconfirmed:
        say(f"{file}: {unconfirmed:,} pictures have no class in their names; unless a list of "
            f"labels lies beside ({', '.join(labels.KNOWN_FILES[:2])}), their labels are taken "
            "from the file alone")


def _download(folder: Path, classes: list[Class]) -> None:
    """Fetch file by file with the hub's own client: each is verified, repacked and removed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import HfApi, RepoFile
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
    except ImportError as error:
        raise UserError(f"dataset.origin: huggingface needs the hub's client ({error}): "
                        f"`pip install huggingface_hub`, or fetch the Parquet files of {ADDRESS} "
                        f"and put them into {folder}") from None
    unfinished = folder / ".fetching"
    try:
        api = HfApi()
        listed = api.list_repo_tree(REPOSITORY, "data", repo_type="dataset")
        remote = sorted((one for one in listed if isinstance(one, RepoFile)
                         and PART.search(one.path)), key=lambda one: one.path)
        there = parts(folder)
        wanted = [file for file in remote if Path(file.path).stem not in there]
        say(f"{ADDRESS}: {len(wanted)} of {len(remote)} files to fetch")
        check_room(folder, sum(one.size for one in wanted))
        with progress("fetching from the hub", round(sum(one.size for one in wanted) / 1e6, 1),
                      "MB") as advance:
            for one in wanted:
                file = Path(api.hf_hub_download(REPOSITORY, one.path, repo_type="dataset",
                                                local_dir=unfinished))
                expected = one.lfs.sha256 if one.lfs else None
                if file.stat().st_size != one.size or expected not in (None, sha256_of(file)):
                    file.unlink()
                    raise UserError(f"{ADDRESS}: {one.path}: not the bytes that the hub lists; "
                                    "the same command fetches it again")
                _repack(file, folder / f"{file.stem}.tar", classes)
                file.unlink()
                advance(one.size / 1e6, one.path)
    except (GatedRepoError, RepositoryNotFoundError):
        raise UserError(f"{ADDRESS}: refused: agree to its terms on that page, and let the client "
                        "know your token: HF_TOKEN in the environment, or "
                        "`hf auth login`") from None
    except (HfHubHTTPError, OSError) as error:
        raise UserError(f"{ADDRESS}: the hub's client failed ({type(error).__name__}); the same "
                        "command goes on where it stopped") from None
