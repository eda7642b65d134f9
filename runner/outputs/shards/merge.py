"""The outputs of a plan's shards as one run would have given them: the same numbers, names, journal and manifest.

Files first (each under another name until it is whole, the mask before its image), then all rows of the journal in one
transaction, then the manifest in one step from the journal. Whatever interrupts it, the same command goes on, and the
shards are only read.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from ....nodes.datasets.names import safe_name
from ...errors import Problem, RequestError, StorageError, request_error
from ...explain import of_system
from ..files import part_of, sync_folder, write_whole
from ..hashes import sha256_of
from ..journal import DONE, FAILED, PENDING, Journal, in_plan_order
from ..manifest import line_of
from ..output import MANIFEST
from .reading import opened

#: Jobs whose files are copied before the next ones are looked at; copies wait for the disk at the same time.
BATCH, COPIERS = 64, 8
#: Numbers that a message names.
NAMED = 20


@dataclass(frozen=True)
class Shard:
    """The output of one part of a plan, open to read."""

    folder: Path
    database: sqlite3.Connection
    request: dict[str, Any]

    @property
    def part(self) -> str | None:
        """'2/8', or None where it is no part of anything."""
        return self.request.get("shard")

    @property
    def keep(self) -> int:
        return int(self.request.get("pairs_a_job", 1))

    @property
    def plan(self) -> dict[str, Any]:
        found = self.request.get("plan")
        return found if isinstance(found, dict) else {}

    @property
    def types(self) -> list[str]:
        """The plan's types in their order, as their folders are called."""
        found = self.request.get("types")
        return [safe_name(str(type_)) for type_ in found] if isinstance(found, list) else []

    def of_job(self, table: str, job_id: str) -> list[dict[str, Any]]:
        return [dict(row) for row in self.database.execute(f"SELECT * FROM {table} WHERE job=?", (job_id,))]


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
        shards = [_shard(folder, stack) for folder in folders]
        keep = _check_one_plan(shards)
        before = journal.kept_before()
        if before is not None and before != keep:
            raise request_error(
                "out.keep_differs",
                f"the shards keep up to {keep} pairs a job, the run in this folder {before}",
                where=str(out),
                expected="shards of the same plan",
                mend="choose another OUT",
            )
        found = Merged()
        chosen = _chosen(shards, journal, found)
        try:
            _copy_graphs(shards, out)
            _copy_all(chosen, out, found)
            journal.take_over(_entries(chosen), _runs(shards, request))
            if manifest:
                write_manifest(out, journal, shards[0].types)
        except OSError as error:
            raise StorageError(of_system(error).problems) from error
        if manifest:
            _count(journal, shards, found, keep)
        return found


def _shard(folder: Path, stack: ExitStack) -> Shard:
    database = stack.enter_context(opened(folder))
    row = database.execute("SELECT request FROM run ORDER BY id DESC LIMIT 1").fetchone()
    try:
        request = json.loads(row["request"]) if row is not None else {}
    except ValueError:
        request = {}
    if not isinstance(request, dict) or not request:
        raise request_error(
            "merge.no_run", "the journal does not say what was asked for", str(folder), "the folder of a run"
        )
    if database.execute("SELECT 1 FROM review LIMIT 1").fetchone() is not None:
        raise request_error(
            "merge.reviewed",
            "pairs of a shard were put aside by a review",
            where=str(folder),
            expected="shards as the runs left them",
            mend=f"take it back with `defectforge review {folder} --undo`, merge, and review the whole",
        )
    return Shard(folder, database, request)


def _check_one_plan(shards: Sequence[Shard]) -> int:
    problems: list[Problem] = []
    first = shards[0]
    for shard in shards[1:]:
        for what, mine, its in (
            ("plan", first.plan.get("sha256"), shard.plan.get("sha256")),
            ("number of parts", _parts(first), _parts(shard)),
            ("number of pairs a job", first.keep, shard.keep),
        ):
            if mine != its:
                problems.append(
                    Problem(
                        "merge.other_plan",
                        f"the {what} is another one than that of '{first.folder}'",
                        where=f"{shard.folder}: {its}, not {mine}",
                        expected="shards of one plan: the same command with --shard 1/N to N/N",
                        mend="leave that folder away, or make that part again",
                    )
                )
                break
    parts: dict[str | None, Shard] = {}
    for shard in shards:
        other = parts.setdefault(shard.part, shard)
        if other is not shard:
            problems.append(
                Problem(
                    "merge.twice",
                    f"two folders are part {shard.part} of the plan",
                    where=f"{other.folder}, {shard.folder}",
                    expected="every part once",
                    mend="leave one of them away",
                )
            )
    if problems:
        raise RequestError(problems)
    return first.keep


def _parts(shard: Shard) -> int:
    return int((shard.part or "1/1").partition("/")[2])


@dataclass(frozen=True)
class _Chosen:
    """One job, and the shard to take it from."""

    shard: Shard
    row: dict[str, Any]
    outputs: list[dict[str, Any]]


