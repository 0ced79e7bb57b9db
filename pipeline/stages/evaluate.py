"""The `evaluate` stage: centre-crop and ten-crop top-1 and top-5 errors on the validation images (P §4.1, Table 2).

Yields `models/predictions.npz`: the ten-crop and the centre probabilities of every validation image.
"""

from __future__ import annotations

import os
from typing import Any

import numpy
import torch
from torch import Tensor

from alexnet.ahead import Ahead
from alexnet.digest import digest_of
from alexnet.testing import CENTRE, errors, probabilities
from alexnet.training import load_weights
from pipeline.errors import UserError
from pipeline.files import written_whole
from pipeline.parameters import Parameters
from pipeline.paths import PREDICTIONS, STORE, WEIGHTS
from pipeline.progress import progress
from pipeline.stages.train import decided
from pipeline.store import Store
from pipeline.training_process import images_of, mean_image, network_of, prepare, weights_in

ARTIFACTS = (PREDICTIONS,)
BATCH = 64


def run(parameters: Parameters) -> dict[str, Any]:
    """Test the trained weights.

    Returns:
        top1_error, top5_error (centre crop), top1_error_10crop, top5_error_10crop as fractions of the validation
        images, their number, and weights_digest.

    Raises:
        UserError: weights that are missing, damaged, or of another network than the configured one.
    """
    execution = decided(parameters).model_copy(update={"threads": len(os.sched_getaffinity(0))})
    device = prepare(parameters.model_copy(update={"execution": execution}))
    store = Store(STORE)
    split = store.split("val")
    weights = weights_in(WEIGHTS, "train again")
    network = network_of(parameters, store, False, device)
    if {name: tuple(tensor.shape) for name, tensor in weights.items()} != network.table.canonical():
        raise UserError(f"{WEIGHTS}: weights of another network than params.yaml describes; train again")
    load_weights(network, weights)
    network.eval()
    mean, read = mean_image().to(device), images_of(split)
    centre, ten = [], []
    batches = -(-len(split) // BATCH)
    pixels = Ahead(lambda number: read(slice(number * BATCH, min((number + 1) * BATCH, len(split)))), batches)
    with progress("evaluate", len(split), "images") as advance:
        for number in range(batches):
            images = pixels.take(number).to(device)  # each is read once, the next while the network is at work
            found = probabilities(network, images, mean, network.table.crop).cpu()
            centre.append(found[CENTRE])
            ten.append(found.mean(0))
            advance(len(images))
    labels = torch.from_numpy(split.labels)
    return _finish(torch.cat(centre), torch.cat(ten), labels) | {"images": len(split),
                                                                 "weights_digest": digest_of(weights)}


def _finish(centre: Tensor, ten: Tensor, labels: Tensor) -> dict[str, Any]:
    with written_whole(PREDICTIONS) as stream:
        numpy.savez(stream, centre=centre.numpy(), ten_crop=ten.numpy(), labels=labels.numpy())
    return {"top1_error": errors(centre, labels, 1), "top5_error": errors(centre, labels, 5),
            "top1_error_10crop": errors(ten, labels, 1), "top5_error_10crop": errors(ten, labels, 5)}
