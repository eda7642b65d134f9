"""`--draws N --keep K --until COUNT --thresholds FILE --label KIND`: what of many draws gets into the dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import quoted, request_error
from ...explain import of_system
from ...graphs.graph import Graph, address_of, title_of
from ...graphs.overrides import Setting
from ...graphs.roles import KEEPER, SAVER
from ...outputs.journal import DONE, Journal
from .request import Request

#: Planned jobs for each pair that `--until` asks for, where `--count` sets no budget: a fifth of them has to succeed.
BUDGET = 5

REPEATER = "RepeatLatentBatch"


def planned(request: Request) -> int | None:
    """How many jobs are planned at most; None: one for each good photo."""
    if request.until is None or request.count is not None:
        return request.count
    return request.until * BUDGET


def choice_settings(request: Request, graph: Graph) -> list[Setting]:
    """The settings that these options stand for.

    Raises:
        RequestError: the workflow has no node that could do it, or the file of thresholds cannot be read.
    """
    settings = []
    if request.draws is not None:
        settings.append(_on(graph, "--draws", REPEATER, "amount", request.draws, "Draws"))
    if request.keep is not None:
        settings.append(_on(graph, "--keep", KEEPER, "keep", request.keep))
    if request.thresholds is not None:
        settings.append(_on(graph, "--thresholds", KEEPER, "thresholds", _text(request.thresholds)))
    if request.label is not None:
        settings.append(_on(graph, "--label", SAVER, "label", request.label))
    return settings


def check_keep(journal: Journal, keep: int, out: Path) -> None:
    """One folder, one number of pairs for each job: each job owns as many file numbers.

    Raises:
        RequestError: an earlier run on the folder kept another number.
    """
    before = journal.kept_before()
    if before is not None and before != keep:
        raise request_error(
            "out.keep_differs",
            f"this run keeps up to {keep} pairs a job, the earlier one in this folder {before}",
            where=f"--out {out}",
            expected=f"--keep {before}",
            mend="choose another --out, or the same --keep",
        )


def pairs_in(row: Mapping[str, Any]) -> int:
    """How many pairs a job of the journal has given."""
    if row["state"] != DONE:
        return 0
    try:
        return sum(output["role"] == "image" for output in json.loads(row["outputs"]))
    except (TypeError, ValueError, KeyError):
        return 1


def _on(graph: Graph, option: str, kind: str, name: str, value: object, title: str | None = None) -> Setting:
    found = [node_id for node_id, node in graph.items() if node["class_type"] == kind]
    found = [node_id for node_id in found if title is None or title_of(graph, node_id) == title] or found[:1]
    if len(found) != 1:
        raise request_error(
            "request.no_choice",
            f"{option}: the workflow has {len(found)} nodes that could do it",
            where=f"nodes of the kind {kind}",
            expected=f"one {kind}" + (f" titled '{title}'" if title else ""),
            mend="add it in the window (the shipped inpainting workflows have it), or use another workflow",
        )
    return Setting(address_of(graph, found[0]), name, value)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise of_system(error) from error
    except UnicodeDecodeError as error:
        raise request_error(
            "request.thresholds",
            f"--thresholds {quoted(str(path))} is no text: {error}",
            where=str(path),
            expected="lines such as 'presence >= 0.3' in UTF-8",
            mend="save it as UTF-8",
        ) from error
