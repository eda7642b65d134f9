"""PatchCore (Roth et al., CVPR 2022): the distance to the nearest patch of good photos. No defect is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .backbone import Backbone
from .base import Detector, Maps, Pictures, Pool
from .head import _statistics, enlarged

BANK = 8000
SMOOTH = 2 / 256


class PatchCore(Detector):
    """A random choice of patches as memory (not the greedy coreset), one nearest neighbour, smoothed maps."""

    name = "PatchCore"

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._backbone: Backbone | None = None

    def prepare(self, pictures: Pictures) -> NDArray[np.float16]:
        self._backbone = self._backbone or Backbone(self.device)
        return self._backbone.features(pictures)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_backbone": None}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "bank": BANK, "device": self.device}

    @torch.no_grad()
    def maps(self, good: NDArray[Any], pools: Sequence[Pool], test: NDArray[Any], seed: int) -> Maps:
        mean, std = _statistics(good, self.device)

        def patches(array: NDArray[Any]) -> Tensor:
            x = (torch.from_numpy(array).to(self.device).float() - mean) / std
            return F.avg_pool2d(x, 3, 1, 1)[:, :, ::2, ::2].permute(0, 2, 3, 1).flatten(1, 2)

        bank = torch.cat([patches(good[i : i + 8]).flatten(0, 1) for i in range(0, len(good), 8)])
        chosen = torch.randperm(len(bank), generator=torch.Generator().manual_seed(seed))[:BANK]
        bank, side = bank[chosen.to(bank.device)], good.shape[-1] // 2
        near = [
            torch.cdist(patch, bank).amin(1).reshape(1, side, side)
            for i in range(0, len(test), 8)
            for patch in patches(test[i : i + 8])
        ]
        large = enlarged(torch.stack(near), side * 8)
        return np.stack([ndimage.gaussian_filter(one, SMOOTH * side * 8) for one in large])
