"""The pictures of the nodes' help pages, drawn from generated nuts by the nodes themselves.

python tests/tools/help_pictures.py                     all pages but those that need a model
python tests/tools/help_pictures.py --checkpoint FILE   all pages; FILE is the miniature checkpoint
python tests/tools/help_pictures.py --only Stitch --out /tmp/pictures
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parent))
import pictures_of_choice
from by_location import ROOT, import_package
from picture_sheet import FAINT, GAP, GROUND, INK, WIDTH, Tile, font, save, sheet, to_picture
from picture_studio import CRACKED, PLAIN, Studio, shown

DOCS = ROOT / "nodes" / "web" / "docs"
ORANGE, BLUE = (230, 150, 60), (90, 140, 215)

PAGES: dict[str, Callable[[Studio], Image.Image]] = {}
NEED_MODEL: set[str] = set()


def page(name: str, needs_model: bool = False) -> Callable[[Callable[[Studio], Image.Image]], Any]:
    """Register the function that draws the picture of node ``DefectForge<name>``."""

    def register(draw: Callable[[Studio], Image.Image]) -> Callable[[Studio], Image.Image]:
        PAGES["DefectForge" + name] = draw
        if needs_model:
            NEED_MODEL.add("DefectForge" + name)
        return draw

    return register


@page("LoadMVTec")
def load_mvtec(studio: Studio) -> Image.Image:
    sound, broken, hole = studio.pair
    names = ("train/good/000.png", "test/hole/000.png", "ground_truth/hole/000_mask.png")
    for name, picture in zip(names, (sound, broken, hole), strict=True):
        path = studio.places.input / "hazelnut" / name
        path.parent.mkdir(parents=True)
        to_picture(picture).save(path)
    tiles = []
    for split, kind in (("train", "good"), ("test", "hole")):
        image, mask, path, _ = studio.run("LoadMVTec", category="hazelnut", split=split, type=kind)
        tiles += [Tile(to_picture(image), "image", path), Tile(to_picture(mask), "mask", "empty: a good part")]
    tiles[-1] = replace(tiles[-1], note=names[-1])
    return sheet(tiles, 2)


@page("ObjectMask")
def object_mask(studio: Studio) -> Image.Image:
    mask, confidence, overlaid = studio.part
    return sheet(
        [
            Tile(to_picture(studio.pair[0]), "photo"),
            Tile(to_picture(mask), "mask", f"confidence {confidence:.2f}"),
            Tile(to_picture(overlaid), "overlay"),
        ],
        3,
    )


@page("PlaceHoleMask")
def place_hole_mask(studio: Studio) -> Image.Image:
    label, denoise, overlaid = studio.hole(CRACKED)
    others = [Tile(to_picture(studio.hole(seed)[2]), f"seed {seed}") for seed in (7, 18, 22)]
    first = [
        Tile(to_picture(overlaid), f"seed {CRACKED}"),
        Tile(to_picture(label), "label mask"),
        Tile(to_picture(denoise), "denoise mask"),
    ]
    return sheet([*first, *others], 3)


@page("PlaceDefectMask")
def place_defect_mask(studio: Studio) -> Image.Image:
    from defectforge.nodes.algorithms.placement.defects import TYPES

    photo, (part, *_) = studio.pair[0], studio.part
    tiles = []
    for number, kind in enumerate(TYPES):
        *_, overlaid = studio.run("PlaceDefectMask", image=photo, part_mask=part, type=kind, seed=20 + number)
        tiles.append(Tile(to_picture(overlaid), kind))
    *_, twice = studio.run("PlaceDefectMask", image=photo, part_mask=part, type="spot", seed=2, count=4)
    return sheet([*tiles, Tile(to_picture(twice), "spot, count 4")], 4)


@page("MaskPrior")
def mask_prior(studio: Studio) -> Image.Image:
    broken, mask = studio.broken
    prior, _ = studio.run("MaskPrior", images=broken, masks=mask)
    tiles = [Tile(shown(broken, mask), "a real defect", f"{mask.mean():.1%} of the photo")]
    for seed in range(5):
        *_, overlaid = studio.run(
            "PlaceDefectMask", image=studio.pair[0], type="as the real ones", prior=prior, seed=seed
        )
        tiles.append(Tile(to_picture(overlaid), f"drawn from it, seed {seed}"))
    return sheet(tiles, 3)


@page("TransplantMask")
def transplant_mask(studio: Studio) -> Image.Image:
    broken, mask = studio.broken
    tiles = [Tile(shown(broken, mask), "a real defect")]
    for seed in (1, 2, 3):
        *_, overlaid = studio.run(
            "TransplantMask", image=studio.pair[0], reference=broken, reference_mask=mask, seed=seed
        )
        tiles.append(Tile(to_picture(overlaid), f"moved, seed {seed}"))
    return sheet(tiles, 2)


@page("TransplantDefect")
def transplant_defect(studio: Studio) -> Image.Image:
    broken, mask = studio.broken
    tiles = [
        Tile(to_picture(broken), "reference: a real defect"),
        Tile(to_picture(studio.pair[0]), "image: a good part"),
    ]
    for seed in (1, 2):
        image, *_ = studio.run(
            "TransplantDefect", image=studio.pair[0], reference=broken, reference_mask=mask, seed=seed
        )
        tiles.append(Tile(to_picture(image), f"seed {seed}"))
    return sheet(tiles, 2)


@page("DefectPrompt")
def defect_prompt(_: Studio) -> Image.Image:
    from defectforge.nodes.algorithms.prompts import TEMPLATE
    from defectforge.nodes.algorithms.prompts import defect_prompt as filled

    size = 22
    names = (("metal_nut", "scratch"), ("pcb1", "missing part"), ("wood", "liquid"))
    canvas = Image.new("RGB", (WIDTH, 64 + 62 * len(names)), GROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((2 * GAP, 2 * GAP), TEMPLATE, FAINT, font(size))
    for number, (part, kind) in enumerate(names):
        top = 52 + 62 * number
        draw.text((2 * GAP, top), f"part {part}, type {kind}", FAINT, font(18))
        draw.text((2 * GAP, top + 23), filled(TEMPLATE, part, kind, ""), ORANGE, font(size))
    return canvas


@page("CropForDefect")
def crop_for_defect(studio: Studio) -> Image.Image:
    from defectforge.nodes.algorithms.compositing.crops import LATENT_CELL, hole_diameter
    from defectforge.nodes.algorithms.masks import to_array

    label, denoise, _ = studio.hole(CRACKED)
    photo = studio.pair[0]
    _, _, plain, _ = studio.run("CropForDefect", image=photo, mask=denoise, label_mask=label, mode="whole photo")
    crop, soft, hard, stitch = studio.run("CropForDefect", image=photo, mask=denoise, label_mask=label)
    before, after = (hole_diameter(to_array(mask[0])) / LATENT_CELL for mask in (plain, hard))
    window = stitch.windows[0]
    framed = shown(photo, denoise)
    corner = (window.x + window.width, window.y + window.height)
    ImageDraw.Draw(framed).rectangle([(window.x, window.y), corner], outline=(255, 220, 60), width=4)
    return sheet(
        [
            Tile(framed, "photo, mask, window", f"hole: {before:.0f} latent cells wide"),
            Tile(shown(crop, soft), "the working crop", f"hole: {after:.0f} latent cells wide"),
        ],
        2,
    )


@page("Stitch")
def stitch(studio: Studio) -> Image.Image:
    sound, broken, _ = studio.pair
    label, denoise = studio.drawn_hole()
    *_, put_back = studio.run("CropForDefect", image=sound, mask=denoise, label_mask=label)
    sampled, *_ = studio.run("CropForDefect", image=broken, mask=denoise, label_mask=label)
    # A sampled crop is never quite as bright as its photo: the VAE changes every pixel.
    sampled = (sampled * 1.06 + 0.015).clamp(0, 1)
    (out,) = studio.run("Stitch", stitch=put_back, image=sampled)
    changed = (out != sound).any(-1).float()
    return sheet(
        [
            Tile(to_picture(sound), "photo"),
            Tile(to_picture(sampled), "crop with a hole"),
            Tile(to_picture(out), "image"),
            Tile(to_picture(changed), "pixels that changed"),
        ],
        2,
    )


@page("MaskedContent", needs_model=True)
def masked_content(studio: Studio) -> Image.Image:
    label, denoise, _ = studio.hole(CRACKED)
    crop, soft, *_ = studio.run("CropForDefect", image=studio.pair[0], mask=denoise, label_mask=label)
    vae = studio.model.vae
    tiles = []
    for mode in ("fill", "original", "latent noise", "latent nothing"):
        latent, _ = studio.run("MaskedContent", pixels=crop, mask=soft, vae=vae, mode=mode, seed=studio.seed)
        tiles.append(Tile(to_picture(vae.decode(latent["samples"])), mode))
    return sheet(tiles, 2)


@page("ReferenceOnly", needs_model=True)
def reference_only(studio: Studio) -> Image.Image:
    reference, reference_mask = studio.reference
    label, denoise, _ = studio.hole(PLAIN)
    crop, target, _, put_back = studio.run(
        "CropForDefect", image=studio.pair[0], mask=denoise, label_mask=label, size=128
    )
    vae, seed = studio.model.vae, studio.seed
    common = {"model": studio.model.model, "vae": vae, "image": reference, "mode": "reference_only"}
    (whole,) = studio.run("ReferenceOnly", **common)
    drawn = studio.sample(whole, {"samples": vae.encode(crop)}, denoise=0.6)
    (local,) = studio.run("ReferenceOnly", **common, reference_mask=reference_mask, target_mask=target)
    latent, _ = studio.run("MaskedContent", pixels=crop, mask=target, vae=vae, seed=seed)
    (out,) = studio.run("Stitch", stitch=put_back, image=studio.sample(local, latent))
    window = put_back.windows[0]
    return sheet(
        [
            Tile(shown(reference, reference_mask), "reference, its mask"),
            Tile(shown(crop, target), "picture, target mask"),
            Tile(to_picture(drawn), "without masks"),
            Tile(to_picture(out[:, window.rows, window.columns]), "with both masks"),
        ],
        2,
    )


@page("ReferenceCache")
def reference_cache(_: Studio) -> Image.Image:
    rows = [
        ("first picture", True),
        ("next seed", False),
        ("other strength", False),
        ("other prompt", True),
        ("first prompt again", False),
    ]
    line, block, steps, start = 44, 38, 4, 214
    canvas = Image.new("RGB", (WIDTH, line * (len(rows) + 1) + 3 * GAP), GROUND)
    draw = ImageDraw.Draw(canvas)
    for number, (name, computes) in enumerate(rows):
        middle = GAP + line * number + line / 2
        draw.text((2 * GAP, middle), name, INK, font(23), anchor="lm")
        left = start
        for _step in range(steps):
            for colour in (ORANGE, BLUE) if computes else (BLUE,):
                draw.rounded_rectangle([left, middle - 15, left + block, middle + 15], 5, fill=colour)
                left += block + 4
            left += 6
    middle = 2 * GAP + line * len(rows) + line / 2
    for left, colour, text in ((2 * GAP, ORANGE, "reference computed, kept"), (322, BLUE, "a step of the picture")):
        draw.rounded_rectangle([left, middle - 10, left + 20, middle + 10], 5, fill=colour)
        draw.text((left + 28, middle), text, FAINT, font(20), anchor="lm")
    return canvas


@page("SaveDefectPair")
def save_defect_pair(studio: Studio) -> Image.Image:
    _, broken, mask = studio.pair
    studio.run("SaveDefectPair", image=broken, mask=mask)
    files = sorted(studio.places.output.rglob("*.png"), reverse=True)
    tiles = []
    for path, title in zip(files, ("the picture", "its label mask"), strict=True):
        with Image.open(path) as picture:
            tiles.append(
                Tile(
                    picture.convert("RGB"),
                    title,
                    str(path.relative_to(studio.places.output / "defectforge" / "hazelnut").as_posix()),
                )
            )
    return sheet(tiles, 2)


page("DenoiseMask")(pictures_of_choice.denoise_mask)
page("BlendDefect")(pictures_of_choice.blend_defect)
page("VisibleMask")(pictures_of_choice.visible_mask)
page("ScoreDefect")(pictures_of_choice.score_defect)
page("KeepBest")(pictures_of_choice.keep_best)


@page("ColorLock")
def color_lock(studio: Studio) -> Image.Image:
    source, broken, _ = studio.pair
    # The shift that instruct-pix2pix gives: paler, redder, the background greyer.
    edit = (broken ** torch.tensor([0.72, 0.80, 0.82]) * torch.tensor([0.98, 0.90, 0.88]) + 0.03).clamp(0, 1)
    locked, difference = studio.run("ColorLock", image=edit, source=source)
    return sheet(
        [
            Tile(to_picture(source), "source"),
            Tile(to_picture(edit), "edit: colours shifted"),
            Tile(to_picture(locked), "image: colours back"),
            Tile(to_picture(difference), "difference"),
        ],
        2,
    )


@page("ImageToPrompt")
def image_to_prompt(studio: Studio) -> Image.Image:
    from defectforge.nodes.algorithms.prompts import caption_to_prompt

    find, replace = "nut", "defective hazelnut with hole"
    caption = "a close up of a nut on a black background"
    side = 200
    canvas = Image.new("RGB", (WIDTH, side + 2 * GAP), GROUND)
    canvas.paste(to_picture(studio.pair[0]).resize((side, side), Image.Resampling.LANCZOS), (GAP, GAP))
    draw = ImageDraw.Draw(canvas)
    left, size = side + 4 * GAP, 22
    top = 2 * GAP
    for title, text, ink in (
        ("caption, for example", caption, INK),
        ("prompt", caption_to_prompt(caption, find, replace), ORANGE),
    ):
        draw.text((left, top), title, FAINT, font(18))
        top += 24
        for words in wrapped(draw, text, WIDTH - left - GAP, size):
            draw.text((left, top), words, ink, font(size))
            top += size + 5
        top += 14
    return canvas


def wrapped(draw: ImageDraw.ImageDraw, text: str, room: float, size: float) -> list[str]:
    """The text in lines of at most `room` px."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font(size)) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the pictures of the nodes' help pages.")
    parser.add_argument("--checkpoint", type=Path, help="the miniature checkpoint, for pages that show a model's work")
    parser.add_argument("--seed", type=int, default=1, help="seed of what the model draws (default: 1)")
    parser.add_argument("--out", type=Path, default=DOCS, help="folder for the pictures (default: the help pages')")
    parser.add_argument("--only", nargs="*", help="names of nodes, with or without DefectForge")
    options = parser.parse_args()
    import_package()
    wanted = {"DefectForge" + name.removeprefix("DefectForge") for name in options.only or PAGES}
    unknown = wanted - set(PAGES)
    if unknown:
        parser.error(f"no picture is drawn for {', '.join(sorted(unknown))}; known: {', '.join(sorted(PAGES))}")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(Path(folder), options.checkpoint, options.seed)
        for name in sorted(wanted):
            if name in NEED_MODEL and options.checkpoint is None:
                print(f"{name}: left as it is; it shows a model's work (--checkpoint FILE)")
                continue
            size = save(PAGES[name](studio), options.out / f"{name}.jpg")
            print(f"{name}: {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
