"""A small stand-in for `comfy_api.latest`, for a machine without ComfyUI.

The pack's nodes import `ComfyExtension`, `io` and `ui` from there, and nothing else of ComfyUI. Where the real module
can be found it is used, never this one.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import ABC, abstractmethod
from importlib.machinery import ModuleSpec
from types import ModuleType

from . import standin_io, standin_ui

_MARK = "__defectforge_standin__"


class ComfyExtension(ABC):
    """What a pack's entry point returns."""

    async def on_load(self) -> None:  # noqa: B027 - optional, as in ComfyUI
        """Called once, before the nodes are asked for."""

    @abstractmethod
    async def get_node_list(self) -> list[type[standin_io.ComfyNode]]: ...


def real_api_present() -> bool:
    """Whether a `comfy_api` that is not this stand-in can be imported."""
    loaded = sys.modules.get("comfy_api")
    if loaded is not None:
        return not getattr(loaded, _MARK, False)
    return importlib.util.find_spec("comfy_api") is not None


def install() -> bool:
    """Put the stand-in into `sys.modules` unless the real API can be found; True when the stand-in is in use."""
    if real_api_present():
        return False
    if "comfy_api" not in sys.modules:
        package, latest = (_module(name, is_package=True) for name in ("comfy_api", "comfy_api.latest"))
        vars(latest).update(ComfyExtension=ComfyExtension, io=standin_io, ui=standin_ui)
        vars(package).update(latest=latest)
        sys.modules.update({"comfy_api": package, "comfy_api.latest": latest})
    return True


def _module(name: str, is_package: bool) -> ModuleType:
    module = ModuleType(name, "Stand-in of DefectForge's embedded server.")
    module.__spec__ = ModuleSpec(name, None, is_package=is_package)
    module.__path__ = []
    setattr(module, _MARK, True)
    return module
