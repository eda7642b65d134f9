"""What the server says a job has made, and whether that is what was declared: pairs of an image and its mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...nodes.datasets.errors import ReadError
from ...nodes.datasets.pictures import read_result

FILES_A_FOLDER = 1000

NOTHING_VISIBLE = "nothing is visible"


class NotAPair(Exception):
    """The server says success, but what it gives is not the declared image and mask."""


class NothingKept(Exception):
    """Every draw of the job was refused: no defect is visible, or a threshold is not met.

    Attributes:
        refused: [{"draw": int, "reason": str, "scores": {...}}], as the nodes announce them.
    """

    def __init__(self, refused: list[dict[str, Any]]) -> None:
        self.refused = refused
        reasons = list(dict.fromkeys(str(entry.get("reason", "")) for entry in refused))
        super().__init__("; ".join(reasons[:3]) + ("; ..." if len(reasons) > 3 else ""))

    @property
    def nothing_visible(self) -> bool:
        return all(entry.get("reason") == NOTHING_VISIBLE for entry in self.refused)


@dataclass(frozen=True)
class Announced:
    """What the saver says: references of the files of each pair with its record, and the draws that were refused."""

    pairs: list[dict[str, Any]]
    refused: list[dict[str, Any]]


@dataclass(frozen=True)
class Fetched:
    """One pair as bytes, verified. `mask` is None where the picture has no label on purpose."""

    image: bytes
    mask: bytes | None
    record: dict[str, Any]
    size: tuple[int, int]
    mask_share: float | None


def names(category: str, type_: str, number: int, labelled: bool = True) -> tuple[str, str]:
    """Paths of image and mask below OUT; a subfolder for every further thousand files.

    A picture without a label is none of MVTec's test pictures: it has a folder of its own, and no mask.
    """
    shard = f"{number // FILES_A_FOLDER:04d}/" if number >= FILES_A_FOLDER else ""
    stem = f"{number:06d}"
    return (
        f"{category}/{'test' if labelled else 'unlabelled'}/{type_}/{shard}{stem}.png",
        f"{category}/ground_truth/{type_}/{shard}{stem}_mask.png",
    )


def announced(history: dict[str, Any], saver: str, keep: int = 1) -> Announced:
    """The pairs that the saver announces: [{"image": ref, "mask": ref, "record": {...}}], without "mask" if unlabelled.

    Args:
        history: the job's history entry.
        saver: id of the node that saves.
        keep: most pairs that one job may give.

    Raises:
        NothingKept: all draws were refused.
        NotAPair: the saver did not run (a blocker upstream still counts as success for the server), or too many pairs.
    """
    outputs = history.get("outputs") or {}
    saved = outputs.get(saver) if isinstance(outputs, dict) else None
    saved = saved if isinstance(saved, dict) else {}
    pairs, refused = (saved.get(f"defectforge_{what}") for what in ("pairs", "refused"))
    refused = [entry for entry in refused if isinstance(entry, dict)] if isinstance(refused, list) else []
    if refused and not pairs:
        raise NothingKept(refused)
    if not pairs or not isinstance(pairs, list):
        raise NotAPair("the server reports success, but nothing was saved: a node before 'Save pair' blocked it")
    if len(pairs) > keep:
        wanted = "one" if keep == 1 else f"at most {keep}"
        raise NotAPair(
            f"the job saved {len(pairs)} pairs instead of {wanted}; set the batch size to 1 and use --count, or put "
            "'Keep Best' before the saver"
        )
    for pair in pairs:
        record = pair.get("record") if isinstance(pair, dict) else None
        roles = ("image",) if isinstance(record, dict) and record.get("label") == "none" else ("image", "mask")
        if not isinstance(pair, dict) or not all(isinstance(pair.get(role), dict) for role in roles):
            raise NotAPair(f"the pair is not named as image and mask: {pair!r}")
    return Announced([dict(pair) for pair in pairs], refused)


def verify(
    image: bytes, mask: bytes | None, size: tuple[int, int] | None, may_be_empty: bool
) -> tuple[tuple[int, int], float | None]:
    """(size, share of the mask that is set; None without a mask).

    Raises:
        NotAPair: either does not decode, sizes differ, or the mask is not 0/255, or empty against the declaration.
    """
    pixels, _ = _decoded("image", image)
    found = (pixels.shape[1], pixels.shape[0])
    if size is not None and found != size:
        raise NotAPair(f"the image is {found[0]}x{found[1]}, its source photo {size[0]}x{size[1]}")
    if mask is None:
        return found, None
    levels, mode = _decoded("mask", mask)
    if (levels.shape[1], levels.shape[0]) != found:
        raise NotAPair(f"image {found} and mask {(levels.shape[1], levels.shape[0])} differ in size")
    if mode != "L":
        raise NotAPair(f"the mask has mode {mode}, expected 8-bit grey (L)")
    inside = int((levels == 255).sum())
    if inside + int((levels == 0).sum()) != levels.size:
        raise NotAPair("the mask has other values than 0 and 255")
    if not inside and not may_be_empty:
        raise NotAPair("the mask is empty")
    return found, inside / levels.size


def _decoded(role: str, data: bytes) -> tuple[Any, str]:
    try:
        return read_result(data)
    except ReadError as error:
        raise NotAPair(f"the {role} {error.what}") from error
