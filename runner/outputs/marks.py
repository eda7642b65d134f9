"""What a person says of a run's pairs on a report's page, as the page saves it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..errors import Problem, RequestError, quoted

KEEP, REJECT, RELABEL = "keep", "reject", "relabel"
FORMAT = "defectforge_marks"


@dataclass(frozen=True)
class Mark:
    """What a person says of a pair; `type` is the right one, for a relabelled pair."""

    kind: str
    type: str | None = None


def parse_marks(text: str, where: str) -> dict[str, Mark]:
    """The marks that a report's page saved, by the pair's id.

    Raises:
        RequestError: it is no file of marks; every wrong mark at once.
    """

    def wrong(what: str) -> Problem:
        return Problem(
            "review.marks",
            what,
            where,
            '{"defectforge_marks": 1, "marks": {ID: {"mark": "keep" | "reject" | "relabel", "type": TYPE}}}',
            "save it from the page of `defectforge report`",
        )

    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(wrong(f"the marks are no JSON: {error}")) from error
    if not isinstance(content, dict) or content.get(FORMAT) != 1 or not isinstance(content.get("marks"), dict):
        raise RequestError(wrong("the file holds no marks"))
    marks, problems = {}, []
    for pair, entry in content["marks"].items():
        kind = entry.get("mark") if isinstance(entry, dict) else None
        type_ = entry.get("type") if isinstance(entry, dict) else None
        if kind not in (KEEP, REJECT, RELABEL):
            problems.append(wrong(f"{quoted(pair)} is marked {quoted(kind)}"))
        elif kind == RELABEL and not _is_a_folder(type_):
            problems.append(wrong(f"{quoted(pair)} is to get the type {quoted(type_)}, which cannot name a folder"))
        else:
            marks[pair] = Mark(kind, str(type_).strip() if kind == RELABEL else None)
    if problems:
        raise RequestError(problems[:20])
    return marks


def _is_a_folder(name: object) -> bool:
    if not isinstance(name, str) or not name.strip().isprintable():
        return False
    name = name.strip()
    return name not in ("", ".", "..", "good") and not set(name) & set('/\\:*?"<>|') and len(name.encode()) < 200
