"""Reference-only under the machinery that newer cores put around a model call, each simulated on the CPU.

Recorded memory (Comfy Compiler), a thread for each graphics card (MultiGPU), weights that move between calls (dynamic
offloading), other attention backends, 16-bit intermediates, and wrappers of other packs before and after ours.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import torch
from reference_setup import CLOSE, SIDE, Setup, case, comfyui_case, differs, disc, new_cache, randn, same
from torch.utils._python_dispatch import TorchDispatchMode

# ---- memory that is recorded


class Recording(TorchDispatchMode):
    """Remembers the memory that was taken within it, unless paused, and writes over it at the end."""

    paused = False

    def __init__(self, given: list[torch.Tensor]) -> None:
        super().__init__()
        self.before = {tensor.untyped_storage().data_ptr() for tensor in given}
        self.taken: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for given in args:
            # A view of what was there before the call takes no memory.
            if isinstance(given, torch.Tensor) and given.untyped_storage().data_ptr() not in self.taken:
                self.before.add(given.untyped_storage().data_ptr())
        for tensor in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(tensor, torch.Tensor) and not Recording.paused:
                self.taken.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return result

    def overwrite(self, kept: Any) -> None:
        keep = {kept.untyped_storage().data_ptr()} if isinstance(kept, torch.Tensor) else set()
        for place, tensor in self.taken.items():
            if place not in self.before | keep and tensor.is_floating_point():
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                whole.fill_(torch.nan)


@contextlib.contextmanager
def pausing(harness: str) -> Iterator[list[int]]:
    """The core's pause of its recording, counted; on the embedded server, which has none, in its place."""
    calls: list[int] = []

    @contextlib.contextmanager
    def pause(*_: Any) -> Iterator[None]:
        calls.append(1)
        before, Recording.paused = Recording.paused, True
        try:
            yield
        finally:
            Recording.paused = before

    if harness == "embedded":
        from defectforge.nodes import host

        owner, name = type(host.current()), "unrecorded"
    else:
        owner, name = sys.modules.setdefault("comfy.model_prefetch", types.ModuleType("prefetch")), "pause_malloc_graph"
    before = getattr(owner, name, None)
    setattr(owner, name, pause)
    try:
        yield calls
    finally:
        if before is None:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def recorded(model: Any) -> Any:
    """A clone whose network's memory is written over after each call."""

    def record(executor: Any, *args: Any, **kwargs: Any) -> Any:
        network = model.model.diffusion_model
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)]
        recording = Recording([*given, *network.parameters(), *network.buffers()])
        result = None
        # The harder case: a pause from outside does not reach into the network, whose blocks begin recording anew.
        before, Recording.paused = Recording.paused, False
        try:
            with recording:
                result = executor(*args, **kwargs)
        finally:
            Recording.paused = before
            recording.overwrite(result)
        return result

    clone = model.clone()
    clone.add_wrapper_with_key("diffusion_model", "recording", record)
    return clone


@case(mode=("reference_only", "reference_adain", "reference_adain+attn"), masked=(False, True))
def features_do_not_lie_in_recorded_memory(s: Setup, mode: str, masked: bool) -> None:
    settings: dict[str, Any] = {"mode": mode, "style_fidelity": 0.3, "strength": 0.7}
    if masked:
        settings |= {"masks": disc(), "target": disc()}
    expected = s.sample(s.attached(**settings))
    with pausing(s.harness.name) as calls:
        found = s.sample(s.attached(base=recorded(s.base), **settings))
    assert calls, "the recording was never paused"
    assert bool(torch.isfinite(found).all()), "something that was kept lay in memory that is used again"
    same(found, expected)


# ---- a thread for each graphics card


