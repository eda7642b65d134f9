"""`defectforge check`: everything that would fail with a workflow on a server, at once, before anything is queued."""

from __future__ import annotations

from ...checkpoints.models import files_named
from ...errors import BAD_REQUEST, OK, RequestError
from ...graphs.graph import Workflow
from ...reporter import Reporter
from ..preparing.fleet import fleet
from ..preparing.prepare import Site, checked_graph, load_workflow
from ..requests.request import Request


def check(request: Request, reporter: Reporter) -> int:
    """Report every problem for every server; returns the exit code."""
    workflow = load_workflow(request)
    code = OK
    with fleet(request.server, request.models, reporter, request.header_file) as ships:
        for site in ships.sites:
            try:
                _check_one(request, workflow, site, reporter)
            except RequestError as error:
                reporter.error(error)
                code = BAD_REQUEST
            else:
                reporter.line(
                    f"{workflow.name}: nothing is wrong for {site.info.kind} {site.info.version} at {site.client.url}"
                )
    return code


def _check_one(request: Request, workflow: Workflow, site: Site, reporter: Reporter) -> None:
    object_info = site.client.object_info()
    graph, _, _, problems = checked_graph(request, workflow, site, object_info, reporter.line)
    if problems:
        raise RequestError(problems)
    files = sorted({file for _, _, _, file in files_named(graph)})
    reporter.line(f"{len(graph)} nodes; model files: {', '.join(files) or 'none'}")
