"""Which ComfyUI core the embedded server follows, and the one place where the cores it can follow draw differently."""

from __future__ import annotations

#: The core whose nodes, protocol and pixels are followed: the newest one that the tests compare with.
COMFYUI_VERSION = "0.28.1"
#: Cores that can be followed instead, for pictures drawn as an older server drew them.
CHOICES = (COMFYUI_VERSION, "0.3.64")

#: Since this core, samplers that draw fresh noise at each step begin with seed + 1 on the CPU, so that the first draw
#: is not the initial noise once more (ComfyUI pull request 11528).
STEP_NOISE_FROM_NEXT_SEED = (0, 7, 0)

_followed = COMFYUI_VERSION


def use(version: str) -> None:
    """Follow another core for the whole process; called once, before anything is sampled.

    Raises:
        ValueError: no core that can be followed.
    """
    global _followed
    if version not in CHOICES:
        raise ValueError(f"cannot follow ComfyUI {version!r}; expected one of {', '.join(CHOICES)}")
    _followed = version


def version() -> str:
    """The core that this process follows."""
    return _followed


def step_noise_offset(device_type: str) -> int:
    """What is added to a seed before the noise of a sampler's steps is drawn on a device of this type."""
    numbers = tuple(int(part) for part in _followed.split("."))
    return 1 if device_type == "cpu" and numbers >= STEP_NOISE_FROM_NEXT_SEED else 0


def _newest() -> bool:
    return _followed == COMFYUI_VERSION


def decodes_by_ffmpeg() -> bool:
    """Picture files come out as FFmpeg gives them; before, as Pillow does, in 8 bits."""
    return _newest()


def feathers_to_the_far_edges() -> bool:
    """FeatherMask begins at the last column and row; before, one off."""
    return _newest()


def lacking_alpha_is_opaque() -> bool:
    """An image without alpha goes together with one that has it; before, that failed."""
    return _newest()


def joins_the_longer_batch() -> bool:
    """JoinImageWithAlpha repeats the shorter of images and masks; before, it cut the longer."""
    return _newest()
