"""Marks of a person applied to a run: rejected pairs leave the dataset, others get their right type, and back again.

The journal says first what is wanted of each pair, then files move, then the manifest is written anew, then the journal
says that it is so. Whatever kills the program in between, the next review or run of the folder does the rest. A review
keeps the manifest line as it was and where it stood: undone, the folder is what it was, byte for byte.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import Problem, RequestError, first_of, quoted, request_error
from .files import sync_folder, write_whole
from .journal import Journal
from .manifest import Manifest, line_of
from .marks import KEEP, REJECT, RELABEL, Mark
from .output import JOURNAL, MANIFEST, no_run

NONE = "none"
"""Nothing is wanted of a pair any more: it goes back, and the journal forgets it."""
REJECTED = "rejected"
"""Folder below OUT where rejected pairs lie, each under its own path."""


def apply_marks(out: Path, marks: Mapping[str, Mark]) -> dict[str, int]:
    """Do what the marks say; how many pairs were put aside, relabelled, brought back, or stay as they are.

    Raises:
        RequestError: no run, a run in progress, or a pair that the folder does not know: nothing was changed.
        OSError: the disk; the next review or run does the rest.
    """
    with _journal(out) as journal:
        settle(out, journal)
        lines = _lines(out)
        before = {review["pair"]: review for review in journal.reviews()}
        order = [pair for pair, _ in _whole(lines, before.values())]
        unknown = [pair for pair in marks if pair not in lines and pair not in before]
        if unknown:
            raise _unknown(out, unknown)
        wanted, counts = [], dict.fromkeys(("rejected", "relabelled", "brought back", "left as they are"), 0)
        for pair, mark in marks.items():
            old = before.get(pair)
            line = old["line"] if old else lines[pair].decode()
            record = json.loads(line)
            kind = NONE if mark.kind == KEEP or mark.type == record["type"] else mark.kind
            if (kind, mark.type if kind == RELABEL else None) == ((old["kind"], old["type"]) if old else (NONE, None)):
                counts["left as they are"] += 1
                continue
            counts[{REJECT: "rejected", RELABEL: "relabelled", NONE: "brought back"}[kind]] += 1
            places = json.loads(old["places"]) if old else []
            places += [place for place in _places(record, kind, mark.type) if place not in places]
            wanted.append(
                {
                    "pair": pair,
                    "job": pair.partition("-")[0],
                    "kind": kind,
                    "type": mark.type if kind == RELABEL else None,
                    "position": old["position"] if old else order.index(pair),
                    "line": line,
                    "places": json.dumps(places),
                }
            )
        _do(out, journal, wanted)
        return counts


def undo(out: Path, only: Iterable[str] | None = None) -> int:
    """Bring back what reviews put aside or relabelled; returns how many pairs.

    Args:
        only: these pairs; by default all.

    Raises:
        RequestError: no run, a run in progress, or a pair that no review changed.
    """
    with _journal(out) as journal:
        settle(out, journal)
        before = {review["pair"]: review for review in journal.reviews()}
        chosen = list(before) if only is None else list(only)
        unknown = [pair for pair in chosen if pair not in before]
        if unknown:
            raise _unknown(out, unknown)
        _do(out, journal, [before[pair] | {"kind": NONE, "type": None} for pair in chosen])
        return len(chosen)


def settle(out: Path, journal: Journal) -> None:
    """Do what the journal says is wanted of pairs and was not done yet: files, manifest, journal, in this order."""
    reviews = journal.reviews()
    todo = [review for review in reviews if not review["settled"]]
    if not todo:
        return
    for review in todo:
        _move(out, review)
    lines = _lines(out)
    wanted = {review["pair"]: review for review in reviews}
    changed = []
    for pair, line in _whole(lines, reviews):
        if pair not in wanted:
            changed.append(line)
        elif wanted[pair]["kind"] != REJECT:
            changed.append(_rewritten(wanted[pair]))
    write_whole(out / MANIFEST, b"".join(changed))
    jobs = {review["job"] for review in todo}
    journal.settle({job: _job(journal.row(job), reviews) for job in jobs if journal.has(job)})


def _do(out: Path, journal: Journal, wanted: list[dict[str, Any]]) -> None:
    _check_free(out, wanted)
    journal.want(wanted)
    settle(out, journal)


@contextlib.contextmanager
def _journal(out: Path) -> Any:
    if not (out / JOURNAL).is_file() or not (out / MANIFEST).is_file():
        missing = JOURNAL if not (out / JOURNAL).is_file() else MANIFEST
        raise no_run(out, "review.no_run", f"there is no {missing}")
    journal = Journal(out / JOURNAL)
    try:
        yield journal
    finally:
        journal.close()


def _unknown(out: Path, pairs: list[str]) -> RequestError:
    listed = first_of([quoted(pair) for pair in pairs], 5)
    return request_error(
        "review.unknown_pair",
        f"{len(pairs)} of the marked pairs are not there: {listed}",
        where=str(out),
        expected="marks of a page made from this folder",
        mend="make the page anew (`defectforge report`), or give the folder that the marks name",
    )


def _lines(out: Path) -> dict[str, bytes]:
    """Every line of the manifest as it stands, by its pair. One that a crash tore at the end is cut off, as a run does.

    Raises:
        RequestError: a line in the middle is no record.
    """
    path = out / MANIFEST
    Manifest(path)
    found = [line for line in (path.read_bytes() if path.exists() else b"").split(b"\n") if line.strip()]
    lines = {json.loads(line)["id"]: line + b"\n" for line in found}
    if len(lines) != len(found):
        raise request_error(
            "review.twice",
            "the manifest names a pair twice",
            where=str(path),
            expected="each pair once, as a run writes it",
            mend="take one of the lines out",
        )
    return lines


def _whole(lines: dict[str, bytes], reviews: Iterable[dict[str, Any]]) -> list[tuple[str, bytes]]:
    """The lines with those that reviews took out, each where it stood; a line that is there stays in its place."""
    out = {r["position"]: r for r in reviews if r["pair"] not in lines}
    whole: list[tuple[str, bytes]] = []
    rest = iter(lines.items())
    while True:
        if (review := out.pop(len(whole), None)) is not None:
            whole.append((review["pair"], review["line"].encode()))
        elif (item := next(rest, None)) is not None:
            whole.append(item)
        else:
            break
    return whole + [(r["pair"], r["line"].encode()) for _, r in sorted(out.items())]


def _rewritten(review: dict[str, Any]) -> bytes:
    line = review["line"].encode()
    return bytes(line) if review["kind"] == NONE else line_of(_record(review))


def _record(review: dict[str, Any]) -> dict[str, Any]:
    """The record as the review wants it: of a relabelled pair its new type and places."""
    record: dict[str, Any] = json.loads(review["line"])
    if review["kind"] != RELABEL:
        return record
    for role in ("image", "mask"):
        if record.get(role):
            record[role]["path"] = _place(record[role]["path"], record["type"], RELABEL, review["type"])
    return {**record, "type": review["type"], "relabelled_from": record["type"]}


def _place(path: str, old_type: str, kind: str, type_: str | None) -> str:
    """Where a file lies, as it is wanted. Runs number their own pictures: a relabelled one never takes such a name."""
    pure = PurePosixPath(path)
    if kind == REJECT:
        return f"{REJECTED}/{path}"
    if kind == RELABEL:
        category, split, *_ = pure.parts
        return f"{category}/{split}/{type_}/{old_type}-{pure.name}"
    return path


def _files(record: dict[str, Any]) -> list[str]:
    """Paths of a record's files, the picture first. Raises RequestError for one that leads out of the folder."""
    paths = [record[role]["path"] for role in ("image", "mask") if record.get(role)]
    for path in paths:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or len(pure.parts) < 3:
            raise request_error(
                "review.path",
                f"a line of the manifest names a file that is none of a run: {quoted(path)}",
                expected="CATEGORY/test/TYPE/NUMBER.png",
                mend="the manifest was changed; take it as the run wrote it",
            )
    return paths


