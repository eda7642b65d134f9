"""Which node runs next: a topological order that grows while lazy inputs turn out to be needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..protocol.links import Prompt, input_entry, links_of
from .registry import Registry


class Schedule:
    """Nodes that still have to run. A node is ready when nothing that it waits for is left."""

    def __init__(self, prompt: Prompt, registry: Registry, cached: Callable[[str], bool]) -> None:
        self._prompt = prompt
        self._registry = registry
        self._cached = cached
        self._waits_for: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._waits_for)

    def add(self, node_ids: Iterable[str]) -> None:
        """Add nodes, and what they need: not what is cached, and not behind lazy inputs."""
        stack = list(node_ids)
        while stack:
            node_id = stack.pop()
            if node_id in self._waits_for:
                continue
            # In the order of the inputs, last one first: nodes of equal standing run in ComfyUI's order then.
            needed = [source for name, source, _ in links_of(self._prompt, node_id) if not self._lazy(node_id, name)]
            # A cached node is shown again (an output node tells its old files), but waits for nothing.
            sources = [] if self._cached(node_id) else [source for source in needed if not self._cached(source)]
            self._waits_for[node_id] = set(sources)
            stack.extend(sources)

    def require(self, node_id: str, names: Iterable[str]) -> None:
        """A waiting node turned out to need these lazy inputs.

        Raises:
            ValueError: there is no such linked input.
        """
        links = {name: source for name, source, _ in links_of(self._prompt, node_id)}
        for name in names:
            if name not in links:
                raise ValueError(f"node {node_id} says that it needs input {name!r}, which is not linked to anything")
            if not self._cached(links[name]):
                self._waits_for[node_id].add(links[name])
                self.add([links[name]])

    def next(self) -> str:
        """A ready node: outputs first, then what stands right before an output, so that results show early."""
        ready = [node_id for node_id, waits in self._waits_for.items() if not waits]
        if not ready:
            # Validation refuses cycles, so only a lazy input can close one.
            raise ValueError(f"dependency cycle among nodes {', '.join(self._waits_for)}")
        return min(ready, key=self._distance_to_output)

    def complete(self, node_id: str) -> None:
        del self._waits_for[node_id]
        for waits in self._waits_for.values():
            waits.discard(node_id)

    def _distance_to_output(self, node_id: str) -> int:
        reached = {node_id}
        for distance in range(3):
            if any(self._registry[self._prompt[node]["class_type"]].output_node for node in reached):
                return distance
            reached = {node for node, waits in self._waits_for.items() if waits & reached}
        return 3

    def _lazy(self, node_id: str, name: str) -> bool:
        types = self._registry[self._prompt[node_id]["class_type"]].input_types()
        entry = input_entry(types, name)
        return entry is not None and bool(entry[2].get("lazy"))
