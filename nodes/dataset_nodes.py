"""Reading datasets in MVTec AD layout."""

from __future__ import annotations

import logging

import torch
from comfy_api.latest import io

from .algorithms.masks import binarise
from .algorithms.pixels import from_pil
from .dataset_files import find_photo, open_picture
from .datasets import mvtec
from .schema import newer

LOG = logging.getLogger(__name__)


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
                    tooltip="Folder of the product. MVTec AD has " + ", ".join(mvtec.CATEGORIES) + ".",
                ),
                io.Combo.Input(
                    "split",
                    options=list(mvtec.SPLITS),
                    default="train",
                    tooltip="train holds good parts only; test holds good parts and every defect type.",
                ),
                io.String.Input(
                    "type",
                    default=mvtec.GOOD,
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
        photo = find_photo(root, category, split, type, index)
        image = from_pil(open_picture(photo.path))
        if photo.mask is None:
            if type != mvtec.GOOD and split != "train":
                LOG.warning("%s has no ground-truth mask; its mask is empty.", photo.relative)
            mask = torch.zeros(image.shape[:2])
        else:
            picture = open_picture(photo.mask).convert("L")
            if picture.size != (image.shape[1], image.shape[0]):
                raise ValueError(
                    f"{photo.mask} is {picture.width}x{picture.height} px but its photo {photo.path} is "
                    f"{image.shape[1]}x{image.shape[0]} px. A mask has its photo's size: make this one again."
                )
            # MVTec's masks are 0/255, other tools' 0/1; any level above 0 is defect.
            mask = binarise(from_pil(picture)[..., 0], 1 / 255)
        return io.NodeOutput(image[None], mask[None], photo.relative, photo.count)


NODES: list[type[io.ComfyNode]] = [DefectForgeLoadMVTec]
