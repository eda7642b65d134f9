"""Core nodes that load ControlNets and put them on conditionings."""

from __future__ import annotations

from torch import Tensor

from ....nodes import host
from .. import folders
from ..engine.encoders.vae import Vae
from ..engine.loading.checkpoint import compute_dtype
from ..engine.loading.controlnet import Control, load_controlnet
from ..engine.model.model import EmbeddedModel
from ..execution.registry import core_node
from .conditioning import CONDITIONING, STRENGTH, Conditioning
from .loaders import choice_of

_SHARE = {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.001}


@core_node(
    "ControlNetLoader",
    display_name="Load ControlNet Model",
    category="model/loaders",
    inputs=choice_of("controlnet", "control_net_name"),
    outputs=[("CONTROL_NET", "CONTROL_NET")],
)
def control_net_loader(control_net_name: str) -> tuple[Control]:
    """A ControlNet file."""
    device = host.current().device()
    path = folders.current().model_path("controlnet", control_net_name)
    return (load_controlnet(path, device, compute_dtype(device)),)


def _inputs_with_model() -> dict[str, dict[str, tuple[object, ...]]]:
    names = folders.current().model_filenames("controlnet")
    return {"required": {"model": ("MODEL",), "control_net_name": (names,)}}


@core_node(
    "DiffControlNetLoader",
    display_name="Load ControlNet Model (diff)",
    category="model/loaders",
    inputs=_inputs_with_model,
    outputs=[("CONTROL_NET", "CONTROL_NET")],
)
def diff_control_net_loader(model: EmbeddedModel, control_net_name: str) -> tuple[Control]:
    """A ControlNet file; those that hold differences to a model are refused by name."""
    return control_net_loader(control_net_name)


def controlled(
    conditioning: Conditioning, control: Control, hint: Tensor, strength: float, percents: tuple[float, float]
) -> Conditioning:
    """Conditions that are steered by a hint, each after what steers it already."""
    result: Conditioning = []
    made: dict[int, Control] = {}
    for tokens, options in conditioning:
        previous = options.get("control")
        if id(previous) not in made:
            made[id(previous)] = control.with_hint(hint, strength, percents, previous)
        result.append([tokens, {**options, "control": made[id(previous)]}])
    return result


@core_node(
    "ControlNetApply",
    display_name="Apply ControlNet (DEPRECATED)",
    deprecated=True,
    category="model/conditioning/controlnet",
    inputs={
        "required": {
            "conditioning": ("CONDITIONING",),
            "control_net": ("CONTROL_NET",),
            "image": ("IMAGE",),
            "strength": ("FLOAT", STRENGTH),
        }
    },
    outputs=CONDITIONING,
)
def control_net_apply(
    conditioning: Conditioning, control_net: Control, image: Tensor, strength: float
) -> tuple[Conditioning]:
    """Steers the positive side, and with it the negative one."""
    if strength == 0:
        return (conditioning,)
    steered = controlled(conditioning, control_net, image.movedim(-1, 1), strength, (0.0, 1.0))
    return ([[tokens, {**options, "control_apply_to_uncond": True}] for tokens, options in steered],)


@core_node(
    "ControlNetApplyAdvanced",
    display_name="Apply ControlNet",
    category="model/conditioning/controlnet",
    inputs={
        "required": {
            "positive": ("CONDITIONING",),
            "negative": ("CONDITIONING",),
            "control_net": ("CONTROL_NET",),
            "image": ("IMAGE",),
            "strength": ("FLOAT", STRENGTH),
            "start_percent": ("FLOAT", _SHARE),
            "end_percent": ("FLOAT", {**_SHARE, "default": 1.0}),
        },
        "optional": {"vae": ("VAE",)},
    },
    outputs=[("CONDITIONING", "positive"), ("CONDITIONING", "negative")],
)
def control_net_apply_advanced(
    positive: Conditioning,
    negative: Conditioning,
    control_net: Control,
    image: Tensor,
    strength: float,
    start_percent: float,
    end_percent: float,
    vae: Vae | None = None,
) -> tuple[Conditioning, Conditioning]:
    """Steers both sides, for a part of the way from noise (0) to picture (1). These ControlNets need no VAE."""
    if strength == 0:
        return positive, negative
    hint, percents = image.movedim(-1, 1), (start_percent, end_percent)
    # One control for both sides, so that they are evaluated together.
    both = controlled([*positive, *negative], control_net, hint, strength, percents)
    marked = [[tokens, {**options, "control_apply_to_uncond": False}] for tokens, options in both]
    return marked[: len(positive)], marked[len(positive) :]
