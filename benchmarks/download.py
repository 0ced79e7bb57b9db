"""What `alexnet download` takes for a folder of a great many pictures: memory and processor's time
of each.

    python -m benchmarks.download [--pictures N] [--json]

The files are tiny, so that their number alone counts. What starting takes is left out: the same is
done to a hundredth as many, and subtracted. Hashing alone is what opening, reading and hashing the
same files one after another takes. Linux only: it tells the peak of a process's memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.harness import report
from pipeline.system.project import CODE

CLASSES = 1000
# prints the seconds of a processor and the bytes of memory that listing a folder takes at most, and
# the seconds of hashing alone
LISTED = """
import hashlib, json, pathlib, sys, time
from pipeline.config.sections import DatasetSection, SampleSection
from pipeline.data.sources import fetching

dataset = DatasetSection(source="folder", location=pathlib.Path(sys.argv[1]), origin=None,
                         sample=SampleSection(seed=0, train_images=20, val_images=10))
start = time.process_time()
fetching.fetch(dataset)
listed = time.process_time()
status = pathlib.Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
names = [name for folder in pathlib.Path(sys.argv[1]).glob("*/*") for name in folder.iterdir()]
before = time.process_time()
for name in names:
    with open(name, "rb", buffering=0) as stream:
        hashlib.sha256(stream.read()).hexdigest()
print(json.dumps([listed - start, peak, time.process_time() - before]))
"""


def write_pictures(folder: Path, count: int) -> Path:
    """Write `count` files, train/<class>/* and val/<class>/*, one in twenty-six for validation."""
    for k in range(count):
        place = folder / ("val" if k % 26 == 0 else "train") / f"n{k * 7 % CLASSES:08}"
        if k < 26 * CLASSES:
            place.mkdir(parents=True, exist_ok=True)
        (place / f"n{k * 7 % CLASSES:08}_{k}.JPEG").write_bytes(b"%d" % k)
    return folder


def listed(pictures: Path, project: Path) -> list[float]:
    """Return seconds, bytes at most, and seconds of hashing alone, in a process of its own."""
    project.mkdir()
    done = subprocess.run([sys.executable, "-c", LISTED, str(pictures)], cwd=project, check=True,
                          text=True, stdout=subprocess.PIPE,
                          env=os.environ | {"PYTHONPATH": str(CODE)})
    values: list[float] = json.loads(done.stdout)
    return values


@click.command(help=__doc__)
@click.option("--pictures", default=200_000, show_default=True,
              type=click.IntRange(100 * CLASSES))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(pictures: int, as_json: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        few = pictures // 100
        small, large = (listed(write_pictures(Path(folder, f"{count}"), count),
                               Path(folder, f"project {count}")) for count in (few, pictures))
    seconds, peak, hashing = ((b - a) / (pictures - few) for a, b in zip(small, large, strict=True))
    report([{"pictures": pictures, "ms of a core each": seconds * 1e3,
             "ms of hashing alone": hashing * 1e3, "bytes of memory each": peak,
             "peak, MB": large[1] / 1e6}],
           {"ms besides hashing, each": (seconds - hashing) * 1e3, "bytes each": peak}, 1, as_json)


if __name__ == "__main__":
    main()
