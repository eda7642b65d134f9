"""`defectforge run`: prepare, recover what an earlier run left, drive the servers, sum up."""

from __future__ import annotations

import contextlib
import json
import os
import queue
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ....nodes.datasets.pictures import LIMIT_VARIABLE
from ...checkpoints.choose_lora import trained_on
from ...checkpoints.models import by_file, files_named, local_path
from ...errors import (
    INTERRUPTED,
    NO_SERVER,
    OK,
    SOME_JOBS_FAILED,
    StorageError,
    request_error,
)
from ...graphs.graph import Workflow
from ...outputs.commit import Committer
from ...outputs.files import write_whole
from ...outputs.hashes import remembered_sha256
from ...outputs.journal import DONE, FAILED, SUBMITTED, Journal, take_stock
from ...outputs.manifest import Manifest
from ...outputs.output import JOURNAL, MANIFEST, check_place, check_space, resolved
from ...outputs.review import settle
from ...plans.plan import Job, Plan, check_chosen_type
from ...plans.source import JobSource
from ...reporter import Reporter
from ...servers.following import Ending, Events, Limits, follow
from ...servers.standing import AWAY, UP, Standings
from ...servers.work.collect import Collector
from ...servers.work.committing import Committing
from ...servers.worker import Timing, Worker
from ...version import version
from ..preparing.admission import Admission, admit_all, prepare_for_all
from ..preparing.fleet import Fleet, fleet_of
from ..preparing.prepare import Prepared, Site, each_workflow, load_workflow, selection_of
from ..requests.choice import check_keep
from ..requests.request import Request
from .watching import Watching


def run(request: Request, reporter: Reporter, timing: Timing | None = None) -> int:
    """Do what the request asks. Returns the exit code.

    Raises:
        DefectForgeError: nothing was queued (RequestError), no server, or the output cannot be written any more.
    """
    if request.out is None:
        raise request_error("request.incomplete", "--out is missing", expected="--out DIR", mend="--out OUT")
    workflows = checked(request, reporter)
    with fleet_of(request, reporter) as ships:
        return run_on(request, workflows, ships, reporter, timing)


def checked(request: Request, reporter: Reporter) -> list[Workflow]:
    """The workflows of a request, after everything that can be checked before a server is started.

    Raises:
        RequestError: what is wrong with the workflows, the dataset, or the place of the output.
    """
    workflows = [load_workflow(each) for each in each_workflow(request)]
    allow_pixels(request, reporter)
    selection = selection_of(request)
    check_chosen_type(selection.open(), selection)
    if request.out is not None:
        check_place(request.out, selection.data)
    return workflows


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
    prepared = replace(prepare_for_all(request, workflows, ships.sites, say), data_as=data_as)
    if agreed is not None and prepared.plan.described() != agreed:
        raise request_error(
            "cluster.other_plan",
            "this machine would make another plan than the one that was agreed on",
            where=str(request.data),
            expected="the same photos, workflows and values on every machine",
            mend="see that every machine reads the same dataset",
        )
    for note in prepared.plan.notes:
        say(note)
    check_space(request.out, prepared.plan)
    return drive(request, prepared, ships, reporter, timing or Timing())


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
        journal.forget_servers()
        journal.start_run(request.content() | {"pairs_a_job": keep, "plan": prepared.plan.described()}, version())
        committer = Committer(out, journal, Manifest(out / MANIFEST), keep)
        adopted = committer.recover()
        if adopted:
            reporter.event("note", {"text": f"{adopted} finished pairs of an interrupted run were taken over"})
        stock = take_stock(journal, prepared.plan)
        ours, todo = stock.ours, stock.todo
        graph_names = [keep_graph(out, each.plan) for each in prepared.each]
        reporter.begin(len(ours), len(ours) - len(todo), str(out))
        wanted = None if request.until is None else request.until - stock.pairs
        rounds = journal.all_rounds()
        todo = [job.redrawn(rounds.get(job.id, 0)) for job in todo] if wanted is None or wanted > 0 else []
        source = JobSource(todo, wanted)
        events: Events = queue.SimpleQueue()

        def emit(name: str, data: dict[str, Any]) -> None:
            events.put((name, data))

        committing, standings = Committing(committer, source, emit), Standings()
        admission = Admission.of(prepared)
        admitted = admit_all(admission, ships.sites, todo, reporter)
        workers = []
        for site, accepts in zip(ships.sites, admitted, strict=True):
            collectors = [
                Collector(
                    plan=each.plan,
                    request=described(request, each, graph_name),
                    server=site.info,
                    models=model_records(each.plan, site),
                    root=request.data,
                    extra={"workflow": each.workflow.data} if each.workflow.form == "window" else {},
                )
                for each, graph_name in zip(prepared.each, graph_names, strict=True)
            ]
            collector = replace(collectors[0], methods=tuple(collectors))
            worker = Worker(
                site.client,
                source,
                journal,
                collector,
                committing,
                standings,
                emit,
                timing,
                site.launched,
                admission.admit,
                accepts,
                lost=site.lost,
            )
            adopt_submitted(worker, source, todo, journal)
            workers.append(worker)
        for site in ships.sites:
            journal.server_stands(site.client.url, UP if site.lost is None else AWAY, "")
        watching = Watching(journal, reporter, len(ours))
        limits = Limits(request.until_time, request.max_failures)
        ending = follow(workers, committing, standings, events, watching, timing, limits)
        return sum_up(ours, journal, ending, reporter, out, request.until)
    finally:
        journal.close()


