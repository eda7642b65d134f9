"""Which layers of a UNet a reference reaches: the web UI's layer rule for any SD 1.x, SD 2.x or SDXL UNet.

In the original `weight` is a *layer selector*, not a strength: attention layers are sorted by width, the `i`-th of `n`
gets the threshold ``i / n`` and takes part when the weight is above it; AdaIN points carry fixed thresholds of their
own. Blocks are numbered as in LDM checkpoints: ``input_blocks.N``, ``middle_block``,
``output_blocks.N``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

BlockName = Literal["input", "middle", "output"]

_NEEDED = (
    "model_channels",
    "channel_mult",
    "num_res_blocks",
    "transformer_depth",
    "transformer_depth_middle",
    "transformer_depth_output",
    "context_dim",
    "in_channels",
)
_FORWARD_ORDER = {"input": 0, "middle": 1, "output": 2}

#: Width of the text context from which on a UNet belongs to the SDXL family (SD 1.x: 768, SD 2.x: 1024).
SDXL_CONTEXT_WIDTH = 1280


@dataclass(frozen=True)
class AttentionLayer:
    """One self-attention layer: its block, its place inside the block, its width and the weight that it takes."""

    block: BlockName
    number: int
    index: int
    width: int
    threshold: float

    @property
    def key(self) -> tuple[str, int, int]:
        """The key under which ComfyUI looks for a replacement of this layer's attention."""
        return (self.block, self.number, self.index)

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Position in the forward pass; within one block the output (AdaIN) comes after all attention layers."""
        return (_FORWARD_ORDER[self.block], self.number, 0, self.index)


@dataclass(frozen=True)
class AdainPoint:
    """The output of one UNet block, where statistics are taken and matched."""

    block: BlockName
    number: int
    threshold: float

    @property
    def key(self) -> tuple[str, int]:
        """Block name and number."""
        return (self.block, self.number)

    @property
    def order(self) -> tuple[int, int, int, int]:
        """Position in the forward pass."""
        return (_FORWARD_ORDER[self.block], self.number, 1, 0)


@dataclass(frozen=True)
class UNetLayout:
    """What the reference needs to know of a UNet.

    Attributes:
        attention: all self-attention layers, widest first, ties in forward order of the module tree.
        adain: all AdaIN points, in forward order.
        in_channels: channels of the first convolution (4 plain, 9 inpainting, 8 instruct-pix2pix).
        sdxl: whether the UNet is of the SDXL family, where the balanced style fidelity is cubed.
    """

    attention: tuple[AttentionLayer, ...]
    adain: tuple[AdainPoint, ...]
    in_channels: int
    sdxl: bool

    def attention_for(self, weight: float) -> tuple[AttentionLayer, ...]:
        """Attention layers that `weight` selects (strictly above the threshold)."""
        return tuple(layer for layer in self.attention if weight > layer.threshold)

    def adain_for(self, weight: float) -> tuple[AdainPoint, ...]:
        """AdaIN points that `weight` selects (strictly above the threshold)."""
        return tuple(point for point in self.adain if weight > point.threshold)


def unet_layout(config: Mapping[str, Any]) -> UNetLayout:
    """Read the layout from a UNet configuration in ComfyUI's words.

    The original lists AdaIN points for SD 1.5 (input 4 5 7 8 10 11, output 0..7) and SDXL (input 4 5 7 8,
    output 0..5). Both are "every residual input block below the first level" and "as many output blocks as there are
    residual input blocks", which is what is computed here, so that other depths get their counterpart.

    Args:
        config: ``model_channels``, ``channel_mult``, ``num_res_blocks`` (one a level), ``transformer_depth`` (one an
            input residual block), ``transformer_depth_middle``, ``transformer_depth_output`` (one an output block,
            last block first), ``context_dim``, ``in_channels``.

    Raises:
        ValueError: it is not the configuration of an image UNet with transformers; the message says why.
    """
    missing = [name for name in _NEEDED if config.get(name) is None]
    if missing:
        raise ValueError("it is not a UNet with input, middle and output blocks")
    if config.get("use_temporal_attention") or config.get("use_temporal_resblock"):
        raise ValueError("it is a video model, whose blocks mix frames over time")
    widths = [int(config["model_channels"]) * int(mult) for mult in config["channel_mult"]]
    residuals = [int(count) for count in config["num_res_blocks"]]
    depths = [int(depth) for depth in config["transformer_depth"]]
    depths_out = [int(depth) for depth in reversed(config["transformer_depth_output"])]
    forward: list[tuple[BlockName, int, int, int]] = []
    deep: list[int] = []
    number, place = 1, 0
    for level, (width, count) in enumerate(zip(widths, residuals, strict=True)):
        for _ in range(count):
            forward += [("input", number, index, width) for index in range(depths[place])]
            deep += [number] if level else []
            number, place = number + 1, place + 1
        number += 1  # the downsampling block between two levels
    forward += [("middle", 0, index, widths[-1]) for index in range(max(int(config["transformer_depth_middle"]), 0))]
    number = 0
    for width, count in zip(reversed(widths), reversed(residuals), strict=True):
        for _ in range(count + 1):
            forward += [("output", number, index, width) for index in range(depths_out[number])]
            number += 1
    if not forward:
        raise ValueError("its UNet has no transformer blocks, so there is no self-attention to read a reference")
    widest_first = sorted(forward, key=lambda layer: -layer[3])  # stable: ties stay in module order
    attention = tuple(
        AttentionLayer(block, number, index, width, position / len(widest_first))
        for position, (block, number, index, width) in enumerate(widest_first)
    )
    total = sum(residuals)
    adain = (
        *(AdainPoint("input", number, 2.0 * (1.0 - place / len(deep))) for place, number in enumerate(deep)),
        AdainPoint("middle", 0, 0.0),
        *(AdainPoint("output", number, 2.0 * number / total) for number in range(total)),
    )
    return UNetLayout(attention, adain, int(config["in_channels"]), int(config["context_dim"]) >= SDXL_CONTEXT_WIDTH)


CONTROL_MODES = ("Balanced", "My prompt is more important", "ControlNet is more important")


def effective_fidelity(control_mode: str, style_fidelity: float, sdxl: bool = False) -> float:
    """The one number that control mode and style fidelity come down to, 0..1.

    0: both halves of classifier-free guidance read the reference; 1: only the conditional half does.
    """
    if control_mode not in CONTROL_MODES:
        raise ValueError(f"control mode {control_mode!r} is unknown; expected one of {', '.join(CONTROL_MODES)}")
    if control_mode == CONTROL_MODES[1]:
        return 0.0
    if control_mode == CONTROL_MODES[2]:
        return 1.0
    fidelity = min(max(style_fidelity, 0.0), 1.0)
    return fidelity**3 if sdxl else fidelity


def step_of(sigma: float, sample_sigmas: Sequence[float]) -> int:
    """0-based step that a model call at `sigma` belongs to; calls between two steps belong to the one in progress.

    Args:
        sigma: noise level of the call.
        sample_sigmas: the run's schedule, descending, with the final 0 (`steps + 1` values).
    """
    steps = max(len(sample_sigmas) - 1, 1)
    # Half a per mille: schedules travel through float32 and back.
    reached = sum(1 for value in sample_sigmas[:steps] if value >= sigma * (1.0 - 5e-4))
    return max(reached - 1, 0)


def is_active(step: int, steps: int, start: float, end: float) -> bool:
    """Whether a reference with the window [start, end] acts at 0-based `step` of `steps`.

    The original's progress lags one step behind (``max(step - 1, 0) / steps``), because it is updated after each
    model call; fractions are of steps, not of noise levels.
    """
    progress = max(step - 1, 0) / max(steps, 1)
    return start <= progress <= end
