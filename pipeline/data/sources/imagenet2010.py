"""ImageNet's 2010 challenge, the one whose test labels are known: 1,261,406 + 50,000 pictures of
1000 classes.

Its archives are read in place, from `dataset.location` or from an address (dataset.origin):

    ILSVRC2010_images_train.tar    ILSVRC2010_images_val.tar    ILSVRC2010_devkit-1.0.tar.gz

The evaluation is on the validation pictures. No checksums of these archives are published where we
could find them: sizes are checked against the server's, damage inside a tar is found when its
headers are walked, and the listing holds their sha256, by which another copy can be compared.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path

from pipeline.config.sections import DatasetSection
from pipeline.data.sources import counting, http, ilsvrc, layouts, recognition
from pipeline.data.sources.catalogue import Contents
from pipeline.data.sources.ilsvrc import Y2010
from pipeline.data.sources.imagenet2012 import REGISTRATION, TERMS
from pipeline.data.sources.layouts import Assembly
from pipeline.data.sources.planning import Plan, RemoteFile, data_folder, missing_files
from pipeline.data.sources.recognition import Survey

OFFICIAL_ADDRESS = "https://image-net.org/data/ILSVRC/2010/"
ARCHIVES = (Y2010.train, Y2010.val, Y2010.devkit)
IMAGES = 1_261_406 + 50_000
__all__ = ["TERMS", "fetch", "plan"]


def plan(dataset: DatasetSection) -> Plan:
    """Return what `fetch` would download."""
    remotes, folder = _remotes(dataset), data_folder(dataset)
    missing = missing_files(remotes, folder)
    return Plan(folder, missing, 0, IMAGES, by_hand=not dataset.origin,
                count=None if missing else partial(_counted, folder), slow=True)


def _counted(folder: Path) -> Survey:
    kit = ilsvrc.devkit(folder / Y2010.devkit, Y2010)
    places = chain(ilsvrc.train_places(folder, kit.classes, Y2010),
                   ilsvrc.val_places(folder, Y2010))
    return counting.survey(folder, counting.of_places(places), [Y2010.devkit])


def fetch(dataset: DatasetSection) -> Contents:
    """Put the archives in place; raise UserError when one is missing, with the page to get it from,
    damaged, or refused."""
    folder = data_folder(dataset)
    lacking = missing_files(_remotes(dataset), folder)
    if lacking and not dataset.origin:
        raise recognition.refusal(
            folder, "imagenet2010", f"{folder} lacks\n  "
            + "\n  ".join(one.name for one in lacking) + "\nImageNet gives its pictures to "
            f"registered users: agree to its terms at\n  {REGISTRATION}\nand put the files, not "
            "unpacked, into that folder; or set dataset.origin to official or to the address of "
            "another copy")
    for remote in lacking:
        http.download(remote, folder)
    kit = ilsvrc.devkit(folder / Y2010.devkit, Y2010)
    places = chain(ilsvrc.train_places(folder, kit.classes, Y2010),
                   ilsvrc.val_places(folder, Y2010))
    return layouts.assemble(folder, places, Assembly(kit.classes, kit.val_labels), ARCHIVES)


def _remotes(dataset: DatasetSection) -> list[RemoteFile]:
    address = OFFICIAL_ADDRESS if dataset.origin == "official" else str(dataset.origin)
    return [RemoteFile(name, f"{address.rstrip('/')}/{name}" if dataset.origin else REGISTRATION,
                       private=True) for name in ARCHIVES]
