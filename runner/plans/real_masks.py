"""The real masks of a type, from which new ones are drawn: which of them can be learnt from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ...nodes.algorithms.placement.foreground import find_part
from ...nodes.algorithms.placement.prior import fit_prior
from ...nodes.datasets.names import safe_name
from .photos import Checked, Photo, as_problems, check_photos
from .plan import Input

#: A defect on a photo may look like the background: openings belong to the part.
_ANY_OPENING = 1.0

#: A defect that takes more of its part than this changes the part, and lies nowhere on it.
_WHOLE_PART = 0.5


@dataclass(frozen=True)
class RealMasks:
    """Photos of real defects that a prior can be learnt from, and what was left out, as sentences."""

    photos: tuple[Checked, ...]
    parts: tuple[Checked, ...]
    """The same photos with the masks of their parts, where the user gave them."""
    left_out: tuple[str, ...]


def usable(photos: Sequence[Photo], parts: dict[Photo, Photo], most: int) -> RealMasks:
    """The first `most` photos on which the part is found and the mask lies on it.

    Args:
        photos: with masks of their defects.
        parts: the user's own masks of their parts; none where they are to be found.
        most: how many masks are learnt from.

    Raises:
        RequestError: a photo or a mask cannot be read.
    """
    checked = check_photos([photo for photo in photos[:most]] + [parts[photo] for photo in photos[:most] if parts])
    kept, left_out = [], []
    for photo in photos[:most]:
        with as_problems():
            picture = photo.read()
            mask = photo.read_mask(picture)
            own = parts[photo].read_mask(picture) if parts else None
        assert mask is not None
        try:
            part = own.area if own is not None else find_part(picture.pixels, _ANY_OPENING)
            largest = max(one.share for one in fit_prior([mask.area], [part]).masks)
            if largest > _WHOLE_PART:
                raise ValueError(f"its defect is {largest:.0%} of the part: there is no place to choose for it")
        except ValueError as error:
            left_out.append(f"{photo.relative}: {error}")
        else:
            kept.append(photo)
    return RealMasks(
        tuple(checked[photo] for photo in kept),
        tuple(checked[parts[photo]] for photo in kept if parts),
        tuple(left_out),
    )


def shared_inputs(node_id: str, photos: Sequence[Checked]) -> tuple[Input, ...]:
    """The photos as one folder on the server, by number: photos of several folders may have one name."""
    text = "\n".join(f"{item.photo.type} {item.sha256} {item.mask_sha256}" for item in photos)
    root = f"defectforge/{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    numbers: dict[str, int] = {}
    inputs = []
    for item in photos:
        number = numbers[item.photo.type] = numbers.get(item.photo.type, -1) + 1
        suffix = PurePath(safe_name(item.photo.path.name)).suffix
        inputs.append(Input(node_id, item, root, f"{number:05d}{suffix}"))
    return tuple(inputs)
