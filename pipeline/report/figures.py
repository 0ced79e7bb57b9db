"""Drawing: charts, first-layer kernels, pictures. The same input gives the same bytes.

A `Figure` is a file's bytes and the words for those who cannot see it. Charts come twice, for a
light page and for a dark one. An `Exhibit` is a figure with its numbers, each of them a
file.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import io
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.system.terminal import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

KERNELS_PER_ROW = 12
KERNEL_SCALE = 6  # screen pixels for one weight
GAP = 6  # screen pixels between kernels
COLUMN_GAP = 36  # and between the two columns
PHOTO_QUALITY = 85

# Orange and blue, which nearly everybody can tell apart; of several runs the first six of Okabe and
# Ito's colours.
LIGHT = {"text": "#1f2328", "grid": "#d0d7de", "training": "#b45309", "validation": "#1d4ed8",
         "run0": "#0072b2", "run1": "#d55e00", "run2": "#009e73", "run3": "#cc79a7",
         "run4": "#8a6d00", "run5": "#1f2328"}
DARK = {"text": "#e6edf3", "grid": "#3d444d", "training": "#fbbf24", "validation": "#79b8ff",
        "run0": "#56b4e9", "run1": "#ff9d52", "run2": "#35d0a5", "run3": "#f0a6cd",
        "run4": "#f0e442", "run5": "#e6edf3"}
RUN_COLOURS = 6


@dataclass(frozen=True)
class Figure:
    """A picture: its bytes, its type, its size in CSS pixels, the text in its place, and perhaps a
    dark twin."""

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
        """The dark form as a data: address, if there is one."""
        return self._uri(self.dark) if self.dark else None

    def _uri(self, content: bytes) -> str:
        return f"data:{self.media_type};base64,{base64.b64encode(content).decode()}"


@dataclass(frozen=True)
class Exhibit:
    """A figure that is also a file, NAME.svg, .png or .jpeg, with its numbers in NAME and
    `suffix`."""

    name: str
    figure: Figure
    suffix: str
    data: bytes

    def files(self) -> dict[str, bytes]:
        """Return the files by name."""
        kind = self.figure.media_type.partition("/")[2].partition("+")[0]
        return {f"{self.name}.{kind}": self.figure.content, f"{self.name}{self.suffix}": self.data}


def table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """Return CSV; a number reads back as it was, a text as it is shown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([printable(value) if isinstance(value, str) else value for value in row]
                     for row in rows)
    return text.getvalue().encode()


