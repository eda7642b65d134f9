"""`--metrics FILE`: figures of a run for Prometheus, as node exporter's textfile collector reads them."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

from ..errors import DefectForgeError, request_error
from ..extras import require
from ..reporter import Event, Reporter
from .tally import Tally

EVERY = 5.0
"""Seconds between two writings."""


class MetricsReporter(Reporter):
    """Writes the whole file anew, under another name first, so that nobody reads half of one."""

    def __init__(self, path: Path) -> None:
        """Raises RequestError: it cannot be written, or the package is missing."""
        super().__init__(io.StringIO())
        require("runner", ("prometheus_client",), "metrics.no_package", "--metrics")
        import prometheus_client

        self._path, self._tally, self._next = path, Tally(), 0.0
        self._client: Any = prometheus_client
        self._registry = prometheus_client.CollectorRegistry()
        gauge: Any = lambda name, text, labels=(): prometheus_client.Gauge(  # noqa: E731
            f"defectforge_{name}", text, labels, registry=self._registry
        )
        self._jobs = gauge("jobs", "Jobs of the request by state, those of earlier runs included.", ["state"])
        self._rate = gauge("jobs_per_second", "Jobs a second of late, all servers together.")
        self._left = gauge("remaining_seconds", "Seconds until the last job is done; NaN where unknown.")
        self._last = gauge("last_pair_timestamp_seconds", "When the last pair was committed.")
        self._written = gauge("written_timestamp_seconds", "When this file was written.")
        self._running = gauge("running", "1 while the run goes on.")
        self._exit = gauge("exit_code", "Exit code of the run that ended; -1 before.")
        self._up = gauge("server_up", "1 if the server works.", ["server"])
        self._server_jobs = gauge("server_jobs", "Jobs that a server has done or failed.", ["server", "state"])
        self._server_rate = gauge("server_jobs_per_second", "Jobs a second of a server, of late.", ["server"])
        self._server_mean = gauge("server_seconds_per_job", "Mean seconds of a job on a server.", ["server"])
        self._exit.set(-1)
        self._running.set(1)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write()
        except (OSError, ValueError) as error:
            raise request_error(
                "metrics.not_writable",
                f"the metrics cannot be written: {error}",
                where=f"--metrics {path}",
                expected="a file in a folder with write permission, such as node exporter's textfile directory",
                mend="choose another",
            ) from error

    def begin(self, total: int, done: int, out: str) -> None:
        self._tally.begin(total, done)

    def event(self, name: str, data: Event) -> None:
        self._tally.event(name, data)
        if name == "done":
            self._last.set(time.time())
        self.tick()

    def tick(self) -> None:
        if time.monotonic() >= self._next:
            self._try()

    def line(self, text: str) -> None:
        pass

    def error(self, error: DefectForgeError) -> None:
        pass

    def end(self, summary: Event) -> None:
        self._running.set(0)
        self._exit.set(summary.get("exit_code", -1))
        self._try()

    def close(self) -> None:
        self._running.set(0)
        self._try()

    def _try(self) -> None:
        try:
            self._write()
        except OSError:
            # A full disk: Prometheus sees by written_timestamp_seconds that the file is old.
            self._next = time.monotonic() + EVERY

    def _write(self) -> None:
        self._next = time.monotonic() + EVERY
        tally = self._tally
        states = {"total": tally.total, "done": tally.done, "failed": tally.failed}
        for state, count in {**states, "remaining": tally.total - tally.done - tally.failed}.items():
            self._jobs.labels(state).set(count)
        self._rate.set(tally.rate)
        left = tally.remaining
        self._left.set(float("nan") if left is None else left)
        now = time.monotonic()
        for server, one in tally.servers.items():
            self._up.labels(server).set(one.works)
            self._server_jobs.labels(server, "done").set(one.done)
            self._server_jobs.labels(server, "failed").set(one.failed)
            self._server_rate.labels(server).set(one.rate(now))
            self._server_mean.labels(server).set(one.mean)
        self._written.set(time.time())
        self._client.write_to_textfile(str(self._path), self._registry)
