"""What is asked of the model, and how its answer goes into the photo: only what is visible, and labelled as such."""

from __future__ import annotations

import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .algorithms.compositing import crops
from .algorithms.compositing.blend import BlendSettings, blend_defect
from .algorithms.compositing.denoise import paintable
from .algorithms.compositing.visible import VisibleRule
from .algorithms.masks import as_batch, as_mask_batch, masks_for, to_array, to_tensor
from .algorithms.overlay import shown
from .algorithms.pixels import resize
from .host import watched
from .inpaint_nodes import StitchType
from .schema import ADVANCED, SHOWS, newer

EVEN, POISSON = "even", "poisson"


class DefectForgeDenoiseMask(io.ComfyNode):
    """Make the denoise mask of a requested mask, in units of the working crop."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeDenoiseMask",
            display_name="Denoise Mask",
            category="DefectForge/inpaint",
            description="What the model is asked to paint: the mask, grown and feathered in px of the working crop, so "
            "that the same numbers do for any photo. Lines that the model cannot draw at that size are set "
            "apart; Blend "
            "Defect etches them into the photo.",
            **newer(search_aliases=["grow mask", "feather mask", "inpaint mask"]),
            inputs=[
                io.Mask.Input(
                    "mask", tooltip="What was asked for, hard: from Place Hole Mask or your own; a batch is fine."
                ),
                io.Int.Input(
                    "size",
                    default=512,
                    min=64,
                    max=2048,
                    step=8,
                    tooltip="Side of the working crop in px: the same number as in Crop for Defect.",
                ),
                io.Float.Input(
                    "context",
                    default=0.0,
                    min=0.0,
                    max=20.0,
                    step=0.1,
                    tooltip="The same number as in Crop for Defect; 0 chooses by itself.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "grow",
                    default=1.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Px of the crop by which the denoise mask reaches beyond the mask. More room moves the "
                    "defect away from its place: a model likes to paint a hole at the rim of its mask.",
                ),
                io.Float.Input(
                    "feather",
                    default=2.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Px of the crop over which the denoise mask fades out after that. Outside, the photo stays "
                    "exact.",
                ),
                io.Float.Input(
                    "thinnest",
                    default=1.0,
                    min=0.0,
                    max=8.0,
                    step=0.25,
                    tooltip="Latent cells (8 px of the crop) that a part of the mask must be thick for the model to "
                    "draw it. Thinner lines beside a thick part become fine lines; a mask that is thin all over is "
                    "widened to this. 2 for models with cells of 16 px (FLUX.2). 0 asks for everything.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="denoise_mask", tooltip="What will be repainted; soft."),
                io.Mask.Output(display_name="drawable_mask", tooltip="The mask without its fine lines, for the crop."),
                io.Mask.Output(display_name="fine_mask", tooltip="Lines that Blend Defect etches; may be empty."),
            ],
        )

    @classmethod
    def execute(
        cls, mask: Tensor, size: int, context: float, grow: float, feather: float, thinnest: float
    ) -> io.NodeOutput:
        masks = as_mask_batch(mask, *(mask.shape if mask.ndim == 3 else (1, *mask.shape[-2:])))
        made = [paintable(to_array(one), size, context, grow, feather, thinnest) for one in watched(masks, len(masks))]
        return io.NodeOutput(
            to_tensor([one.denoise for one in made]),
            to_tensor([one.drawable for one in made]),
            to_tensor([one.fine for one in made]),
        )


class DefectForgeBlendDefect(io.ComfyNode):
    """Put sampled crops back: only the visible defect, in the photo's colours and grain."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeBlendDefect",
            display_name="Blend Defect",
            category="DefectForge/inpaint",
            description="Puts the sampled crop back into the photo like Stitch, but takes only what visibly "
            "changed; the "
            "rest keeps the photo's own pixels, bit for bit. The defect gets the photo's colours and grain. The "
            "label is "
            "measured on the finished picture: what is there, not what was asked for.",
            **newer(search_aliases=["stitch", "paste back", "seamless", "grain", "label"]),
            **SHOWS,
            inputs=[
                StitchType.Input("stitch", tooltip="From Crop for Defect."),
                io.Image.Input(
                    "image", tooltip="The sampled crops, any size: one for each photo, or many for one photo."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Of the grain and of the fine lines' roughness; picture i of a batch takes seed + i.",
                ),
                io.Float.Input(
                    "sensitivity",
                    default=8.0,
                    min=2.0,
                    max=60.0,
                    step=0.5,
                    tooltip="Colour distance (CIE76) from which on a change is visible: 8 is noticed at a second look. "
                    "Twice as much must be reached somewhere. Lower it for faint stains, raise it when the surface "
                    "around the defect gets into the label.",
                ),
                io.Float.Input(
                    "feather",
                    default=2.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Px of the crop over which the defect fades into the photo.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "grain",
                    default=1.0,
                    min=0.0,
                    max=3.0,
                    step=0.1,
                    tooltip="1 gives the defect the grain of its surroundings, 0 leaves it as smooth as it was "
                    "painted.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "etch",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Depth of the fine lines; 0 leaves them out.",
                ),
                io.Boolean.Input(
                    "match_colour",
                    default=True,
                    tooltip="Take the model's shift of colour, as seen around the mask, out of the crop.",
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "fine_mask", optional=True, tooltip="Lines to etch, from Denoise Mask: one, or one for each photo."
                ),
                io.Combo.Input(
                    "colour",
                    options=[EVEN, POISSON],
                    default=EVEN,
                    optional=True,
                    tooltip="How match_colour takes the shift out: as one colour, or as Poisson blending does, which "
                    "follows it all around the mask: for light that changes across the crop.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The photos at their own size, with the defect."),
                io.Mask.Output(
                    display_name="label_mask",
                    tooltip="Where the defect is visible, hard: the label. Empty where nothing visible was painted.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        stitch: crops.Stitch,
        image: Tensor,
        seed: int,
        sensitivity: float,
        feather: float,
        grain: float,
        etch: float,
        match_colour: bool,
        fine_mask: Tensor | None = None,
        colour: str = EVEN,
    ) -> io.NodeOutput:
        photos, results = stitch.image, image[..., :3].to("cpu", torch.float32)
        lines = None if fine_mask is None else masks_for(photos, fine_mask, "fine_mask")
        rule = VisibleRule(sensitivity, 2.0 * sensitivity)
        settings = BlendSettings(feather, grain, etch, match_colour, rule, colour == POISSON)
        images, labels = [], []
        for i in watched(range(count := crops.pairing(len(photos), len(results))), count):
            photo, window = i % len(photos), stitch.windows[i % len(stitch.windows)]
            result = results[i % len(results)]
            made = blend_defect(
                photos[photo].numpy(),
                resize(result, window.height, window.width).numpy(),
                window,
                stitch.mask[photo].numpy(),
                window.width / result.shape[1],
                settings,
                None if lines is None else lines[photo].cpu().numpy(),
                seed + i,
            )
            images.append(torch.from_numpy(made.image))
            labels.append(made.label)
        finished, label = as_batch(images), to_tensor(labels)
        return io.NodeOutput(finished, label, ui=ui.PreviewImage(shown(finished, label, strength=0.0), cls=cls))


NODES: list[type[io.ComfyNode]] = [DefectForgeDenoiseMask, DefectForgeBlendDefect]
