"""What a model carries once a reference is attached to it: immutable descriptions, checked before sampling."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..algorithms.reference.bank import BankCache, digest
from ..algorithms.reference.layers import AdainPoint, AttentionLayer, UNetLayout, effective_fidelity, unet_layout
from ..algorithms.reference.noise import NOISE_MODES

#: Names of the original's preprocessors.
MODES = ("reference_only", "reference_adain", "reference_adain+attn")

#: Whether each half of classifier-free guidance reads features computed with its own prompt, or both those computed
#: with the positive one.
CONTEXTS = ("exact", "shared")

#: Key of the `ReferenceConfig` in a model's ``transformer_options``.
OPTION = "defectforge_reference"

#: Latent channels of Stable Diffusion 1.x, 2.x and SDXL.
LATENT_CHANNELS = 4

#: Input channels of the UNet -> channels that are concatenated to the latent: plain, instruct-pix2pix, inpainting.
CONCAT_CHANNELS = {4: 0, 8: 4, 9: 5}

DEFAULT_CACHE_BYTES = 2048 * 2**20

#: One pass over several rows costs less than a pass for each, on a graphics card and on a CPU.
DEFAULT_ROWS_AHEAD = 4


@dataclass(frozen=True, eq=False)
class Reference:
    """One reference picture with its own settings.

    Attributes:
        latent: ``[1, 4, h, w]`` float32 on the CPU, in the model's units.
        raw_latent: the same as the autoencoder gives it (what instruct-pix2pix concatenates).
        mask: ``[H, W]`` in 0..1, the part of the picture that is read; None: all of it.
        target: ``[1 or batch, H, W]`` in 0..1, where the generated pictures read it; None: everywhere.
        layers, points: attention layers and AdaIN points that mode and weight select.
        fidelity: effective style fidelity, 0..1 (see `effective_fidelity`).
        strength: factor on the reference's attention weights and, up to 1, on AdaIN.
        start, end: window in fractions of the steps.
        seed, ordinal, noise_mode: what its noise is drawn from.
    """

    latent: torch.Tensor
    raw_latent: torch.Tensor
    mask: torch.Tensor | None
    target: torch.Tensor | None
    layers: tuple[AttentionLayer, ...]
    points: tuple[AdainPoint, ...]
    fidelity: float
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    seed: int = 0
    ordinal: int = 0
    noise_mode: str = NOISE_MODES[0]
    identity: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        # All that the stored features depend on, beside model, noise level and prompt.
        noise = (self.seed, self.ordinal, self.noise_mode)
        taken = (tuple(layer.key for layer in self.layers), tuple(point.key for point in self.points))
        object.__setattr__(self, "identity", (digest(self.latent), digest(self.mask), noise, taken))

    @property
    def inert(self) -> bool:
        """Whether it changes nothing at all: no layer selected, no strength, or nowhere to act."""
        nowhere = self.target is not None and not bool((self.target > 0).any())
        return not (self.layers or self.points) or self.strength <= 0.0 or nowhere


@dataclass(frozen=True, eq=False)
class ReferenceConfig:
    """All references attached to one model, and how their features are computed and kept.

    Attributes:
        references: in the order in which they were attached.
        cache: where features are kept.
        contexts: one of `CONTEXTS`.
        ahead: how many rows one reference pass may compute, counting later steps (1: only what is needed now).
        hold: keep what lies outside all target masks as it would be without references, by a second evaluation, where
            no noise mask does so.
    """

    references: tuple[Reference, ...]
    cache: BankCache
    contexts: str = CONTEXTS[0]
    ahead: int = DEFAULT_ROWS_AHEAD
    hold: bool = True

    def __deepcopy__(self, memo: dict[int, Any]) -> ReferenceConfig:
        """Itself: it never changes, and cloning a model must not copy latents and features."""
        return self


def layout_of(model: Any) -> UNetLayout:
    """The UNet layout of a MODEL.

    Raises:
        ValueError: the model is none of SD 1.x, SD 2.x or SDXL; the message names it.
    """
    config = getattr(model.model, "model_config", None)
    name = type(model.model if config is None else config).__name__
    refusal = (
        f"reference-only needs the UNet of Stable Diffusion 1.x, 2.x or SDXL, but this model is {name}: {{}}. "
        "Load an SD 1.5, SD 2.x or SDXL checkpoint, or remove the reference-only node."
    )
    try:
        layout = unet_layout(getattr(config, "unet_config", {}))
    except ValueError as error:
        raise ValueError(refusal.format(error)) from error
    if layout.in_channels not in CONCAT_CHANNELS:
        reason = f"its first layer takes {layout.in_channels} channels, expected 4, 9 (inpainting) or 8 (pix2pix)"
        raise ValueError(refusal.format(reason))
    return layout


def selection(
    layout: UNetLayout, mode: str, weight: float
) -> tuple[tuple[AttentionLayer, ...], tuple[AdainPoint, ...]]:
    """Attention layers and AdaIN points that `mode` and `weight` select."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; expected one of {', '.join(MODES)}")
    layers = layout.attention_for(weight) if mode != "reference_adain" else ()
    points = layout.adain_for(weight) if mode != "reference_only" else ()
    return layers, points


def whole(mask: torch.Tensor | None) -> bool:
    """Whether a mask restricts nothing: absent, or one everywhere."""
    return mask is None or bool((mask >= 1.0).all())


