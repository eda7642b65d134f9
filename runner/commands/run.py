"""`defectforge run`: prepare, recover what an earlier run left, drive the servers, sum up."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...nodes.datasets.pictures import LIMIT_VARIABLE
from .. import interrupts
from ..checkpoints.choose_lora import trained_on
from ..checkpoints.models import by_file, files_named, local_path, models_directory
from ..errors import INTERRUPTED, NO_SERVER, OK, SOME_JOBS_FAILED, request_error
from ..graphs.graph import Workflow
from ..outputs.commit import Committer
from ..outputs.files import write_whole
from ..outputs.hashes import remembered_sha256
from ..outputs.journal import DONE, FAILED, SUBMITTED, Journal
from ..outputs.manifest import Manifest
from ..outputs.output import JOURNAL, MANIFEST, check_place, check_space, resolved
from ..outputs.review import settle
from ..plans.plan import Job, Plan, check_chosen_type
from ..plans.source import JobSource
from ..reporter import Reporter
from ..servers.address import read_headers
from ..servers.client import Client
from ..servers.collect import Collector
from ..servers.local import LocalServer
from ..servers.worker import Timing, Worker
from ..version import version
from .choice import check_keep, pairs_in
from .prepare import Prepared, Site, each_workflow, load_workflow, prepare, selection_of
from .request import Request

GRACE = 5.0
"""Seconds that workers get to end after the last pair, and after an interruption's own waiting."""


@dataclass
class Fleet:
    """The servers of a run: those that were named, or our own."""

    sites: list[Site]
    local: LocalServer | None = None


@contextlib.contextmanager
def fleet(
    servers: Sequence[str], models: Path | None, reporter: Reporter, header_file: Path | None = None
) -> Iterator[Fleet]:
    """Connect to every named server, or start the embedded one and stop it at the end."""
    if servers:
        headers = read_headers(header_file)
        clients = [Client(url, str(uuid.uuid4()), headers) for url in servers]
        for client in clients:
            client.http.say = lambda text: reporter.event("warning", {"text": text})
        sites = [Site(client, client.info()) for client in clients]
        refuse_twins([client.url for client in clients])
        yield Fleet(sites)
        return
    if header_file is not None:
        raise request_error(
            "headers.no_server",
            "--header-file is for named servers, and none is named",
            expected="--server URL",
            mend="name the server, or leave --header-file away",
        )
    with LocalServer(models) as local:
        reporter.event("note", {"text": "no --server given: starting the embedded server ..."})
        client = Client(local.start(), str(uuid.uuid4()))
        reporter.event("note", {"text": f"embedded server at {client.url}; it stops when this run ends"})
        yield Fleet([Site(client, client.info(), models_directory(models))], local)


def refuse_twins(urls: Sequence[str]) -> None:
    """The same server twice would be asked to do four jobs at a time, and be told apart by nobody."""
    for url in urls:
        if urls.count(url) > 1:
            raise request_error(
                "server.twice",
                f"the server {url} is named twice",
                expected="every server once (a redirect may lead two addresses to one)",
                mend="leave one --server away",
            )


def run(request: Request, reporter: Reporter, timing: Timing | None = None) -> int:
    """Do what the request asks. Returns the exit code.

    Raises:
        DefectForgeError: nothing was queued (RequestError), no server, or the output cannot be written any more.
    """
    workflows = [load_workflow(each) for each in each_workflow(request)]
    allow_pixels(request, reporter)
    # What needs no server is checked before one is started.
    if request.out is None:
        raise request_error("request.incomplete", "--out is missing", expected="--out DIR", mend="--out OUT")
    selection = selection_of(request)
    check_chosen_type(selection.open(), selection)
    check_place(request.out, selection.data)
    with fleet(request.server, request.models, reporter, request.header_file) as ships:
        return run_on(request, workflows, ships, reporter, timing)


