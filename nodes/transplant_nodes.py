"""A real defect, moved onto another part."""

from __future__ import annotations

import numpy as np
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from .algorithms.compositing.transplant import BLENDS, FEATHERED, BlendSettings, cracked, transplant
from .algorithms.masks import as_mask_batch, grow_and_feather, to_array, to_tensor
from .algorithms.overlay import overlay
from .algorithms.pixels import to_u8
from .algorithms.placement.defects import type_named
from .algorithms.placement.defects.cracks import crack_lines
from .algorithms.placement.motion import MotionSettings, draw_motion
from .algorithms.placement.moving import landing_box, moved_mask
from .host import watched
from .part_inputs import motion_inputs, part_of, real_defects, usual_places
from .schema import SHOWS, newer


class DefectForgeTransplantDefect(io.ComfyNode):
    """Move a real defect, pixels and mask, onto another part."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeTransplantDefect",
            display_name="Transplant Defect",
            category="DefectForge/inpaint",
            description="Moves a real defect onto another good part, its pixels and its mask: turned, resized, "
            "mirrored and slightly bent in the parts' own frames, light and colour matched, grain kept. Needs no "
            "model.",
            **newer(search_aliases=["copy paste", "cut and paste", "poisson", "move defect"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="Photos of good parts: a defect is moved onto each."),
                io.Image.Input(
                    "reference", tooltip="Photos of real defects. Photo i of the batch takes defect i, over and over."
                ),
                io.Mask.Input("reference_mask", tooltip="Where the defect is on its photo: its ground truth."),
                *motion_inputs("defect"),
                io.Boolean.Input(
                    "keep_light",
                    default=True,
                    tooltip="Refuses turns that would take the defect's lit side away from the light. Only defects "
                    "that are clearly lit from one side are held by it.",
                ),
                io.Combo.Input(
                    "blend",
                    options=list(BLENDS),
                    default=FEATHERED,
                    tooltip="feathered: one gradient of light and colour, fitted to the ring around the defect. "
                    "poisson: follows the ring all around, for photos with uneven light.",
                ),
                io.Float.Input(
                    "match",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the difference in light and colour is taken away; 0 moves the pixels as they "
                    "are.",
                ),
                io.Float.Input(
                    "feather",
                    default=3.0,
                    min=0.0,
                    max=64.0,
                    step=0.5,
                    tooltip="Pixels around the mask over which the moved surface fades into the photo.",
                ),
                io.Float.Input(
                    "grain",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the grain that resizing takes is given back from the photo.",
                ),
                io.Int.Input("tries", default=64, min=1, max=1000, tooltip="Motions tried before an error says why."),
                io.Mask.Input(
                    "part_mask",
                    optional=True,
                    tooltip="Where the good part is; yours always wins. Unplugged: found by itself, before a plain "
                    "background or as a texture that fills the photo.",
                ),
                io.Mask.Input(
                    "reference_part_mask",
                    optional=True,
                    tooltip="Where the part is on the defect's photo. Unplugged: found by itself.",
                ),
                io.Mask.Input(
                    "keep_out", optional=True, tooltip="Where no defect may be, on the photo of the good part."
                ),
                io.Int.Input(
                    "cracks",
                    default=0,
                    min=0,
                    max=8,
                    optional=True,
                    tooltip="0 to this many thin cracks leave the moved defect, along the photo's lines: holes in "
                    "shell have them, the few real ones that are moved may have none. They are drawn, not moved.",
                ),
                io.String.Input(
                    "type",
                    default="",
                    optional=True,
                    tooltip="The dataset's own name of the type. Where it is no hole, no cracks are drawn; empty: they "
                    "are drawn around whatever it is.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The photos with the defect."),
                io.Mask.Output(
                    display_name="label_mask",
                    tooltip="The moved mask, hard: exactly where the moved defect is; and its cracks where they show.",
                ),
                io.Mask.Output(
                    display_name="denoise_mask",
                    tooltip="The label grown by 6 px and feathered by 8: where a harmonising pass may repaint.",
                ),
                io.Image.Output(display_name="overlay", tooltip="The label on the photo, to look at."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor,
        reference_mask: Tensor,
        seed: int,
        place: str,
        shift: float,
        turn: float,
        min_scale: float,
        max_scale: float,
        mirror: bool,
        jitter: float,
        stretch: float,
        keep_light: bool,
        blend: str,
        match: float,
        feather: float,
        grain: float,
        tries: int,
        part_mask: Tensor | None = None,
        reference_part_mask: Tensor | None = None,
        keep_out: Tensor | None = None,
        cracks: int = 0,
        type: str = "",
    ) -> io.NodeOutput:
        motion_settings = MotionSettings(
            place, shift, turn, min_scale, max_scale, mirror, jitter, keep_light, tries, stretch
        )
        blend_settings = BlendSettings(blend, match, feather, grain)
        defects = real_defects(reference, reference_mask, reference_part_mask)
        batch, height, width = image.shape[:3]
        barred = None if keep_out is None else as_mask_batch(keep_out, batch, height, width, "keep_out")
        most_cracks = cracks if _may_crack(type) else 0
        images, labels = [], []
        for index in watched(range(batch), batch):
            photo, defect = to_u8(image[index, ..., :3]), defects[index % len(defects)]
            part = part_of(photo, part_mask, index, batch)
            keep = None if barred is None else to_array(barred[index])
            rng = np.random.default_rng([seed, index])
            motion = draw_motion(defect, part, rng, motion_settings, keep, usual_places(photo, part))
            assert defect.photo is not None
            done = transplant(
                image[index, ..., :3].cpu().numpy(),
                part,
                defect.photo / np.float32(255),
                defect.part,
                defect.mask,
                motion.back,
                landing_box(motion, defect.mask),
                motion.scale,
                blend_settings,
            )
            if most_cracks:
                # Numbers of their own: the defect lies where it would without cracks.
                rng = np.random.default_rng([seed, index, 1])
                lines = crack_lines(done.label, part if keep is None else part & ~keep, photo, rng, most_cracks)
                done = cracked(done, lines, int(rng.integers(2**31)))
            images.append(torch.from_numpy(done.image))
            labels.append(done.label)
        out, label = torch.stack(images), to_tensor(labels)
        denoise = torch.stack([torch.from_numpy(grow_and_feather(mask, 6.0, 8.0)) for mask in labels])
        shown = overlay(out, label)
        return io.NodeOutput(out, label, denoise, shown, ui=ui.PreviewImage(shown, cls=cls))


def _may_crack(name: str) -> bool:
    """Whether cracks leave a defect of that type; the dataset's own word is unknown here as often as not."""
    try:
        return not name or type_named(name) == "hole"
    except ValueError:
        return False