def parse_weights(text: str, weight: float, count: int) -> tuple[float, ...]:
    """The weights of `count` references: those in `text`, separated by commas, or `weight` for all.

    Raises:
        ValueError: not a number, out of 0..2, or not as many as references.
    """
    if not text.strip():
        return (weight,)
    try:
        weights = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"batch_weights {text!r}: expected numbers separated by commas, such as '1, 0.5'") from None
    if len(weights) != count:
        raise ValueError(
            f"{count} reference images but {len(weights)} batch_weights ({text!r}): give {count} weights, or none to "
            "use the weight for all"
        )
    if any(not 0.0 <= value <= 2.0 for value in weights):
        raise ValueError(f"batch_weights {text!r}: each weight must lie between 0 and 2")
    return weights


def check_reference_mask(mask: torch.Tensor | None, image: torch.Tensor) -> torch.Tensor | None:
    """A reference mask as ``[masks, H, W]``, after checking that it marks a part of ``image [R, H, W, C]``.

    Raises:
        ValueError: another size or number than the images, nothing marked, or everything marked.
    """
    if mask is None:
        return None
    masks = mask if mask.dim() == 3 else mask.reshape(-1, *mask.shape[-2:])
    count = image.shape[0]
    if masks.shape[0] not in (1, count):
        raise ValueError(f"{count} reference images but {masks.shape[0]} reference masks: give one mask, or {count}")
    if masks.shape[1:] != image.shape[1:3]:
        raise ValueError(
            f"the reference mask is {masks.shape[2]} x {masks.shape[1]} pixels, but the reference image is "
            f"{image.shape[2]} x {image.shape[1]}: use the mask that belongs to this photo, or resize both alike"
        )
    for number, one in enumerate(masks):
        if not bool((one > 0).any()):
            raise ValueError(
                f"reference mask {number} is empty, so there is nothing to read: mark the defect in it (after "
                "cropping it must still be in view), or unplug it to read the whole reference"
            )
        if bool((one >= 1.0).all()):
            raise ValueError(
                f"reference mask {number} covers the whole reference, so it singles out nothing: mark the defect "
                "alone, or unplug the mask to read the whole reference"
            )
    return masks


def build_references(
    model: Any,
    latents: torch.Tensor,
    *,
    masks: torch.Tensor | None = None,
    target: torch.Tensor | None = None,
    mode: str = MODES[2],
    control_mode: str = "Balanced",
    style_fidelity: float = 0.5,
    weights: Iterable[float] = (1.0,),
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
    seed: int = 0,
    noise_mode: str = NOISE_MODES[0],
) -> tuple[Reference, ...]:
    """Describe a batch of references for `model`.

    Args:
        model: the MODEL that will read them.
        latents: ``[R, 4, h, w]`` as the autoencoder gives them.
        masks: ``[1 or R, H, W]`` in 0..1 or None.
        target: ``[1 or batch, H, W]`` in 0..1 or None.
        weights: one for all, or one for each reference.

    Raises:
        ValueError: a model, number or value that does not fit; the message says what and how to mend it.
    """
    layout = layout_of(model)
    count = latents.shape[0]
    weights = tuple(weights)
    if len(weights) not in (1, count):
        raise ValueError(f"{count} reference images but {len(weights)} weights: give one weight, or {count} of them")
    if masks is not None and masks.shape[0] not in (1, count):
        raise ValueError(f"{count} reference images but {masks.shape[0]} reference masks: give one mask, or {count}")
    if latents.dim() != 4 or latents.shape[1] != LATENT_CHANNELS:
        raise ValueError(
            f"the reference latent has shape {tuple(latents.shape)}, expected [references, {LATENT_CHANNELS}, height, "
            "width]: use the VAE that belongs to this checkpoint"
        )
    if noise_mode not in NOISE_MODES:
        raise ValueError(f"noise mode {noise_mode!r} is unknown; expected one of {', '.join(NOISE_MODES)}")
    if start > end:
        raise ValueError(f"start {start} is after end {end}: the reference would never act; swap them")
    fidelity = effective_fidelity(control_mode, style_fidelity, layout.sdxl)
    raw = latents.detach().to("cpu", torch.float32)
    scaled = model.model.latent_format.process_in(raw)
    # Chained nodes number on, so that a chain reads as a batch does.
    attached = model.model_options.get("transformer_options", {}).get(OPTION)
    first = 0 if attached is None else len(attached.references)
    references = []
    for i in range(count):
        layers, points = selection(layout, mode, weights[i % len(weights)])
        mask = None if masks is None else masks[i % masks.shape[0]].detach().to("cpu", torch.float32)
        if mask is not None and not bool((mask > 0).any()):
            raise ValueError(
                f"the reference mask of reference {i} is empty, so there is nothing to read: paint the defect in it, "
                "or disconnect it to read the whole reference"
            )
        references.append(
            Reference(
                latent=scaled[i : i + 1].clone(),
                raw_latent=raw[i : i + 1].clone(),
                mask=None if whole(mask) else mask,
                target=None if target is None or whole(target) else target.detach().to("cpu", torch.float32),
                layers=layers,
                points=points,
                fidelity=fidelity,
                strength=float(strength),
                start=start,
                end=end,
                seed=seed,
                ordinal=first + i,
                noise_mode=noise_mode,
            )
        )
    return tuple(references)
