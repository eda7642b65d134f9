"""Window form -> queue form: the graph that ComfyUI's own window would queue, or why it cannot be known.

The steps are the window's: open the file, let primitives write their values, put the insides of subgraphs in place of
their instances, then for every node that runs its values and its links. Each step is a file in `window/`.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

from ..errors import Problem, RequestError, request_error
from .graph import Graph, Workflow, is_link
from .packs import pack_of_window_node, unknown_class_problem
from .window import group_nodes, texts
from .window.fields import CONTROL_MODES
from .window.node import Node, Widget
from .window.opening import Drawing, open_drawing
from .window.resolve import Placed, Resolver, Value, placed_nodes, sent_nodes
from .window.values import names_ignored
from .window.virtual import PRIMITIVE, only_in_the_window, unread_values, write_primitive

Say = Callable[[str], None]


def queue_form(
    workflow: Workflow,
    object_info: dict[str, Any],
    embedded: bool = False,
    *,
    seed: int = 0,
    say: Say | None = None,
    choose: texts.Chooser | None = None,
    now: datetime | None = None,
) -> Graph:
    """The graph that is sent to the queue.

    `seed` decides between the wordings of dynamic prompts ({a|b}), or `choose(where, count)` does; `now` is the time
    that %date:...% stands for. `say` hears of every such choice, and of values that the window reads otherwise than
    their names in the file say.

    Raises:
        RequestError: unknown node classes (all of them), values that only the window can compute (all of them), or a
            graph that the window could not queue either.
    """
    if workflow.form == "queue":
        return {str(node_id): copy.deepcopy(node) for node_id, node in workflow.data.items()}
    try:
        drawing = open_drawing(group_nodes.expanded(workflow.data, object_info), object_info)
        return _Queueing(drawing, workflow, object_info, embedded, say, choose or _seeded(seed), now).graph()
    except RequestError as error:
        raise _placed_in(error, workflow) from error


def _seeded(seed: int) -> texts.Chooser:
    """The choice of a wording depends on the seed and on where it stands, not on the order of the nodes."""

    def choose(where: str, count: int) -> int:
        return random.Random(f"{seed} {where}").randrange(count)

    return choose


class _Queueing:
    """One graph on its way to the queue."""

    def __init__(
        self,
        drawing: Drawing,
        workflow: Workflow,
        object_info: dict[str, Any],
        embedded: bool,
        say: Say | None,
        choose: texts.Chooser,
        now: datetime | None,
    ) -> None:
        self.workflow, self.object_info, self.embedded = workflow, object_info, embedded
        self.say: Say = say or (lambda line: None)
        self.choose, self.now = choose, now or datetime.now()
        self.placed = placed_nodes(drawing.root)
        self.resolver = Resolver(self.placed)
        self.problems: list[Problem] = []
        # Each node once, though its subgraph may be there many times.
        self.nodes = list({id(entry.node): entry.node for entry in self.placed.values()}.values())

    def graph(self) -> Graph:
        self._refuse_unknown()
        for node in self.nodes:
            if node.type == PRIMITIVE and node.virtual:
                write_primitive(node, node.sheet, self._replaced)
        self._say_what_is_not_read()
        graph = {entry.id: self._queued(entry) for entry in sent_nodes(self.placed)}
        if self.problems:
            raise RequestError(self.problems)
        if not graph:
            raise request_error(
                "workflow.empty",
                "nothing of the workflow is left to run",
                where=str(self.workflow.path),
                expected="at least one node that is neither muted nor bypassed",
                mend="unmute the nodes in the window and save the workflow",
            )
        for queued in graph.values():
            inputs = queued["inputs"]
            for name in [name for name, value in inputs.items() if is_link(value) and value[0] not in graph]:
                del inputs[name]
        return graph

    def _refuse_unknown(self) -> None:
        for entry in sent_nodes(self.placed):
            node = entry.node
            problem = only_in_the_window(node)
            if problem is None and node.info is None:
                where = f"node '{node.title}' (id {entry.id}) in {self.workflow.path.name}"
                pack = pack_of_window_node(node.saved)
                problem = unknown_class_problem(node.type, where, self.object_info, pack, self.embedded)
            if problem is not None:
                self.problems.append(problem)
        if self.problems:
            raise RequestError(self.problems)

    def _say_what_is_not_read(self) -> None:
        for node in self.nodes:
            if node.info is not None and not node.virtual and node.mode == 0:
                surplus = unread_values(node, sum(widget.kept for widget in node.widgets))
                if surplus:
                    self.say(surplus)
                for name, (by_name, by_place) in names_ignored(node).items():
                    self.say(
                        f"{node.label}: {name} = {by_place!r}, as the window reads it, by place; "
                        f"by its name in the file it would be {by_name!r}"
                    )

    def _queued(self, entry: Placed) -> dict[str, Any]:
        node = entry.node
        inputs: dict[str, Any] = {}
        for widget in node.widgets:
            if widget.sent and widget.kind != "scripted":
                inputs[widget.name] = _wrapped(self._field(entry, widget), widget)
        for number, slot in enumerate(node.inputs):
            source = self.resolver.source(entry, number)
            if isinstance(source, Value):
                inputs[slot.name] = _wrapped(source.value)
                self._say_odd(entry, slot.name, source.value)
            elif source is not None:
                inputs[slot.name] = [source.id, source.slot]
        for widget in node.widgets:
            if widget.kind == "scripted" and widget.name not in inputs:
                self.problems.append(_scripted(entry, widget))
        return {"class_type": node.type, "inputs": inputs, "_meta": _meta(node)}

    def _field(self, entry: Placed, widget: Widget) -> Any:
        node, value = entry.node, widget.value
        if widget.kind == "index":
            return self._index_of_choice(entry)
        if node.saved.get("shown_outside"):
            return value
        if isinstance(value, str) and widget.name == "filename_prefix" and node.type in texts.SAVERS:
            filled = self._replaced(value)
        elif isinstance(value, str) and widget.dynamic:
            where = f"{entry.id}.{widget.name}"
            filled = texts.dynamic_prompt(value, lambda count: self.choose(where, count))
        else:
            return value
        if filled != value and "%date:" in value:
            self.say(f"{node.label}: {widget.name} holds the time of this conversion: {filled!r}")
        elif filled != value and "{" in value:
            self.say(f"{node.label}: {widget.name} has several wordings; chosen: {filled!r}")
        return filled

    def _index_of_choice(self, entry: Placed) -> int:
        """CustomCombo sends the number of its choice among its options beside the choice."""
        node = entry.node
        choice = node.widgets[0]
        number = next((n for n, slot in enumerate(node.inputs) if slot.widget == choice.name), None)
        source = self.resolver.source(entry, number) if number is not None else None
        value = source.value if isinstance(source, Value) else choice.value
        options = [widget.value for widget in node.widgets[2:]]
        return options.index(value) if value in options else -1

    def _replaced(self, text: str) -> str:
        return texts.replaced(text, self.nodes, self.now)

    def _say_odd(self, entry: Placed, name: str, value: Any) -> None:
        """What the window queues of a value shown on a subgraph, though nobody may have meant it."""
        widget = entry.node.widget(name)
        if widget is not None and widget.kind in ("int", "float") and value in CONTROL_MODES:
            self.say(
                f"{entry.node.label}: {name} = {value!r}, as the window reads it: the subgraph's values are saved with "
                "a place for the control of a seed, which today's window does not expect; set them again and save"
            )
        elif (
            widget is not None
            and widget.dynamic
            and isinstance(value, str)
            and texts.dynamic_prompt(value, lambda n: 0) != value
        ):
            self.say(
                f"{entry.node.label}: {name} comes from a subgraph's own field; the window queues such a text as it "
                "is, with its braces and comments"
            )


def _wrapped(value: Any, widget: Widget | None = None) -> Any:
    """A list is wrapped, so that the server does not take it for a link; a curve carries its type."""
    value = _as_javascript(value)
    if widget is not None and widget.kind == "curve" and value is not None:
        return {"__type__": "CURVE", "__value__": value}
    return {"__value__": value} if isinstance(value, list) else value


def _as_javascript(value: Any) -> Any:
    """Whole numbers beyond 2^53 lose their last digits in the window."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 2**53:
        try:
            return int(Decimal(repr(float(value))))
        except OverflowError:
            return None
    return copy.deepcopy(value) if isinstance(value, (list, dict)) else value


