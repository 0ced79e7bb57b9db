"""data/left_out.json: every file of the data set's folder that is not taken, and every labelled
picture that is not there.

It is no part of data/download, whose bytes are those of the data alone: a .DS_Store does not make
the store anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.config.paths import FILES_LEFT_OUT
from pipeline.data.sources.catalogue import Contents
from pipeline.system.errors import UserError
from pipeline.system.files import read_json, write_json


@dataclass(frozen=True)
class Account:
    """What became of the files of a data set that are not in its listing.

    Attributes:
        taken: how many pictures of each split are taken, `train` and `val`.
        left_out: files that are no pictures of it, by the reason why.
        unlabelled: pictures that no key gives a label to, by the reason why.
        missing: the keys of validation labels that no picture has.
    """

    taken: dict[str, int]
    left_out: dict[str, list[str]]
    unlabelled: dict[str, list[str]]
    missing: list[str]

    def counts(self) -> dict[str, int]:
        """Return how many there are of each kind, as metrics/download.json has them."""
        return {"left_out": sum(map(len, self.left_out.values())),
                "unlabelled": sum(map(len, self.unlabelled.values())),
                "missing": len(self.missing)}


def write_account(contents: Contents) -> None:
    """Write the account of a data set."""
    catalogue = contents.catalogue
    write_json(FILES_LEFT_OUT, {
        "taken": {"train": len(catalogue.train), "val": len(catalogue.val)},
        "left_out": _sorted(contents.left_out.files),
        "unlabelled": _sorted(contents.strays.files), "missing": list(contents.missing)})


def _sorted(files: dict[str, list[str]]) -> dict[str, list[str]]:
    return {reason: sorted(files[reason]) for reason in sorted(files)}


def read_account() -> Account:
    """Read what `write_account` wrote.

    Raises:
        UserError: the file is missing or broken.
    """
    values: Any = read_json(FILES_LEFT_OUT, "download")
    try:
        account = Account(**values)
        account.counts()
    except (TypeError, AttributeError) as error:
        raise UserError(f"{FILES_LEFT_OUT}: broken ({error}); make it again with "
                        "`alexnet download`") from None
    return account
