"""The photos of a request: which are sources, which are references, and whether each of them can be read at all.

Everything is read through `nodes.datasets`, as the nodes read it; here its errors become the runner's, and what the
reader had to assume becomes notes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath

from ...nodes.datasets import reader
from ...nodes.datasets.errors import ReadError
from ...nodes.datasets.layouts import LAYOUTS, NAMES, TEST, TRAIN, Layout, layout_named
from ...nodes.datasets.names import GOOD, PICTURE_SUFFIXES, nfc, shown, unreadable
from ...nodes.datasets.reader import Photo
from ..errors import Problem, RequestError, did_you_mean, request_error

#: What a person is most likely to have; all of them are in docs/datasets.md.
USUAL = "ROOT/<category>/train/good, ROOT/<category>/test/<type>, ROOT/<category>/ground_truth/<type>"


@dataclass(frozen=True)
class Checked:
    """A photo that was read and found sound. `size` is width and height as the photo is meant to be seen."""

    photo: Photo
    sha256: str
    mask_sha256s: tuple[str, ...]
    size: tuple[int, int]
    bytes: int
    notes: tuple[str, ...] = ()

    @property
    def mask_sha256(self) -> str | None:
        """Of the mask file; of the list of their hashes where there are several (MVTec LOCO)."""
        if len(self.mask_sha256s) > 1:
            return hashlib.sha256("\n".join(self.mask_sha256s).encode()).hexdigest()
        return self.mask_sha256s[0] if self.mask_sha256s else None


@contextmanager
def as_problems() -> Iterator[None]:
    """The reader's errors as the runner's."""
    try:
        yield
    except ReadError as error:
        raise RequestError(problem_of(error)) from error
    except OSError as error:
        raise request_error(
            "data.not_readable",
            f"the dataset cannot be read: {error.strerror or error}",
            where=shown(str(error.filename or "")),
            expected="folders and files that may be read",
            mend="change the permission",
        ) from error


def problem_of(error: ReadError) -> Problem:
    """What the reader says of a file, with the file's name for its subject; `where` holds the whole path."""
    what = f"{PurePath(error.where).name} {error.what}" if error.where else error.what
    return Problem(error.code, what, error.where, error.expected, error.mend)


def categories(root: Path, layout: str | None = None) -> dict[str, reader.Category]:
    """The categories below `root`.

    Raises:
        RequestError: there is no such folder or layout, or no category in it.
    """
    where = f"--data {shown(str(root))}"
    if not root.is_dir():
        raise request_error(
            "data.not_found",
            f"there is no folder '{shown(str(root))}'",
            where=where,
            expected=f"a folder with a dataset, such as {USUAL}",
            mend="check the path",
        )
    wanted = _layout(layout)
    with as_problems():
        found = reader.categories(root, layout=wanted)
        if found:
            return found
        if reader.is_category(root):
            real = root.resolve()
            raise request_error(
                "data.not_mvtec",
                f"'{shown(str(root))}' is the folder of one category",
                where=where,
                expected="the folder that holds the categories",
                mend=f"use --data {shown(str(root.parent))} --category {shown(real.name)}",
            )
        shapes = [wanted] if wanted is not None else list(LAYOUTS)
        raise request_error(
            "data.not_mvtec",
            f"'{shown(str(root))}' is not a dataset in "
            + (f"the layout {wanted.title}" if wanted is not None else "any layout that is known"),
            where=where,
            expected="; ".join(f"{entry.shape} ({entry.title})" for entry in shapes),
            mend="point --data at the folder that holds the categories",
        )


def _layout(name: str | None) -> Layout | None:
    if name is None:
        return None
    try:
        return layout_named(name)
    except ValueError as error:
        raise request_error(
            "data.unknown_layout",
            f"there is no layout '{shown(name)}'",
            where=f"--layout {shown(name)}",
            expected="a layout that is known, or no --layout to find it by what is there",
            mend=did_you_mean(name, NAMES),
        ) from error


