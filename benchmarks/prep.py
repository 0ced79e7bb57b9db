"""From JPEG files to 256x256 pixels: ours against torchvision on stock Pillow, bare decoding, and
others.

    python -m benchmarks.prep [--images DIR] [--json] [--limit N] [--rounds N] [--side DIR]

DIR is a folder or a .tar of pictures, of which the JPEGs in RGB or gray count; without it the
sample's are drawn. Every contender does the same pictures, from memory, in processes of its own,
one and then one a core; all take turns. "Per core" is by the processor's time of one process, which
other work on the machine hardly touches; "all cores" is by the clock; "were the cores free" goes by
the processor's time that a picture takes when all processes run. Stock Pillow and the others live
in a side folder, since a second Pillow cannot be installed beside pillow-simd:

    pip install --no-deps --target work/benchmark -r benchmarks/requirements.txt

What is not there is left out, which is said. PSNR is against torchvision on stock Pillow, bicubic,
picture by picture; identical pixels count as 100 dB.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.contenders import FEW, ONE, SIMD, STORED
from benchmarks.harness import interleaved, ratio, report
from pipeline.data.pixels import Undecodable, decode
from pipeline.records.environment import cores
from pipeline.system.terminal import say

REFERENCE = "torchvision, stock Pillow, bicubic"
DECODING = "libjpeg-turbo, decoding only"
IN_TURN = ("ours", STORED, REFERENCE, SIMD, DECODING)  # these with one process a core, too
IDENTICAL = 100.0


def pictures_in(source: Path) -> Iterator[bytes]:
    """The files of a folder or a tar, in the order of their names."""
    if source.is_dir():
        yield from (file.read_bytes() for file in sorted(source.rglob("*")) if file.is_file())
        return
    with tarfile.open(source) as archive:
        for member in sorted((one for one in archive if one.isfile()), key=lambda one: one.name):
            stream = archive.extractfile(member)
            assert stream is not None
            yield stream.read()


def drawn() -> Iterator[bytes]:
    from pipeline.data.sources import sample

    return (sample.encoded(2012, sample.TRAIN, index, index % 10) for index in range(200))


def usable(content: bytes) -> bool:
    """Whether all contenders can take it: a whole JPEG in RGB or gray."""
    from PIL import Image

    try:
        decode(content)
        image = Image.open(io.BytesIO(content))
    except (Undecodable, OSError):
        return False
    return image.format == "JPEG" and image.mode in ("RGB", "L")


class Contender:
    """So many processes of one contender, ready; called with a number, so many of them share the
    pictures.

    Attributes:
        problem: why it cannot run here; empty if it can.
        used: of each call, the processes' seconds of processor time.
    """

    def __init__(self, name: str, pictures: Path, side: Path, processes: int) -> None:
        self.used: list[float] = []
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by `close`
        command = [sys.executable, "-m", "benchmarks.contenders", name, str(pictures)]
        self._processes = [subprocess.Popen(
            command + ([] if name in ("ours", STORED, SIMD) else [str(side)]),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"}) for _ in range(processes)]
        answers = [self._answer(process) for process in self._processes]
        self.problem = "" if all(answers) else self._last_words()

    def __call__(self, processes: int = 1) -> None:
        for k, process in enumerate(self._processes[:processes]):
            self._tell(process, f"{k} {processes}")
        answers = [self._answer(process) for process in self._processes[:processes]]
        assert all(answers), self._last_words()
        self.used.append(sum(map(float, answers)))

    def pixels(self, file: Path) -> np.ndarray[Any, Any]:
        self._tell(self._processes[0], f"save {file}")
        assert self._answer(self._processes[0]), self._last_words()
        found: np.ndarray[Any, Any] = np.load(file)
        return found

    def close(self) -> None:
        for process in self._processes:
            process.communicate()
        self._log.close()

    def _tell(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> str:
        """Empty when it has ended."""
        assert process.stdout is not None
        return process.stdout.readline()

    def _last_words(self) -> str:
        self._log.seek(0)
        return (self._log.read().splitlines() or ["no word"])[-1]


def psnr(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> list[float]:
    """In dB, of each picture."""
    errors = [np.mean((x.astype(np.float64) - y) ** 2) for x, y in zip(a, b, strict=True)]
    return [IDENTICAL if error == 0 else float(10 * np.log10(255**2 / error)) for error in errors]


@click.command(help=__doc__)
@click.option("--images", type=click.Path(path_type=Path, exists=True),
              help="A folder or a .tar of pictures.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--limit", default=1000, show_default=True, help="So many pictures at most.")
@click.option("--rounds", default=9, show_default=True)
@click.option("--side", default=Path("work/benchmark"),
              show_default=True, type=click.Path(path_type=Path),
              help="The folder with stock Pillow and the other contenders.")
def main(images: Path | None, as_json: bool, limit: int, rounds: int, side: Path) -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        count, bytes_ = _written(pictures_in(images) if images else drawn(), pictures, limit)
        say(f"{count} pictures, {bytes_ / count / 1000:.0f} KB each")
        contenders = {}
        for name in (*ONE, STORED):
            contender = Contender(name, pictures, side.absolute(),
                                  cores() if name in IN_TURN else 1)
            stack.callback(contender.close)
            if contender.problem:
                say(f"left out: {name}: {contender.problem}")
            else:
                contenders[name] = contender
        rows, ratios = _measured(contenders, count, rounds, Path(folder))
    report(rows, ratios, cores(), as_json)


def _written(found: Iterator[bytes], folder: Path, limit: int) -> tuple[int, int]:
    count = size = unusable = 0
    for content in found:
        if count == limit:
            break
        if usable(content):
            (folder / f"{count:06}.jpg").write_bytes(content)
            count, size = count + 1, size + len(content)
        else:
            unusable += 1
    if unusable:
        say(f"{unusable} files are no whole JPEGs in RGB or gray, and are left out")
    if not count:
        raise click.ClickException("no JPEG to do anything with")
    return count, size


def _run(contender: Contender, processes: int) -> Callable[[], None]:
    return lambda: contender(processes)


def _measured(contenders: dict[str, Contender], count: int, rounds: int,
              folder: Path) -> tuple[list[dict[str, Any]], dict[str, float]]:
    quality = {}
    if REFERENCE in contenders:
        reference = contenders[REFERENCE].pixels(folder / "reference.npy")
        for name, contender in contenders.items():
            if name not in (DECODING, STORED):
                found = contender.pixels(folder / "pixels.npy")
                quality[name] = psnr(found, reference[:len(found)])
    one = {name: _run(contender, 1) for name, contender in contenders.items()}
    every = {f"{name} on all cores": _run(contenders[name], cores())
             for name in IN_TURN if name in contenders}
    wall = interleaved(one | every, rounds)
    # A contender's calls: those of the round that does not count, then, each round, one process and
    # perhaps all.
    used = {name: contender.used[2 if name in IN_TURN else 1::2 if name in IN_TURN else 1]
            for name, contender in contenders.items()}
    rows: list[dict[str, Any]] = []
    for name in contenders:
        done = FEW if name == "ImageMagick" else count
        both = wall.get(f"{name} on all cores")
        rows.append({"what": name, "images/s, per core": done / statistics.median(used[name]),
                     "images/s, all cores": done / statistics.median(both) if both else "",
                     "PSNR mean": statistics.mean(quality[name]) if name in quality else "",
                     "PSNR minimum": min(quality[name]) if name in quality else ""})
    ratios = {}
    for other in (REFERENCE, SIMD, DECODING):
        if other in contenders:
            ratios[f"ours / {other}, per core"] = ratio(used[other], used["ours"])
            ratios[f"ours / {other}, all cores"] = ratio(wall[f"{other} on all cores"],
                                                         wall["ours on all cores"])
    # of the whole of resize, how much is left of the rate of decoding and resampling alone
    ratios[f"{STORED} / ours, per core"] = ratio(used["ours"], used[STORED])
    ratios[f"{STORED} / ours, all cores"] = ratio(wall["ours on all cores"],
                                                  wall[f"{STORED} on all cores"])
    ratios[f"{STORED} / ours, one process by the clock"] = ratio(wall["ours"], wall[STORED])
    for name in IN_TURN:
        if name in contenders and cores() > 1:
            ratios[f"{name}: {cores()} processes / 1"] = ratio(wall[name],
                                                               wall[f"{name} on all cores"])
            ratios[f"{name}: {cores()} processes / 1, were the cores free"] = cores() * ratio(
                used[name], contenders[name].used[3::2])
    if "ours" in quality:
        ratios |= {"PSNR of ours, mean, dB": statistics.mean(quality["ours"]),
                   "PSNR of ours, minimum, dB": min(quality["ours"])}
    return rows, ratios


if __name__ == "__main__":
    main()
