"""Reading datasets."""

from __future__ import annotations

import logging

import numpy as np
import torch
from comfy_api.latest import io

from .algorithms.pixels import from_u8
from .dataset_files import find_photo
from .datasets.layouts import SPLITS, TRAIN
from .datasets.names import GOOD, shown
from .schema import newer

LOG = logging.getLogger(__name__)

#: The fifteen categories of MVTec AD; other datasets have others.
CATEGORIES = (
    "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
    "toothbrush", "transistor", "wood", "zipper",
)  # fmt: skip


class DefectForgeLoadMVTec(io.ComfyNode):
    """Load one photo of a dataset in MVTec AD layout, with its ground-truth mask."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeLoadMVTec",
            display_name="Load MVTec Photo",
            category="DefectForge/dataset",
            description="Loads one photo and its ground-truth mask from a folder in MVTec AD layout "
            "(category/train/good, category/test/type, category/ground_truth/type).",
            **newer(
                search_aliases=["dataset", "load image from folder", "anomaly", "MVTec AD", "good photo"],
                essentials_category="Image Tools",
            ),
            inputs=[
                io.String.Input(
                    "root",
                    default="",
                    tooltip="Folder that holds the categories: relative to the server's input folder or to a folder "
                    "registered as 'mvtec', or absolute inside one of them. Empty: the first of these that has the "
                    "category.",
                ),
                io.String.Input(
                    "category",
                    default="hazelnut",
                    tooltip="Folder of the product. MVTec AD has " + ", ".join(CATEGORIES) + ".",
                ),
                io.Combo.Input(
                    "split",
                    options=list(SPLITS),
                    default="train",
                    tooltip="train holds good parts only; test holds good parts and every defect type.",
                ),
                io.String.Input(
                    "type",
                    default=GOOD,
                    tooltip="Folder of the defect type, e.g. hole; 'good' for parts without a defect.",
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=1_000_000,
                    control_after_generate=True,
                    tooltip="Number of the photo in its folder, in natural order of the file names, from 0.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The photo, 8-bit RGB, at its own size."),
                io.Mask.Output(
                    display_name="mask",
                    tooltip="Ground truth of the defect, hard, at the photo's size; all zero for a good part.",
                ),
                io.String.Output(
                    display_name="relative_path", tooltip="Path of the photo below root, for the record of a pair."
                ),
                io.Int.Output(display_name="count", tooltip="Number of photos in the folder; index runs to count - 1."),
            ],
        )

    @classmethod
    def validate_inputs(
        cls,
        root: str | None = None,
        category: str | None = None,
        split: str | None = None,
        type: str | None = None,
        index: int | None = None,
    ) -> bool | str:
        """True, or what is wrong with the request; linked inputs come as None and are checked when the node runs."""
        if root is None or category is None or split is None or type is None or index is None:
            return True
        try:
            find_photo(root, category, split, type, index)
        except (ValueError, OSError) as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(
        cls,
        root: str | None = None,
        category: str | None = None,
        split: str | None = None,
        type: str | None = None,
        index: int | None = None,
    ) -> str:
        """Path, size and time of the files: a replaced photo is loaded anew."""
        if root is None or category is None or split is None or type is None or index is None:
            return "linked"
        try:
            return find_photo(root, category, split, type, index).fingerprint()
        except (ValueError, OSError) as error:
            return str(error)

    @classmethod
    def execute(cls, root: str, category: str, split: str, type: str, index: int) -> io.NodeOutput:
        found = find_photo(root, category, split, type, index)
        picture = found.photo.read()
        marked = found.photo.read_mask(picture)
        notes = [*picture.notes, *(marked.notes if marked is not None else ())]
        if marked is None and found.photo.type != GOOD and split != TRAIN:
            notes.append("it has no ground-truth mask; its mask is empty")
        for note in notes:
            LOG.warning("%s: %s", shown(found.relative), note)
        # Fresh zeros take no memory until they are written to, which counts for a photo of 100 MP.
        mask = np.zeros(picture.pixels.shape[:2], np.float32)
        if marked is not None:
            np.copyto(mask, 1.0, where=marked.area)
        image = from_u8(picture.pixels)
        said = {"text": tuple(notes)} if notes else None
        return io.NodeOutput(image[None], torch.from_numpy(mask)[None], found.relative, found.count, ui=said)


NODES: list[type[io.ComfyNode]] = [DefectForgeLoadMVTec]
