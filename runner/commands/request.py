"""A request as data: from options, from plan.yaml, or both (an option given on the command line wins)."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import did_you_mean, request_error


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
    layout: str | None = None
    max_pixels: int | None = None

    def content(self) -> dict[str, Any]:
        """For the journal."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) not in (None, ())}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value


def shard_of(text: str | None) -> tuple[int, int]:
    """'2/8' -> (1, 8): shards are counted from 1."""
    if not text:
        return 0, 1
    index, slash, count = text.partition("/")
    if slash and index.isdigit() and count.isdigit() and 1 <= int(index) <= int(count):
        return int(index) - 1, int(count)
    raise request_error("plan.shard", f"--shard '{text}'", expected="i/N with 1 <= i <= N", mend="--shard 1/4")


def with_plan_file(request: Request, path: Path) -> Request:
    """Fill in from plan.yaml what the command line left open.

    Raises:
        RequestError: unreadable, not YAML, or a key that does not exist.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise request_error(
            "plan.unreadable", f"the plan cannot be read: {error}", str(path), "a YAML file", "mend or replace it"
        ) from error
    if not isinstance(content, dict):
        raise request_error("plan.unreadable", "the plan is not a mapping", str(path), "lines such as 'count: 8'")
    known = {f.name for f in fields(Request)}
    for key in content:
        if key not in known:
            raise request_error(
                "plan.unknown_key", f"the plan has no key '{key}'", str(path), "a known key", did_you_mean(key, known)
            )
    values = {key: _from_yaml(key, value, path) for key, value in content.items()}
    given = {f.name: getattr(request, f.name) for f in fields(Request)}
    merged = {key: given[key] if given[key] not in (None, (), False) else value for key, value in values.items()}
    for key in ("set", "vary"):
        # Both count; the command line's come later and win.
        merged[key] = (*values.get(key, ()), *given[key])
    return replace(request, **merged)


def _from_yaml(key: str, value: Any, path: Path) -> Any:
    if key in ("set", "vary"):
        return tuple(_assignments(key, value, path))
    if key in ("data", "out", "models"):
        # Relative to the plan, so that plan and data can move together.
        return path.parent / str(value)
    if key == "server":
        return tuple(value) if isinstance(value, list) else (str(value),)
    wanted: dict[str, type] = {"count": int, "seed": int, "new_type": bool, "max_pixels": int}
    kind = wanted.get(key, str)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise request_error("plan.wrong_type", f"{key}: {value!r}", str(path), f"{kind.__name__}", "change it")
    return value


def _assignments(key: str, value: Any, path: Path) -> list[str]:
    """{'Sampler.steps': 20} or ['Sampler.steps=20'] -> ['Sampler.steps=20']; for vary the values are lists."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    if isinstance(value, dict):
        if key == "set":
            return [f"{address}={_text(item)}" for address, item in value.items()]
        if all(isinstance(items, list) for items in value.values()):
            return [f"{address}={','.join(_quoted(item) for item in items)}" for address, items in value.items()]
    raise request_error(
        "plan.wrong_type",
        f"{key}: {value!r}",
        str(path),
        "a mapping 'Title.input: value'" + (" with lists as values" if key == "vary" else ""),
        "see `defectforge run --help`",
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(value: Any) -> str:
    return '"' + _text(value).replace('"', '""') + '"'
