"""The only door from the nodes to the program they live in: folders, progress, interruption, devices, attention.

Nodes ask `current()` and never import ``comfy`` or ``folder_paths`` themselves, so the same node classes run in
ComfyUI and in the embedded server. ComfyUI's modules are imported lazily, inside the methods of `ComfyHost`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from aiohttp import web
    from PIL import Image

#: Environment variable with more dataset folders, separated like PATH.
DATA_VARIABLE = "DEFECTFORGE_DATA"

#: Folder kind under which ComfyUI's ``extra_model_paths.yaml`` may register datasets (``mvtec: D:/photos``).
DATASET_FOLDER_KIND = "mvtec"

#: Longest side of a preview sent while a node works; ComfyUI's own samplers use the same.
PREVIEW_SIZE = 512

T = TypeVar("T")


class Progress(Protocol):
    """A progress bar of the running node."""

    def update(self, n: int = 1) -> None:
        """Move on by `n` steps."""
        ...

    def update_absolute(self, value: int, total: int | None = None, preview: Image.Image | None = None) -> None:
        """Set the step reached, optionally with a new total and a preview picture."""
        ...


class Host(Protocol):
    """What a node may ask of the program it runs in."""

    @property
    def name(self) -> str:
        """``comfyui`` or ``embedded``."""
        ...

    @property
    def version(self) -> str:
        """Version of the program."""
        ...

    def input_directory(self) -> Path:
        """Folder that receives uploads."""
        ...

    def output_directory(self) -> Path:
        """Folder for results that are kept."""
        ...

    def temp_directory(self) -> Path:
        """Folder for previews; may be emptied at any start."""
        ...

    def dataset_roots(self) -> list[Path]:
        """Folders, beside the input folder, from which datasets may be read."""
        ...

    def model_folders(self, kind: str) -> list[Path]:
        """Folders that hold models of a `kind` (``checkpoints``, ``caption``), best first."""
        ...

    def progress(self, total: int) -> Progress:
        """Start a progress bar with `total` steps for the running node."""
        ...

    def check_interrupt(self) -> None:
        """Raise the program's own interruption exception when the user asked to stop."""
        ...

    def device(self) -> torch.device:
        """Device on which models compute."""
        ...

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        transformer_options: dict[str, Any],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Multi-head attention on ``[rows, tokens, heads * dim]`` tensors, by the program's fastest routine."""
        ...

    def unrecorded(self) -> AbstractContextManager[Any]:
        """Within it, memory does not belong to what the program records of a model call to replay it.

        What is kept after the call has to be made in here: recorded memory is used again by the next call.
        """
        ...


def environment_roots() -> list[Path]:
    """Folders named in ``DEFECTFORGE_DATA`` (separated like PATH)."""
    return [Path(part).expanduser() for part in os.environ.get(DATA_VARIABLE, "").split(os.pathsep) if part.strip()]


class _ComfyProgress:
    def __init__(self, total: int) -> None:
        from comfy.utils import ProgressBar

        self._bar = ProgressBar(total)

    def update(self, n: int = 1) -> None:
        self._bar.update(n)

    def update_absolute(self, value: int, total: int | None = None, preview: Image.Image | None = None) -> None:
        # ComfyUI's preview triple: format, picture, longest side.
        self._bar.update_absolute(value, total, None if preview is None else ("JPEG", preview, PREVIEW_SIZE))


class ComfyHost:
    """The host inside a running ComfyUI."""

    name = "comfyui"

    @property
    def version(self) -> str:
        """ComfyUI's version, e.g. ``0.3.64``."""
        try:
            from comfyui_version import __version__
        except ImportError:
            return "unknown"
        return str(__version__)

    def input_directory(self) -> Path:
        """Folder that receives uploads."""
        import folder_paths

        return Path(folder_paths.get_input_directory())

    def output_directory(self) -> Path:
        """Folder for results that are kept."""
        import folder_paths

        return Path(folder_paths.get_output_directory())

    def temp_directory(self) -> Path:
        """Folder for previews."""
        import folder_paths

        return Path(folder_paths.get_temp_directory())

    def dataset_roots(self) -> list[Path]:
        """Folders registered as ``mvtec`` in ComfyUI, then those of ``DEFECTFORGE_DATA``."""
        import folder_paths

        registered: Iterable[str] = ()
        if DATASET_FOLDER_KIND in folder_paths.folder_names_and_paths:
            registered = folder_paths.get_folder_paths(DATASET_FOLDER_KIND)
        return [*(Path(path) for path in registered), *environment_roots()]

    def model_folders(self, kind: str) -> list[Path]:
        """The folders registered for `kind`, then ``models/<kind>``."""
        import folder_paths

        registered = folder_paths.get_folder_paths(kind) if kind in folder_paths.folder_names_and_paths else []
        return [*(Path(path) for path in registered), Path(folder_paths.models_dir) / kind]

    def progress(self, total: int) -> Progress:
        """Start a progress bar for the running node."""
        return _ComfyProgress(total)

    def check_interrupt(self) -> None:
        """Raise ComfyUI's interruption exception when the user pressed stop."""
        from comfy.model_management import throw_exception_if_processing_interrupted

        throw_exception_if_processing_interrupted()

    def device(self) -> torch.device:
        """Device on which ComfyUI runs models."""
        from comfy.model_management import get_torch_device

        return get_torch_device()

    def attention(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        heads: int,
        transformer_options: dict[str, Any],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """ComfyUI's ``optimized_attention``; the options are passed on so that attention overrides keep working.

        ComfyUI tells an attention replacement in its options which precision the layer asks for (SD 2.x: float32).
        """
        from comfy.ldm.modules.attention import optimized_attention

        precision = transformer_options.get("attn_precision")
        return optimized_attention(
            q, k, v, heads=heads, mask=mask, attn_precision=precision, transformer_options=transformer_options
        )

    def unrecorded(self) -> AbstractContextManager[Any]:
        """The pause of ComfyUI's compiler (on CUDA since about 0.39), where there is one."""
        pause = getattr(sys.modules.get("comfy.model_prefetch"), "pause_malloc_graph", None)
        return nullcontext() if pause is None else pause()


def window_routes() -> web.RouteTableDef | None:
    """The HTTP routes of the running ComfyUI, to which scripts of its window may add; None where there is no window."""
    # ComfyUI's server.py is never imported for this: where it is not running there is nothing to add to.
    prompt_server = getattr(sys.modules.get("server"), "PromptServer", None)
    return getattr(getattr(prompt_server, "instance", None), "routes", None)


_installed: Host | None = None


def install(host: Host | None) -> None:
    """Set the host that `current` returns; the embedded server and the tests do. None removes it again."""
    global _installed
    _installed = host


def current() -> Host:
    """The program that the nodes run in: the installed one, else the running ComfyUI.

    Raises:
        RuntimeError: nothing was installed and no ComfyUI is running in this process.
    """
    if _installed is not None:
        return _installed
    # Not "importable": merely importing ComfyUI's model management would pick a device and parse its command line.
    if "folder_paths" in sys.modules and "comfy.model_management" in sys.modules:
        return ComfyHost()
    raise RuntimeError(
        "DefectForge nodes need a running host: start them inside ComfyUI or the embedded server "
        "(`defectforge serve`), or call defectforge.nodes.host.install(host) first."
    )


def watched(items: Iterable[T], total: int) -> Iterator[T]:
    """Loop over `items` with a progress bar of `total` steps, letting the user stop between two of them."""
    host = current()
    bar = host.progress(total)
    for item in items:
        host.check_interrupt()
        yield item
        bar.update()
