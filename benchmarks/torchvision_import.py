"""torchvision, from the one place that imports it, also beside a build of PyTorch that its C++
library does not fit.

Yields `models`, `transforms` (the second version) and `make_grid`. The published torchvision is
linked against the CUDA build of PyTorch. Beside the CPU build its C++ library cannot load, and its
import fails where it describes an operator that the library would have brought. Only then are the
two operators declared, empty: what is pure Python works, torchvision.ops and torchvision.io do not.
Declaring them first would abort the process wherever the library does load.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_MISSING = "operator torchvision::nms does not exist"
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: Any = None  # the operators exist as long as this object does


def _import_torchvision() -> None:
    global _declared
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        _declared = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            _declared.define(operator + _SCHEMA)
        importlib.import_module("torchvision")


_import_torchvision()

from torchvision import models  # noqa: E402
from torchvision.transforms import v2 as transforms  # noqa: E402
from torchvision.utils import make_grid  # noqa: E402

__all__ = ["make_grid", "models", "transforms"]
