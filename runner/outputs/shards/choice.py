"""Which job is taken from which shard: the shards of one plan, each id and each number once, what is done first."""

from __future__ import annotations

import heapq
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....nodes.datasets.names import safe_name
from ...errors import Problem, RequestError, request_error
from ..journal import DONE, FAILED, PENDING, Journal, in_plan_order
from .reading import opened

#: Problems, numbers or ids that a message names.
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


def open_shard(folder: Path, stack: ExitStack) -> Shard:
    """The shard in a folder, open until `stack` ends.

    Raises:
        RequestError: it is no run, one that does not say what was asked for, or one that was reviewed.
    """
    database = stack.enter_context(opened(folder, lasting=True))
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


def check_one_plan(shards: Sequence[Shard]) -> int:
    """How many pairs each job of their plan may give.

    Raises:
        RequestError: shards of several plans, or one part twice.
    """
    problems: list[Problem] = []
    first = shards[0]
    for shard in shards[1:]:
        for what, mine, its in (
            ("plan", first.plan.get("sha256"), shard.plan.get("sha256")),
            ("number of parts", parts_of(first), parts_of(shard)),
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


def parts_of(shard: Shard) -> int:
    """Into how many parts its plan was cut."""
    return int((shard.part or "1/1").partition("/")[2])


@dataclass(frozen=True)
class Chosen:
    """One job, and the shard to take it from."""

    shard: Shard
    row: dict[str, Any]
    outputs: list[dict[str, Any]]


def choose(shards: Sequence[Shard], journal: Journal) -> tuple[list[tuple[Shard, str]], list[str]]:
    """(shard, id) of every job that OUT has not done yet, by number; a job that is done before one that is not.
    And the ids that several shards hold with the same pictures.

    Raises:
        RequestError: one id or one number with different pictures.
    """
    places: dict[str, tuple[Shard, str, str]] = {}  # id -> shard, state, hashes
    numbers: dict[tuple[str, str, int], str] = {}
    problems: list[Problem] = []
    double: list[str] = []
    order = heapq.merge(*(_keys(shard, n) for n, shard in enumerate(shards)), key=lambda key: key[:3])
    for number, _, place, category, type_, job_id, state, hashes in order:
        shard = shards[place]
        known = places.get(job_id)
        if known is not None and known[1] == DONE and state == DONE:
            if known[2] != hashes:
                problems.append(_two_pictures(job_id, known[0], shard))
            else:
                double.append(job_id)
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
    return [(shard, job_id) for job_id, (shard, _, _) in places.items()], double


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


def full(chosen: Iterable[tuple[Shard, str]]) -> Iterator[Chosen]:
    """What the shards' journals hold of each job; read when it is asked for, there may be very many."""
    for shard, job_id in chosen:
        row = dict(shard.database.execute("SELECT * FROM job WHERE id=?", (job_id,)).fetchone())
        yield Chosen(shard, row, json.loads(row["outputs"] or "[]") if row["state"] == DONE else [])


def entries(chosen: Iterable[tuple[Shard, str]]) -> Iterator[dict[str, Any]]:
    """The rows as they go into OUT's journal. What a shard was at when it ended waits again."""
    for item in full(chosen):
        row = item.row if item.row["state"] in (DONE, FAILED) else {**item.row, "state": PENDING}
        job_id = row["id"]
        yield {
            "job": row,
            "refused": item.shard.of_job("refused", job_id),
            "attempt": item.shard.of_job("attempt", job_id),
        }


def runs(shards: Sequence[Shard], request: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The runs of every shard, and one that says what they are together."""
    runs = []
    for shard in shards:
        runs += [dict(row) for row in shard.database.execute("SELECT started, request, version FROM run ORDER BY id")]
    first = shards[0].request
    together = {name: value for name, value in first.items() if name not in ("shard", "server")}
    together |= {} if request is None else request
    last = max(runs, key=lambda run: run["started"])
    return [*runs, {**last, "request": json.dumps(together)}]
