"""How patches and wrappers of a model are kept and called: the same dictionaries and call order as in ComfyUI.

`transformer_options` holds `patches` {name: [function]}, `patches_replace` {"attn1": {block: function}} and `wrappers`
{type: {key: [function]}}. Reference: comfy/patcher_extension.py of ComfyUI (interface only).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

#: Places that can be wrapped, outermost first.
WRAPPER_TYPES = (
    "outer_sample",
    "prepare_sampling",
    "sampler_sample",
    "predict_noise",
    "calc_cond_batch",
    "apply_model",
    "diffusion_model",
)
Wrapper = Callable[..., Any]


class WrapperExecutor:
    """Calls a chain of wrappers around a function.

    A wrapper is called `wrapper(executor, *args, **kwargs)` and goes on with `executor(*args, **kwargs)`.
    `class_obj` is the object whose method is wrapped, or None.
    """

    def __init__(self, original: Wrapper, class_obj: object, wrappers: Iterable[Wrapper]) -> None:
        self.original = original
        self.class_obj = class_obj
        self.wrappers = list(wrappers)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The next wrapper, or the function itself."""
        return WrapperExecutor(self.original, self.class_obj, self.wrappers[1:]).execute(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Starts the chain with the first wrapper."""
        if not self.wrappers:
            return self.original(*args, **kwargs)
        return self.wrappers[0](self, *args, **kwargs)


def wrappers_of(kind: str, transformer_options: Mapping[str, Any]) -> list[Wrapper]:
    """All wrappers of one kind in the order in which they were added, key by key."""
    by_key: Mapping[Any, list[Wrapper]] = transformer_options.get("wrappers", {}).get(kind, {})
    return [wrapper for wrappers in by_key.values() for wrapper in wrappers]


def call_wrapped(
    kind: str, function: Wrapper, class_obj: object, transformer_options: Mapping[str, Any], *args: Any, **kwargs: Any
) -> Any:
    """Calls `function` through the wrappers of `kind`."""
    wrappers = wrappers_of(kind, transformer_options)
    return WrapperExecutor(function, class_obj, wrappers).execute(*args, **kwargs)


def copied(options: Mapping[str, Any]) -> dict[str, Any]:
    """A copy whose nested dictionaries and lists are copies too; everything else is shared."""
    result: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict):
            result[key] = copied(value)
        else:
            result[key] = value.copy() if isinstance(value, list) else value
    return result


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Both option trees in one: lists are joined (first's items first), other values of `second` win."""
    result = copied(first)
    for key, value in second.items():
        if isinstance(value, dict):
            result[key] = merged(result.get(key, {}), value)
        elif isinstance(value, list):
            result[key] = [*result.get(key, []), *value]
        else:
            result[key] = value
    return result
