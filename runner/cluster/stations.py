"""The stations of a run, as Ray has them: which are up and free, which work, which are being started anew."""

from __future__ import annotations

import time
from typing import Any

from ..errors import NO_SERVER, server_error
from ..reporter import Reporter
from ..version import version
from .station import Station, Task

#: Seconds between two looks at whether the cluster has grown.
LOOK = 30.0
#: Seconds until a station that is being started anew is asked again.
PAUSE = 1.0
#: Seconds that a station whose server failed gets nothing, times its failures; after so many it is given up.
REST, MOST_FAILURES = 30.0, 3


class Stations:
    """Starts them, and knows which one is free.

    Args:
        ray: the module.
        number: how many; None: one for each GPU, without any GPU one for two cores.
    """

    def __init__(self, ray: Any, task: Task, number: int | None, reporter: Reporter) -> None:
        self._ray, self._task, self._number, self._reporter = ray, task, number, reporter
        self._greeted: dict[Any, Any] = {}
        """Answer to come -> station that is not known to be free."""
        self._restarting: dict[Any, float] = {}
        """Station that Ray starts anew -> when to ask again."""
        self._working: dict[Any, tuple[Any, int]] = {}
        """Answer to come -> station, and the part of the plan that it makes."""
        self._failures: dict[Any, int] = {}
        """Station -> how often its server failed, one time after the other."""
        self._known: set[tuple[str, int]] = set()
        self._started = 0
        self._looked = 0.0

    @property
    def working(self) -> int:
        return len(self._working)

    def grow(self, most: int, at_once: bool = False) -> None:
        """As many as there are GPUs now (or as were asked for), but not more than `most`."""
        if not at_once and time.monotonic() - self._looked < LOOK:
            return
        self._looked = 0.0 if at_once else time.monotonic()
        resources = self._ray.cluster_resources()
        gpus, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
        wanted = min(self._number or gpus or max(1, cores // 2), most)
        while self._started < wanted:
            # Ray restarts a lost station for ever; a shard that it had goes to whoever is free first.
            options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": -1, "max_task_retries": 0}
            self.back(self._ray.remote(**options)(Station).remote(self._task))
            self._started += 1

    def back(self, station: Any) -> None:
        """It has nothing to do; it is free once it answers."""
        self._greeted[station.ready.remote()] = station

    def free(self, timeout: float) -> list[Any]:
        """Stations that have come up, or are free again; each is the caller's until it is given `back`.

        Raises:
            ServerError: none can come up.
        """
        now = time.monotonic()
        for station in [station for station, moment in self._restarting.items() if moment <= now]:
            del self._restarting[station]
            self.back(station)
        if not self._greeted:
            time.sleep(min(timeout, PAUSE / 2))
            return []
        ready, _ = self._ray.wait(list(self._greeted), num_returns=1, timeout=timeout)
        return [station for answer in ready if (station := self._welcome(answer)) is not None]

    def make(self, station: Any, part: int, parts: int, agreed: dict[str, Any]) -> None:
        self._working[station.make.remote(part, parts, agreed)] = (station, part)

    def ended(self, wake_for_free: bool) -> list[tuple[int, dict[str, Any] | Exception]]:
        """(part, how it ended) of what was made or lost; waits a little for it.

        Args:
            wake_for_free: do not wait on where a station is free.
        """
        if not self._working:
            return []
        waited = [*self._working, *(self._greeted if wake_for_free else ())]
        self._ray.wait(waited, num_returns=1, timeout=1.0)
        ready, _ = self._ray.wait(list(self._working), num_returns=len(self._working), timeout=0)
        ended: list[tuple[int, dict[str, Any] | Exception]] = []
        for answer in ready:
            station, part = self._working.pop(answer)
            try:
                said = self._ray.get(answer)
            except self._ray.exceptions.RayError as error:
                self.back(station)
                ended.append((part, error))
                continue
            self._rest_or_back(station, said)
            ended.append((part, said))
        return ended

    def _rest_or_back(self, station: Any, said: dict[str, Any]) -> None:
        """A station whose server fails gets nothing for a while: it would take shard after shard, and spoil them."""
        if said["exit_code"] != NO_SERVER:
            self._failures.pop(station, None)
            self.back(station)
            return
        failures = self._failures[station] = self._failures.get(station, 0) + 1
        if failures < MOST_FAILURES:
            self._restarting[station] = time.monotonic() + REST * failures
        else:
            self._never_up(Exception(said["problems"][0]["what"] if said.get("problems") else "its server fails"))

    def _welcome(self, answer: Any) -> Any:
        station = self._greeted.pop(answer)
        try:
            said = self._ray.get(answer)
        except self._ray.exceptions.ActorUnavailableError:
            # Ray starts it anew, here or on another machine.
            self._restarting[station] = time.monotonic() + PAUSE
            return None
        except self._ray.exceptions.RayError as error:
            self._never_up(error)
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

    def _never_up(self, error: Exception) -> None:
        """A machine on which a station cannot live: the others go on without it."""
        why = str(error).strip().splitlines()[-1]
        self._reporter.event("warning", {"text": f"a station does not come up: {why}"})
        if not (self._greeted or self._restarting or self._working):
            raise server_error(
                "cluster.no_station",
                f"no station comes up: {why}",
                where="on the machines of the cluster",
                expected="DefectForge and its dependencies on every machine, as here",
                mend="pip install 'defectforge[cluster,embedded]' there; the same command goes on",
            ) from error
