"""`--set 'Title.input=value'` and `--vary 'Title.input=a,b,c'`: parse, check against the server's schema, apply."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import DefectForgeError, Problem, RequestError, did_you_mean, request_error
from .graph import Graph, by_title, label
from .inputs import InputSpec, specs_of, value_problem


@dataclass(frozen=True)
class Setting:
    """One input of one node, set to one value."""

    title: str
    input: str
    value: Any

    def as_list(self) -> list[Any]:
        return [self.title, self.input, self.value]


@dataclass(frozen=True)
class Axis:
    """One input of one node and the values it takes in turn."""

    title: str
    input: str
    values: tuple[Any, ...]


def split(text: str, option: str) -> tuple[str, str, str]:
    """'Hole mask.seed=3' -> ('Hole mask', 'seed', '3'). The title may itself hold dots."""
    address, equals, value = text.partition("=")
    title, dot, name = address.rpartition(".")
    if not (equals and dot and title.strip() and name.strip()):
        raise request_error(
            "override.syntax",
            f"{option} '{text}' cannot be read",
            expected=f"{option} 'Node title.input=value', for instance {option} 'Sampler.steps=30'",
            mend="put the whole argument in quotes",
        )
    return title.strip(), name.strip(), value


def parse_sets(texts: Iterable[str], graph: Graph, object_info: dict[str, Any]) -> list[Setting]:
    """Settings from the command line, typed by the server's schema. All problems at once."""
    settings: list[Setting] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            title, name, value = split(text, "--set")
            spec = find_input(graph, object_info, title, name)
            settings.append(Setting(title, name, typed(spec, value, f"{title}.{name}")))
        except DefectForgeError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return settings


def parse_varies(texts: Iterable[str], graph: Graph, object_info: dict[str, Any]) -> list[Axis]:
    axes: list[Axis] = []
    problems: list[Problem] = []
    for text in texts:
        try:
            title, name, value = split(text, "--vary")
            spec = find_input(graph, object_info, title, name)
            # The csv reader, so that a value with a comma can be quoted: --vary 'Prompt.text="a, b",c'
            parts = next(csv.reader([value], skipinitialspace=True), [])
            axes.append(Axis(title, name, tuple(typed(spec, part, f"{title}.{name}") for part in parts)))
            if not parts:
                raise request_error("override.syntax", f"--vary '{text}' lists no value", expected="a,b,c")
        except DefectForgeError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return axes


def find_input(graph: Graph, object_info: dict[str, Any], title: str, name: str) -> InputSpec:
    """The schema of the input that a title and a name address.

    Raises:
        RequestError: unknown title or input (each with the nearest right one), or an input that only takes links.
    """
    node_id = by_title(graph, title)
    class_type = graph[node_id]["class_type"]
    specs = specs_of(object_info.get(class_type, {}))
    if name not in specs:
        raise request_error(
            "override.unknown_input",
            f"'{title}' has no input '{name}'",
            where=label(graph, node_id),
            expected="the name of one of its inputs",
            mend=did_you_mean(name, (key for key, spec in specs.items() if spec.is_widget)),
        )
    spec = specs[name]
    if not spec.is_widget:
        raise request_error(
            "override.needs_link",
            f"'{title}.{name}' takes a link ({spec.type}), not a value",
            where=label(graph, node_id),
            expected="an input that holds a value",
            mend=did_you_mean(name, (key for key, other in specs.items() if other.is_widget)),
        )
    return spec


def typed(spec: InputSpec, text: Any, address: str) -> Any:
    """The value that a text stands for at this input; never coerced in silence (64.9 is not a whole number).

    Raises:
        RequestError: wrong type, out of range, or not one of the choices.
    """
    value = _read(spec, text) if isinstance(text, str) else text
    wrong = value_problem(spec, value)
    if wrong is not None:
        code, expected = wrong
        raise request_error(
            code.replace("graph.", "override."),
            f"{address}={text} is not accepted",
            where=address,
            expected=expected,
            mend=f"give {address} {expected}",
        )
    return value


def _read(spec: InputSpec, text: str) -> Any:
    bare = text.strip()
    try:
        if spec.type == "INT":
            return int(bare)
        if spec.type == "FLOAT":
            return float(bare)
    except ValueError:
        return text
    if spec.type == "BOOLEAN" and bare.lower() in ("true", "false"):
        return bare.lower() == "true"
    if spec.type == "COMBO" and spec.choices is not None and text not in spec.choices:
        # A combo may offer numbers; the command line only has texts.
        return next((choice for choice in spec.choices if str(choice) == bare), text)
    return text


def combinations(axes: Sequence[Axis]) -> list[tuple[Setting, ...]]:
    """The cross product of all axes, the last one changing fastest; one empty combination without axes."""
    per_axis = [[Setting(axis.title, axis.input, value) for value in axis.values] for axis in axes]
    return list(itertools.product(*per_axis))


def apply(graph: Graph, settings: Iterable[Setting]) -> None:
    """Set the inputs in place; a later setting of the same input wins."""
    for setting in settings:
        graph[by_title(graph, setting.title)]["inputs"][setting.input] = setting.value
