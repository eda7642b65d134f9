"""Nodes that look after an edited picture's colours."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from .algorithms.compositing.colour import Method, lock_colours
from .algorithms.masks import as_mask_batch
from .host import watched
from .schema import newer


class DefectForgeColorLock(io.ComfyNode):
    """Hold the colours of an edited picture to its source, outside the change."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeColorLock",
            display_name="Lock Colours to Source",
            category="DefectForge/output",
            description="Undoes the shift of colours and mood that an edit (instruct-pix2pix, img2img) gives to the "
            "whole picture, learnt where nothing was meant to change. The defect itself is kept.",
            **newer(search_aliases=["color match", "colour correction", "tone", "histogram"]),
            inputs=[
                io.Image.Input("image", tooltip="The edited picture."),
                io.Image.Input("source", tooltip="The picture it was made from, same size: one, or one for each."),
                io.Combo.Input(
                    "method",
                    options=["histogram", "mean and contrast"],
                    default="histogram",
                    tooltip="histogram follows any tone curve, channel by channel in Lab; mean and contrast only "
                    "shifts and scales, which is steadier when little of the picture is unchanged.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="0 leaves the edit as it is, 1 gives the source's colours back fully.",
                ),
                io.Mask.Input(
                    "change_mask",
                    optional=True,
                    tooltip="Where a change was meant (the denoise mask): nothing is learnt there. Unplugged: found by "
                    "itself, as what still differs noticeably after a first correction.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The edit in the source's colours."),
                io.Mask.Output(
                    display_name="difference",
                    tooltip="What still differs from the source, 0 to 1; 0.5 is a change that is noticed at a glance "
                    "(CIEDE2000 of 10). The place of the defect, where the edit was not masked.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        source: torch.Tensor,
        method: Method,
        strength: float,
        change_mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        count, height, width, _ = image.shape
        if source.shape[0] not in (1, count):
            raise ValueError(f"{source.shape[0]} source pictures for {count} edits: give one, or one for each")
        sources = source.expand(count, -1, -1, -1)
        masks = None if change_mask is None else as_mask_batch(change_mask, count, height, width, "change_mask")
        pairs = [
            lock_colours(
                image[i].cpu().numpy(),
                sources[i].cpu().numpy(),
                None if masks is None else masks[i].cpu().numpy(),
                method,
                strength,
            )
            for i in watched(range(count), count)
        ]
        images, differences = zip(*pairs, strict=True)
        return io.NodeOutput(
            torch.stack([torch.from_numpy(locked) for locked in images]),
            torch.stack([torch.from_numpy(changed) for changed in differences]),
        )


NODES = (DefectForgeColorLock,)
