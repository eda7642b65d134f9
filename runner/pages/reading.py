"""A run's folder as it is, also half-made, old or damaged: what can be read, and in words what cannot."""

from __future__ import annotations

import json
import math
import os
import shlex
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import printable
from ..outputs.journal.database import is_locked
from ..outputs.lock import is_held
from ..outputs.output import JOURNAL, MANIFEST, no_run
from ..outputs.shards.reading import connected

NOT_MEASURED = None
KINDS = ("test", "unlabelled", "ground_truth")


@dataclass
class Pair:
    """One manifest line, whatever it lacks. Paths are None where the line names none that can be."""

    record: dict[str, Any]
    id: str
    number: int
    category: str
    type: str
    method: str
    seed: str
    label: str
    scores: dict[str, float | None]
    image: Path | None
    mask: Path | None
    source: Path | None
    problems: list[str] = field(default_factory=list)
    seconds: float | None = None
    """What it cost: from the end of the pair before it, or its own submission, to its end. None: not measured."""


@dataclass
class Run:
    """What a report shows."""

    out: Path
    pairs: list[Pair]
    refused: list[dict[str, Any]] = field(default_factory=list)
    failed: list[dict[str, Any]] = field(default_factory=list)
    aside: list[dict[str, Any]] = field(default_factory=list)
    models: str | None = None
    """The folder of models that the last run was given."""
    one_server: bool = False
    """One server at a time did everything, as far as the journal says: only then a pair's own seconds are known."""
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_run(out: Path) -> Run:
    """Read OUT without a lock and without changing it.

    Raises:
        RequestError: it is no run's folder.
    """
    if not (out / MANIFEST).is_file() and not (out / JOURNAL).is_file():
        raise no_run(out, "report.no_run", f"there is neither {MANIFEST} nor {JOURNAL}")
    run = Run(out, [])
    seen: dict[str, int] = {}
    for number, record in _lines(out / MANIFEST, run):
        pair = _pair(record, out)
        if pair.id in seen:
            run.problems.append(f"manifest.jsonl, line {number}: the pair {printable(pair.id, 80)} is there twice")
            continue
        seen[pair.id] = number
        run.pairs.append(pair)
    _journal(out / JOURNAL, run)
    if run.one_server:
        _costs(run.pairs)
    _strangers(run)
    return run


def command(pair: Pair, run: Run) -> str:
    """What makes the pair again, in a shell of any folder on this machine."""
    words = ["defectforge", "rerun", f"{(run.out / MANIFEST).resolve()}:{pair.id}"]
    data = Path(str(pair.record.get("data", "")))
    if not data.is_absolute():
        words += ["--data", str(data.resolve())]
    if run.models:
        words += ["--models", str(Path(run.models).resolve())]
    return shlex.join([*words, "--out", f"rerun-{pair.id[:12]}"])


def _lines(path: Path, run: Run) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    except OSError as error:
        run.problems.append(f"manifest.jsonl cannot be read: {error.strerror}")
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict) or not isinstance(record.get("id"), str):
                raise ValueError("it is no record of a pair")
        except (ValueError, RecursionError) as error:
            torn = number == len(lines)  # no line end: being written, or torn by a crash
            why = "it is not whole (being written, or torn by a crash)" if torn else f"it cannot be read: {error}"
            run.problems.append(f"manifest.jsonl, line {number}: {why}")
            continue
        yield number, record


def _pair(record: dict[str, Any], out: Path) -> Pair:
    problems: list[str] = []

    def inner(key: str) -> dict[str, Any]:
        value = record.get(key)
        return value if isinstance(value, dict) else {}

    def text(value: Any) -> str:
        return value if isinstance(value, str) and value else "?"

    image = _inside(out, inner("image").get("path"), "image", problems)
    label = record.get("label", "requested" if record.get("mask") else "none")
    mask = _inside(out, inner("mask").get("path"), "mask", problems) if record.get("mask") else None
    if mask is None and label != "none":
        problems.append(f"the line says label '{printable(str(label), 40)}' and names no mask")
    source = None
    name, data = inner("source").get("file"), record.get("data")
    if isinstance(name, str) and isinstance(data, str):
        source = Path(data) / name
    else:
        problems.append("the line names no source photo")
    number, seed = record.get("number"), record.get("seed")
    return Pair(
        record,
        record["id"],
        number if type(number) is int else -1,
        text(record.get("category")),
        text(record.get("type")),
        text(inner("workflow").get("name")),
        str(seed) if type(seed) is int else "?",
        text(label),
        _scores(record.get("scores"), problems),
        image,
        mask,
        source,
        problems,
    )


