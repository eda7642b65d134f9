"""Masks of any type of defect on any part, and priors learnt from real masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from numpy.typing import NDArray
from torch import Tensor

from .algorithms.masks import as_mask_batch, grow_and_feather, to_array, to_tensor
from .algorithms.overlay import overlay
from .algorithms.pixels import to_u8
from .algorithms.placement.defects import AS_TYPE, ORIENTATIONS, TYPES, type_named
from .algorithms.placement.defects.place import REAL_SHAPES, PlaceSettings, place_defects
from .algorithms.placement.foreground import find_part
from .algorithms.placement.prior import MaskPrior, fit_prior
from .dataset_files import find_category, find_photo, open_disk
from .datasets.names import PART, stem_of
from .datasets.reader import Photo
from .host import watched
from .part_inputs import part_of
from .schema import SHOWS, newer

#: What Mask Prior gives: a `MaskPrior`.
PriorType = io.Custom("DEFECTFORGE_MASK_PRIOR")


class DefectForgePlaceDefectMask(io.ComfyNode):
    """Place masks of any type of defect on any part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgePlaceDefectMask",
            display_name="Place Defect Mask",
            category="DefectForge/mask",
            description="Draws plausible masks of a type of defect (hole, crack, scratch, chip and others) on any "
            "part, all of it on the part, in sizes and places of that type or of real masks. The same seed gives the "
            "same mask.",
            **newer(search_aliases=["scratch", "stain", "crack", "random mask", "anomaly mask"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="The photo. Its lines set directions; unusual surface is avoided."),
                io.Combo.Input(
                    "type",
                    options=[*TYPES, REAL_SHAPES],
                    default="hole",
                    tooltip="How the mask is drawn. 'as the real ones' takes the shapes of the connected Mask Prior.",
                ),
                io.String.Input(
                    "name",
                    default="",
                    tooltip="The dataset's own name of the type, e.g. broken_small: decides the type when it is set. "
                    "MVTec AD's and VisA's names are known; an unknown one is refused.",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Decides places and shapes. Photo i of a batch is drawn with (seed, i).",
                ),
                io.Int.Input(
                    "count",
                    default=1,
                    min=0,
                    max=20,
                    tooltip="Number of defects on each part; 0 takes the real ones' numbers from the prior.",
                ),
                io.Float.Input(
                    "min_size",
                    default=0.0,
                    min=0.0,
                    max=0.9,
                    step=0.001,
                    tooltip="Least area of one defect as a share of the part; 0 is the type's own, or the prior's.",
                ),
                io.Float.Input(
                    "max_size",
                    default=0.0,
                    min=0.0,
                    max=0.9,
                    step=0.001,
                    tooltip="Greatest area of one defect as a share of the part; 0 is the type's own, or the prior's.",
                ),
                io.Combo.Input(
                    "orientation",
                    options=list(ORIENTATIONS),
                    default=AS_TYPE,
                    tooltip="How the defect lies: to the part's longer axis, to the photo's own lines (ribs, grain, "
                    "weave), or in any direction. Chips and missing parts lie on the edge whatever it says.",
                ),
                io.Int.Input("tries", default=64, min=1, max=1000, tooltip="Places tried before an error says why."),
                io.Float.Input(
                    "grow",
                    default=6.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    tooltip="Pixels by which the denoise mask reaches beyond the label mask.",
                ),
                io.Float.Input(
                    "feather",
                    default=8.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    tooltip="Pixels over which the denoise mask fades out after that. Outside, the photo stays exact.",
                ),
                io.Mask.Input(
                    "part_mask",
                    optional=True,
                    tooltip="Where the part is; yours always wins. Unplugged: found by itself, before a plain "
                    "background or as a texture that fills the photo.",
                ),
                io.Mask.Input("keep_out", optional=True, tooltip="Where no defect may be: one, or one for each photo."),
                PriorType.Input(
                    "prior", optional=True, tooltip="From Mask Prior: sizes, places and numbers as those of real masks."
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="label_mask", tooltip="The defects themselves, hard: what is asked for."),
                io.Mask.Output(
                    display_name="denoise_mask", tooltip="The label grown and feathered: what is repainted."
                ),
                io.Image.Output(display_name="overlay", tooltip="The label mask on the photo, to look at."),
            ],
        )

    @classmethod
    def validate_inputs(cls, name: str | None = None, type: str | None = None) -> bool | str:
        """True, or why the name of the type is not known; real shapes need none."""
        try:
            if type is not None and type != REAL_SHAPES and type not in TYPES:
                type_named(type)
                return f"type: {type!r} is no choice of this node; put a dataset's own name into 'name' instead"
            if name and type != REAL_SHAPES:
                type_named(name)
        except ValueError as error:
            return f"name: {error}"
        return True

    @classmethod
    def execute(
        cls,
        image: Tensor,
        type: str,
        name: str,
        seed: int,
        count: int,
        min_size: float,
        max_size: float,
        orientation: str,
        tries: int,
        grow: float,
        feather: float,
        part_mask: Tensor | None = None,
        keep_out: Tensor | None = None,
        prior: MaskPrior | None = None,
    ) -> io.NodeOutput:
        # The real ones' shapes need no drawing, so the dataset's name need not be known for them.
        kind = type_named(name) if name and type != REAL_SHAPES else type
        settings = PlaceSettings(kind, count, min_size, max_size, orientation, tries)
        batch, height, width = image.shape[:3]
        barred = None if keep_out is None else as_mask_batch(keep_out, batch, height, width, "keep_out")
        labels = []
        for index in watched(range(batch), batch):
            photo = to_u8(image[index, ..., :3])
            part = part_of(photo, part_mask, index, batch)
            keep = None if barred is None else to_array(barred[index])
            labels.append(place_defects(part, seed, index, settings, keep, photo, prior).label)
        label = to_tensor(labels)
        denoise = torch.stack([torch.from_numpy(grow_and_feather(mask, grow, feather)) for mask in labels])
        shown = overlay(image[..., :3].cpu(), label)
        return io.NodeOutput(label, denoise, shown, ui=ui.PreviewImage(shown, cls=cls))


