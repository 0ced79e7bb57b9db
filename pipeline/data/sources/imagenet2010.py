"""ImageNet's 2010 challenge, the one whose test labels are known: 1,261,406 + 50,000 pictures of
1000 classes.

Its archives are read in place, from `dataset.location` or from an address (dataset.origin):

    ILSVRC2010_images_train.tar    ILSVRC2010_images_val.tar    ILSVRC2010_devkit-1.0.tar.gz

The evaluation is on the validation pictures. No checksums of these archives are published where we
could find them: sizes are checked against the server's, damage inside a tar is found when its
headers are walked, and the listing holds their sha256, by which another copy can be compared.
"""

from __future__ import annotations

from pipeline.config.parameters import DatasetSection
from pipeline.data import sources
from pipeline.data.sources import Found, Listing, http, ilsvrc
from pipeline.data.sources.checksums import checksums
from pipeline.data.sources.http import Remote
from pipeline.data.sources.ilsvrc import Y2010
from pipeline.data.sources.imagenet2012 import REGISTRATION, TERMS
from pipeline.data.sources.planning import Plan, Wanted
from pipeline.system.errors import UserError

OFFICIAL_ADDRESS = "https://image-net.org/data/ILSVRC/2010/"
ARCHIVES = (Y2010.train, Y2010.val, Y2010.devkit)
IMAGES = 1_261_406 + 50_000
__all__ = ["TERMS", "fetch", "plan"]


def plan(dataset: DatasetSection) -> Plan:
    """What `fetch` would download."""
    remotes, folder = _remotes(dataset), sources.root(dataset)
    return Plan(folder, [Wanted(one.name, None, one.address if dataset.origin else REGISTRATION)
                         for one in http.missing(remotes, folder)], 0, IMAGES, not dataset.origin)


def fetch(dataset: DatasetSection) -> Found:
    """Raises UserError when an archive is missing, with the page to get it from, damaged, or
    refused."""
    folder = sources.root(dataset)
    lacking = list(http.missing(_remotes(dataset), folder))
    if lacking and not dataset.origin:
        raise UserError(f"dataset.location: {folder} lacks\n  "
                        + "\n  ".join(one.name for one in lacking) + "\nImageNet gives its "
                        f"pictures to registered users: agree to its terms at\n  {REGISTRATION}\n"
                        "and put the files, not unpacked, into that folder; or set dataset.origin "
                        "to official or to the address of another copy.")
    for remote in lacking:
        http.fetched(remote, folder)
    found = ilsvrc.catalogue(folder, Y2010)
    return Found(Listing("imagenet2010", found.classes, checksums(folder, ARCHIVES), {}), found)


def _remotes(dataset: DatasetSection) -> list[Remote]:
    address = OFFICIAL_ADDRESS if dataset.origin in (None, "official") else str(dataset.origin)
    return [Remote(name, f"{address.rstrip('/')}/{name}", private=True) for name in ARCHIVES]
