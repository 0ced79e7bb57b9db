"""torchvision's RandomResizedCrop: pixels against Pillow's, boxes against a slow drawing of them
and against torchvision's own distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

from alexnet.arithmetic.native import NATIVE
from alexnet.arithmetic.portable import Portable
from alexnet.augmentation import Order, Views, draw_views, training_input
from alexnet.draws import uniform_tensor
from alexnet.recipe import recipe
from alexnet.resized_crops import bilinear, draw_boxes, resized_crops
from benchmarks.torchvision_import import transforms
from tests.alexnet import reference
from tests.alexnet.arithmetic import reference as arithmetic_reference

SEED, STORED = 5, 256


def picture(height: int, width: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 256), st.integers(1, 256), st.sampled_from([224, 227, 24]),
       st.integers(0, 100))
def test_pixels_are_pillows_to_a_level(height: int, width: int, side: int, seed: int) -> None:
    image = picture(height, width, seed)
    actual = bilinear(image, side)
    assert furthest(actual, resized(image, side, Image.Resampling.BILINEAR)) <= 1
    if min(height, width) > 8 and side not in (height, width):  # the control: another filter
        assert furthest(actual, resized(image, side, Image.Resampling.BICUBIC)) > 8


def resized(image: np.ndarray, side: int, filter: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((side, side), filter))


def furthest(a: np.ndarray, b: np.ndarray) -> int:
    """In levels. pillow-simd has weights of 16 bits where Pillow has 22, and is a level off."""
    return int(np.abs(a.astype(int) - b).max())


def slow_axis(pixels: list[int], side: int) -> list[int]:
    """A row of one channel in Python's own numbers (Pillow's Resample.c, bilinear_filter)."""
    scale = len(pixels) / side
    support = max(scale, 1.0)
    result = []
    for place in range(side):
        centre = (place + 0.5) * scale
        window = range(max(int(centre - support + 0.5), 0),
                       min(int(centre + support + 0.5), len(pixels)))
        weights = [max(0.0, 1.0 - abs((k - centre + 0.5) * (1.0 / support))) for k in window]
        inverse = 1.0 / sum(weights)
        whole = [int(0.5 + weight * inverse * 2**22) for weight in weights]
        level = sum(w * pixels[k] for w, k in zip(whole, window, strict=True))
        result.append(min(255, (level + 2**21) >> 22))
    return result


@pytest.mark.parametrize(("height", "width", "side"), [(37, 5, 24), (90, 256, 24), (24, 31, 24),
                                                       (1, 2, 7)])
def test_pixels_are_exactly_those_of_pillows_algorithm(height: int, width: int, side: int) -> None:
    image = picture(height, width)
    expected = image.tolist()
    if width != side:
        expected = [np.transpose([slow_axis([pixel[c] for pixel in row], side) for c in range(3)])
                    for row in expected]
    columns = np.transpose(np.array(expected), (1, 2, 0)).tolist()
    if height != side:
        columns = [[slow_axis(channel, side) for channel in column] for column in columns]
    assert np.array_equal(bilinear(image, side), np.transpose(np.array(columns), (2, 0, 1)))


@pytest.mark.parametrize("length", [1, 150, 223, 256, 5000])
def test_white_stays_white(length: int) -> None:
    """Nothing overflows where all sums are as large as they can be."""
    assert np.all(bilinear(np.full((length, 256, 3), 255, np.uint8), 224) == 255)
    assert not np.all(bilinear(picture(length, 256), 224) == 255)


def test_crops_are_pillows_boxes_mirrored() -> None:
    images = torch.from_numpy(np.stack([picture(STORED, STORED, k) for k in range(2)]))
    boxes = torch.tensor([[3, 10, 100, 120, 0], [0, 40, 256, 200, 1]])
    actual = resized_crops(images, boxes, 224)
    for row, (top, left, height, width, flip) in enumerate(boxes.tolist()):
        whole = Image.fromarray(images[row].numpy())
        crop = whole.crop((left, top, left + width, top + height)).resize(
            (224, 224), Image.Resampling.BILINEAR)
        expected = np.asarray(crop)[:, ::-1] if flip else np.asarray(crop)
        assert furthest(actual[row].numpy(), expected) <= 1
        assert furthest(actual[row].numpy(), np.asarray(crop)[::-1]) > 8


def slow_box(position: int) -> tuple[int, ...]:
    """One box in Python's own numbers, as docs/arithmetic.md has it."""
    box = (0, 0, STORED, STORED)
    for attempt in range(10):
        words = reference.words(SEED, "resized crop", attempt, position)
        u, v = ((word + 0.5) / 2**32 for word in words[:2])
        area = 65536 * (0.08 + u * (1.0 - 0.08))
        aspect = arithmetic_reference.exp((2 * v - 1) * 0.28768207245178085)
        width, height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if width <= STORED and height <= STORED:
            box = (words[2] * (STORED - height + 1) >> 32, words[3] * (STORED - width + 1) >> 32,
                   height, width)
            break
    return (*box, reference.words(SEED, "crop", 0, position)[2] * 2 >> 32)


