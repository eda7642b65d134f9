"""Pictures on the way: good parts with a defect painted in, by the model as it was and as it is now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from ...nodes.algorithms.compositing.crops import crop, crop_mask, whole_photo
from ...nodes.algorithms.compositing.fills import LATENT_SCALE
from ...nodes.algorithms.pixels import to_u8
from ..embedded.engine.sampling.sampling import ksampler
from ..plans.photos import as_problems
from .adapters import Adapters
from .model import Trainee
from .photos import TrainingPhotos
from .settings import Settings
from .views import moved_to, window_of

PLACES, STEPS, CFG, GAP = 4, 20, 7.0, 4


class Samples:
    """Sheets in a folder, ``step-00100.png``: a row a place; the good part, the base model, the adapters."""

    def __init__(
        self, trainee: Trainee, adapters: Adapters, photos: TrainingPhotos, settings: Settings, folder: Path
    ) -> None:
        self.trainee, self.adapters, self.settings, self.folder = trainee, adapters, settings, folder
        self._places = _places(photos, settings.size)
        self._before: Tensor | None = None

    def write(self, step: int, say: Callable[[str], None]) -> None:
        """One more sheet."""
        pictures = torch.stack([picture for picture, _ in self._places])
        masks = torch.stack([mask for _, mask in self._places])
        if self._before is None:
            with self.adapters.switched_off():
                self._before = self._painted(pictures, masks)
        now = self._before if step == 0 else self._painted(pictures, masks)
        columns = [pictures, self._before, now]
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"step-{step:05d}.png"
        Image.fromarray(_sheet(columns)).save(path)
        say(f"samples: {path}")

    def _painted(self, pictures: Tensor, masks: Tensor) -> Tensor:
        """Pictures ``[N, size, size, 3]`` with the prompt's defect under the masks ``[N, size, size]``."""
        checkpoint = self.trainee.checkpoint
        clip, vae = checkpoint.clip, checkpoint.vae
        assert clip is not None and vae is not None
        latents = vae.encode(pictures)
        cells = (interpolate(masks[:, None], size=latents.shape[-2:], mode="area") > 0.3).float()
        generator = torch.Generator().manual_seed(self.settings.seed)
        noise = torch.randn(latents.shape, generator=generator) / LATENT_SCALE
        given = {"samples": latents * (1 - cells) + noise * cells, "noise_mask": cells[:, 0]}
        made = ksampler(
            checkpoint.model,
            self.settings.seed,
            STEPS,
            CFG,
            "euler_ancestral",
            "normal",
            clip.encode(self.settings.prompt),
            clip.encode(""),
            given,
            callback=lambda *_: None,
        )
        painted = vae.decode(made["samples"])
        return pictures + (painted - pictures) * masks[..., None]


def _places(photos: TrainingPhotos, size: int) -> list[tuple[Tensor, Tensor]]:
    """Working crops of good parts (without any, of the defects' own photos) and masks to paint in: those of the
    defects, at their place."""
    places = []
    grounds = photos.good or photos.defects
    for number, checked in enumerate(photos.defects[:PLACES]):
        ground = grounds[number * len(grounds) // min(PLACES, len(photos.defects))]
        with as_problems():
            mask = checked.photo.read_mask(checked.photo.read())
            pixels = ground.photo.read().pixels
        assert mask is not None
        window, denoise = window_of(mask.area, size)
        there = moved_to(window, mask.area.shape, pixels.shape[:2])
        part = torch.from_numpy(pixels[there.rows, there.columns].astype(np.float32) / 255.0)
        area = torch.from_numpy(np.ascontiguousarray(denoise[window.rows, window.columns]))
        picture = crop(part, whole_photo(there.height, there.width), size, size)
        places.append((picture, crop_mask(area, whole_photo(window.height, window.width), size, size)))
    return places


def _sheet(columns: list[Tensor]) -> NDArray[np.uint8]:
    """Columns of pictures ``[N, H, W, 3]`` side by side."""
    rows, height, width = columns[0].shape[:3]
    canvas = np.full((rows * (height + GAP) - GAP, len(columns) * (width + GAP) - GAP, 3), 255, np.uint8)
    for x, pictures in enumerate(columns):
        for y, picture in enumerate(pictures):
            top, left = y * (height + GAP), x * (width + GAP)
            canvas[top : top + height, left : left + width] = to_u8(picture)
    return canvas
