"""What is wrong with a prompt, in ComfyUI's words: the body of a 400 answer, or the errors beside a 200.

Where ComfyUI stops at the first unknown node, all are reported here, with the first in `extra_info`; where it runs into
an exception (a link to a missing node, a cycle) the error keeps its type and says what is wrong.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..execution.registry import HIDDEN, NodeType, Registry
from .links import find_cycle, input_entry, is_link
from .values import converted, list_error, matches, range_error

log = logging.getLogger(__name__)

Error = dict[str, Any]


@dataclass
class Verdict:
    """`outputs` may run; `error` is set when none may. `node_errors` can be there in both cases."""

    outputs: list[str] = field(default_factory=list)
    error: Error | None = None
    node_errors: dict[str, dict[str, Any]] = field(default_factory=dict)


def error(kind: str, message: str, details: str = "", **extra_info: Any) -> Error:
    return {"type": kind, "message": message, "details": details, "extra_info": extra_info}


def validate_prompt(prompt: Any, registry: Registry, targets: Container[str] | None = None) -> Verdict:
    """Check a prompt; its constants are converted to their inputs' types in place.

    Args:
        targets: run only these output nodes (`partial_execution_targets`).
    """
    refused = _structure(prompt, registry)
    if refused is not None:
        return refused
    outputs = [
        node_id
        for node_id, node in prompt.items()
        if registry[node["class_type"]].output_node and (targets is None or node_id in targets)
    ]
    if not outputs:
        return Verdict(error=error("prompt_no_outputs", "Prompt has no outputs"))
    return _Validation(prompt, registry).outputs(outputs)


def _structure(prompt: Any, registry: Registry) -> Verdict | None:
    """Every node has a class that exists here, and inputs."""
    if not isinstance(prompt, dict):
        message = f"The prompt must be an object of nodes by id, not {type(prompt).__name__}."
        return Verdict(error=error("invalid_prompt", message))
    malformed = [
        node_id
        for node_id, node in prompt.items()
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str)
    ]
    if malformed:
        first = malformed[0]
        title = _title(prompt[first])
        return Verdict(
            error=error(
                "missing_node_type",
                f"Node '{title or f'ID #{first}'}' has no class_type: each node of a prompt names its class.",
                _named(malformed),
                node_id=first,
                class_type=None,
                node_title=title,
            )
        )
    without_inputs = [node_id for node_id, node in prompt.items() if not isinstance(node.get("inputs"), dict)]
    if without_inputs:
        return Verdict(
            error=error(
                "invalid_prompt",
                "Cannot execute because a node is missing the inputs property.",
                _named(without_inputs),
            )
        )
    unknown = {node_id: node for node_id, node in prompt.items() if node["class_type"] not in registry}
    return _unknown_nodes(unknown) if unknown else None


def _named(node_ids: Iterable[str]) -> str:
    return ", ".join(f"Node ID '#{node_id}'" for node_id in node_ids)


def _title(node: Any) -> str | None:
    """What a person has called a node in the window, or the window for them."""
    meta = node.get("_meta") if isinstance(node, dict) else None
    return meta.get("title") if isinstance(meta, dict) else None


def _unknown_nodes(unknown: dict[str, Any]) -> Verdict:
    classes = list(dict.fromkeys(node["class_type"] for node in unknown.values()))
    which = f"node {classes[0]} does" if len(classes) == 1 else f"nodes {', '.join(classes)} do"
    needs = "it needs" if len(classes) == 1 else "they need"
    about: dict[str, dict[str, Any]] = {
        node_id: {
            "node_id": node_id,
            "class_type": node["class_type"],
            "node_title": _title(node) or node["class_type"],
        }
        for node_id, node in unknown.items()
    }
    told: dict[str, dict[str, Any]] = {
        node_id: {
            "errors": [
                error(
                    "missing_node_type",
                    f"Node {entry['class_type']} needs a ComfyUI server",
                    entry["node_title"],
                    **entry,
                )
            ],
            "dependent_outputs": [],
            "class_type": entry["class_type"],
        }
        for node_id, entry in about.items()
    }
    return Verdict(
        error=error(
            "missing_node_type",
            f"Cannot execute because {which} not exist on this embedded server: {needs} a ComfyUI server.",
            _named(unknown),
            **next(iter(about.values())),
            class_types=classes,
        ),
        node_errors=told,
    )


@dataclass
class _Outcome:
    valid: bool
    errors: list[Error] = field(default_factory=list)


class _Validation:
    def __init__(self, prompt: dict[str, Any], registry: Registry) -> None:
        self.prompt = prompt
        self.registry = registry
        self.outcomes: dict[str, _Outcome] = {}

    def outputs(self, outputs: list[str]) -> Verdict:
        verdict = Verdict()
        summary: list[str] = []
        for output in outputs:
            outcome = self._output(output)
            if outcome.valid:
                verdict.outputs.append(output)
                continue
            summary += [f"{entry['message']}: {entry['details']}" for entry in outcome.errors]
            for node_id, found in self.outcomes.items():
                # A node whose only fault is what it depends on has no errors of its own and is not listed.
                if not found.valid and found.errors:
                    listed = verdict.node_errors.setdefault(
                        node_id,
                        {
                            "errors": found.errors,
                            "dependent_outputs": [],
                            "class_type": self.prompt[node_id]["class_type"],
                        },
                    )
                    listed["dependent_outputs"].append(output)
        if not verdict.outputs:
            verdict.error = error(
                "prompt_outputs_failed_validation", "Prompt outputs failed validation", "\n".join(summary)
            )
        return verdict

    def _output(self, output: str) -> _Outcome:
        cycle = find_cycle(self.prompt, output)
        if cycle is not None:
            outcome = _Outcome(False, [error("dependency_cycle", "Dependency cycle detected", " -> ".join(cycle))])
            self.outcomes[output] = outcome
            return outcome
        try:
            return self._node(output)
        except Exception as problem:
            outcome = _Outcome(False, [_exception("exception_during_validation", problem)])
            self.outcomes[output] = outcome
            return outcome

    def _node(self, node_id: str) -> _Outcome:
        """Check one node and what it depends on; an exception is the business of the node that asked for it."""
        if node_id in self.outcomes:
            return self.outcomes[node_id]
        inputs = self.prompt[node_id]["inputs"]
        node = self.registry[self.prompt[node_id]["class_type"]]
        types = node.input_types()
        outcome = _Outcome(True)
        received: dict[str, Any] = {}
        for group in ("required", "optional"):
            for name in types.get(group, {}):
                if name in inputs:
                    self._input(node, types, name, inputs, outcome, received)
                elif group == "required":
                    outcome.errors.append(
                        error("required_input_missing", "Required input is missing", name, input_name=name)
                    )
        if node.validation and not outcome.errors:
            # Only with inputs that are there and of the right type: it should not have to expect anything else.
            outcome.errors += self._own_validation(node_id, node, types, received)
        outcome.valid = outcome.valid and not outcome.errors
        self.outcomes[node_id] = outcome
        return outcome

    def _input(
        self,
        node: NodeType,
        types: Any,
        name: str,
        inputs: dict[str, Any],
        outcome: _Outcome,
        received: dict[str, Any],
    ) -> None:
        entry = input_entry(types, name)
        assert entry is not None
        _, kind, options = entry
        config = (kind, options)
        value = inputs[name]
        if isinstance(value, list):
            self._link(node, name, value, config, outcome, received)
            return
        if isinstance(value, dict) and "__value__" in value:
            # A list as a constant travels wrapped, because a bare list is a link.
            value = value["__value__"]
        try:
            inputs[name] = value = converted(value, kind)
        except (TypeError, ValueError, OverflowError) as problem:
            outcome.errors.append(
                error(
                    "invalid_input_type",
                    f"Failed to convert an input value to a {kind} value",
                    f"{name}, {value}, {problem}",
                    input_name=name,
                    input_config=config,
                    received_value=value,
                    exception_message=str(problem),
                )
            )
            return
        if not node.validation.wants(name):
            found = range_error(name, value, config) or list_error(name, value, config)
            if found is not None:
                outcome.errors.append(found)

    def _link(
        self,
        node: NodeType,
        name: str,
        value: list[Any],
        config: tuple[Any, dict[str, Any]],
        outcome: _Outcome,
        received: dict[str, Any],
    ) -> None:
        if not is_link(value):
            outcome.errors.append(
                error(
                    "bad_linked_input",
                    "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                    name,
                    input_name=name,
                    input_config=config,
                    received_value=value,
                )
            )
            return
        source, slot = value[0], int(value[1])
        if source not in self.prompt:
            raise KeyError(f"input {name!r} is linked to node {source!r}, which the prompt does not have")
        returns = self.registry[self.prompt[source]["class_type"]].return_types
        if not 0 <= slot < len(returns):
            raise IndexError(
                f"input {name!r} is linked to output {slot} of node {source!r} "
                f"({self.prompt[source]['class_type']}), which has {len(returns)}"
            )
        received[name] = returns[slot]
        if "input_types" not in node.validation.names and not matches(returns[slot], config[0]):
            outcome.errors.append(
                error(
                    "return_type_mismatch",
                    "Return type mismatch between linked nodes",
                    f"{name}, received_type({returns[slot]}) mismatch input_type({config[0]})",
                    input_name=name,
                    input_config=config,
                    received_type=returns[slot],
                    linked_node=value,
                )
            )
            return
        try:
            if not self._node(source).valid:
                outcome.valid = False
        except Exception as problem:
            outcome.valid = False
            inner = _exception(
                "exception_during_inner_validation",
                problem,
                input_name=name,
                input_config=config,
                exception_message=_said(problem),
                linked_node=value,
            )
            self.outcomes[source] = _Outcome(False, [inner])

    def _own_validation(self, node_id: str, node: NodeType, types: Any, received: dict[str, Any]) -> list[Error]:
        inputs = self.prompt[node_id]["inputs"]
        given: dict[str, Any] = {
            name: None if is_link(value) else value
            for name, value in inputs.items()
            if node.validation.wants(name) and input_entry(types, name) is not None
        }
        named = list(given)
        if "input_types" in node.validation.names:
            given["input_types"] = received
            named.append("input_types")
        hidden = dict.fromkeys(HIDDEN) | {"UNIQUE_ID": node_id, "PROMPT": {}}
        answer = node.validate(given, hidden)
        if answer is True:
            return []
        reason = "" if answer is False else f" - {answer}"
        return [
            error("custom_validation_failed", "Custom validation failed for node", name + reason, input_name=name)
            for name in named
        ]


def _said(problem: BaseException) -> str:
    # str() of a KeyError is the repr of its message.
    return str(problem.args[0]) if isinstance(problem, KeyError) and problem.args else str(problem)


def _exception(kind: str, problem: BaseException, **extra_info: Any) -> Error:
    message = {
        "exception_during_validation": "Exception when validating node",
        "exception_during_inner_validation": "Exception when validating inner node",
    }[kind]
    log.debug("%s", message, exc_info=problem)
    return error(
        kind,
        message,
        _said(problem),
        exception_type=type_name(type(problem)),
        traceback=traceback.format_tb(problem.__traceback__),
        **extra_info,
    )


def type_name(kind: type[BaseException]) -> str:
    """`module.Name`, without the module for builtins."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
