"""Damage to bytes, drawn from a seed: flips, cuts, repetitions, numbers that lie, pieces of other
inputs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

NUMBERS = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
           2**63 - 1, 2**64)
WORDS = (b"../", b"/etc/passwd", b"\0", b"\xff" * 8, b"NaN", b"-1", b"1e999", b"9" * 30, b"[" * 200,
         b"{", b"}", b'"', b"*a", b"&a ", b"\x1b[2J", b"\xed\xa0\x80", b"null", b"true", b"\n",
         b",")


def mutated(content: bytes, others: Sequence[bytes], draw: random.Random) -> bytes:
    """One to six changes, of which small ones are the likeliest."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 6))):
        draw.choice(CHANGES)(found, others, draw)
    return bytes(found)


def _place(found: bytearray, draw: random.Random, room: int = 0) -> int:
    return draw.randrange(max(1, len(found) - room + 1))


def _flip(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    if found:
        found[draw.randrange(len(found))] ^= 1 << draw.randrange(8)


def _byte(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    if found:
        found[draw.randrange(len(found))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF,
                                                         draw.randrange(256)))


def _digit(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    """Of a number in text: an octal size in a tar, a shape in JSON."""
    digits = [place for place, byte in enumerate(found) if 48 <= byte < 58]
    if digits:
        found[draw.choice(digits)] = draw.randrange(48, 58)


def _number(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    size = draw.choice((1, 2, 4, 8))
    value = draw.choice(NUMBERS) + draw.randint(-1, 1)
    place = _place(found, draw, size)
    found[place: place + size] = (value % 256**size).to_bytes(size, draw.choice(("little", "big")))


def _cut(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    place = _place(found, draw)
    del found[place: place + _length(draw)]


def _end(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    del found[_place(found, draw):]


def _repeat(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    place = _place(found, draw)
    piece = found[place: place + _length(draw)]
    found[place:place] = piece * draw.choice((1, 1, 2, 50))


def _word(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    word, place = draw.choice(WORDS), _place(found, draw)
    found[place: place + draw.choice((0, len(word)))] = word


def _graft(found: bytearray, others: Sequence[bytes], draw: random.Random) -> None:
    other = draw.choice(others)
    start, place = _place(bytearray(other), draw), _place(found, draw)
    piece = other[start: start + _length(draw)]
    found[place: place + draw.choice((0, len(piece)))] = piece


def _length(draw: random.Random) -> int:
    return draw.choice((1, 2, 4, 8, 64, 512, draw.randrange(1, 2000)))


Change = Callable[[bytearray, Sequence[bytes], random.Random], None]
CHANGES: tuple[Change, ...] = (_flip, _flip, _byte, _byte, _digit, _number, _number, _cut, _end,
                               _repeat, _word, _graft)
