"""Thumbnails of the workflows whose models are not at hand: drawings of what goes in, and that they are drawings.

python tests/tools/thumbnail_drawings.py [--out FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from defectforge.nodes.algorithms.placement.foreground import find_object
from defectforge.nodes.algorithms.placement.holes import HoleSettings, place_holes
from defectforge.runner.graphs.graph import SHIPPED
from defectforge.runner.nuts import write_dataset
from PIL import Image, ImageDraw, ImageFont, ImageOps

SIZE, INSET, GAP, BAR = 448, 132, 10, 54
MARK = (255, 196, 64)
#: name -> headline, second line, whether a real defect is shown to the model.
DRAWN = {
    "sdxl_inpaint": ("SDXL: inpainting", "repaints inside the mask, at 1024 px", False),
    "sdxl_inpaint_unet": ("SDXL: inpainting UNet", "sees the mask and what is around it", False),
    "sdxl_reference_local": ("SDXL: reference-only, local", "reads a real defect while it paints", True),
    "klein_defect_local": ("FLUX.2 klein: edit in a mask", "“put a defect like in image 2 on image 1”", True),
}


def drawing(photo: Path, reference: Path, mask: Path, name: str) -> Image.Image:
    """The good photo with the mask that was asked for and its crop; the real defect in a corner where it is used."""
    headline, line, uses = DRAWN[name]
    good = Image.open(photo).convert("RGB")
    pixels = np.asarray(good)
    part = find_object(pixels).mask
    holes = (
        place_holes(part, seed, 0, HoleSettings(1, 0.045, 0.06, 0, 0.3, 64), None, pixels).label for seed in range(99)
    )
    hole = next(hole for hole in holes if hole[:, good.width // 2 :].sum() == hole.sum())
    tinted = np.where(hole[..., None], (0.45 * pixels + 0.55 * np.array(MARK)).astype(np.uint8), pixels)
    picture = Image.fromarray(tinted).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    rows, columns = (np.flatnonzero(hole.any(axis)) * SIZE // good.width for axis in (1, 0))
    middle = ((columns[0] + columns[-1]) // 2, (rows[0] + rows[-1]) // 2)
    reach = int(0.9 * max(np.ptp(rows), np.ptp(columns)))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([middle[0] - reach, middle[1] - reach, middle[0] + reach, middle[1] + reach], outline=MARK, width=2)
    if uses:
        inset = crop_of(Image.open(reference).convert("RGB"), mask).resize((INSET, INSET), Image.Resampling.LANCZOS)
        corner = (GAP, SIZE - BAR - INSET - 4 - GAP)
        picture.paste(ImageOps.expand(inset, 2, "white"), corner)
        start = (corner[0] + INSET + 8, corner[1] + INSET // 2)
        draw.line([start, (middle[0] - reach, middle[1] + reach)], fill=MARK, width=3)
    draw.rectangle([0, SIZE - BAR, SIZE, SIZE], fill=(24, 26, 32))
    draw.text((GAP, SIZE - BAR + 7), headline, fill="white", font=ImageFont.load_default(19))
    draw.text((GAP, SIZE - BAR + 32), f"{line} · a drawing", fill=(190, 195, 205), font=ImageFont.load_default(14))
    return picture


def crop_of(picture: Image.Image, mask: Path) -> Image.Image:
    """A square around the masked defect, with its surroundings."""
    left, top, right, bottom = Image.open(mask).convert("L").getbbox() or (0, 0, *picture.size)
    side = int(1.8 * max(right - left, bottom - top)) // 2
    x, y = (left + right) // 2, (top + bottom) // 2
    return picture.crop((x - side, y - side, x + side, y + side))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "nuts"
        write_dataset(data, n_good=4, n_defect=2, size=512, seed=21)
        nut = data / "hazelnut"
        photos = [nut / "train/good/001.png", nut / "test/hole/000.png", nut / "ground_truth/hole/000_mask.png"]
        for name in DRAWN:
            drawing(photos[0], photos[1], photos[2], name).save(options.out / f"{name}.jpg", quality=84)


if __name__ == "__main__":
    main()