def _scores(found: Any, problems: list[str]) -> dict[str, float | None]:
    scores: dict[str, float | None] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number and value is not None:
            problems.append(f"the score '{printable(str(name), 40)}' is no number")
        scores[str(name)] = float(value) if number else NOT_MEASURED
    return scores


def _inside(out: Path, name: Any, role: str, problems: list[str]) -> Path | None:
    """A manifest may come from anywhere: nothing outside OUT is opened for it."""
    if not isinstance(name, str) or not name or "\0" in name:
        problems.append(f"the line names no {role}")
        return None
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        problems.append(f"the path of the {role} leads out of the folder: {printable(name, 120)}")
        return None
    return out / name


def _costs(pairs: list[Pair]) -> None:
    """Seconds of each pair. The server holds two jobs at a time, of which one waits: the wait is not counted."""
    end = float("-inf")

    def times(pair: Pair) -> tuple[float, float] | None:
        found = pair.record.get("times")
        values = (found.get("submitted"), found.get("committed")) if isinstance(found, dict) else (None, None)
        return values if all(isinstance(value, (int, float)) for value in values) else None  # type: ignore[return-value]

    timed = [(pair, at) for pair in pairs if (at := times(pair)) is not None]
    for pair, (submitted, committed) in sorted(timed, key=lambda item: item[1][1]):
        # Pairs of one job are committed together: the first carries the cost.
        took, end = committed - max(submitted, end), committed
        if not pair.record.get("pair") and took >= 0:
            pair.seconds = round(took, 3)


def _journal(path: Path, run: Run) -> None:
    """Refused draws, failed jobs and what a review put aside; read-only. A run in progress keeps them to itself."""
    if not path.is_file():
        run.notes.append("There is no journal beside the manifest: refused draws and failed jobs are not known.")
        return
    try:
        with connected(path, patience=0.2) as db:
            tables = {row[0] for row in db.execute("SELECT name FROM sqlite_master WHERE type='table'")}
            if "refused" in tables:
                for row in db.execute("SELECT * FROM refused ORDER BY job, round, draw"):
                    run.refused.append({**dict(row), "scores": _scores(_loaded(row["scores"]), [])})
            if "job" in tables:
                rows = db.execute(
                    "SELECT id, number, type, error, error_code FROM job WHERE state='failed' ORDER BY number"
                )
                run.failed += [dict(row) for row in rows]
            if "review" in tables:
                rows = db.execute("SELECT pair, kind, type, line FROM review WHERE kind != 'none' ORDER BY position")
                run.aside += [dict(row) for row in rows if row["kind"] == "reject"]
            if "run" in tables:
                requests = [_loaded(row["request"]) for row in db.execute("SELECT request FROM run ORDER BY id")]
                run.one_server = bool(requests) and all(map(_asks_one_server, requests))
                models = requests[-1].get("models") if requests and isinstance(requests[-1], dict) else None
                run.models = models if isinstance(models, str) else None
            if is_held(path.with_suffix(".lock")):
                run.notes.append(
                    "A run is in progress on this folder: the page shows what its manifest and its journal hold by now."
                )
    except sqlite3.Error as error:
        run.refused, run.failed, run.aside = [], [], []
        if is_locked(error):
            run.notes.append(
                "A run is in progress on this folder: the page shows the pairs that its manifest holds by now. Refused "
                "draws and failed jobs are in its journal, which it keeps to itself until it ends."
            )
        else:
            run.problems.append(f"the journal cannot be read ({error}): refused draws and failed jobs are not known")


def _asks_one_server(request: Any) -> bool:
    if not isinstance(request, dict) or request.get("launch") or request.get("cluster"):
        return False
    servers = request.get("server") or []
    return isinstance(servers, list) and len(servers) < 2


def _loaded(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None


def _strangers(run: Run) -> None:
    """Pictures where pairs lie that no line names."""
    known = {path for pair in run.pairs for path in (pair.image, pair.mask)}
    found = []
    for category in sorted({pair.category for pair in run.pairs if pair.category not in ("?", ".", "..")}):
        for kind in KINDS:
            for folder, _, names in os.walk(run.out / category / kind):
                found += [Path(folder, name) for name in names if name.endswith(".png")]
    strange = sorted(str(path.relative_to(run.out)) for path in found if path not in known)
    run.problems += [f"{name}: no line of the manifest names it" for name in strange[:20]]
    if len(strange) > 20:
        run.problems.append(f"... and {len(strange) - 20} more pictures that no line names")