class DefectForgeMaskPrior(io.ComfyNode):
    """Learn from real masks what new ones should be like."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeMaskPrior",
            display_name="Mask Prior",
            category="DefectForge/mask",
            description="Learns from the ground truth of one or more real defects how large new ones should be, how "
            "many, where on the part, how they lie and what shapes they have. For Place Defect Mask.",
            **newer(search_aliases=["mask statistics", "learn masks", "size distribution"]),
            inputs=[
                io.String.Input(
                    "root",
                    default="",
                    tooltip="Folder that holds the categories, as Load MVTec Photo takes it. Not read when masks are "
                    "connected.",
                ),
                io.String.Input("category", default="hazelnut", tooltip="Folder of the product."),
                io.String.Input("type", default="hole", tooltip="Folder of the defect type below test."),
                io.Int.Input(
                    "most",
                    default=32,
                    min=1,
                    max=1000,
                    tooltip="Greatest number of real masks to read, in the order of the file names.",
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="Photos of the connected masks, in which the parts are found."
                ),
                io.Mask.Input(
                    "masks", optional=True, tooltip="Ground truth of real defects, instead of a folder of them."
                ),
                io.Mask.Input(
                    "part_masks",
                    optional=True,
                    tooltip="Where the part is on each photo; yours always win. Unplugged: found in the photos.",
                ),
            ],
            outputs=[
                PriorType.Output(display_name="prior", tooltip="For Place Defect Mask."),
                io.String.Output(display_name="summary", tooltip="In words: how many masks, their sizes and numbers."),
            ],
        )

    @classmethod
    def fingerprint_inputs(
        cls,
        root: str | None = None,
        category: str | None = None,
        type: str | None = None,
        most: int | None = None,
        **_: Any,
    ) -> str:
        """Path, size and time of the files: a redrawn mask is read anew. What is linked comes as None."""
        if root is None or category is None or type is None or most is None:
            return "linked"
        try:
            first = find_photo(root, category, "test", type, 0)
            prints = [find_photo(root, category, "test", type, n).fingerprint() for n in range(min(first.count, most))]
        except (ValueError, OSError) as error:
            return str(error)
        return "|".join(prints)

    @classmethod
    def execute(
        cls,
        root: str,
        category: str,
        type: str,
        most: int,
        images: Tensor | None = None,
        masks: Tensor | None = None,
        part_masks: Tensor | None = None,
    ) -> io.NodeOutput:
        if masks is None:
            real, parts = _from_folder(root, category, type, most)
        else:
            real, parts = _from_batch(images, masks, part_masks, most)
        prior = fit_prior(real, parts)
        return io.NodeOutput(prior, summary_of(prior))


def _from_folder(
    root: str, category: str, type: str, most: int
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    masks, parts = [], []
    count = find_photo(root, category, "test", type, 0).count
    own_parts = _own_parts(root, category)
    for number in watched(range(min(count, most)), min(count, most)):
        photo = find_photo(root, category, "test", type, number)
        picture = photo.photo.read()
        mask = photo.photo.read_mask(picture)
        if mask is None:
            continue
        masks.append(mask.area)
        own = own_parts.get(stem_of(photo.path.name))
        part = own.read_mask(picture) if own is not None else None
        try:
            # The defect may look like the background: openings belong to the part.
            parts.append(part.area if part is not None else find_part(picture.pixels, 1.0))
        except ValueError as error:
            raise ValueError(f"{photo.relative}: {error}") from error
    if not masks:
        raise ValueError(
            f"none of the {count} photos of {category}/test/{type} has a mask in ground_truth: there is nothing to "
            "learn from. Add masks, or choose a type that has them."
        )
    return masks, parts


def _own_parts(root: str, category: str) -> dict[str, Photo]:
    """Masks of the parts that somebody put beside the photos (the runner does), by the photos' names."""
    _, found = find_category(root, category, open_disk())
    return {stem_of(photo.path.name): photo for photo in found.photos("test", PART)}


