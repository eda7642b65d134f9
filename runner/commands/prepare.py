"""From a request and a server to a checked plan: nothing is queued or written before all of it is known to be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.choose_model import Choice, choose, missing_models, raise_if
from ..checkpoints.fetch import check_hash, fetch
from ..checkpoints.models import by_file, files_named, local_path, models_directory
from ..errors import DefectForgeError, Problem, ServerError, quoted, request_error
from ..graphs.convert import queue_form
from ..graphs.graph import Graph, Workflow, load
from ..graphs.overrides import Axis, Setting, apply, parse_sets, parse_varies
from ..graphs.roles import find_roles
from ..graphs.schema import find_problems
from ..plans.plan import Plan, Selection, make_plan
from ..servers.client import Client, ServerInfo
from ..servers.local.launched import Launched
from .choice import choice_settings, planned
from .request import LIMITS, Request, shard_of

Say = Callable[[str], None]
MOST_DRAWS = LIMITS["count"][1]


@dataclass(frozen=True)
class Prepared:
    """A plan that the server accepts."""

    workflow: Workflow
    plan: Plan
    choice: Choice
    sets: tuple[Setting, ...]
    axes: tuple[Axis, ...] = ()


@dataclass
class Site:
    """The server a request is prepared for. `models` is set only for our own (embedded) server."""

    client: Client
    info: ServerInfo
    models: Path | None = None
    launched: Launched | None = None
    """If it was."""
    lost: ServerError | None = None
    """Why it cannot be used yet."""

    @property
    def is_embedded(self) -> bool:
        return self.info.kind == "embedded"

    @property
    def models_name(self) -> str:
        return str(self.models) if self.models is not None else "models"


def selection_of(request: Request) -> Selection:
    if request.data is None:
        raise request_error(
            "request.incomplete", "--data is missing", expected="--data ROOT", mend="see `defectforge run --help`"
        )
    if request.count is not None and request.count > MOST_DRAWS:
        raise request_error(
            "plan.count",
            f"--count {quoted(request.count)}",
            expected=f"at most {MOST_DRAWS} in one run",
            mend="split the work: other seeds (--seed) into other folders (--out)",
        )
    for name in ("category", "type"):
        text = getattr(request, name)
        if text is not None and not text.isprintable():
            raise request_error(
                "data.name",
                f"--{name} {quoted(text)} holds what cannot stand in a name",
                expected="letters that every system can show",
                mend="rename the folder, or choose another",
            )
    return Selection(
        data=request.data,
        category=request.category,
        type=request.type,
        new_type=request.new_type,
        count=planned(request),
        seed=request.seed or 0,
        shard=shard_of(request.shard),
        layout=request.layout,
    )


def prepare(
    request: Request, workflow: Workflow, site: Site, say: Say, object_info: dict[str, Any] | None = None
) -> Prepared:
    """Convert, override, choose the model, check, and plan.

    Args:
        object_info: what to check against; by default what the server has.

    Raises:
        RequestError: with every problem that was found at that stage.
    """
    object_info = object_info or site.client.object_info()
    graph, choice, sets, problems = checked_graph(request, workflow, site, object_info, say)
    raise_if(problems)
    axes = parse_varies(request.vary, graph, object_info)
    plan = make_plan(graph, find_roles(graph, workflow.name), selection_of(request), axes, sets)
    return Prepared(workflow, plan, choice, tuple(sets), tuple(axes))


def checked_graph(
    request: Request, workflow: Workflow, site: Site, object_info: dict[str, Any], say: Say
) -> tuple[Graph, Choice, list[Setting], list[Problem]]:
    """The graph with model and overrides applied, and everything that is wrong with it."""
    graph = queue_form(workflow, object_info, site.is_embedded, seed=request.seed or 0, say=say)
    # The model first: a --set of the same input is the more particular wish.
    fixed = {text.partition("=")[0].rpartition(".")[0].strip() for text in request.set if "ckpt_name" in text}
    choice = choose(graph, object_info, request.model, site.models, fixed)
    for note in choice.notes:
        say(note)
    for model in choice.generate:
        fetch(model, site.models or models_directory())
    if choice.generate:
        object_info.update(site.client.object_info())
    apply(graph, choice.settings)
    problems: list[Problem] = []
    sets: list[Setting] = []
    try:
        sets = [*choice_settings(request, graph), *parse_sets(request.set, graph, object_info)]
        apply(graph, sets)
    except DefectForgeError as error:
        problems += error.problems
    problems += _broken_models(graph, site)
    missing, named = missing_models(graph, object_info, site.client.url, workflow, site.models_name)
    problems += missing
    problems += find_problems(graph, object_info, exempt=named | _filled_in(graph), embedded=site.is_embedded)
    return graph, choice, sets, problems


def _broken_models(graph: Graph, site: Site) -> list[Problem]:
    """Files of our own server that are not what the table pins: a truncated one would fail every job."""
    problems: list[Problem] = []
    for _, _, folder, file in files_named(graph) if site.models is not None else ():
        model, path = by_file(file), local_path(folder, file, site.models)
        if model is not None and path is not None:
            try:
                check_hash(model, path)
            except DefectForgeError as error:
                problems += error.problems
    return problems


def _filled_in(graph: Graph) -> set[tuple[str, str]]:
    """Inputs that the runner sets; a graph without these roles is still checked for the rest."""
    try:
        return find_roles(graph, "").filled_in
    except DefectForgeError:
        return set()


def load_workflow(request: Request) -> Workflow:
    if not request.workflow:
        raise request_error(
            "request.incomplete",
            "no workflow is given",
            expected="a workflow file, or the name of one that comes with DefectForge",
            mend="defectforge run inpaint_latent_noise --data ROOT --category NAME --out OUT",
        )
    return load(request.workflow)
