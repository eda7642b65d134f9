"""Execution of validated prompts, with the messages that ComfyUI sends meanwhile and in the same order."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
import traceback
from typing import Any

from ..protocol.links import input_entry, is_link, links_of
from ..protocol.validation import type_name
from . import cache, memory, running
from .prompt_queue import QueueItem
from .registry import NodeType, Registry
from .running import InterruptProcessingException, Outlet, Run
from .schedule import Schedule

log = logging.getLogger(__name__)

#: Types of outputs that keep a model in memory.
MODEL_TYPES = frozenset({"MODEL", "CLIP", "VAE", "CLIP_VISION", "CONTROL_NET", "GUIDER", "UPSCALE_MODEL"})
OUT_OF_MEMORY_TIP = (
    "The device ran out of memory. Use a smaller working size or batch, or start the server with --device cpu."
)


class Executor:
    """Runs one prompt after another in one thread, and keeps the latest prompt's results for the next."""

    def __init__(self, registry: Registry, outlet: Outlet) -> None:
        self._registry = registry
        self._outlet = outlet
        self._cache = cache.OutputCache()

    def reset(self) -> None:
        """Forget all results."""
        self._cache.clear()

    def unload_models(self) -> None:
        """Give up models, wherever they are kept: the results that hold them, and what modules keep by themselves."""
        self._cache.drop_models()
        memory.unload_models()

    def execute(self, item: QueueItem, run: Run) -> Execution:
        """Run a prompt to its end, whatever that is; the caller announces it with `Execution.final`."""
        execution = Execution(item, run, self._registry, self._outlet, self._cache)
        running.use(run)
        try:
            with _inference_mode():
                execution.run_all()
        finally:
            running.use(None)
        return execution