def _scripted(entry: Placed, widget: Widget) -> Problem:
    return Problem(
        "workflow.only_in_the_window",
        f"the value '{widget.name}' is computed by the window when the graph is queued: {widget.scripted}",
        f"{entry.node.label}, {widget.name}",
        "values that are in the file",
        "replace the node by one that loads a file, or queue this graph from the window",
    )


IDENTITY = re.compile(r"(?![_\-.])[A-Za-z0-9_.-]{1,100}(?<![_\-.])")
AUX = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}/(?![_\-.])[A-Za-z0-9_.-]{1,100}(?<![_\-.])")
VERSION = re.compile(
    r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[\da-z-]+(?:\.[\da-z-]+)*)?(?:\+[\da-z-]+(?:\.[\da-z-]+)*)?"
    r"|[0-9a-fA-F]{4,40}|unknown"
)


def _meta(node: Node) -> dict[str, str]:
    """What the server ignores: the title, and which pack the node came from."""
    meta = {"title": node.title}
    for name, form in (("cnr_id", IDENTITY), ("aux_id", AUX), ("ver", VERSION)):
        value = node.properties.get(name)
        if isinstance(value, str):
            value = value[1:] if name == "ver" and value.startswith("v") else value
            if form.fullmatch(value):
                meta[name] = value
    return meta


def _placed_in(error: RequestError, workflow: Workflow) -> RequestError:
    """The same problems, those without a place with the file's name."""
    return RequestError(
        [Problem(p.code, p.what, p.where or str(workflow.path), p.expected, p.mend) for p in error.problems]
    )
