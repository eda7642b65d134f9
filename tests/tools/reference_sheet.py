"""docs/reference_only.jpg: the same nuts with plain inpainting, reference-only, and local reference-only.

    python tests/tools/reference_sheet.py --checkpoint FILE --inpaint FILE [--seed 2] [--out FILE.jpg]

The files are the miniature, for the whole picture, and its inpainting variant, for the masked columns. Working crops of
128 px, 20 steps of euler_ancestral, cfg 5.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent))
from by_location import ROOT, import_package
from picture_sheet import GROUND, INK, font, to_image, to_picture
from picture_studio import HALF, SIZE, Studio, shown

SIDE, GAP, HEAD = 128, 4, 34
COLUMNS = (
    "normal nut",
    "reference",
    "its mask",
    "inpainting,\nno reference",
    "reference-only\n(attention)",
    "reference-only\n(adain+attn)",
    "local\n(attention)",
    "local\n(adain+attn)",
)


def row(studio: Studio, painter: Studio, nut: int) -> list[Image.Image]:
    """The pictures of one nut; `painter` has the model that inpaints."""
    from defectforge.runner.nuts import View, draw_nut

    reference, reference_mask = studio.reference
    photo = to_image(draw_nut(nut, SIZE, view=View(half=HALF)))
    part, _, _ = studio.run("ObjectMask", image=photo)
    label, denoise, _ = studio.run("PlaceHoleMask", image=photo, object_mask=part, seed=nut, max_cracks=0)
    crop, target, _, stitch = studio.run("CropForDefect", image=photo, mask=denoise, label_mask=label, size=SIDE)
    vae, window = studio.model.vae, stitch.windows[0]
    latent, _ = studio.run("MaskedContent", pixels=crop, mask=target, vae=vae, seed=studio.seed)

    def stitched(model: object) -> Image.Image:
        (out,) = studio.run("Stitch", stitch=stitch, image=painter.sample(model, latent))
        return to_picture(out[:, window.rows, window.columns]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)

    def referenced(mode: str, local: bool) -> object:
        masks = {"reference_mask": reference_mask, "target_mask": target} if local else {}
        base = (painter if local else studio).model.model
        (model,) = studio.run("ReferenceOnly", model=base, vae=vae, image=reference, mode=mode, **masks)
        return model

    modes = ("reference_only", "reference_adain+attn")
    whole = [studio.sample(referenced(mode, False), {"samples": vae.encode(crop)}, denoise=0.6) for mode in modes]
    return [
        to_picture(crop),
        to_picture(reference),
        shown(reference, reference_mask),
        stitched(painter.model.model),
        *(to_picture(picture) for picture in whole),
        *(stitched(referenced(mode, True)) for mode in modes),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--inpaint", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--cfg", type=float, default=5.0)
    parser.add_argument("--nuts", type=int, nargs="+", default=[4, 11, 15, 27])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "reference_only.jpg")
    options = parser.parse_args()
    import_package()
    step = SIDE + GAP
    sheet = Image.new("RGB", (step * len(COLUMNS) + GAP, HEAD + step * len(options.nuts) + GAP), GROUND)
    draw = ImageDraw.Draw(sheet)
    for column, title in enumerate(COLUMNS):
        top = HEAD - 17 * (title.count("\n") + 1) - 1
        draw.multiline_text((GAP + column * step, top), title, INK, font(13), spacing=2)
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Path(folder), options.checkpoint, options.seed)
        painter = Studio(Path(folder), options.inpaint, options.seed)
        studio.cfg = painter.cfg = options.cfg
        for number, nut in enumerate(options.nuts):
            for column, picture in enumerate(row(studio, painter, nut)):
                sheet.paste(picture, (GAP + column * step, HEAD + number * step))
    sheet.save(options.out, quality=88)


if __name__ == "__main__":
    main()
