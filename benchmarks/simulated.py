"""A simulated ILSVRC 2012, from its three archives to mean and PCA: time, memory, and what was done
with odd files.

    python -m benchmarks.simulated --folder DIR [--images DIR] [--count 20000] [--encoding jpeg]
    [--json]

Writes archives in the official form into the folder, 1,000 classes, 19 in 20 pictures for training,
made of the pictures of `--images` (a folder or .tar; without it, the sample's) over and over, with
ImageNet's oddities among them: 22 CMYK JPEGs, a PNG named .JPEG, grayscale, corrupt EXIF, EXIF
rotation, 500x33, 33x500 and 3888x2592 pixels; and five files that no decoder can take. Then it runs
the real stages there. Archives that are there already are used again.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import psutil

from benchmarks.harness import report
from benchmarks.prep import drawn, pictures_in, usable
from pipeline.config.paths import STORE, metrics_of
from pipeline.config.stages import PREPARATION
from pipeline.data.sources import ilsvrc, ilsvrc_writer
from pipeline.data.sources.catalogue import Class
from pipeline.records.environment import cores
from pipeline.system.files import read_json
from pipeline.system.processes import kill_children
from pipeline.system.project import CODE
from pipeline.system.terminal import say

CLASSES = [Class(f"n{k:08}", f"class {k}") for k in range(1, 1001)]
IMAGENET, IMAGENET_21K = 1_331_167, 14_197_122
VERIFICATIONS = (("mean", "--verify"), ("pca", "--verify"))
SECONDS_BETWEEN_LOOKS = 0.1
# The archives are not the official ones, so the stages are run with these ones' checksums in place
# of theirs.
STAGE = """
import json, pathlib
from pipeline.commands.main import main
from pipeline.data.sources import imagenet2012
checksums = json.loads(pathlib.Path("checksums.json").read_text())
imagenet2012.OFFICIAL = {name: imagenet2012.Archive(*checksums[name])
                         for name in imagenet2012.OFFICIAL}
main()
"""


def _encoded(image: Any, form: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _with_exif(content: bytes, exif: bytes) -> bytes:
    """The same JPEG with an EXIF segment at its beginning."""
    return content[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + content[2:]


def _rotation() -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    return exif.tobytes()


def _as(mode: str, form: str = "JPEG",
        size: tuple[int, int] | None = None) -> Callable[[bytes], bytes]:
    def change(content: bytes) -> bytes:
        from PIL import Image

        image = Image.open(io.BytesIO(content)).convert("RGB").convert(mode)
        return _encoded(image.resize(size) if size else image, form)
    return change


ODD: dict[str, tuple[int, Callable[
    [bytes],
    bytes]]] = {  # how many of 20,000, and how they are made
                "CMYK": (22, _as("CMYK")),
                "PNG named .JPEG": (1, _as("RGB", "PNG")),
                "grayscale": (200, _as("L")),
                "corrupt EXIF": (10, lambda content: _with_exif(content, b"Exif\0\0II*\0\x08\0\0\0"
                                                                + b"\xff" * 40)),
                "EXIF rotation": (10, lambda content: _with_exif(content, _rotation())),
                "500x33": (3, _as("RGB", size=(500, 33))),
                "33x500": (3, _as("RGB", size=(33, 500))),
                "3888x2592": (3, _as("RGB", size=(3888, 2592))),
                "truncated": (3, lambda content: content[: len(content) // 2]),
                "not a picture of a known format, but an HTML page": (
                    1, lambda content: b"<html>404</html>" * 50),
                "empty": (1, lambda content: b""),}
UNDECODABLE = ("truncated", "not a picture of a known format, but an HTML page", "empty")


def _oddities(count: int) -> dict[int, str]:
    """Which training pictures are odd, spread evenly over the set."""
    kinds = [kind for kind, (many, _) in ODD.items() for _ in range(many)]
    step = count / len(kinds)
    # Another order than by kind, for neighbours to differ: 97 has no common divisor with the number
    # of oddities.
    return {int(k * step): kinds[k * 97 % len(kinds)] for k in range(len(kinds))}


def _per_class(count: int) -> int:
    return count * 19 // 20 // len(CLASSES)


def write_archives(folder: Path, pictures: list[bytes], count: int) -> None:
    """The three archives: `count` pictures, of which one in twenty is for validation."""
    per_class, val = _per_class(count), count // 20
    odd = _oddities(per_class * len(CLASSES))

    def train(label: int) -> Iterator[tuple[str, bytes]]:
        for k in range(label * per_class, (label + 1) * per_class):
            content = pictures[k % len(pictures)]
            yield (f"{CLASSES[label].wnid}_{k}.JPEG",
                   ODD[odd[k]][1](content) if k in odd else content)

    ilsvrc_writer.write(folder, CLASSES, map(train, range(len(CLASSES))), (
        (f"ILSVRC2012_val_{k + 1:08}.JPEG", pictures[k * 7 % len(pictures)]) for k in range(val)),
        [k % len(CLASSES) for k in range(val)])


def run_stage(folder: Path, *arguments: str) -> dict[str, float]:
    """Seconds by the clock and of all its processes on the cores, and the memory that they had at
    most, in MB."""
    start, used, main, worker = time.monotonic(), _used(), 0.0, 0.0
    child = subprocess.Popen([sys.executable, "-c", STAGE, *arguments], cwd=folder,
                             env=os.environ | {"PYTHONPATH": str(CODE)})
    try:
        while child.poll() is None:
            main = max(main, _memory(child.pid))
            worker = max([worker, *(_memory(one.pid) for one in _children(child.pid))])
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        kill_children(child.pid)
    if child.returncode:
        raise click.ClickException(f"alexnet {' '.join(arguments)} failed in {folder}")
    return {"seconds": time.monotonic() - start, "core-seconds": _used() - used,
            "main process, MB": main, "largest worker, MB": worker}


def _used() -> float:
    """Seconds of processor time of all children that have ended, and of theirs."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _children(pid: int) -> list[psutil.Process]:
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.Error:
        return []