class Category:
    """One category of a dataset, as a source of photos.

    Args:
        root: the dataset.
        name: of the category; None takes the only one.
        layout: its layout; None finds it by what is there.

    Raises:
        RequestError: as `categories`; the category is not there, or several are and none is named.
    """

    def __init__(self, root: Path, name: str | None = None, layout: str | None = None) -> None:
        known = categories(root, layout)
        if name is None and len(known) > 1:
            raise request_error(
                "data.which_category",
                f"the dataset has {len(known)} categories",
                where=f"--data {shown(str(root))}",
                expected="--category with one of them",
                mend=did_you_mean("", map(shown, known), limit=20),
            )
        found = next(iter(known.values())) if name is None else known.get(nfc(name))
        if found is None:
            raise request_error(
                "data.unknown_category",
                f"the dataset has no category '{shown(name or '')}'",
                where=f"--data {shown(str(root))}",
                expected=f"a category of that dataset, such as in {USUAL}",
                mend=did_you_mean(name or "", map(shown, known), limit=20),
            )
        self.root, self.name, self.read = root, found.name, found

    @property
    def path(self) -> Path:
        return self.read.folder

    @property
    def notes(self) -> tuple[str, ...]:
        return self.read.notes

    def defect_types(self) -> list[str]:
        return self.read.defect_types()

    def good_photos(self) -> list[Photo]:
        """Photos of good parts: those for training, or those for testing where a dataset has no others.

        Raises:
            RequestError: there is none.
        """
        for split in (TRAIN, TEST):
            photos = self._photos(split, GOOD)
            if photos:
                return photos
        raise request_error(
            "data.no_good_photos",
            f"category '{shown(self.name)}' has no photo of a good part",
            where=shown(str(self.path)),
            expected=f"pictures ({', '.join(PICTURE_SUFFIXES)}), read as {self.read.layout.title}: "
            f"{self.read.layout.shape}",
            mend="put photos of good parts there",
        )

    def defect_photos(self, type_: str) -> list[Photo]:
        """Photos of one defect type that have a ground-truth mask (those without one are of no use as a reference).

        Raises:
            RequestError: unknown type, or no photo of it has a mask.
        """
        self.check_type(type_)
        photos = self._photos(TEST, type_)
        with_mask = self.with_mask(type_)
        if with_mask:
            return with_mask
        raise request_error(
            "data.no_reference",
            f"no photo of defect type '{shown(type_)}' has a ground-truth mask ({len(photos)} photos without one)",
            where=shown(str(self.path)),
            expected=f"photos and masks, read as {self.read.layout.title}: {self.read.layout.shape}",
            mend="choose another --type, or put a mask there",
        )

    def with_mask(self, type_: str) -> list[Photo]:
        """Photos of one type that have a mask; none of a type that is not there."""
        return [photo for photo in self._photos(TEST, type_) if photo.masks]

    def without_mask(self, type_: str) -> int:
        """How many photos of a type have no mask."""
        return sum(not photo.masks for photo in self._photos(TEST, type_))

    def check_type(self, type_: str) -> None:
        known = self.defect_types()
        if nfc(type_) in known:
            return
        lacks = f" ({self.read.layout.title} has {self.read.layout.remark})" if self.read.layout.remark else ""
        raise request_error(
            "data.unknown_type",
            f"category '{shown(self.name)}' has no defect type '{shown(type_)}'{lacks if not known else ''}",
            where=shown(str(self.path)),
            expected="a defect type of the dataset",
            mend=did_you_mean(type_, map(shown, known), limit=20)
            if known
            else "the dataset shows no defect at all: put photos of it, with masks, there as its layout has them",
        )

    def _photos(self, split: str, type_: str) -> list[Photo]:
        with as_problems():
            return self.read.photos(split, type_)


def check_photos(photos: Iterable[Photo]) -> dict[Photo, Checked]:
    """Read and decode every photo and mask once.

    Raises:
        RequestError: every picture that does not decode, every mask that is none, every name that cannot travel, all
            at once.
    """
    sound: dict[Photo, Checked] = {}
    problems: list[Problem] = []
    for photo in dict.fromkeys(photos):
        try:
            with as_problems():
                sound[photo] = _checked(photo)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return sound


def _checked(photo: Photo) -> Checked:
    for path in (photo.path, *photo.masks):
        reason = unreadable(str(path))
        if reason is not None:
            raise ReadError(
                "data.name",
                f"cannot be used: {reason}",
                path,
                expected="names that messages, records and servers can hold",
                mend="Rename it",
            )
    picture = photo.read()
    mask = photo.read_mask(picture)
    notes = picture.notes + (mask.notes if mask is not None else ())
    size = picture.size
    del picture, mask  # a large photo and the bytes of its file need not lie in memory together
    data = photo.path.read_bytes()
    hashes = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in photo.masks)
    return Checked(photo, hashlib.sha256(data).hexdigest(), hashes, size, len(data), notes)


def summed_up(checked: Iterable[Checked]) -> list[str]:
    """The notes of many photos, each kind once: an example, and of how many more the same is true."""
    kinds: dict[str, list[str]] = {}
    for item in checked:
        for note in item.notes:
            example = f"{shown(item.photo.relative)}: {note}"
            kinds.setdefault(re.sub(r"[0-9.e+%-]+|^.*\.\w+: ", "#", note), []).append(example)
    return [
        examples[0] + (f" (so it is with {len(examples) - 1} more)" if len(examples) > 1 else "")
        for examples in kinds.values()
    ]
