"""Image and mask pairs on disk: MVTec layout, sharded, and whole or not there at all."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..datasets.names import check_output_name
from .large_png import LargePicture, write_large

#: Pairs in one folder before another is opened: file managers and network shares get slow above that.
SHARD = 1000


@dataclass(frozen=True)
class PairPaths:
    """Where one pair is: folders below the output folder, and its number."""

    image_folder: str
    mask_folder: str
    number: int

    @property
    def image_name(self) -> str:
        """File name of the picture."""
        return f"{self.number:06d}.png"

    @property
    def mask_name(self) -> str:
        """File name of its mask."""
        return f"{self.number:06d}_mask.png"


def pair_paths(prefix: str, category: str, defect_type: str, number: int, labelled: bool = True) -> PairPaths:
    """MVTec layout, with a subfolder for every thousand pairs after the first.

    A picture without a label is none of MVTec's test pictures: it goes to ``<category>/unlabelled/<type>``.
    """
    shard = f"/{number // SHARD:04d}" if number >= SHARD else ""
    head = f"{prefix}/{category}" if prefix else category
    images = "test" if labelled else "unlabelled"
    return PairPaths(f"{head}/{images}/{defect_type}{shard}", f"{head}/ground_truth/{defect_type}{shard}", number)


def safe_prefix(prefix: str) -> str:
    """A prefix as a relative path that stays inside the output folder.

    Raises:
        ValueError: absolute, with a drive, with ``..``, or with a part that some file system cannot hold.
    """
    parts = [part for part in prefix.replace("\\", "/").split("/") if part not in ("", ".")]
    if prefix.startswith(("/", "\\")) or ".." in parts or any(":" in part for part in parts):
        raise ValueError(
            f"filename_prefix: {prefix!r} leads out of the output folder; give a relative path without '..'."
        )
    for part in parts:
        check_output_name(part, "filename_prefix")
    return "/".join(parts)


def save_pair(
    image: Image.Image | LargePicture,
    mask: Image.Image | LargePicture | None,
    output: Path,
    prefix: str,
    category: str,
    defect_type: str,
    texts: Mapping[str, Any],
) -> PairPaths:
    """Write a pair under the next free number; the mask first, so that no image is ever seen without its mask.

    Args:
        image: RGB.
        mask: 8-bit grey, 0 and 255; None for a picture that has no label.
        output: the server's output folder.
        prefix: relative folder, checked by `safe_prefix`.
        category: folder name.
        defect_type: folder name.
        texts: PNG text chunks of the image; values that are not strings are written as JSON.
    """
    labelled = mask is not None
    for number in _free_numbers(output, pair_paths(prefix, category, defect_type, 0, labelled)):
        paths = pair_paths(prefix, category, defect_type, number, labelled)
        image_path = output / paths.image_folder / paths.image_name
        files = [(image_path, image, texts)]
        if mask is not None:
            files.insert(0, (output / paths.mask_folder / paths.mask_name, mask, {}))
        parts = [path.with_name(path.name + ".part") for path, _, _ in files]
        for path, _, _ in files:
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # The exclusive creation claims the number: several servers may share one output folder.
            claim = os.open(parts[0], os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            continue
        os.close(claim)
        try:
            if any(path.exists() for path, _, _ in files):
                continue
            for part, (_, picture, chunks) in zip(parts, files, strict=True):
                _write(picture, part, chunks)
            for part, (path, _, _) in zip(parts, files, strict=True):
                os.replace(part, path)
        finally:
            for part in parts:
                part.unlink(missing_ok=True)
        return paths
    raise AssertionError("unreachable: the numbers do not end")


def _free_numbers(output: Path, first: PairPaths) -> Iterator[int]:
    """Numbers above all that are taken by a picture or a mask."""
    taken = -1
    for folder in (output / first.image_folder, output / first.mask_folder):
        shards = [path for path in folder.glob("[0-9]*") if path.is_dir()]
        # Only the last shard can hold the highest number.
        newest = max(shards, key=lambda path: path.name) if shards else folder
        if newest.is_dir():
            found = (re.fullmatch(r"(\d{6,})(_mask)?\.png", path.name) for path in newest.iterdir())
            taken = max([taken, *(int(match[1]) for match in found if match)])
    while True:
        taken += 1
        yield taken


def _write(picture: Image.Image | LargePicture, path: Path, texts: Mapping[str, Any]) -> None:
    info = PngInfo()
    for key, value in texts.items():
        info.add_text(key, value if isinstance(value, str) else json.dumps(value))
    with path.open("wb") as file:
        if isinstance(picture, LargePicture):
            write_large(file, picture, [(chunk[0], chunk[1]) for chunk in info.chunks])
        else:
            picture.save(file, format="PNG", pnginfo=info, compress_level=4)
        file.flush()
        os.fsync(file.fileno())
