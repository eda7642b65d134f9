"""Saving image and mask pairs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from torch import Tensor

from .. import __version__
from . import host
from .algorithms.masks import as_mask_batch, binarise
from .algorithms.overlay import shown as shown_on
from .algorithms.pixels import to_pil
from .algorithms.records import pair_record
from .datasets.names import check_output_name
from .pair_files import PairPaths, safe_prefix, save_pair


class DefectForgeSaveDefectPair(io.ComfyNode):
    """Save pictures with their label masks in MVTec layout."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeSaveDefectPair",
            display_name="Save Defect Pair",
            category="DefectForge/output",
            description="Saves each picture with its mask in MVTec AD layout under the output folder: "
            "prefix/category/test/type/000000.png and prefix/category/ground_truth/type/000000_mask.png.",
            inputs=[
                io.Image.Input("image", tooltip="The finished pictures."),
                io.Mask.Input("mask", tooltip="The label mask (hard, not the denoise mask): one, or one for each."),
                io.String.Input(
                    "filename_prefix",
                    default="defectforge",
                    tooltip="Folder below the server's output folder; may have subfolders.",
                ),
                io.String.Input("category", default="hazelnut", tooltip="Folder of the product."),
                io.String.Input("type", default="hole", tooltip="Folder of the defect type."),
                io.String.Input(
                    "source_path",
                    default="",
                    optional=True,
                    tooltip="Path of the source photo, for the record only; Load MVTec Photo gives it.",
                ),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(
        cls, filename_prefix: str | None = None, category: str | None = None, type: str | None = None
    ) -> bool | str:
        """True, or why the names cannot be folders."""
        try:
            safe_prefix(filename_prefix or "")
            for name, what in ((category, "category"), (type, "type")):
                if name is not None:
                    check_output_name(name, what)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, image: Tensor, mask: Tensor, filename_prefix: str, category: str, type: str, source_path: str = ""
    ) -> io.NodeOutput:
        check_output_name(category, "category")
        check_output_name(type, "type")
        prefix, program = safe_prefix(filename_prefix), host.current()
        label = binarise(as_mask_batch(mask, *image.shape[:3])).cpu()
        texts: dict[str, Any] = {}
        if cls.hidden.prompt:
            texts["prompt"] = cls.hidden.prompt
        texts.update(cls.hidden.extra_pnginfo or {})
        pairs = []
        for picture, area in host.watched(zip(image[..., :3], label, strict=True), len(image)):
            record = pair_record(area, category, type, source_path, __version__, program.name, program.version)
            paths = save_pair(
                to_pil(picture),
                to_pil(area),
                program.output_directory(),
                prefix,
                category,
                type,
                texts | {"defectforge": record},
            )
            pairs.append(_announcement(paths, record))
        shown = ui.PreviewImage(shown_on(image[..., :3].cpu(), label), cls=cls).as_dict()
        references = [pair[role] for pair in pairs for role in ("image", "mask")]
        return io.NodeOutput(ui={"images": [*references, *shown["images"]], "defectforge_pairs": pairs})


def _announcement(paths: PairPaths, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "image": {"filename": paths.image_name, "subfolder": paths.image_folder, "type": "output"},
        "mask": {"filename": paths.mask_name, "subfolder": paths.mask_folder, "type": "output"},
        "record": record,
    }


NODES: list[type[io.ComfyNode]] = [DefectForgeSaveDefectPair]
