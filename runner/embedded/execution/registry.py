"""Which nodes the embedded server can execute, behind one interface.

Two kinds of node arrive here. *Core nodes* are plain functions that a decorator registers with the same declaration
that ComfyUI's own nodes carry (`INPUT_TYPES`-shaped inputs, a list of outputs). *Pack nodes* are `io.ComfyNode`
classes, from this pack's extension. Validation, execution and `/object_info` see only `NodeType`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .. import api

InputTypes = dict[str, dict[str, tuple[Any, ...]]]
#: Names of hidden values, as ComfyUI spells them in a declaration.
HIDDEN = ("PROMPT", "EXTRA_PNGINFO", "UNIQUE_ID", "DYNPROMPT")


@dataclass
class NodeResult:
    """What a node gave: one value for each output, and what the user interface (and `/history`) gets to see."""

    values: tuple[Any, ...] = ()
    ui: dict[str, Any] | None = None


@dataclass(frozen=True)
class Signature:
    """Which inputs a validation function wants: naming one switches off the range and list check of it."""

    names: frozenset[str] = frozenset()
    takes_all: bool = False

    @classmethod
    def of(cls, function: Callable[..., Any] | None) -> Signature:
        if function is None:
            return cls()
        names: set[str] = set()
        takes_all = False
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_all = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                names.add(parameter.name)
        return cls(frozenset(names), takes_all)

    def wants(self, name: str) -> bool:
        return self.takes_all or name in self.names

    def __bool__(self) -> bool:
        return self.takes_all or bool(self.names)


class NodeType(Protocol):
    """One kind of node, ready to be validated and executed."""

    node_id: str
    output_node: bool
    has_intermediate_output: bool
    not_idempotent: bool
    has_fingerprint: bool
    has_lazy_inputs: bool
    validation: Signature

    @property
    def return_types(self) -> list[Any]: ...

    def input_types(self) -> InputTypes:
        """`{"required": {name: (type, options)}, "optional": ..., "hidden": {name: (kind,)}}`, read afresh."""

    def info(self) -> dict[str, Any]:
        """The entry of `/object_info`."""

    def run(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> NodeResult:
        """Execute. `hidden` maps the names in `HIDDEN` to their values."""

    def validate(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> bool | str:
        """True, or why not."""

    def fingerprint(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> Any:
        """Something that changes when the node must run again although its inputs are the same."""

    def lazy_inputs(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> list[str]:
        """Which inputs, None in `inputs`, the node needs before it can run."""


@dataclass
class CoreNode:
    """A plain function with a declaration; see `core_node`."""

    node_id: str
    function: Callable[..., Any]
    inputs: Mapping[str, Any] | Callable[[], Mapping[str, Any]]
    outputs: list[tuple[Any, str]]
    category: str
    display_name: str
    output_node: bool = False
    not_idempotent: bool = False
    deprecated: bool = False
    experimental: bool = False
    description: str = ""
    output_tooltips: list[str] = field(default_factory=list)
    is_changed: Callable[..., Any] | None = None
    check: Callable[..., bool | str] | None = None
    lazy: Callable[..., list[str]] | None = None
    python_module: str = "nodes"
    has_intermediate_output = False

    def __post_init__(self) -> None:
        self.has_fingerprint = self.is_changed is not None
        self.has_lazy_inputs = self.lazy is not None
        self.validation = Signature.of(self.check)

    @property
    def return_types(self) -> list[Any]:
        return [kind for kind, _ in self.outputs]

    def input_types(self) -> InputTypes:
        declared = self.inputs() if callable(self.inputs) else self.inputs
        types: InputTypes = {"required": {}}
        for group in ("required", "optional", "hidden"):
            if group in declared:
                types[group] = {
                    name: entry if isinstance(entry, tuple) else (entry,) for name, entry in declared[group].items()
                }
        return types

    def info(self) -> dict[str, Any]:
        types = self.input_types()
        inputs: dict[str, Any] = dict(types)
        if "hidden" in types:
            # ComfyUI shows them bare for its older kind of node.
            inputs["hidden"] = {name: kind for name, (kind, *_) in types["hidden"].items()}
        info = {
            "input": inputs,
            "input_order": {group: list(entries) for group, entries in types.items()},
            "output": self.return_types,
            "output_is_list": [False] * len(self.outputs),
            "output_name": [name for _, name in self.outputs],
            "name": self.node_id,
            "display_name": self.display_name,
            "description": self.description,
            "python_module": self.python_module,
            "category": self.category,
            "output_node": self.output_node,
        }
        # ComfyUI says this of its older kind of node only where it holds.
        info |= {name: True for name in ("deprecated", "experimental") if getattr(self, name)}
        if self.output_tooltips:
            info["output_tooltips"] = list(self.output_tooltips)
        return info

    def _arguments(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> dict[str, Any]:
        arguments = dict(inputs)
        for name, (kind, *_) in self.input_types().get("hidden", {}).items():
            arguments[name] = hidden.get(kind)
        return arguments

    def run(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> NodeResult:
        result = self.function(**self._arguments(inputs, hidden))
        if isinstance(result, NodeResult):
            return result
        if not isinstance(result, tuple) or len(result) != len(self.outputs):
            raise TypeError(
                f"{self.node_id} declares {len(self.outputs)} outputs and must return a tuple of as many values "
                f"(or a NodeResult), not {type(result).__name__}"
            )
        return NodeResult(result)

    def validate(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> bool | str:
        return True if self.check is None else self.check(**inputs)

    def fingerprint(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> Any:
        return None if self.is_changed is None else self.is_changed(**_accepted(self.is_changed, inputs))

    def lazy_inputs(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> list[str]:
        return [] if self.lazy is None else self.lazy(**_accepted(self.lazy, inputs))


class PackNode:
    """An `io.ComfyNode` class (ComfyUI's or the stand-in's) behind the same interface."""

    def __init__(self, cls: Any, python_module: str = "custom_nodes.defectforge") -> None:
        cls.RELATIVE_PYTHON_MODULE = python_module
        self.cls = cls
        self.schema = cls.GET_SCHEMA()
        self.node_id: str = self.schema.node_id
        lists = self.schema.is_input_list or any(output.is_output_list for output in self.schema.outputs or [])
        if lists or inspect.iscoroutinefunction(cls.execute):
            raise NotImplementedError(
                f"{self.node_id} takes or gives lists, or is asynchronous: the embedded server executes neither"
            )
        self.output_node = bool(self.schema.is_output_node)
        self.has_intermediate_output = bool(getattr(self.schema, "has_intermediate_output", False))
        self.not_idempotent = bool(self.schema.not_idempotent)
        self.has_fingerprint = _overrides(cls, "fingerprint_inputs")
        self.has_lazy_inputs = _overrides(cls, "check_lazy_status")
        self._has_validation = _overrides(cls, "validate_inputs")
        self.validation = Signature.of(cls.validate_inputs if self._has_validation else None)

    @property
    def return_types(self) -> list[Any]:
        return list(self.cls.RETURN_TYPES)

    def input_types(self) -> InputTypes:
        types: InputTypes = self.cls.INPUT_TYPES()
        return types

    def info(self) -> dict[str, Any]:
        info: dict[str, Any] = self.cls.GET_NODE_INFO_V1()
        return info

    def _bound(self, hidden: Mapping[str, Any]) -> Any:
        """A copy of the class that holds this call's hidden values: a node never sees another prompt's."""
        wanted = {entry: hidden.get(entry.value) for entry in self.schema.hidden or []}
        return self.cls.PREPARE_CLASS_CLONE(wanted)

    def run(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> NodeResult:
        output = self._bound(hidden).EXECUTE_NORMALIZED(**inputs)
        if output.expand is not None or output.block_execution is not None:
            raise NotImplementedError(
                f"{self.node_id} asks for node expansion or blocks execution: that needs a ComfyUI server"
            )
        ui = output.ui if output.ui is None or isinstance(output.ui, dict) else output.ui.as_dict()
        return NodeResult(tuple(output.result or ()), ui)

    def validate(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> bool | str:
        if not self._has_validation:
            return True
        answer: bool | str = self._bound(hidden).validate_inputs(**inputs)
        return answer

    def fingerprint(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> Any:
        return self._bound(hidden).fingerprint_inputs(**inputs) if self.has_fingerprint else None

    def lazy_inputs(self, inputs: Mapping[str, Any], hidden: Mapping[str, Any]) -> list[str]:
        return list(self._bound(hidden).check_lazy_status(**inputs) or []) if self.has_lazy_inputs else []


def _accepted(function: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    signature = Signature.of(function)
    return {name: value for name, value in inputs.items() if signature.wants(name)}


def _overrides(cls: Any, name: str) -> bool:
    """Whether the node class itself, not the API's base class, defines this method."""
    for base in cls.__mro__:
        if name in vars(base):
            return not base.__module__.startswith(("comfy_api.", f"{api.__name__}."))
    return False


