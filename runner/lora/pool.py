"""What a training draws from: views of every photo, encoded once, so that a step costs the network alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d

from ...nodes.algorithms.compositing.fills import LATENT_SCALE
from ..embedded.core_nodes.conditioning import hole_greyed
from ..plans.photos import Checked, as_problems
from .photos import TrainingPhotos
from .settings import Settings
from .views import moved_to, varied, view, window_of

#: Views of defects and of good parts altogether; each photo has its share, and at least `LEAST`.
DEFECT_VIEWS, GOOD_VIEWS, LEAST = 192, 96, 8
Say = Callable[[str], None]


@dataclass(frozen=True)
class Views:
    """Encoded views, one row each.

    Attributes:
        latents: scaled latents ``[N, 4, h, w]``.
        areas: the defect on them, 0..1, ``[N, 1, h, w]``.
        masks: what an inpainting model is told to repaint, 0 or 1, ``[N, 1, h, w]``: the defect with some room.
        greyed: scaled latents of the views with the repainted part in mid grey, or nothing for other models.
    """

    latents: Tensor
    areas: Tensor
    masks: Tensor
    greyed: Tensor | None

    def __len__(self) -> int:
        return len(self.latents)


def defect_views(photos: TrainingPhotos, settings: Settings, vae: Any, inpaints: bool) -> Views:
    """Views of each photo with a defect."""
    each = max(LEAST, DEFECT_VIEWS // len(photos.defects))
    drawn = []
    for number, checked in enumerate(photos.defects):
        pixels, mask = _read(checked)
        assert mask is not None, "only photos with masks are chosen"
        window, denoise = window_of(mask, settings.size)
        for index in range(each):
            rng = np.random.default_rng([settings.seed, 1, number, index])
            place = window if index == 0 else varied(window, denoise, rng)
            drawn.append(view(pixels, mask, place, settings.size, rng, settings.turns and index > 0))
    return _encoded(drawn, vae, inpaints)


def good_views(photos: TrainingPhotos, settings: Settings, vae: Any, inpaints: bool) -> Views | None:
    """The same places on photos of good parts: what a good part looks like where defects were; None without any."""
    if not photos.good or settings.prior == 0:
        return None
    places = []
    for checked in photos.defects:
        pixels, mask = _read(checked)
        assert mask is not None
        window, denoise = window_of(mask, settings.size)
        places.append((window, denoise, pixels.shape[:2], mask))
    each = max(2, GOOD_VIEWS // len(photos.good))
    drawn = []
    for number, checked in enumerate(photos.good):
        pixels, _ = _read(checked)
        for index in range(each):
            rng = np.random.default_rng([settings.seed, 2, number, index])
            window, denoise, shape, mask = places[int(rng.integers(len(places)))]
            chosen = varied(window, denoise, rng)
            there = moved_to(chosen, shape, pixels.shape[:2])
            picture, _ = view(pixels, None, there, settings.size, rng, settings.turns)
            # Where the defect would be: an inpainting model is told to repaint it, and repaints a good part.
            _, area = view(np.zeros((*shape, 3), np.uint8), mask, chosen, settings.size, rng, settings.turns)
            drawn.append((picture, area))
    return _encoded(drawn, vae, inpaints)


def _read(checked: Checked) -> tuple[Any, Any]:
    with as_problems():
        picture = checked.photo.read()
        mask = checked.photo.read_mask(picture)
    return picture.pixels, None if mask is None else mask.area


def _encoded(drawn: list[tuple[Tensor, Tensor]], vae: Any, inpaints: bool) -> Views:
    pictures = torch.stack([picture for picture, _ in drawn])
    areas = torch.stack([area for _, area in drawn])[:, None]
    latents = _latents(pictures, vae)
    cells = interpolate(areas, size=latents.shape[-2:], mode="area")
    # A thin defect fills no cell, but is in it.
    cells = torch.maximum(cells, (max_pool2d(areas, 8) > 0.5).float() * 0.5)
    room = max_pool2d(areas, 9, stride=1, padding=4)
    masks = (interpolate(room, size=latents.shape[-2:], mode="bilinear") > 0.5).float()
    masks = torch.maximum(masks, (cells > 0).float())
    greyed = _latents(hole_greyed(pictures, room), vae) if inpaints else None
    return Views(latents, cells, masks, greyed)


def _latents(pictures: Tensor, vae: Any) -> Tensor:
    result: Tensor = vae.encode(pictures) * LATENT_SCALE
    return result
