"""ComfyUI's own nodes, as far as the shipped workflows use them: plain functions, one family a module."""

from __future__ import annotations

import importlib
import pkgutil

from ..execution.registry import CORE_NODES, CoreNode


def load() -> dict[str, CoreNode]:
    """Import every module of this package, so that its nodes register, and give all of them by node id."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return CORE_NODES