class Execution:
    """One prompt's execution: `outcome` is what the history keeps."""

    def __init__(
        self, item: QueueItem, run: Run, registry: Registry, outlet: Outlet, results: cache.OutputCache
    ) -> None:
        self.item = item
        self.run = run
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.success = False
        self._registry = registry
        self._outlet = outlet
        self._cache = results
        self._executed: list[str] = []
        # Inputs that a node does not declare are ignored, as in validation.
        self._plan = {node_id: self._declared(node) for node_id, node in item.prompt.items()}
        self._inputs: dict[str, Any] = {}

    def _declared(self, node: dict[str, Any]) -> dict[str, Any]:
        types = self._registry[node["class_type"]].input_types()
        inputs = {name: value for name, value in node["inputs"].items() if input_entry(types, name) is not None}
        return {"class_type": node["class_type"], "inputs": inputs}

    def run_all(self) -> None:
        """Execute the outputs and what they need; the last message waits for `announce`."""
        self._message("execution_start", {})
        node_id = self.item.outputs[0]
        try:
            self._cache.set_prompt(cache.keys(self._plan, self.item.outputs, self._registry))
            cached = [name for name in self.item.prompt if self._cache.get(name) is not None]
            self._message("execution_cached", {"nodes": cached})
            schedule = Schedule(self._plan, self._registry, lambda name: self._cache.get(name) is not None)
            schedule.add(self.item.outputs)
            while schedule:
                node_id = schedule.next()
                if self._node(node_id, schedule):
                    schedule.complete(node_id)
            self._show_again()
        except InterruptProcessingException:
            log.info("prompt %s interrupted at node %s", self.item.prompt_id, node_id)
            self._final = ("execution_interrupted", self._where(node_id))
        except (Exception, SystemExit) as problem:
            # SystemExit too: a library that calls sys.exit must not end the thread that executes prompts.
            self._final = ("execution_error", self._where(node_id) | self._failure(problem))
        else:
            self.success = True
            self._final = ("execution_success", {})
        self._record(*self._final)

    def announce(self) -> None:
        """Tell how it ended. An interruption is told to everybody, as in ComfyUI."""
        event, data = self.messages[-1]
        if event == "execution_interrupted" and self.run.client_id is None:
            self._outlet.send(event, data, None)
        else:
            self.run.to_client(event, data)

    def outcome(self) -> dict[str, Any]:
        """The history's entry, without the prompt itself."""
        shown = {name: self._cache.get(name) for name in self._cache.node_ids()}
        outputs = {name: result.ui for name, result in shown.items() if result is not None and result.ui}
        return {
            "outputs": outputs,
            "status": {
                "status_str": "success" if self.success else "error",
                "completed": self.success,
                "messages": self.messages,
            },
            "meta": {
                name: {"node_id": name, "display_node": name, "parent_node": None, "real_node_id": name}
                for name in outputs
            },
        }

    def _node(self, node_id: str, schedule: Schedule) -> bool:
        """Run a node; False when it first needs lazy inputs."""
        known = self._cache.get(node_id)
        if known is not None:
            self._executed_message(node_id, known.ui)
            self.run.finish_node(node_id)
            return True
        node = self._registry[self._plan[node_id]["class_type"]]
        self.run.start_node(node_id)
        self.run.to_client("executing", {"node": node_id, "display_node": node_id, "prompt_id": self.item.prompt_id})
        self.run.check_interrupt()
        self._inputs = inputs = self._values(node_id)
        hidden = self._hidden(node_id)
        if node.has_lazy_inputs and self._needs_more(node_id, node, inputs, hidden, schedule):
            return False
        result = node.run(inputs, hidden)
        if result.ui:
            self._executed_message(node_id, result.ui)
        self._cache.set(node_id, result, holds_models=not MODEL_TYPES.isdisjoint(_kinds(node)))
        self.run.finish_node(node_id)
        self._executed.append(node_id)
        return True

    def _show_again(self) -> None:
        """What nodes show that did not have to run: a window that was opened anew has not seen it yet."""
        for node_id, node in self._plan.items():
            if self._registry[node["class_type"]].has_intermediate_output and node_id not in self._executed:
                known = self._cache.get(node_id)
                if known is not None:
                    self._executed_message(node_id, known.ui)

    def _needs_more(
        self, node_id: str, node: NodeType, inputs: dict[str, Any], hidden: dict[str, Any], schedule: Schedule
    ) -> bool:
        linked = {name: source for name, source, _ in links_of(self._plan, node_id)}
        missing = [
            name
            for name in node.lazy_inputs(inputs, hidden)
            if name in linked and self._cache.get(linked[name]) is None
        ]
        schedule.require(node_id, missing)
        return bool(missing)

    def _values(self, node_id: str) -> dict[str, Any]:
        """Constants as they are, links as their sources' values; None for a lazy input that was not computed."""
        values = {}
        for name, value in self._plan[node_id]["inputs"].items():
            if is_link(value):
                source = self._cache.get(value[0])
                values[name] = None if source is None else source.values[int(value[1])]
            else:
                values[name] = value
        return values

    def _hidden(self, node_id: str) -> dict[str, Any]:
        return {
            "PROMPT": self.item.prompt,
            "EXTRA_PNGINFO": self.item.extra_data.get("extra_pnginfo"),
            "UNIQUE_ID": node_id,
            "DYNPROMPT": None,
        }

    def _executed_message(self, node_id: str, ui: dict[str, Any] | None) -> None:
        message = {"node": node_id, "display_node": node_id, "output": ui, "prompt_id": self.item.prompt_id}
        self.run.to_client("executed", message)

    def _record(self, event: str, data: dict[str, Any]) -> dict[str, Any]:
        stamped = {"prompt_id": self.item.prompt_id, **data, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, stamped))
        return stamped

    def _message(self, event: str, data: dict[str, Any]) -> None:
        self.run.to_client(event, self._record(event, data))

    def _where(self, node_id: str) -> dict[str, Any]:
        return {
            "node_id": node_id,
            "node_type": self.item.prompt[node_id]["class_type"],
            "executed": list(self._executed),
        }

    def _failure(self, problem: BaseException) -> dict[str, Any]:
        message = f"{problem}\n"
        if memory.is_out_of_memory(problem):
            message += OUT_OF_MEMORY_TIP
            self._inputs = {}
            self._cache.drop_models()
            memory.unload_models()
        log.error("node failed: %s", problem, exc_info=problem)
        return {
            "exception_message": message,
            "exception_type": type_name(type(problem)),
            "traceback": traceback.format_tb(problem.__traceback__),
            "current_inputs": {name: [_shown(value)] for name, value in self._inputs.items()},
            "current_outputs": self._cache.node_ids(),
        }


def _kinds(node: NodeType) -> list[str]:
    return [kind for kind in node.return_types if isinstance(kind, str)]


def _shown(value: Any) -> Any:
    """A constant as it is, everything else as text."""
    return value if value is None or isinstance(value, (int, float, bool, str)) else str(value)


def _inference_mode() -> Any:
    """torch's inference mode, without importing torch for a prompt that computes nothing with it."""
    torch = sys.modules.get("torch")
    return contextlib.nullcontext() if torch is None else torch.inference_mode()
