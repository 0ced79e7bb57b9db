"""The `evaluate` stage: centre-crop and ten-crop top-1 and top-5 errors on the validation images (P
§4.1, Table 2).

Yields `models/predictions.safetensors`, by the images' names (pipeline.data.predictions).

Also measured is what the paper looks at in its figures 3 and 4: the colour of the two columns'
kernels, and the nearest images.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alexnet import qualitative
from alexnet.arithmetic.native import Arithmetic
from alexnet.augmentation import input_mean
from alexnet.digest import digest_of
from alexnet.network import Network
from alexnet.prefetch import Prefetcher
from alexnet.testing import CENTRE, centre_crop, probabilities
from alexnet.weights import load_weights
from pipeline.config.crops import suffix
from pipeline.config.parameters import Parameters
from pipeline.config.paths import PREDICTIONS, STORE, WEIGHTS
from pipeline.data.predictions import Predictions
from pipeline.data.split import Split
from pipeline.data.store import Store, check_made_with
from pipeline.records import provenance
from pipeline.system.errors import UserError
from pipeline.system.terminal import progress
from pipeline.training.execution import prepare, resolve
from pipeline.training.loading import build_network, image_reader, load_mean_image, read_weights

ARTIFACTS = (PREDICTIONS,)
BATCH = 64
QUERIES = 500  # validation images whose nearest training images are sought
IMAGES_SEARCHED = 2000  # training images among which they are sought, or
IMAGES_A_CLASS = 20  # so many a class, if that is more: the first of the store, which is shuffled
CROPS_KEPT = 64  # validation images whose crops are kept one by one, for the report
PIXELS = 32  # side to which images are averaged before their pixels are compared


def run(parameters: Parameters) -> dict[str, Any]:
    """Test the trained weights.

    Returns:
        top1_error, top5_error (centre crop), top1_error_10crop, top5_error_10crop as fractions of
        the validation images; loss, loss_10crop, the mean negative log-probability of the right
        class; distance_10crop, how far the probabilities of ten crops are from those of the centre
        (total variation, mean over images, 0 to 1), all of these `_9crop` where the net is tested
        with nine (pipeline.config.crops); the number of images; weights_digest;
        same_class_hidden and same_class_pixels, the share of the six nearest training images, by
        the last hidden layer and by pixels, that show the query's class; of a net of two columns
        colour_0, colour_1, specialisation.

    Raises:
        UserError: weights that are missing, damaged, or of another network than the configured one.
    """
    check_made_with(parameters)
    weights = read_weights(WEIGHTS, "train again")
    provenance.check_made_with(parameters, digest_of(weights))
    store = Store(STORE)
    network = _network_with(parameters, store, weights, WEIGHTS, "train again")
    split, own = store.split("val"), network.arithmetic
    centre_crops, ten_crops, some_crops = _tested(network, split)
    labels = torch.from_numpy(split.labels)
    searched = min(max(IMAGES_SEARCHED, IMAGES_A_CLASS * len(store.classes)),
                   len(store.split("train")))
    mean = input_mean(network.recipe, load_mean_image()).to(network.placement.device)
    near = _nearest(network, split, store.split("train"), searched, mean)
    Predictions(split.names(), split.labels, centre_crops.numpy(), ten_crops.numpy(),
                torch.arange(some_crops.shape[1]).numpy(), some_crops.numpy(),
                store.split("train").names(range(searched if near else 0)),
                *(near.get(name, torch.zeros(shape, dtype=torch.int64)).numpy()
                  for name, shape in (("queries", (0,)), ("nearest_hidden", (0, 0)),
                                      ("nearest_pixels", (0, 0))))).save(PREDICTIONS)
    return (_errors(centre_crops, ten_crops, labels, own, suffix(network.table.views))
            | {"images": len(split), "weights_digest": digest_of(weights)}
            | _same_class(near, labels, torch.from_numpy(store.split("train").labels))
            | (_colours(weights["conv1.weight"], own) if network.table.columns == 2 else {}))


def errors_of(parameters: Parameters, file: Path) -> dict[str, Any]:
    """Test the weights of another file, of ours or of torchvision's alexnet; leave nothing.

    Returns:
        The errors and losses that `run` measures, the number of images, weights_digest.

    Raises:
        UserError: weights that are missing, damaged, or of another network than the configured one.
    """
    check_made_with(parameters)
    store = Store(STORE)
    weights = read_weights(file, "correct --weights", False,
                           [each.wnid for each in store.classes])
    network = _network_with(parameters, store, weights, file, "`alexnet configure DATASET --recipe "
                            "torchvision` describes torchvision's, at network.width 1")
    split = store.split("val")
    centre_crops, ten_crops, _ = _tested(network, split)
    return (_errors(centre_crops, ten_crops, torch.from_numpy(split.labels), network.arithmetic,
                    suffix(network.table.views))
            | {"images": len(split), "weights_digest": digest_of(weights)})


def _network_with(parameters: Parameters, store: Store, weights: dict[str, Tensor], file: Path,
                  fix: str) -> Network:
    """Return the configured network with these weights, ready for testing."""
    parameters = resolve(parameters)
    execution = parameters.execution.model_copy(update={"threads": len(os.sched_getaffinity(0))})
    device = prepare(parameters.model_copy(update={"execution": execution}))
    network = build_network(parameters, store, False, device)
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != network.table.canonical():
        raise UserError(f"{file}: weights of another network than params.yaml describes; {fix}")
    load_weights(network, weights)
    network.eval()
    return network


def _tested(network: Network, split: Split) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probabilities of every image's centre [n, classes], of all its views averaged, and
    of the first images' views one by one, [views, n, classes]."""
    own, device = network.arithmetic, network.placement.device
    mean = input_mean(network.recipe, load_mean_image()).to(device)
    read = image_reader(split)
    centre, ten = [], []
    each: list[Tensor] = []
    batches = -(-len(split) // BATCH)
    pixels = Prefetcher(lambda number: read(slice(number * BATCH,
                                                  min((number + 1) * BATCH, len(split)))), batches)
    with progress("evaluate", len(split), "images") as advance:
        for number in range(batches):
            # each is read once, the next while the network is at work
            images = pixels.take(number).to(device)
            crops = probabilities(network, images, mean, network.table.crop, own,
                                  network.table.views).cpu()
            centre.append(crops[CENTRE])
            ten.append(own.average(crops))
            each = each or [crops[:, :CROPS_KEPT]]
            advance(len(images))
    return torch.cat(centre), torch.cat(ten), each[0]


def _errors(centre: Tensor, several: Tensor, labels: Tensor, own: Arithmetic,
            end: str) -> dict[str, Any]:
    """Return errors and losses of the centre, and, with this end of their names, of several
    crops."""
    return {"top1_error": own.errors(centre, labels, 1),
            "top5_error": own.errors(centre, labels, 5),
            f"top1_error{end}": own.errors(several, labels, 1),
            f"top5_error{end}": own.errors(several, labels, 5),
            "loss": _loss(centre, labels, own), f"loss{end}": _loss(several, labels, own),
            f"distance{end}": own.mean((several.double() - centre.double()).abs()) / 2}


def _loss(probabilities: Tensor, labels: Tensor, own: Arithmetic) -> float:
    """Return the mean negative log-probability of the right class, as the 2012 log has it. A
    probability of 0 counts as the smallest number, so that the mean is finite."""
    right = probabilities.gather(1, labels[:, None])[:, 0].double()
    return -own.mean(own.log(right.clamp(min=torch.finfo(torch.float32).tiny)))


def _colours(kernels: Tensor, own: Arithmetic) -> dict[str, float]:
    """Return {"colour_0", "colour_1", "specialisation"} of the kernels (P §6.1, Fig. 3)."""
    colours = qualitative.colour(kernels, own)
    first, second = (own.mean(part) for part in colours.chunk(2))
    return {"colour_0": first, "colour_1": second,
            "specialisation": qualitative.specialisation(colours, own)}


def _nearest(network: Network, queries: Split, images: Split, searched: int,
             mean: Tensor) -> dict[str, Tensor]:
    """P §6.1, Fig. 4: {"queries", "nearest_hidden", "nearest_pixels"}, places in the two splits; {}
    where fewer than six images are searched."""
    asked = min(QUERIES, len(queries))
    if searched < qualitative.NEAREST:
        return {}
    step = len(queries) / asked  # validation images need not be shuffled
    chosen = [int(number * step) for number in range(asked)]
    by_query, by_image = (_features(network, split, places, mean)
                          for split, places in ((queries, chosen), (images, list(range(searched)))))
    return ({"queries": torch.tensor(chosen)}
            | {f"nearest_{name}": qualitative.nearest(by_query[name], by_image[name],
                                                      arithmetic=network.arithmetic)
               for name in ("hidden", "pixels")})


def _same_class(near: dict[str, Tensor], query_labels: Tensor, labels: Tensor) -> dict[str, float]:
    """Return {"same_class_hidden", "same_class_pixels"} (P §6.1, Fig. 4); {} where nothing was
    sought."""
    return {f"same_class_{name}": qualitative.same_class(near[f"nearest_{name}"],
                                                         query_labels[near["queries"]], labels)
            for name in ("hidden", "pixels") if near}


@torch.no_grad()
def _features(network: Network, split: Split, places: list[int], mean: Tensor) -> dict[str, Tensor]:
    """The centre crops of these images as {"hidden": float32 [n, units], "pixels": float32 [n, 3 x
    32 x 32]}."""
    features: dict[str, list[Tensor]] = {"hidden": [], "pixels": []}
    read, crop = image_reader(split), network.table.crop
    for start in range(0, len(places), BATCH):
        pixels = torch.cat([read(slice(place, place + 1))
                            for place in places[start: start + BATCH]])
        views = centre_crop(pixels.to(mean.device), mean, crop, network.arithmetic)
        features["hidden"].append(network.last_hidden(views).cpu())
        side = min(PIXELS, crop)
        edge = crop % side // 2  # of a crop of 227 the central 224 pixels divide into 32
        central = views[:, :, edge: edge + crop // side * side, edge: edge + crop // side * side]
        small = network.arithmetic.average_pixels(central, side)
        features["pixels"].append(small.flatten(1).cpu())
    return {name: torch.cat(parts) for name, parts in features.items()}