def run_on(
    request: Request,
    workflows: Sequence[Workflow],
    ships: Fleet,
    reporter: Reporter,
    timing: Timing | None = None,
    data_as: str | None = None,
    agreed: dict[str, Any] | None = None,
) -> int:
    """The same on servers that are there already.

    Args:
        data_as: what records call the dataset, where `request.data` is but a copy of it.
        agreed: the plan that this one has to be a part of, as `Plan.described` says it.
    """
    assert request.out is not None
    say = lambda text: reporter.event("note", {"text": text})  # noqa: E731
    prepared = [replace(prepare(request, workflows, site, say), data_as=data_as) for site in ships.sites]
    if agreed is not None and prepared[0].plan.described() != agreed:
        raise request_error(
            "cluster.other_plan",
            "this machine would make another plan than the one that was agreed on",
            where=str(request.data),
            expected="the same photos, workflows and values on every machine",
            mend="see that every machine reads the same dataset",
        )
    for note in prepared[0].plan.notes:
        say(note)
    check_space(request.out, prepared[0].plan)
    return drive(request, prepared[0], ships, reporter, timing or Timing())


def allow_pixels(request: Request, reporter: Reporter) -> None:
    """Raise the limit of the pictures that are read, here and in the server that this process starts."""
    if request.max_pixels is None:
        return
    os.environ[LIMIT_VARIABLE] = str(request.max_pixels)
    if request.server:
        text = f"--max-pixels holds here; the servers need {LIMIT_VARIABLE}={request.max_pixels} in their environment"
        reporter.event("note", {"text": text})


def drive(request: Request, prepared: Prepared, ships: Fleet, reporter: Reporter, timing: Timing) -> int:
    """Everything from the first byte written to the summary."""
    assert request.out is not None and request.data is not None
    out = resolved(request.out)
    out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / JOURNAL)
    try:
        settle(out, journal)
        keep = prepared.plan.keep
        check_keep(journal, keep, out)
        journal.start_run(request.content() | {"pairs_a_job": keep, "plan": prepared.plan.described()}, version())
        committer = Committer(out, journal, Manifest(out / MANIFEST), keep)
        adopted = committer.recover()
        if adopted:
            reporter.event("note", {"text": f"{adopted} finished pairs of an interrupted run were taken over"})
        journal.add(prepared.plan.jobs, keep)
        graph_names = [keep_graph(out, each.plan) for each in prepared.each]
        states = {job.id: journal.row(job.id) for job in prepared.plan.jobs}
        todo = [job for job in prepared.plan.jobs if states[job.id]["state"] != DONE]
        for job in todo:
            if states[job.id]["state"] == FAILED:
                journal.renew(job.id)
        reporter.begin(len(states), len(states) - len(todo), str(out))
        done = sum(pairs_in(states[job.id]) for job in prepared.plan.jobs)
        wanted = None if request.until is None else request.until - done
        todo = [job.redrawn(journal.rounds(job.id)) for job in todo] if wanted is None or wanted > 0 else []
        source = JobSource(todo, wanted)
        events: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        workers = []
        for site in ships.sites:
            collectors = [
                Collector(
                    plan=each.plan,
                    committer=committer,
                    request=described(request, each, graph_name),
                    server=site.info,
                    models=model_records(each.plan, site),
                    root=request.data,
                    extra={"workflow": each.workflow.data} if each.workflow.form == "window" else {},
                )
                for each, graph_name in zip(prepared.each, graph_names, strict=True)
            ]
            collector = replace(collectors[0], methods=tuple(collectors))
            revive = ships.local.revive if ships.local is not None else None
            worker = Worker(
                site.client,
                source,
                journal,
                collector,
                lambda name, data: events.put((name, data)),
                timing,
                revive,
                other_servers=len(ships.sites) > 1,
            )
            adopt_submitted(worker, source, todo, states)
            workers.append(worker)
        interrupted = follow(workers, events, reporter)
        return sum_up(prepared.plan, journal, workers, reporter, out, interrupted, request.until)
    finally:
        journal.close()


def adopt_submitted(worker: Worker, source: JobSource, todo: Sequence[Job], states: dict[str, dict[str, Any]]) -> None:
    """Jobs that a killed run left on this very server go on there instead of being queued twice."""
    for job in todo:
        row = states[job.id]
        same = row["state"] == SUBMITTED and row["server"] == worker.client.url and row["prompt_id"]
        if same and worker.adopt(job, row["prompt_id"]):
            source.claim(job)


