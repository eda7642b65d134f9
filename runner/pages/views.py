"""Pictures of a pair for looking at: a strip of four small ones; larger ones of source, difference and outlines."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from scipy import ndimage

from ...nodes.datasets.errors import ReadError
from ...nodes.datasets.pictures import read_photo
from ..errors import DefectForgeError
from ..outputs.masks import Mask, from_run_lengths, read_mask_file
from .reading import Pair

Pixels = NDArray[np.uint8]

CELL, GAP = 192, 4
"""Side of each of the four pictures of a strip (source, label, result, difference), and what is between them."""
LONGEST = 1024
"""Longest side of what the viewer shows beside the result itself."""
INSIDE = 512
"""The same where the pictures are inside the page."""
GAIN = 4
"""A difference of 64 grey levels is white."""
LABEL, REQUEST = (255, 64, 64), (255, 214, 64)


@dataclass
class Views:
    """Addresses for ``src``; None where there is nothing to show."""

    strip: str | None = None
    source: str | None = None
    result: str | None = None
    difference: str | None = None
    outlines: str | None = None
    focus: tuple[float, float] = (0.5, 0.5)
    """Where to look: the middle of the label, or of what was asked for, as shares of width and height."""
    problems: list[str] = field(default_factory=list)
    small: Pixels | None = None
    """The result at 32 px and grey, to find pictures that are alike."""


class Viewer:
    """Makes the pictures of a page into the folder beside it, once: those of an earlier page are taken again."""

    def __init__(self, page: Path, inside: bool) -> None:
        self.page, self.inside = page, inside
        self.folder = page.with_name(f"{page.stem}_files")
        self.longest = INSIDE if inside else LONGEST
        self.used: set[str] = set()

    def all(self, pairs: list[Pair], say: Callable[[int], None]) -> list[Views]:
        """The views of every pair, in their order."""
        if not self.inside:
            self.folder.mkdir(parents=True, exist_ok=True)
        views = []
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for done, view in enumerate(pool.map(self.views, pairs), 1):
                views.append(view)
                say(done)
        self._tidy()
        return views

    def views(self, pair: Pair) -> Views:
        """Read what is there; what is not there or broken is a problem in words."""
        found = Views()
        result = read_picture(pair.image, "picture", pair.record.get("image"), found.problems)
        source = read_picture(pair.source, "source photo", pair.record.get("source"), found.problems)
        label = label_of(pair, found.problems)
        request = request_of(pair, found.problems)
        if result is not None and not self.inside:
            found.result = _address(pair.image, self.page.parent)
        elif result is not None:
            found.result = self._keep("", _jpeg(small(result, self.longest)))
        if source is not None:
            key = _key("source", pair.record.get("source"), pair.source)
            found.source = self._keep(f"{key}.jpg", _jpeg(small(source, self.longest)))
        if result is None:
            found.strip = self._strip(pair, source, None, None, None, None)
            return found
        if source is not None and source.shape != result.shape:
            size = (result.shape[1], result.shape[0])
            source = np.asarray(Image.fromarray(source).resize(size, Image.Resampling.LANCZOS))
        for name, mask in (("label", label), ("requested mask", request)):
            if mask is not None and mask.shape != result.shape[:2]:
                found.problems.append(f"the {name} is {mask.shape[1]}x{mask.shape[0]}, not of the picture's size")
        label, request = (m if m is not None and m.shape == result.shape[:2] else None for m in (label, request))
        difference = None if source is None else _difference(source, result)
        found.strip = self._strip(pair, source, result, label, request, difference)
        if difference is not None:
            found.difference = self._keep(_name(pair, "difference.jpg"), _jpeg(small(difference, self.longest)))
        for mask in (request, label):
            if mask is not None and mask.any():
                rows, places = np.nonzero(mask)
                height, width = mask.shape
                found.focus = (round(float(places.mean()) / width, 4), round(float(rows.mean()) / height, 4))
        if label is not None or request is not None:
            found.outlines = self._keep(_name(pair, "outlines.png"), outlines(label, request, self.longest))
        grey = Image.fromarray(result).convert("L").resize((32, 32), Image.Resampling.BOX)
        found.small = np.asarray(grey)
        return found

    def _strip(
        self,
        pair: Pair,
        source: Pixels | None,
        result: Pixels | None,
        label: Mask | None,
        request: Mask | None,
        difference: Pixels | None,
    ) -> str | None:
        shown = None if result is None else labelled(result, label, request)
        if all(picture is None for picture in (source, shown, result, difference)):
            return None
        sheet = Image.new("RGB", (4 * CELL + 3 * GAP, CELL), (24, 24, 24))
        for place, picture in enumerate((source, shown, result, difference)):
            if picture is not None:
                cell = ImageOps.contain(Image.fromarray(picture), (CELL, CELL), Image.Resampling.BOX)
                sheet.paste(cell, (place * (CELL + GAP) + (CELL - cell.width) // 2, (CELL - cell.height) // 2))
        return self._keep(_name(pair, "strip.jpg"), _jpeg(np.asarray(sheet), 80))

    def _keep(self, name: str, data: bytes) -> str:
        if self.inside:
            kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
            return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        self.used.add(name)
        path = self.folder / name
        if not path.is_file() or path.stat().st_size != len(data) or path.read_bytes() != data:
            path.write_bytes(data)
        return f"{self.folder.name}/{name}"

    def _tidy(self) -> None:
        """Take away the views of pairs that are not on the page any more. Only names that are ours."""
        if self.inside:
            return
        for path in self.folder.iterdir():
            if path.name not in self.used and path.name.endswith(("-strip.jpg", "-difference.jpg", "-outlines.png")):
                path.unlink(missing_ok=True)


def labelled(picture: Pixels, label: Mask | None, request: Mask | None) -> Pixels:
    """The picture, pale, with the label in red and what was asked for as a yellow outline."""
    side = max(picture.shape[:2])
    mixed = picture.astype(np.float32) * 0.55 + 70.0
    if label is not None:
        mixed[label] = mixed[label] * 0.35 + np.array(LABEL, np.float32) * 0.65
    if request is not None:
        mixed[ring(request, max(1, side // CELL))] = REQUEST
    return np.clip(mixed, 0, 255).astype(np.uint8)


def outlines(label: Mask | None, request: Mask | None, longest: int) -> bytes:
    """A transparent PNG: the label's outline in red, that of what was asked for in yellow."""
    height, width = next(m for m in (label, request) if m is not None).shape
    scale = min(1.0, longest / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    index = np.zeros((size[1], size[0]), np.uint8)
    for value, mask in ((2, request), (1, label)):
        if mask is not None:
            reduced = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
            # A part thinner than a pixel of the view stays visible.
            index[ring(np.asarray(reduced) > 0, 1)] = value
    image = Image.fromarray(index)
    image.putpalette([0, 0, 0, *LABEL, *REQUEST])
    data = io.BytesIO()
    image.save(data, "PNG", transparency=0)
    return data.getvalue()


def ring(mask: Mask, width: int) -> Mask:
    """The ring just outside: the defect itself stays free."""
    return np.asarray(ndimage.binary_dilation(mask, iterations=width) & ~mask)


def _difference(source: Pixels, result: Pixels) -> Pixels:
    far = np.abs(source.astype(np.int16) - result).max(-1)
    return np.repeat(np.minimum(far * GAIN, 255).astype(np.uint8)[..., None], 3, -1)


def read_picture(path: Path | None, what: str, entry: Any, problems: list[str]) -> Pixels | None:
    """A picture that a manifest line names; None, and in words why, where it is not there or not that one.

    Args:
        what: it is, as the words call it.
        entry: what the line says of it, with its sha256.
    """
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        problems.append(f"the {what} is not there: {path}")
        return None
    except (OSError, ValueError) as error:
        problems.append(f"the {what} cannot be read: {path}: {error}")
        return None
    expected = entry.get("sha256") if isinstance(entry, dict) else None
    if expected and hashlib.sha256(data).hexdigest() != expected:
        problems.append(f"the {what} is not the one that the line names (sha256): {path}")
    try:
        return read_photo(data).pixels
    except ReadError as error:
        problems.append(f"the {what} {error.what}: {path}")
        return None


def label_of(pair: Pair, problems: list[str]) -> Mask | None:
    """The pair's label; None, and in words why, where it cannot be read."""
    if pair.mask is None:
        return None
    if not pair.mask.is_file():
        problems.append(f"the mask is not there: {pair.mask}")
        return None
    try:
        return read_mask_file(pair.mask)
    except DefectForgeError as error:
        problems.append(f"{error.problems[0].what}: {pair.mask}")
        return None


def request_of(pair: Pair, problems: list[str]) -> Mask | None:
    """The mask that was asked for, where the line holds it."""
    code = pair.record.get("requested")
    if code is None:
        return None
    try:
        return from_run_lengths(code)
    except DefectForgeError as error:
        problems.append(error.problems[0].what)
        return None


def _key(role: str, entry: Any, path: Path | None) -> str:
    sha = entry.get("sha256") if isinstance(entry, dict) else None
    text = sha if isinstance(sha, str) and sha.isalnum() else hashlib.sha256(os.fsencode(str(path))).hexdigest()
    return f"{role}-{text[:16]}"


def _name(pair: Pair, what: str) -> str:
    # Not the id itself: a manifest may hold any text as one.
    return f"{hashlib.sha256(pair.id.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}-{what}"


def small(picture: Pixels, longest: int) -> Pixels:
    """A picture with no side above `longest` px."""
    if max(picture.shape[:2]) <= longest:
        return picture
    image = Image.fromarray(picture)
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return np.asarray(image)


def _jpeg(picture: Pixels, quality: int = 90) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "JPEG", quality=quality, subsampling=0 if quality >= 90 else 2)
    return data.getvalue()


def _address(path: Path | None, base: Path) -> str | None:
    """A relative address as a page may write it: any character of a name may be in it."""
    return None if path is None else quote(os.fsencode(Path(os.path.relpath(path, base)).as_posix()))
