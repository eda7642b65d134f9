"""The contact sheet of `docs/placement.md`: every type of defect on drawn parts of every kind.

python tests/tools/placement_sheet.py [--out docs/images/placement_types.jpg] [--seed 3]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, import_package
from drawn_parts import KINDS, draw_part
from picture_sheet import GROUND, INK, font

SIDE, GAP, HEAD = 128, 4, 34


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images" / "placement_types.jpg")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    import_package()
    from defectforge.nodes.algorithms.placement.defects import TYPES
    from defectforge.nodes.algorithms.placement.defects.place import PlaceSettings, place_defects
    from defectforge.nodes.algorithms.placement.frame import NoPlaceError

    left = 100
    canvas = Image.new("RGB", (left + len(TYPES) * (SIDE + GAP), HEAD + len(KINDS) * (SIDE + GAP)), GROUND)
    draw = ImageDraw.Draw(canvas)
    for column, name in enumerate(TYPES):
        draw.text((left + column * (SIDE + GAP) + SIDE / 2, HEAD / 2), name, INK, font(18), anchor="mm")
    for row, kind in enumerate(KINDS):
        top = HEAD + row * (SIDE + GAP)
        draw.text((left - 8, top + SIDE / 2), kind.replace("_", " "), INK, font(18), anchor="rm")
        photo, part = draw_part(kind)
        for column, name in enumerate(TYPES):
            shown = photo.copy()
            try:
                label = place_defects(part, options.seed, column, PlaceSettings(name), photo=photo).label
            except NoPlaceError:
                # A texture has no edge that could be chipped.
                shown //= 4
            else:
                outline = ndimage.binary_dilation(label, iterations=3) & ~label
                shown[label] = shown[label] // 2 + np.array([12, 120, 32], np.uint8)
                shown[outline] = (25, 242, 64)
            tile = Image.fromarray(shown).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            canvas.paste(tile, (left + column * (SIDE + GAP), top))
    canvas.save(options.out, quality=82, optimize=True)
    print(f"{options.out}: {options.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