def document(value: Any) -> bytes:
    """Return JSON."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def array(values: NDArray[Any]) -> bytes:
    """Return a .npy file."""
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


@dataclass(frozen=True)
class Line:
    """One line of a chart: its name, a key of the palettes, epochs and values [points], and whether
    it is dashed."""

    name: str
    colour: str
    epochs: NDArray[np.float64]
    values: NDArray[np.float64]
    dashed: bool = False


def chart(title: str, lines: Sequence[Line], rates: Sequence[tuple[float, float]], alt: str,
          percent: bool = False) -> Figure:
    """Draw lines over epochs, from 0 up, with the learning rate written above and a dotted line
    where it drops.

    Args:
        rates: the epoch from which each learning rate holds, and the rate; the first from 0. Empty:
            none is written.
        percent: the values are fractions, to be read as percentages.
    """
    below = 24 * -(-len(lines) // 3) if len(lines) > 2 else 0  # for the names of the lines
    return twice(lambda axes, colours: _draw(axes, colours, title, lines, rates, percent),
                 (CHART_PIXELS[0], CHART_PIXELS[1] + below), alt)


def bars(title: str, rows: Sequence[tuple[str, float, str]], alt: str) -> Figure:
    """Draw bars from the left, one below the other, each of a fraction, its name before it and
    words after it."""
    return twice(lambda axes, colours: _draw_bars(axes, colours, title, rows),
                  (CHART_PIXELS[0], 60 + 20 * max(1, len(rows))), alt)


def twice(draw: Callable[..., None], pixels: tuple[int, int], alt: str) -> Figure:
    """Return what `draw(axes, colours)` draws, for a light page and for a dark one."""
    light, dark = (svg(draw, palette, pixels) for palette in (LIGHT, DARK))
    return Figure(light, "image/svg+xml", *pixels, alt, dark)


CHART_PIXELS = (480, 320)
DOTS_PER_INCH = 96
# Whatever the user's matplotlibrc says; a class may be called $x$.
STYLE = {"svg.hashsalt": "alexnet", "svg.fonttype": "path", "font.size": 9,
         "axes.spines.top": False, "axes.spines.right": False, "grid.linewidth": 0.6,
         "text.parse_math": False}


def svg(draw: Callable[..., None], colours: Mapping[str, str],
        pixels: tuple[int, int] = CHART_PIXELS) -> bytes:
    """Return what `draw(axes, colours)` draws as an SVG without date, with text as outlines, so
    that no font is needed, and with ids that depend on the content alone."""
    with styled(colours):
        from matplotlib.figure import Figure as Canvas

        figure = Canvas(figsize=(pixels[0] / DOTS_PER_INCH, pixels[1] / DOTS_PER_INCH),
                        layout="constrained")
        draw(figure.add_subplot(), colours)
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", transparent=True,
                       metadata={"Date": None, "Creator": None})
    # comments hold the text, and a character such as ESC is none of XML's
    return printable(stream.getvalue().decode(), keep="\n").encode()


@contextlib.contextmanager
def styled(colours: Mapping[str, str]) -> Iterator[None]:
    """Set Matplotlib for our charts; it says nothing about letters that its font lacks, which the
    page has."""
    import matplotlib.style

    inked = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color",
                           "ytick.color"), colours["text"])
    with warnings.catch_warnings(), matplotlib.style.context(["default", STYLE | inked | {
            "grid.color": colours["grid"]}]):
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def over_epochs(axes: Axes, title: str, last: float, percent: bool, pad: float = 6) -> None:
    """Give a chart over epochs, from 0 to `last`, its title, axes and grid."""
    from matplotlib.ticker import PercentFormatter

    axes.set_title(title, loc="left", fontsize=10, pad=pad)
    axes.set_xlabel("epoch (one pass over the training images)")
    axes.set_xlim(0, last)
    axes.set_ylim(0, None)
    axes.grid(axis="y")
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))


def _draw(axes: Axes, colours: Mapping[str, str], title: str, lines: Sequence[Line],
          rates: Sequence[tuple[float, float]], percent: bool) -> None:
    last = max(float(line.epochs[-1]) for line in lines)
    for line in lines:
        axes.plot(line.epochs, line.values, label=line.name, color=colours[line.colour],
                  linewidth=1.6, linestyle="--" if line.dashed else "-", marker="o"
                  if len(line.epochs) <= 40 else None, markersize=6 if len(line.epochs) == 1 else 3,
                  clip_on=False)  # the last point lies on the frame
    over_epochs(axes, title, last, percent, pad=18)  # the rates stand between title and frame
    ends = [start for start, _ in rates[1:]] + [last] * bool(rates)
    for number, ((start, rate), end) in enumerate(zip(rates, ends, strict=True)):
        if number:
            axes.axvline(start, color=colours["text"], linewidth=0.8, linestyle=":")
        axes.text((start + end) / 2, 1.01, f"lr {rate:g}" if number == 0 else f"{rate:g}",
                  fontsize=8, ha="center", va="bottom", transform=axes.get_xaxis_transform())
    if len(lines) > 2:  # too many to stand within
        axes.figure.legend(frameon=False, loc="outside lower center", fontsize=8, columnspacing=1.2,
                           handlelength=2.2, ncols=len(lines) // 2 if len(lines) <= 8 else 3)
    elif len(lines) == 2:
        # a net that learns nothing has its curves at the top
        axes.legend(frameon=False, loc="best")


def _draw_bars(axes: Axes, colours: Mapping[str, str], title: str,
               rows: Sequence[tuple[str, float, str]]) -> None:
    from matplotlib.ticker import PercentFormatter

    places = range(len(rows))
    axes.barh(places, [value for _, value, _ in rows], color=colours["training"], height=0.7)
    for place, (_, value, words) in zip(places, rows, strict=True):
        axes.text(value, place, f" {words}", va="center", fontsize=8)
    axes.set_yticks(places, [name for name, _, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(0, max(0.05, *(1.25 * value for _, value, _ in rows)) if rows else 1)
    axes.set_xticks([share for share in axes.get_xticks()
                     if 0 <= share <= min(1.0, axes.get_xlim()[1])])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    axes.set_title(title, loc="left", fontsize=10)


def kernel_sheet(kernels: NDArray[np.float32], columns: int, alt: str) -> Figure:
    """Draw kernels side by side, the network's columns below each other with a gap, as in Fig. 3.

    Args:
        kernels: float32 [k, 3, s, s], RGB, column after column.

    Returns:
        A PNG, rows of KERNELS_PER_ROW, transparent between them.
    """
    blocks = [_block(stretched(part)) for part in np.split(kernels, columns)]
    gap = np.zeros((COLUMN_GAP, blocks[0].shape[1], 4), np.uint8)
    return picture(np.concatenate([part for block in blocks for part in (gap, block)][1:]), alt)


def stretched(kernels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Stretch each kernel by itself to the full range of 0..255: its least weight over the three
    channels becomes 0, its greatest 255, so that weak kernels show as much as strong ones. One of
    equal weights becomes middle grey.

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
    """Return the kernels enlarged, in rows, uint8 [h, w, 4]."""
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
    """Return a PNG of uint8 [h, w, 3 or 4]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return Figure(stream.getvalue(), "image/png", pixels.shape[1], pixels.shape[0], alt)


def photo(pixels: NDArray[np.uint8], alt: str, side: int | None = None) -> Figure:
    """Return a small JPEG of uint8 [h, w, 3], of `side` pixels where the picture has more."""
    stream = io.BytesIO()
    image = Image.fromarray(smaller(pixels, side or len(pixels)))
    image.save(stream, "JPEG", quality=PHOTO_QUALITY)
    return Figure(stream.getvalue(), "image/jpeg", image.width, image.height, alt)


def smaller(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return uint8 [side, side, 3] of a square picture with more pixels; another one stays as it
    is."""
    if len(pixels) <= side:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))


def shades(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return uint8 [h, w, 3]: 0 is white, 1 dark blue, and between them the root of the value, so
    that little is seen."""
    ink = np.sqrt(values)[..., None]
    pixels: NDArray[np.uint8] = np.rint(255 - ink * (255 - np.array([8, 48, 107]))).astype(np.uint8)
    return pixels
