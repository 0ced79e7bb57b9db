"""The figures: learning curves, first-layer kernels, pictures. The same input gives the same bytes.

A `Figure` is a file's bytes and the words for those who cannot see it. Charts come twice, for a light page and for a
dark one.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KERNELS_PER_ROW = 12
KERNEL_SCALE = 6  # screen pixels for one weight
GAP = 6  # screen pixels between kernels
COLUMN_GAP = 36  # and between the two columns
PHOTO_QUALITY = 85

LIGHT = {"text": "#1f2328", "grid": "#d0d7de", "training": "#b45309", "validation": "#1d4ed8"}
DARK = {"text": "#e6edf3", "grid": "#3d444d", "training": "#fbbf24", "validation": "#79b8ff"}


@dataclass(frozen=True)
class Figure:
    """A picture: its bytes, its type, its size in CSS pixels, the text in its place, and perhaps a dark twin."""

    content: bytes
    media_type: str
    width: int
    height: int
    alt: str
    dark: bytes | None = None

    @property
    def uri(self) -> str:
        """The figure as a data: address."""
        return self._uri(self.content)

    @property
    def dark_uri(self) -> str | None:
        """Its dark form, if it has one."""
        return self._uri(self.dark) if self.dark else None

    def _uri(self, content: bytes) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, a key of the palettes, and values [points]."""

    name: str
    colour: str
    values: NDArray[np.float64]


def chart(title: str, epochs: NDArray[np.float64], lines: Sequence[Line], rates: Sequence[tuple[float, float]],
          alt: str, percent: bool = False) -> Figure:
    """Lines over epochs, from 0 up, with the learning rate written above and a dotted line where it drops.

    Args:
        epochs: [points].
        rates: the epoch from which each learning rate holds, and the rate; the first from 0.
        percent: the values are fractions, to be read as percentages.
    """
    light, dark = (svg(lambda axes, colours: _draw(axes, colours, title, epochs, lines, rates, percent), palette)
                   for palette in (LIGHT, DARK))
    return Figure(light, "image/svg+xml", *CHART_PIXELS, alt, dark)


CHART_PIXELS = (480, 320)


def svg(draw: Callable[..., None], colours: dict[str, str]) -> bytes:
    """What `draw(axes, colours)` draws: an SVG without date, with text as outlines (no font needed), with ids that
    depend on the content alone."""
    import matplotlib.style
    from matplotlib.figure import Figure as Canvas

    settings = {"svg.hashsalt": "alexnet", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False,
                "axes.spines.right": False, "grid.color": colours["grid"], "grid.linewidth": 0.6,
                **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"),
                                colours["text"])}
    with matplotlib.style.context(["default", settings]):  # whatever the user's matplotlibrc says
        figure = Canvas(figsize=(CHART_PIXELS[0] / 96, CHART_PIXELS[1] / 96), layout="constrained")
        draw(figure.add_subplot(), colours)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def _draw(axes: Axes, colours: dict[str, str], title: str, epochs: NDArray[np.float64], lines: Sequence[Line],
          rates: Sequence[tuple[float, float]], percent: bool) -> None:
    from matplotlib.ticker import PercentFormatter

    for line in lines:
        axes.plot(epochs, line.values, label=line.name, color=colours[line.colour], linewidth=1.6,
                  linestyle="--" if line.colour == "training" else "-", marker="o" if len(epochs) <= 40 else None,
                  markersize=3)
    axes.set_title(title, loc="left", fontsize=10, pad=18)
    axes.set_xlabel("epoch")
    axes.set_xlim(0, epochs[-1])
    axes.set_ylim(0, None)
    axes.grid(axis="y")
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    ends = [start for start, _ in rates[1:]] + [float(epochs[-1])]
    for number, ((start, rate), end) in enumerate(zip(rates, ends, strict=True)):
        if number:
            axes.axvline(start, color=colours["text"], linewidth=0.8, linestyle=":")
        axes.text((start + end) / 2, 1.01, f"lr {rate:g}" if number == 0 else f"{rate:g}", fontsize=8, ha="center",
                  va="bottom", transform=axes.get_xaxis_transform())
    if len(lines) > 1:
        axes.legend(frameon=False, loc="upper right")


def kernel_sheet(kernels: NDArray[np.float32], columns: int, alt: str) -> Figure:
    """Kernels side by side, the network's columns below each other with a gap, as in Fig. 3.

    Args:
        kernels: float32 [k, 3, s, s], RGB, column after column.

    Returns:
        A PNG, rows of KERNELS_PER_ROW, transparent between them.
    """
    blocks = [_block(stretched(part)) for part in np.split(kernels, columns)]
    gap = np.zeros((COLUMN_GAP, blocks[0].shape[1], 4), np.uint8)
    return picture(np.concatenate([part for block in blocks for part in (gap, block)][1:]), alt)


def stretched(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Each kernel on the full range of 0..255 by itself: its least weight over the three channels becomes 0, its
    greatest 255, so that weak kernels show as much as strong ones. One of equal weights becomes middle grey.

    Args:
        kernels: float32 [k, 3, s, s].

    Returns:
        uint8 [k, s, s, 3].
    """
    low = kernels.min(axis=(1, 2, 3), keepdims=True)
    spread = kernels.max(axis=(1, 2, 3), keepdims=True) - low
    parts = np.where(spread == 0, 0.5, (kernels - low) / np.where(spread == 0, 1, spread))
    pixels: NDArray[np.uint8] = np.rint(parts * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    return pixels


def _block(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [h, w, 4]: enlarged, in rows."""
    pixels = pixels.repeat(KERNEL_SCALE, axis=1).repeat(KERNEL_SCALE, axis=2)
    count, side = pixels.shape[:2]
    across, down = min(count, KERNELS_PER_ROW), -(-count // KERNELS_PER_ROW)
    pitch = side + GAP
    block = np.zeros((down * pitch - GAP, across * pitch - GAP, 4), np.uint8)
    for number, kernel in enumerate(pixels):
        row, column = divmod(number, KERNELS_PER_ROW)
        place = block[row * pitch: row * pitch + side, column * pitch: column * pitch + side]
        place[..., :3], place[..., 3] = kernel, 255
    return block


def picture(pixels: NDArray[np.uint8], alt: str) -> Figure:
    """A PNG of uint8 [h, w, 3 or 4]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return Figure(stream.getvalue(), "image/png", pixels.shape[1], pixels.shape[0], alt)


def photo(pixels: NDArray[np.uint8], alt: str) -> Figure:
    """A JPEG of uint8 [h, w, 3], to be small."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=PHOTO_QUALITY)
    return Figure(stream.getvalue(), "image/jpeg", pixels.shape[1], pixels.shape[0], alt)