def _chosen(shards: Sequence[Shard], journal: Journal, found: Merged) -> list[tuple[Shard, str]]:
    """(shard, id) of every job that OUT has not done yet, by number; a job that is done before one that is not.

    Raises:
        RequestError: one id or one number with different pictures.
    """
    places: dict[str, tuple[Shard, str, str]] = {}  # id -> shard, state, hashes
    numbers: dict[tuple[str, str, int], str] = {}
    problems: list[Problem] = []
    order = heapq.merge(*(_keys(shard, n) for n, shard in enumerate(shards)), key=lambda key: key[:3])
    for number, _, place, category, type_, job_id, state, hashes in order:
        shard = shards[place]
        known = places.get(job_id)
        if known is not None and known[1] == DONE and state == DONE:
            if known[2] != hashes:
                problems.append(_two_pictures(job_id, known[0], shard))
            else:
                found.double.append(job_id)
            continue
        if known is None:
            other = numbers.setdefault((category, type_, number), job_id)
            if other != job_id:
                problems.append(
                    Problem(
                        "merge.number",
                        f"two different pairs have the number {number} of '{type_}'",
                        where=f"{places[other][0].folder}, {shard.folder}",
                        expected="shards of one plan, each made by one and the same command",
                        mend="make the part again whose command was changed on the way, in a folder of its own",
                    )
                )
                continue
        if known is None or state == DONE:
            places[job_id] = (shard, state, hashes)
    for job_id, (shard, state, hashes) in list(places.items()):
        if journal.has(job_id):
            row = journal.row(job_id)
            if row["state"] == DONE:
                if state == DONE and _hashes(row["outputs"]) != hashes:
                    problems.append(_two_pictures(job_id, None, shard))
                del places[job_id]
    if problems:
        raise RequestError(problems[:NAMED])
    return [(shard, job_id) for job_id, (shard, _, _) in places.items()]


def _two_pictures(job_id: str, first: Shard | None, second: Shard) -> Problem:
    where = f"{first.folder if first is not None else 'OUT'}, {second.folder}"
    return Problem(
        "merge.double",
        f"the id {job_id[:16]} is there twice, with different pictures",
        where=where,
        expected="one picture for one id",
        mend="leave one of the folders away; servers of different versions, or a model file that was replaced, do this",
    )


def _keys(shard: Shard, place: int) -> Iterator[tuple[int, int, int, str, str, str, str, str]]:
    order, values = in_plan_order(shard.types)
    types = {type_: n for n, type_ in enumerate(shard.types)}
    rows = shard.database.execute(f"SELECT id, number, category, type, state, outputs FROM job {order}", values)
    for row in rows:
        hashes = _hashes(row["outputs"]) if row["state"] == DONE else ""
        of_type = types.get(row["type"], len(types))
        yield row["number"], of_type, place, row["category"], row["type"], row["id"], row["state"], hashes


def _hashes(outputs: str | None) -> str:
    """What a job's files hold, in few bytes."""
    return ",".join(sorted(f"{output['path']}:{output['sha256'][:16]}" for output in json.loads(outputs or "[]")))


def _full(chosen: Iterable[tuple[Shard, str]]) -> Iterator[_Chosen]:
    for shard, job_id in chosen:
        row = dict(shard.database.execute("SELECT * FROM job WHERE id=?", (job_id,)).fetchone())
        yield _Chosen(shard, row, json.loads(row["outputs"] or "[]") if row["state"] == DONE else [])


def _entries(chosen: Iterable[tuple[Shard, str]]) -> Iterator[dict[str, Any]]:
    """The rows as they go into OUT's journal. What a shard was at when it ended waits again."""
    for item in _full(chosen):
        row = item.row if item.row["state"] in (DONE, FAILED) else {**item.row, "state": PENDING}
        job_id = row["id"]
        yield {
            "job": row,
            "refused": item.shard.of_job("refused", job_id),
            "attempt": item.shard.of_job("attempt", job_id),
        }


def _runs(shards: Sequence[Shard], request: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The runs of every shard, and one that says what they are together."""
    runs = []
    for shard in shards:
        runs += [dict(row) for row in shard.database.execute("SELECT started, request, version FROM run ORDER BY id")]
    first = shards[0].request
    together = {name: value for name, value in first.items() if name not in ("shard", "server")}
    together |= {} if request is None else request
    last = max(runs, key=lambda run: run["started"])
    return [*runs, {**last, "request": json.dumps(together)}]


# ---- files


def _copy_graphs(shards: Sequence[Shard], out: Path) -> None:
    for shard in shards:
        for path in sorted(shard.folder.glob("workflow-*.json")):
            if not (out / path.name).exists():
                write_whole(out / path.name, path.read_bytes())


def _copy_all(chosen: Iterable[tuple[Shard, str]], out: Path, found: Merged) -> None:
    jobs = iter(_full(chosen))
    with ThreadPoolExecutor(COPIERS) as copiers:
        while batch := [item for item in islice(jobs, BATCH)]:
            list(copiers.map(lambda item: _copy_job(item, out), batch))
            for folder in {(out / output["path"]).parent for item in batch for output in item.outputs}:
                sync_folder(folder)
            found.copied += sum(bool(item.outputs) for item in batch)


def _copy_job(item: _Chosen, out: Path) -> None:
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
    parts = _parts(shards[0])
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
