"""Reference-only: pictures that take their look, and locally their defect, from a reference photo."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from .algorithms.reference.bank import BankCache
from .algorithms.reference.layers import CONTROL_MODES
from .algorithms.reference.noise import NOISE_MODES
from .algorithms.reference.resize import CROP_RULES, RESIZE_MODES, check_size, fit_reference
from .reference.adapter import attach
from .reference.config import (
    CONTEXTS,
    DEFAULT_ROWS_AHEAD,
    MODES,
    build_references,
    check_reference_mask,
    layout_of,
    parse_weights,
)
from .schema import ADVANCED, newer

LOG = logging.getLogger(__name__)

SURROUNDINGS = ("hold", "let react")

MAIN_MEMORY, SAME_DEVICE = "main memory", "where they are computed"

#: A `BankCache` and how many rows one reference pass may compute.
CacheType = io.Custom("DEFECTFORGE_REFERENCE_CACHE")


class DefectForgeReferenceOnly(io.ComfyNode):
    """Let a model read a reference photo while it draws."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeReferenceOnly",
            display_name="Reference-only",
            category="DefectForge/reference",
            description="Self-attention of the model also looks at a reference photo, without training and without a "
            "further model. With masks, only the defect is read, and only where the new one shall be. For several "
            "references connect a batch, or chain this node.",
            **newer(
                search_aliases=[
                    "reference attention",
                    "reference adain",
                    "style reference",
                    "image prompt",
                    "ControlNet",
                ],
                essentials_category="Image Tools",
            ),
            inputs=[
                io.Model.Input("model", tooltip="Stable Diffusion 1.x, 2.x or SDXL, also inpainting and pix2pix."),
                io.Vae.Input("vae", tooltip="The VAE of the same checkpoint; it encodes the reference."),
                io.Image.Input("image", tooltip="The reference: one photo, or a batch that is read together."),
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=MODES[2],
                    tooltip="What is taken over: reference_only reads the reference's details (attention), "
                    "reference_adain its overall contrast and colours, reference_adain+attn both.",
                ),
                io.Combo.Input(
                    "control_mode",
                    options=list(CONTROL_MODES),
                    default=CONTROL_MODES[0],
                    tooltip="Who reads: Balanced mixes by style_fidelity; 'My prompt is more important' lets both "
                    "sides of guidance read, which weakens the reference; 'ControlNet is more important' only the "
                    "positive side, which strengthens it (lower cfg if colours get too strong) and is fastest.",
                ),
                io.Float.Input(
                    "style_fidelity",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Only for Balanced: 0 is 'My prompt is more important', 1 'ControlNet is more important'.",
                ),
                io.Float.Input(
                    "weight",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How many layers take part, deepest first, as in the web UI: 1 all attention layers, 0.5 "
                    "the deep half, 0 none. Above 1 only AdaIN gets more layers. For how strongly, see strength.",
                    **ADVANCED,
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=8.0,
                    step=0.05,
                    tooltip="How strongly the reference is read, continuously: 1 as in the web UI, 0 not at all, above "
                    "1 more than the picture itself.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Part of the steps after which the reference begins to act.",
                ),
                io.Float.Input(
                    "end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Part of the steps after which it no longer acts.",
                ),
                io.Int.Input(
                    "reference_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    tooltip="Seed of the reference's own noise. Leave it: new pictures come from the sampler's seed, "
                    "and a constant reference seed lets features be reused.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "noise",
                    options=list(NOISE_MODES),
                    default=NOISE_MODES[0],
                    tooltip="New reference noise at each step as in the web UI, or one pattern for the whole run, "
                    "which is smoother.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "width",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    tooltip="Width of the reference in px, best that of the generated picture. 0 keeps the photo's own "
                    "size, for references that come from Crop for Defect.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "height",
                    default=0,
                    min=0,
                    max=4096,
                    step=8,
                    tooltip="Height of the reference in px; 0: its own.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "resize",
                    options=list(RESIZE_MODES),
                    default=RESIZE_MODES[0],
                    tooltip="How the photo comes to that size: cut what is over, keep all and fill up, or distort. "
                    "Area averaging where it shrinks, Lanczos where it grows.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "crop",
                    options=list(CROP_RULES),
                    default=CROP_RULES[0],
                    tooltip="Where 'crop to fit' cuts: so that the mask stays in view, or in the middle.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "contexts",
                    options=list(CONTEXTS),
                    default=CONTEXTS[0],
                    tooltip="exact computes the reference with the positive and with the negative prompt, as the web "
                    "UI does; shared with the positive one for both, at half the cost and nearly the same picture. No "
                    "difference where only the positive side reads.",
                    **ADVANCED,
                ),
                io.Combo.Input(
                    "surroundings",
                    options=list(SURROUNDINGS),
                    default=SURROUNDINGS[0],
                    tooltip="With a target mask and without inpainting: hold what lies outside the mask exactly as it "
                    "is without the reference (it is sampled once more: twice the time), or let it react. With a noise "
                    "mask nothing outside changes anyway, and holding costs nothing.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "batch_weights",
                    default="",
                    tooltip="For a batch of references: one weight each, separated by commas. Empty: weight for all.",
                    **ADVANCED,
                ),
                io.Mask.Input(
                    "reference_mask",
                    optional=True,
                    tooltip="Where the defect is on the reference: only that is read. One, or one for each reference. "
                    "Unplugged: the whole photo.",
                ),
                io.Mask.Input(
                    "target_mask",
                    optional=True,
                    tooltip="Where the generated picture reads the reference, usually the denoise mask. One, or one "
                    "for each picture. Unplugged: everywhere.",
                ),
                CacheType.Input(
                    "cache",
                    optional=True,
                    tooltip="From Reference Cache, to set the memory limit or to share features between nodes. "
                    "Unplugged: a cache of its own of 2048 MB in main memory.",
                ),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="The model, reading the reference as it samples.")],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        vae: Any,
        image: Tensor,
        mode: str,
        control_mode: str,
        style_fidelity: float,
        weight: float,
        strength: float,
        start: float,
        end: float,
        reference_seed: int,
        noise: str,
        width: int,
        height: int,
        resize: str,
        crop: str,
        contexts: str,
        surroundings: str = SURROUNDINGS[0],
        batch_weights: str = "",
        reference_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
        cache: tuple[BankCache, int] | None = None,
    ) -> io.NodeOutput:
        layout_of(model)  # a model that cannot read a reference is refused before anything is encoded
        weights = parse_weights(batch_weights, weight, image.shape[0])
        masks = check_reference_mask(reference_mask, image)
        width, height = width or image.shape[2], height or image.shape[1]
        check_size(width, height, "the reference")
        fitted, masks = fit_reference(image[..., :3], masks, width, height, resize, crop)
        check_reference_mask(masks, fitted)
        references = build_references(
            model,
            vae.encode(fitted),
            masks=masks,
            target=target_mask,
            mode=mode,
            control_mode=control_mode,
            style_fidelity=style_fidelity,
            weights=weights,
            strength=strength,
            start=start,
            end=end,
            seed=reference_seed,
            noise_mode=noise,
        )
        for number, reference in enumerate(references):
            if not (reference.layers or reference.points):
                LOG.warning(
                    "Reference-only: weight %g of reference %d selects no layer, so it changes nothing; raise the "
                    "weight above 0 (1 selects all attention layers).",
                    weights[number % len(weights)],
                    number,
                )
        banks, ahead = cache if cache is not None else (None, None)
        hold = surroundings == SURROUNDINGS[0]
        return io.NodeOutput(attach(model, references, contexts=contexts, cache=banks, ahead=ahead, hold=hold))


