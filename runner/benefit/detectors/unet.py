"""A small U-Net from scratch, for where no weights are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from .base import Detector, Maps, Pictures, Pool, shares
from .head import DEFECTS_A_BATCH, GOOD_A_BATCH, _loss

WIDTHS = (16, 32, 64, 96)


class UNet(Detector):
    """Four levels, 0.5 million weights; pictures at half size; mirrored and turned by quarters while it trains."""

    name = "small U-Net from scratch"

    def __init__(self, steps: int = 400, device: str = "cpu") -> None:
        self.steps, self.device = steps, device

    def prepare(self, pictures: Pictures) -> NDArray[np.uint8]:
        return np.ascontiguousarray(pictures)

    def describe(self) -> dict[str, Any]:
        batch = [GOOD_A_BATCH, DEFECTS_A_BATCH]
        return {"name": self.name, "steps": self.steps, "batch": batch, "device": self.device}

    def maps(self, good: NDArray[Any], pools: Sequence[Pool], test: NDArray[Any], seed: int) -> Maps:
        torch.manual_seed(seed)
        chance = torch.Generator().manual_seed(seed)
        net = _Net().to(self.device)
        optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
        rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, self.steps)
        side = good.shape[1]
        for step in range(self.steps):
            x = [good[torch.randint(len(good), (GOOD_A_BATCH,), generator=chance).numpy()]]
            y = [np.zeros((GOOD_A_BATCH, side, side), bool)]
            for pool, share in zip(pools, shares(DEFECTS_A_BATCH, len(pools), step), strict=True):
                rows = torch.randint(len(pool), (share,), generator=chance).numpy()
                x.append(pool.prepared[rows])
                y.append(pool.masks[rows])
            pictures, labels = self._inputs(np.concatenate(x)), self._labels(np.concatenate(y))
            turn, mirror = (int(torch.randint(n, (1,), generator=chance)) for n in (4, 2))
            pictures, labels = (_moved(tensor, turn, mirror) for tensor in (pictures, labels))
            loss = _loss(net(pictures), labels)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            rate.step()
        net.eval()
        with torch.no_grad():
            found = [net(self._inputs(test[i : i + 4])).sigmoid() for i in range(0, len(test), 4)]
        large = F.interpolate(torch.cat(found), size=(side, side), mode="bilinear")
        return large[:, 0].float().cpu().numpy()

    def _inputs(self, pictures: NDArray[Any]) -> Tensor:
        x = torch.from_numpy(np.ascontiguousarray(pictures)).to(self.device).permute(0, 3, 1, 2).float() / 255
        return (F.avg_pool2d(x, 2) - 0.4) / 0.25

    def _labels(self, masks: NDArray[np.bool_]) -> Tensor:
        return F.avg_pool2d(torch.from_numpy(masks).to(self.device)[:, None].float(), 2)


def _moved(tensor: Tensor, turn: int, mirror: int) -> Tensor:
    return torch.rot90(tensor.flip(3) if mirror else tensor, turn, (2, 3))


def _block(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
    return nn.Sequential(*layers)


class _Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((3, *WIDTHS), WIDTHS, strict=False))
        pairs = list(zip(WIDTHS[::-1], WIDTHS[-2::-1], strict=False))
        self.up = nn.ModuleList(_block(deep + shallow, shallow) for deep, shallow in pairs)
        self.last = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """float ``[N,3,h,w]`` -> logits ``[N,1,h,w]``; the sides must be multiples of 8."""
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, skip in zip(self.up, kept[-2::-1], strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))
        logits: Tensor = self.last(x)
        return logits
