"""The outputs of a plan's shards as one run would have given them: the same numbers, names, journal and manifest.

Files first (each under another name until it is whole, the mask before its image), then all rows of the journal in one
transaction, then the manifest in one step from the journal. Whatever interrupts it, the same command goes on, and the
shards are only read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ...errors import RequestError, StorageError, request_error
from ...explain import of_system
from ..files import part_of, sync_folder, write_whole
from ..hashes import sha256_of
from ..journal import DONE, FAILED, Journal
from ..manifest import line_of
from ..output import MANIFEST
from .choice import Chosen, Shard, check_one_plan, choose, entries, full, open_shard, parts_of, runs

#: Jobs whose files are copied before the next ones are looked at; copies wait for the disk at the same time.
BATCH, COPIERS = 64, 8


@dataclass
class Merged:
    """What a merge found."""

    jobs: int = 0
    done: int = 0
    pairs: int = 0
    copied: int = 0
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Part of the plan -> indices of its jobs that are not done."""
    absent: list[str] = field(default_factory=list)
    """Parts of the plan whose folder was not named."""
    failed: int = 0
    double: list[str] = field(default_factory=list)
    """Ids that several shards hold with the same pictures."""

    @property
    def complete(self) -> bool:
        return not self.missing and not self.absent


def merge(
    out: Path,
    folders: Sequence[Path],
    journal: Journal,
    request: dict[str, Any] | None = None,
    manifest: bool = True,
) -> Merged:
    """Join what is in `folders` into `out`, whose journal is open.

    Args:
        request: what the whole was asked for; by default what the first shard was.
        manifest: write it anew, and count; a caller that goes on merging does it once at the end (`write_manifest`).

    Raises:
        RequestError: no shards of one plan, two of them hold one id or one number with different pictures, or a file is
            not what its record says.
        StorageError: `out` cannot be written.
    """
    with ExitStack() as stack:
        shards = [open_shard(folder, stack) for folder in folders]
        keep = check_one_plan(shards)
        before = journal.kept_before()
        if before is not None and before != keep:
            raise request_error(
                "out.keep_differs",
                f"the shards keep up to {keep} pairs a job, the run in this folder {before}",
                where=str(out),
                expected="shards of the same plan",
                mend="choose another OUT",
            )
        chosen, double = choose(shards, journal)
        found = Merged(double=double)
        try:
            _copy_graphs(shards, out)
            _copy_all(chosen, out, found)
            journal.take_over(entries(chosen), runs(shards, request))
            if manifest:
                write_manifest(out, journal, shards[0].types)
        except OSError as error:
            raise StorageError(of_system(error).problems) from error
        if manifest:
            _count(journal, shards, found, keep)
        return found


# ---- files


def _copy_graphs(shards: Sequence[Shard], out: Path) -> None:
    for shard in shards:
        for path in sorted(shard.folder.glob("workflow-*.json")):
            if not (out / path.name).exists():
                write_whole(out / path.name, path.read_bytes())


def _copy_all(chosen: Iterable[tuple[Shard, str]], out: Path, found: Merged) -> None:
    jobs = iter(full(chosen))
    with ThreadPoolExecutor(COPIERS) as copiers:
        while batch := [item for item in islice(jobs, BATCH)]:
            list(copiers.map(lambda item: _copy_job(item, out), batch))
            for folder in {(out / output["path"]).parent for item in batch for output in item.outputs}:
                sync_folder(folder)
            found.copied += sum(bool(item.outputs) for item in batch)


def _copy_job(item: Chosen, out: Path) -> None:
    """Both files under other names first, then the mask's name, then the image's (their order in the journal)."""
    for output in item.outputs:
        source, part = item.shard.folder / output["path"], part_of(out / output["path"])
        part.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, part)
        except FileNotFoundError:
            raise _lost(item.shard, output, "is not there") from None
        if sha256_of(part) != output["sha256"]:
            part.unlink()
            raise _lost(item.shard, output, "holds other bytes than the journal says")
        with part.open("rb+") as file:
            os.fsync(file.fileno())
    for output in item.outputs:
        os.replace(part_of(out / output["path"]), out / output["path"])


def _lost(shard: Shard, output: dict[str, Any], what: str) -> RequestError:
    return request_error(
        "merge.lost_file",
        f"a file of a shard {what}",
        where=str(shard.folder / output["path"]),
        expected=f"sha256 {output['sha256']}",
        mend=f"run that part again (its folder is continued): --shard {shard.part} --out {shard.folder}",
    )


def write_manifest(out: Path, journal: Journal, types: Sequence[str] = ()) -> None:
    """One line a pair, in the plan's order: what a run on one server appends in this order."""
    path = out / MANIFEST
    part = part_of(path)
    with part.open("wb") as file:
        for text in journal.records_in_order(types):
            found = json.loads(text or "[]")
            for record in found if isinstance(found, list) else [found]:
                file.write(line_of(record))
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    sync_folder(out)


# ---- what is missing


def _count(journal: Journal, shards: Sequence[Shard], found: Merged, keep: int) -> None:
    states = journal.number_of_states()
    found.jobs, found.done = sum(states.values()), states.get(DONE, 0)
    found.failed = states.get(FAILED, 0)
    found.pairs = journal.number_of_pairs()
    parts = parts_of(shards[0])
    given = {shard.part for shard in shards}
    done_before = {run.get("shard") for run in journal.requests()}
    names = [f"{number}/{parts}" for number in range(1, parts + 1)]
    for name in names if parts > 1 else []:
        if name not in given and name not in done_before:
            found.absent.append(name)
    index = _Index(shards[0].types, keep)
    total = shards[0].plan.get("jobs")
    if isinstance(total, int):
        # Also what a run that was killed at its very beginning has not even entered.
        done = bytearray(total)
        for number, type_ in journal.places(done=True):
            if (at := index(number, type_)) < total:
                done[at] = 1
        missing = [at for at in range(total) if not done[at]]
    else:
        missing = sorted(index(number, type_) for number, type_ in journal.places(done=False))
    for at in missing:
        name = names[at % parts]
        if name not in found.absent:
            found.missing.setdefault(name, []).append(at)


@dataclass(frozen=True)
class _Index:
    """The plan's index of a job, from its number and type."""

    types: list[str]
    keep: int

    def __call__(self, number: int, type_: str) -> int:
        place = self.types.index(type_) if type_ in self.types else 0
        return number // self.keep * max(1, len(self.types)) + place
