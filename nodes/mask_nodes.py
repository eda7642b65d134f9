"""Where the part is, and where a defect may go."""

from __future__ import annotations

import numpy as np
from comfy_api.latest import io, ui
from torch import Tensor

from .algorithms.masks import as_mask_batch, grow_and_feather, to_array, to_tensor
from .algorithms.overlay import shown as shown_on
from .algorithms.pixels import reduced, to_u8
from .algorithms.placement.foreground import find_object
from .algorithms.placement.holes import HoleSettings, place_holes
from .host import watched
from .schema import ADVANCED, SHOWS, newer

STOP, USE_ANYWAY, WHOLE_PICTURE = "stop with an error", "use the mask anyway", "take the whole picture"


#: Longest side of a photo, in px, above which a reduced copy is looked at: the part and its ribs are seen as well,
#: and only the masks have the photo's own size.
LOOKED_AT = 2048


class DefectForgeObjectMask(io.ComfyNode):
    """Find the part in a photo before a plain background."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeObjectMask",
            display_name="Object Mask",
            category="DefectForge/mask",
            description="Finds the one part in a photo: what differs from the colours of the picture's border. "
            "Needs no model.",
            **newer(search_aliases=["foreground", "part mask", "segment", "background removal"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="Photo of one part before a plain background; a batch is fine."),
                io.Float.Input(
                    "sensitivity",
                    default=1.0,
                    min=0.2,
                    max=5.0,
                    step=0.05,
                    tooltip="Raise it when dark or pale edges of the part are missing, lower it when shadows are "
                    "taken for the part.",
                ),
                io.Float.Input(
                    "largest_opening",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Openings in the part up to this share of its area count as part of it. 1 fills all; 0.05 "
                    "leaves the bore of a nut or washer open, so that no defect is placed in it.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "min_confidence",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Below this confidence the mask counts as unsure. Clear photos give 0.9 and more, textures "
                    "without a part below 0.3.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "when_unsure",
                    options=[STOP, USE_ANYWAY, WHOLE_PICTURE],
                    default=STOP,
                    tooltip="What to do when confidence is low or the mask is implausible (area, contact with the "
                    "borders, several parts). 'take the whole picture' suits textures such as carpet, grid or wood.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 on the part, 0 elsewhere; hard edges."),
                io.Float.Output(
                    display_name="confidence",
                    tooltip="0 to 1: the share of the outline at which the part clearly stands out; halved when the "
                    "mask is implausible. The lowest one of a batch.",
                ),
                io.Image.Output(display_name="overlay", tooltip="The mask on the photo, to look at."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, sensitivity: float, largest_opening: float, min_confidence: float, when_unsure: str
    ) -> io.NodeOutput:
        masks, confidences = [], []
        for number, photo in enumerate(watched(image[..., :3], len(image))):
            small = to_u8(reduced(photo[None], LOOKED_AT)[0])
            found = find_object(small, sensitivity, largest_opening, (photo.shape[0], photo.shape[1]))
            mask = found.mask
            problems = list(found.problems)
            if found.confidence < min_confidence:
                problems.append(f"confidence {found.confidence:.2f} is below {min_confidence:g}")
            if problems and when_unsure == STOP:
                raise ValueError(
                    f"Object mask, picture {number}: no part found that can be trusted: {'; '.join(problems)}. Change "
                    f"the sensitivity, connect a mask of your own, or set when_unsure to '{USE_ANYWAY}' or, for a "
                    f"texture, '{WHOLE_PICTURE}'."
                )
            if problems and when_unsure == WHOLE_PICTURE:
                mask = np.ones_like(mask)
            masks.append(mask)
            confidences.append(found.confidence)
        out = to_tensor(masks)
        shown = shown_on(image[..., :3].cpu(), out)
        return io.NodeOutput(out, min(confidences), shown, ui=ui.PreviewImage(shown, cls=cls))


class DefectForgePlaceHoleMask(io.ComfyNode):
    """Place hole masks on a part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgePlaceHoleMask",
            display_name="Place Hole Mask",
            category="DefectForge/mask",
            description="Draws plausible holes on the part: a ragged core with thin cracks along the ribs, of real "
            "holes' sizes and places, away from the rim. The same seed gives the same mask.",
            **newer(search_aliases=["hole mask", "defect mask", "random mask", "anomaly mask"]),
            **SHOWS,
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="The photo. Its ribs set the direction of cracks; places off its usual surface are rare.",
                ),
                io.Mask.Input("object_mask", tooltip="Where the part is: one mask, or one for each photo."),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="Decides places and shapes. Photo i of a batch is drawn with (seed, i).",
                ),
                io.Int.Input("count", default=1, min=1, max=20, tooltip="Number of holes on each part."),
                io.Float.Input(
                    "min_size",
                    default=0.033,
                    min=0.0005,
                    max=0.5,
                    step=0.001,
                    tooltip="Smallest area of one hole as a share of the part. Real hazelnut holes: 0.033 to 0.078.",
                ),
                io.Float.Input(
                    "max_size",
                    default=0.078,
                    min=0.0005,
                    max=0.5,
                    step=0.001,
                    tooltip="Largest area of one hole as a share of the part; small ones are drawn more often.",
                ),
                io.Int.Input(
                    "max_cracks",
                    default=3,
                    min=0,
                    max=6,
                    tooltip="Each hole gets 0 to this many thin cracks; 0 for plain holes.",
                ),
                io.Float.Input(
                    "rim",
                    default=0.3,
                    min=0.0,
                    max=5.0,
                    step=0.05,
                    tooltip="Least distance from the hole's core to the part's edge, in radii of the core. Raise it "
                    "when holes lie where the surface turns away.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "tries",
                    default=64,
                    min=1,
                    max=1000,
                    tooltip="Places tried for one hole; after that an error says why none would do.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "grow",
                    default=6.0,
                    min=0.0,
                    max=256.0,
                    step=0.5,
                    tooltip="Pixels by which the denoise mask reaches beyond the label mask: room for the hole's rim.",
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
                    "keep_out",
                    optional=True,
                    tooltip="Where no hole may be, e.g. the rough base of a nut: one mask, or one for each photo.",
                ),
                io.Float.Input(
                    "crack_length",
                    default=1.0,
                    min=0.1,
                    max=3.0,
                    step=0.1,
                    optional=True,
                    tooltip="1: the cracks of a hole are 0.17 to 0.65 of the part's diameter long, all together. 2 "
                    "comes nearer to hazelnuts that broke.",
                    **ADVANCED,
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="label_mask", tooltip="The holes themselves, hard: what is asked for."),
                io.Mask.Output(
                    display_name="denoise_mask", tooltip="The label grown and feathered: what is repainted."
                ),
                io.Image.Output(display_name="overlay", tooltip="The label mask on the photo, to look at."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        object_mask: Tensor,
        seed: int,
        count: int,
        min_size: float,
        max_size: float,
        max_cracks: int,
        rim: float,
        tries: int,
        grow: float,
        feather: float,
        keep_out: Tensor | None = None,
        crack_length: float = 1.0,
    ) -> io.NodeOutput:
        batch, height, width = image.shape[:3]
        parts = as_mask_batch(object_mask, batch, height, width, "object_mask")
        barred = None if keep_out is None else as_mask_batch(keep_out, batch, height, width, "keep_out")
        settings = HoleSettings(count, min_size, max_size, max_cracks, rim, tries, crack_length)
        labels = []
        for index in watched(range(batch), batch):
            keep = None if barred is None else to_array(barred[index])
            photo = to_u8(reduced(image[index : index + 1, ..., :3], LOOKED_AT)[0])
            labels.append(place_holes(to_array(parts[index]), seed, index, settings, keep, photo).label)
        label = to_tensor(labels)
        denoise = to_tensor([grow_and_feather(mask, grow, feather) for mask in labels])
        shown = shown_on(image[..., :3].cpu(), label)
        return io.NodeOutput(label, denoise, shown, ui=ui.PreviewImage(shown, cls=cls))


NODES: list[type[io.ComfyNode]] = [DefectForgeObjectMask, DefectForgePlaceHoleMask]
