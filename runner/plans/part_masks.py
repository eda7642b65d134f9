"""`--part-masks DIR`: a user's own masks of parts, matched to the photos of a dataset by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ...nodes.datasets.layouts import TEST
from ...nodes.datasets.names import PART, listed, shown
from ...nodes.datasets.reader import Photo
from ..errors import request_error
from .photos import Category, as_problems

#: Names in one message about masks that are not there.
_MOST_NAMED = 10


class PartMasks:
    """The masks of a folder.

    They lie as the photos do, or all in one folder: for the photo ``<category>/<split>/<type>/000.png`` of a dataset
    ``DIR/<category>/<split>/<type>/000.png`` is taken, else that in ``DIR/<split>/<type>``, ``DIR/<category>/<type>``
    or ``DIR/<type>``, and for a good part else that in ``DIR/<category>`` or ``DIR``. A mask may be called
    ``000_mask``, and one photo may have several in a folder ``000``. Masks of reference photos have to lie in a folder
    of their type: numbers start over in each, so one without a folder is a good photo's.

    Raises:
        RequestError: there is no such folder.
    """

    def __init__(self, folder: Path, category: Category) -> None:
        if not folder.is_dir():
            raise request_error(
                "data.part_masks",
                f"there is no folder '{shown(str(folder))}'",
                where=f"--part-masks {shown(str(folder))}",
                expected="a folder of masks named as the photos are",
                mend="check the path",
            )
        self.folder = folder
        self._parts = category.read.with_masks_in(folder)

    def has_type(self, type_: str) -> bool:
        """Whether there is a folder for the photos of a type of defect."""
        return any(shelf.masks for shelf in self._parts.shelves if shelf.split == TEST and shelf.type == type_)

    def of(self, photos: Iterable[Photo]) -> dict[Photo, Photo]:
        """Each photo once more, with the mask of its part in the place of its defect's.

        Raises:
            RequestError: photos without a mask, all at once.
        """
        wanted = list(dict.fromkeys(photos))
        with as_problems():
            kinds = dict.fromkeys((photo.split, photo.type) for photo in wanted)
            again = {photo.path: photo.masks for kind in kinds for photo in self._parts.photos(*kind)}
        found: dict[Photo, Photo] = {}
        missing = []
        for photo in wanted:
            masks = tuple(mask for mask in again[photo.path] if self._is_own(mask, photo))
            if masks:
                found[photo] = replace(photo, split=TEST, type=PART, masks=masks)
            else:
                missing.append(photo.relative)
        if missing:
            raise request_error(
                "data.no_part_mask",
                f"{len(missing)} of {len(missing) + len(found)} photos have no mask of their part: "
                f"{listed(missing, _MOST_NAMED)}",
                where=f"--part-masks {shown(str(self.folder))}",
                expected="a mask for each photo, named as it is (000.png or 000_mask.png), in DIR or in folders as the "
                "photos lie in",
                mend="add them, or choose the photos by --count; without --part-masks the parts are found",
            )
        return found

    def _is_own(self, mask: Path, photo: Photo) -> bool:
        """No ground truth of a defect, which may lie beside its photo, and not the photo itself."""
        return mask.is_relative_to(self.folder) and mask not in photo.masks and mask.resolve() != photo.path.resolve()
