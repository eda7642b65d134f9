"""A judge of "there is a hole (or another kind of defect) in this place", which no score knows of: a small network
trained on drawn nuts.

Its examples are drawn, never a model's samples: the same nut with a hole and without. Sound places are also spoilt the
way a weak model spoils them (a smooth patch, a shade darker or lighter), so that the judge looks for a hole and not for
traces of repainting.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from defectforge.runner.nuts.photo import Nut
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

#: Side of the judged picture in px, side of the crop in diameters of the place, and side of the drawn photos.
SIDE, WIDE, PHOTO = 32, 2.2, 160

#: First seeds of the nuts that it learns from and is tested on; no benchmark draws them.
LEARN_SEED, TEST_SEED = 50_000, 60_000

Picture = NDArray[np.uint8]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Judge:
    """The trained network, and how often it is right on nuts that it has not seen."""

    network: nn.Module
    accuracy: float

    def says(self, pictures: list[Picture]) -> NDArray[np.float64]:
        """Chance of a hole in each of the crops that `place_of` cuts."""
        with torch.no_grad():
            return torch.sigmoid(self.network(_as_input(np.stack(pictures)))).numpy().astype(np.float64)


def place_of(photo: Picture, mask: Bools, rng: np.random.Generator | None = None) -> Picture:
    """The place of a mask as the judge sees it: a square around its core, ``[SIDE, SIDE, 3]``."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    core = depth >= 0.5 * depth.max()
    y, x = (float(axis.mean()) for axis in np.nonzero(core))
    side = WIDE * 2.0 * float(np.sqrt(mask.sum() / np.pi))
    if rng is not None:
        side *= rng.uniform(0.85, 1.25)
        y, x = y + rng.uniform(-0.12, 0.12) * side, x + rng.uniform(-0.12, 0.12) * side
    box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
    return np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BOX, box=_inside(box, photo)))


def trained(
    nuts: int = 160, steps: int = 500, seed: int = 0, kind: str = "hole", others: tuple[str, ...] = ()
) -> Judge:
    """Draw examples, learn, and test on as many nuts as a quarter of those. Places with one of `others` are none."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    learn, truth = _examples(nuts, LEARN_SEED, kind, others)
    network = _network()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for step in range(steps):
        index = torch.randint(0, len(learn), (64,))
        x = torch.rot90(learn[index], step % 4, (2, 3))
        x = x.flip(-1) if step % 8 >= 4 else x
        x = x * (0.85 + 0.3 * torch.rand(64, 1, 1, 1)) + 0.02 * torch.randn_like(x)
        loss = F.binary_cross_entropy_with_logits(network(x), truth[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()
    tested, right = _examples(max(8, nuts // 4), TEST_SEED, kind, others)
    with torch.no_grad():
        accuracy = float(((network(tested) > 0) == (right > 0.5)).float().mean())
    return Judge(network, accuracy)


def _network() -> nn.Module:
    layers: list[nn.Module] = []
    for before, after in ((3, 16), (16, 32), (32, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * (SIDE // 8) ** 2, 1), nn.Flatten(0))


def _as_input(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255 * 2 - 1


def _examples(nuts: int, first: int, kind: str, others: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Pictures ``[N, 3, SIDE, SIDE]`` and whether `kind` is there: in half of them, or in fewer with `others`."""
    pictures, truth = [], []
    number, made = first, 0
    while made < nuts:
        nut = Nut(number)
        number += 1
        if not all(nut.has_room(name) for name in (kind, *others)):
            continue
        made += 1
        rng = np.random.default_rng(number)
        holes = [nut.defect(kind, number), nut.defect(kind, number + 1_000_000)]
        (sound, _), *broken = nut.photos(PHOTO, [None, *holes, *(nut.defect(name, number) for name in others)])
        for photo, mask in broken[2:]:
            if (mask > 127).sum() >= 12:
                pictures.append(place_of(photo, mask > 127, rng))
                truth.append(0.0)
        for photo, mask in broken[:2]:
            place = mask > 127
            if place.sum() < 12:
                continue
            soft = ndimage.gaussian_filter(photo, (*2 * [rng.uniform(0, 0.8)], 0)) if rng.random() < 0.5 else photo
            # Where the model paints a hole it need not fill the place: some are smaller than what is asked for.
            asked = ndimage.binary_dilation(place, iterations=int(rng.integers(0, 3)))
            pictures += [place_of(soft, asked, rng), place_of(_spoilt(sound, place, rng), place, rng)]
            truth += [1.0, 0.0]
    return _as_input(np.stack(pictures)), torch.tensor(truth)


def _spoilt(photo: Picture, place: Bools, rng: np.random.Generator) -> Picture:
    """A sound place repainted in vain: untouched, smooth, or a shade off; never a hole."""
    kind = rng.integers(3)
    if kind == 0:
        return photo
    weight = ndimage.gaussian_filter(place.astype(np.float32), rng.uniform(0.5, 2.0))[..., None]
    smooth = ndimage.gaussian_filter(photo.astype(np.float32), (*2 * [rng.uniform(0.8, 3.0)], 0))
    shade = smooth * (1.0 if kind == 1 else rng.uniform(0.75, 1.2)) + rng.normal(0, 4, 3)
    return np.clip(photo + weight * (shade - photo), 0, 255).astype(np.uint8)


def _inside(box: tuple[float, float, float, float], photo: Picture) -> tuple[float, float, float, float]:
    """The box, moved into the picture (and shrunk where it is larger)."""
    height, width = photo.shape[:2]
    side = min(box[2] - box[0], height, width)
    left, top = (min(max(0.0, low), most - side) for low, most in ((box[0], width), (box[1], height)))
    return (left, top, left + side, top + side)
