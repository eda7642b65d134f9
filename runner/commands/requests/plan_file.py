"""plan.yaml as plain data: any bytes give a mapping or one message, soon and in little memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ...errors import RequestError, printable, request_error

LARGEST = 128 << 10
DEEPEST = 20
MOST_VALUES = 20_000
"""Values after every alias is written out: a few lines of aliases of aliases stand for billions."""


#: YAML 1.1's own patterns of numbers, without the last form of each.
SEXAGESIMAL = {
    "tag:yaml.org,2002:int": re.compile(
        r"^(?:[-+]?0b[0-1_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$"
    ),
    "tag:yaml.org,2002:float": re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
}


class PlanLoader(yaml.SafeLoader):
    """YAML without what no plan needs: a key given twice, and depth (the scanner takes its square in time)."""

    # Without the numbers to the base of 60: `until: 22:00` is a time, not 1320 pairs.
    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, SEXAGESIMAL.get(tag, pattern)) for tag, pattern in patterns]
        for first, patterns in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        if self.flow_level >= DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) >= DEEPEST:
            raise yaml.MarkedYAMLError(problem="it is nested too deeply", problem_mark=self.get_mark())
        return bool(super().add_indent(column))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (str, int, float)) and key in seen and key_node.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"'{printable(str(key), 80)}' is there twice", key_node.start_mark
                )
            if isinstance(key, (str, int, float)):
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_plan(path: Path) -> dict[Any, Any]:
    """Raises RequestError: unreadable, too large, not YAML, or not a mapping."""
    try:
        # Bounded, whatever it is: a pipe is fine, /dev/zero never ends.
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        raise _unreadable(getattr(error, "strerror", None) or str(error), path) from error
    if len(raw) > LARGEST:
        raise _unreadable(f"it is longer than {LARGEST >> 10} kB", path)
    try:
        content = _parsed(raw)
    except RecursionError as error:
        raise _unreadable("it is nested too deeply", path) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""
        raise _unreadable(error.problem or error.context or "it is not YAML", path, line) from error
    except RequestError:
        raise
    except yaml.reader.ReaderError as error:
        raise _unreadable(f"it is not text in UTF-8 or UTF-16 ({error.reason})", path) from error
    except Exception as error:  # constructors of dates and numbers raise what they like
        raise _unreadable(f"{type(error).__name__}: {error}", path) from error
    if not isinstance(content, dict):
        raise request_error(
            "plan.unreadable", "the plan is not a mapping", str(path), "lines such as 'count: 8'", "mend or replace it"
        )
    return content


def _parsed(raw: bytes) -> Any:
    loader = PlanLoader(raw)
    try:
        root = loader.get_single_node()
        if root is None:
            return None
        if _size(root, {}, set()) > MOST_VALUES:
            raise yaml.MarkedYAMLError(problem=f"its aliases stand for more than {MOST_VALUES} values")
        return loader.construct_document(root)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Values below a node with every alias written out; a node that holds itself has no end."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="a value holds itself", problem_mark=node.start_mark)
    if id(node) not in known:
        children = []
        if isinstance(node, yaml.MappingNode):
            children = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        known[id(node)] = 1 + sum(_size(child, known, above | {id(node)}) for child in children)
    return known[id(node)]


def _unreadable(why: str, path: Path, place: str = "") -> RequestError:
    return request_error(
        "plan.unreadable",
        f"the plan cannot be read: {printable(why, 300)}",
        f"{path}{place}",
        "a YAML file with lines such as 'count: 8'",
        "mend or replace it",
    )
