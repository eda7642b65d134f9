"""Looking at what was made: where it is visible, how good it is, and which of several draws to keep."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .algorithms.compositing.colour import lock_colours
from .algorithms.compositing.repainted import standing_out
from .algorithms.compositing.visible import VisibleRule, colour_distance, visible_change
from .algorithms.masks import masks_for, to_array, to_tensor
from .algorithms.overlay import shown
from .algorithms.scores.choice import choose, parse_thresholds
from .algorithms.scores.measures import MEANING, Scores, score_defect
from .algorithms.scores.references import look_of
from .algorithms.scores.sheet import ScoreSheet
from .host import watched
from .schema import ADVANCED, SHOWS, newer

#: Scores of a batch: `sheet.ScoreSheet`.
ScoresType = io.Custom("DEFECTFORGE_SCORES")


class DefectForgeVisibleMask(io.ComfyNode):
    """Where a result visibly differs from its photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeVisibleMask",
            display_name="Visible Mask",
            category="DefectForge/mask",
            description="The label that is true whatever was asked for: where the result visibly differs from "
            "the photo, "
            "after the shift of colours that repainting brings. Empty where nothing is visible, or where so "
            "much changed "
            "that no honest label can be drawn.",
            **newer(search_aliases=["difference mask", "change mask", "label"]),
            **SHOWS,
            inputs=[
                io.Image.Input("source", tooltip="The photo, same size: one, or one for each result."),
                io.Image.Input("image", tooltip="The results that may hold a defect."),
                io.Float.Input(
                    "sensitivity",
                    default=8.0,
                    min=2.0,
                    max=60.0,
                    step=0.5,
                    tooltip="Colour distance (CIE76) from which on a change is visible; 8 is noticed at a second look. "
                    "Twice as much must be reached somewhere. With match_colour, the floor of the picture's own noise "
                    "is never undercut.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=True,
                    tooltip="Undo a shift of the whole picture's colours before looking (img2img, "
                    "instruct-pix2pix). Not "
                    "needed where everything outside the mask is the photo's own.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "widest",
                    default=0.12,
                    min=0.001,
                    max=1.0,
                    step=0.01,
                    tooltip="A change over more than this share of the photo is a drift, not a defect: no label.",
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "area",
                    optional=True,
                    tooltip="Where a change may count: the denoise mask, or the part. Soft is fine.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="label_mask", tooltip="Where the change is visible, hard; may be empty."),
                io.Float.Output(
                    display_name="share",
                    tooltip="Share of the photo that changed visibly, labelled or not; the largest of a batch.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        image: Tensor,
        sensitivity: float,
        match_colour: bool,
        widest: float,
        area: Tensor | None = None,
    ) -> io.NodeOutput:
        photos = _one_for_each(source, image, "source")
        areas = None if area is None else masks_for(image, area, "area").cpu()
        rule, labels, share = VisibleRule(sensitivity, 2.0 * sensitivity), [], 0.0
        for i in watched(range(len(image)), len(image)):
            before, after = photos[i].numpy(), image[i, ..., :3].cpu().float().numpy()
            where = np.ones(before.shape[:2], bool) if areas is None else np.asarray(areas[i] > 0)
            if match_colour:
                after, _ = lock_colours(after, before)
            distance = colour_distance(before, after, rule.smooth)
            if match_colour:
                label = standing_out(distance, where, rule, widest, 2.0)
            else:
                label = visible_change(distance, where, rule, thinnest=2.0)
                label &= label.mean() <= widest
            share = max(share, float((where & (distance >= sensitivity)).mean()))
            labels.append(label)
        out = to_tensor(labels)
        return io.NodeOutput(out, share, ui=ui.PreviewImage(shown(image[..., :3].cpu(), out), cls=cls))


class DefectForgeScoreDefect(io.ComfyNode):
    """Measure generated defects."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeScoreDefect",
            display_name="Score Defect",
            category="DefectForge/selection",
            description="Measures each generated defect without any model: presence, contrast, seam, grain, "
            "colour drift, "
            "agreement with what was asked for, likeness to real references. What cannot be measured is said to be "
            "missing.",
            **newer(search_aliases=["quality", "measure", "metric", "score"]),
            **SHOWS,
            inputs=[
                io.Image.Input("source", tooltip="The photo, same size: one, or one for each result."),
                io.Image.Input("image", tooltip="The finished pictures."),
                io.Mask.Input("label_mask", tooltip="Where the defect is visible: one, or one for each picture."),
                io.Mask.Input("requested_mask", optional=True, tooltip="What was asked for: one, or one for each."),
                io.Image.Input("reference", optional=True, tooltip="Photos of real defects to compare with."),
                io.Mask.Input("reference_mask", optional=True, tooltip="Where the defect is on each reference."),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="An image encoder (CLIP, DINOv2) for clip_similarity to the references; without one that "
                    "score is 'not measured'.",
                ),
            ],
            outputs=[
                ScoresType.Output(display_name="scores", tooltip="For Keep Best and Save Defect Pair."),
                io.String.Output(display_name="text", tooltip="The scores in words, a line for each picture."),
                io.Float.Output(display_name="quality", tooltip="The best picture's quality, 0 to 1."),
            ],
        )

    @classmethod
    def execute(
        cls,
        source: Tensor,
        image: Tensor,
        label_mask: Tensor,
        requested_mask: Tensor | None = None,
        reference: Tensor | None = None,
        reference_mask: Tensor | None = None,
        clip_vision: Any = None,
    ) -> io.NodeOutput:
        pictures = image[..., :3].cpu().float()
        photos = _one_for_each(source, image, "source")
        labels = masks_for(image, label_mask, "label_mask")
        asked = None if requested_mask is None else masks_for(image, requested_mask, "requested_mask")
        looks = _looks(reference, reference_mask)
        rows = [
            score_defect(
                photos[i].numpy(),
                pictures[i].numpy(),
                to_array(labels[i]),
                None if asked is None else to_array(asked[i]),
                looks,
            )
            for i in watched(range(len(image)), len(image))
        ]
        if clip_vision is not None and reference is not None:
            for row, value in zip(rows, _similarities(clip_vision, pictures, reference), strict=True):
                row["clip_similarity"] = value
        text = "\n".join(_in_words(row) for row in rows)
        best = max((row["quality"] or 0.0 for row in rows), default=0.0)
        return io.NodeOutput(ScoreSheet(tuple(rows)), text, best, ui=ui.PreviewText(text))


class DefectForgeKeepBest(io.ComfyNode):
    """Keep the best of several draws."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeKeepBest",
            display_name="Keep Best",
            category="DefectForge/selection",
            description="Of several draws keeps the best that pass every threshold. What is refused stays in "
            "the record "
            "with its reason and never gets into the dataset. If none passes, nothing is saved.",
            **newer(search_aliases=["best of", "select", "filter", "threshold", "gacha"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="The finished draws."),
                io.Mask.Input("label_mask", tooltip="Where each defect is visible."),
                ScoresType.Input("scores", tooltip="From Score Defect."),
                io.Int.Input("keep", default=1, min=1, max=64, tooltip="How many draws are kept at most."),
                io.Combo.Input(
                    "by", options=list(MEANING), default="quality", tooltip="The score that ranks; the largest wins."
                ),
                io.String.Input(
                    "thresholds",
                    default="presence >= 0.3",
                    multiline=True,
                    tooltip="Conditions that a draw must meet, one a line: score >= number or score <= number. Empty "
                    "takes everything visible.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The kept draws, best first; may be none."),
                io.Mask.Output(display_name="label_mask", tooltip="The labels of the kept draws."),
                ScoresType.Output(display_name="scores", tooltip="Their scores, and what was refused and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, thresholds: str | None = None) -> bool | str:
        """True, or which condition cannot be read."""
        try:
            parse_thresholds(thresholds or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, image: Tensor, label_mask: Tensor, scores: ScoreSheet, keep: int, by: str, thresholds: str
    ) -> io.NodeOutput:
        labels = masks_for(image, label_mask, "label_mask")
        if len(scores.rows) != len(image):
            raise ValueError(
                f"scores: {len(scores.rows)} rows for {len(image)} pictures; connect those of these pictures"
            )
        chosen = choose(scores.rows, keep, parse_thresholds(thresholds), by)
        order = list(chosen.kept)
        lines = [f"draw {index}: kept" for index in order]
        lines += [f"draw {index}: {reason}" for index, reason in chosen.refused.items()]
        shown = ui.PreviewText("\n".join(lines))
        return io.NodeOutput(image[order], labels[order], scores.chosen(chosen), ui=shown)


def _one_for_each(source: Tensor, image: Tensor, name: str) -> Tensor:
    """Photos ``[B, H, W, 3]`` for the results ``[B, H, W, 3]``."""
    if source.shape[1:3] != image.shape[1:3]:
        raise ValueError(
            f"{name}: {source.shape[2]}x{source.shape[1]} px, but the result has {image.shape[2]}x{image.shape[1]}. "
            "Connect the photo that the result was made from, or resize one of the two."
        )
    if len(source) not in (1, len(image)):
        raise ValueError(f"{name}: {len(source)} photos for {len(image)} results; expected one, or one for each.")
    return source[..., :3].cpu().float().expand(len(image), -1, -1, -1)


def _looks(reference: Tensor | None, mask: Tensor | None) -> list[Any]:
    if reference is None:
        return []
    if mask is None:
        raise ValueError(
            "reference_mask: a reference needs the mask of its defect; connect it, or unplug the reference."
        )
    masks = masks_for(reference, mask, "reference_mask")
    return [look_of(reference[i, ..., :3].cpu().float().numpy(), to_array(masks[i])) for i in range(len(reference))]


def _similarities(clip_vision: Any, pictures: Tensor, reference: Tensor) -> list[float]:
    """Largest cosine of each picture's embedding with a reference's."""
    embeds = [
        torch.nn.functional.normalize(clip_vision.encode_image(batch[..., :3])["image_embeds"].float().cpu(), dim=-1)
        for batch in (pictures, reference)
    ]
    return [float(value) for value in (embeds[0] @ embeds[1].T).amax(1)]


def _in_words(row: Scores) -> str:
    return ", ".join(
        f"{name} {'not measured' if value is None else format(value, '.3g')}" for name, value in row.items()
    )


NODES: list[type[io.ComfyNode]] = [DefectForgeVisibleMask, DefectForgeScoreDefect, DefectForgeKeepBest]
