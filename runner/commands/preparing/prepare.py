"""From a request and a server to a checked plan: nothing is queued or written before all of it is known to be right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...checkpoints.choose_lora import lora_settings, strange_loras
from ...checkpoints.choose_model import Choice, choose, missing_models, raise_if
from ...checkpoints.families import misfits
from ...checkpoints.fetch import check_hash, fetch
from ...checkpoints.models import CHECKPOINT_LOADERS, by_file, files_named, local_path, models_directory
from ...errors import DefectForgeError, Problem, ServerError, quoted, request_error
from ...graphs.convert import queue_form
from ...graphs.graph import Graph, Workflow, load
from ...graphs.overrides import Axis, Setting, apply, parse_sets, parse_varies
from ...graphs.roles import find_roles
from ...graphs.schema import find_problems
from ...plans.plan import Method, Plan, Selection, plan_of
from ...servers.client import Client, ServerInfo
from ...servers.local.launched import Launched
from ..requests.choice import choice_settings, planned
from ..requests.parts import hand_over
from ..requests.request import LIMITS, Request, shard_of

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
    model: str | None = None
    """Where the plan names one for this workflow alone."""
    methods: tuple[Prepared, ...] = ()
    """Where the plan has several workflows: all of them, each with the plan as its jobs see it."""
    data_as: str | None = None
    """What records call the dataset, where the one that is read is a copy."""

    @property
    def each(self) -> tuple[Prepared, ...]:
        return tuple(replace(method, data_as=self.data_as) for method in self.methods) or (self,)


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
    for name, text in (("category", request.category), ("type", request.type), *(("types", t) for t in request.types)):
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
        part_masks=request.part_masks,
        types=request.types,
        references=request.references or 1,
        seeds=request.seeds or 1,
    )


def prepare(
    request: Request, workflows: Sequence[Workflow], site: Site, say: Say, object_info: dict[str, Any] | None = None
) -> Prepared:
    """Convert, override, choose the model, check, and plan.

    Args:
        workflows: as `each_workflow` names them.
        object_info: what to check against; by default what the server has.

    Raises:
        RequestError: with every problem that was found at that stage.
    """
    object_info = object_info or site.client.object_info()
    selection = selection_of(request)
    methods: list[Method] = []
    parts: list[Prepared] = []
    for each, loaded in zip(each_workflow(request), workflows, strict=True):
        graph, choice, sets, problems = checked_graph(each, loaded, site, object_info, say)
        raise_if(problems)
        axes = parse_varies(each.vary, graph, object_info)
        shared = hand_over(each, graph, selection, object_info, sets, axes, say)
        method = Method(graph, find_roles(graph, loaded.name), tuple(axes), tuple(sets), loaded.name, shared)
        methods.append(method)
        parts.append(Prepared(loaded, Plan(graph, method.roles, ()), choice, method.settings, method.axes, each.model))
    plan = plan_of(methods, selection)
    if len(parts) == 1:
        return replace(parts[0], plan=plan)
    each_part = tuple(replace(part, plan=plan.of_method(number)) for number, part in enumerate(parts))
    return replace(parts[0], plan=plan, methods=each_part)


def each_workflow(request: Request) -> list[Request]:
    """The request for each workflow of a plan: what is said for it alone comes after what is said for all."""
    if not request.workflows:
        return [request]
    return [
        replace(
            request,
            workflow=chosen.workflow,
            set=(*request.set, *chosen.set),
            vary=(*request.vary, *chosen.vary),
            model=chosen.model or request.model,
            workflows=(),
        )
        for chosen in request.workflows
    ]


def checked_graph(
    request: Request, workflow: Workflow, site: Site, object_info: dict[str, Any], say: Say
) -> tuple[Graph, Choice, list[Setting], list[Problem]]:
    """The graph with model and overrides applied, and everything that is wrong with it."""
    graph = queue_form(workflow, object_info, site.is_embedded, seed=request.seed or 0, say=say)
    # The model first: a --set of the same input is the more particular wish.
    names = set(CHECKPOINT_LOADERS.values())
    fixed = {title.strip() for title, _, name in map(_address, request.set) if name.strip() in names}
    choice = choose(graph, object_info, request.model, site.models, fixed)
    for note in choice.notes:
        say(note)
    for model in choice.generate:
        fetch(model, site.models or models_directory())
    if choice.generate:
        object_info.update(site.client.object_info())
    apply(graph, choice.settings)
    lora, is_new = lora_settings(request.lora, graph, object_info, site.models, site.client.file_metadata, say)
    if is_new:
        object_info.update(site.client.object_info())
    apply(graph, lora)
    choice.settings += lora
    problems: list[Problem] = []
    sets: list[Setting] = []
    try:
        sets = [*choice_settings(request, graph), *parse_sets(request.set, graph, object_info)]
        apply(graph, sets)
    except DefectForgeError as error:
        problems += error.problems
    problems += _broken_models(graph, site)
    problems += strange_loras(graph, site.models, site.client.file_metadata, say)
    problems += problems_on(site, graph, object_info, workflow)
    return graph, choice, sets, problems


def problems_on(
    site: Site, graph: Graph, object_info: dict[str, Any], workflow: Workflow | None = None
) -> list[Problem]:
    """What a server would not run of a graph: models that do not go together or are missing, inputs that are wrong."""
    unfit, refused = misfits(graph, object_info, site.is_embedded)
    missing, named = missing_models(graph, object_info, site.client.url, workflow, site.models_name, refused)
    exempt = named | refused | filled_in(graph)
    return [*unfit, *missing, *find_problems(graph, object_info, exempt=exempt, embedded=site.is_embedded)]


def _address(text: str) -> tuple[str, str, str]:
    """'Title.input=value' -> ('Title', '.', 'input'); what is wrong with it is said where it is read."""
    return text.partition("=")[0].rpartition(".")


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


def filled_in(graph: Graph) -> set[tuple[str, str]]:
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