def follow(workers: Sequence[Worker], events: queue.Queue[tuple[str, dict[str, Any]]], reporter: Reporter) -> bool:
    """Pass events on until every worker has ended. True if the user interrupted; a second Ctrl-C leaves at once.

    A worker that waits for a server which says nothing is left behind (it is a daemon thread, and its job is in the
    journal): the run ends soon after its last pair, or after the interruption, whatever a server does.
    """
    with interrupts.patient():
        for worker in workers:
            worker.start()
        leave_at: float | None = None
        interrupted = False
        try:
            while any(worker.is_alive() for worker in workers) or not events.empty():
                with contextlib.suppress(queue.Empty):
                    reporter.event(*events.get(timeout=0.1))
                if interrupts.asked() and not interrupted:
                    interrupted = True
                    text = "stopping: waiting for the running job; Ctrl-C again leaves at once"
                    reporter.event("note", {"text": text})
                    for worker in workers:
                        worker.stop.set()
                if leave_at is None and (interrupted or workers[0].source.all_finished):
                    leave_at = time.monotonic() + GRACE + (workers[0].timing.wind_down if interrupted else 0.0)
                if leave_at is not None and time.monotonic() > leave_at:
                    break
        except OSError:
            # Nobody reads our events any more (a closed pipe, a full disk): stop in order, then say so.
            for worker in workers:
                worker.stop.set()
            for worker in workers:
                worker.join(GRACE + worker.timing.wind_down)
            raise
    for worker in workers:
        if worker.crash is not None:
            raise worker.crash
    return interrupted


def sum_up(
    plan: Plan,
    journal: Journal,
    workers: Sequence[Worker],
    reporter: Reporter,
    out: Path,
    interrupted: bool,
    until: int | None = None,
) -> int:
    rows = [journal.row(job.id) for job in plan.jobs]
    states = [row["state"] for row in rows]
    done, failed, pairs = states.count(DONE), states.count(FAILED), sum(map(pairs_in, rows))
    text = f"{pairs} of {until or len(states)} pairs are in {out}"
    if until is None and pairs > done:
        text = f"{pairs} pairs from {done} of {len(states)} jobs are in {out}"
    code = OK
    short = until is not None and pairs < until
    # Two workers that wrote to one full disk say the same.
    errors = list({error.text(): error for error in (worker.error for worker in workers) if error}.values())
    for error in errors:
        reporter.error(error)
        code = error.exit_code
    if interrupted:
        text, code = f"interrupted: {text}; the same command goes on", INTERRUPTED
    elif short and not errors:
        text = f"{text}; all {len(states)} jobs that --count allows are done ({failed} kept none)"
        code = code or SOME_JOBS_FAILED
    elif failed and until is None:
        text, code = f"{text}; {failed} failed; the same command tries them again", code or SOME_JOBS_FAILED
    elif errors:
        text, code = f"{text}; the same command goes on", code or NO_SERVER
    reporter.end(
        {"text": text, "done": done, "failed": failed, "total": len(states), "out": str(out), "exit_code": code}
    )
    return code


def keep_graph(out: Path, plan: Plan) -> str:
    """The graph of this run beside its pictures: a manifest line names it and can be run again from it."""
    name = f"workflow-{plan.graph_sha256[:16]}.json"
    path = out / name
    if not path.exists():
        write_whole(path, json.dumps(plan.graph, indent=1, sort_keys=True).encode())
    return name


def described(request: Request, prepared: Prepared, graph_name: str) -> dict[str, Any]:
    """What every record of this run says alike."""
    return {
        "workflow": {
            "name": prepared.workflow.name,
            "sha256": prepared.workflow.sha256,
            "graph": graph_name,
            "graph_sha256": prepared.plan.graph_sha256,
            "saver": prepared.plan.roles.saver,
        },
        "overrides": {f"{s.title}.{s.input}": s.value for s in prepared.sets},
        "model": prepared.model or request.model,
        "notes": prepared.choice.notes,
        "data": prepared.data_as or str(request.data),
        "defectforge": version(),
    }


def model_records(plan: Plan, site: Site) -> list[dict[str, Any]]:
    """Name and sha256 of every model file: of the file itself on our own server, else what the table pins."""
    records = []
    for _, _, folder, file in files_named(plan.graph):
        model = by_file(file)
        path = local_path(folder, file, site.models) if site.is_embedded else None
        sha256 = remembered_sha256(path) if path is not None else model.sha256 if model else None
        origin = None if sha256 is None else "file" if path is not None else "table"
        record: dict[str, Any] = {"file": file, "folder": folder, "sha256": sha256, "sha256_from": origin}
        if folder == "loras" and (trained := trained_on(file, site.models, site.client.file_metadata)):
            # In the line itself: whoever tests a detector need not have the file to see what it has seen.
            record["trained_on"] = trained
        records.append(record)
    return records
