"""The `ui` part of the stand-in for `comfy_api.latest`: what a node shows beside its outputs."""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Any

from ....nodes import host
from ..protocol.images_out import save_images
from .standin_io import FolderType

if TYPE_CHECKING:
    from torch import Tensor


class SavedResult(dict[str, str]):
    """Reference of a file that `/view` serves."""

    def __init__(self, filename: str, subfolder: str, type: FolderType) -> None:
        super().__init__(filename=filename, subfolder=subfolder, type=FolderType(type).value)


class SavedImages:
    def __init__(self, results: list[Any], is_animated: bool = False) -> None:
        self.results = results
        self.is_animated = is_animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.results} | ({"animated": (True,)} if self.is_animated else {})


class PreviewImage:
    """Writes the batch into the temp folder; with `cls` the files carry the prompt."""

    def __init__(self, image: Tensor, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        hidden = getattr(cls, "hidden", None)
        tag = "".join(random.choices(string.ascii_lowercase, k=5))
        self.values = save_images(
            image,
            f"ComfyUI_temp_{tag}",
            host.current().temp_directory(),
            "temp",
            prompt=hidden.prompt if hidden else None,
            extra_pnginfo=hidden.extra_pnginfo if hidden else None,
            compress_level=1,
        )
        self.animated = animated

    def as_dict(self) -> dict[str, Any]:
        return {"images": self.values, "animated": (self.animated,)}


class PreviewMask(PreviewImage):
    """A mask `[B, H, W]` or `[H, W]` as grey pictures."""

    def __init__(self, mask: Tensor, animated: bool = False, cls: Any = None, **kwargs: Any) -> None:
        grey = mask.reshape(-1, mask.shape[-2], mask.shape[-1], 1).expand(-1, -1, -1, 3)
        super().__init__(grey, animated, cls, **kwargs)


class PreviewText:
    def __init__(self, value: str, **kwargs: Any) -> None:
        self.value = value

    def as_dict(self) -> dict[str, Any]:
        return {"text": (self.value,)}
