"""Order, crops, flips, colour noise and mean, against the slow ones for both recipes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from alexnet.augmentation import (
    Order,
    Statistics,
    Views,
    centre_window,
    colour_offsets,
    draw_views,
    subtract_mean,
    training_input,
)
from alexnet.recipe import Recipe, recipe
from tests.alexnet import reference

SOURCE, PAPER = recipe("source"), recipe("paper")
BOTH = pytest.mark.parametrize("chosen", [SOURCE, PAPER], ids=["source", "paper"])
SEED = 3
# Facts, section 4: standard deviations and directions of the colours of ImageNet's pixels, on the
# 0..255 scale
STDS = torch.tensor([121.780, 37.094, 19.721], dtype=torch.float64)
VECTORS = torch.tensor([[-.5635, -.7126, .4180], [-.5762, -.0235, -.8170], [-.5920, .7012, .3973]],
                       dtype=torch.float64)
IMAGENET = Statistics(torch.zeros(256, 256, 3), STDS**2, VECTORS)


def random_mean() -> Tensor:
    return torch.rand(256, 256, 3, generator=torch.Generator().manual_seed(2)) * 255


def stored(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 256, 256, 3), generator=torch.Generator().manual_seed(1),
                         dtype=torch.uint8)


def seen(chosen: Recipe, positions: Tensor, count: int = 10) -> Views:
    return draw_views(chosen, SEED, Order(chosen, SEED, count), positions)


def cut(images: Tensor, views: Views, crop: int = 224) -> Tensor:
    """The crops that the views say, as the store reads them."""
    rows = []
    for image, top, left, flip in zip(views.images, views.tops, views.lefts, views.flips,
                                      strict=True):
        pixels = images[image, top: top + crop, left: left + crop]
        rows.append(pixels.flip(1) if flip else pixels)
    return torch.stack(rows)


# Order


def test_the_source_takes_the_stored_order_every_epoch() -> None:
    images = Order(SOURCE, SEED, 5).images(torch.arange(13))
    assert images.tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1, 2]


def test_the_paper_takes_a_new_order_every_epoch() -> None:
    epochs = Order(PAPER, SEED, 50).images(torch.arange(150)).view(3, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    assert not torch.equal(Order(PAPER, SEED + 1, 50).images(torch.arange(50)), epochs[0])
    for number, epoch in enumerate(epochs.tolist()):
        keys = [(word[0] << 31) ^ word[1]
                for word in (reference.words(SEED, "order", number, i) for i in range(50))]
        assert epoch == sorted(range(50), key=keys.__getitem__)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.sampled_from([SOURCE, PAPER]))
def test_positions_can_be_asked_for_in_any_order(positions: list[int], chosen: Recipe) -> None:
    whole, order = Order(chosen, SEED, 37).images(torch.arange(401)), Order(chosen, SEED, 37)
    for position in positions:
        assert order.images(torch.tensor([position])) == whole[position]
    assert torch.equal(order.images(torch.tensor(positions)), whole[torch.tensor(positions)])


# Crops and flips


@BOTH
@settings(max_examples=30)
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=20), st.integers(0, 2**63))
def test_views_are_the_slow_ones(chosen: Recipe, positions: list[int], seed: int) -> None:
    actual = draw_views(chosen, seed, Order(SOURCE, seed, 10), torch.tensor(positions))
    expected = [reference.crop_of(asdict(chosen), seed, position) for position in positions]
    drawn = zip(actual.tops.tolist(), actual.lefts.tolist(), actual.flips.tolist(), strict=True)
    assert list(drawn) == expected
    assert actual.images.tolist() == [position % 10 for position in positions]


@pytest.mark.parametrize(("switches", "margin", "variants"), [
    ({"crop_offsets": 33}, 32, 2178), ({"crop_offsets": 32}, 32, 2048),
    ({"crop_offsets": 33}, 8, 9 * 9 * 2),
    ({"crop_offsets": 32}, 8, 8 * 8 * 2)])
@pytest.mark.parametrize("together", [32, 1])
def test_every_variant_is_reached_and_all_are_equally_likely(
        switches: dict[str, Any], margin: int, variants: int, together: int) -> None:
    chosen = recipe("source", images_per_crop=together, **switches)
    actual = draw_views(chosen, SEED, Order(chosen, SEED, 10), torch.arange(60_000) * together,
                       margin)
    codes = (actual.tops * 33 + actual.lefts) * 2 + actual.flips
    _, counts = codes.unique(return_counts=True)
    assert len(counts) == variants
    assert 1e-4 < stats.chisquare(counts.numpy()).pvalue < 1 - 1e-4
    assert actual.tops.min() == actual.lefts.min() == 0
    assert actual.tops.max() == actual.lefts.max() == margin + switches["crop_offsets"] - 33


@BOTH
@pytest.mark.parametrize(("margin", "middle"), [(32, 16), (8, 4)])
def test_without_random_crops_every_view_is_the_centre_as_it_is(
        chosen: Recipe, margin: int, middle: int) -> None:
    fixed = replace(chosen, crops="centre")
    order = Order(fixed, SEED, 10)
    actual = draw_views(fixed, SEED, order, torch.arange(50), margin)
    assert set(actual.tops.tolist()) == set(actual.lefts.tolist()) == {middle}
    assert not actual.flips.any()
    assert torch.equal(actual.images,
                       draw_views(chosen, SEED, order, torch.arange(50), margin).images)


def test_thirty_two_images_share_a_crop_in_the_source() -> None:
    """Facts: four draws for a batch of 128, and positions of a batch are aligned with them."""
    actual = seen(SOURCE, torch.arange(128 * 3, 128 * 4), count=1000)
    crops = torch.stack([actual.tops, actual.lefts, actual.flips], dim=1)
    assert torch.equal(crops, crops[::32].repeat_interleave(32, dim=0))
    assert len(crops.unique(dim=0)) == 4
    apart = seen(PAPER, torch.arange(128))
    assert len(torch.stack([apart.tops, apart.lefts, apart.flips], dim=1).unique(dim=0)) > 100


# Colour noise


@pytest.mark.parametrize("kind", ["stdev", "eigenvalue", "eigenvalue-unit"])
def test_colour_offsets_are_the_slow_ones(kind: str) -> None:
    chosen = recipe("source", colour_noise=kind)
    positions = torch.tensor([5, 0, 77, 2**40])
    expected = [reference.colour_offset(asdict(chosen), SEED, position,
                                        IMAGENET.eigenvalues.numpy(), VECTORS.numpy())
                for position in positions.tolist()]
    actual = colour_offsets(chosen, SEED, IMAGENET, positions)
    assert actual.dtype == torch.float32
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(colour_offsets(chosen, SEED, IMAGENET, positions[2:]), actual[2:])


@pytest.mark.parametrize(("kind", "levels"), [
    ("stdev", (12.2, 3.7, 2.0)), ("eigenvalue", (1483, 137.6, 38.9)),
    ("eigenvalue-unit", (5.8, 0.54, 0.153))])
def test_the_size_of_the_noise_along_each_principal_component(
        kind: str, levels: tuple[float, float, float]) -> None:
    """Facts, section 4, in grey levels; and the components are independent of each other."""
    offsets = colour_offsets(recipe("source", colour_noise=kind), SEED, IMAGENET,
                             torch.arange(40_000)).double()
    along = offsets @ torch.linalg.inv(VECTORS).T
    assert along.std(0).tolist() == pytest.approx(levels, rel=0.03)
    assert (along.mean(0).abs() < 4 * along.std(0) / 200).all()
    assert (torch.corrcoef(along.T) - torch.eye(3)).abs().max() < 4 / 200
    # each image has its own
    assert torch.corrcoef(torch.stack([along[:-1, 0], along[1:, 0]]))[0, 1].abs() < 4 / 200


# What reaches the network


@pytest.mark.parametrize("switches", [
    {}, {"mean_window": "crop"}, {"mean_window": "centre"}, {"noise_division": True},
    {"noise_division": False}],
    ids=str)
@pytest.mark.parametrize("name", ["source", "paper"])
def test_training_input_is_the_slow_one(name: str, switches: dict[str, Any]) -> None:
    chosen = recipe(name, images_per_crop=1, **switches)  # type: ignore[arg-type]
    images, mean = stored(4), random_mean()
    statistics = Statistics(mean, STDS**2, VECTORS)
    positions = torch.tensor([8, 1, 3, 6])
    actual = draw_views(chosen, SEED, Order(SOURCE, SEED, 4), positions)
    assert set(actual.flips.tolist()) == {0, 1}
    for noise in (False, True):
        offsets = colour_offsets(chosen, SEED, statistics, positions) if noise else None
        result = training_input(chosen, cut(images, actual), actual, mean, offsets)
        assert result.dtype == torch.float32
        assert result.is_contiguous(memory_format=torch.channels_last)
        for row, position in enumerate(positions.tolist()):
            offset = reference.colour_offset(asdict(chosen), SEED, position, (STDS**2).numpy(),
                                             VECTORS.numpy())
            expected = reference.training_input(
                asdict(chosen), images[position % 4].numpy(),
                reference.crop_of(asdict(chosen), SEED, position),
                mean.double().numpy(), offset if noise else None)
            np.testing.assert_allclose(result[row].numpy(), expected, rtol=1e-6, atol=1e-4)


@BOTH
def test_without_noise_and_with_a_mean_of_integers_every_pixel_is_exact(chosen: Recipe) -> None:
    images = stored(5)
    mean = torch.randint(0, 256, (256, 256, 3), generator=torch.Generator().manual_seed(2)).float()
    views = seen(chosen, torch.tensor([0, 31, 32, 64, 104]), count=5)
    actual = training_input(chosen, cut(images, views), views, mean, None)
    for row in range(5):
        crop = (int(views.tops[row]), int(views.lefts[row]), int(views.flips[row]))
        expected = reference.training_input(asdict(chosen), images[views.images[row]].numpy(), crop,
                                            mean.double().numpy(), None)
        assert np.array_equal(actual[row].numpy(), expected)


@pytest.mark.parametrize("count", [1, 4, 9])
@BOTH
def test_in_parts_it_is_the_plain_formula_to_the_bit(chosen: Recipe, count: int) -> None:
    """The plain twin: all at once, window by window, in the order of the channels."""
    images, mean = stored(count), random_mean()
    actual = seen(replace(chosen, images_per_crop=1), torch.arange(count), count)
    offsets = colour_offsets(chosen, SEED, IMAGENET, torch.arange(count))

    def plain() -> Tensor:
        windows = [centre_window(mean) if chosen.mean_window == "centre" else window
                   for window in cut(mean.expand(count, -1, -1, -1),
                                     replace(actual, images=torch.arange(count)))]
        x = (cut(images, actual).float() - torch.stack(windows)).permute(0, 3, 1, 2)
        factor = 1 / 1.1 if chosen.noise_division else 1.0
        return torch.add((offsets * factor)[:, :, None, None], x, alpha=factor)

    result = training_input(chosen, cut(images, actual), actual, mean, offsets)
    assert torch.equal(result, plain())
    images[-1, 100, 100, 1] ^= 1  # inside every crop
    assert not torch.equal(result, plain())


def test_the_means_window_stays_or_goes_with_the_crop() -> None:
    """With the mean image as the only image, each crop's own window leaves nothing."""
    mean = stored(1)[0]
    corner = Views(torch.tensor([0, 0]), torch.tensor([0, 5]), torch.tensor([32, 7]),
                   torch.tensor([1, 0]))
    crops = cut(mean[None], corner)
    assert not training_input(PAPER, crops, corner, mean.float(), None).any()
    centre = training_input(SOURCE, crops, corner, mean.float(), None)
    assert torch.equal(centre, subtract_mean(crops, mean.float()[16:240, 16:240]))