def test_boxes_are_the_slow_ones() -> None:
    positions = torch.tensor([*range(200), 123_456_789_012])
    boxes = draw_boxes(SEED, positions, STORED, Portable())
    assert boxes.tolist() == [list(slow_box(int(position))) for position in positions]
    assert torch.equal(boxes, draw_boxes(SEED, positions, STORED, NATIVE))
    assert not torch.equal(boxes, draw_boxes(SEED + 1, positions, STORED))
    assert draw_boxes(SEED, positions[50:60], STORED).tolist() == boxes[50:60].tolist()


def test_boxes_are_spread_as_torchvisions() -> None:
    torch.manual_seed(1)
    image = torch.zeros(3, STORED, STORED)
    crop = transforms.RandomResizedCrop(224)
    drawn = [crop.make_params([image]) for _ in range(4000)]
    theirs = torch.tensor([[each[name] for name in ("top", "left", "height", "width")]
                           for each in drawn])
    ours = draw_boxes(SEED, torch.arange(4000), STORED)
    for column in range(4):
        assert stats.ks_2samp(ours[:, column].numpy(), theirs[:, column].numpy()).pvalue > 1e-4
    assert abs(float(ours[:, 4].double().mean()) - 0.5) < 0.04
    assert (ours[:, :2] + ours[:, 2:4]).max() <= STORED
    control = ours[:, 2].double() * 0.95
    assert stats.ks_2samp(control.numpy(), theirs[:, 2].numpy()).pvalue < 1e-4


def test_a_runs_views_read_whole_images_and_centre_them() -> None:
    chosen = recipe("source", crops="resized", images_per_crop=1, mean_window="crop")
    views = draw_views(chosen, SEED, Order(chosen, SEED, 10), torch.arange(6))
    assert views.boxes is not None
    assert torch.equal(views.boxes, draw_boxes(SEED, torch.arange(6), STORED))
    assert not views.tops.any()
    assert not views.flips.any()
    part = views.part(slice(2, 4))
    assert part.boxes is not None
    assert torch.equal(part.boxes, views.boxes[2:4])
    crops = torch.full((6, 224, 224, 3), 9, dtype=torch.uint8)
    mean = torch.arange(256.0)[:, None, None].expand(256, 256, 3).contiguous()
    x = training_input(chosen, crops, views, mean, None)
    assert torch.equal(x[:, 0, :, 0], (9 - torch.arange(16.0, 240.0)).expand(6, 224))


def test_uniform_numbers_are_exact() -> None:
    drawn = uniform_tensor(SEED, "w", (3, 5), 0.25)
    for index, value in enumerate(drawn.flatten().tolist()):
        word = reference.words(SEED, "w", 0, index // 4)[index % 4]
        assert value == float(np.float32((2 * ((word + 0.5) / 2**32) - 1) * 0.25))
    assert drawn.abs().max() <= 0.25
    assert torch.equal(uniform_tensor(SEED, "w", (15,), 0.25), drawn.flatten())
    assert not torch.equal(uniform_tensor(SEED, "x", (15,), 0.25), drawn.flatten())


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_uniform_numbers_of_any_count(count: int) -> None:
    assert uniform_tensor(1, "w", (count,), 1.0).shape == (count,)


def test_views_without_boxes_are_as_ever() -> None:
    nothing = torch.zeros(2, dtype=torch.int64)
    assert Views(nothing, nothing, nothing, nothing).part(slice(0, 1)).boxes is None
