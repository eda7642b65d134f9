"""Who is told of a run: a program, a log, or the user of a terminal."""

from __future__ import annotations

import sys

from .reporter import JsonReporter, Reporter


def make_reporter(as_json: bool) -> Reporter:
    if as_json:
        return JsonReporter()
    if not sys.stderr.isatty():
        return Reporter()
    from .bars import BarReporter

    return BarReporter()
