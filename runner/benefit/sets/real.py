"""The real photos: which ones training may see, which ones test, and which real defects are given as references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ....nodes.datasets.names import GOOD
from ....nodes.datasets.reader import Photo
from ...errors import did_you_mean, request_error
from ...outputs.hashes import sha256_of
from ...plans.photos import Category, as_problems
from .pictures import Mask, Picture, brought_to, small_mask

Names = Sequence[str]


@dataclass(frozen=True)
class RealPhoto:
    """A photo of the real set. `truth` is None where nobody has drawn a mask; a good photo's is empty."""

    name: str
    """Its address in the layout: ``hazelnut/test/hole/000.png``."""
    path: Path
    is_defect: bool
    picture: Picture
    truth: Mask | None
    sha256: str
    pixels: str
    mask_sha256: str | None = None
    mask_path: Path | None = None

    @property
    def hashes(self) -> set[str]:
        return {self.sha256, self.pixels} | ({self.mask_sha256} if self.mask_sha256 else set())


@dataclass(frozen=True)
class RealSet:
    """Good photos to train on, references (real defects that training may see), photos to test."""

    root: Path
    category: str
    type: str
    good: list[RealPhoto]
    references: list[RealPhoto]
    test: list[RealPhoto]
    notes: list[str] = field(default_factory=list)
    other_good: frozenset[str] = frozenset()
    """sha256 of the good photos that were left out of an even choice: they belong to the set all the same."""

    @property
    def test_defects(self) -> list[RealPhoto]:
        return [photo for photo in self.test if photo.is_defect]

    @property
    def test_good(self) -> list[RealPhoto]:
        return [photo for photo in self.test if not photo.is_defect]


def read_real(
    root: Path, category: str | None, type_: str | None, size: int, references: Names | int | None, most_good: int
) -> RealSet:
    """Read a dataset and split its defects.

    Args:
        references: names (without suffix) of the defect photos that training may see, or how many, from the first in
            the order of their names; None: a third of them, as the field's papers do. They are never tested.
        most_good: of more good photos than that, an even choice is taken, and it is said.

    Raises:
        RequestError: no such category or type, too few photos, a name that does not exist.
    """
    found = Category(root, category)
    type_ = _type(found, type_)
    good = _photos(found, "train", GOOD)
    defects, test_good = _photos(found, "test", type_), _photos(found, "test", GOOD)
    notes: list[str] = []
    other_good: frozenset[str] = frozenset()
    if len(good) < 2:
        raise request_error(
            "benefit.no_good_photos",
            f"{len(good)} photo{'s' * (len(good) != 1)} of good parts to train on",
            where=str(found.path / "train" / GOOD),
            expected="at least two; a detector of this kind wants some dozens",
            mend="put photos of good parts there",
        )
    seen, tested = _split(defects, references, found, type_)
    if not test_good:
        notes.append("no good photos to test (test/good): image AUROC is not measured")
    if len(good) > most_good:
        notes.append(f"{most_good} of {len(good)} good photos are taken, evenly (--good)")
        other_good = frozenset(sha256_of(photo.path) for photo in good)
        good = [good[i] for i in np.linspace(0, len(good) - 1, most_good).round().astype(int)]
    without = [photo for photo in tested if not photo.masks]
    if len(without) == len(tested):
        notes.append(f"no photo of '{type_}' to test has a mask: pixel measures and PRO are not measured")
    elif without:
        notes.append(f"{len(without)} of {len(tested)} defect photos to test have no mask: they count per image only")
    return RealSet(
        root,
        found.name,
        type_,
        [_read(photo, size) for photo in good],
        [_read(photo, size) for photo in seen],
        [_read(photo, size) for photo in tested + test_good],
        notes,
        other_good,
    )


def _type(category: Category, name: str | None) -> str:
    known = category.defect_types()
    with_masks = [type_ for type_ in known if any(photo.masks for photo in _photos(category, "test", type_))]
    if name is None and len(with_masks) == 1:
        name = with_masks[0]
    if name is None:
        raise request_error(
            "benefit.no_type",
            "--type is missing",
            where=str(category.path),
            expected="one of the dataset's defect types",
            mend=did_you_mean("", known, limit=20),
        )
    category.check_type(name)
    return name


def _photos(category: Category, split: str, type_: str) -> list[Photo]:
    """The only door to the dataset's reader: also photos without a mask, and an empty list for a missing folder."""
    return category._photos(split, type_)


def _split(
    defects: list[Photo], references: Names | int | None, category: Category, type_: str
) -> tuple[list[Photo], list[Photo]]:
    where = f"{category.path}, type {type_}"
    with_mask = [photo for photo in defects if photo.masks]
    if references is None:
        references = len(with_mask) // 3
    if isinstance(references, int):
        seen = with_mask[:references]
        if len(seen) < references:
            raise request_error(
                "benefit.few_references",
                f"{references} references are wanted, {len(seen)} defect photos have a mask",
                where,
                "a number that leaves photos to test",
                "lower --references",
            )
    else:
        by_stem = {photo.path.stem: photo for photo in defects}
        for name in references:
            if name not in by_stem or not by_stem[name].masks:
                raise request_error(
                    "benefit.unknown_reference",
                    f"there is no defect photo '{name}' with a mask",
                    where,
                    "names without suffix, such as --references 000,001",
                    did_you_mean(name, (photo.path.stem for photo in with_mask)),
                )
        seen = [by_stem[name] for name in dict.fromkeys(references)]
    tested = [photo for photo in defects if photo not in seen]
    if not tested:
        raise request_error(
            "benefit.nothing_to_test",
            f"no defect photo is left to test: {len(defects)} in all, {len(seen)} given as references",
            where,
            "at least one real defect that no step has seen; a dozen for intervals that say something",
            "lower --references, or add real photos",
        )
    return seen, tested


def _read(photo: Photo, size: int) -> RealPhoto:
    with as_problems():
        picture = photo.read()
        mask = photo.read_mask(picture)
    read = brought_to(picture.pixels, size)
    is_defect = photo.type != GOOD
    truth = None if is_defect else np.zeros((size, size), bool)
    if mask is not None:
        truth = small_mask(mask.area, size, read, photo.masks[0])
    return RealPhoto(
        photo.relative,
        photo.path,
        is_defect,
        read.picture,
        truth,
        sha256_of(photo.path),
        read.pixels,
        sha256_of(photo.masks[0]) if photo.masks else None,
        photo.masks[0] if photo.masks else None,
    )
