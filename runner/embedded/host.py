"""The embedded server as the host of the pack's nodes; see `nodes.host.Host`."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...nodes.host import Progress, environment_roots
from . import folders
from .execution import running

if TYPE_CHECKING:
    import torch
    from PIL import Image


class EmbeddedProgress:
    """A progress bar of the running node; each step is also a place where the prompt can be interrupted."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.value = 0

    def update(self, n: int = 1) -> None:
        self.update_absolute(self.value + n)

    def update_absolute(self, value: int, total: int | None = None, preview: Image.Image | None = None) -> None:
        if total is not None:
            self.total = total
        self.value = min(value, self.total)
        run = running.current()
        if run is not None:
            run.progress(self.value, self.total, preview)


class EmbeddedHost:
    """Folders, progress, interruption and device of this process."""

    name = "embedded"

    def __init__(self, version: str, device: str = "auto") -> None:
        self.version = version
        self._device = device

    def input_directory(self) -> Path:
        return folders.current().input

    def output_directory(self) -> Path:
        return folders.current().output

    def temp_directory(self) -> Path:
        return folders.current().temp

    def dataset_roots(self) -> list[Path]:
        return [*folders.current().data, *environment_roots()]

    def model_folders(self, kind: str) -> list[Path]:
        return [root / kind for root in folders.current().models]

    def progress(self, total: int) -> Progress:
        return EmbeddedProgress(total)

    def check_interrupt(self) -> None:
        run = running.current()
        if run is not None:
            run.check_interrupt()

    def device(self) -> torch.device:
        """CUDA where there is one, unless the server was started with another `--device`."""
        import torch

        if self._device != "auto":
            return torch.device(self._device)
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        transformer_options: dict[str, Any],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Multi-head attention on `[rows, tokens, heads * dim]` by torch's scaled dot product."""
        from torch.nn.functional import scaled_dot_product_attention

        def split(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(-1, (heads, -1)).transpose(1, 2)

        if mask is not None:
            # [tokens, keys] or [rows, tokens, keys] to [rows, heads, tokens, keys], as ComfyUI's routine accepts them.
            mask = mask.unsqueeze(0) if mask.ndim == 2 else mask
            mask = mask.unsqueeze(1) if mask.ndim == 3 else mask
        return scaled_dot_product_attention(split(q), split(k), split(v), attn_mask=mask).transpose(1, 2).flatten(-2)

    def unrecorded(self) -> AbstractContextManager[Any]:
        """Nothing is recorded here."""
        return nullcontext()