#: What `@core_node` has registered in this process.
CORE_NODES: dict[str, CoreNode] = {}


def core_node(
    node_id: str,
    *,
    inputs: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    outputs: Iterable[tuple[Any, str]],
    category: str,
    display_name: str | None = None,
    output_node: bool = False,
    not_idempotent: bool = False,
    deprecated: bool = False,
    experimental: bool = False,
    description: str = "",
    output_tooltips: Iterable[str] = (),
    is_changed: Callable[..., Any] | None = None,
    validate: Callable[..., bool | str] | None = None,
    check_lazy_status: Callable[..., list[str]] | None = None,
    python_module: str = "nodes",
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a plain function as the core node `node_id`.

    Args:
        inputs: `{"required": {name: (type, options)}, "optional": {...}, "hidden": {name: "PROMPT"}}` in ComfyUI's
            spelling; a list in place of the type is a choice. Pass a function where choices are read from disk.
        outputs: (type, name) pairs. The function takes every input by name and returns a tuple with one value for
            each output, or a `NodeResult` when it also has something to show.
        is_changed: called with the constant inputs that it names; its value is part of the cache key.
        validate: called with the constant inputs that it names: True, or a message. Core's own range and list check
            is off for the inputs that it names, as in ComfyUI.
        check_lazy_status: called with the inputs that it names (None = not computed yet); names those it needs.
            Mark such inputs `"lazy": True`.
        deprecated, experimental: as the window shows it.
        python_module: where ComfyUI has the node; only `/object_info` shows it.
    """

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        CORE_NODES[node_id] = CoreNode(
            node_id=node_id,
            function=function,
            inputs=inputs if callable(inputs) else copy.deepcopy(dict(inputs)),
            outputs=list(outputs),
            category=category,
            display_name=display_name or node_id,
            output_node=output_node,
            not_idempotent=not_idempotent,
            deprecated=deprecated,
            experimental=experimental,
            description=description,
            output_tooltips=list(output_tooltips),
            is_changed=is_changed,
            check=validate,
            lazy=check_lazy_status,
            python_module=python_module,
        )
        return function

    return register


class Registry:
    """The nodes of one server by their id."""

    def __init__(self, nodes: Iterable[NodeType] = ()) -> None:
        self._nodes: dict[str, NodeType] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: NodeType) -> None:
        if node.node_id in self._nodes:
            raise ValueError(f"two nodes are called {node.node_id!r}: node ids must be unique")
        self._nodes[node.node_id] = node

    def get(self, node_id: str) -> NodeType | None:
        return self._nodes.get(node_id)

    def __getitem__(self, node_id: str) -> NodeType:
        return self._nodes[node_id]

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def __iter__(self) -> Any:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)
