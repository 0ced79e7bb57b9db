"""The code of a run as one small file, code.tar.gz: what a rerun needs that git may not have.

`pack_code()` packs all that `environment.code_digest` covers, and the files beside it that say how
it is run; the same files give the same bytes. `unpack_code()` unpacks it and proves that it is the
code of the record; no commit has to be reachable for that, so runs from a dirty tree, another clone
and another machine are all alike.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from pipeline.records import environment
from pipeline.system.errors import UserError
from pipeline.system.project import CODE

ARCHIVE = "code.tar.gz"
# each where there is one
BESIDE = ("params.yaml", "dvc.yaml", "dvc.lock", "pyproject.toml", "requirements.lock")
LARGEST = 64 << 20  # bytes, unpacked; the code has less than one million


def pack_code(root: Path = CODE) -> bytes:
    """Return the archive of the code under `root`: no times, no owners, names in order."""
    packed = io.BytesIO()
    with (gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0) as compressed,
          tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive):
        for name, file in sorted(_files(root).items()):
            content = file.read_bytes()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def unpack_code(archive: Path, folder: Path, code_digest: str) -> None:
    """Unpack into `folder`, which is emptied before.

    Raises:
        UserError: the archive is damaged, holds something else than code, or its code is not the
            one with this digest.
    """
    contents = _contents(archive)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        for name, content in contents.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as error:
        # no fault of its names
        if error.errno not in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG):
            raise
        raise UserError(f"{archive}: {name!r} cannot be the name of a file of the code "
                        f"({error.strerror})") from None
    if environment.code_digest(folder) != code_digest:
        raise UserError(f"{archive}: its code has not the code_digest {code_digest[:16]}... that "
                        "the record names")


def code_digest(archive: Path) -> str:
    """Return the digest of the code in an archive, as `environment.code_digest` takes it of a
    folder."""
    contents = _contents(archive)
    return environment.digest_of_code({name: content for name, content in contents.items()
                                       if name not in BESIDE})


def file_digests(archive: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in an archive, by name."""
    return {name: hashlib.sha256(content).hexdigest()
            for name, content in _contents(archive).items()}


def _files(root: Path) -> dict[str, Path]:
    return environment.code_files(root) | {name: root / name for name in BESIDE
                                           if (root / name).is_file()}


def _contents(archive: Path) -> dict[str, bytes]:
    """Return the files in an archive, by name.

    Only what `pack_code` packs is taken: a module of any other name beside the packages would be
    imported in place of an installed one, and no digest covers it.
    """
    contents: dict[str, bytes] = {}
    try:
        with gzip.open(archive) as compressed:
            content = compressed.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise UserError(f"{archive}: unpacks to more than {LARGEST:,} bytes, which is no code "
                            "of this project")
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as opened:
            for member in opened:
                stream = (opened.extractfile(member) if member.isreg() and not member.issparse()
                          else None)
                if stream is None or member.name in contents or not _is_ours(member.name):
                    raise UserError(f"{archive}: {member.name!r} is not a file of the code, occurs "
                                    "twice or leads out of its folder")
                contents[member.name] = stream.read()
    except (OSError, EOFError, ValueError, RecursionError, tarfile.TarError, zlib.error) as error:
        raise UserError(f"{archive}: damaged ({error})") from None
    return contents


def _is_ours(name: str) -> bool:
    package, *rest = name.split("/")
    if not rest:
        return name in BESIDE
    return (package in environment.PACKAGES
            and PurePosixPath(name).suffix in environment.CODE_SUFFIXES
            and name.isprintable() and not {"", ".", ".."} & set(rest))
