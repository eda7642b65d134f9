"""`defectforge review`: what a person marked on a report's page, applied to the dataset, and taken back."""

from __future__ import annotations

import sys
from pathlib import Path

from ...errors import OK, request_error
from ...explain import of_system
from ...outputs.marks import Mark, parse_marks
from ...outputs.review import apply_marks, undo
from ...reporter import Reporter


def review(out: Path, marks: Path | None, back: bool, reporter: Reporter) -> int:
    """Apply `marks` ('-' is standard input), or with `back` undo them; without marks, undo everything.

    Raises:
        RequestError: the marks or the folder are not what they should be; nothing was changed.
    """
    if back:
        count = undo(out, None if marks is None else _read(marks))
        reporter.line(f"{count} pairs are back as they were, in {out}")
        return OK
    if marks is None:
        raise request_error(
            "review.no_marks",
            "no marks are given",
            expected="the marks.json that the report's page saved, or --undo",
            mend=f"defectforge review {out} marks.json",
        )
    counts = apply_marks(out, _read(marks))
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "there are no marks"
    reporter.line(f"{told}; in {out}. `defectforge review OUT --undo` takes it back.")
    return OK


def _read(marks: Path) -> dict[str, Mark]:
    try:
        text = sys.stdin.read() if str(marks) == "-" else marks.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise of_system(error) from error
    except UnicodeDecodeError as error:
        raise request_error("review.marks", f"the marks are no text: {error}", str(marks), "UTF-8") from error
    return parse_marks(text, str(marks))
