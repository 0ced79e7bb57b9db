"""The files of a record, and the digests by which each is recognised.

A record names the SHA-256 of its files in the tag `files`, which stands in the store's database,
apart from the files. Records from before that tag name four digests, each by a tag of its own.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from pipeline.config.paths import KEPT, LEARNING, PREDICTIONS, TRACE, WEIGHTS
from pipeline.records import code_archive
from pipeline.records.record import Record
from pipeline.system.errors import UserError
from pipeline.system.files import sha256_of

# A file's name in an exported folder, and in the store.
FILES = {"environment.json": "environment.json", "parameters.json": "parameters.json",
         "code.diff": "code.diff", code_archive.ARCHIVE: code_archive.ARCHIVE,
         "trace.jsonl": TRACE.as_posix(), "learning.csv": LEARNING.as_posix(),
         "model.safetensors": WEIGHTS.as_posix(), PREDICTIONS.name: PREDICTIONS.as_posix()}
# A kept checkpoint's name, the same in both; no tag names its SHA-256, but the trace its tensors.
CHECKPOINT = re.compile(rf"{KEPT.name}/step-(\d{{8}})\.safetensors")
LARGE = ("model.safetensors", PREDICTIONS.name)  # not exported unless asked for, nor checkpoints
# bytes; of a training of a million updates, each traced, the trace has some 5 GB
LARGEST = {"environment.json": 1 << 20, "parameters.json": 1 << 20, "code.diff": 64 << 20,
           code_archive.ARCHIVE: 64 << 20, "trace.jsonl": 8 << 30, "learning.csv": 64 << 20,
           "model.safetensors": 1 << 30, PREDICTIONS.name: 8 << 30}
LARGEST_CHECKPOINT = 2 << 30  # weights and momentum
TEXTS = ("environment.json", "parameters.json", "code.diff")
TAG = "files"
TAGS = (TAG, f"evaluate.{TAG}")  # the second where an evaluation has joined a training


def checkpoint_name(step: int) -> str:
    """Return the name of the kept checkpoint of this step, of which CHECKPOINT is the pattern."""
    return f"{KEPT.name}/step-{step:08d}.safetensors"


def is_known(name: str) -> bool:
    """Return whether this is the name of a file that records have."""
    return name in FILES or CHECKPOINT.fullmatch(name) is not None


def largest_size(name: str) -> int:
    """Return how many bytes a file that is known has at most."""
    return LARGEST.get(name, LARGEST_CHECKPOINT)


def stored_name(name: str) -> str:
    """Return the name in the store of a file that is known."""
    return FILES.get(name) or (KEPT.parent / name).as_posix()


def files_tag(record: Record, with_texts: bool = True) -> dict[str, str]:
    """Return the tag that names the SHA-256 of the record's files, by their name in the store."""
    texts = record.texts if with_texts else {}
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}
    digests |= {artifact["name"]: artifact["sha256"] for artifact in record.artifacts}
    known = {name: digest for name, digest in digests.items() if name in FILES.values()}
    return {TAG: json.dumps(known, sort_keys=True)} if known else {}


def recorded_files(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the SHA-256 of each file that a record names, by its name in an exported folder.

    Raises:
        UserError: the tag is damaged.
    """
    digests: dict[str, str] = {}
    for tag in TAGS:
        try:
            digests |= {str(name): str(digest)
                        for name, digest in json.loads(tags.get(tag, "{}")).items()}
        except (ValueError, AttributeError, RecursionError) as error:
            raise UserError(f"the record's tag {tag} is damaged ({error})") from None
    return {name: digests[stored] for name, stored in FILES.items() if stored in digests}


def check_file(run: str, tags: Mapping[str, str], name: str, file: Path) -> None:
    """Hold a file of a record against the digest that the record names for it, if it names one.

    Raises:
        UserError: the file is not the one that was recorded.
    """
    if (size := file.stat().st_size) > largest_size(name):
        raise UserError(f"run {run}: {file}: {size:,} bytes, and no run's {name} has so many")
    recorded = recorded_files(tags).get(name)
    kind, actual = "SHA-256", ""
    if recorded:
        actual = sha256_of(file)
    elif name == "trace.jsonl" and "trace_digest" in tags:
        kind, recorded, actual = "trace_digest", tags["trace_digest"], sha256_of(file)
    elif name == "environment.json" and "environment_digest" in tags:
        kind, recorded, actual = ("environment_digest", tags["environment_digest"],
                                  sha256_of(file))
    elif name == code_archive.ARCHIVE and "code_digest" in tags:
        kind, recorded, actual = "code_digest", tags["code_digest"], code_archive.code_digest(file)
    elif name == "model.safetensors" and "weights_digest" in tags:
        kind, recorded, actual = "weights_digest", tags["weights_digest"], _weights_digest(file)
    if recorded and actual != recorded:
        raise UserError(f"run {run}: {file}: changed since it was recorded: the record names the "
                        f"{kind} {recorded}, and it has {actual}; put the recorded file back, or "
                        "use another run")


def _weights_digest(file: Path) -> str:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from alexnet.digest import digest_of  # imports torch: only for records of an older day

    try:
        return digest_of(load_file(file))
    except (SafetensorError, OSError) as error:
        return f"none ({error})"
