"""What `/system_stats` tells about this server and its machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from .. import follows

if TYPE_CHECKING:
    import torch


def stats(version: str, device: torch.device) -> dict[str, Any]:
    """ComfyUI's keys, and `server_kind` and `defectforge_version` by which a client knows this server.

    `comfyui_version` is the core that it follows.
    """
    import psutil
    import torch

    memory = psutil.virtual_memory()
    free, total = torch.cuda.mem_get_info(device) if device.type == "cuda" else (memory.available, memory.total)
    kept = torch.cuda.memory_reserved(device) if device.type == "cuda" else memory.total
    used = torch.cuda.memory_allocated(device) if device.type == "cuda" else memory.total - memory.available
    return {
        "system": {
            "os": os.name,
            "ram_total": memory.total,
            "ram_free": memory.available,
            "comfyui_version": follows.version(),
            "server_kind": "defectforge-embedded",
            "defectforge_version": version,
            "python_version": sys.version,
            "pytorch_version": torch.__version__,
            "embedded_python": False,
            "argv": sys.argv,
        },
        "devices": [
            {
                "name": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                "type": device.type,
                "index": device.index,
                "vram_total": total,
                "vram_free": free,
                "torch_vram_total": kept,
                "torch_vram_free": kept - used,
            }
        ],
    }
