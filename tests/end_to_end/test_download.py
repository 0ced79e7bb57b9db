"""From an address to the image store with the real commands, interrupted and gone on with."""

from __future__ import annotations

import io
import signal
import time
from pathlib import Path

from PIL import Image

from pipeline.data.sources import ilsvrc_writer
from pipeline.data.sources.catalogue import Class
from pipeline.data.sources.ilsvrc import Y2010
from tests.end_to_end.project import Project
from tests.pipeline.data.sources.misbehaving_server import serving

CLASSES = [Class("n02", "b"), Class("n01", "a")]


def jpeg(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 50), (value, 255 - value, 99)).save(stream, "JPEG")
    return stream.getvalue()


def test_dvc_repro_goes_on_with_a_download_that_was_stopped(tmp_path: Path) -> None:
    train = [[(f"{one.wnid}_{number}.JPEG", jpeg(10 * number)) for number in range(6)]
             for one in CLASSES]
    val = [(f"ILSVRC2010_val_{number:08}.JPEG", jpeg(5 * number)) for number in range(1, 4)]
    ilsvrc_writer.write(tmp_path / "remote", CLASSES, train, val, (0, 1, 1), year=Y2010)
    project = Project(tmp_path / "project")
    archives = project.folder / "archives"
    with serving(b"") as server:
        project.set(**{"dataset.source": "imagenet2010", "dataset.incomplete": True,
                       "dataset.origin": server.address("an_archive")})
        server.files = {file.name: file.read_bytes() for file in (tmp_path / "remote").iterdir()}
        child = project.start("alexnet", "download")
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size for part in archives.glob(".*.fetching")):
            assert child.poll() is None, child.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        output = child.communicate()[0]
        assert child.returncode == 130, output
        assert "interrupted; the same command goes on where it stopped" in output
        arrived = (archives / f".{Y2010.train}.fetching").stat().st_size
        assert not (archives / Y2010.train).exists()
        project.run("dvc", "repro", "resize")
        assert server.ranges()[:2] == [None, f"bytes={arrived}-"]
        metrics = project.metrics("resize")
        assert (metrics["images"], metrics["quarantined"]) == (15, 0)
        asked = len(server.requests)
        assert "didn't change" in project.run("dvc", "repro", "resize")
        assert len(server.requests) == asked
    assert (sorted(path.name for path in archives.iterdir())
            == sorted([Y2010.train, Y2010.val, Y2010.devkit]))