def _memory(pid: int) -> float:
    """Of its own, in MB: without the pages of mapped files, which the system takes back when it
    needs them."""
    try:
        info = psutil.Process(pid).memory_info()
        return float((info.rss - getattr(info, "shared", 0)) / 1e6)
    except psutil.Error:
        return 0.0


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True,
              help="Where all of it goes.")
@click.option("--images", type=click.Path(path_type=Path, exists=True), multiple=True,
              help="A folder or a .tar of pictures. May be repeated.")
@click.option("--count", default=20_000, show_default=True, type=click.IntRange(2000),
              help="Pictures in all.")
@click.option("--encoding", default="raw", show_default=True, type=click.Choice(["raw", "jpeg"]))
@click.option("--workers", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(folder: Path, images: tuple[Path, ...], count: int, encoding: str, workers: str,
         as_json: bool) -> None:
    archives = folder / "archives"
    if not all((archives / name).exists()
               for name in (ilsvrc.Y2012.train, ilsvrc.Y2012.val, ilsvrc.Y2012.devkit)):
        pictures = [one for source in images for one in pictures_in(source)] or list(
            filter(usable, drawn()))
        say(f"writing the archives of {count} pictures, of {len(pictures)} different ones")
        write_archives(archives, pictures, count)
    (folder / "checksums.json").write_text(json.dumps({file.name: _checksum(file)
                                                       for file in archives.iterdir()}))
    _write_parameters(folder, encoding)
    written = _per_class(count) * len(CLASSES) + count // 20
    rows: list[dict[str, Any]] = []
    for arguments in (*((stage,) for stage in PREPARATION), *VERIFICATIONS):
        options = ("--workers", workers) if arguments == ("resize",) else ()
        rows.append({"stage": " ".join(arguments)} | run_stage(folder, *arguments, *options))
    resize = rows[PREPARATION.index("resize")]
    per_image = resize["core-seconds"] / written
    store = sum(file.stat().st_size for file in (folder / STORE).iterdir())
    found = read_json(folder / metrics_of("resize"), "resize")
    _assert_all_there(folder, found, written)
    report(rows,
           {"images": found["images"], "quarantined": found["quarantined"],
            "store, GB": store / 1e9, "resize, images/s": written / resize["seconds"],
            "resize, images per core-second": 1 / per_image,
            f"core-hours for ImageNet ({IMAGENET} images)": per_image * IMAGENET / 3600,
            "store for ImageNet, GB": store / written * IMAGENET / 1e9,
            f"core-hours for ImageNet-21k ({IMAGENET_21K} images)": per_image * IMAGENET_21K / 3600,
            "store for ImageNet-21k, TB": store / written * IMAGENET_21K / 1e12}, cores(), as_json)


def _assert_all_there(folder: Path, metrics: dict[str, Any], written: int) -> None:
    """Every picture is stored, but for the undecodable ones, which are quarantined with their
    reason."""
    reasons = sorted(one["reason"]
                     for one in read_json(folder / STORE / "quarantine.json", "resize"))
    assert reasons == sorted(kind for kind in UNDECODABLE for _ in range(ODD[kind][0])), reasons
    assert metrics["images"] == written - len(reasons), metrics


def _checksum(file: Path) -> tuple[int, str]:
    with file.open("rb") as stream:
        return file.stat().st_size, hashlib.file_digest(stream, "md5").hexdigest()


def _write_parameters(folder: Path, encoding: str) -> None:
    import yaml

    values = yaml.safe_load((CODE / "params.yaml").read_text(encoding="utf-8"))
    values["dataset"] |= {"source": "imagenet2012", "location": "archives", "incomplete": True}
    values["store"]["encoding"] = encoding
    (folder / "params.yaml").write_text(json.dumps(values), encoding="utf-8")


if __name__ == "__main__":
    main()
