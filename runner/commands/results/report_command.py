"""`defectforge report`: a page of a run's pairs, to look at, to filter and to mark."""

from __future__ import annotations

from pathlib import Path

from ...errors import OK
from ...reporter import Reporter

EVERY = 200
"""After so many pairs a word on how far it is."""


def report(out: Path, single_file: bool, reporter: Reporter) -> int:
    """Write OUT/report.html, report.csv and report.json. Only reads what the run wrote, also while it runs.

    Raises:
        RequestError: OUT is no run's folder.
    """
    # Late: the pictures' libraries take half a second, which an error about OUT need not wait for.
    from ...pages.reading import read_run

    run = read_run(out)
    from ...pages.report import write_report

    def say(done: int) -> None:
        if done % EVERY == 0:
            reporter.line(f"{done} of {len(run.pairs)} pairs")

    page = write_report(run, single_file, say)
    for text in (*run.notes, *run.problems):
        reporter.line(text)
    reporter.line(f"{len(run.pairs)} pairs; look at: {page}")
    return OK
