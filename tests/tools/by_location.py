"""Import files by where they lie, as ComfyUI imports a pack: no install is needed, and the folder may have any name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, path: Path, package: bool = False) -> Any:
    """Import a file under a name (tests are no package), or a package by its ``__init__.py``."""
    if name not in sys.modules:
        inside = [str(path.parent)] if package else None
        spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
        assert spec is not None and spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def import_package() -> None:
    """Import this clone as `defectforge`, with the stand-in for ComfyUI's node API."""
    load("defectforge", ROOT / "__init__.py", package=True)
    from defectforge.runner.embedded.api import standin

    standin.install()
