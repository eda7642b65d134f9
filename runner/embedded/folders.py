"""The folders of one embedded server: models by kind, input, output, temp, and registered datasets."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

#: Subfolders of a models folder, named as ComfyUI names them, with the file endings that belong there.
MODEL_FOLDERS = (
    "checkpoints",
    "clip_vision",
    "controlnet",
    "diffusion_models",
    "embeddings",
    "loras",
    "text_encoders",
    "vae",
)
#: Kinds whose files may also lie in a folder with their older name, as in ComfyUI.
OLDER_NAMES = {"diffusion_models": ("unet",), "text_encoders": ("clip",)}
MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth"})


def default_models_directory() -> Path:
    """`DEFECTFORGE_MODELS`, or `defectforge/models` in the platform's cache folder."""
    chosen = os.environ.get("DEFECTFORGE_MODELS")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        cache = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "defectforge" / "models"


def model_roots(models: Iterable[Path] = ()) -> list[Path]:
    """Where models are looked for, in this order: the given folders (else the default one), then ComfyUI's own."""
    roots = [Path(root).expanduser() for root in models] or [default_models_directory()]
    # One checkout, or several: the tests take a list.
    for comfyui in filter(None, os.environ.get("COMFYUI_PATH", "").split(os.pathsep)):
        roots.append(Path(comfyui).expanduser() / "models")
    return list(dict.fromkeys(roots))


@dataclass
class Folders:
    """Absolute folders of a server. `models` holds roots, each with ComfyUI's subfolders (`checkpoints`, ...)."""

    input: Path
    output: Path
    temp: Path
    models: list[Path] = field(default_factory=list)
    data: list[Path] = field(default_factory=list)
    _listings: dict[Path, tuple[dict[str, int | None], list[str]]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.input, self.output, self.temp = (Path(p).resolve() for p in (self.input, self.output, self.temp))
        self.models = [Path(root).resolve() for root in self.models]
        self.data = [Path(root).resolve() for root in self.data]

    def create(self) -> None:
        for folder in (self.input, self.output, self.temp):
            folder.mkdir(parents=True, exist_ok=True)

    def by_type(self, kind: str) -> Path:
        """The folder that a file reference's `type` names: input, output or temp."""
        folders = {"input": self.input, "output": self.output, "temp": self.temp}
        if kind not in folders:
            raise ValueError(f"folder type {kind!r} is not one of {', '.join(folders)}")
        return folders[kind]

    def model_filenames(self, folder: str) -> list[str]:
        """Files of one kind of model in all roots, relative to their kind's folder, sorted, `/` between parts."""
        return sorted({name for base in self._places(folder) for name in self._listed(base)})

    def _places(self, folder: str) -> list[Path]:
        """Where the files of one kind lie, those under the kind's own name first."""
        names = (folder, *OLDER_NAMES.get(folder, ()))
        return [root / name for root in self.models for name in names]

    def _listed(self, base: Path) -> list[str]:
        """Model files below a folder. Asked several times for each prompt, so read anew only when a folder changed."""
        seen, names = self._listings.get(base, ({}, []))
        if seen and all(_changed_at(directory) == at for directory, at in seen.items()):
            return names
        seen, names = {}, []
        for directory, _, files in os.walk(base, followlinks=True):
            seen[directory] = _changed_at(directory)
            relative = Path(directory).relative_to(base)
            names += [(relative / name).as_posix() for name in files if Path(name).suffix.lower() in MODEL_SUFFIXES]
        self._listings[base] = seen, names
        return names

    def model_path(self, folder: str, name: str) -> Path:
        """The file that a loader's choice names.

        Raises:
            FileNotFoundError: no root has it; the message names the folders that were searched.
        """
        for base in self._places(folder):
            path = Path(os.path.normpath(base / name))
            if path.is_relative_to(base) and path.is_file():
                return path
        searched = ", ".join(map(str, self._places(folder))) or "no folder at all"
        raise FileNotFoundError(
            f"model {name!r} was not found in {searched}. Put the file there, or start the server with --models FOLDER"
        )


def _changed_at(directory: str) -> int | None:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return None


_lock = threading.Lock()
_current: Folders | None = None


def use(folders: Folders) -> None:
    """Make these the folders of this process."""
    global _current
    with _lock:
        _current = folders


def current() -> Folders:
    if _current is None:
        raise RuntimeError("this process has no folders yet: the embedded server sets them when it starts")
    return _current
