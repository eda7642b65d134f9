"""What runs on a machine of the cluster: an actor that owns one GPU (or none) and one server, and makes shards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..commands.preparing.fleet import Fleet, fleet, launching_of
from ..commands.preparing.prepare import Site, prepare
from ..commands.requests.request import Request
from ..commands.running.run import run_on
from ..errors import BAD_REQUEST, OK, SOME_JOBS_FAILED, DefectForgeError, Problem
from ..explain import explained
from ..graphs.graph import Workflow
from ..outputs.output import JOURNAL
from ..reporter import Reporter
from ..servers.client import Client
from ..version import version
from .inputs import alone, take_from, take_out
from .store import Store, as_url, name_of, pack, unpack

PATH, STORE, ADDRESS = "path", "store", "address"


@dataclass(frozen=True)
class Task:
    """What every machine has to know. Travels to it as it is."""

    request: Request
    workflows: tuple[Workflow, ...]
    store: str
    data_from: str
    """PATH: every machine sees the folder; STORE: it lies in the store; ADDRESS: `request.data` is one."""
    scratch: str | None = None
    """Folder for what is being made; by default in the machine's temporary one."""


class Quiet(Reporter):
    """Keeps what is worth telling; a shard's lines would flood the driver."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []
        self.errors: list[DefectForgeError] = []

    def begin(self, total: int, done: int, out: str) -> None:
        """The driver knows."""

    def event(self, name: str, data: dict[str, Any]) -> None:
        if name == "warning":
            self.line(f"warning: {data['text']}")
        elif name == "failed":
            self.line(f"failed: job {data['job'].index}: {data['text']}")

    def line(self, text: str) -> None:
        if len(self.notes) < 20:
            self.notes.append(text)

    def error(self, error: DefectForgeError) -> None:
        self.errors.append(error)

    def end(self, summary: dict[str, Any]) -> None:
        self.summary = summary


def own_servers(task: Task, reporter: Reporter) -> contextlib.AbstractContextManager[Fleet]:
    """The server of this machine. The one place that says how it is started: Ray has chosen the GPU already
    (CUDA_VISIBLE_DEVICES), and the server ends with this process, however that ends.

    A `--server` is one that runs on every machine already, at this address as the machine itself sees it.
    """
    request = task.request
    launching = launching_of(replace(request, launch=1)) if request.comfyui is not None else None
    return fleet(request.server, request.models, reporter, request.header_file, launching=launching)


class Station:
    """The actor. Its methods answer with plain data: {"problems": [...], "exit_code": n} instead of an exception."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._store = Store(task.store)
        self._scratch = Path(task.scratch or Path(tempfile.gettempdir()) / f"defectforge-cluster-{os.getuid()}")
        self._stack = contextlib.ExitStack()
        self._fleet: Fleet | None = None
        self._data: Path | None = None

    def ready(self) -> dict[str, Any]:
        """Who this is; the server is started with the first work."""
        return {"host": socket.gethostname(), "pid": os.getpid(), "version": version()}

    def plan(self) -> dict[str, Any]:
        """The whole plan, checked against this machine's server."""

        def work() -> dict[str, Any]:
            reporter = Quiet()
            request = self._request()
            site = self._ships().sites[0]
            plan = prepare(request, list(self._task.workflows), site, reporter.line).plan
            return {"plan": plan.described(), "keep": plan.keep, "notes": [*reporter.notes, *plan.notes]}

        return told(work)

    def make(self, part: int, parts: int, agreed: dict[str, Any]) -> dict[str, Any]:
        """Part 1..parts of the plan that was agreed on, from its first job to its object in the store."""

        def work() -> dict[str, Any]:
            with alone(self._place(part, parts).with_suffix(".alone")):
                return self._make(part, parts, agreed)

        answer = told(work)
        if answer.get("problems"):
            self._forget_server()
        return answer

    def _make(self, part: int, parts: int, agreed: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        name, place = name_of(part, parts), self._place(part, parts)
        # A process that was killed on this machine has left its journal: its jobs are not made again. A shard with
        # jobs that failed goes on where it is in the store.
        archive = place.with_suffix(".tar")
        if not (place / JOURNAL).exists() and self._store.get(f"shards/{name}.tar", archive):
            unpack(archive, place)
        reporter = Quiet()
        request = replace(self._request(), out=place, shard=f"{part}/{parts}")
        ships = self._ships()
        prepared = time.perf_counter()
        data = self._task.request.data
        called = as_url(data or "") or str(data)
        code = run_on(request, self._task.workflows, ships, reporter, data_as=called, agreed=agreed)
        ran = time.perf_counter()
        if code not in (OK, SOME_JOBS_FAILED) or reporter.errors:
            # The server is lost, or the disk is full: the next try goes on with the journal that lies here.
            return {"exit_code": code, "problems": [p.as_dict() for e in reporter.errors for p in e.problems]}
        pack(place, archive)
        self._store.put(archive, f"shards/{name}.tar")
        size = archive.stat().st_size
        summary = {
            "made": uuid.uuid4().hex, "exit_code": code, "notes": reporter.notes, "host": socket.gethostname(),
            "done": reporter.summary["done"], "failed": reporter.summary["failed"], "bytes": size,
            "seconds": {"run": ran - prepared, "around": prepared - began + time.perf_counter() - ran},
        }  # fmt: skip
        self._store.write_json(f"shards/{name}.json", summary)
        archive.unlink()
        shutil.rmtree(place, ignore_errors=True)
        return summary

    def _place(self, part: int, parts: int) -> Path:
        # By store: two runs on one machine must not meet.
        folder = self._scratch / uuid.uuid5(uuid.NAMESPACE_URL, self._store.url).hex[:16]
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name_of(part, parts)

    def _request(self) -> Request:
        if self._data is None:
            data = self._task.request.data
            assert data is not None
            if self._task.data_from == STORE:
                data = take_out(self._store, self._scratch)
            elif self._task.data_from == ADDRESS:
                data = take_from(as_url(data) or str(data), self._scratch)
            self._data = data
        return replace(self._task.request, data=self._data)

    def _ships(self) -> Fleet:
        """The servers, each with a connection of its own for every shard; a dead one is started anew."""
        launched = None if self._fleet is None else self._fleet.sites[0].launched
        if self._fleet is None or launched is None:
            self._forget_server()
            self._fleet = self._stack.enter_context(own_servers(self._task, Quiet()))
        site = self._fleet.sites[0]
        if site.launched is None:
            return self._fleet
        client = Client(site.launched.address(), str(uuid.uuid4()))
        return Fleet([Site(client, client.info(), site.models, site.launched)])

    def _forget_server(self) -> None:
        self._stack.close()
        self._fleet = None


def told(work: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = work()
        return found
    except Exception as error:
        known = explained(error)
        return {"exit_code": known.exit_code or BAD_REQUEST, "problems": [p.as_dict() for p in known.problems]}


def problems_of(answer: dict[str, Any]) -> list[Problem]:
    return [Problem(**problem) for problem in answer.get("problems", [])]
