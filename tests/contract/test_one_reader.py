"""One place opens a photo, one cuts a mask, one knows a layout: read from the imports and calls of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = {
    path.relative_to(ROOT).as_posix(): path for folder in ("nodes", "runner") for path in (ROOT / folder).rglob("*.py")
}

#: The embedded server's own doors: what ComfyUI's core nodes and its /view and /upload/mask do with a picture, exactly.
COMFYUI_S_WAY = {
    "runner/embedded/core_nodes/eight_bits.py",
    "runner/embedded/core_nodes/jpeg.py",
    "runner/embedded/core_nodes/pictures.py",
    "runner/embedded/protocol/files.py",
}

#: What a user's own detector writes: maps of numbers, no photos.
MAPS = {"runner/benefit/detectors/command.py"}

#: Who writes MVTec's folders, or reads our own output, and so has to name them.
WRITERS = {
    "nodes/pairs/files.py",
    "runner/benefit/detectors/command.py",
    "runner/nuts/dataset.py",
    "runner/outputs/export/anomalib.py",
    "runner/outputs/pairs.py",
    "runner/pages/reading.py",
    "runner/plans/job.py",
}


def calls(path: Path, owner: str, name: str) -> bool:
    """Whether a module calls ``owner.name``, as such or as `name` imported from it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    direct = any(
        isinstance(node, ast.Attribute)
        and node.attr == name
        and isinstance(node.value, ast.Name)
        and node.value.id == owner
        for node in ast.walk(tree)
    )
    return direct or any(
        isinstance(node, ast.ImportFrom)
        and (node.module or "").endswith(owner)
        and name in {a.name for a in node.names}
        for node in ast.walk(tree)
    )


def imports(path: Path, module: str, names: set[str]) -> bool:
    return any(
        isinstance(node, ast.ImportFrom)
        and (node.module or "").endswith(module)
        and names & {a.name for a in node.names}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )


def texts(path: Path) -> set[str]:
    """The words in a module's string constants, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return {part for node in constants if id(node) not in said for part in str(node.value).replace("/", " ").split()}


def test_a_picture_file_is_opened_in_one_place():
    opening = {name for name, path in OURS.items() if calls(path, "Image", "open")}
    assert opening - COMFYUI_S_WAY - MAPS == {"nodes/datasets/pictures.py"}


def test_orientation_is_applied_in_one_place():
    turning = {name for name, path in OURS.items() if calls(path, "ImageOps", "exif_transpose")}
    assert turning <= COMFYUI_S_WAY
    assert {n for n, p in OURS.items() if imports(p, "pictures", {"turned", "opened", "orientation_of"})} == {
        "nodes/datasets/masks.py"
    }


def test_a_mask_file_is_cut_in_one_place():
    assert {n for n, p in OURS.items() if imports(p, "masks", {"read_masks"})} == {"nodes/datasets/reader.py"}


def test_a_layout_is_known_in_one_place():
    knowing = {name for name, path in OURS.items() if {"ground_truth", "test_public"} & texts(path)}
    allowed = {"nodes/datasets/layouts.py", *WRITERS}
    # Descriptions and messages name the folders for people.
    talking = {"nodes/dataset_nodes.py", "nodes/output_nodes.py", "runner/plans/photos.py", "runner/nuts/__init__.py"}
    assert knowing <= allowed | talking
    assert "nodes/datasets/layouts.py" in knowing
    shelves = {name for name, path in OURS.items() if imports(path, "layouts", {"Shelf"})}
    assert shelves == {"nodes/datasets/reader.py"}


def test_a_journal_is_opened_in_one_place_to_write_and_in_one_to_read():
    opening = {name for name, path in OURS.items() if calls(path, "sqlite3", "connect")}
    assert opening == {"runner/outputs/journal/database.py", "runner/outputs/shards/reading.py"}


def test_the_reader_loads_neither_torch_nor_comfyui():
    code = (
        "import sys, pkgutil, importlib, defectforge.nodes.datasets as room\n"
        "for module in pkgutil.iter_modules(room.__path__): importlib.import_module(f'{room.__name__}.{module.name}')\n"
        "heavy = {'torch', 'scipy', 'skimage', 'aiohttp', 'comfy_api', 'comfy', 'defectforge.nodes.host'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "set()"
