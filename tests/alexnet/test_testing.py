"""Ten crops against torchvision's, pixel for pixel; errors against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from alexnet.testing import CENTRE, centre_crop, corners, errors, probabilities, ten_crops, views_of
from benchmarks.torchvision_import import transforms
from tests.alexnet import reference


def images(count: int, side: int = 256) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), generator=torch.Generator().manual_seed(1),
                         dtype=torch.uint8)


def mean(side: int = 256) -> Tensor:
    return torch.rand(side, side, 3, generator=torch.Generator().manual_seed(2)) * 255


def torchvisions(pixels: Tensor, crop: int) -> Tensor:
    """Return torchvision's ten crops, float32 [10, n, 3, crop, crop], in our order: it crops the
    mirror image, whose left is the right of ours."""
    ten = transforms.functional.ten_crop(pixels.permute(0, 3, 1, 2), [crop, crop])
    return torch.stack([ten[place] for place in (0, 1, 2, 3, 4, 6, 5, 8, 7, 9)]).float()


@pytest.mark.parametrize(("side", "crop"), [(256, 224), (32, 24)])
def test_ten_crops_are_torchvisions(side: int, crop: int) -> None:
    pixels, of_all = images(3, side), mean(side)
    border = (side - crop) // 2
    window = of_all[border: border + crop, border: border + crop].permute(2, 0, 1)
    actual = ten_crops(pixels, of_all, crop)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, torchvisions(pixels, crop) - window)
    assert torch.equal(ten_crops(pixels, torch.zeros(side, side, 3), crop),
                       torchvisions(pixels, crop))
    assert torch.equal(centre_crop(pixels, of_all, crop), actual[4])
    centre = transforms.functional.center_crop(pixels.permute(0, 3, 1, 2), [crop, crop])
    expected = centre.float() - window
    assert torch.equal(centre_crop(pixels, of_all, crop), expected)


def test_one_other_pixel_is_seen() -> None:
    pixels = images(1)
    changed = pixels.clone()
    changed[0, 100, 100, 2] ^= 1
    pairs = zip(ten_crops(pixels, mean()), ten_crops(changed, mean()), strict=True)
    assert [bool((a != b).any()) for a, b in pairs] == [True] * 10


def test_offsets_are_the_sources() -> None:
    assert corners(32) == ((0, 0), (0, 32), (32, 0), (32, 32), (16, 16))


# S convdata_cifar.py, CroppedCIFARDataProvider.__trim_borders: start_positions, with a border_size
# of 4; nothing is mirrored in testing.
NINE = [(0, 0), (0, 4), (0, 8), (4, 0), (4, 4), (4, 8), (8, 0), (8, 4), (8, 8)]


def test_nine_views_are_the_sources_and_not_mirrored() -> None:
    assert [(top, left) for top, left, _ in views_of(8, 9)] == NINE
    assert not any(mirrored for *_, mirrored in views_of(8, 9))
    assert views_of(8, 9)[CENTRE][:2] == views_of(8)[CENTRE][:2] == (4, 4)
    assert [(top, left, mirrored) for top, left, mirrored in views_of(32)] == [
        (*place, mirrored) for mirrored in (False, True) for place in corners(32)]
    pixels, of_all = images(2, 32), mean(32)
    seen: list[Tensor] = []

    def network(x: Tensor) -> Tensor:
        seen.append(x)
        return x.flatten(1)[:, :4]

    assert probabilities(network, pixels, of_all, 24, views=9).shape == (9, 2, 4)
    window = of_all[4:28, 4:28]  # S: the central window of the mean, whatever the view
    for x, (top, left) in zip(seen, NINE, strict=True):
        expected = pixels[:, top: top + 24, left: left + 24].float() - window
        assert torch.equal(x, expected.permute(0, 3, 1, 2))
    seen.clear()
    assert probabilities(network, pixels, of_all, 24).shape == (10, 2, 4)
    mirrored = pixels[:, :24, :24].flip(2).float() - window
    assert torch.equal(seen[5], mirrored.permute(0, 3, 1, 2))


def test_probabilities_are_softmax_outputs_of_each_crop() -> None:
    pixels = images(2)
    weights = torch.randn(3 * 224 * 224, 5, generator=torch.Generator().manual_seed(3),
                          dtype=torch.float64) / 2e4
    actual = probabilities(lambda x: x.double().flatten(1) @ weights, pixels, mean())
    assert actual.shape == (10, 2, 5)
    for crop, x in enumerate(ten_crops(pixels, mean())):
        e = np.exp(x.double().flatten(1).numpy() @ weights.numpy())
        np.testing.assert_allclose(actual[crop].numpy(), e / e.sum(1, keepdims=True), rtol=1e-10)
    assert actual.std(0).min() > 1e-4


def test_nine_views_of_a_whole_image_are_one_and_computed_once() -> None:
    whole, calls = images(2)[:, :32, :32], []

    def network(x: torch.Tensor) -> torch.Tensor:
        calls.append(x)
        return x.flatten(1)[:, :4]

    of_all = mean()[:32, :32]
    seen = probabilities(network, whole, of_all, 32, views=9)
    assert seen.shape == (9, 2, 4)
    assert all(torch.equal(view, seen[0]) for view in seen)
    assert len(calls) == 1
    probabilities(network, whole, of_all, 24, views=9)
    assert len(calls) == 10


@settings(max_examples=150)
@given(st.data(), st.integers(1, 12), st.integers(1, 6), st.sampled_from([1, 2, 5]))
def test_errors_with_many_ties(data: st.DataObject, classes: int, count: int, top: int) -> None:
    row = st.lists(st.integers(0, 3), min_size=classes, max_size=classes)
    label = st.integers(0, classes - 1)
    rows = data.draw(st.lists(row, min_size=count, max_size=count))
    labels = np.array(data.draw(st.lists(label, min_size=count, max_size=count)))
    p = np.array(rows, dtype=np.float64) / 8
    expected = reference.error(p, labels, top)
    assert errors(torch.tensor(p), torch.tensor(labels), top) == pytest.approx(expected, abs=1e-6)


def test_errors_by_hand() -> None:
    p = torch.tensor([[.5, .3, .2], [.3, .5, .2], [.4, .4, .2], [.25, .25, .5]])
    labels = torch.zeros(4, dtype=torch.int64)
    assert errors(p, labels, 1) == pytest.approx((0 + 1 + 0.5 + 1) / 4)
    assert errors(p, labels, 2) == pytest.approx((0 + 0 + 0 + 0.5) / 4)
    assert errors(p, labels, 5) == 0.0
    knows_nothing = torch.full((1, 1000), 1e-3)
    assert errors(knows_nothing, torch.tensor([7]), 5) == pytest.approx(0.995)


@pytest.mark.parametrize("top", [1, 5])
def test_what_is_not_a_number_is_wrong(top: int) -> None:
    """A diverged net has no right answers."""
    p = torch.full((4, 10), float("nan"))
    assert errors(p, torch.arange(4), top) == 1.0
    p[0] = torch.arange(10) / 45
    assert errors(p, torch.tensor([9, 1, 2, 3]), top) == 0.75