def test_the_crops_and_the_mean_are_left_as_they_were() -> None:
    images, mean = stored(2), torch.full((256, 256, 3), 100.0)
    actual = seen(SOURCE, torch.arange(2), count=2)
    crops = cut(images, actual)
    before = crops.clone()
    training_input(SOURCE, crops, actual, mean, torch.ones(2, 3))
    assert torch.equal(crops, before)
    assert torch.equal(mean, torch.full((256, 256, 3), 100.0))


def test_small_images() -> None:
    """24 of 32 pixels, as on CIFAR-10."""
    images, mean = stored(3)[:, :32, :32], stored(1)[0, :32, :32].float()
    actual = Views(torch.arange(3), torch.tensor([0, 8, 3]), torch.tensor([8, 0, 5]),
                  torch.tensor([0, 1, 1]))
    centre = training_input(SOURCE, cut(images, actual, 24), actual, mean, None)
    assert torch.equal(centre, subtract_mean(cut(images, actual, 24), mean[4:28, 4:28]))
    own = training_input(PAPER, cut(images, actual, 24), actual, mean, None)
    assert torch.equal(own[1], (images[1, 8:, :24].float() - mean[8:, :24]).flip(1).movedim(-1, 0))
    assert torch.equal(centre_window(mean, 24), mean[4:28, 4:28])


def test_threads_that_share_an_order_get_the_images_of_their_own_epochs() -> None:
    order = Order(recipe("paper"), 1, 50)
    expected = {epoch: order.images(torch.arange(50) + 50 * epoch) for epoch in (0, 1)}
    assert not torch.equal(expected[0], expected[1])

    def ask(epoch: int) -> bool:
        return all(torch.equal(order.images(torch.arange(50) + 50 * epoch), expected[epoch])
                   for _ in range(300))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(ask, (0, 1)))
