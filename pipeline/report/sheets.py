"""A sheet: pictures, bars and words on white, as one PNG; what the page shows in pieces, as a file
in one.

Places and sizes are in pixels, from the upper left corner.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.report.figures import DOTS_PER_INCH, LIGHT, Figure, smaller, styled

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

BLUE, ORANGE, GREY = (29, 78, 216), (180, 83, 9), (208, 215, 222)


@dataclass(frozen=True)
class Words:
    """One line of text in this much room, its size in pixels."""

    text: str
    left: int
    top: int
    room: int
    size: int
    bold: bool
    light: bool


class Sheet:
    """A white sheet of this size; put things on it, then take the `figure`."""

    def __init__(self, width: int, height: int) -> None:
        self.canvas = np.full((height, width, 3), 255, np.uint8)
        self._words: list[Words] = []

    def picture(self, pixels: NDArray[np.uint8], left: int, top: int,
                side: int | None = None) -> int:
        """Put a picture, uint8 [h, w, 3], which must fit; a square one is brought to `side` pixels,
        or enlarged as many times as fits into them. Return how wide it has become."""
        if side:
            pixels = smaller(pixels, side)
            pixels = pixels.repeat(side // len(pixels), axis=0).repeat(side // len(pixels), axis=1)
        height, width = len(pixels), len(pixels[0])
        self.canvas[top: top + height, left: left + width] = pixels
        return width

    def box(self, left: int, top: int, width: int, height: int,
            colour: tuple[int, int, int]) -> None:
        """Draw a rectangle, filled."""
        self.canvas[top: top + height, left: left + width] = colour

    def frame(self, left: int, top: int, side: int, colour: tuple[int, int, int],
              width: int = 2) -> None:
        """Draw the outline of a square, inwards."""
        for x, y, w, h in ((left, top, side, width), (left, top + side - width, side, width),
                           (left, top, width, side), (left + side - width, top, width, side)):
            self.box(x, y, w, h, colour)

    def words(self, text: str, left: int, top: int, room: int, size: int = 12, bold: bool = False,
              light: bool = False) -> None:
        """Write one line, cut off with an ellipsis where it would be wider than `room`."""
        self._words.append(Words(text, left, top, room, size, bold, light))

    def figure(self, alt: str) -> Figure:
        """Return the PNG."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        height, width = self.canvas.shape[:2]
        with styled(LIGHT):
            figure = Canvas(figsize=(width / DOTS_PER_INCH, height / DOTS_PER_INCH),
                            dpi=DOTS_PER_INCH)
            canvas = FigureCanvasAgg(figure)
            figure.figimage(self.canvas)
            for line in self._words:
                text = figure.text(line.left / width, 1 - line.top / height, line.text,
                                   va="top", color="white" if line.light else LIGHT["text"],
                                   fontsize=line.size * 72 / DOTS_PER_INCH,
                                   fontweight="bold" if line.bold else "normal")
                _fit(text, line.room, canvas)
            stream = io.BytesIO()
            figure.savefig(stream, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return Figure(stream.getvalue(), "image/png", width, height, alt)


def _fit(text: Text, room: int, canvas: FigureCanvasAgg) -> None:
    """Cut the text off until it is no wider than `room` pixels."""
    words, renderer = text.get_text(), canvas.get_renderer()
    while words and (width := text.get_window_extent(renderer).width) > room:
        words = words[: min(len(words) - 1, int(len(words) * room / width))]
        text.set_text(words + "…")
