"""From a photo and a mask to what the sampler starts from, and back."""

from __future__ import annotations

from comfy_api.latest import io

NODES: list[type[io.ComfyNode]] = []
