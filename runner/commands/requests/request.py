"""A request as data: from options, from plan.yaml, or both (an option given on the command line wins)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...errors import Problem, RequestError, did_you_mean, quoted, request_error
from ...servers.address import shown
from .moments import until
from .plan_file import read_plan

LIMITS = {
    "count": (1, 1_000_000),
    "seed": (0, 2**63),
    "draws": (1, 64),
    "keep": (1, 64),
    "until": (1, 1_000_000),
    "real_masks": (0, 1000),
    "references": (1, 100_000),
    "seeds": (1, 1_000_000),
    "max_failures": (0, 1_000_000),
    "launch": (1, 64),
}
SCALARS = (str, int, float, bool)


@dataclass(frozen=True)
class Chosen:
    """One of several workflows of a plan, and what is said for it alone."""

    workflow: str
    set: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    model: str | None = None


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    workflow: str | None = None
    data: Path | None = None
    category: str | None = None
    type: str | None = None
    new_type: bool = False
    count: int | None = None
    seed: int | None = None
    set: tuple[str, ...] = ()
    vary: tuple[str, ...] = ()
    model: str | None = None
    server: tuple[str, ...] = ()
    out: Path | None = None
    shard: str | None = None
    models: Path | None = None
    header_file: Path | None = None
    layout: str | None = None
    max_pixels: int | None = None
    draws: int | None = None
    keep: int | None = None
    until: int | None = None
    thresholds: Path | None = None
    label: str | None = None
    part_masks: Path | None = None
    real_masks: int | None = None
    lora: str | None = None
    workflows: tuple[Chosen, ...] = ()
    types: tuple[str, ...] = ()
    references: int | None = None
    seeds: int | None = None
    until_time: float | None = None
    """time.time() after which no further job begins."""
    max_failures: int | None = None
    launch: int | None = None
    comfyui: Path | None = None
    comfyui_args: str | None = None

    def content(self) -> dict[str, Any]:
        """For the journal: without what logs in to a server."""
        kept = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "header_file"}
        kept["server"] = tuple(shown(server) for server in self.server)
        return {name: _plain(value) for name, value in kept.items() if value not in (None, ())}


def _plain(value: Any) -> Any:
    if isinstance(value, Chosen):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return str(value) if isinstance(value, Path) else list(map(_plain, value)) if isinstance(value, tuple) else value


def shard_of(text: str | None) -> tuple[int, int]:
    """'2/8' -> (1, 8): shards are counted from 1."""
    if not text:
        return 0, 1
    index, slash, count = text.partition("/")
    digits = index.isdecimal() and count.isdecimal() and len(count) < 10 and len(index) < 10
    if slash and digits and 1 <= int(index) <= int(count):
        return int(index) - 1, int(count)
    raise request_error("plan.shard", f"--shard {quoted(text)}", expected="i/N with 1 <= i <= N", mend="--shard 1/4")


def with_plan_file(request: Request, path: Path) -> Request:
    """Fill in from plan.yaml what the command line left open.

    Raises:
        RequestError: unreadable, not YAML, or a key or value that cannot be; everything at once where it can.
    """
    content = read_plan(path)
    known = {f.name for f in fields(Request)}
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in content.items():
        try:
            if key not in known:
                raise request_error(
                    "plan.unknown_key",
                    f"the plan has no key {quoted(key)}",
                    str(path),
                    "a known key",
                    did_you_mean(str(key), known),
                )
            if key == "until" and isinstance(value, str):
                values["until"], values["until_time"] = until(value)
            elif value is not None:
                values[key] = _from_yaml(key, value, path)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    for one, many in (("workflow", "workflows"), ("type", "types")):
        if one in values and many in values:
            raise request_error(
                "plan.both", f"the plan has both '{one}' and '{many}'", str(path), "one of them", "leave one away"
            )
        if getattr(request, one) is not None:
            values.pop(many, None)  # the command line wins
    given = {f.name: getattr(request, f.name) for f in fields(Request)}
    merged = {key: given[key] if given[key] not in (None, (), False) else value for key, value in values.items()}
    for key in ("set", "vary"):
        # Both count; the command line's come later and win.
        merged[key] = (*values.get(key, ()), *given[key])
    return replace(request, **merged)


def _from_yaml(key: str, value: Any, path: Path) -> Any:
    if key in ("set", "vary"):
        return tuple(_assignments(key, value, path))
    if key == "workflows":
        return _workflows(value, path)
    if key == "types":
        return tuple(_typed(key, type_, str, path) for type_ in (value if isinstance(value, list) else [value]))
    if key == "server":
        servers = value if isinstance(value, list) else [value]
        return tuple(_typed(key, server, str, path) for server in servers)
    if key in ("data", "out", "models", "header_file", "thresholds", "part_masks", "comfyui"):
        # Relative to the plan, so that plan and data can move together.
        return path.parent / _typed(key, value, str, path)
    if key == "lora":
        # A file beside the plan, or a name that the server knows.
        text = _typed(key, value, str, path)
        return str(path.parent / text) if (path.parent / text).is_file() else text
    wanted: dict[str, type] = {"count": int, "seed": int, "new_type": bool, "max_pixels": int}
    wanted |= {"draws": int, "keep": int, "until": int, "real_masks": int, "references": int, "seeds": int}
    wanted |= {"max_failures": int, "launch": int}
    return _typed(key, value, wanted.get(key, str), path)


def _workflows(value: Any, path: Path) -> tuple[Chosen, ...]:
    """['a', {'workflow': 'b', 'set': {...}, 'vary': {...}, 'model': 'c'}]"""
    chosen = []
    for entry in value if isinstance(value, list) else [value]:
        content = entry if isinstance(entry, dict) else {"workflow": entry}
        known = {f.name for f in fields(Chosen)}
        if not value or "workflow" not in content or set(content) - known:
            raise request_error(
                "plan.wrong_type",
                f"workflows: {quoted(entry)}",
                str(path),
                f"a list of names, or of mappings with {', '.join(sorted(known))}",
                "name a workflow in every entry",
            )
        values = {key: _from_yaml(key, item, path) for key, item in content.items() if item is not None}
        chosen.append(Chosen(**{"workflow": "", **values}))
    if not chosen:
        raise request_error("plan.wrong_type", "workflows: none", str(path), "a list of names", "name one")
    return tuple(chosen)


def _typed(key: str, value: Any, kind: type, path: Path) -> Any:
    names = {str: "text", int: "a whole number", bool: "true or false"}
    wrong = not isinstance(value, kind) or (kind is int and isinstance(value, bool))
    if wrong or (kind is str and ("\0" in value or not value.strip())):
        raise request_error(
            "plan.wrong_type", f"{key}: {quoted(value)}", str(path), names[kind], "change it (text can be in quotes)"
        )
    low, high = LIMITS.get(key, (None, None))
    if low is not None and high is not None and not low <= value <= high:
        raise request_error("plan.range", f"{key}: {quoted(value)}", str(path), f"{low} to {high}", "change it")
    return value


def _assignments(key: str, value: Any, path: Path) -> list[str]:
    """{'Sampler.steps': 20} or ['Sampler.steps=20'] -> ['Sampler.steps=20']; for vary the values are lists."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, dict) and all(isinstance(address, str) for address in value):
        lists = value.values() if key == "vary" else [list(value.values())]
        if all(isinstance(items, list) and all(isinstance(item, SCALARS) for item in items) for items in lists):
            if key == "set":
                return [f"{address}={_text(item)}" for address, item in value.items()]
            return [f"{address}={','.join(_csv(item) for item in items)}" for address, items in value.items()]
    raise request_error(
        "plan.wrong_type",
        f"{key}: {quoted(value)}",
        str(path),
        "a mapping 'Title.input: value'" + (" with lists as values" if key == "vary" else ""),
        "see `defectforge run --help`",
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _csv(value: Any) -> str:
    return '"' + _text(value).replace('"', '""') + '"'
