"""What cannot be decoded, and what only in part: what the user reads of it, and when it ends the
stage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.data.sources.catalogue import Class
from pipeline.data.store import Quarantined
from pipeline.system.errors import UserError

SHOWN = 3  # names of a kind
KINDS = 30  # kinds that a message has room for


def summary(pictures: Iterable[Quarantined]) -> str:
    """Return a line for each kind of damage: how many, what it is, its fix, the first names."""
    kinds: dict[tuple[str, str], list[Quarantined]] = {}
    for picture in pictures:
        kinds.setdefault((picture.reason, picture.fix), []).append(picture)
    largest = sorted(kinds.items(), key=lambda kind: -len(kind[1]))
    lines = [f"\n  {len(some)} {reason} ({fix}): "
             + ", ".join(f"{picture.split} {picture.name}" for picture in some[:SHOWN])
             + (", ..." if len(some) > SHOWN else "")
             for (reason, fix), some in largest[:KINDS]]
    return "".join(lines) + (f"\n  {len(kinds) - KINDS} more kinds" if len(kinds) > KINDS else "")


def check_number(quarantined: Sequence[Quarantined], allowed: int, file: Path) -> None:
    """See that no more pictures are in quarantine than resize.max_quarantined allows.

    Args:
        quarantined: in an order that does not depend on the workers'.
        allowed: resize.max_quarantined.
        file: in which they are listed.

    Raises:
        UserError: there are more.
    """
    if len(quarantined) > allowed:
        raise UserError(f"{len(quarantined)} images cannot be decoded, and resize.max_quarantined "
                        f"allows {allowed}; {file} lists them, each with its fix. Repair or "
                        "replace them, or raise resize.max_quarantined."
                        f"{summary(quarantined)}")


def check_classes(split: str, wanted: Mapping[int, int], stored: Mapping[int, int],
                  classes: Sequence[Class], file: Path) -> str:
    """See that the quarantine has left something of a split, and of each class of the training
    set.

    Args:
        split: `train` or `val`.
        wanted: how many pictures of each label the data set has.
        stored: how many of these could be decoded.
        classes: in the order of their labels.
        file: in which the pictures in quarantine are listed.

    Returns:
        What to say of classes without validation pictures; empty where each has some.

    Raises:
        UserError: nothing is left.
    """
    if wanted and not any(stored.values()):
        raise UserError(f"{split}: none of its {sum(wanted.values())} images can be decoded; "
                        f"{file} says what each of them is, and its fix")
    empty = [label for label in sorted(wanted) if wanted[label] and not stored.get(label)]
    if not empty:
        return ""
    names = ", ".join(f"{classes[label].wnid} ({wanted[label]} images)" for label in empty[:KINDS])
    lack = (f"none of the {split} images of {len(empty)} class{'es' * (len(empty) > 1)} can be "
            f"decoded: {names}{', ...' if len(empty) > KINDS else ''}; {file} says what each of "
            "them is, and its fix")
    if split == "train":
        raise UserError(lack)
    return lack
