"""A finished job becomes an image and its mask in OUT, both or neither.

Order: fetch to .part, verify, fsync, journal "committing", rename the mask, rename the image, manifest line, journal
"done". The mask goes first: whatever kills the runner, no image stands there without its mask.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...nodes.datasets.errors import ReadError
from ...nodes.datasets.pictures import read_result
from ..errors import StorageError
from ..explain import of_system
from .files import part_of, sync_folder, write_synced
from .journal import COMMITTING, DONE, PENDING, SUBMITTED, Journal
from .manifest import Manifest

FILES_A_FOLDER = 1000


class NotAPair(Exception):
    """The server says success, but what it gives is not the declared image and mask."""


@dataclass(frozen=True)
class Fetched:
    """One pair as bytes, verified."""

    image: bytes
    mask: bytes
    record: dict[str, Any]
    size: tuple[int, int]
    mask_share: float


def names(category: str, type_: str, number: int) -> tuple[str, str]:
    """Paths of image and mask below OUT; a subfolder for every further thousand files."""
    shard = f"{number // FILES_A_FOLDER:04d}/" if number >= FILES_A_FOLDER else ""
    stem = f"{number:06d}"
    return (
        f"{category}/test/{type_}/{shard}{stem}.png",
        f"{category}/ground_truth/{type_}/{shard}{stem}_mask.png",
    )


def pair_references(history: dict[str, Any], saver: str) -> dict[str, Any]:
    """The one pair that the saver announces: {"image": ref, "mask": ref, "record": {...}}.

    Raises:
        NotAPair: the saver did not run (a blocker upstream still counts as success for the server), or not one pair.
    """
    outputs = history.get("outputs") or {}
    saved = outputs.get(saver) if isinstance(outputs, dict) else None
    pairs = saved.get("defectforge_pairs") if isinstance(saved, dict) else None
    if not pairs or not isinstance(pairs, list):
        raise NotAPair("the server reports success, but nothing was saved: a node before 'Save pair' blocked it")
    if len(pairs) != 1:
        raise NotAPair(f"the job saved {len(pairs)} pairs instead of one; set the batch size to 1, use --count")
    pair = pairs[0]
    if not isinstance(pair, dict) or not all(isinstance(pair.get(role), dict) for role in ("image", "mask")):
        raise NotAPair(f"the pair is not named as image and mask: {pair!r}")
    return dict(pair)


def verify(
    image: bytes, mask: bytes, size: tuple[int, int] | None, may_be_empty: bool
) -> tuple[tuple[int, int], float]:
    """(size, share of the mask that is set).

    Raises:
        NotAPair: either does not decode, sizes differ, or the mask is not 0/255, or empty against the declaration.
    """
    opened = []
    for role, data in (("image", image), ("mask", mask)):
        try:
            pixels, mode = read_result(data)
        except ReadError as error:
            raise NotAPair(f"the {role} {error.what}") from error
        opened.append((pixels.shape[1], pixels.shape[0]))
    first, second = opened
    if first != second:
        raise NotAPair(f"image {first} and mask {second} differ in size")
    if size is not None and first != size:
        raise NotAPair(f"the image is {first[0]}x{first[1]}, its source photo {size[0]}x{size[1]}")
    if mode != "L":
        raise NotAPair(f"the mask has mode {mode}, expected 8-bit grey (L)")
    levels = pixels
    inside = int((levels == 255).sum())
    if inside + int((levels == 0).sum()) != levels.size:
        raise NotAPair("the mask has other values than 0 and 255")
    if not inside and not may_be_empty:
        raise NotAPair("the mask is empty")
    return first, inside / levels.size


def _not_written(error: OSError, out: Path) -> StorageError:
    """The system's words, and that the run goes on later: the journal knows what is missing."""
    told = of_system(error).problems[0]
    mend = told.mend if "goes on" in told.mend else f"{told.mend}; the same command goes on where it stopped"
    what = f"the output cannot be written: {told.what}"
    return StorageError(replace(told, code="out.write", what=what, where=told.where or str(out), mend=mend))


