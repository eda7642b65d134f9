"""A finished job becomes an image and its mask in OUT, both or neither.

Order: fetch to .part, verify, fsync, journal "committing", rename the mask, rename the image, manifest line, journal
"done". The mask goes first: whatever kills the runner, no image stands there without its mask.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import StorageError
from ..explain import of_system
from ..plans.plan import Job
from .files import Listing, part_of, sync_folder, write_synced
from .journal import COMMITTING, Journal
from .journal.schema import AN_IMAGE
from .manifest import Manifest
from .pairs import Fetched, names

PATH = re.compile(r'"path": "([^"\\]*)"')


def _not_written(error: OSError, out: Path) -> StorageError:
    """The system's words, and that the run goes on later: the journal knows what is missing."""
    told = of_system(error).problems[0]
    mend = told.mend if "goes on" in told.mend else f"{told.mend}; the same command goes on where it stopped"
    what = f"the output cannot be written: {told.what}"
    return StorageError(replace(told, code="out.write", what=what, where=told.where or str(out), mend=mend))


@dataclass(frozen=True)
class Made:
    """A job's verified pairs, and what is said of all of them alike."""

    job_id: str
    pairs: tuple[Fetched, ...]
    record: dict[str, Any]


@dataclass
class _Written:
    """The same with the names, as it goes to the disk."""

    id: str
    outputs: list[dict[str, str]] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)


