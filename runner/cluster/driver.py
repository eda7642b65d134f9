"""`defectforge run ... --cluster`: cut the plan, hand shards to stations, take their outputs home.

Ray starts the stations, places them (one GPU each), notices lost ones and starts them anew, here or elsewhere. What is
left to do here is to know which shard is made: that is in the store, so this process may die at any time.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

from ..commands.preparing.prepare import each_workflow, load_workflow, selection_of
from ..commands.requests.request import Request
from ..commands.running.merge_command import tell
from ..errors import NO_SERVER, OK, SOME_JOBS_FAILED, DefectForgeError, RequestError, request_error, server_error
from ..outputs.journal import Journal
from ..outputs.output import JOURNAL, check_place, resolved
from ..reporter import Reporter
from ..version import version
from .home import Home
from .inputs import bring_in
from .program import Cluster, load_ray, started
from .station import ADDRESS, PATH, STORE, Task, problems_of
from .stations import Stations
from .store import Store, as_url, name_of
from .store import made as made_in

#: How often a shard may lose its station before it counts as what kills stations.
MOST_LOSSES = 3
#: Seconds until the user is told that no station is there.
WAITING = 60.0


def run_on_cluster(request: Request, cluster: Cluster, reporter: Reporter) -> int:
    """Returns the exit code.

    Raises:
        DefectForgeError: the request is wrong, there is no Ray, the store or OUT cannot be used.
    """
    ray = load_ray()
    _check(request, cluster)
    workflows = tuple(load_workflow(each) for each in each_workflow(request))
    out = resolved(request.out) if request.out is not None else None
    journal = None
    if out is not None:
        if as_url(request.data or "") is None:
            check_place(out, selection_of(request).data)
        out.mkdir(parents=True, exist_ok=True)
        journal = Journal(out / JOURNAL)
    try:
        own = out is not None and cluster.store is None
        store = Store(cluster.store or str((out or Path()) / ".cluster" / "store"))
        data_from = _bring_data(request, store, reporter)
        with started(ray, cluster, reporter):
            driver = Driver(ray, Task(request, workflows, store.url, data_from), cluster, store, reporter)
            home = Home(out, journal, store, request.content()) if out is not None and journal is not None else None
            code = driver.run(home)
        if code == OK and own:
            # OUT holds the pictures; what says that they are made stays, for the same command.
            for archive in Path(store.path("shards")).glob("*.tar"):
                archive.unlink(missing_ok=True)
        return code
    finally:
        if journal is not None:
            journal.close()


def _check(request: Request, cluster: Cluster) -> None:
    if request.shard is not None or request.until is not None:
        raise request_error(
            "cluster.parts",
            "--cluster cuts the plan itself and knows no common count of good pairs",
            expected="no --shard and no --until",
            mend="leave them away",
        )
    if request.out is None and cluster.store is None:
        raise request_error(
            "request.incomplete",
            "--out is missing",
            expected="--out DIR, or --store ADDRESS to leave the shards there",
            mend="--out OUT",
        )


def _bring_data(request: Request, store: Store, reporter: Reporter) -> str:
    if as_url(request.data or "") is not None:
        return ADDRESS
    selection = selection_of(request)
    if store.is_local:
        return PATH
    files = bring_in(store, selection.open())
    reporter.event("note", {"text": f"{files} files of the dataset are in the store"})
    return STORE


class Driver:
    """Hands out shards; one at a time to each station."""

    def __init__(self, ray: Any, task: Task, cluster: Cluster, store: Store, reporter: Reporter) -> None:
        self._ray, self._task, self._cluster, self._store, self._reporter = ray, task, cluster, store, reporter
        self._stations = Stations(ray, task, cluster.stations, reporter)
        self._waiting: deque[int] = deque()
        self._losses: dict[int, int] = {}
        self._problems: list[DefectForgeError] = []
        self._parts = 0
        self._agreed: dict[str, Any] = {}

    def run(self, home: Home | None) -> int:
        if home is not None:
            home.sweep()
        self._stations.grow(1, at_once=True)
        jobs = self._plan()
        made = made_in(self._store)
        every = range(1, self._parts + 1)
        self._waiting.extend(n for n in every if name_of(n, self._parts) not in made)
        # Last, and from where they are: the same command tries failed jobs again.
        self._waiting.extend(n for n in every if made.get(name_of(n, self._parts), {}).get("failed"))
        done = sum(summary["done"] for summary in made.values())
        self._reporter.begin(jobs, done, str(home.out if home is not None else self._store.url))
        if home is not None:
            for name, summary in sorted(made.items()):
                home.take(name, summary)
        while self._waiting or self._stations.working:
            self._stations.grow(len(self._waiting) + self._stations.working)
            self._feed()
            for name, summary in self._finished():
                made[name] = summary
                self._tell(name, summary, len(made))
                if home is not None:
                    home.take(name, summary)
        return self._sum_up(jobs, made, home)

    def _plan(self) -> int:
        """How many jobs, agreed with what the store holds."""
        told = time.monotonic()
        while not (free := self._stations.free(1.0)):
            if time.monotonic() - told > WAITING:
                told = time.monotonic()
                text = "waiting for the first station: Ray has no free GPU (or core) for it yet"
                self._reporter.event("note", {"text": text})
        try:
            answer = self._ray.get(free[0].plan.remote())
        except self._ray.exceptions.RayError as error:
            raise server_error(
                "cluster.station_died", f"the first station ended while it planned: {error}", mend="see Ray's log"
            ) from error
        self._stations.back(free[0])
        _raise_if(answer)
        for note in answer["notes"]:
            self._reporter.event("note", {"text": note})
        jobs = int(answer["plan"]["jobs"])
        parts = -(-jobs // self._cluster.shard_size)
        known = self._store.read_json("plan.json")
        if known is None:
            request = self._task.request.content()
            known = {"plan": answer["plan"], "parts": parts, "version": version(), "request": request}
            self._store.write_json("plan.json", known)
        if known.get("plan") != answer["plan"]:
            raise request_error(
                "cluster.other_plan",
                "the store holds the shards of another plan",
                where=self._store.url,
                expected="the same command, or a new --store and --out",
                mend="choose another --store (and --out)",
            )
        self._parts, self._agreed = int(known["parts"]), answer["plan"]
        return jobs

    # ---- shards

    def _feed(self) -> None:
        timeout = 0.0 if self._stations.working else 1.0
        while self._waiting and (free := self._stations.free(timeout)):
            for station in free:
                if not self._waiting:
                    self._stations.back(station)
                    return
                self._stations.make(station, self._waiting.popleft(), self._parts, self._agreed)
            timeout = 0.0

    def _finished(self) -> list[tuple[str, dict[str, Any]]]:
        finished = []
        for part, answer in self._stations.ended(wake_for_free=bool(self._waiting)):
            if isinstance(answer, Exception):
                self._lost(part, f"its station was lost ({type(answer).__name__})")
                continue
            problems = problems_of(answer)
            if problems and answer["exit_code"] == NO_SERVER:
                self._lost(part, problems[0].what)
            elif problems:
                # The request, a photo or a disk: every other shard would say the same.
                self._problems.append(RequestError(problems))
                self._waiting.clear()
            else:
                finished.append((name_of(part, self._parts), answer))
        return finished

    def _lost(self, part: int, why: str) -> None:
        self._losses[part] = self._losses.get(part, 0) + 1
        again = self._losses[part] < MOST_LOSSES
        text = f"shard {part}: {why}; " + ("it goes to the next free station" if again else "given up")
        self._reporter.event("warning", {"text": text})
        if again:
            self._waiting.appendleft(part)

    # ---- telling

    def _tell(self, name: str, summary: dict[str, Any], made: int) -> None:
        for note in summary["notes"]:
            self._reporter.line(f"{name}: {note}")
        seconds = summary["seconds"]
        text = (
            f"shard {name} from {summary['host']}: {summary['done']} done, {summary['failed']} failed in "
            f"{seconds['run']:.1f} s and {seconds['around']:.1f} s around it; {made} of {self._parts} shards"
        )
        self._reporter.event("shard", {"text": text, "name": name, **summary})
        self._reporter.event("note", {"text": text})

    def _sum_up(self, jobs: int, made: dict[str, dict[str, Any]], home: Home | None) -> int:
        for error in self._problems:
            self._reporter.error(error)
        given_up = [n for n in range(1, self._parts + 1) if name_of(n, self._parts) not in made]
        failed = sum(summary["failed"] for summary in made.values())
        done = sum(summary["done"] for summary in made.values())
        code = self._problems[0].exit_code if self._problems else SOME_JOBS_FAILED if given_up or failed else OK
        if home is not None:
            told = tell(home.finish(self._parts), home.out, self._reporter)
            return code if self._problems else told or code
        text = f"{done} of {jobs} jobs are in {self._store.url}/shards"
        if given_up or failed:
            text += f"; {failed} failed, {len(given_up)} shards are missing; the same command goes on"
        self._reporter.end(
            {"text": text, "done": done, "failed": failed, "total": jobs, "out": self._store.url, "exit_code": code}
        )
        return code


def _raise_if(answer: dict[str, Any]) -> None:
    problems = problems_of(answer)
    if problems:
        error: DefectForgeError = RequestError(problems)
        if answer["exit_code"] == NO_SERVER:
            error = server_error("", "")
            error.problems = problems
        raise error
