"""The `pca` stage: the principal components of colour, of "the set of RGB pixel values throughout
the ImageNet training set" (P §4.1).

Yields data/pca.json. Every pixel of every stored 256x256 training image counts once; each channel's
mean over all of them is subtracted (not the mean image, which is per position); the covariance is
divided by the number of pixels.
"""

from __future__ import annotations

from typing import Any

from pipeline.config.parameters import Parameters
from pipeline.config.paths import PCA
from pipeline.data.statistics import pca_digest, pca_of, store_moments
from pipeline.data.store import check_made_with
from pipeline.system.files import write_json


def run(parameters: Parameters) -> dict[str, Any]:
    """Run the stage.

    Returns:
        stdev_1, stdev_2, stdev_3: along the three components, descending, on the scale of 0..255;
        pca_digest: the sha256 of pca.json's values.

    Raises:
        UserError: there is no store, or it has no training images.
    """
    check_made_with(parameters)
    result = pca_of(store_moments())
    write_json(PCA, result)
    return {**{f"stdev_{k}": stdev for k, stdev in enumerate(result["stdevs"], start=1)},
            "pca_digest": pca_digest(result)}