class Committer:
    """Writes into one OUT. Thread-safe as long as each job is committed by one thread."""

    def __init__(self, out: Path, journal: Journal, manifest: Manifest) -> None:
        self.out, self._journal, self._manifest = out, journal, manifest

    def commit(self, job_id: str, fetched: Fetched, record: dict[str, Any]) -> dict[str, Any]:
        """Raises StorageError if the disk is full or not writable; the job can be committed again later."""
        row = self._journal.row(job_id)
        image_name, mask_name = names(row["category"], row["type"], row["number"])
        outputs = [
            {"role": "mask", "path": mask_name, "sha256": hashlib.sha256(fetched.mask).hexdigest()},
            {"role": "image", "path": image_name, "sha256": hashlib.sha256(fetched.image).hexdigest()},
        ]
        record = {
            **record,
            "id": job_id,
            "number": row["number"],
            "image": {"path": image_name, "sha256": outputs[1]["sha256"], "size": list(fetched.size)},
            "mask": {"path": mask_name, "sha256": outputs[0]["sha256"], "share": round(fetched.mask_share, 6)},
        }
        try:
            for output, data in zip(outputs, (fetched.mask, fetched.image), strict=True):
                _write_part(self.out / output["path"], data)
            self._journal.committing(job_id, record, outputs)
            self._finish(job_id, record, outputs)
        except OSError as error:
            self._withdraw(outputs)
            raise _not_written(error, self.out) from error
        return record

    def _withdraw(self, outputs: list[dict[str, str]]) -> None:
        """Take back what was not named yet: nothing half-written waits for the next run on a full disk."""
        for output in outputs:
            with contextlib.suppress(OSError):
                part_of(self.out / output["path"]).unlink(missing_ok=True)

    def _finish(self, job_id: str, record: dict[str, Any], outputs: list[dict[str, str]]) -> None:
        for output in outputs:
            final = self.out / output["path"]
            part = part_of(final)
            if part.exists():
                os.replace(part, final)
            sync_folder(final.parent)
        self._manifest.append(record)
        self._journal.done(job_id)

    def recover(self) -> int:
        """Finish or undo what a killed run left half-way; returns how many jobs were adopted.

        A job whose verified files all lie there (with or without their names) is finished; any other goes back to the
        waiting jobs and its leftovers are removed.
        """
        adopted = 0
        for row in self._journal.in_state(COMMITTING):
            outputs, record = _loaded(row["outputs"]), _loaded(row["record"])
            if outputs and record and all(self._lies_there(output) for output in outputs):
                self._finish(row["id"], record, outputs)
                adopted += 1
            else:
                self._remove(row)
                self._journal.back(row["id"], "half-written")
        for row in self._journal.in_state(DONE):
            outputs, record = _loaded(row["outputs"]), _loaded(row["record"])
            if outputs and record and all((self.out / output["path"]).is_file() for output in outputs):
                self._manifest.append(record)
            else:
                self._remove(row)
                self._manifest.remove(row["id"])
                self._journal.back(row["id"], "deleted")
        for row in self._journal.in_state(PENDING) + self._journal.in_state(SUBMITTED):
            self._remove(row)
        return adopted

    def _lies_there(self, output: dict[str, str]) -> bool:
        final = self.out / output["path"]
        candidates = [path for path in (part_of(final), final) if path.is_file()]
        for path in candidates:
            if hashlib.sha256(path.read_bytes()).hexdigest() == output["sha256"]:
                if path == final:
                    part_of(final).unlink(missing_ok=True)
                return True
        return False

    def _remove(self, row: dict[str, Any]) -> None:
        for name in names(row["category"], row["type"], row["number"]):
            final = self.out / name
            for path in (final, part_of(final)):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    path.unlink()


def _write_part(final: Path, data: bytes) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_synced(part_of(final), data)
    except BaseException:
        # A full disk gets back what it can; a killed process leaves it to `recover`.
        with contextlib.suppress(OSError):
            part_of(final).unlink(missing_ok=True)
        raise


def _loaded(text: Any) -> Any:
    """What the journal holds as JSON, or None where somebody changed it."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None
