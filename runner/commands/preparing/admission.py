"""Several servers, one request: each gets the jobs that passed its check, and only those."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ...errors import Problem, RequestError, ServerError, request_error, server_error
from ...graphs.graph import Graph, Workflow, copied
from ...graphs.overrides import Axis, Setting, apply, combinations
from ...graphs.schema import find_problems
from ...plans.plan import Job
from ...reporter import Reporter
from ...servers.answers import Unclear, Unreachable
from ...servers.client import Client
from ...servers.worker import Accepts
from ..requests.request import Request
from .prepare import Prepared, Say, Site, filled_in, prepare


class Admission:
    """Checks every graph of a plan, with every combination of varied values, against what a server has."""

    def __init__(self, *graphs: tuple[Graph, Sequence[Axis]]) -> None:
        self._graphs = [graph for graph, _ in graphs]
        self._ways = [(number, combo) for number, (_, axes) in enumerate(graphs) for combo in combinations(axes)]

    @classmethod
    def of(cls, prepared: Prepared) -> Admission:
        return cls(*((each.plan.graph, each.axes) for each in prepared.each))

    def admit(self, client: Client) -> Accepts | None:
        """Which jobs a server may have; None: all of them.

        Raises:
            RequestError: none.
            ServerError, Unreachable, Unclear: it does not say.
        """
        return self.check(client.object_info())

    def check(self, object_info: dict[str, Any]) -> Accepts | None:
        """As `admit`, for what a server answered to /object_info."""
        wrong = {way: self._problems(*way, object_info) for way in self._ways}
        if all(wrong.values()):
            raise RequestError(next(iter(wrong.values())))
        if not any(wrong.values()):
            return None
        fine = {way for way, problems in wrong.items() if not problems}
        return lambda job: (job.method, job.varied) in fine

    def _problems(self, method: int, combo: tuple[Setting, ...], object_info: dict[str, Any]) -> list[Problem]:
        graph = copied(self._graphs[method])
        apply(graph, combo)
        return find_problems(graph, object_info, exempt=filled_in(graph))

    def uncovered(self, accepts: Sequence[Accepts | None], jobs: Sequence[Job]) -> Job | None:
        """A job that no server may have."""
        if any(accept is None for accept in accepts):
            return None
        return next((job for job in jobs if not any(accept(job) for accept in accepts if accept)), None)


def prepare_for_all(request: Request, workflows: Sequence[Workflow], sites: Sequence[Site], say: Say) -> Prepared:
    """The plan as the first server accepts it that can; what only some of them have may be spread over them.

    Raises:
        RequestError: what the first server says, where none accepts it, alone or together.
    """
    reachable = [site for site in sites if site.lost is None]
    errors = []
    for site in reachable:
        try:
            return prepare(request, workflows, site, say)
        except RequestError as error:
            errors.append(error)
    if len(reachable) > 1:
        try:
            return prepare(request, workflows, reachable[0], say, united([s.client.object_info() for s in reachable]))
        except RequestError:
            pass
    raise errors[0]


def admit_all(
    admission: Admission, sites: Sequence[Site], todo: Sequence[Job], reporter: Reporter
) -> list[Accepts | None]:
    """Which jobs each server may have. One that may have none is told, and asked again later."""
    if len(sites) == 1:
        return [None]  # the plan was made for it
    admitted: list[Accepts | None] = []
    for site in sites:
        accepts: Accepts | None = None
        if site.lost is None:
            try:
                accepts = admission.admit(site.client)
            except RequestError as error:
                site.lost = left_out(site, error)
            except (ServerError, Unreachable, Unclear) as error:
                site.lost = error if isinstance(error, ServerError) else server_error("server.unreachable", str(error))
            if site.lost is not None:
                reporter.event("warning", {"text": f"{site.lost.problems[0].what}; going on with the others"})
        admitted.append(accepts)
    working = [accepts for site, accepts in zip(sites, admitted, strict=True) if site.lost is None]
    nobody = admission.uncovered(working, todo)
    if nobody is not None:
        values = ", ".join(f"{setting.title}.{setting.input}={setting.value}" for setting in nobody.varied)
        raise request_error(
            "plan.no_server_for_job",
            f"no server may have job {nobody.index} ({values})",
            where="the checks of all servers that answer",
            expected="for every job a server with its nodes and models",
            mend="give one server all that this job needs, or leave that value out",
        )
    versions = sorted({site.info.core for site in sites if site.lost is None})
    if len(versions) > 1:
        said = f"the servers differ ({', '.join(versions)}): the same seed may give other pixels there"
        reporter.event("note", {"text": f"{said}; each record names its server"})
    return admitted


def united(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What several servers have together: every node, and every choice of its lists."""
    result = copy.deepcopy(infos[0])
    for info in infos[1:]:
        for name, entry in info.items():
            _unite(result.setdefault(name, entry), entry)
    return result


def _unite(into: dict[str, Any], entry: dict[str, Any]) -> None:
    for kind in ("required", "optional"):
        mine, other = (((node.get("input") or {}).get(kind) or {}) for node in (into, entry))
        for name, spec in other.items():
            ours, theirs = _choices(mine.get(name)), _choices(spec)
            if ours is not None and theirs is not None:
                ours += [choice for choice in theirs if choice not in ours]


def _choices(spec: Any) -> list[Any] | None:
    """The list of a combo, in either of its forms."""
    if not isinstance(spec, (list, tuple)) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1].get("options") if len(spec) > 1 and isinstance(spec[1], dict) else None
    return options if isinstance(options, list) else None


def left_out(site: Site, error: RequestError) -> ServerError:
    """Why a server gets none of the jobs; it is asked again now and then, somebody may mend it."""
    what = "; ".join(dict.fromkeys(problem.what for problem in error.problems))
    first = error.problems[0]
    return ServerError(
        Problem(
            "server.not_admitted",
            f"the server at {site.client.url} gets no job: {what}",
            first.where,
            first.expected,
            first.mend,
        )
    )