class Committer:
    """Writes into one OUT. Thread-safe as long as each job is committed by one thread.

    A job with several pairs (`keep` above 1) owns as many numbers, from its own on.
    """

    def __init__(self, out: Path, journal: Journal, manifest: Manifest, keep: int = 1) -> None:
        self.out, self._journal, self._manifest, self._keep = out, journal, manifest, keep
        self._root = os.fspath(out)

    def refuse(self, job: Job, refused: list[dict[str, Any]]) -> None:
        """Remember the draws of this round that are not kept."""
        if refused:
            self._journal.refuse(job.id, job.round, job.seed, refused, whole=False)

    def commit_all(self, made: Sequence[Made]) -> list[dict[str, Any]]:
        """Name the pairs of several jobs, or none of them: one sync of journal and manifest for all.

        Returns:
            The record of each job's first pair.

        Raises:
            StorageError: the disk is full or not writable; the jobs can be committed again later.
        """
        jobs = [self._written(job) for job in made]
        outputs = [output for job in jobs for output in job.outputs]
        try:
            for job in jobs:
                for output, data in zip(job.outputs, job.contents, strict=True):
                    _write_part(self._final(output), data)
            with self._journal.together():
                for job in jobs:
                    records: Any = job.records if len(job.records) > 1 else job.records[0]
                    self._journal.committing(job.id, records, job.outputs)
            self._finish([(job.id, job.records, job.outputs) for job in jobs])
        except OSError as error:
            self._withdraw(outputs)
            raise _not_written(error, self.out) from error
        except StorageError:
            self._withdraw(outputs)
            raise
        return [job.records[0] for job in jobs]

    def _written(self, made: Made) -> _Written:
        category, type_, first = self._journal.filed_as(made.job_id)
        job = _Written(made.job_id)
        for place, pair in enumerate(made.pairs):
            image_name, mask_name = names(category, type_, first + place, pair.mask is not None)
            said: dict[str, Any] = {
                **made.record,
                **pair.record,
                "id": f"{made.job_id}-{place + 1}" if place else made.job_id,
                "number": first + place,
                "image": {"path": image_name, "sha256": _sha256(pair.image), "size": list(pair.size)},
                "mask": None,
            }
            if pair.mask is not None and pair.mask_share is not None:
                share = round(pair.mask_share, 6)
                said["mask"] = {"path": mask_name, "sha256": _sha256(pair.mask), "share": share}
                job.outputs.append({"role": "mask", "path": mask_name, "sha256": said["mask"]["sha256"]})
                job.contents.append(pair.mask)
            job.outputs.append({"role": "image", "path": image_name, "sha256": said["image"]["sha256"]})
            job.contents.append(pair.image)
            job.records.append(said)
        return job

    def _final(self, output: dict[str, str]) -> str:
        return f"{self._root}/{output['path']}"

    def _withdraw(self, outputs: list[dict[str, str]]) -> None:
        """Take back what was not named yet: nothing half-written waits for the next run on a full disk."""
        for output in outputs:
            with contextlib.suppress(OSError):
                os.unlink(_part(self._final(output)))

    def _finish(self, jobs: Sequence[tuple[str, list[dict[str, Any]], list[dict[str, str]]]]) -> None:
        folders: dict[str, None] = {}
        for _, _, outputs in jobs:
            for output in outputs:
                final = self._final(output)
                # The folder of a mask before the folder of its image, and the mask's name before the image's.
                folders[os.path.dirname(final)] = None
                with contextlib.suppress(FileNotFoundError):
                    os.replace(_part(final), final)
        for folder in folders:
            sync_folder(folder)
        self._manifest.append(*(record for _, records, _ in jobs for record in records))
        with self._journal.together(durable=False):
            for job_id, _, _ in jobs:
                self._journal.done(job_id)

    def recover(self) -> int:
        """Finish or undo what a killed run left half-way; returns how many jobs were adopted.

        A job whose verified files all lie there (with or without their names) is finished; any other goes back to the
        waiting jobs and its leftovers are removed.
        """
        adopted = 0
        for row in self._journal.in_state(COMMITTING):
            outputs, records = _loaded(row["outputs"]), _records(row["record"])
            if outputs and records and all(self._lies_there(output) for output in outputs):
                self._finish([(row["id"], records, outputs)])
                adopted += 1
            else:
                self._remove(row)
                self._journal.back(row["id"], "half-written")
        there = Listing(self.out)
        for job_id in [
            job_id for job_id, text in self._journal.outputs_done() if not self._stands(job_id, text, there)
        ]:
            self._mend(self._journal.row(job_id), there)
        for row in self._journal.leftovers():
            self._remove(row, there)
        return adopted

    def _stands(self, job_id: str, text: str, there: Listing) -> bool:
        """Whether a job that is done has all its files and lines."""
        # As it was written, so without a parser: there may be a hundred thousand. Anything else is looked at again.
        paths = PATH.findall(text or "")
        if not paths or not there.holds(paths):
            return False
        pairs = text.count(AN_IMAGE)
        if pairs == 1:
            return job_id in self._manifest
        return all((f"{job_id}-{place + 1}" if place else job_id) in self._manifest for place in range(pairs))

    def _mend(self, row: dict[str, Any], there: Listing) -> None:
        outputs, records = _loaded(row["outputs"]), _records(row["record"])
        if outputs == [] and _loaded(row["record"]) == []:
            return  # a review put every pair of it aside
        if outputs and records and all((self.out / output["path"]).is_file() for output in outputs):
            self._manifest.append(*records)
            return
        self._remove(row)
        for record in records or [{"id": row["id"]}]:
            self._manifest.remove(record["id"])
        self._journal.back(row["id"], "deleted")

    def _lies_there(self, output: dict[str, str]) -> bool:
        final = self.out / output["path"]
        candidates = [path for path in (part_of(final), final) if path.is_file()]
        for path in candidates:
            if hashlib.sha256(path.read_bytes()).hexdigest() == output["sha256"]:
                if path == final:
                    part_of(final).unlink(missing_ok=True)
                return True
        return False

    def _remove(self, row: dict[str, Any], there: Listing | None = None) -> None:
        numbers = range(row["number"], row["number"] + self._keep)
        kinds = [
            names(row["category"], row["type"], number, labelled) for number in numbers for labelled in (True, False)
        ]
        for final in dict.fromkeys(name for pair in kinds for name in pair):
            for name in (final, _part(final)):
                if there is None or name in there:
                    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                        os.unlink(self.out / name)


def _part(final: str) -> str:
    return f"{final}.part"


def _write_part(final: str, data: bytes) -> None:
    part = _part(final)
    try:
        try:
            write_synced(part, data)
        except FileNotFoundError:  # the first one in its folder
            os.makedirs(os.path.dirname(final), exist_ok=True)
            write_synced(part, data)
    except BaseException:
        # A full disk gets back what it can; a killed process leaves it to `recover`.
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _records(text: Any) -> list[dict[str, Any]]:
    """The manifest lines that the journal holds for a job: one, or one for each of its pairs."""
    found = _loaded(text)
    return found if isinstance(found, list) else [found] if found else []


def _loaded(text: Any) -> Any:
    """What the journal holds as JSON, or None where somebody changed it."""
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return None
