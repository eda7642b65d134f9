"""Datasets in MVTec AD layout: ROOT/<category>/{train/good,test/<type>,ground_truth/<type>}.

Also MVTec AD 2, VisA (converted) and any folder of the same shape; whole splits may be absent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..errors import Problem, RequestError, did_you_mean, request_error

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
GOOD = "good"
LAYOUT = "ROOT/<category>/train/good, ROOT/<category>/test/<type>, ROOT/<category>/ground_truth/<type>"


@dataclass(frozen=True)
class Photo:
    """One picture of a dataset, with its ground-truth mask where it has one."""

    path: Path
    category: str
    split: str
    type: str
    mask: Path | None = None

    @property
    def relative(self) -> str:
        return f"{self.category}/{self.split}/{self.type}/{self.path.name}"


@dataclass(frozen=True)
class Checked:
    """A photo that was read and found sound."""

    photo: Photo
    sha256: str
    mask_sha256: str | None
    size: tuple[int, int]
    bytes: int


def categories(root: Path) -> list[str]:
    """The names under `root` that have the shape of a category."""
    return sorted(child.name for child in _folders(root) if _is_category(child))


def check_root(root: Path) -> None:
    """Raise RequestError unless `root` is a folder that holds at least one category."""
    if not root.is_dir():
        raise request_error(
            "data.not_found",
            f"there is no folder '{root}'",
            where=f"--data {root}",
            expected=f"a folder in MVTec AD layout: {LAYOUT}",
            mend="check the path",
        )
    if categories(root):
        return
    mend = "point --data at the folder that holds the categories"
    if _is_category(root):
        mend = f"this is a category itself: use --data {root.parent} --category {root.resolve().name}"
    raise request_error(
        "data.not_mvtec",
        f"'{root}' is not an MVTec-shaped dataset: no folder in it has train/good or test/<type>",
        where=f"--data {root}",
        expected=LAYOUT,
        mend=mend,
    )


class Category:
    """One category of a dataset."""

    def __init__(self, root: Path, name: str) -> None:
        check_root(root)
        self.root, self.name = root, name
        if name not in categories(root):
            raise request_error(
                "data.unknown_category",
                f"the dataset has no category '{name}'",
                where=f"--data {root}",
                expected=f"a category of that dataset, as {LAYOUT}",
                mend=did_you_mean(name, categories(root), limit=20),
            )

    @property
    def path(self) -> Path:
        return self.root / self.name

    def defect_types(self) -> list[str]:
        return sorted(child.name for child in _folders(self.path / "test") if child.name != GOOD)

    def good_photos(self) -> list[Photo]:
        """Photos of good parts: train/good, or test/good where a dataset has no training split.

        Raises:
            RequestError: there is none.
        """
        for split in ("train", "test"):
            photos = self._photos(split, GOOD)
            if photos:
                return photos
        raise request_error(
            "data.no_good_photos",
            f"category '{self.name}' has no photo of a good part",
            where=f"{self.path / 'train' / GOOD} and {self.path / 'test' / GOOD}",
            expected=f"pictures ({', '.join(sorted(SUFFIXES))})",
            mend="put photos of good parts there",
        )

    def defect_photos(self, type_: str) -> list[Photo]:
        """Photos of one defect type that have a ground-truth mask (those without one are of no use as a reference).

        Raises:
            RequestError: unknown type, or no photo of it has a mask.
        """
        self.check_type(type_)
        photos = self._photos("test", type_)
        with_mask = [photo for photo in photos if photo.mask is not None]
        if with_mask:
            return with_mask
        raise request_error(
            "data.no_reference",
            f"no photo of defect type '{type_}' has a ground-truth mask ({len(photos)} photos without one)",
            where=f"{self.path / 'test' / type_} and {self.path / 'ground_truth' / type_}",
            expected="test/<type>/NAME.png with ground_truth/<type>/NAME_mask.png",
            mend="choose another --type, or put a mask there",
        )

    def check_type(self, type_: str) -> None:
        known = self.defect_types()
        if type_ not in known:
            raise request_error(
                "data.unknown_type",
                f"category '{self.name}' has no defect type '{type_}'",
                where=str(self.path / "test"),
                expected="a defect type of the dataset",
                mend=did_you_mean(type_, known, limit=20),
            )

    def _photos(self, split: str, type_: str) -> list[Photo]:
        folder = self.path / split / type_
        if not folder.is_dir():
            return []
        # Recursive: large datasets are sharded into subfolders.
        found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        paths = sorted(found, key=lambda path: _natural(path.relative_to(folder)))
        return [Photo(path, self.name, split, type_, self._mask_of(path, folder, type_)) for path in paths]

    def _mask_of(self, path: Path, folder: Path, type_: str) -> Path | None:
        if type_ == GOOD:
            return None
        masks = self.path / "ground_truth" / type_ / path.parent.relative_to(folder)
        # MVTec AD and VisA (converted) call it NAME_mask.png; MVTec LOCO-like exports NAME.png.
        for candidate in (f"{path.stem}_mask.png", f"{path.stem}.png"):
            if (masks / candidate).is_file():
                return masks / candidate
        return None


def check_photos(photos: Iterable[Photo]) -> dict[Photo, Checked]:
    """Read and decode every photo and mask once.

    Raises:
        RequestError: every picture that does not decode and every mask of another size, all at once.
    """
    sound: dict[Photo, Checked] = {}
    problems: list[Problem] = []
    for photo in dict.fromkeys(photos):
        try:
            sound[photo] = _checked(photo)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return sound


def _checked(photo: Photo) -> Checked:
    data, size = _decoded(photo.path, "photo")
    mask_sha256 = None
    if photo.mask is not None:
        mask_data, mask_size = _decoded(photo.mask, "mask")
        mask_sha256 = hashlib.sha256(mask_data).hexdigest()
        if mask_size != size:
            raise request_error(
                "data.mask_size",
                f"the mask is {mask_size[0]}x{mask_size[1]}, its photo {size[0]}x{size[1]}",
                where=f"{photo.mask} and {photo.path}",
                expected="a mask of the same size as its photo",
                mend="replace the mask, or take the photo out of the dataset",
            )
    return Checked(photo, hashlib.sha256(data).hexdigest(), mask_sha256, size, len(data))


def _decoded(path: Path, what: str) -> tuple[bytes, tuple[int, int]]:
    try:
        data = path.read_bytes()
        with Image.open(path) as image:
            image.load()
            return data, image.size
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise request_error(
            "data.image_broken",
            f"the {what} cannot be read: {error}",
            where=str(path),
            expected="a whole picture file",
            mend="replace the file, or take it out of the dataset",
        ) from error


def _natural(path: Path) -> tuple[int, list[tuple[int, str]]]:
    """Shallow before deep, and 2.png before 10.png."""
    parts = re.findall(r"\d+|\D+", path.as_posix())
    return len(path.parts), [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return [child for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")]


def _is_category(path: Path) -> bool:
    return (path / "train" / GOOD).is_dir() or bool(_folders(path / "test"))
