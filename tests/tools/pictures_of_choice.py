"""Pictures of the pages about what is painted, what of it is visible, and which draw is kept. No model is needed: the
holes are drawn, and a painted crop is one of them, small, a shade off and softened, as a VAE gives it back."""

from __future__ import annotations

from typing import Any

import torch
from picture_sheet import Tile, sheet, to_picture
from picture_studio import CRACKED, Studio, shown
from PIL import Image
from torch import Tensor

#: Side of the working crop on these pages, px: the miniature's.
CROP = 128


def denoise_mask(studio: Studio) -> Image.Image:
    """The four masks, enlarged to the surroundings of the hole."""
    requested, *_ = studio.hole(CRACKED)
    photo = studio.pair[0]
    denoise, drawable, fine = studio.run("DenoiseMask", mask=requested, size=CROP)
    rows, columns = _around(requested, round(1.2 * _extent(requested)))
    near = photo[:, rows, columns]
    named = (
        (requested, "mask: asked for"),
        (denoise, "denoise_mask: repainted"),
        (drawable, "drawable_mask"),
        (fine, "fine_mask: etched"),
    )
    return sheet([Tile(shown(near, mask[:, rows, columns]), title) for mask, title in named], 2)


def blend_defect(studio: Studio) -> Image.Image:
    """A crop put back, and where its defect is visible."""
    sound = studio.pair[0]
    image, label, painted, stitch = _blended(studio)
    window = stitch.windows[0]
    changed = (image != sound).any(-1).float()
    return sheet(
        [
            Tile(to_picture(sound[:, window.rows, window.columns]), "photo"),
            Tile(to_picture(painted), "crop as painted", f"{CROP} px, brighter, soft"),
            Tile(to_picture(image[:, window.rows, window.columns]), "image", "colours and grain of the photo"),
            Tile(to_picture(changed[:, window.rows, window.columns]), "pixels that changed"),
            Tile(to_picture(label[:, window.rows, window.columns]), "label_mask"),
            Tile(shown(image, label), "label on the image"),
        ],
        3,
    )


def visible_mask(studio: Studio) -> Image.Image:
    """An edit with a hole, which gets a label, and another nut, which gets none."""
    source, broken, _ = studio.pair
    edit = (broken ** torch.tensor([0.72, 0.80, 0.82]) * torch.tensor([0.98, 0.90, 0.88]) + 0.03).clamp(0, 1)
    tiles = []
    for image, title in ((edit, "colours shifted, a hole"), (studio.broken[0], "another nut")):
        label, share = studio.run("VisibleMask", source=source, image=image, area=studio.part[0])
        said = "label_mask" if label.any() else "label_mask: empty"
        tiles += [
            Tile(to_picture(source), "source"),
            Tile(to_picture(image), title),
            Tile(to_picture(label), said, f"changed: {share:.1%}"),
        ]
    return sheet(tiles, 3)


def score_defect(studio: Studio) -> Image.Image:
    """Three results of one photo, and what is measured of them."""
    sound, broken, label = studio.pair
    results = ((broken, "a hole"), (_fainter(studio, 0.3), "a faint one"), (_pasted(studio), "a pasted square"))
    tiles = []
    for image, title in results:
        scores, *_ = studio.run("ScoreDefect", source=sound, image=image, label_mask=label)
        row = scores.rows[0]
        tiles.append(Tile(to_picture(image), f"{title}: {row['quality']:.2f}", _words(row, "presence", "colour_drift")))
    return sheet(tiles, 3)


def keep_best(studio: Studio) -> Image.Image:
    """Draws of one photo in one mask with why each was kept or refused."""
    source, broken, label = studio.pair
    images = torch.cat([_fainter(studio, 0.6), broken, _pasted(studio), _fainter(studio, 0.12)])
    scores, *_ = studio.run("ScoreDefect", source=source, image=images, label_mask=label)
    *_, chosen = studio.run("KeepBest", image=images, label_mask=label, scores=scores)
    reasons = {entry["draw"]: entry["reason"] for entry in chosen.refused}
    tiles = [
        Tile(
            to_picture(images[number : number + 1]),
            f"draw {number}: {'refused' if number in reasons else 'kept'}",
            reasons.get(number, _words(scores.rows[number], "quality")),
        )
        for number in range(len(images))
    ]
    return sheet(tiles, 2)


def _blended(studio: Studio) -> tuple[Tensor, Tensor, Tensor, Any]:
    """Blend Defect of the drawn hole: image, label, the crop that went in, and the stitch."""
    sound, broken, hole = studio.pair
    denoise, drawable, fine = studio.run("DenoiseMask", mask=hole, size=CROP)
    *_, stitch = studio.run("CropForDefect", image=sound, mask=denoise, label_mask=drawable, size=CROP)
    painted, *_ = studio.run("CropForDefect", image=broken, mask=denoise, label_mask=drawable, size=CROP)
    painted = (painted * 1.06 + 0.015).clamp(0, 1)
    image, label = studio.run("BlendDefect", stitch=stitch, image=painted, fine_mask=fine)
    return image, label, painted, stitch


def _fainter(studio: Studio, share: float) -> Tensor:
    """The nut with so much of its hole."""
    sound, broken, _ = studio.pair
    return sound + share * (broken - sound)


def _pasted(studio: Studio) -> Tensor:
    """The hole in a square that is brighter than the nut."""
    sound, broken, label = studio.pair
    near = sound.clone()
    rows, columns = _around(label, 30 + _extent(label))
    near[:, rows, columns] = (near[:, rows, columns] * 1.15 + 0.06).clamp(0, 1)
    return torch.where(label[..., None] > 0, broken, near)


def _words(row: dict[str, Any], *names: str) -> str:
    return ", ".join(f"{name} {row[name]:.2f}" for name in names)


def _extent(mask: Tensor) -> int:
    rows, columns = (torch.nonzero(mask[0].any(axis)).flatten() for axis in (1, 0))
    return int(max(rows[-1] - rows[0], columns[-1] - columns[0])) + 1


def _around(mask: Tensor, side: int) -> tuple[slice, slice]:
    """Rows and columns of a square around the mask that stays inside the photo."""
    found = []
    for axis, length in ((1, mask.shape[-2]), (0, mask.shape[-1])):
        places = torch.nonzero(mask[0].any(axis)).flatten()
        start = max(0, min(int(places[0] + places[-1] + 1 - side) // 2, length - side))
        found.append(slice(start, start + side))
    return found[0], found[1]
