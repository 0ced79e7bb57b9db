"""Runs of a configuration, made up: what the gate and the ledger see of real ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.studies.run_sets import Run, RunSet

HERE = {"cpu": "a CPU", "native_probe": "p1", "torch": "2.13.0", "pillow": "pillow-simd 12",
        "libjpeg": "turbo 2", "zlib": "1", "pixels": "f1", "cores": "2", "device": "cpu",
        "threads": "1", "deterministic": "true"}
ELSEWHERE = HERE | {"cpu": "another CPU", "native_probe": "p2"}


def run(seed: int, worse: float = 0.0, **changed: Any) -> Run:
    """Its errors and losses are those of the seed, and `worse`; `changed` are metrics, as
    train__steps=3."""
    noise = np.random.default_rng(seed).normal(size=3)
    error = round(300 * (0.10 + 0.01 * noise[0] + worse)) / 300
    loss = 0.30 + 0.01 * noise[1] + worse
    metrics: dict[str, dict[str, Any]] = {
        "resize": {"images": 1499, "quarantined": 1,
                   "pixels_digest": "pixels", "train_images": 1200},
        "mean": {"mean_digest": "mean"}, "pca": {"pca_digest": "pca"},
        "train": {"steps": 600, "training_loss": 0.2 + 0.01 * noise[2] + worse,
                  "trace_digest": f"trace {seed}", "weights_digest": f"weights {seed}"},
        "evaluate": {"top1_error": error, "top1_error_10crop": error - 0.02,
                     "top5_error_10crop": 0.0, "loss": loss, "loss_10crop": loss - 0.05
                     + 0.002 * noise[0], "distance_10crop": 0.05 + 0.005 * noise[1], "images": 300}}
    for name, value in changed.items():
        stage, _, metric = name.partition("__")
        metrics[stage][metric] = value
    trace = [f"{step} 0x1.{seed}p+0 a{seed}{step} b{seed}{step} c{seed}{step}"
             for step in (1, 50, 100)]
    return Run(seed, metrics, trace=trace)


def sample(runs: list[Run], environment: dict[str, str] | None = None,
           **configuration: str) -> RunSet:
    configuration = {"network.width": "0.25", "train.precision": "fp32", **configuration}
    return RunSet("sample-1", configuration, "digest", environment or HERE, runs)