def _places(record: dict[str, Any], kind: str, type_: str | None) -> list[list[str]]:
    """For each file of the record where it was and where it is wanted, as rows of the journal keep them."""
    files = _files(record)
    return [files, [_place(path, record["type"], kind, type_) for path in files]]


def _check_free(out: Path, wanted: list[dict[str, Any]]) -> None:
    """Nothing is overwritten: where a file is to go, none lies, or its own."""
    problems = []
    for review in wanted:
        for source, target in _moves(out, review):
            if source is not None and source != target and target.exists():
                problems.append(
                    Problem(
                        "review.taken",
                        "a file lies where one is to go",
                        str(target),
                        "a free name",
                        f"move it away; {source} is to go there",
                    )
                )
    if problems:
        raise RequestError(problems[:20])


def _moves(out: Path, review: dict[str, Any]) -> list[tuple[Path | None, Path]]:
    """(where it lies, where it is wanted) of each file; None: it lies nowhere (somebody deleted it)."""
    record = json.loads(review["line"])
    places = json.loads(review["places"])
    moves = []
    for role, path in enumerate(_files(record)):
        target = out / _place(path, record["type"], review["kind"], review["type"])
        known = [out / place[role] for place in places]
        moves.append((next((place for place in known if place.is_file()), None), target))
    return moves


def _move(out: Path, review: dict[str, Any]) -> None:
    """On the way out the picture goes before its mask, on the way in after it: none stands there without its mask."""
    moves = _moves(out, review)
    for source, target in moves if review["kind"] == REJECT else reversed(moves):
        if source is None or source == target:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, target)
        sync_folder(target.parent)
        sync_folder(source.parent)
    record, places = json.loads(review["line"]), json.loads(review["places"])
    targets = {target for _, target in moves} | {out / path for path in _files(record)}
    for path in {out / path for place in places for path in place} - targets:
        _remove_empty(path, out)


def _remove_empty(path: Path, out: Path) -> None:
    """Folders that a review made go with the last file in them."""
    for folder in path.parents:
        if folder == out:
            return
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return


def _job(row: dict[str, Any], reviews: list[dict[str, Any]]) -> tuple[str, str]:
    """Record and outputs of a job, as JSON, without the pairs that are put aside."""
    found = json.loads(row["record"] or "[]")
    records = {record["id"]: record for record in (found if isinstance(found, list) else [found])}
    for review in reviews:
        if review["job"] != row["id"]:
            continue
        records.pop(review["pair"], None)
        if review["kind"] != REJECT:
            records[review["pair"]] = _record(review)
    kept = sorted(records.values(), key=lambda record: record["number"])
    outputs = [
        {"role": role, "path": record[role]["path"], "sha256": record[role]["sha256"]}
        for record in kept
        for role in ("mask", "image")
        if record.get(role)
    ]
    return json.dumps(kept[0] if len(kept) == 1 else kept, sort_keys=True), json.dumps(outputs)
