"""A small convolutional head on the frozen features, trained on good photos and pools of defects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .backbone import Backbone
from .base import Detector, Maps, Pictures, Pool, shares

GOOD_A_BATCH, DEFECTS_A_BATCH = 4, 4


class Head(Detector):
    """1x1 and 3x3 convolutions; binary cross-entropy and Dice; AdamW with one cycle; the last step counts."""

    name = "frozen EfficientNet-lite0, small head"

    def __init__(self, steps: int = 400, device: str = "cpu") -> None:
        self.steps, self.device = steps, device
        self._backbone: Backbone | None = None

    def require(self) -> None:
        """Raises RequestError at once where network or weights are not installed."""
        self._backbone = self._backbone or Backbone(self.device)

    def prepare(self, pictures: Pictures) -> NDArray[np.float16]:
        self._backbone = self._backbone or Backbone(self.device)
        return self._backbone.features(pictures)

    def __getstate__(self) -> dict[str, Any]:
        # A worker trains on features that are there already.
        return {**self.__dict__, "_backbone": None}

    def describe(self) -> dict[str, Any]:
        batch = [GOOD_A_BATCH, DEFECTS_A_BATCH]
        return {"name": self.name, "steps": self.steps, "batch": batch, "device": self.device}

    def maps(self, good: NDArray[Any], pools: Sequence[Pool], test: NDArray[Any], seed: int) -> Maps:
        mean, std = _statistics(good, self.device)

        def features(array: NDArray[Any]) -> Tensor:
            return (torch.from_numpy(array).to(self.device).float() - mean) / std

        grid = good.shape[-1]
        coarse = [
            F.adaptive_avg_pool2d(torch.from_numpy(pool.masks.astype(np.float32))[:, None], grid).to(self.device)
            for pool in pools
        ]
        torch.manual_seed(seed)
        chance = torch.Generator().manual_seed(seed)
        head = _head(good.shape[1]).to(self.device)
        optimiser = torch.optim.AdamW(head.parameters(), 1e-3, weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, self.steps)
        for step in range(self.steps):
            rows = torch.randint(len(good), (GOOD_A_BATCH,), generator=chance)
            x = [good[rows.numpy()]]
            y = [torch.zeros(GOOD_A_BATCH, 1, grid, grid, device=self.device)]
            for pool, labels, share in zip(pools, coarse, shares(DEFECTS_A_BATCH, len(pools), step), strict=True):
                rows = torch.randint(len(pool), (share,), generator=chance)
                x.append(pool.prepared[rows.numpy()])
                y.append(labels[rows.to(self.device)])
            loss = _loss(head(features(np.concatenate(x))), torch.cat(y))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        head.eval()
        with torch.no_grad():
            small = torch.cat([head(features(test[i : i + 8])).sigmoid() for i in range(0, len(test), 8)])
        return enlarged(small, grid * 4)


def enlarged(small: Tensor, side: int) -> Maps:
    """float ``[N,1,g,g]`` -> float32 ``[N,side,side]``."""
    return F.interpolate(small, size=(side, side), mode="bilinear")[:, 0].float().cpu().numpy()


def _head(channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 64, 1),
        nn.GroupNorm(8, 64),
        nn.SiLU(),
        nn.Dropout(0.2),
        nn.Conv2d(64, 32, 3, padding=1),
        nn.SiLU(),
        nn.Conv2d(32, 1, 1),
    )


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    found = logits.sigmoid()
    dice = (2 * (found * labels).sum() + 1) / (found.sum() + labels.sum() + 1)
    return F.binary_cross_entropy_with_logits(logits, labels) + 1 - dice


def _statistics(good: NDArray[Any], device: str) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel over all good photos, ``[C,1,1]``."""
    total = torch.zeros(good.shape[1], dtype=torch.float64)
    squares, count = total.clone(), 0
    for start in range(0, len(good), 16):
        x = torch.from_numpy(good[start : start + 16]).double()
        total += x.sum((0, 2, 3))
        squares += (x * x).sum((0, 2, 3))
        count += x.numel() // x.shape[1]
    mean = total / count
    std = (squares / count - mean**2).clamp_min(1e-12).sqrt()
    return tuple(v.float().to(device)[:, None, None] for v in (mean, std))  # type: ignore[return-value]