class DefectForgeReferenceCache(io.ComfyNode):
    """A store for the features of references."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DefectForgeReferenceCache",
            display_name="Reference Cache",
            category="DefectForge/reference",
            description="Keeps the features of references for the next picture, seed and queue run, up to a memory "
            "limit. Connect it to one or more Reference-only nodes.",
            **newer(search_aliases=["feature bank", "reference features", "memory limit"]),
            inputs=[
                io.Int.Input(
                    "memory_limit",
                    default=2048,
                    min=0,
                    max=262144,
                    step=64,
                    tooltip="MB that all features may take; the least recently used ones make room. 0 keeps nothing. "
                    "SD 1.5 in 16 bits: 46 MB for each step, reference and side of guidance at 512 px, 12 MB at 256 "
                    "px; far less with a reference mask.",
                ),
                io.Combo.Input(
                    "keep_in",
                    options=[MAIN_MEMORY, SAME_DEVICE],
                    default=MAIN_MEMORY,
                    tooltip="Main memory spares the graphics card; the other is a little faster there.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "rows_ahead",
                    default=DEFAULT_ROWS_AHEAD,
                    min=1,
                    max=64,
                    tooltip="Rows that one reference pass may compute, later steps included. More is faster on a "
                    "graphics card and needs more memory at once; 1 computes each step when it comes.",
                    **ADVANCED,
                ),
                io.Boolean.Input(
                    "clear",
                    default=False,
                    tooltip="Start empty at each run. Changed models, prompts, references and sizes never get old "
                    "features anyway.",
                ),
            ],
            outputs=[CacheType.Output(display_name="cache", tooltip="For Reference-only's input of the same name.")],
        )

    @classmethod
    def fingerprint_inputs(cls, clear: bool = False, **_: Any) -> Any:
        """A cache that shall start empty is made anew each time (no value equals NaN)."""
        return float("nan") if clear else "kept"

    @classmethod
    def execute(cls, memory_limit: int, keep_in: str, rows_ahead: int, clear: bool) -> io.NodeOutput:
        device = torch.device("cpu") if keep_in == MAIN_MEMORY else None
        return io.NodeOutput((BankCache(memory_limit * 2**20, device), rows_ahead))


NODES = (DefectForgeReferenceOnly, DefectForgeReferenceCache)