def _from_batch(
    images: Tensor | None, masks: Tensor, part_masks: Tensor | None, most: int
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.bool_]]]:
    if images is None and part_masks is None:
        raise ValueError("masks alone do not say where the part is: connect their photos (images) or part_masks too.")
    batch, height, width = masks.shape[0], masks.shape[-2], masks.shape[-1]
    real, parts = [], []
    for number in watched(range(min(batch, most)), min(batch, most)):
        mask = to_array(masks[number])
        if images is None:
            photo = np.zeros((height, width, 3), np.uint8)
        elif images.shape[0] != batch or images.shape[1:3] != (height, width):
            raise ValueError(
                f"{images.shape[0]} images of {images.shape[2]}x{images.shape[1]} px for {batch} masks of "
                f"{width}x{height} px: expected one image for each mask, of its size."
            )
        else:
            photo = to_u8(images[number, ..., :3])
        real.append(mask)
        parts.append(part_of(photo, part_masks, number, batch, "part_masks", largest_opening=1.0))
    return real, parts


def summary_of(prior: MaskPrior) -> str:
    """A prior in one sentence."""
    shares = sorted(mask.share for mask in prior.masks)
    counts = sorted(set(prior.numbers))
    text = (
        f"{len(prior.masks)} real defects on {len(prior.numbers)} photos: {shares[0]:.2%} to {shares[-1]:.2%} of the "
        f"part, {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} on a photo"
    )
    if len(prior.masks) == 1:
        text += "; only one, so their spread is a default one"
    return text


NODES: list[type[io.ComfyNode]] = [DefectForgePlaceDefectMask, DefectForgeMaskPrior]
