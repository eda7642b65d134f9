"""`defectforge run ... --cluster`: cut the plan, hand shards to stations, take their outputs home.

Ray starts the stations, places them (one GPU each), notices lost ones and starts them anew, here or elsewhere. What is
left to do here is to know which shard is made: that is in the store, so this process may die at any time.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from pathlib import Path
from typing import Any

from ..commands.merge_command import tell
from ..commands.prepare import each_workflow, load_workflow, selection_of
from ..commands.request import Request
from ..errors import NO_SERVER, OK, SOME_JOBS_FAILED, DefectForgeError, RequestError, request_error, server_error
from ..outputs.journal import Journal
from ..outputs.output import JOURNAL, check_place, resolved
from ..reporter import Reporter
from ..version import version
from .home import Home
from .inputs import bring_in
from .program import Cluster, load_ray, started
from .station import ADDRESS, PATH, STORE, Station, Task, problems_of
from .store import Store, as_url, name_of
from .store import made as made_in

#: How often a shard may lose its station before it counts as what kills stations.
MOST_LOSSES = 3
#: Seconds between two looks at whether the cluster has grown.
LOOK = 30.0


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
        if home is None:
            return code
        if code == OK and own:
            shutil.rmtree(home.folder, ignore_errors=True)
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
        self._waiting: deque[int] = deque()
        self._greeted: dict[Any, Any] = {}
        """Answer to come -> station that is not known to be up."""
        self._working: dict[Any, tuple[Any, int]] = {}
        self._losses: dict[int, int] = {}
        self._known: set[tuple[str, int]] = set()
        self._stations = 0
        self._looked = 0.0
        self._problems: list[DefectForgeError] = []
        self._parts = 0

    def run(self, home: Home | None) -> int:
        if home is not None:
            home.sweep()
        self._grow(1)
        jobs, keep = self._plan()
        made = made_in(self._store)
        self._waiting.extend(
            n for n in range(1, self._parts + 1) if made.get(name_of(n, self._parts), {}).get("failed")
        )
        self._waiting.extend(n for n in range(1, self._parts + 1) if name_of(n, self._parts) not in made)
        done = sum(summary["done"] for summary in made.values())
        self._reporter.begin(jobs, done, str(home.out if home is not None else self._store.url))
        if home is not None:
            for name, summary in sorted(made.items()):
                home.take(name, summary["made"])
        while self._waiting or self._working:
            self._grow()
            self._feed()
            for name, summary in self._finished():
                made[name] = summary
                self._tell(name, summary, len(made))
                if home is not None:
                    home.take(name, summary["made"])
            if len(self._problems) >= 1 and not self._working:
                break
        return self._sum_up(jobs, keep, made, home)

    # ---- stations

    def _grow(self, most: int | None = None) -> None:
        """As many stations as there are GPUs (or as were asked for), never more than shards."""
        if most is None and time.monotonic() - self._looked < LOOK:
            return
        if most is None:
            self._looked = time.monotonic()
        resources = self._ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        wanted = self._cluster.stations or gpus or max(1, cores // 2)
        wanted = min(wanted, most or len(self._waiting) + len(self._working))
        while self._stations < wanted:
            # Ray restarts a lost station for ever; a shard that it had goes to whoever is free first.
            options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": -1, "max_task_retries": 0}
            self._greet(self._ray.remote(**options)(Station).remote(self._task))
            self._stations += 1

    def _greet(self, station: Any) -> None:
        self._greeted[station.ready.remote()] = station

    def _answered(self, timeout: float) -> list[Any]:
        """Stations that have come up."""
        if not self._greeted:
            return []
        ready, _ = self._ray.wait(list(self._greeted), num_returns=1, timeout=timeout)
        return [station for answer in ready if (station := self._welcome(answer)) is not None]

    def _welcome(self, answer: Any) -> Any:
        station = self._greeted.pop(answer)
        try:
            said = self._ray.get(answer)
        except self._ray.exceptions.RayError:
            self._greet(station)  # it died while it came up; Ray starts it anew
            return None
        if said["version"] != version():
            raise server_error(
                "cluster.version",
                f"machine {said['host']} has DefectForge {said['version']}, this one {version()}",
                expected="the same version everywhere",
                mend="install the same one there",
            )
        if (said["host"], said["pid"]) not in self._known:
            self._known.add((said["host"], said["pid"]))
            text = f"station on {said['host']}, process {said['pid']}, is up"
            self._reporter.event("station", {"text": text, **said})
            self._reporter.event("note", {"text": text})
        return station

    def _plan(self) -> tuple[int, int]:
        """(jobs, keep), agreed with what the store holds."""
        while not (up := self._answered(5.0)):
            continue
        try:
            answer = self._ray.get(up[0].plan.remote())
        except self._ray.exceptions.RayError as error:
            raise server_error(
                "cluster.station_died", f"the first station ended while it planned: {error}", mend="see Ray's log"
            ) from error
        self._greet(up[0])
        _raise_if(answer)
        for note in answer["notes"]:
            self._reporter.event("note", {"text": note})
        jobs = int(answer["plan"]["jobs"])
        parts = -(-jobs // self._cluster.shard_size)
        known = self._store.read_json("plan.json")
        if known is None:
            known = {
                "plan": answer["plan"],
                "parts": parts,
                "version": version(),
                "request": self._task.request.content(),
            }
            self._store.write_json("plan.json", known)
        if known.get("plan") != answer["plan"]:
            raise request_error(
                "cluster.other_plan",
                "the store holds the shards of another plan",
                where=self._store.url,
                expected="the same command, or a new --store and --out",
                mend="choose another --store (and --out)",
            )
        self._parts = int(known["parts"])
        return jobs, int(answer["keep"])

    # ---- shards

    def _feed(self) -> None:
        timeout = 0.0 if self._working else 1.0
        while self._waiting and (up := self._answered(timeout)):
            for station in up:
                if not self._waiting:
                    self._greet(station)
                    return
                part = self._waiting.popleft()
                self._working[station.make.remote(part, self._parts)] = (station, part)
            timeout = 0.0

    def _finished(self) -> list[tuple[str, dict[str, Any]]]:
        if not self._working:
            return []
        # Woken by a shard that is made, or, where shards wait, by a station that is free.
        self._ray.wait([*self._working, *(self._greeted if self._waiting else ())], num_returns=1, timeout=1.0)
        ready, _ = self._ray.wait(list(self._working), num_returns=len(self._working), timeout=0)
        finished = []
        for answer in ready:
            station, part = self._working.pop(answer)
            self._greet(station)
            try:
                summary = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                self._lost(part, f"its station was lost ({type(error).__name__})")
                continue
            problems = problems_of(summary)
            if problems and summary["exit_code"] == NO_SERVER:
                self._lost(part, problems[0].what)
            elif problems:
                # The request, a photo or a disk: every other shard would say the same.
                self._problems.append(RequestError(problems))
                self._waiting.clear()
            else:
                finished.append((name_of(part, self._parts), summary))
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

    def _sum_up(self, jobs: int, keep: int, made: dict[str, dict[str, Any]], home: Home | None) -> int:
        for error in self._problems:
            self._reporter.error(error)
        given_up = [n for n in range(1, self._parts + 1) if name_of(n, self._parts) not in made]
        failed = sum(summary["failed"] for summary in made.values())
        done = sum(summary["done"] for summary in made.values())
        code = self._problems[0].exit_code if self._problems else SOME_JOBS_FAILED if given_up or failed else OK
        if home is not None:
            return tell(home.finish(self._parts), home.out, self._reporter) or code
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