class DefectForgeTransplantMask(io.ComfyNode):
    """Move the mask of a real defect onto another part, to be painted there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeTransplantMask",
            display_name="Transplant Mask",
            category="DefectForge/mask",
            description="Moves the mask of a real defect onto another part in the parts' own frames, turned, resized, "
            "mirrored and slightly bent: a mask of a real shape for inpainting.",
            **newer(search_aliases=["move mask", "copy mask", "real mask"]),
            **SHOWS,
            inputs=[
                io.Image.Input("image", tooltip="Photos of good parts: a mask is moved onto each."),
                io.Image.Input("reference", tooltip="Photos of real defects; only their parts are looked at."),
                io.Mask.Input("reference_mask", tooltip="Where the defect is on its photo: its ground truth."),
                *motion_inputs("mask"),
                io.Int.Input("tries", default=64, min=1, max=1000, tooltip="Motions tried before an error says why."),
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
                    tooltip="Where the good part is; yours always wins. Unplugged: found by itself.",
                ),
                io.Mask.Input(
                    "reference_part_mask",
                    optional=True,
                    tooltip="Where the part is on the defect's photo. Unplugged: found by itself.",
                ),
                io.Mask.Input(
                    "keep_out", optional=True, tooltip="Where no defect may be, on the photo of the good part."
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="label_mask", tooltip="The moved mask, hard."),
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
        reference: Tensor,
        reference_mask: Tensor,
        seed: int,
        place: str,
        shift: float,
        turn: float,
        min_scale: float,
        max_scale: float,
        mirror: bool,
        jitter: float,
        stretch: float,
        tries: int,
        grow: float,
        feather: float,
        part_mask: Tensor | None = None,
        reference_part_mask: Tensor | None = None,
        keep_out: Tensor | None = None,
    ) -> io.NodeOutput:
        settings = MotionSettings(place, shift, turn, min_scale, max_scale, mirror, jitter, False, tries, stretch)
        defects = real_defects(reference, reference_mask, reference_part_mask)
        batch, height, width = image.shape[:3]
        barred = None if keep_out is None else as_mask_batch(keep_out, batch, height, width, "keep_out")
        labels = []
        for index in watched(range(batch), batch):
            photo, defect = to_u8(image[index, ..., :3]), defects[index % len(defects)]
            part = part_of(photo, part_mask, index, batch)
            keep = None if barred is None else to_array(barred[index])
            rng = np.random.default_rng([seed, index])
            motion = draw_motion(defect, part, rng, settings, keep, usual_places(photo, part))
            moved = moved_mask(defect.mask, motion.back, part.shape, landing_box(motion, defect.mask))
            # What its own part held of it, this one holds too; a rim's defect ends at the rim.
            labels.append(moved & part)
        label = to_tensor(labels)
        denoise = torch.stack([torch.from_numpy(grow_and_feather(mask, grow, feather)) for mask in labels])
        shown = overlay(image[..., :3].cpu(), label)
        return io.NodeOutput(label, denoise, shown, ui=ui.PreviewImage(shown, cls=cls))


NODES: list[type[io.ComfyNode]] = [DefectForgeTransplantMask, DefectForgeTransplantDefect]
