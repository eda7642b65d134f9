"""The photos that are trained on: chosen, checked and recorded; read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...nodes.datasets.layouts import TEST
from ...nodes.datasets.names import shown, stem_of
from ...nodes.datasets.reader import Photo
from ..errors import did_you_mean, request_error
from ..plans.photos import Category, Checked, check_photos, summed_up
from .settings import MOST_GOOD, MOST_PHOTOS

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingPhotos:
    """Photos with a defect and their masks, and photos of good parts; all of them were read once and are sound."""

    category: str
    type: str
    defects: tuple[Checked, ...]
    good: tuple[Checked, ...]

    def record(self) -> dict[str, Any]:
        """Addresses and sha256 of every file that is looked at."""
        return {
            "category": self.category,
            "type": self.type,
            "photos": [_entry(checked) for checked in self.defects],
            "good_photos": [_entry(checked) for checked in self.good],
        }


def _entry(checked: Checked) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": checked.photo.relative, "sha256": checked.sha256}
    if checked.mask_sha256s:
        entry["mask_sha256s"] = list(checked.mask_sha256s)
    return entry


def choose(
    root: Path,
    category: str | None,
    type_: str,
    say: Say,
    *,
    layout: str | None = None,
    only: str | None = None,
    with_good: bool = True,
) -> TrainingPhotos:
    """The first photos of a defect type with masks (at most `MOST_PHOTOS`), or those that `only` names by their stems.

    Raises:
        RequestError: no such dataset, category or type; no photo with a mask; a photo or mask that cannot be read or
            marks nothing; a name in `only` that is none.
    """
    found = Category(root, category, layout)
    for note in found.notes:
        say(note)
    photos = found.defect_photos(type_)
    if without := found.without_mask(type_):
        say(f"{without} photos of '{shown(type_)}' have no mask: they are not trained on")
    photos = _named(photos, only) if only else photos[:MOST_PHOTOS]
    good = _spread(found.good_photos(), MOST_GOOD) if with_good else []
    checked = check_photos([*photos, *good])
    for note in summed_up(checked.values()):
        say(note)
    of_type = found.read.count(TEST, type_) - without
    if not only and of_type > MOST_PHOTOS:
        say(f"{of_type} photos have a mask: the first {MOST_PHOTOS} are trained on; --photos chooses others")
    if len(photos) == 1:
        say(
            "there is only one photo to learn from: the adapter will repeat this one defect. Draw it with a strength "
            "below 1, and expect little variety"
        )
    return TrainingPhotos(
        found.name, photos[0].type, tuple(checked[p] for p in photos), tuple(checked[p] for p in good)
    )


def _named(photos: Sequence[Photo], only: str) -> list[Photo]:
    wanted = [text.strip() for text in only.split(",") if text.strip()]
    by_stem = {stem_of(photo.path.name): photo for photo in photos}
    missing = [name for name in wanted if name not in by_stem]
    if missing or not wanted:
        name = missing[0] if missing else only
        raise request_error(
            "lora.unknown_photo",
            f"there is no photo '{shown(name)}' with a mask",
            where=f"--photos {shown(only)}",
            expected="names of photos of that type without their ending, with commas between them",
            mend=did_you_mean(name, map(shown, by_stem)),
        )
    chosen = [by_stem[name] for name in dict.fromkeys(wanted)]
    if len(chosen) > MOST_PHOTOS:
        raise request_error(
            "lora.too_many_photos",
            f"{len(chosen)} photos are named",
            where="--photos",
            expected=f"1 to {MOST_PHOTOS}",
            mend="name fewer: a few different defects say more than many alike",
        )
    return chosen


def _spread(photos: Sequence[Photo], most: int) -> list[Photo]:
    """At most so many, evenly over all of them: a series often changes from its beginning to its end."""
    if len(photos) <= most:
        return list(photos)
    return [photos[i * len(photos) // most] for i in range(most)]
