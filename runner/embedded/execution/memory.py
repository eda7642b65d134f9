"""Giving memory back: what `/free` and a full GPU ask for."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable

log = logging.getLogger(__name__)

_unloaders: list[Callable[[], None]] = []


def on_unload(callback: Callable[[], None]) -> Callable[[], None]:
    """Register (also as a decorator) what drops models that a module keeps by itself."""
    _unloaders.append(callback)
    return callback


def unload_models() -> None:
    """Drop every model that is kept outside the cache of outputs, and hand the memory back."""
    for callback in _unloaders:
        callback()
    collect()


def collect() -> None:
    """Collect garbage and return unused blocks to the GPU driver."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device (not the process) ran out of memory."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(error, torch.OutOfMemoryError)
