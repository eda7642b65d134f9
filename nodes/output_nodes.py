"""Saving image and mask pairs."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io, ui
from PIL import Image
from torch import Tensor

from .. import __version__
from . import host
from .algorithms.masks import binarise, masks_for
from .algorithms.overlay import shown as shown_on
from .algorithms.pixels import to_pil, to_u8
from .algorithms.records import pair_record
from .algorithms.scores.sheet import ScoreSheet
from .dataset_files import PHOTO
from .datasets.names import check_output_name
from .pairs.files import PairPaths, safe_prefix, save_pair
from .pairs.large_png import LargePicture
from .schema import newer
from .selection_nodes import ScoresType

#: Pixels of a picture above which it is written strip by strip: a photo of 100 MP would take another 400 MB.
_LARGE = 1 << 25

AS_GIVEN, VISIBLE, REQUESTED, VISIBLE_OR_NONE, NONE = "as given", "visible", "requested", "visible or none", "none"

#: What the record says of the label, by the node's choice; "none" goes with a picture that has no mask.
_RECORDED = {AS_GIVEN: "given", VISIBLE: "visible", REQUESTED: "requested", VISIBLE_OR_NONE: "visible", NONE: "none"}


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
            **newer(search_aliases=["save dataset", "save mask", "MVTec AD", "label", "export pair"]),
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
                io.Combo.Input(
                    "label",
                    options=[AS_GIVEN, VISIBLE, REQUESTED, VISIBLE_OR_NONE, NONE],
                    default=AS_GIVEN,
                    optional=True,
                    tooltip="visible: the mask is what is visible; a picture without any is not saved. requested: save "
                    "requested_mask as the label instead, the old way. visible or none: a picture without a visible "
                    "change is saved without a mask, under unlabelled/. none: always so. as given: the mask, unjudged.",
                ),
                io.Mask.Input(
                    "requested_mask",
                    optional=True,
                    tooltip="What was asked for, kept in the record: one, or one for each.",
                ),
                ScoresType.Input("scores", optional=True, tooltip="From Score Defect or Keep Best, for the record."),
            ],
            outputs=[],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo, io.Hidden.unique_id],
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
        cls,
        image: Tensor,
        mask: Tensor,
        filename_prefix: str,
        category: str,
        type: str,
        source_path: str = "",
        label: str = AS_GIVEN,
        requested_mask: Tensor | None = None,
        scores: ScoreSheet | None = None,
    ) -> io.NodeOutput:
        check_output_name(category, "category")
        check_output_name(type, "type")
        if label == REQUESTED and requested_mask is None:
            raise ValueError(
                "label: 'requested' needs requested_mask; connect what was asked for, or choose 'visible'."
            )
        prefix, program = safe_prefix(filename_prefix), host.current()
        given = requested_mask if label == REQUESTED and requested_mask is not None else mask
        areas = binarise(masks_for(image, given, "mask")).cpu() if len(image) else image[..., 0]
        asked = None if requested_mask is None else binarise(masks_for(image, requested_mask, "requested_mask")).cpu()
        rows = _rows(scores, len(image))
        texts: dict[str, Any] = {}
        if cls.hidden.prompt:
            texts["prompt"] = cls.hidden.prompt
        texts.update(cls.hidden.extra_pnginfo or {})
        pairs, refused = [], list(scores.refused if scores is not None else ())
        for i in host.watched(range(len(image)), len(image)):
            seen = bool(areas[i].any())
            if label == VISIBLE and not seen:
                refused.append({"draw": i, "reason": "nothing is visible", "scores": rows[i]})
                continue
            labelled = label != NONE and (seen or label != VISIBLE_OR_NONE)
            record = pair_record(
                areas[i] if labelled else None,
                image.shape[1:3],
                category,
                type,
                source_path,
                __version__,
                program.name,
                program.version,
                label=_RECORDED[label] if labelled else NONE,
                requested=None if asked is None else asked[i],
                scores=rows[i],
            )
            paths = save_pair(
                _picture(image[i, ..., :3]),
                _picture(areas[i]) if labelled else None,
                program.output_directory(),
                prefix,
                category,
                type,
                texts | {"defectforge": record},
            )
            pairs.append(_announcement(paths, record))
        references = [pair[role] for pair in pairs for role in ("image", "mask") if role in pair]
        shown: dict[str, Any] = {"images": references, "defectforge_pairs": pairs, "defectforge_refused": refused}
        if photo := _photo_of(cls.hidden.prompt, cls.hidden.unique_id):
            shown["defectforge_source"] = [photo]
        if len(image):
            shown["images"] = [*references, *_preview(cls, image[..., :3].cpu(), areas)]
        if refused:
            shown["text"] = tuple(f"draw {entry['draw']}: {entry['reason']}" for entry in refused)
        return io.NodeOutput(ui=shown)


def _picture(image: Tensor) -> Image.Image | LargePicture:
    """One IMAGE ``[H, W, 3]`` or MASK ``[H, W]`` as what `save_pair` writes."""
    height, width = image.shape[:2]
    if height * width <= _LARGE:
        return to_pil(image)
    return LargePicture(
        width, height, image.shape[2] if image.ndim == 3 else 1, lambda start, end: to_u8(image[start:end])
    )


def _photo_of(prompt: dict[str, Any] | None, node_id: str | None) -> dict[str, Any] | None:
    """The values of the Load MVTec Photo that gives `source_path`, for whoever wants to see it beside the result.

    None where something else gives it, or where the photo is named by what other nodes compute.
    """
    own = (prompt or {}).get(str(node_id), {}).get("inputs", {}).get("source_path")
    source = (prompt or {}).get(str(own[0]), {}) if isinstance(own, list) else {}
    inputs = source.get("inputs", {})
    if source.get("class_type") != "DefectForgeLoadMVTec" or any(isinstance(inputs.get(n), list) for n in PHOTO):
        return None
    return {name: inputs.get(name) for name in PHOTO}


def _preview(cls: type[io.ComfyNode], image: Tensor, areas: Tensor) -> list[Any]:
    return list(ui.PreviewImage(shown_on(image, areas), cls=cls).as_dict()["images"])


def _rows(scores: ScoreSheet | None, count: int) -> list[dict[str, Any]]:
    """Scores of each picture that is saved; empty where there are none."""
    if scores is None:
        return [{} for _ in range(count)]
    if len(scores.rows) != count:
        raise ValueError(
            f"scores: {len(scores.rows)} rows for {count} pictures; connect the scores of these pictures (behind Keep "
            "Best, its own)."
        )
    return [dict(row) for row in scores.rows]


def _announcement(paths: PairPaths, record: dict[str, Any]) -> dict[str, Any]:
    said = {
        "image": {"filename": paths.image_name, "subfolder": paths.image_folder, "type": "output"},
        "mask": {"filename": paths.mask_name, "subfolder": paths.mask_folder, "type": "output"},
        "record": record,
    }
    if record["label"] == NONE:
        del said["mask"]
    return said


NODES: list[type[io.ComfyNode]] = [DefectForgeSaveDefectPair]