def in_threads(model: Any, begin: Any = None) -> Any:
    """A clone whose conditionings are evaluated at the same time, each in a thread of its own, as MultiGPU does it."""

    def split(
        executor: Any, x: Any, t: Any, concat: Any, context: Any, control: Any, options: dict[str, Any], **kwargs: Any
    ) -> torch.Tensor:
        indices = list(options["cond_or_uncond"])
        size = x.shape[0] // len(indices)
        results: list[Any] = [None] * len(indices)
        together = threading.Barrier(len(indices))

        def rows(value: Any, n: int) -> Any:
            is_rows = isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape[0] == x.shape[0]
            return value[n * size : (n + 1) * size] if is_rows else value

        def evaluate(n: int) -> None:
            try:
                own = {**options, "cond_or_uncond": [indices[n]], "uuids": [options["uuids"][n]]}
                given = [rows(value, n) for value in (x, t, concat, context)]
                more = {name: rows(value, n) for name, value in kwargs.items()}
                with torch.inference_mode():
                    together.wait(60)
                    results[n] = executor(*given, control, own, **more)
            except BaseException as error:
                results[n] = error
                together.abort()

        threads = [threading.Thread(target=evaluate, args=(n,)) for n in range(len(indices))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return torch.cat(results)

    clone = model.clone()
    clone.add_wrapper_with_key("apply_model", "threads", split)
    return clone


@case(settings=("plain", "masks", "no cache", "hold"))
def a_thread_for_each_side_gives_the_same_picture(s: Setup, settings: str) -> None:
    given: dict[str, Any] = {"style_fidelity": 0.4}
    if settings == "masks":
        given |= {"masks": disc(), "target": disc(), "hold": False}
    if settings == "hold":
        given |= {"masks": disc(), "target": disc()}
    for _ in range(3):  # threads meet in another order each time
        if settings == "no cache":
            given["cache"] = new_cache(0)
        threaded = s.sample(s.attached(base=in_threads(s.base), **given))
        same(threaded, s.sample(s.attached(**given)), CLOSE)


@case
def a_threads_new_step_does_not_take_anothers_features(s: Setup) -> None:
    """One thread is a step ahead: what the other holds for the present step stays there."""
    from defectforge.nodes.reference.run import Run

    runs: list[Run] = []
    seen: list[Any] = []

    def watch(executor: Any, *args: Any, **kwargs: Any) -> Any:
        from defectforge.nodes.reference.adapter import _RUN

        run = args[-1].get(_RUN) if isinstance(args[-1], dict) else kwargs["transformer_options"].get(_RUN)
        if run is not None and not runs:
            runs.append(run)
            device = args[0].device
            here = run._state(device)
            other: list[Any] = []
            thread = threading.Thread(target=lambda: other.append(run._state(device)))
            thread.start()
            thread.join()
            seen.extend([here, other[0]])
        return executor(*args, **kwargs)

    model = s.base.clone()
    model.add_wrapper_with_key("apply_model", "watch", watch)
    s.sample(s.attached(base=model))
    here, other = seen
    assert here is not other
    assert runs[0]._states == {}, "closed at the end"


@case
def overlapping_passes_leave_the_random_state_as_it_was(s: Setup) -> None:
    from defectforge.nodes.reference.write import own_randomness

    cpu = torch.device("cpu")
    before = torch.get_rng_state()
    first_has_drawn, second_is_inside, first_is_out = (threading.Event() for _ in range(3))

    def second() -> None:
        first_has_drawn.wait(30)
        with own_randomness(cpu):
            second_is_inside.set()
            first_is_out.wait(30)

    thread = threading.Thread(target=second)
    thread.start()
    with own_randomness(cpu):
        torch.rand(5)
        first_has_drawn.set()
        second_is_inside.wait(30)
    first_is_out.set()
    thread.join(30)
    assert torch.equal(torch.get_rng_state(), before)


# ---- weights that move


@case
def weights_may_lie_elsewhere_at_each_call(s: Setup) -> None:
    def move(executor: Any, *args: Any, **kwargs: Any) -> Any:
        network = s.base.model.diffusion_model
        for parameter in network.parameters():
            old = parameter.data
            parameter.data = old.clone()
            old.fill_(torch.nan)
        return executor(*args, **kwargs)

    expected = s.sample(s.attached())
    moving = s.base.clone()
    moving.add_wrapper_with_key("diffusion_model", "offloading", move)
    same(s.sample(s.attached(base=moving)), expected)
    same(s.sample(s.attached()), expected)


# ---- other attention, other numbers


@comfyui_case(style_fidelity=(0.3, 1.0))
def another_attention_backend_is_used_and_changes_nothing(s: Setup, style_fidelity: float) -> None:
    import comfy.ldm.modules.attention as module

    calls: list[int] = []
    usual = module.optimized_attention

    def backend(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return module.attention_basic(*args, **kwargs)

    expected = s.sample(s.attached(style_fidelity=style_fidelity))
    module.optimized_attention = backend
    try:
        found = s.sample(s.attached(style_fidelity=style_fidelity))
    finally:
        module.optimized_attention = usual
    same(found, expected, 1e-4)
    assert calls


@case
def sixteen_bit_intermediates_are_read_as_numbers(s: Setup) -> None:
    """With --fp16-intermediates latents and masks arrive in half precision."""
    settings: dict[str, Any] = {"masks": disc(), "target": disc()}
    halved = {name: mask.half() for name, mask in settings.items()}
    rounded = s.references[:1].half()
    expected = s.sample(s.attached(rounded.float(), **{name: mask.float() for name, mask in halved.items()}))
    same(s.sample(s.attached(rounded, **halved)), expected)


@case
def a_latent_in_sixteen_bits_is_sampled(s: Setup) -> None:
    latent = randn(2, 4, SIDE, SIDE, seed=31).half()
    expected = s.sample(s.attached(), latent=latent.float())
    same(s.sample(s.attached(), latent=latent), expected, 1e-2)


# ---- wrappers of other packs

KINDS = ("sampler_sample", "predict_noise", "calc_cond_batch", "apply_model", "diffusion_model")


def wrapped(model: Any, calls: dict[str, int]) -> Any:
    """A clone with another pack's wrapper of each kind; that of the model call halves what the model says."""

    def through(kind: str) -> Any:
        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
            calls[kind] = calls.get(kind, 0) + 1
            result = executor(*args, **kwargs)
            return result * 0.5 if kind == "apply_model" else result

        return wrapper

    clone = model.clone()
    for kind in KINDS:
        clone.add_wrapper_with_key(kind, "another_pack", through(kind))
    return clone


@case(target=(False, True))
def another_packs_wrappers_work_before_and_after_ours(s: Setup, target: bool) -> None:
    settings: dict[str, Any] = {"style_fidelity": 0.4}
    if target:
        settings |= {"masks": disc(), "target": disc()}
    before, after = {}, {}
    first = s.sample(s.attached(base=wrapped(s.base, before), **settings))
    last = s.sample(wrapped(s.attached(**settings), after))
    same(first, last)
    differs(first, s.sample(s.attached(**settings)))
    differs(first, s.sample(wrapped(s.base, {})))
    assert set(before) == set(after) == set(KINDS), "all were called"
