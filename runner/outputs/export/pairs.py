"""The pairs to export: which label, which class, and a split in which no source photo is on both sides."""

from __future__ import annotations

import hashlib
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import request_error
from ..hashes import sha256_of
from ..masks import Mask, from_run_lengths, read_mask_file

TRAIN, VAL = "train", "val"
LABELS = ("recorded", "visible", "requested")


@dataclass(frozen=True)
class Pair:
    """One picture and its label. `name` is unique in the export and free of folders."""

    name: str
    image: Path
    record: dict[str, Any]
    class_name: str
    label: str
    """"recorded": the mask's own file; "requested": the code in the line."""
    mask_file: Path

    @cached_property
    def mask(self) -> Mask:
        """bool ``[H,W]``, the picture's size."""
        wanted = self.label == "requested" and self.record.get("requested") is not None
        mask = from_run_lengths(self.record["requested"]) if wanted else read_mask_file(self.mask_file)
        if mask.shape != (self.size[1], self.size[0]):
            raise request_error(
                "export.mask_size",
                f"the mask is {mask.shape[1]}x{mask.shape[0]}, its picture {self.size[0]}x{self.size[1]}",
                where=str(self.image),
                expected="a mask of the picture's size",
                mend="restore the run's files",
            )
        return mask

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        width, height = self.record["image"]["size"]
        return int(width), int(height)

    @property
    def source_sha256(self) -> str:
        return str(self.record["source"]["sha256"])

    @property
    def source(self) -> Path:
        """Where the photo lay that the pair was made from."""
        return Path(self.record["data"]) / self.record["source"]["file"]


@dataclass(frozen=True)
class Split:
    """Pairs on both sides, and how files get there."""

    train: list[Pair]
    val: list[Pair]
    classes: list[str]
    link: bool = False

    def sides(self) -> list[tuple[str, list[Pair]]]:
        return [(name, pairs) for name, pairs in ((TRAIN, self.train), (VAL, self.val)) if pairs]

    def class_index(self, pair: Pair) -> int:
        return self.classes.index(pair.class_name)

    def place(self, source: Path, target: Path) -> None:
        """A copy, or a symbolic link with an absolute target."""
        target.parent.mkdir(parents=True, exist_ok=True)
        if self.link:
            os.symlink(source.resolve(), target)
        else:
            shutil.copyfile(source, target)


def read_pairs(out: Path, records: Sequence[dict[str, Any]], label: str) -> tuple[list[Pair], list[str]]:
    """The pairs of a run that have the wanted label, and what has to be said about the others.

    Args:
        label: "recorded": what the run wrote as mask; "visible" or "requested": that kind, from lines that have it.

    Raises:
        RequestError: no pair has it, or a file is gone or changed.
    """
    several = len({record["category"] for record in records}) > 1
    pairs, without = [], 0
    for record in records:
        if not _has(record, label):
            without += 1
            continue
        image, mask = out / record["image"]["path"], out / record["mask"]["path"]
        for path, entry in ((image, record["image"]), (mask, record["mask"])):
            if not path.is_file() or sha256_of(path) != entry["sha256"]:
                raise request_error(
                    "export.file_changed",
                    f"a file of the run {'is not the recorded one any more' if path.is_file() else 'is gone'}",
                    where=str(path),
                    expected="the files as the run left them",
                    mend="restore it, or run the same command again: it makes what is missing",
                )
        name = f"{record['category']}-{record['type']}-{Path(record['image']['path']).stem}"
        class_name = f"{record['category']} {record['type']}" if several else record["type"]
        pairs.append(Pair(name, image, record, class_name, label, mask))
    if not pairs:
        raise request_error(
            "export.no_label",
            f"none of {len(records)} pairs has a {label} label" if records else "the run holds no pair",
            where=str(out),
            expected="pairs with a label; lines of 0.1.0 record the requested mask only",
            mend="--label recorded, or paint with a workflow whose label is visible",
        )
    notes = [f"{without} of {len(records)} pairs have no {label} label: left out"] if without else []
    return pairs, notes


def _has(record: dict[str, Any], label: str) -> bool:
    kind = record.get("label", "requested")
    if label == "visible":
        return bool(kind == "visible")
    if label == "requested":
        return bool(record.get("requested") is not None or kind == "requested")
    return bool(kind != "none")


def split_pairs(pairs: Sequence[Pair], val: float, seed: int = 0, link: bool = False) -> tuple[Split, list[str]]:
    """Put whole source photos (by sha256) on one side.

    Args:
        val: share of the source photos for validation, 0 to 1; rounded up, but never all of them unless it is 1.

    Raises:
        RequestError: a share outside 0..1.
    """
    if not 0 <= val <= 1:
        raise request_error("export.val", f"--val {val}", expected="a share from 0 to 1", mend="--val 0.2")
    sources = sorted(
        {p.source_sha256 for p in pairs}, key=lambda sha: hashlib.sha256(f"{seed}|{sha}".encode()).digest()
    )
    count = math.ceil(val * len(sources) - 1e-9)
    notes = []
    if 0 < val < 1 and count == len(sources):
        count = len(sources) - 1
        if not count:
            notes.append("all pairs come from one source photo: all are for training, none for validation")
    chosen = set(sources[:count])
    sides = [[p for p in pairs if (p.source_sha256 in chosen) == is_val] for is_val in (False, True)]
    classes = sorted({p.class_name for p in pairs})
    return Split(sides[0], sides[1], classes, link), notes


def write_mask(mask: NDArray[Any], target: Path, palette: Sequence[int] | None = None) -> None:
    """An 8-bit PNG: bool becomes 0 and 255, numbers stay."""
    target.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask.astype(np.uint8) * (255 if mask.dtype == bool else 1))
    if palette is not None:
        image.putpalette(palette)
    image.save(target)
