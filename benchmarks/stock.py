"""The paper's net, and torchvision's, as one would write them from torch.nn."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alexnet.layers import CROP

CLASSES = 1000


class SpatialNorm(nn.Module):
    """x / (1 + 4e-5 sum of squares over 5 x 5) ** 0.75 of stock functions."""

    def forward(self, x: Tensor) -> Tensor:
        squares: Tensor = F.avg_pool2d(x.square(), 5, 1, 2) * 25
        return x / (1 + 0.001 / 25 * squares) ** 0.75


class TunedNorm(nn.Module):
    """LocalResponseNorm(5, 1e-4, 0.75, 2) in six lines, of maps with the channels last."""

    def forward(self, x: Tensor) -> Tensor:
        channels = F.pad(x.permute(0, 2, 3, 1).square(), (2, 2))
        sums = (2 + 1e-4 / 5 * F.avg_pool1d(channels.flatten(0, 2), 5, 1) * 5).view(
            x.permute(0, 2, 3, 1).shape)
        scale = sums.rsqrt()
        return x * (scale * scale.sqrt()).permute(0, 3, 1, 2)


class Both(nn.Module):
    """Normalisation of each column by itself."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(half) for half in x.chunk(2, dim=1)], dim=1)


def stock(width: float, norm: nn.Module | None = None) -> nn.Module:
    """The paper's net as one would write it from torch.nn."""
    def units(n: int) -> int:
        return max(1, round(n / 2 * width)) * 2

    c1, c2, c3, c5, fc = (units(n) for n in (96, 256, 384, 256, 4096))
    norm = Both(norm or nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0))
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(nn.ZeroPad2d((0, 3, 0, 3)), nn.Conv2d(3, c1, 11, 4), norm, pool,
                         nn.ReLU(True), nn.Conv2d(c1, c2, 5, padding=2, groups=2), nn.ReLU(True),
                         norm, SpatialNorm(), pool, nn.Conv2d(c2, c3, 3, padding=1),
                         nn.ReLU(True), nn.Conv2d(c3, c3, 3, padding=1, groups=2), nn.ReLU(True),
                         nn.Conv2d(c3, c5, 3, padding=1, groups=2), pool, nn.ReLU(True),
                         nn.Flatten(), nn.Linear(c5 * 36, fc), nn.ReLU(True), nn.Dropout(0.5),
                         nn.Linear(fc, fc), nn.ReLU(True), nn.Dropout(0.5), nn.Linear(fc, CLASSES))


def tuned(width: float) -> nn.Module:
    """The same as somebody would who has read PyTorch's advice on speed."""
    return stock(width, TunedNorm()).to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def stock_step(network: nn.Module, batch: int,
               memory_format: torch.memory_format = torch.contiguous_format,
               device: torch.device | None = None, bf16: bool = False) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), 0.01, 0.9, weight_decay=0.0005)
    images = ((torch.rand(batch, 3, CROP, CROP) - 0.5) * 120).to(device,
                                                                 memory_format=memory_format)
    labels = (torch.arange(batch) % CLASSES).to(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            logits = network(images)
        F.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
    return step


def one_weird_trick() -> nn.Module:
    """The layers of torchvision's alexnet, which may not be installed: another net, for scale."""
    pool = nn.MaxPool2d(3, 2)
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(True), pool, nn.Conv2d(64, 192, 5, padding=2),
        nn.ReLU(True), pool, nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(True), nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(True), pool, nn.Flatten(), nn.Dropout(0.5), nn.Linear(256 * 36, 4096),
        nn.ReLU(True), nn.Dropout(0.5), nn.Linear(4096, 4096), nn.ReLU(True),
        nn.Linear(4096, CLASSES))


WEIRD_MACS = 714_188_480  # multiply-adds of an image's forward pass through it
