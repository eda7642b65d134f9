"""Who is told of a run: a program, a log, or the user of a terminal."""

from __future__ import annotations

import sys
from pathlib import Path

from .reporter import JsonReporter, Reporter, Several


def make_reporter(as_json: bool, log: Path | None = None, metrics: Path | None = None) -> Reporter:
    """
    Args:
        log: file that hears everything, too (`--log`).
        metrics: Prometheus text file (`--metrics`).

    Raises:
        RequestError: one of the two cannot be written.
    """
    reporters = [_for_the_user(as_json)]
    if log is not None:
        from .watch.log import LogReporter

        reporters.append(LogReporter(log))
    if metrics is not None:
        from .watch.metrics import MetricsReporter

        reporters.append(MetricsReporter(metrics))
    return Several(*reporters) if len(reporters) > 1 else reporters[0]


def _for_the_user(as_json: bool) -> Reporter:
    if as_json:
        return JsonReporter()
    if not sys.stderr.isatty():
        return Reporter()
    from .bars import BarReporter

    return BarReporter()