def adopt_submitted(worker: Worker, source: JobSource, todo: Sequence[Job], journal: Journal) -> None:
    """Jobs that a killed run left on this very server go on there instead of being queued twice."""
    left = {row["id"]: row["prompt_id"] for row in journal.in_state(SUBMITTED) if row["server"] == worker.client.url}
    for job in todo if left else ():
        prompt_id = left.get(job.id)
        if not prompt_id:
            continue
        if worker.lost:
            worker.window.strays[prompt_id] = job
        elif worker.window.adopt(job, prompt_id):
            source.claim(job)


def sum_up(
    ours: Sequence[str], journal: Journal, ending: Ending, reporter: Reporter, out: Path, until: int | None = None
) -> int:
    there = journal.states()
    of_ours = [there[job_id] for job_id in ours]
    done, failed = (sum(state == which for state, _ in of_ours) for which in (DONE, FAILED))
    pairs = sum(given for _, given in of_ours)
    text = f"{pairs} of {until or len(ours)} pairs are in {out}"
    if until is not None and pairs > until:
        text = f"{pairs} pairs are in {out}, more than the {until} of --until"
    if until is None and pairs > done:
        text = f"{pairs} pairs from {done} of {len(ours)} jobs are in {out}"
    code = OK
    short = until is not None and pairs < until
    # Two workers that wrote to one full disk say the same.
    errors = list({error.text(): error for error in ending.errors}.values())
    for error in errors:
        reporter.error(error)
        code = error.exit_code
    if ending.interrupted:
        text, code = f"interrupted: {text}; the same command goes on", INTERRUPTED
    elif ending.stopped:
        text = f"stopped, {ending.stopped}: {text}; the same command goes on"
        code = code or (SOME_JOBS_FAILED if ending.too_many_failures else OK)
    elif short and not errors:
        text = f"{text}; all {len(ours)} jobs that --count allows are done ({failed} kept none)"
        code = code or SOME_JOBS_FAILED
    elif failed and until is None:
        text, code = f"{text}; {failed} failed; the same command tries them again", code or SOME_JOBS_FAILED
    elif errors:
        text, code = f"{text}; the same command goes on", code or NO_SERVER
    with contextlib.suppress(StorageError):
        journal.beat(len(ours), ended=text)
    reporter.end({"text": text, "done": done, "failed": failed, "total": len(ours), "out": str(out), "exit_code": code})
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
